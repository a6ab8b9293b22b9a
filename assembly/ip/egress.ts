/**
 * Packets out. A packet is opened (vnet header, IP header), its L4 header is filled in by the
 * caller, payload is named by spans, and it is closed: lengths and checksums are set and it counts
 * as a TX descriptor. One packet is open at a time. The spans' bytes are read by the host until
 * txDone.
 *
 * vnet header (virtio 1.2 §5.1.6, native byte order):
 *   0       1     2         4          6            8             10
 *   | flags | gso | hdr_len | gso_size | csum_start | csum_offset | num_buffers |
 */
import {
  CFG_DSCP,
  CFG_MTU,
  CFG_TTL,
  CFG_VNET_BYTES,
  DROP_TOO_BIG,
  DSCP_COPY,
  GAUGE_TX_COUNT,
  OFFLOAD_CSUM,
  OFFLOAD_TSO4,
  OFFLOAD_TSO6,
  SPAN_BYTES,
  STAT_BYTES_OUT,
  STAT_PACKETS_OUT,
  STAT_SUPER_PACKETS_OUT,
  TX_BASE,
  TX_BYTES,
  TX_HEADERS_BASE,
  TX_HEADER_BYTES,
  TX_HEADER_LEN_OFF,
  TX_HEADER_PTR_OFF,
  TX_MAX,
  TX_SPANS_OFF,
  TX_SPAN_COUNT_OFF,
  TX_SPAN_MAX,
} from "../layout";
import { clear, copy } from "../mem/bytes";
import { config, hasOffload } from "../mem/config";
import { ARENA_BYTES, arenaBase } from "../mem/pools";
import { hashTuple } from "../mem/siphash";
import { add, count, setGauge } from "../mem/stats";
import { addSum, addSwapped, finishSum, foldSum, pseudoSum } from "../wire/checksum";
import { PROTO_ICMP, PROTO_TCP, PROTO_UDP } from "../wire/protocols";
import { IPV4_HEADER_BYTES, closeIpv4, putIpv4, putTos } from "../wire/ipv4";
import { IPV6_HEADER_BYTES, closeIpv6, putIpv6 } from "../wire/ipv6";

const VNET_NEEDS_CSUM: u8 = 1;
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;
const GSO_UDP_L4: u8 = 5;
/** Most bytes of a packet with its IP header. IPv6 could have 40 more; kernels like them less. */
const PACKET_MAX: u32 = 65535;

let txCount: u32 = 0;
let arenaUsed: u32 = 0;

// The open packet.
let isOpen: bool = false;
let family: u32 = 0;
let proto: u32 = 0;
let ip: usize = 0;
let l4: usize = 0;
let l4HeaderLen: u32 = 0;
let spanCount: u32 = 0;
let payloadLen: u32 = 0;
let tos: u32 = 0;

/** Most bytes of TCP header and payload of one super-packet; 0 if the device takes none. */
export function tsoBytes(ofFamily: u32): u32 {
  if (!hasOffload(ofFamily == 4 ? OFFLOAD_TSO4 : OFFLOAD_TSO6)) return 0;
  return PACKET_MAX - ipHeaderBytes(ofFamily);
}

/** Bytes of the IP header that this stack sends. */
export function ipHeaderBytes(ofFamily: u32): u32 {
  return ofFamily == 4 ? IPV4_HEADER_BYTES : IPV6_HEADER_BYTES;
}

/** TX descriptors left. */
export function txRoom(): u32 {
  return TX_MAX - txCount;
}

/** The host has written out (or given up) everything. */
export function resetTx(): void {
  txCount = 0;
  arenaUsed = 0;
  setGauge(GAUGE_TX_COUNT, 0);
}

/** Copies bytes to where they stay until txDone; 0 if there is no room. */
export function keepUntilTxDone(ptr: usize, bytes: u32): usize {
  if (bytes > ARENA_BYTES - arenaUsed) return 0;
  const kept = arenaBase() + arenaUsed;
  copy(kept, ptr, bytes);
  arenaUsed += (bytes + 7) & ~7;
  if (arenaUsed > ARENA_BYTES) arenaUsed = ARENA_BYTES;
  return kept;
}

/**
 * Opens a packet: writes the vnet room and the IP header (no options, DF on IPv4). Answers
 * the address of the L4 header, `l4HeaderBytes` long, which the caller fills; 0 if TX is full: the
 * caller counts a drop or keeps what it had to send.
 */
export function beginPacket(
  ofFamily: u32,
  src: usize,
  dst: usize,
  ofProto: u32,
  l4HeaderBytes: u32,
): usize {
  assert(!isOpen);
  if (txCount == TX_MAX) return 0;
  const vnetBytes = config(CFG_VNET_BYTES);
  const header = TX_HEADERS_BASE + <usize>txCount * TX_HEADER_BYTES;
  const ipBytes = ipHeaderBytes(ofFamily);
  assert(vnetBytes + ipBytes + l4HeaderBytes <= TX_HEADER_BYTES);
  clear(header, vnetBytes);
  isOpen = true;
  family = ofFamily;
  proto = ofProto;
  ip = header + vnetBytes;
  l4 = ip + ipBytes;
  l4HeaderLen = l4HeaderBytes;
  spanCount = 0;
  payloadLen = 0;
  tos = config(CFG_DSCP) == DSCP_COPY ? 0 : config(CFG_DSCP) << 2;
  if (ofFamily == 4) putIpv4(ip, ofProto, config(CFG_TTL), src, dst);
  else putIpv6(ip, ofProto, config(CFG_TTL), src, dst);
  return l4;
}

/** The open packet is of a flow whose client sent `clientTos` (IP-20); ECN is not taken over. */
export function followTos(clientTos: u32): void {
  if (config(CFG_DSCP) == DSCP_COPY) tos = clientTos & 0xfc;
}

/** Appends payload. At most TX_SPAN_MAX spans; empty ones are left out. */
export function addSpan(ptr: usize, bytes: u32): void {
  if (bytes == 0) return;
  assert(spanCount < TX_SPAN_MAX);
  const span = spanAt(spanCount);
  store<u32>(span, <u32>ptr);
  store<u32>(span, bytes, 4);
  spanCount++;
  payloadLen += bytes;
}

/**
 * Closes the packet. `gsoSize` is the payload of one wire segment: if there is more, the packet is
 * a super-packet (the device must take it, see tsoBytes). `csumOffset` is the place of the checksum
 * in the L4 header: 16 TCP, 6 UDP, 2 ICMP.
 */
export function endPacket(gsoSize: u32, csumOffset: u32): void {
  assert(isOpen);
  const l4Len = l4HeaderLen + payloadLen;
  const ipBytes = ipHeaderBytes(family);
  if (ipBytes + l4Len > PACKET_MAX) {
    abandonPacket();
    count(DROP_TOO_BIG);
    return;
  }
  const isSuper = gsoSize != 0 && payloadLen > gsoSize;
  // A vnet header has to say so; who asks tsoBytes first never gets here without one.
  assert(!isSuper || config(CFG_VNET_BYTES) != 0);
  closeIp(l4Len);
  putChecksum(csumOffset, isSuper);
  if (isSuper) {
    const vnet = ip - config(CFG_VNET_BYTES);
    store<u8>(vnet, gsoType(), 1);
    store<u16>(vnet, <u16>(ipBytes + l4HeaderLen), 2);
    store<u16>(vnet, <u16>gsoSize, 4);
    count(STAT_SUPER_PACKETS_OUT);
  }
  push(ip - config(CFG_VNET_BYTES), <u32>(l4 - ip) + l4HeaderLen, ipBytes + l4Len);
}

/** Closes the open packet without an L4 checksum of its own: a fragment. */
export function endFragment(): void {
  assert(isOpen);
  const bytes = l4HeaderLen + payloadLen;
  closeIp(bytes);
  push(ip - config(CFG_VNET_BYTES), <u32>(l4 - ip) + l4HeaderLen, packetBytes());
}

/** Completes the IP header of the open packet, which has `bytes` behind it. */
function closeIp(bytes: u32): void {
  if (family == 4) {
    putTos(ip, tos);
    closeIpv4(ip, IPV4_HEADER_BYTES + bytes);
  } else {
    closeIpv6(ip, bytes, (tos << 20) | flowLabel());
  }
}

/** Drops the open packet. */
export function abandonPacket(): void {
  assert(isOpen);
  isOpen = false;
}

/** Bytes of the open packet with its IP header. */
export function packetBytes(): u32 {
  return ipHeaderBytes(family) + l4HeaderLen + payloadLen;
}

/** Whether the open packet is larger than the device's MTU. */
export function isOverMtu(): bool {
  return packetBytes() > config(CFG_MTU);
}

function putChecksum(csumOffset: u32, isSuper: bool): void {
  const sum = openPseudoSum();
  const hasPseudo = !(family == 4 && proto == PROTO_ICMP);
  if (isSuper || (hasOffload(OFFLOAD_CSUM) && hasPseudo)) {
    const vnet = ip - config(CFG_VNET_BYTES);
    store<u16>(l4 + csumOffset, <u16>foldSum(sum));
    store<u8>(vnet, VNET_NEEDS_CSUM);
    store<u16>(vnet, <u16>(l4 - ip), 6);
    store<u16>(vnet, <u16>csumOffset, 8);
    return;
  }
  putCompleteChecksum(csumOffset, sum);
}

/** Sum of the open packet's pseudo-header; 0 where there is none. */
function openPseudoSum(): u64 {
  if (family == 4 && proto == PROTO_ICMP) return 0;
  return pseudoSum(family, srcPtr(), dstPtr(), proto, l4HeaderLen + payloadLen);
}

/** Computes the open packet's checksum over header and spans, whatever the device could do. */
export function completeChecksum(csumOffset: u32): void {
  putCompleteChecksum(csumOffset, openPseudoSum());
}

function putCompleteChecksum(csumOffset: u32, pseudo: u64): void {
  const field = l4 + csumOffset;
  store<u16>(field, 0);
  let sum = addSum(pseudo, l4, l4HeaderLen);
  let place = l4HeaderLen;
  for (let i: u32 = 0; i < spanCount; i++) {
    const ptr = load<u32>(spanAt(i));
    const bytes = load<u32>(spanAt(i), 4);
    sum = place & 1 ? addSwapped(sum, ptr, bytes) : addSum(sum, ptr, bytes);
    place += bytes;
  }
  let checksum = finishSum(sum);
  // RFC 768: zero means "none", so a sum of zero goes out as its other form.
  if (checksum == 0 && proto == PROTO_UDP) checksum = 0xffff;
  store<u16>(field, <u16>checksum);
}

function gsoType(): u8 {
  if (proto == PROTO_UDP) return GSO_UDP_L4;
  return family == 4 ? GSO_TCPV4 : GSO_TCPV6;
}

/** RFC 6437 §3: the same for all packets of a flow, nothing that another host could guess. */
function flowLabel(): u32 {
  const hasPorts = proto == PROTO_TCP || proto == PROTO_UDP;
  const label = hashTuple(srcPtr(), dstPtr(), hasPorts ? load<u32>(l4) : proto, 6) & 0xfffff;
  return label == 0 ? 1 : label;
}

function srcPtr(): usize {
  return ip + (family == 4 ? 12 : 8);
}

function dstPtr(): usize {
  return ip + (family == 4 ? 16 : 24);
}

function spanAt(index: u32): usize {
  return TX_BASE + <usize>txCount * TX_BYTES + TX_SPANS_OFF + <usize>index * SPAN_BYTES;
}

/** Makes the open packet a descriptor; `headerLen` is without the vnet header. */
function push(header: usize, headerLen: u32, ipBytes: u32): void {
  const descriptor = TX_BASE + <usize>txCount * TX_BYTES;
  store<u32>(descriptor, <u32>header, TX_HEADER_PTR_OFF);
  store<u16>(descriptor, <u16>(config(CFG_VNET_BYTES) + headerLen), TX_HEADER_LEN_OFF);
  store<u16>(descriptor, <u16>spanCount, TX_SPAN_COUNT_OFF);
  isOpen = false;
  txCount++;
  setGauge(GAUGE_TX_COUNT, txCount);
  count(STAT_PACKETS_OUT);
  add(STAT_BYTES_OUT, <f64>ipBytes);
}
