/**
 * Packets of the core's fuzz target (core.ts), made of the bytes of its program: segments of eight
 * connections that follow what the core said, or leave it on purpose; datagrams, echoes and errors;
 * fragments in any order; super-packets; virtio headers.
 */
import {
  fragment4,
  fragment6,
  icmpPacket,
  offloadedTcp,
  tcpPacket,
  type TcpOptions,
  type TcpSeen,
  udpPacket,
  withVnet,
} from "../../kit/packet.ts";
import { repaired } from "./repair.ts";

export const FLAGS = [
  "S",
  "A",
  "A",
  "A",
  "PA",
  "FA",
  "FPA",
  "R",
  "RA",
  "SA",
  "SF",
  "",
  "UA",
  "PUA",
  "SEC",
];

/** Arguments; zeros behind the end. */
export class Program {
  readonly #bytes: Uint8Array;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  get isOver(): boolean {
    return this.#at >= this.#bytes.length;
  }

  u8(): number {
    return this.#bytes[this.#at++] ?? 0;
  }

  u16(): number {
    return this.u8() * 256 + this.u8();
  }

  u32(): number {
    return this.u16() * 65_536 + this.u16();
  }

  bytes(count: number): Uint8Array {
    const part = this.#bytes.slice(this.#at, this.#at + count);
    this.#at += count;
    return part;
  }
}

/** What a client knows of a connection, from what the core sent. */
interface Peer {
  nxt: number;
  coreNxt: number;
}

export class PacketMaker {
  readonly #program: Program;
  readonly #vnetBytes: number;
  readonly #peers = new Map<number, Peer>();

  constructor(program: Program, vnetBytes: number) {
    this.#program = program;
    this.#vnetBytes = vnetBytes;
  }

  /** A segment that the core sent: what is sent next acknowledges it. */
  heard(segment: TcpSeen): void {
    const peer = this.#peers.get(segment.dport - 40_000);
    if (peer !== undefined && !segment.flags.includes("R")) peer.coreNxt = segment.end;
  }

  framed(packet: Uint8Array): Uint8Array {
    const vnetBytes = this.#vnetBytes;
    if (vnetBytes === 0) return packet;
    const kind = this.#program.u8();
    if (kind < 160) return withVnet(packet, { bytes: vnetBytes });
    // The header as it comes, on top of one that makes sense.
    const header = this.#program.bytes(vnetBytes);
    return Uint8Array.from(
      Buffer.concat([header, new Uint8Array(vnetBytes - header.length), packet]),
    );
  }

  /** Addresses and ports of one of eight connections. */
  #ends(index: number): { src: string; dst: string; sport: number; dport: number } {
    const isSix = (index & 1) === 1;
    const src = isSix ? "2001:db8::10" : "192.0.2.10";
    const dst = isSix ? "2001:db8::200" : "192.0.2.200";
    return { src, dst, sport: 40_000 + index, dport: [80, 53][(index >> 1) & 1]! };
  }

  #peer(index: number): Peer {
    let peer = this.#peers.get(index);
    if (peer === undefined) {
      peer = { nxt: (0xffff_ff00 + index) >>> 0, coreNxt: 0 };
      this.#peers.set(index, peer);
    }
    return peer;
  }

  #segmentFields() {
    const program = this.#program;
    const choice = program.u8();
    const index = choice & 7;
    const peer = this.#peer(index);
    const flags = FLAGS[program.u8() % FLAGS.length]!;
    const delta = program.u8();
    const ackDelta = program.u8();
    // Mostly in order; else near, or far away.
    const near = (byte: number): number =>
      byte < 160
        ? 0
        : byte < 200
          ? byte - 180
          : byte < 240
            ? (byte - 220) * 1400
            : byte * 0x0100_0001;
    const size = [0, 1, 10, 536, 1200, 1400][program.u8() % 6]!;
    const payload = new Uint8Array(flags.includes("S") ? size >> 4 : size).fill(0x61);
    const seq = (peer.nxt + near(delta)) >>> 0;
    const ack = (peer.coreNxt + near(ackDelta)) >>> 0;
    const optionKind = program.u8();
    const ts = [program.u8() * 1000, (optionKind & 64) === 0 ? 0 : program.u32()] as const;
    const options = {
      ...(flags.includes("S") ? { mss: program.u16() } : {}),
      ...((optionKind & 1) === 0 ? {} : { wscale: program.u8() & 15 }),
      ...((optionKind & 2) === 0 ? {} : { sackOk: true }),
      ...((optionKind & 4) === 0 ? {} : { ts }),
      ...((optionKind & 8) === 0 ? {} : { sack: [[ack + 10, ack + 10 + program.u16()]] as const }),
      ...((optionKind & 16) === 0 ? {} : { raw: program.bytes(program.u8() & 15) }),
    };
    if (delta < 160) {
      const more = payload.length + (/S/.test(flags) ? 1 : 0) + (/F/.test(flags) ? 1 : 0);
      peer.nxt = (peer.nxt + more) >>> 0;
    }
    const window = (choice & 8) === 0 ? 65_535 : program.u16();
    const checksum = (choice & 0xf0) === 0xf0 ? ("bad" as const) : undefined;
    const fields = { ...this.#ends(index), seq, ack, flags, window, payload, options };
    return checksum === undefined ? fields : { ...fields, checksum };
  }

  segment(): Uint8Array {
    const fields = this.#segmentFields();
    // Options of at most 40 bytes; what is more makes no header.
    const { sack, raw, ...few } = fields.options as TcpOptions;
    const rest = sack === undefined ? (raw === undefined ? {} : { raw }) : { sack };
    return tcpPacket({ ...fields, options: { ...few, ...rest } });
  }

  datagram(): Uint8Array {
    const program = this.#program;
    const index = program.u8();
    const dport = [53, 443, 5000, 0][(index >> 4) & 3]!;
    return udpPacket({
      ...this.#ends(index & 7),
      dport,
      payload: new Uint8Array(program.u8() * ((index & 64) === 0 ? 1 : 5)),
      ...((index & 128) === 0 ? {} : { udpLength: program.u16() }),
    });
  }

  icmp(): Uint8Array {
    const program = this.#program;
    const { src, dst } = this.#ends(program.u8() & 7);
    const kind = program.u8();
    if (kind < 100) return icmpPacket({ src, dst, payload: new Uint8Array(program.u8()) });
    // An error that quotes something: a segment of ours, or whatever comes.
    const quote = kind < 200 ? this.segment().subarray(0, 48) : program.bytes(program.u8());
    const six = src.includes(":");
    const type = kind < 220 ? (six ? 2 : 3) : program.u8();
    const code = six ? 0 : 4;
    return icmpPacket({ src, dst, type, code, word: program.u16(), payload: quote });
  }

  fragments(): Uint8Array[] {
    const program = this.#program;
    const whole = (program.u8() & 1) === 0 ? this.datagram() : this.segment();
    const isSix = whole[0]! >> 4 === 6;
    const size = whole.length - (isSix ? 40 : 20);
    const cuts = [program.u8() * 8, program.u16() & 0x7f8]
      .filter((cut) => cut > 0 && cut < size)
      .sort((a, b) => a - b);
    const id = program.u8() & 3;
    const pieces = isSix ? fragment6(whole, cuts, id) : fragment4(whole, cuts, id);
    const order = program.u8();
    const turned = pieces.map((_, at) => pieces[(at + order) % pieces.length]!);
    const left = turned.filter((_, at) => (order & (8 << at)) === 0);
    return left.map((piece) => this.framed(repaired(piece)));
  }

  /** As a kernel with offloads hands a large segment over. */
  super(): Uint8Array[] {
    const vnetBytes = this.#vnetBytes;
    const fields = this.#segmentFields();
    const payload = new Uint8Array(1 + (this.#program.u16() & 0x3fff));
    const gso = this.#program.u16() & 0x7ff;
    if (vnetBytes === 0) return [];
    return [offloadedTcp({ ...fields, options: {}, payload }, gso, vnetBytes)];
  }
}
