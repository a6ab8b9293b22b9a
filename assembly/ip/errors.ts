/**
 * ICMP errors out: RFC 1122 §3.2.2, RFC 1812 §4.3.2, RFC 4443 §2.4. An error quotes the packet that
 * caused it and goes to that packet's source, if it may be answered at all and the rate allows it.
 */
import {
  CFG_GATEWAY_4,
  CFG_GATEWAY_6,
  CFG_OWN_6,
  CONFIG_BASE,
  DROP_ICMP_LIMIT,
  DROP_TX_FULL,
  REJECT_HOST_UNREACHABLE,
  REJECT_NET_UNREACHABLE,
  REJECT_PORT_UNREACHABLE,
  REJECT_PROHIBITED,
  REJECT_TOO_BIG,
  STAT_ICMP_ERRORS_OUT,
} from "../layout";
import { be16 } from "../mem/bytes";
import { BUCKET_ICMP4, BUCKET_ICMP6, takeToken } from "../mem/bucket";
import { count } from "../mem/stats";
import {
  ICMP4_CODE_TOO_BIG,
  ICMP4_UNREACHABLE,
  ICMP6_PARAMETER,
  ICMP6_TOO_BIG,
  ICMP6_UNREACHABLE,
  ICMP_HEADER_BYTES,
  isIcmpError,
  putIcmp,
} from "../wire/icmp";
import { IPV4_HEADER_BYTES, isIpv4DestinationFine, isIpv4Multicast } from "../wire/ipv4";
import { isIpv4SourceFine } from "../wire/ipv4";
import { IPV6_HEADER_BYTES, isIpv6Multicast, isIpv6SourceFine } from "../wire/ipv6";
import {
  PROTO_DESTINATION,
  PROTO_FRAGMENT,
  PROTO_HOP_BY_HOP,
  PROTO_ICMP,
  PROTO_ICMP6,
  PROTO_ROUTING,
  checksumOffset,
} from "../wire/protocols";
import { addSpan, beginPacket, endPacket, keepUntilTxDone, txRoom } from "./egress";

/** Most bytes of an error packet, RFC 1812 §4.3.2.3 and RFC 4443 §2.4(c). */
const PACKET_MAX_4: u32 = 576;
const PACKET_MAX_6: u32 = 1280;
const EXTENSIONS_MAX: u32 = 9;

/**
 * Reports for the host that a flow or datagram was refused: `kind` is REJECT_…, `mtu` counts only
 * for REJECT_TOO_BIG. `quote` is the client's packet from its IP header on. False: not sent.
 */
export function emitIcmpError(family: u32, kind: u32, mtu: u32, quote: usize, quoteLen: u32): bool {
  if (kind == REJECT_TOO_BIG) {
    if (family == 4)
      return emitError(
        4,
        typeCode(ICMP4_UNREACHABLE, ICMP4_CODE_TOO_BIG),
        mtu & 0xffff,
        quote,
        quoteLen,
      );
    return emitError(6, typeCode(ICMP6_TOO_BIG, 0), max(mtu, PACKET_MAX_6), quote, quoteLen);
  }
  let code: u32;
  if (kind == REJECT_NET_UNREACHABLE) code = 0;
  else if (kind == REJECT_HOST_UNREACHABLE) code = family == 4 ? 1 : 3;
  else if (kind == REJECT_PROHIBITED) code = family == 4 ? 13 : 1;
  else if (kind == REJECT_PORT_UNREACHABLE) code = family == 4 ? 3 : 4;
  else return false;
  const type = family == 4 ? ICMP4_UNREACHABLE : ICMP6_UNREACHABLE;
  return emitError(family, typeCode(type, code), 0, quote, quoteLen);
}

/** Type and code in one number, as `emitError` wants them. */
export function typeCode(type: u32, code: u32): u32 {
  return (type << 8) | code;
}

/** Sends an error with `rest` in the header's second word. False: must not be sent, or no room. */
export function emitError(
  family: u32,
  typeAndCode: u32,
  rest: u32,
  quote: usize,
  quoteLen: u32,
): bool {
  const isV4 = family == 4;
  const type = typeAndCode >> 8;
  if (isV4 ? !isAnswerable4(quote, quoteLen) : !isAnswerable6(quote, quoteLen, typeAndCode)) {
    return false;
  }
  const src = errorSource(family, typeAndCode, quote);
  if (src == 0) return false;
  if (!takeToken(isV4 ? BUCKET_ICMP4 : BUCKET_ICMP6)) {
    count(DROP_ICMP_LIMIT);
    return false;
  }
  const most = isV4 ? PACKET_MAX_4 - IPV4_HEADER_BYTES : PACKET_MAX_6 - IPV6_HEADER_BYTES;
  const bytes = min(quoteLen, most - ICMP_HEADER_BYTES);
  const kept = keepUntilTxDone(quote, bytes);
  if (kept == 0 || txRoom() == 0) {
    count(DROP_TX_FULL);
    return false;
  }
  const proto = isV4 ? PROTO_ICMP : PROTO_ICMP6;
  const l4 = beginPacket(family, src, quote + (isV4 ? 12 : 8), proto, ICMP_HEADER_BYTES);
  putIcmp(l4, type, typeAndCode & 255, rest);
  addSpan(kept, bytes);
  endPacket(0, checksumOffset(family, proto));
  count(STAT_ICMP_ERRORS_OUT);
  return true;
}

/** Net and host unreachable, prohibited and too big may come from a router on the way. */
function speaksForGateway(family: u32, typeAndCode: u32): bool {
  if (family == 4) {
    if (typeAndCode >> 8 != ICMP4_UNREACHABLE) return false;
    const code = typeAndCode & 255;
    return code != 2 && code != 3;
  }
  if (typeAndCode >> 8 == ICMP6_TOO_BIG) return true;
  return typeAndCode >> 8 == ICMP6_UNREACHABLE && (typeAndCode & 255) != 4;
}

/**
 * Who speaks: the destination of the packet, or the configured gateway where a router may. A group
 * never does (RFC 4443 §2.2): then it is the gateway or the device's own address, else nobody (0).
 */
function errorSource(family: u32, typeAndCode: u32, quote: usize): usize {
  const dst = quote + (family == 4 ? 16 : 24);
  const isGroup = family == 6 && isIpv6Multicast(dst);
  if (!isGroup && !speaksForGateway(family, typeAndCode)) return dst;
  const gateway = configured(family, family == 4 ? CFG_GATEWAY_4 : CFG_GATEWAY_6);
  if (gateway != 0) return gateway;
  return isGroup ? configured(family, CFG_OWN_6) : dst;
}

/** Where a configured address lies, or 0 if it is not set. */
function configured(family: u32, word: u32): usize {
  const at = CONFIG_BASE + (word << 2);
  const isSet = family == 4 ? load<u32>(at) != 0 : (load<u64>(at) | load<u64>(at, 8)) != 0;
  return isSet ? at : 0;
}

/** RFC 1122 §3.2.2: no error about errors, later fragments, groups, or impossible sources. */
function isAnswerable4(quote: usize, quoteLen: u32): bool {
  if (quoteLen < IPV4_HEADER_BYTES) return false;
  const headerLen = ((<u32>load<u8>(quote)) & 15) << 2;
  if (headerLen < IPV4_HEADER_BYTES || quoteLen < headerLen) return false;
  if (!isIpv4SourceFine(quote + 12) || !isIpv4DestinationFine(quote + 16)) return false;
  if (isIpv4Multicast(quote + 16)) return false;
  if ((be16(quote + 6) & 0x1fff) != 0) return false;
  if (load<u8>(quote, 9) != PROTO_ICMP) return true;
  return quoteLen > headerLen && !isIcmpError(4, load<u8>(quote + headerLen));
}

/**
 * RFC 4443 §2.4(e), with its two exceptions for groups. Later fragments are not answered either,
 * except where RFC 8200 §4.5 wants it: an impossible length or offset of the fragment itself.
 */
function isAnswerable6(quote: usize, quoteLen: u32, typeAndCode: u32): bool {
  if (quoteLen < IPV6_HEADER_BYTES || !isIpv6SourceFine(quote + 8)) return false;
  const isAboutOption = typeAndCode == typeCode(ICMP6_PARAMETER, 2);
  const isTooBig = typeAndCode >> 8 == ICMP6_TOO_BIG;
  if (isIpv6Multicast(quote + 24) && !isAboutOption && !isTooBig) return false;
  let next = <u32>load<u8>(quote, 6);
  let off = IPV6_HEADER_BYTES;
  for (let i: u32 = 0; i < EXTENSIONS_MAX; i++) {
    if (next == PROTO_ICMP6) {
      if (off >= quoteLen) return false;
      const type = <u32>load<u8>(quote + off);
      return !isIcmpError(6, type) && type != 137;
    }
    const isExtension =
      next == PROTO_HOP_BY_HOP || next == PROTO_DESTINATION || next == PROTO_ROUTING;
    if (!isExtension && next != PROTO_FRAGMENT) return true;
    if (off + 8 > quoteLen) return true;
    const isLater = next == PROTO_FRAGMENT && (be16(quote + off + 2) & 0xfff8) != 0;
    if (isLater && typeAndCode != typeCode(ICMP6_PARAMETER, 0)) return false;
    next = load<u8>(quote + off);
    off += isExtension ? (<u32>load<u8>(quote + off, 1) + 1) << 3 : 8;
  }
  return false;
}
