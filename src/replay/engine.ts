/**
 * Replays a capture into a core. The clients' packets are fed; the servers' are what upstream says
 * (see tcp.ts and udp.ts). Order of a packet: its time comes, timers fire; packets that waited may
 * go; it is fed, or its bytes are handed to the core; what the core put out is counted and hashed.
 *
 *     const replay = new Replay(options);
 *     while (reader.next(packet)) replay.packet(packet);
 *     const result = replay.finish();
 *
 * Without Node imports: the same packets give the same bytes wherever the core runs.
 */
import * as abi from "../../assembly/abi.ts";
import { STAT_NAMES } from "../core/core.ts";
import {
  PROTO_ICMP,
  PROTO_ICMP6,
  PROTO_TCP,
  PROTO_UDP,
  dissect,
  headerSum,
  isFirst,
  repairSums,
  transportSum,
  type IpFacts,
} from "../pcap/ip.ts";
import { LINK_UNSUPPORTED, ipOffset } from "../pcap/link.ts";
import { be16 } from "../pcap/sum.ts";
import type { CapturedPacket } from "../pcap/types.ts";
import { VirtualClock } from "./clock.ts";
import { ConversationTable, endKey } from "./conversation.ts";
import { Driver } from "./driver.ts";
import { Reassembler, datagramKey } from "./fragments.ts";
import { giveEnds } from "./local.ts";
import { readSegment } from "./segment.ts";
import { TcpReplay } from "./tcp.ts";
import type { CaptureCounts, Hasher, ReplayOptions, ReplayResult } from "./types.ts";
import { UdpReplay } from "./udp.ts";

const ECHO_REPLIES: Readonly<Record<number, number>> = { [PROTO_ICMP]: 0, [PROTO_ICMP6]: 129 };
const UNREACHABLE: Readonly<Record<number, number>> = { [PROTO_ICMP]: 3, [PROTO_ICMP6]: 1 };
/** Types of ICMP errors: they quote a packet of whom they are for. */
const ERRORS: Readonly<Record<number, readonly number[]>> = {
  [PROTO_ICMP]: [3, 4, 5, 11, 12],
  [PROTO_ICMP6]: [1, 2, 3, 4],
};

/** Servers' datagrams that are not whole yet. */
const DATAGRAMS_MAX = 1024;
/** Link types that are told by number. */
const LINKS_MAX = 16;

export class Replay {
  readonly #options: ReplayOptions;
  readonly #driver: Driver;
  readonly #table: ConversationTable;
  readonly #tcp: TcpReplay;
  readonly #udp: UdpReplay;
  readonly #clock = new VirtualClock();
  readonly #fragments = new Reassembler();
  /** Datagrams of servers whose first fragment was seen. */
  readonly #serverDatagrams = new Set<string>();
  readonly #hash: Hasher;
  readonly #out = { packets: 0, bytes: 0 };
  readonly #counts: CaptureCounts;
  readonly #unsupportedLinks: ReplayResult["unsupported_links"] = [];
  #packets = 0;
  #isOver = false;

  constructor(options: ReplayOptions) {
    this.#options = options;
    this.#hash = options.makeHash();
    this.#counts = noCounts();
    this.#driver = new Driver(options.core, {
      flowEvent: (handle, flags, ptr, code) => this.#tcp.flowEvent(handle, flags, ptr, code),
      mappingEvent: (handle, flags, ptr) => this.#udp.mappingEvent(handle, flags, ptr),
      datagram: (record) => this.#udp.fromCore(record),
      sent: (packet) => this.#sent(packet),
    });
    this.#table = new ConversationTable((forgotten) => this.#tcp.forget(forgotten));
    const { upstream, makeHash } = options;
    const feed = (packet: Uint8Array): void => this.#feed(packet);
    const shared = { driver: this.#driver, table: this.#table, upstream, feed };
    this.#tcp = new TcpReplay({ ...shared, makeHash });
    this.#udp = new UdpReplay(shared);
  }

  /** Packets of the capture so far, for messages. */
  get packets(): number {
    return this.#packets;
  }

  /** The capture's next packet. Its bytes may be changed. */
  packet(packet: CapturedPacket): void {
    this.#packets++;
    this.#passTime(this.#clock.at(packet.timeUs));
    const { data, wireBytes } = packet;
    const counts = this.#counts;
    if (wireBytes > data.length) counts.truncated++;
    const at = ipOffset(packet.linkType, data);
    if (at < 0) {
      counts.non_ip++;
      if (at === LINK_UNSUPPORTED) this.#unsupported(packet);
      return;
    }
    const ip = dissect(data, at, wireBytes);
    // The core has its own word for what is no IP packet after all.
    if (ip === undefined) {
      counts.non_ip++;
      this.#feed(data.subarray(at));
    } else {
      this.#ip(ip);
    }
    this.#tcp.drain();
  }

  /** Ends the replay: what waits goes, the state is written down, the core must become empty. */
  finish(): ReplayResult {
    this.#tcp.drain(true);
    this.#driver.settle();
    this.#tcp.finish();
    this.#udp.finish();
    this.#isOver = true;
    const { core } = this.#options;
    const drops: Record<string, number> = {};
    const counters: Record<string, number> = {};
    for (const [index, name] of STAT_NAMES) {
      const value = core.stat(index);
      if (value !== 0) (name.startsWith("drop_") ? drops : counters)[name] = value;
    }
    return {
      packets: this.#packets,
      flows: this.#table.all.map((conversation) => conversation.row()),
      flows_omitted: this.#table.omitted,
      drops,
      sha256: this.#hash.digest(),
      out: { ...this.#out },
      capture: this.#counts,
      unsupported_links: this.#unsupportedLinks,
      counters,
      leaks: this.#driver.leaks(),
    };
  }

  #unsupported({ linkType, offset }: CapturedPacket): void {
    this.#counts.unsupported++;
    const known = this.#unsupportedLinks.find(({ linktype }) => linktype === linkType);
    if (known !== undefined) known.packets++;
    else if (this.#unsupportedLinks.length < LINKS_MAX) {
      this.#unsupportedLinks.push({ linktype: linkType, packets: 1, offset });
    }
  }

  #passTime(toUs: number): void {
    for (let at = this.#tcp.deadline(); at <= toUs; at = this.#tcp.deadline()) {
      this.#driver.advance(at);
      this.#tcp.drain();
    }
    this.#driver.advance(toUs);
    this.#tcp.drain();
  }

  #feed(packet: Uint8Array): void {
    this.#counts.fed++;
    this.#driver.feed(packet);
  }

  #sent(packet: Uint8Array): void {
    const ip = dissect(packet, 0, packet.length);
    if (ip?.proto === PROTO_TCP && !ip.isFragment) this.#tcp.sent(ip);
    if (this.#isOver) return;
    this.#out.packets++;
    this.#out.bytes += packet.length;
    this.#hash.update(packet);
    this.#options.onOutput?.(packet, this.#driver.nowUs);
  }

  #ip(ip: IpFacts): void {
    const counts = this.#counts;
    counts[ip.family === 4 ? "ipv4" : "ipv6"]++;
    if (ip.isFragment) counts.ip_fragments++;
    const isWrong = this.#checkSums(ip);
    if (!ip.isFragment) giveEnds(ip);
    const side = ip.isFragment ? this.#fragment(ip, isWrong) : this.#whole(ip, isWrong);
    if (side === "server") counts.server_side++;
  }

  /** Counts wrong checksums; true if the core is to see that they are. */
  #checkSums(ip: IpFacts): boolean {
    const counts = this.#counts;
    const header = headerSum(ip) === "bad";
    const transport = transportSum(ip) === "bad";
    if (header) counts.bad_ip_checksum++;
    if (transport) this.#countTransport(ip.proto);
    const hasNoLength = ip.family === 4 && be16(ip.data, 2) === 0;
    if (this.#options.checksums === "verify") return header || transport;
    if (!header && !transport && !hasNoLength) return false;
    repairSums(ip);
    if (this.#options.checksums === "repair") counts.repaired++;
    return false;
  }

  #countTransport(proto: number): void {
    if (proto === PROTO_TCP) this.#counts.bad_tcp_checksum++;
    else if (proto === PROTO_UDP) this.#counts.bad_udp_checksum++;
    else this.#counts.bad_icmp_checksum++;
  }

  #whole(ip: IpFacts, isWrong: boolean): "client" | "server" {
    const { data, l4, proto } = ip;
    if (proto === PROTO_TCP) {
      const segment = readSegment(ip);
      if (segment !== undefined) return this.#tcp.segment(segment, isWrong);
    }
    if (proto === PROTO_UDP && l4 + 8 <= data.length) return this.#udp.datagram(ip, isWrong);
    const isIcmp = proto === (ip.family === 4 ? PROTO_ICMP : PROTO_ICMP6);
    if (isIcmp && this.#icmp(ip)) return "server";
    this.#feed(data);
    return "client";
  }

  /** An ICMP message; true if it came from the servers' side and is not for the core. */
  #icmp(ip: IpFacts): boolean {
    const { data, l4, proto } = ip;
    const type = data[l4] ?? 0;
    if (type === ECHO_REPLIES[proto]) return true;
    if (ERRORS[proto]?.includes(type) !== true) return false;
    const quoted = dissect(data, l4 + 8, data.length);
    if (quoted === undefined || quoted.data.length < quoted.l4 + 4) return false;
    if (quoted.proto !== PROTO_TCP && quoted.proto !== PROTO_UDP) return false;
    const { addressBytes } = quoted;
    const sport = be16(quoted.data, quoted.l4);
    const sender = endKey(quoted.data, quoted.src, addressBytes, sport);
    const dport = be16(quoted.data, quoted.l4 + 2);
    const receiver = endKey(quoted.data, quoted.dst, addressBytes, dport);
    const conversation = this.#table.between(sender, receiver);
    if (conversation === undefined || conversation.clientEnd !== sender) return false;
    const isUnreachable = type === UNREACHABLE[proto];
    if (this.#options.upstream === "recorded" && isUnreachable) {
      if (conversation.proto === "tcp") {
        this.#tcp.unreachable(conversation, abi.REJECT_HOST_UNREACHABLE);
      } else {
        const isPort = (data[l4 + 1] ?? 0) === (ip.family === 4 ? 3 : 4);
        const how = isPort ? abi.REJECT_PORT_UNREACHABLE : abi.REJECT_HOST_UNREACHABLE;
        this.#udp.unreachable(conversation, quoted.family, how);
      }
    }
    return true;
  }

  #fragment(ip: IpFacts, isWrong: boolean): "client" | "server" {
    const whole = this.#fragments.add(ip);
    const isBad = whole !== undefined && transportSum(whole) === "bad";
    if (isBad) this.#countTransport(ip.proto);
    const key = datagramKey(ip);
    const isServers = this.#serverDatagrams.has(key) || this.#isServers(ip);
    if (!isServers) {
      this.#clientFragment(ip, isWrong);
      return "client";
    }
    if (whole === undefined) {
      if (this.#serverDatagrams.size >= DATAGRAMS_MAX) this.#serverDatagrams.clear();
      this.#serverDatagrams.add(key);
    } else {
      this.#serverDatagrams.delete(key);
      const isRefused = isBad && this.#options.checksums === "verify";
      this.#whole(whole, isWrong || isRefused);
    }
    return "server";
  }

  /** Whether a first fragment is a known server's. */
  #isServers(ip: IpFacts): boolean {
    if (!isFirst(ip)) return false;
    if (ip.proto === PROTO_UDP) return this.#udp.isFromServer(ip);
    if (ip.proto !== PROTO_TCP) return false;
    const segment = readSegment(ip);
    return segment !== undefined && this.#tcp.isFromServer(segment);
  }

  #clientFragment(ip: IpFacts, isWrong: boolean): void {
    const { data, l4 } = ip;
    if (isFirst(ip) && ip.proto === PROTO_TCP) {
      const segment = readSegment(ip);
      if (segment !== undefined) {
        this.#tcp.segment(segment, isWrong);
        return;
      }
    }
    if (isFirst(ip) && ip.proto === PROTO_UDP && l4 + 8 <= data.length) {
      this.#udp.datagram(ip, isWrong);
      return;
    }
    this.#feed(data);
  }
}

function noCounts(): CaptureCounts {
  return {
    ipv4: 0,
    ipv6: 0,
    non_ip: 0,
    unsupported: 0,
    truncated: 0,
    ip_fragments: 0,
    bad_ip_checksum: 0,
    bad_tcp_checksum: 0,
    bad_udp_checksum: 0,
    bad_icmp_checksum: 0,
    fed: 0,
    server_side: 0,
    repaired: 0,
  };
}
