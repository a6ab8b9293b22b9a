/**
 * Packets in: from the bytes of an RX slot to facts (ip/packet.ts). Everything that IP says about a
 * packet is checked here, in the order vnet header, IP header, addresses, extension headers,
 * fragments; what fails is dropped and counted under its reason. The caller dispatches by protocol.
 */
import {
  CFG_VNET_BYTES,
  DROP_DESTINATION,
  DROP_EXTENSION,
  DROP_FRAGMENT,
  DROP_IP_CHECKSUM,
  DROP_IP_HEADER,
  DROP_IP_OPTION,
  DROP_LAND,
  DROP_LENGTH,
  DROP_MULTICAST,
  DROP_SHORT,
  DROP_SOURCE,
  DROP_VERSION,
  DROP_VNET,
  FLAG_UDP_MULTICAST,
  STAT_SUPER_PACKETS_IN,
} from "../layout";
import { be16, be32, equalAddress, putBe16 } from "../mem/bytes";
import { config, hasFlag } from "../mem/config";
import { rxSlot } from "../mem/block";
import { count } from "../mem/stats";
import { addSum, finishSum } from "../wire/checksum";
import { ICMP6_PARAMETER } from "../wire/icmp";
import * as ipv4 from "../wire/ipv4";
import * as ipv6 from "../wire/ipv6";
import { Ipv4View } from "../wire/ipv4";
import { Ipv6View } from "../wire/ipv6";
import { PROTO_TCP, PROTO_UDP, checksumOffset } from "../wire/protocols";
import * as chains from "./chain";
import { Chain, passHeader, startChain, walkChain } from "./chain";
import { emitError, typeCode } from "./errors";
import {
  PKT_CE,
  PKT_CSUM_VALID,
  PKT_DF,
  PKT_MULTICAST,
  PKT_PARTIAL_CSUM,
  PKT_REASSEMBLED,
  Packet,
} from "./packet";
import { Fragment, copyDatagram, endReassembly, spoilDatagram, takeFragment } from "./reassemble";

const VNET_NEEDS_CSUM: u32 = 1;
const VNET_DATA_VALID: u32 = 2;
const GSO_NONE: u32 = 0;
const GSO_TCPV4: u32 = 1;
const GSO_TCPV6: u32 = 4;
const GSO_UDP_L4: u32 = 5;
const GSO_ECN: u32 = 0x80;
/** Most bytes of a datagram with an IPv4 header, and of an IPv6 payload. */
const DATAGRAM_MAX: u32 = 65535;
/** RFC 7112 §5: the first fragment lacks part of the header chain. */
const CODE_INCOMPLETE_CHAIN: u32 = 3;

const chain = changetype<Chain>(memory.data(32, 8));
const fragment = changetype<Fragment>(memory.data(64, 8));

if (offsetof<Chain>() > 32) ERROR("Chain outgrew its room");
if (offsetof<Fragment>() > 64) ERROR("Fragment outgrew its room");

/**
 * Reads the packet of `len` bytes (vnet header included) behind RX entry `rxIndex`. True: `p` holds
 * the facts of a whole datagram. False: it was dropped or is part of an incomplete datagram.
 */
export function takePacket(p: Packet, rxIndex: u32, len: u32): bool {
  const slot = rxSlot(rxIndex);
  const vnetBytes = config(CFG_VNET_BYTES);
  if (len < vnetBytes + ipv4.IPV4_HEADER_BYTES) return drop(DROP_SHORT);
  p.rxIndex = <i32>rxIndex;
  p.ip = slot + vnetBytes;
  p.ipLen = len - vnetBytes;
  p.gso = 0;
  p.gsoType = GSO_NONE;
  p.flags = 0;
  p.protoOff = 0;
  if (vnetBytes != 0 && !takeVnet(p, slot)) return drop(DROP_VNET);
  const version = (<u32>load<u8>(p.ip)) >> 4;
  if (version == 4) return takeIpv4(p);
  if (version != 6) return drop(DROP_VERSION);
  if (p.ipLen < ipv6.IPV6_HEADER_BYTES) return drop(DROP_SHORT);
  return takeIpv6(p);
}

function drop(reason: u32): bool {
  count(reason);
  return false;
}

/** Reads the vnet header; whether it can be true of a packet of this length. */
function takeVnet(p: Packet, vnet: usize): bool {
  const flags = <u32>load<u8>(vnet);
  if ((flags & ~(VNET_NEEDS_CSUM | VNET_DATA_VALID)) != 0) return false;
  const type = (<u32>load<u8>(vnet, 1)) & ~GSO_ECN;
  const isTcp = type == GSO_TCPV4 || type == GSO_TCPV6;
  if (type != GSO_NONE && !isTcp && type != GSO_UDP_L4) return false;
  if (type != GSO_NONE) {
    p.gso = load<u16>(vnet, 4);
    if (p.gso == 0) return false;
    count(STAT_SUPER_PACKETS_IN);
  }
  p.gsoType = type;
  if (<u32>load<u16>(vnet, 2) > p.ipLen) return false;
  if ((flags & VNET_NEEDS_CSUM) != 0) {
    p.csumStart = load<u16>(vnet, 6);
    p.csumOffset = load<u16>(vnet, 8);
    if (p.csumStart + p.csumOffset + 2 > p.ipLen) return false;
    p.flags = PKT_PARTIAL_CSUM;
  } else if ((flags & VNET_DATA_VALID) != 0) {
    p.flags = PKT_CSUM_VALID;
  }
  return true;
}

/** Whether the vnet header agrees with the L4 header that was found. */
function agreesWithVnet(p: Packet): bool {
  if (p.isPartial) {
    if (p.csumStart != <u32>(p.l4 - p.ip)) return false;
    const csumOffset = checksumOffset(p.family, p.proto);
    if (csumOffset == 0 || p.csumOffset != csumOffset) return false;
  }
  if (p.gsoType == GSO_NONE) return true;
  if (p.gsoType == GSO_UDP_L4) return p.proto == PROTO_UDP;
  return p.proto == PROTO_TCP && p.gsoType == (p.family == 4 ? GSO_TCPV4 : GSO_TCPV6);
}

/** The facts are complete: the last checks of all packets. */
function finish(p: Packet): bool {
  if (!agreesWithVnet(p)) return drop(DROP_VNET);
  if ((p.flags & PKT_MULTICAST) == 0) return true;
  if (p.proto == PROTO_UDP && hasFlag(FLAG_UDP_MULTICAST)) return true;
  return drop(DROP_MULTICAST);
}

function takeIpv4(p: Packet): bool {
  const view = Ipv4View.check(p.ip, p.ipLen);
  if (!view) {
    const total = be16(p.ip + 2);
    return drop(total > p.ipLen ? DROP_LENGTH : DROP_IP_HEADER);
  }
  if (!view.isChecksumRight()) return drop(DROP_IP_CHECKSUM);
  const headerLen = view.headerLen;
  if (headerLen > ipv4.IPV4_HEADER_BYTES) {
    const options = p.ip + ipv4.IPV4_HEADER_BYTES;
    if (!ipv4.areOptionsFine(options, p.ip + headerLen)) return drop(DROP_IP_OPTION);
  }
  if (!ipv4.isIpv4SourceFine(view.src)) return drop(DROP_SOURCE);
  if (!ipv4.isIpv4DestinationFine(view.dst)) return drop(DROP_DESTINATION);
  if (load<u32>(view.src) == load<u32>(view.dst)) return drop(DROP_LAND);
  p.family = 4;
  p.proto = view.proto;
  p.ipLen = view.totalLen;
  p.src = view.src;
  p.dst = view.dst;
  p.l4 = p.ip + headerLen;
  p.l4Len = p.ipLen - headerLen;
  p.hops = view.ttl;
  p.protoOff = 9;
  if (view.isDf) p.flags |= PKT_DF;
  if ((p.tos & 3) == 3) p.flags |= PKT_CE;
  if (ipv4.isIpv4Multicast(view.dst)) p.flags |= PKT_MULTICAST;
  if (view.isMf || view.fragmentOffset != 0) return takeFragment4(p, view);
  return finish(p);
}

function takeFragment4(p: Packet, view: Ipv4View): bool {
  if (p.isPartial || p.gsoType != GSO_NONE) return drop(DROP_VNET);
  if ((p.flags & PKT_MULTICAST) != 0) return drop(DROP_MULTICAST);
  const headerLen = view.headerLen;
  const f = fragment;
  f.proto = p.proto;
  f.id = view.id;
  f.offset = view.fragmentOffset;
  f.isLast = !view.isMf;
  f.headersLen = headerLen;
  f.next = p.proto;
  f.ecn = p.tos & 3;
  fillFragment(p, f);
  if (f.len == 0) return drop(DROP_FRAGMENT);
  if (!f.isLast && (f.len & 7) != 0) return drop(DROP_FRAGMENT);
  if (headerLen + f.offset + f.len > DATAGRAM_MAX) {
    spoilDatagram(f);
    return drop(DROP_FRAGMENT);
  }
  const whole = takeFragment(f);
  if (!whole) return false;
  // The first fragment's header may be longer than the one that the length was checked with.
  if (whole.headersLen + whole.total > DATAGRAM_MAX) {
    endReassembly(whole);
    return drop(DROP_FRAGMENT);
  }
  if (whole.isCe) p.flags |= PKT_CE;
  copyDatagram(whole, p.ip, whole.headersLen);
  p.ipLen = whole.headersLen + whole.total;
  p.l4 = p.ip + whole.headersLen;
  p.l4Len = whole.total;
  endReassembly(whole);
  // What the datagram's header would have been: no fragment, its own length.
  putBe16(p.ip + 2, p.ipLen);
  putBe16(p.ip + 6, be16(p.ip + 6) & 0x4000);
  store<u16>(p.ip, 0, 10);
  store<u16>(p.ip, <u16>finishSum(addSum(0, p.ip, <u32>(p.l4 - p.ip))), 10);
  p.flags = (p.flags & (PKT_CE | PKT_DF)) | PKT_REASSEMBLED;
  return finish(p);
}

function fillFragment(p: Packet, f: Fragment): void {
  f.family = p.family;
  f.src = p.src;
  f.dst = p.dst;
  f.len = p.l4Len;
  f.data = p.l4;
  f.headers = p.ip;
}

function takeIpv6(p: Packet): bool {
  const view = Ipv6View.check(p.ip, p.ipLen);
  if (!view) return drop(DROP_LENGTH);
  if (!ipv6.isIpv6SourceFine(view.src)) return drop(DROP_SOURCE);
  if (!ipv6.isIpv6DestinationFine(view.dst)) return drop(DROP_DESTINATION);
  if (equalAddress(6, view.src, view.dst)) return drop(DROP_LAND);
  p.family = 6;
  p.ipLen = ipv6.IPV6_HEADER_BYTES + view.payloadLen;
  p.src = view.src;
  p.dst = view.dst;
  p.hops = view.hops;
  if ((p.tos & 3) == 3) p.flags |= PKT_CE;
  if (ipv6.isIpv6Multicast(view.dst)) p.flags |= PKT_MULTICAST;
  startChain(chain, view.nextHeader);
  return takeChain(p);
}

/** Walks the extension headers from where `chain` stands and goes on with what they lead to. */
function takeChain(p: Packet): bool {
  while (true) {
    const answer = walkChain(chain, p.ip, p.ipLen, (p.flags & PKT_MULTICAST) != 0);
    if (answer == chains.CHAIN_PARAMETER) return refuse(p, chain.code, chain.pointer);
    if (answer == chains.CHAIN_L4) {
      p.proto = chain.proto;
      p.protoOff = chain.protoOff;
      p.l4 = p.ip + chain.off;
      p.l4Len = p.ipLen - chain.off;
      return finish(p);
    }
    if (answer != chains.CHAIN_FRAGMENT) return drop(DROP_EXTENSION);
    const offsetAndFlags = be16(p.ip + chain.off + 2);
    if ((offsetAndFlags & 0xfff9) != 0) return takeFragment6(p, offsetAndFlags);
    // RFC 6946: an atomic fragment is a whole datagram.
    if ((p.flags & PKT_REASSEMBLED) != 0) return drop(DROP_FRAGMENT);
    if (!passHeader(chain, p.ip, ipv6.FRAGMENT_HEADER_BYTES)) return drop(DROP_EXTENSION);
  }
}

/** Drops with an ICMPv6 parameter problem. */
function refuse(p: Packet, code: u32, pointer: u32): bool {
  emitError(6, typeCode(ICMP6_PARAMETER, code), pointer, p.ip, p.ipLen);
  return drop(DROP_EXTENSION);
}

function takeFragment6(p: Packet, offsetAndFlags: u32): bool {
  if (p.isPartial || p.gsoType != GSO_NONE) return drop(DROP_VNET);
  if ((p.flags & PKT_MULTICAST) != 0) return drop(DROP_MULTICAST);
  if ((p.flags & PKT_REASSEMBLED) != 0) return drop(DROP_FRAGMENT);
  const f = fragment;
  const fragmentOff = chain.off;
  f.proto = 0;
  f.id = be32(p.ip + fragmentOff + 4);
  f.offset = offsetAndFlags & 0xfff8;
  f.isLast = (offsetAndFlags & 1) == 0;
  f.headersLen = fragmentOff + ipv6.FRAGMENT_HEADER_BYTES;
  f.next = load<u8>(p.ip + fragmentOff);
  f.ecn = p.tos & 3;
  p.l4 = p.ip + f.headersLen;
  p.l4Len = p.ipLen - f.headersLen;
  fillFragment(p, f);
  if (f.len == 0) return drop(DROP_FRAGMENT);
  if (!f.isLast && (f.len & 7) != 0) return refuse(p, 0, 4);
  if (f.offset + f.len > DATAGRAM_MAX) {
    spoilDatagram(f);
    return refuse(p, 0, fragmentOff + 2);
  }
  if (f.offset == 0 && !hasWholeChain(p)) return refuse(p, CODE_INCOMPLETE_CHAIN, 0);
  const whole = takeFragment(f);
  if (!whole) return false;
  const next = whole.next;
  const total = whole.total;
  if (whole.isCe) p.flags |= PKT_CE;
  copyDatagram(whole, p.ip, ipv6.IPV6_HEADER_BYTES);
  endReassembly(whole);
  // The headers before the fragment header were obeyed when they came; the datagram starts anew.
  store<u8>(p.ip, <u8>next, 6);
  putBe16(p.ip + 4, total);
  p.ipLen = ipv6.IPV6_HEADER_BYTES + total;
  p.flags = (p.flags & PKT_CE) | PKT_REASSEMBLED;
  startChain(chain, next);
  chain.headers = 1;
  return takeChain(p);
}

/** RFC 7112 §5: whether a first fragment holds all headers, the L4 header included. */
function hasWholeChain(p: Packet): bool {
  if (!passHeader(chain, p.ip, ipv6.FRAGMENT_HEADER_BYTES)) return true;
  const answer = walkChain(chain, p.ip, p.ipLen, false);
  if (answer == chains.CHAIN_TRUNCATED) return false;
  if (answer != chains.CHAIN_L4) return true;
  const least: u32 = chain.proto == PROTO_TCP ? 20 : 8;
  return chain.off + least <= p.ipLen || checksumOffset(6, chain.proto) == 0;
}
