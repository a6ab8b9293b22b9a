/**
 * What a reader of captures has to know of an IP packet: its ends, the way to its transport header
 * (IPv6 extension headers, RFC 8200 §4), fragments, and whether its checksums are right. Says
 * nothing about whether a stack should take the packet.
 */
import { be16, be32, onesSum, putBe16 } from "./sum.ts";

export const PROTO_ICMP = 1;
export const PROTO_TCP = 6;
export const PROTO_UDP = 17;
export const PROTO_ICMP6 = 58;

const FRAGMENT = 44;
const AUTHENTICATION = 51;
/** Hop-by-hop, routing, destination options, mobility, HIP, shim6. */
const EXTENSIONS: readonly number[] = [0, 43, 60, 135, 139, 140];
const EXTENSIONS_MAX = 64;

export type SumState = "good" | "bad" | "absent" | "unknown";

/** Facts of one packet; `data` is what the capture has of it, the link layer's padding cut off. */
export interface IpFacts {
  data: Uint8Array;
  family: 4 | 6;
  /** Bytes that it has, by its header and the wire; more than `data` if the capture cut it. */
  bytes: number;
  src: number;
  dst: number;
  addressBytes: number;
  /** Transport protocol, -1 if the header chain could not be followed. */
  proto: number;
  /** Where the transport header begins, or the payload of a fragment. */
  l4: number;
  isFragment: boolean;
  fragmentId: number;
  fragmentOffset: number;
  hasMore: boolean;
  /** The addresses that the capture has, where a reader put others in their place. */
  real?: { readonly src: Uint8Array; readonly dst: Uint8Array };
}

/** Reads the packet that begins at `at`; undefined if there is no whole IP header. */
export function dissect(frame: Uint8Array, at: number, wireBytes: number): IpFacts | undefined {
  const version = (frame[at] ?? 0) >> 4;
  if (version === 4) return dissect4(frame, at, wireBytes);
  return version === 6 ? dissect6(frame, at, wireBytes) : undefined;
}

function dissect4(frame: Uint8Array, at: number, wireBytes: number): IpFacts | undefined {
  const room = frame.length - at;
  const headerBytes = ((frame[at] ?? 0) & 15) * 4;
  if (room < 20 || headerBytes < 20 || headerBytes > room) return undefined;
  // A length of 0 is a super-packet that was captured before the device cut it.
  const bytes = Math.min(be16(frame, at + 2) || wireBytes - at, wireBytes - at);
  if (bytes < headerBytes) return undefined;
  const flags = be16(frame, at + 6);
  const fragmentOffset = (flags & 0x1fff) * 8;
  const hasMore = (flags & 0x2000) !== 0;
  return {
    data: frame.subarray(at, at + Math.min(room, bytes)),
    family: 4,
    bytes,
    src: 12,
    dst: 16,
    addressBytes: 4,
    proto: frame[at + 9] ?? 0,
    l4: headerBytes,
    isFragment: hasMore || fragmentOffset !== 0,
    fragmentId: be16(frame, at + 4),
    fragmentOffset,
    hasMore,
  };
}

function dissect6(frame: Uint8Array, at: number, wireBytes: number): IpFacts | undefined {
  const room = frame.length - at;
  if (room < 40) return undefined;
  const payload = be16(frame, at + 4);
  const bytes = payload === 0 ? wireBytes - at : Math.min(40 + payload, wireBytes - at);
  const facts: IpFacts = {
    data: frame.subarray(at, at + Math.min(room, bytes)),
    family: 6,
    bytes,
    src: 8,
    dst: 24,
    addressBytes: 16,
    proto: frame[at + 6] ?? 0,
    l4: 40,
    isFragment: false,
    fragmentId: 0,
    fragmentOffset: 0,
    hasMore: false,
  };
  followChain(facts);
  return facts;
}

function followChain(facts: IpFacts): void {
  const { data } = facts;
  for (let count = 0; count < EXTENSIONS_MAX; count++) {
    const { proto, l4 } = facts;
    const isFragment = proto === FRAGMENT;
    if (!isFragment && proto !== AUTHENTICATION && !EXTENSIONS.includes(proto)) return;
    const second = data[l4 + 1] ?? 0;
    const bytes = isFragment ? 8 : proto === AUTHENTICATION ? 4 * (second + 2) : 8 * (second + 1);
    facts.isFragment ||= isFragment;
    if (isFragment && l4 + 8 <= data.length) {
      facts.fragmentOffset = be16(data, l4 + 2) & 0xfff8;
      facts.hasMore = (be16(data, l4 + 2) & 1) !== 0;
      facts.fragmentId = be32(data, l4 + 4);
    }
    if (l4 + bytes > data.length) break;
    facts.proto = data[l4] ?? 0;
    facts.l4 = l4 + bytes;
    // What follows a later fragment's header is payload.
    if (isFragment && facts.fragmentOffset !== 0) return;
  }
  facts.proto = -1;
}

/** Whether the transport header is there: not behind other fragments. */
export function isFirst(facts: IpFacts): boolean {
  return facts.fragmentOffset === 0;
}

/** The sum of the pseudo header. RFC 9293 §3.1, RFC 8200 §8.1. */
function pseudoSum(facts: IpFacts, proto: number, l4Bytes: number): number {
  const end = facts.src + 2 * facts.addressBytes;
  const high = Math.floor(l4Bytes / 65_536);
  return onesSum(facts.data, facts.src, end, proto + high + (l4Bytes & 0xffff));
}

export function headerSum(facts: IpFacts): SumState {
  if (facts.family === 6) return "absent";
  const end = ((facts.data[0] ?? 0) & 15) * 4;
  return onesSum(facts.data, 0, end) === 0xffff ? "good" : "bad";
}

/** Where the checksum stands in the transport header, -1 if it has none that is known. */
function sumOffset(facts: IpFacts): number {
  const { proto, family } = facts;
  if (proto === PROTO_TCP) return 16;
  if (proto === PROTO_UDP) return 6;
  return proto === (family === 4 ? PROTO_ICMP : PROTO_ICMP6) ? 2 : -1;
}

/** Bytes that the transport's checksum covers. */
function coveredBytes(facts: IpFacts): number {
  const all = facts.bytes - facts.l4;
  if (facts.proto !== PROTO_UDP) return all;
  const udp = be16(facts.data, facts.l4 + 4);
  return udp === 0 ? all : Math.min(udp, all);
}

/** The transport's checksum; unknown where the packet is cut or a fragment, or has none. */
export function transportSum(facts: IpFacts): SumState {
  const { data, l4 } = facts;
  const at = sumOffset(facts);
  const covered = coveredBytes(facts);
  const isWhole = !facts.isFragment || (isFirst(facts) && !facts.hasMore);
  if (at < 0 || !isWhole || covered < at + 2 || l4 + covered > data.length) return "unknown";
  if (facts.proto === PROTO_UDP && be16(data, l4 + 6) === 0) return "absent";
  const pseudo = facts.proto === PROTO_ICMP ? 0 : pseudoSum(facts, facts.proto, covered);
  return onesSum(data, l4, l4 + covered, pseudo) === 0xffff ? "good" : "bad";
}

/**
 * Makes both checksums right, and the IPv4 length of a super-packet that has none; only where the
 * whole of what they cover is there.
 */
export function repairSums(facts: IpFacts): void {
  const { data, l4 } = facts;
  if (facts.family === 4) {
    if (be16(data, 2) === 0 && facts.bytes <= 65_535) putBe16(data, 2, facts.bytes);
    const end = ((data[0] ?? 0) & 15) * 4;
    putBe16(data, 10, 0);
    putBe16(data, 10, ~onesSum(data, 0, end) & 0xffff);
  }
  if (transportSum(facts) !== "bad") return;
  const at = l4 + sumOffset(facts);
  const covered = coveredBytes(facts);
  const pseudo = facts.proto === PROTO_ICMP ? 0 : pseudoSum(facts, facts.proto, covered);
  putBe16(data, at, 0);
  const sum = ~onesSum(data, l4, l4 + covered, pseudo) & 0xffff;
  putBe16(data, at, facts.proto === PROTO_UDP && sum === 0 ? 0xffff : sum);
}
