/**
 * Builds IPv4, IPv6, TCP, UDP and ICMP packets for tests, right by default and wrong on demand.
 * Shares nothing with `assembly/`. Reading and verifying is in `expect.ts`, which this file passes
 * on, so that a test needs one import. Addresses come from 192.0.2.0/24 and 2001:db8::/32.
 *
 * A builder takes the packet as fields with defaults ("template, but"): every length, checksum and
 * header word can be forced. RFC 791, RFC 8200, RFC 9293, RFC 768, RFC 792, RFC 4443.
 */
import { address, concat, onesSum, pseudoHeader, put16, put32 } from "./bytes.ts";
import { flagBits } from "./flags.ts";

export * from "./expect.ts";
export * from "./flags.ts";

export const CLIENT_4 = "192.0.2.10";
export const SERVER_4 = "192.0.2.200";
export const CLIENT_6 = "2001:db8::10";
export const SERVER_6 = "2001:db8::200";

export const PROTO_ICMP = 1;
export const PROTO_TCP = 6;
export const PROTO_UDP = 17;
export const PROTO_ICMP6 = 58;
export const PROTO_FRAGMENT = 44;

export interface Extension {
  /** Its own number: 0 hop-by-hop, 43 routing, 44 fragment, 60 destination options … */
  readonly type: number;
  /** All after the next-header byte; the length byte included. */
  readonly rest: Uint8Array;
}

export interface IpFields {
  src?: string;
  dst?: string;
  ttl?: number;
  /** TOS or traffic class. */
  tos?: number;
  id?: number;
  /** IPv4 fragment word: 0x4000 DF, 0x2000 MF, low 13 bits offset / 8. */
  fragment?: number;
  flowLabel?: number;
  /** IPv4 options, padded to a multiple of 4 by the builder. */
  ipOptions?: Uint8Array;
  extensions?: readonly Extension[];
  /** Forced header words. */
  version?: number;
  ihl?: number;
  totalLength?: number;
  payloadLength?: number;
  headerChecksum?: number;
  proto?: number;
  /** Bytes after the end of the IP packet. */
  trailer?: Uint8Array;
}

export interface L4Fields extends IpFields {
  sport?: number;
  dport?: number;
  payload?: Uint8Array;
  /** Forced checksum, "bad" for one bit wrong, "partial" for the pseudo-header sum alone. */
  checksum?: number | "bad" | "partial";
}

export interface TcpOptions {
  mss?: number;
  wscale?: number;
  sackOk?: boolean;
  /** TSval, TSecr. */
  ts?: readonly [number, number];
  /** Left and right edges. */
  sack?: readonly (readonly [number, number])[];
  /** Raw bytes after the above. */
  raw?: Uint8Array;
}

export interface TcpFields extends L4Fields {
  seq?: number;
  ack?: number;
  /** Letters of FSRPAUEC, or bits. */
  flags?: string | number;
  window?: number;
  urgent?: number;
  options?: TcpOptions;
  /** Forced data offset in words; reserved bits. */
  dataOffset?: number;
  reserved?: number;
}

export interface UdpFields extends L4Fields {
  udpLength?: number;
}

export interface IcmpFields extends IpFields {
  type?: number;
  code?: number;
  /** Echo identifier and sequence number, or the second header word as a whole. */
  echoId?: number;
  echoSeq?: number;
  word?: number;
  payload?: Uint8Array;
  checksum?: number | "bad";
}

function padded(bytes: Uint8Array, unit: number, fill = 0): Uint8Array {
  const spare = (unit - (bytes.length % unit)) % unit;
  return concat(bytes, new Uint8Array(spare).fill(fill));
}

function ipv4(fields: IpFields, proto: number, payload: Uint8Array): Uint8Array {
  const options = padded(fields.ipOptions ?? new Uint8Array(0), 4);
  const header = concat(new Uint8Array(20), options);
  header[0] = ((fields.version ?? 4) << 4) | (fields.ihl ?? header.length / 4);
  header[1] = fields.tos ?? 0;
  put16(header, 2, fields.totalLength ?? header.length + payload.length);
  put16(header, 4, fields.id ?? 0);
  put16(header, 6, fields.fragment ?? 0x4000);
  header[8] = fields.ttl ?? 64;
  header[9] = fields.proto ?? proto;
  header.set(address(fields.src ?? CLIENT_4), 12);
  header.set(address(fields.dst ?? SERVER_4), 16);
  put16(header, 10, fields.headerChecksum ?? ~onesSum(header) & 0xffff);
  return concat(header, payload, fields.trailer ?? new Uint8Array(0));
}

function ipv6(fields: IpFields, proto: number, payload: Uint8Array): Uint8Array {
  const extensions = fields.extensions ?? [];
  const last = fields.proto ?? proto;
  const chain = extensions.map((extension, i) =>
    concat(Uint8Array.of(extensions[i + 1]?.type ?? last), extension.rest),
  );
  const body = concat(...chain, payload);
  const header = new Uint8Array(40);
  const word =
    (fields.version ?? 6) * 2 ** 28 + ((fields.tos ?? 0) << 20) + (fields.flowLabel ?? 0);
  put32(header, 0, word);
  put16(header, 4, fields.payloadLength ?? body.length);
  header[6] = extensions[0]?.type ?? last;
  header[7] = fields.ttl ?? 64;
  header.set(address(fields.src ?? CLIENT_6), 8);
  header.set(address(fields.dst ?? SERVER_6), 24);
  return concat(header, body, fields.trailer ?? new Uint8Array(0));
}

function isIpv6(fields: IpFields): boolean {
  return (fields.src ?? fields.dst ?? CLIENT_4).includes(":");
}

/** An IP packet with any payload; IPv6 if an address says so. */
export function ipPacket(fields: IpFields, proto: number, payload: Uint8Array): Uint8Array {
  return isIpv6(fields) ? ipv6(fields, proto, payload) : ipv4(fields, proto, payload);
}

function pseudo(fields: IpFields, proto: number, length: number): Uint8Array {
  const six = isIpv6(fields);
  const src = address(fields.src ?? (six ? CLIENT_6 : CLIENT_4));
  const dst = address(fields.dst ?? (six ? SERVER_6 : SERVER_4));
  return pseudoHeader(src, dst, proto, length);
}

/** Puts the checksum of `bytes` at `at`, or what the test asked for instead. */
function seal(
  bytes: Uint8Array,
  at: number,
  pseudoBytes: Uint8Array,
  wanted: number | "bad" | "partial" | undefined,
): void {
  put16(bytes, at, 0);
  const right = ~onesSum(pseudoBytes, bytes) & 0xffff;
  if (wanted === "partial") put16(bytes, at, onesSum(pseudoBytes));
  else if (wanted === "bad") put16(bytes, at, right ^ 0x0100);
  else put16(bytes, at, wanted ?? right);
}

/** The bytes of TCP options, padded with end-of-list. */
export function tcpOptionBytes(options: TcpOptions): Uint8Array {
  const parts: Uint8Array[] = [];
  if (options.mss !== undefined) {
    parts.push(Uint8Array.of(2, 4, options.mss >> 8, options.mss));
  }
  if (options.sackOk === true) parts.push(Uint8Array.of(4, 2));
  if (options.wscale !== undefined) parts.push(Uint8Array.of(3, 3, options.wscale));
  if (options.ts !== undefined) {
    const stamp = Uint8Array.of(8, 10, 0, 0, 0, 0, 0, 0, 0, 0);
    put32(stamp, 2, options.ts[0]);
    put32(stamp, 6, options.ts[1]);
    parts.push(stamp);
  }
  if (options.sack !== undefined && options.sack.length > 0) {
    const blocks = new Uint8Array(2 + 8 * options.sack.length);
    blocks.set([5, blocks.length]);
    options.sack.forEach(([left, right], i) => {
      put32(blocks, 2 + 8 * i, left);
      put32(blocks, 6 + 8 * i, right);
    });
    parts.push(blocks);
  }
  if (options.raw !== undefined) parts.push(options.raw);
  return padded(concat(...parts), 4);
}

/** A TCP packet; an ACK of nothing unless told otherwise. */
export function tcpPacket(fields: TcpFields): Uint8Array {
  const options = tcpOptionBytes(fields.options ?? {});
  const segment = concat(new Uint8Array(20), options, fields.payload ?? new Uint8Array(0));
  put16(segment, 0, fields.sport ?? 40000);
  put16(segment, 2, fields.dport ?? 80);
  put32(segment, 4, fields.seq ?? 0);
  put32(segment, 8, fields.ack ?? 0);
  const offset = fields.dataOffset ?? (20 + options.length) / 4;
  segment[12] = (offset << 4) | (fields.reserved ?? 0);
  segment[13] = flagBits(fields.flags ?? "A");
  put16(segment, 14, fields.window ?? 65535);
  put16(segment, 18, fields.urgent ?? 0);
  seal(segment, 16, pseudo(fields, PROTO_TCP, segment.length), fields.checksum);
  return ipPacket(fields, PROTO_TCP, segment);
}

export function udpPacket(fields: UdpFields): Uint8Array {
  const datagram = concat(new Uint8Array(8), fields.payload ?? new Uint8Array(0));
  const length = fields.udpLength ?? datagram.length;
  put16(datagram, 0, fields.sport ?? 40000);
  put16(datagram, 2, fields.dport ?? 53);
  put16(datagram, 4, length);
  const covered = datagram.subarray(0, Math.min(length, datagram.length));
  seal(covered, 6, pseudo(fields, PROTO_UDP, length), fields.checksum);
  if (fields.checksum === undefined && covered[6] === 0 && covered[7] === 0) {
    put16(covered, 6, 0xffff);
  }
  return ipPacket(fields, PROTO_UDP, datagram);
}

/** ICMP or ICMPv6 by the family of the addresses; an echo request unless told otherwise. */
export function icmpPacket(fields: IcmpFields): Uint8Array {
  const six = isIpv6(fields);
  const message = concat(new Uint8Array(8), fields.payload ?? new Uint8Array(0));
  message[0] = fields.type ?? (six ? 128 : 8);
  message[1] = fields.code ?? 0;
  const word = (fields.echoId ?? 1) * 65536 + (fields.echoSeq ?? 1);
  put32(message, 4, fields.word ?? word);
  const proto = six ? PROTO_ICMP6 : PROTO_ICMP;
  const covered = six ? pseudo(fields, proto, message.length) : new Uint8Array(0);
  seal(message, 2, covered, fields.checksum);
  return ipPacket(fields, proto, message);
}

/** Cuts an IPv4 packet into fragments whose payloads end at `cuts` (multiples of 8). */
export function fragment4(packet: Uint8Array, cuts: readonly number[], id = 7): Uint8Array[] {
  const headerLen = (packet[0]! & 15) * 4;
  const payload = packet.subarray(headerLen);
  const edges = [0, ...cuts, payload.length];
  return edges.slice(1).map((end, i) => {
    const start = edges[i]!;
    const piece = concat(packet.subarray(0, headerLen), payload.subarray(start, end));
    put16(piece, 2, piece.length);
    put16(piece, 4, id);
    put16(piece, 6, (end < payload.length ? 0x2000 : 0) | (start / 8));
    put16(piece, 10, 0);
    put16(piece, 10, ~onesSum(piece.subarray(0, headerLen)) & 0xffff);
    return piece;
  });
}

/** The fragment extension header: offset in bytes, more flag, identification. */
export function fragmentHeader(offset: number, more: boolean, id: number): Extension {
  const rest = new Uint8Array(7);
  put16(rest, 1, offset | (more ? 1 : 0));
  put32(rest, 3, id);
  return { type: PROTO_FRAGMENT, rest };
}

/** Cuts an IPv6 packet without extension headers likewise. */
export function fragment6(packet: Uint8Array, cuts: readonly number[], id = 7): Uint8Array[] {
  const payload = packet.subarray(40);
  const edges = [0, ...cuts, payload.length];
  return edges.slice(1).map((end, i) => {
    const start = edges[i]!;
    const { type, rest } = fragmentHeader(start, end < payload.length, id);
    const chain = concat(Uint8Array.of(packet[6]!), rest);
    const piece = concat(packet.subarray(0, 40), chain, payload.subarray(start, end));
    put16(piece, 4, piece.length - 40);
    piece[6] = type;
    return piece;
  });
}

export interface VnetFields {
  /** 10 or 12. */
  bytes?: number;
  /** VNET_NEEDS_CSUM, VNET_DATA_VALID. */
  flags?: number;
  gsoType?: number;
  gsoSize?: number;
  hdrLen?: number;
  csumStart?: number;
  csumOffset?: number;
}

export const VNET_NEEDS_CSUM = 1;
export const VNET_DATA_VALID = 2;
export const GSO_NONE = 0;
export const GSO_TCPV4 = 1;
export const GSO_TCPV6 = 4;
export const GSO_UDP_L4 = 5;
export const GSO_ECN = 0x80;

/** Puts a virtio_net_hdr (little endian) before a packet. */
export function withVnet(packet: Uint8Array, fields: VnetFields = {}): Uint8Array {
  const header = new Uint8Array(fields.bytes ?? 10);
  const view = new DataView(header.buffer);
  header[0] = fields.flags ?? 0;
  header[1] = fields.gsoType ?? GSO_NONE;
  view.setUint16(2, fields.hdrLen ?? 0, true);
  view.setUint16(4, fields.gsoSize ?? 0, true);
  view.setUint16(6, fields.csumStart ?? 0, true);
  view.setUint16(8, fields.csumOffset ?? 0, true);
  if (header.length === 12) view.setUint16(10, 1, true);
  return concat(header, packet);
}

/** A TCP packet as a kernel hands it over: partial checksum, and GSO if `gsoSize` is given. */
export function offloadedTcp(fields: TcpFields, gsoSize = 0, bytes = 10): Uint8Array {
  const packet = tcpPacket({ ...fields, checksum: "partial" });
  const six = isIpv6(fields);
  const csumStart = six ? 40 : 20;
  const hdrLen = csumStart + 20 + tcpOptionBytes(fields.options ?? {}).length;
  return withVnet(packet, {
    bytes,
    flags: VNET_NEEDS_CSUM,
    gsoType: gsoSize === 0 ? GSO_NONE : six ? GSO_TCPV6 : GSO_TCPV4,
    gsoSize,
    hdrLen,
    csumStart,
    csumOffset: 16,
  });
}
