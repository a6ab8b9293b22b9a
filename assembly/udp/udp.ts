/**
 * UDP, RFC 768 and RFC 4787: datagrams of clients become records for the host, what the host stages
 * becomes datagrams to clients, and errors that upstream reported become ICMP errors.
 */
import * as layout from "../layout";
import { putAddress } from "../mem/bytes";
import { config, hasFlag, hasOffload } from "../mem/config";
import { count } from "../mem/stats";
import {
  Mapping,
  findMapping,
  isLiving,
  mappingOf,
  noteIn,
  noteOut,
  openMapping,
  takeRecent,
} from "../flow/datagram";
import { hasPeer, notePeer } from "../flow/peers";
import { takeRecord } from "../flow/records";
import { addSpan, beginPacket, endPacket, followTos, ipHeaderBytes, txRoom } from "../ip/egress";
import { Datagram, descriptorsFor, sendDatagram } from "../ip/fragment";
import { PKT_DF, Packet } from "../ip/packet";
import { addSum, isSumRight, pseudoSum } from "../wire/checksum";
import { PROTO_UDP } from "../wire/protocols";
import { UDP_HEADER_BYTES, UdpView, udpHeader } from "../wire/udp";

const CSUM_OFFSET: u32 = 6;
/** Most bytes of UDP header and payload: IPv4's total length has room for its header too. */
const UDP_MAX_4: u32 = 65515;
const UDP_MAX_6: u32 = 65535;
/** Most segments of a super-packet that every kernel takes. */
const SEGMENTS_MAX: u32 = 64;

const datagram = changetype<Datagram>(memory.data(48, 8));
if (offsetof<Datagram>() > 48) ERROR("Datagram outgrew its room");

/** Takes a datagram of a client. */
export function udpInput(p: Packet): void {
  const view = UdpView.check(p.l4, p.l4Len);
  if (!view) return count(layout.DROP_L4_HEADER);
  if (!isChecksumFine(p, view)) return count(layout.DROP_L4_CHECKSUM);
  if (view.dstPort == 0) return count(layout.DROP_UDP_PORT);
  let mapping = findMapping(p.family, p.src, view.srcPort);
  if (!mapping) {
    mapping = openMapping(p.family, p.src, view.srcPort);
    if (!mapping) return count(layout.DROP_UDP_FULL);
    putAddress(p.family, mapping.local, p.dst);
    mapping.localPort = <u16>view.dstPort;
  }
  const len = view.totalLen - UDP_HEADER_BYTES;
  const gso = p.gso != 0 && len > p.gso ? p.gso : 0;
  noteOut(mapping, view.dstPort);
  mapping.tos = <u8>p.tos;
  remember(mapping, p, view);
  const record = takeRecord();
  if (record == 0) return;
  mapping.bytesIn += <f64>len;
  mapping.packetsIn += segments(len, gso);
  store<u32>(record, layout.DGRAM_UDP, layout.DGRAM_KIND_OFF);
  store<u32>(record, mapping.handle, layout.DGRAM_HANDLE_OFF);
  store<u32>(record, <u32>view.payload, layout.DGRAM_PTR_OFF);
  store<u32>(record, len, layout.DGRAM_LEN_OFF);
  store<u32>(record, gso, layout.DGRAM_GSO_OFF);
  store<u16>(record, <u16>p.family, layout.DGRAM_FAMILY_OFF);
  store<u16>(record, <u16>view.dstPort, layout.DGRAM_PORT_OFF);
  putAddress(p.family, record + layout.DGRAM_FAR_OFF, p.dst);
  putAddress(p.family, record + layout.DGRAM_CLIENT_OFF, p.src);
  const flags: u8 = (p.flags & PKT_DF) != 0 ? <u8>layout.DGRAM_FLAG_DF : 0;
  store<u8>(record, flags, layout.DGRAM_FLAGS_OFF);
  store<u8>(record, <u8>p.hops, layout.DGRAM_HOPS_OFF);
}

/**
 * Sends the staged datagram (or several of `gso` bytes) at `record` to its mapping's client. False,
 * and nothing is sent, only if TX has no room; what cannot be sent at all is dropped and counted.
 */
export function udpOutput(record: usize): bool {
  const mapping = mappingOf(load<u32>(record, layout.DGRAM_HANDLE_OFF));
  if (!mapping || !isLiving(mapping)) return dropStaged(layout.DROP_STALE);
  const family = <u32>mapping.family;
  if (load<u16>(record, layout.DGRAM_FAMILY_OFF) != family) return dropStaged(layout.DROP_STALE);
  if (mapping.remotePort == 0) return dropStaged(layout.DROP_UDP_PORT);
  const far = record + layout.DGRAM_FAR_OFF;
  if (hasFlag(layout.FLAG_UDP_ADDRESS_FILTER) && !hasPeer(mapping.peers, family, far)) {
    return dropStaged(layout.DROP_UDP_FILTER);
  }
  const len = load<u32>(record, layout.DGRAM_LEN_OFF);
  const stagedGso = load<u32>(record, layout.DGRAM_GSO_OFF);
  const gso = stagedGso != 0 && len > stagedGso ? stagedGso : 0;
  const most = (family == 4 ? UDP_MAX_4 : UDP_MAX_6) - UDP_HEADER_BYTES;
  if ((gso != 0 ? gso : len) > most) return dropStaged(layout.DROP_TOO_BIG);
  const unit = gso == 0 ? len : unitBytes(family, gso);
  const needed = descriptors(family, len, gso, unit);
  if (needed > layout.TX_MAX) return dropStaged(layout.DROP_TOO_BIG);
  if (needed > txRoom()) return false;
  sendAll(mapping, record, gso, unit);
  noteIn(mapping);
  mapping.bytesOut += <f64>len;
  mapping.packetsOut += segments(len, gso);
  return true;
}

/** TX descriptors for `len` bytes in units of `unit` (the last may be shorter). */
function descriptors(family: u32, len: u32, gso: u32, unit: u32): u32 {
  if (gso == 0) return descriptorsFor(family, len);
  const each = unit > gso ? 1 : descriptorsFor(family, gso);
  return ((len + unit - 1) / unit) * each;
}

/** Sends the record's bytes in units of `unit`. */
function sendAll(mapping: Mapping, record: usize, gso: u32, unit: u32): void {
  const d = datagram;
  d.family = mapping.family;
  d.proto = PROTO_UDP;
  d.src = record + layout.DGRAM_FAR_OFF;
  d.dst = mapping.remote;
  d.tos = mapping.tos;
  const port = <u32>load<u16>(record, layout.DGRAM_PORT_OFF);
  const data = load<u32>(record, layout.DGRAM_PTR_OFF);
  const len = load<u32>(record, layout.DGRAM_LEN_OFF);
  let done: u32 = 0;
  do {
    d.data = data + done;
    d.len = min(unit, len - done);
    d.header = udpHeader(port, mapping.remotePort, UDP_HEADER_BYTES + d.len);
    if (gso != 0 && d.len > gso) sendSuper(d, gso);
    else sendDatagram(d);
    done += d.len;
  } while (done < len);
}

/** Bytes of one TX packet made of datagrams of `gso` bytes. */
function unitBytes(family: u32, gso: u32): u32 {
  const overhead = ipHeaderBytes(family) + UDP_HEADER_BYTES;
  if (!hasOffload(layout.OFFLOAD_USO) || gso + overhead > config(layout.CFG_MTU)) return gso;
  return max(min((65535 - overhead) / gso, SEGMENTS_MAX), 1) * gso;
}

function sendSuper(d: Datagram, gso: u32): void {
  const l4 = beginPacket(d.family, d.src, d.dst, PROTO_UDP, UDP_HEADER_BYTES);
  followTos(d.tos);
  store<u64>(l4, d.header);
  addSpan(d.data, d.len);
  endPacket(gso, CSUM_OFFSET);
}

/** RFC 768, RFC 8200 §8.1: zero means "none" and is good for IPv4 only. */
function isChecksumFine(p: Packet, view: UdpView): bool {
  if (p.isPartial) return true;
  if (view.checksum == 0) return p.family == 4;
  if (p.isChecked) return true;
  const pseudo = pseudoSum(p.family, p.src, p.dst, PROTO_UDP, view.totalLen);
  return isSumRight(addSum(pseudo, p.l4, view.totalLen));
}

/** Keeps what an ICMP error about this destination will quote, and whom the filter lets answer. */
function remember(mapping: Mapping, p: Packet, view: UdpView): void {
  const recent = takeRecent(mapping, p.dst, view.dstPort);
  recent.udpLen = <u16>view.totalLen;
  recent.sum = <u16>view.checksum;
  recent.firstWord = load<u32>(p.ip);
  recent.ipId = load<u16>(p.ip, 4);
  recent.ipFrag = load<u16>(p.ip, 6);
  recent.hops = <u8>p.hops;
  if (hasFlag(layout.FLAG_UDP_ADDRESS_FILTER)) {
    mapping.peers = notePeer(mapping.peers, p.family, p.dst);
  }
}

function segments(len: u32, gso: u32): u32 {
  return gso == 0 ? 1 : (len + gso - 1) / gso;
}

function dropStaged(reason: u32): bool {
  count(reason);
  return true;
}
