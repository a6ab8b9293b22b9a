/**
 * Reads packets that the core put out, and verifies while reading: lengths, header checksum, L4
 * checksum (complete, or partial as the vnet header says), super-packet rules. Anything wrong
 * throws, so that a test which only looks at a sequence number still notices a bad checksum.
 *
 * `parsePacket` takes any packet, `expectTcp`, `expectUdp` and `expectIcmp` one of their kind.
 */
import { addressText, concat, get16, get32, hex, onesSum, pseudoHeader, seqAdd } from "./bytes.ts";
import { flagText } from "./flags.ts";

export interface Framing {
  /** 0, 10 or 12 bytes of virtio_net_hdr before the packet. */
  readonly vnetBytes?: number;
  /** Most bytes of an IP packet, or of each wire segment of a super-packet. */
  readonly mtu?: number;
}

export interface Vnet {
  readonly flags: number;
  readonly gsoType: number;
  readonly hdrLen: number;
  readonly gsoSize: number;
  readonly csumStart: number;
  readonly csumOffset: number;
}

export interface Packet {
  readonly family: 4 | 6;
  readonly src: string;
  readonly dst: string;
  readonly ttl: number;
  readonly tos: number;
  readonly proto: number;
  readonly id: number;
  readonly df: boolean;
  readonly flowLabel: number;
  /** Byte offset and flag of a fragment; 0 and false for whole packets. */
  readonly fragOffset: number;
  readonly moreFragments: boolean;
  readonly ipHeaderLen: number;
  readonly vnet: Vnet | undefined;
  /** All after the IP headers. */
  readonly l4: Uint8Array;
  /** The IP packet without vnet header. */
  readonly bytes: Uint8Array;
}

export interface TcpSeen extends Packet {
  readonly sport: number;
  readonly dport: number;
  readonly seq: number;
  readonly ack: number;
  readonly flags: string;
  readonly window: number;
  readonly mss: number | undefined;
  readonly wscale: number | undefined;
  readonly sackOk: boolean;
  readonly ts: readonly [number, number] | undefined;
  readonly sack: readonly (readonly [number, number])[];
  readonly payload: Uint8Array;
  readonly gsoSize: number;
  /** Sequence number after the segment: payload, SYN and FIN counted. */
  readonly end: number;
}

export interface UdpSeen extends Packet {
  readonly sport: number;
  readonly dport: number;
  readonly payload: Uint8Array;
  readonly gsoSize: number;
}

export interface IcmpSeen extends Packet {
  readonly type: number;
  readonly code: number;
  readonly echoId: number;
  readonly echoSeq: number;
  /** Second header word: MTU, pointer. */
  readonly word: number;
  /** Echo data, or the packet quoted by an error. */
  readonly payload: Uint8Array;
}

const NEEDS_CSUM = 1;
const MTU_MAX = 65535;

function must(condition: boolean, what: string, bytes: Uint8Array): asserts condition {
  if (!condition) throw new Error(`${what}: ${hex(bytes.subarray(0, 120))}`);
}

function readVnet(bytes: Uint8Array): Vnet {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  return {
    flags: bytes[0]!,
    gsoType: bytes[1]!,
    hdrLen: view.getUint16(2, true),
    gsoSize: view.getUint16(4, true),
    csumStart: view.getUint16(6, true),
    csumOffset: view.getUint16(8, true),
  };
}

type IpPart = Omit<Packet, "vnet" | "bytes">;

function readIpv4(bytes: Uint8Array): IpPart {
  must(bytes.length >= 20, "shorter than an IPv4 header", bytes);
  const ipHeaderLen = (bytes[0]! & 15) * 4;
  must(ipHeaderLen === 20, "IPv4 options out", bytes);
  must(get16(bytes, 2) === bytes.length, "IPv4 total length", bytes);
  must(onesSum(bytes.subarray(0, 20)) === 0xffff, "IPv4 header checksum", bytes);
  const word = get16(bytes, 6);
  must((word & 0x8000) === 0, "reserved fragment bit", bytes);
  return {
    family: 4,
    src: addressText(bytes.subarray(12, 16)),
    dst: addressText(bytes.subarray(16, 20)),
    ttl: bytes[8]!,
    tos: bytes[1]!,
    proto: bytes[9]!,
    id: get16(bytes, 4),
    df: (word & 0x4000) !== 0,
    flowLabel: 0,
    fragOffset: (word & 0x1fff) * 8,
    moreFragments: (word & 0x2000) !== 0,
    ipHeaderLen,
    l4: bytes.subarray(ipHeaderLen),
  };
}

function readIpv6(bytes: Uint8Array): IpPart {
  must(bytes.length >= 40, "shorter than an IPv6 header", bytes);
  must(get16(bytes, 4) === bytes.length - 40, "IPv6 payload length", bytes);
  const isFragment = bytes[6] === 44;
  must(!isFragment || bytes.length >= 48, "shorter than a fragment header", bytes);
  const ipHeaderLen = isFragment ? 48 : 40;
  const word = isFragment ? get16(bytes, 42) : 0;
  return {
    family: 6,
    src: addressText(bytes.subarray(8, 24)),
    dst: addressText(bytes.subarray(24, 40)),
    ttl: bytes[7]!,
    tos: (get16(bytes, 0) >> 4) & 255,
    proto: isFragment ? bytes[40]! : bytes[6]!,
    id: isFragment ? get32(bytes, 44) : 0,
    df: true,
    flowLabel: get32(bytes, 0) % 2 ** 20,
    fragOffset: word & 0xfff8,
    moreFragments: (word & 1) !== 0,
    ipHeaderLen,
    l4: bytes.subarray(ipHeaderLen),
  };
}

/** A packet's IP part, verified; the L4 part as bytes. */
export function parsePacket(bytes: Uint8Array, framing: Framing = {}): Packet {
  const vnetBytes = framing.vnetBytes ?? 0;
  must(bytes.length > vnetBytes, "no packet behind the vnet header", bytes);
  const vnet = vnetBytes === 0 ? undefined : readVnet(bytes);
  const packet = bytes.subarray(vnetBytes);
  const version = packet[0]! >> 4;
  must(version === 4 || version === 6, "IP version", bytes);
  const part = version === 4 ? readIpv4(packet) : readIpv6(packet);
  if (vnet === undefined || vnet.gsoType === 0) {
    must(packet.length <= (framing.mtu ?? MTU_MAX), "longer than the MTU", bytes);
  }
  if (vnet !== undefined && vnet.gsoType === 0) must(vnet.gsoSize === 0, "stray gso_size", bytes);
  return { ...part, vnet, bytes: packet };
}

/**
 * Checks the L4 checksum: complete, or just the pseudo-header sum where the vnet header says so.
 */
function checkSum(packet: Packet, at: number): void {
  const { l4, vnet, bytes } = packet;
  const src = bytes
    .subarray(packet.family === 4 ? 12 : 8)
    .subarray(0, packet.family === 4 ? 4 : 16);
  const dst = bytes.subarray(packet.family === 4 ? 16 : 24).subarray(0, src.length);
  const pseudo =
    packet.proto === 1 ? new Uint8Array(0) : pseudoHeader(src, dst, packet.proto, l4.length);
  if (vnet !== undefined && (vnet.flags & NEEDS_CSUM) !== 0) {
    must(vnet.csumStart === packet.ipHeaderLen, "csum_start", bytes);
    must(vnet.csumOffset === at, "csum_offset", bytes);
    must(get16(l4, at) === onesSum(pseudo), "partial checksum", bytes);
  } else {
    must(onesSum(pseudo, l4) === 0xffff, "L4 checksum", bytes);
  }
}

/** The rules of super-packets (TUN-8 to TUN-11); answers gso_size, 0 for a plain packet. */
function checkGso(packet: Packet, headerLen: number, type: number, framing: Framing): number {
  const { vnet, bytes } = packet;
  if (vnet === undefined || vnet.gsoType === 0) return 0;
  const headers = packet.ipHeaderLen + headerLen;
  must(vnet.gsoType === type, "gso_type", bytes);
  must((vnet.flags & NEEDS_CSUM) !== 0, "a super-packet without NEEDS_CSUM", bytes);
  must(vnet.hdrLen === headers, "hdr_len", bytes);
  must(vnet.gsoSize > 0, "gso_size 0", bytes);
  must(bytes.length - headers > vnet.gsoSize, "a super-packet of one segment", bytes);
  must(headers + vnet.gsoSize <= (framing.mtu ?? MTU_MAX), "gso_size over the MTU", bytes);
  return vnet.gsoSize;
}

interface Options {
  mss: number | undefined;
  wscale: number | undefined;
  sackOk: boolean;
  ts: readonly [number, number] | undefined;
  sack: (readonly [number, number])[];
}

function readOptions(l4: Uint8Array, end: number): Options {
  const found: Options = {
    mss: undefined,
    wscale: undefined,
    sackOk: false,
    ts: undefined,
    sack: [],
  };
  for (let at = 20; at < end;) {
    const kind = l4[at]!;
    if (kind === 0) break;
    if (kind === 1) {
      at++;
      continue;
    }
    const length = l4[at + 1] ?? 0;
    must(length >= 2 && at + length <= end, "TCP option length", l4);
    if (kind === 2) found.mss = get16(l4, at + 2);
    else if (kind === 3) found.wscale = l4[at + 2]!;
    else if (kind === 4) found.sackOk = true;
    else if (kind === 8) found.ts = [get32(l4, at + 2), get32(l4, at + 6)];
    else if (kind === 5) {
      for (let i = at + 2; i + 8 <= at + length; i += 8) {
        found.sack.push([get32(l4, i), get32(l4, i + 4)]);
      }
    } else must(false, `TCP option ${kind} out`, l4);
    at += length;
  }
  return found;
}

export function expectTcp(bytes: Uint8Array, framing: Framing = {}): TcpSeen {
  const packet = parsePacket(bytes, framing);
  const { l4 } = packet;
  must(packet.proto === 6, "not TCP", packet.bytes);
  must(!packet.moreFragments && packet.fragOffset === 0, "TCP in fragments", packet.bytes);
  must(packet.df, "TCP without DF", packet.bytes);
  must(l4.length >= 20, "shorter than a TCP header", packet.bytes);
  const headerLen = (l4[12]! >> 4) * 4;
  must(headerLen >= 20 && headerLen <= l4.length, "TCP data offset", packet.bytes);
  must((l4[12]! & 15) === 0, "TCP reserved bits", packet.bytes);
  checkSum(packet, 16);
  const gsoSize = checkGso(packet, headerLen, packet.family === 4 ? 1 : 4, framing);
  const bits = l4[13]!;
  const payload = l4.subarray(headerLen);
  const seq = get32(l4, 4);
  return {
    ...packet,
    ...readOptions(l4, headerLen),
    sport: get16(l4, 0),
    dport: get16(l4, 2),
    seq,
    ack: get32(l4, 8),
    flags: flagText(bits),
    window: get16(l4, 14),
    payload,
    gsoSize,
    end: seqAdd(seq, payload.length + (bits & 1) + ((bits >> 1) & 1)),
  };
}

export function expectUdp(bytes: Uint8Array, framing: Framing = {}): UdpSeen {
  const packet = parsePacket(bytes, framing);
  const { l4 } = packet;
  must(packet.proto === 17, "not UDP", packet.bytes);
  must(!packet.moreFragments && packet.fragOffset === 0, "a fragment", packet.bytes);
  must(l4.length >= 8, "shorter than a UDP header", packet.bytes);
  must(get16(l4, 4) === l4.length, "UDP length", packet.bytes);
  must(get16(l4, 6) !== 0, "UDP without checksum", packet.bytes);
  checkSum(packet, 6);
  return {
    ...packet,
    sport: get16(l4, 0),
    dport: get16(l4, 2),
    payload: l4.subarray(8),
    gsoSize: checkGso(packet, 8, 5, framing),
  };
}

export function expectIcmp(bytes: Uint8Array, framing: Framing = {}): IcmpSeen {
  const packet = parsePacket(bytes, framing);
  const { l4 } = packet;
  must(packet.proto === (packet.family === 4 ? 1 : 58), "not ICMP", packet.bytes);
  must(!packet.moreFragments && packet.fragOffset === 0, "a fragment", packet.bytes);
  must(l4.length >= 8, "shorter than an ICMP header", packet.bytes);
  checkSum(packet, 2);
  return {
    ...packet,
    type: l4[0]!,
    code: l4[1]!,
    echoId: get16(l4, 4),
    echoSeq: get16(l4, 6),
    word: get32(l4, 4),
    payload: l4.subarray(8),
  };
}

/** Joins the fragments of one datagram (any order) to the packet they came from. */
export function joinFragments(fragments: readonly Uint8Array[], framing: Framing = {}): Uint8Array {
  const parts = fragments.map((bytes) => parsePacket(bytes, framing));
  parts.sort((a, b) => a.fragOffset - b.fragOffset);
  const first = parts[0];
  if (first === undefined) throw new Error("no fragments");
  let at = 0;
  for (const part of parts) {
    must(part.id === first.id && part.fragOffset === at, "fragments do not join", part.bytes);
    at += part.l4.length;
    must(part.moreFragments === (part !== parts.at(-1)), "more-fragments flag", part.bytes);
  }
  const header = Uint8Array.from(first.bytes.subarray(0, first.family === 4 ? 20 : 40));
  const whole = concat(header, ...parts.map((part) => part.l4));
  if (first.family === 4) {
    new DataView(whole.buffer).setUint16(2, whole.length);
    new DataView(whole.buffer).setUint16(6, 0);
    new DataView(whole.buffer).setUint16(10, 0);
    new DataView(whole.buffer).setUint16(10, ~onesSum(whole.subarray(0, 20)) & 0xffff);
  } else {
    new DataView(whole.buffer).setUint16(4, whole.length - 40);
    whole[6] = first.proto;
  }
  return whole;
}
