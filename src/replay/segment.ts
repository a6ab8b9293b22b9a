/**
 * TCP segments of a capture and of the core: reading what a replay needs, and the client's
 * acknowledgements translated to the core's sequence numbers and timestamps (RFC 9293 §3.1,
 * RFC 2018 §3, RFC 7323 §3.2). Checksums are changed along, so that wrong ones stay wrong.
 */
import type { IpFacts } from "../pcap/ip.ts";
import { be16, be32, patchBe32, putBe16 } from "../pcap/sum.ts";

export const FIN = 1;
export const SYN = 2;
export const RST = 4;
export const ACK = 16;

const OPTION_END = 0;
const OPTION_NONE = 1;
const OPTION_SCALE = 3;
const OPTION_SACK = 5;
const OPTION_TIMESTAMPS = 8;

export interface TcpSegment {
  readonly ip: IpFacts;
  readonly sport: number;
  readonly dport: number;
  readonly seq: number;
  readonly ack: number;
  readonly flags: number;
  /** Payload that the capture has, and bytes that the wire had. */
  readonly payload: Uint8Array;
  readonly payloadBytes: number;
  /** Window scale option, -1 = none. */
  readonly scale: number;
  /** Offsets of option bodies in the packet, 0 = none. */
  readonly tsAt: number;
  readonly sackAt: number;
  readonly sackBlocks: number;
}

/** Distance from `from` to `to`, modulo 2^32, signed. */
export function seqDistance(from: number, to: number): number {
  return (to - from) | 0;
}

/** Reads a segment; undefined if its header is not whole. */
export function readSegment(ip: IpFacts): TcpSegment | undefined {
  const { data, l4 } = ip;
  const headerBytes = ((data[l4 + 12] ?? 0) >> 4) * 4;
  if (headerBytes < 20 || l4 + headerBytes > data.length) return undefined;
  let [scale, tsAt, sackAt, sackBlocks] = [-1, 0, 0, 0];
  const end = l4 + headerBytes;
  for (let at = l4 + 20; at < end;) {
    const kind = data[at] ?? 0;
    if (kind === OPTION_END) break;
    const length = kind === OPTION_NONE ? 1 : (data[at + 1] ?? 0);
    if (kind !== OPTION_NONE && (length < 2 || at + length > end)) break;
    if (kind === OPTION_SCALE && length === 3) scale = data[at + 2] ?? 0;
    if (kind === OPTION_TIMESTAMPS && length === 10) tsAt = at + 2;
    if (kind === OPTION_SACK && length % 8 === 2) {
      sackAt = at + 2;
      sackBlocks = (length - 2) / 8;
    }
    at += length;
  }
  return {
    ip,
    sport: be16(data, l4),
    dport: be16(data, l4 + 2),
    seq: be32(data, l4 + 4),
    ack: be32(data, l4 + 8),
    flags: data[l4 + 13] ?? 0,
    payload: data.subarray(end),
    payloadBytes: Math.max(0, ip.isFragment ? data.length - end : ip.bytes - end),
    scale,
    tsAt,
    sackAt,
    sackBlocks,
  };
}

export function tsValue(segment: TcpSegment): number {
  return segment.tsAt === 0 ? 0 : be32(segment.ip.data, segment.tsAt);
}

export function tsEcho(segment: TcpSegment): number {
  return segment.tsAt === 0 ? 0 : be32(segment.ip.data, segment.tsAt + 4);
}

/** The furthest sequence number that the segment acknowledges, SACK blocks included. */
export function furthestAck(segment: TcpSegment): number {
  let furthest = segment.ack;
  for (let block = 0; block < segment.sackBlocks; block++) {
    const edge = be32(segment.ip.data, segment.sackAt + 8 * block + 4);
    if (seqDistance(furthest, edge) > 0) furthest = edge;
  }
  return furthest;
}

/** How a client's packet is changed in place. */
export interface Translation {
  /** Added to ACK and SACK edges, modulo 2^32. */
  readonly ackShift: number;
  /** The acknowledgement may not be later than this (a sequence number of the core's). */
  readonly ackMax: number;
  /** Added to TSecr, and its latest legal value; undefined: TSecr stays. */
  readonly echo: { readonly shift: number; readonly max: number } | undefined;
  /** Shifts the window field to the right: the recorded server did not take window scaling. */
  readonly windowShift: number;
}

export function translate(segment: TcpSegment, how: Translation): void {
  const { data, l4 } = segment.ip;
  const sums = { base: l4, sumAt: l4 + 16 };
  const later = (value: number): boolean => seqDistance(how.ackMax, value) > 0;
  const ack = (segment.ack + how.ackShift) >>> 0;
  patchBe32(data, l4 + 8, later(ack) ? how.ackMax : ack, sums);
  const edges = Array.from({ length: 2 * segment.sackBlocks }, (_, index) => {
    const at = segment.sackAt + 4 * index;
    return [at, (be32(data, at) + how.ackShift) >>> 0] as const;
  });
  // Blocks of what the core never sent say nothing to it.
  if (edges.some(([, edge]) => later(edge))) removeSack(segment);
  else for (const [at, edge] of edges) patchBe32(data, at, edge, sums);
  if (segment.tsAt !== 0 && how.echo !== undefined) {
    const echo = (tsEcho(segment) + how.echo.shift) >>> 0;
    const isLate = seqDistance(how.echo.max, echo) > 0;
    patchBe32(data, segment.tsAt + 4, isLate ? how.echo.max : echo, sums);
  }
  if (how.windowShift > 0) {
    const window = be16(data, l4 + 14);
    setWindow(segment.ip, window === 0 ? 0 : Math.max(1, window >> how.windowShift));
  }
}

/** Overwrites the SACK option with padding. */
export function removeSack(segment: TcpSegment): void {
  if (segment.sackBlocks === 0) return;
  const { data, l4 } = segment.ip;
  const sums = { base: l4, sumAt: l4 + 16 };
  for (let word = 0; word < 2 * segment.sackBlocks; word++) {
    patchBe32(data, segment.sackAt + 4 * word, 0x0101_0101, sums);
  }
  const head = segment.sackAt - 2;
  const rest = be16(data, head + 2);
  patchBe32(data, head, 0x0101_0000 + rest, sums);
}

/** Sets the window field of the segment of `ip`. */
export function setWindow(ip: IpFacts, window: number): void {
  const { data, l4 } = ip;
  const sums = { base: l4, sumAt: l4 + 16 };
  // Offset, flags and window are one word.
  patchBe32(data, l4 + 12, be16(data, l4 + 12) * 65_536 + window, sums);
}

/**
 * A segment of the client that the capture does not have, made after `like`: sequence and
 * acknowledgement numbers of its own, `payload`, no options but timestamps.
 */
export function makeSegment(
  like: TcpSegment,
  fields: { readonly seq: number; readonly ack: number; readonly window: number },
  payload: Uint8Array,
): Uint8Array {
  const { ip } = like;
  const optionBytes = like.tsAt === 0 ? 0 : 12;
  const ipBytes = ip.family === 4 ? 20 : 40;
  const bytes = ipBytes + 20 + optionBytes + payload.length;
  const packet = new Uint8Array(bytes);
  packet.set(ip.data.subarray(0, ipBytes));
  if (ip.family === 4) {
    packet[0] = 0x45;
    putBe16(packet, 2, bytes);
    putBe16(packet, 6, 0x4000);
  } else {
    putBe16(packet, 4, bytes - 40);
    packet[6] = 6;
  }
  packet.set(ip.data.subarray(ip.l4, ip.l4 + 4), ipBytes);
  const view = new DataView(packet.buffer);
  view.setUint32(ipBytes + 4, fields.seq);
  view.setUint32(ipBytes + 8, fields.ack);
  packet[ipBytes + 12] = (20 + optionBytes) << 2;
  packet[ipBytes + 13] = ACK;
  putBe16(packet, ipBytes + 14, fields.window);
  if (optionBytes > 0) {
    packet.set([OPTION_NONE, OPTION_NONE, OPTION_TIMESTAMPS, 10], ipBytes + 20);
    packet.set(ip.data.subarray(like.tsAt, like.tsAt + 8), ipBytes + 24);
  }
  packet.set(payload, ipBytes + 20 + optionBytes);
  return packet;
}
