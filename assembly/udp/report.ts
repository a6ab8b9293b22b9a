/**
 * Errors that upstream reported for a destination: the client gets the ICMP error that a router or
 * the destination would have sent (RFC 1122 §3.2.2.1, RFC 4443 §3.1). The datagram it quotes is
 * long gone, so its headers are built again from what the mapping remembers.
 */
import * as layout from "../layout";
import { be16 } from "../mem/bytes";
import { config } from "../mem/config";
import { count } from "../mem/stats";
import { Recent, isLiving, mappingOf, recentOf } from "../flow/datagram";
import { emitIcmpError } from "../ip/errors";
import { ICMP4_ECHO, ICMP6_ECHO, icmpHeader } from "../wire/icmp";
import { IPV4_HEADER_BYTES, closeIpv4, putIpv4 } from "../wire/ipv4";
import { IPV6_HEADER_BYTES, closeIpv6, putIpv6 } from "../wire/ipv6";
import { PROTO_ICMP, PROTO_ICMP6, PROTO_UDP } from "../wire/protocols";
import { UDP_HEADER_BYTES, udpHeader } from "../wire/udp";

const L4_HEADER_BYTES: u32 = 8;
/** The quote: the largest IP header and an L4 header. */
const quote: usize = memory.data(48, 8);

/** Takes a staged DGRAM_ERROR: for a mapping's destination, or (handle 0) for an echo request. */
export function reportError(record: usize): void {
  const kind = load<u32>(record, layout.DGRAM_GSO_OFF);
  const mtu = load<u32>(record, layout.DGRAM_LEN_OFF);
  if (load<u32>(record, layout.DGRAM_HANDLE_OFF) == 0) return reportEcho(record, kind, mtu);
  const mapping = mappingOf(load<u32>(record, layout.DGRAM_HANDLE_OFF));
  if (!mapping || !isLiving(mapping)) return count(layout.DROP_STALE);
  const family = <u32>mapping.family;
  if (load<u16>(record, layout.DGRAM_FAMILY_OFF) != family) return count(layout.DROP_STALE);
  const far = record + layout.DGRAM_FAR_OFF;
  const port = <u32>load<u16>(record, layout.DGRAM_PORT_OFF);
  const recent = recentOf(mapping, far, port);
  // RFC 1191 §4: only who set DF wants to know that a datagram was too big.
  const hadDf = recent != null && (be16(changetype<usize>(recent) + FRAG_OFF) & 0x4000) != 0;
  if (kind == layout.REJECT_TOO_BIG && family == 4 && !hadDf) return count(layout.DROP_TOO_BIG);
  const udpLen = recent ? <u32>recent.udpLen : UDP_HEADER_BYTES;
  writeIp(family, PROTO_UDP, mapping.remote, far, udpLen);
  if (recent) restore(family, recent, udpLen);
  const l4 = quote + (family == 4 ? IPV4_HEADER_BYTES : IPV6_HEADER_BYTES);
  store<u64>(l4, udpHeader(mapping.remotePort, port, udpLen));
  if (recent) store<u16>(l4, recent.sum, 6);
  emitIcmpError(family, kind, mtu, quote, <u32>(l4 - quote) + L4_HEADER_BYTES);
}

const FRAG_OFF: usize = offsetof<Recent>("ipFrag");

/** As above for an echo request of DGRAM_ID and DGRAM_SEQ from the client to the far end. */
function reportEcho(record: usize, kind: u32, mtu: u32): void {
  const family = <u32>load<u16>(record, layout.DGRAM_FAMILY_OFF);
  if (family != 4 && family != 6) return count(layout.DROP_STALE);
  const hadDf = (load<u8>(record, layout.DGRAM_FLAGS_OFF) & layout.DGRAM_FLAG_DF) != 0;
  if (kind == layout.REJECT_TOO_BIG && family == 4 && !hadDf) return count(layout.DROP_TOO_BIG);
  const far = record + layout.DGRAM_FAR_OFF;
  const proto = family == 4 ? PROTO_ICMP : PROTO_ICMP6;
  writeIp(family, proto, record + layout.DGRAM_CLIENT_OFF, far, L4_HEADER_BYTES);
  const l4 = quote + (family == 4 ? IPV4_HEADER_BYTES : IPV6_HEADER_BYTES);
  const id = <u32>load<u16>(record, layout.DGRAM_ID_OFF);
  const rest = (id << 16) | load<u16>(record, layout.DGRAM_SEQ_OFF);
  store<u64>(l4, icmpHeader(family == 4 ? ICMP4_ECHO : ICMP6_ECHO, 0, rest));
  emitIcmpError(family, kind, mtu, quote, <u32>(l4 - quote) + L4_HEADER_BYTES);
}

function writeIp(family: u32, proto: u32, client: usize, far: usize, l4Len: u32): void {
  const ttl = config(layout.CFG_TTL);
  if (family == 4) {
    putIpv4(quote, proto, ttl, client, far);
    closeIpv4(quote, IPV4_HEADER_BYTES + l4Len);
  } else {
    putIpv6(quote, proto, ttl, client, far);
    closeIpv6(quote, l4Len, 0);
  }
}

/** Puts back what the client's IP header said besides addresses and length. */
function restore(family: u32, recent: Recent, udpLen: u32): void {
  if (family == 6) {
    store<u32>(quote, recent.firstWord);
    store<u8>(quote, recent.hops, 7);
    return;
  }
  store<u8>(quote, <u8>(recent.firstWord >> 8), 1);
  store<u16>(quote, recent.ipId, 4);
  store<u16>(quote, recent.ipFrag, 6);
  store<u8>(quote, recent.hops, 8);
  closeIpv4(quote, IPV4_HEADER_BYTES + udpLen);
}
