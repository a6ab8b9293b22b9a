/**
 * The captures of fixtures/pcap/, made from the kit's packets: no clock and no dice, so the same
 * bytes every time. What each shows is told in the .md beside it.
 */
import { bytesOf } from "./text.ts";
import { framed, pcapFile, pcapngFile, type CaptureRecord } from "../kit/capture.ts";
import {
  fragment4,
  icmpPacket,
  tcpPacket,
  udpPacket,
  CLIENT_4,
  CLIENT_6,
  SERVER_4,
  SERVER_6,
  type TcpFields,
} from "../kit/packet.ts";

const START_NS = 1_700_000_000_000_000_000n;
const MS = 1_000_000n;

/** Both sides of one connection, with the sequence numbers kept. */
class Dialogue {
  readonly packets: Uint8Array[] = [];
  readonly #ends: { readonly client: string; readonly server: string };
  readonly #ports: readonly [number, number];
  readonly #hasStamps: boolean;
  #clientSeq: number;
  #serverSeq: number;
  #tick = 1000;

  constructor(
    ends: { readonly client: string; readonly server: string },
    ports: readonly [number, number],
    [clientSeq, serverSeq]: readonly [number, number],
    hasStamps = true,
  ) {
    this.#ends = ends;
    this.#ports = ports;
    this.#clientSeq = clientSeq;
    this.#serverSeq = serverSeq;
    this.#hasStamps = hasStamps;
  }

  /** A packet of one side as it would be next; `consumes`: how far its number goes on. */
  packet(from: "client" | "server", fields: TcpFields, consumes: number): Uint8Array {
    const isClient = from === "client";
    const [own, other] = isClient
      ? [this.#clientSeq, this.#serverSeq]
      : [this.#serverSeq, this.#clientSeq];
    const { client, server } = this.#ends;
    const [clientPort, serverPort] = this.#ports;
    this.#tick++;
    const stamps = [this.#tick, this.#tick - 1] as const;
    const packet = tcpPacket({
      src: isClient ? client : server,
      dst: isClient ? server : client,
      sport: isClient ? clientPort : serverPort,
      dport: isClient ? serverPort : clientPort,
      seq: own >>> 0,
      ack: other >>> 0,
      ...fields,
      options: { ...(this.#hasStamps ? { ts: stamps } : {}), ...fields.options },
    });
    if (isClient) this.#clientSeq = (own + consumes) >>> 0;
    else this.#serverSeq = (own + consumes) >>> 0;
    return packet;
  }

  add(from: "client" | "server", fields: TcpFields = {}, consumes = 0): this {
    this.packets.push(this.packet(from, fields, consumes));
    return this;
  }

  open(): this {
    const options = { mss: 1460, wscale: 7, sackOk: true };
    this.add("client", { flags: "S", ack: 0, options }, 1);
    this.add("server", { flags: "SA", options }, 1);
    return this.add("client");
  }

  say(from: "client" | "server", data: Uint8Array): this {
    return this.add(from, { flags: "PA", payload: data }, data.length);
  }

  close(first: "client" | "server"): this {
    const second = first === "client" ? "server" : "client";
    return this.add(first, { flags: "FA" }, 1).add(second, { flags: "FA" }, 1).add(first);
  }
}

const V4 = { client: CLIENT_4, server: SERVER_4 };
const V6 = { client: CLIENT_6, server: SERVER_6 };

function timed(
  packets: readonly Uint8Array[],
  make: (packet: Uint8Array, index: number) => Omit<CaptureRecord, "timeNs">,
): CaptureRecord[] {
  return packets.map((packet, index) => ({
    timeNs: START_NS + BigInt(index) * 3n * MS,
    ...make(packet, index),
  }));
}

/** A page fetched over TCP with a lost and repeated segment, a DNS answer, a ping. */
function web(): Uint8Array {
  const sockets = { ...V4, sport: 5353, dport: 53 };
  const dns = { src: sockets.client, dst: sockets.server };
  const talk = new Dialogue(V4, [40_001, 80], [0xffff_ff00, 0xffff_fff0]).open();
  talk.say("client", bytesOf("GET / HTTP/1.1\r\nHost: example.com\r\n\r\n"));
  const lost = talk.packet("server", { payload: bytesOf("first ", 1448) }, 1448);
  talk.packets.push(talk.packet("server", { payload: bytesOf("second", 1448) }, 1448));
  talk.packets.push(lost);
  talk.add("client").say("server", bytesOf("third ", 900)).add("client").close("server");
  const others = [
    udpPacket({ ...dns, sport: 5300, dport: 53, payload: bytesOf("query") }),
    udpPacket({ src: dns.dst, dst: dns.src, sport: 53, dport: 5300, payload: bytesOf("answer") }),
    icmpPacket({ src: dns.src, dst: dns.dst, payload: bytesOf("ping") }),
  ];
  const packets = [...others, ...talk.packets];
  const records = timed(packets, (packet, index) => ({
    data: framed("ethernet", packet, index % 2 === 0 ? [7] : [5, 7]),
  }));
  return pcapFile({ link: "ethernet" }, records);
}

/** Two interfaces in one big-endian file: a machine with itself, and IPv6. */
function mixed(): Uint8Array {
  const local = new Dialogue({ client: "127.0.0.1", server: "127.0.0.1" }, [40_002, 8080], [1, 2]);
  local.open().say("client", bytesOf("to myself", 3000)).say("server", bytesOf("to me", 100));
  local.add("client").close("client");
  const refused = new Dialogue(V6, [40_003, 443], [500, 0], false);
  refused.add("client", { flags: "S", ack: 0, options: { mss: 1440 } }, 1);
  refused.add("server", { flags: "RA" });
  const six = new Dialogue(V6, [40_004, 443], [900, 7000], false).open();
  six.say("client", bytesOf("hello six")).say("server", bytesOf("hello you")).add("client");
  const udp = udpPacket({ src: CLIENT_6, dst: SERVER_6, payload: bytesOf("nobody answers") });
  const first = timed(local.packets, (packet) => ({ data: framed("null", packet), face: 0 }));
  const second = timed([...refused.packets, ...six.packets, udp], (packet) => ({
    data: framed("sll2", packet),
    face: 1,
  }));
  const faces = [
    { link: "null", resolution: 9 },
    { link: "sll2", resolution: 128 + 30, offsetSeconds: 1_600_000_000n },
  ] as const;
  return pcapngFile(faces, [...first, ...second], false);
}

/** Wrong checksums, fragments, gaps, lies and strange times. */
function hostile(): Uint8Array {
  const talk = new Dialogue(V4, [40_005, 25], [10, 20]).open();
  talk.say("client", bytesOf("EHLO"));
  talk.packets.push(talk.packet("client", { payload: bytesOf("wrong"), checksum: "bad" }, 0));
  talk.packet("client", { payload: bytesOf("lost") }, 4);
  talk.say("client", bytesOf("behind the gap"));
  talk.add("client", { ack: 0x4000_0000 }).add("client", { ack: 3020 }).say("client", bytesOf("x"));
  const big = udpPacket({ sport: 6000, dport: 7000, payload: bytesOf("cut ", 4000) });
  const stray = tcpPacket({ sport: 40_006, dport: 22, seq: 5, ack: 6, flags: "PA" });
  const header = tcpPacket({ sport: 40_007, dport: 22, flags: "S", ack: 0, headerChecksum: 1 });
  const land = tcpPacket({ src: CLIENT_4, dst: CLIENT_4, sport: 9, dport: 9, flags: "S", ack: 0 });
  const packets = [...talk.packets, ...fragment4(big, [1480, 2960]), stray, header, land];
  const odd = [
    new Uint8Array(0),
    Uint8Array.of(0x45),
    new Uint8Array(60),
    packets[0]!.slice(0, 30),
  ];
  const records = timed([...packets, ...odd], (data) => ({ data, wireBytes: data.length + 4 }));
  // The clock goes back by an hour, and later on by eighty years.
  return pcapFile(
    { link: "raw", isLittle: false, isNano: true },
    records.map((record, index) => ({
      ...record,
      timeNs:
        record.timeNs + (index > 12 ? 2_500_000_000n : index > 6 ? -3600n : 0n) * 1_000_000_000n,
    })),
  );
}

export const CAPTURES: Readonly<Record<string, () => Uint8Array>> = {
  "web.pcap": web,
  "mixed.pcapng": mixed,
  "hostile.pcap": hostile,
};
