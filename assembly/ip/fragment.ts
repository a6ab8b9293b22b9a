/**
 * Fragments out, RFC 791 §3.2 and RFC 8200 §4.5: what TCP never needs, but a UDP datagram or an
 * echo reply above the MTU does. The L4 header is 8 bytes in both.
 */
import { CFG_MTU } from "../layout";
import { config } from "../mem/config";
import { permute } from "../mem/prng";
import { hashTuple } from "../mem/siphash";
import { putBe16, putBe32 } from "../mem/bytes";
import { putIpv4Fragment } from "../wire/ipv4";
import { FRAGMENT_HEADER_BYTES } from "../wire/ipv6";
import { PROTO_FRAGMENT, checksumOffset } from "../wire/protocols";
import {
  abandonPacket,
  addSpan,
  beginPacket,
  completeChecksum,
  endFragment,
  endPacket,
  followTos,
  ipHeaderBytes,
  isOverMtu,
  packetBytes,
  txRoom,
} from "./egress";

const L4_HEADER_BYTES: u32 = 8;
const PACKET_MAX: u32 = 65535;
/** Counters for identifications, chosen by a hash of addresses and protocol: u32 each. */
const ID_COUNTERS: u32 = 256;
const idCounters: usize = memory.data(1024, 4);

/** A datagram out: its L4 header is 8 bytes and has its place for the checksum left empty. */
@unmanaged
export class Datagram {
  family: u32;
  proto: u32;
  src: usize;
  dst: usize;
  /** The header as it lies in memory. */
  header: u64;
  data: usize;
  len: u32;
  /** Type of service of the client, for who follows it. */
  tos: u32;
}

/** TX descriptors that a datagram with `len` bytes of data takes. */
export function descriptorsFor(family: u32, len: u32): u32 {
  const total = L4_HEADER_BYTES + len;
  if (ipHeaderBytes(family) + total <= config(CFG_MTU)) return 1;
  const unit = fragmentUnit(family);
  return (total + unit - 1) / unit;
}

/**
 * Sends a datagram, in fragments if it is larger than the MTU. False, and nothing is sent, if TX
 * has no room for all of it; the caller counts that or tries again.
 */
export function sendDatagram(d: Datagram): bool {
  if (txRoom() < descriptorsFor(d.family, d.len)) return false;
  const l4 = beginPacket(d.family, d.src, d.dst, d.proto, L4_HEADER_BYTES);
  followTos(d.tos);
  store<u64>(l4, d.header);
  addSpan(d.data, d.len);
  const csumOffset = checksumOffset(d.family, d.proto);
  if (!isOverMtu() || packetBytes() - ipExtra(d.family) > PACKET_MAX) {
    endPacket(0, csumOffset);
    return true;
  }
  completeChecksum(csumOffset);
  const header = load<u64>(l4);
  abandonPacket();
  sendFragments(d, header);
  return true;
}

/** An IPv6 packet's length does not count its header. */
function ipExtra(family: u32): u32 {
  return family == 4 ? 0 : ipHeaderBytes(6);
}

/** Most bytes of a fragment's payload: all but the last have a multiple of 8. */
function fragmentUnit(family: u32): u32 {
  const overhead = ipHeaderBytes(family) + (family == 4 ? 0 : FRAGMENT_HEADER_BYTES);
  return (config(CFG_MTU) - overhead) & ~7;
}

function sendFragments(d: Datagram, header: u64): void {
  const unit = fragmentUnit(d.family);
  const total = L4_HEADER_BYTES + d.len;
  const id = nextId(d);
  for (let offset: u32 = 0; offset < total; offset += unit) {
    sendFragment(d, header, id, offset, min(unit, total - offset));
  }
}

/** Sends bytes [offset, offset + bytes) of header and data. */
function sendFragment(d: Datagram, header: u64, id: u32, offset: u32, bytes: u32): void {
  const isLast = offset + bytes == L4_HEADER_BYTES + d.len;
  const headerBytes = offset == 0 ? L4_HEADER_BYTES : 0;
  let at: usize;
  if (d.family == 4) {
    at = beginPacket(4, d.src, d.dst, d.proto, headerBytes);
    putIpv4Fragment(at - ipHeaderBytes(4), id & 0xffff, offset, isLast);
  } else {
    at = beginPacket(6, d.src, d.dst, PROTO_FRAGMENT, FRAGMENT_HEADER_BYTES + headerBytes);
    store<u8>(at, <u8>d.proto);
    store<u8>(at, 0, 1);
    putBe16(at + 2, offset | (isLast ? 0 : 1));
    putBe32(at + 4, id);
    at += FRAGMENT_HEADER_BYTES;
  }
  followTos(d.tos);
  if (offset == 0) {
    store<u64>(at, header);
    addSpan(d.data, bytes - L4_HEADER_BYTES);
  } else {
    addSpan(d.data + (offset - L4_HEADER_BYTES), bytes);
  }
  endFragment();
}

/** RFC 6864 §4.3, RFC 7739: does not repeat soon for these addresses, and cannot be guessed. */
function nextId(d: Datagram): u32 {
  const bucket = hashTuple(d.src, d.dst, d.proto, d.family) % ID_COUNTERS;
  const counter = idCounters + ((<usize>bucket) << 2);
  const value = load<u32>(counter) + 1;
  store<u32>(counter, value);
  return permute(value + (bucket << 8), d.family == 4 ? 8 : 16);
}
