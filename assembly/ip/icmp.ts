/**
 * ICMP in, RFC 792 and RFC 4443: echo requests are answered, handed to the host or dropped; reports
 * that a TCP segment was too big become facts for TCP; everything else is dropped silently. And the
 * ICMP that belongs to IP itself: unknown protocols, datagrams that never became complete.
 */
import {
  CFG_ECHO_MODE,
  CFG_OWN_4,
  CFG_OWN_6,
  CONFIG_BASE,
  DROP_ECHO_LIMIT,
  DROP_ECHO_OFF,
  DROP_ICMP_TYPE,
  DROP_L4_CHECKSUM,
  DROP_L4_HEADER,
  DROP_PROTOCOL,
  DROP_TX_FULL,
  ECHO_DROP,
  ECHO_LOCAL,
  STAT_ECHO_REPLIES_OUT,
} from "../layout";
import { be16, be32, equalAddress } from "../mem/bytes";
import { BUCKET_ECHO4, BUCKET_ECHO6, takeToken } from "../mem/bucket";
import { config } from "../mem/config";
import { count } from "../mem/stats";
import { addSum, isSumRight, pseudoSum } from "../wire/checksum";
import * as icmp from "../wire/icmp";
import { IcmpView } from "../wire/icmp";
import { IPV4_HEADER_BYTES } from "../wire/ipv4";
import { IPV6_HEADER_BYTES } from "../wire/ipv6";
import { PROTO_ICMP, PROTO_ICMP6, PROTO_TCP } from "../wire/protocols";
import { keepUntilTxDone } from "./egress";
import { emitError, typeCode } from "./errors";
import { Datagram, sendDatagram } from "./fragment";
import { Packet } from "./packet";
import { armReassembly, expire, expiredMax, nextExpired, quoteFirst } from "./reassemble";

/** Done with the packet. */
export const ICMP_DONE: u32 = 0;
/** An echo request that the host answers. */
export const ICMP_ECHO_FOR_HOST: u32 = 1;
/** `quoted` says which TCP segment was too big. */
export const ICMP_TCP_TOO_BIG: u32 = 2;

const QUOTE_4_MAX: u32 = 548;
const QUOTE_6_MAX: u32 = 1232;

/** A TCP segment of ours that an ICMP error quotes: local is its source. */
@unmanaged
export class QuotedSegment {
  family: u32;
  local: usize;
  remote: usize;
  localPort: u32;
  remotePort: u32;
  seq: u32;
  /** What fits, with IP header; 0 if the sender does not say. */
  mtu: u32;
}

/** Filled when `icmpInput` answers ICMP_TCP_TOO_BIG. */
export const quoted = changetype<QuotedSegment>(memory.data(32, 8));
const reply = changetype<Datagram>(memory.data(48, 8));
const quoteScratch: usize = memory.data(1232, 8);

if (offsetof<QuotedSegment>() > 32) ERROR("QuotedSegment outgrew its room");
if (offsetof<Datagram>() > 48) ERROR("Datagram outgrew its room");

/** Takes an ICMP message: an ICMP_… answer. */
export function icmpInput(p: Packet): u32 {
  const view = IcmpView.check(p.l4, p.l4Len);
  if (!view) {
    count(DROP_L4_HEADER);
    return ICMP_DONE;
  }
  if (!p.isChecked) {
    const pseudo = p.family == 4 ? 0 : pseudoSum(6, p.src, p.dst, PROTO_ICMP6, p.l4Len);
    if (!isSumRight(addSum(pseudo, p.l4, p.l4Len))) {
      count(DROP_L4_CHECKSUM);
      return ICMP_DONE;
    }
  }
  const type = view.type;
  if (type == (p.family == 4 ? icmp.ICMP4_ECHO : icmp.ICMP6_ECHO)) return takeEcho(p, view);
  if (isTooBig(p.family, view) && readQuote(p, view)) return ICMP_TCP_TOO_BIG;
  count(DROP_ICMP_TYPE);
  return ICMP_DONE;
}

/** RFC 1122 §3.2.2.6 and RFC 4443 §4.2. The device's own address answers in every mode. */
function takeEcho(p: Packet, view: IcmpView): u32 {
  const mode = isOwn(p.family, p.dst) ? ECHO_LOCAL : config(CFG_ECHO_MODE);
  if (mode == ECHO_DROP) {
    count(DROP_ECHO_OFF);
    return ICMP_DONE;
  }
  if (!takeToken(p.family == 4 ? BUCKET_ECHO4 : BUCKET_ECHO6)) {
    count(DROP_ECHO_LIMIT);
    return ICMP_DONE;
  }
  if (mode != ECHO_LOCAL) return ICMP_ECHO_FOR_HOST;
  const dataLen = p.l4Len - icmp.ICMP_HEADER_BYTES;
  const kept = keepUntilTxDone(p.l4 + icmp.ICMP_HEADER_BYTES, dataLen);
  if (kept == 0) {
    count(DROP_TX_FULL);
    return ICMP_DONE;
  }
  reply.family = p.family;
  reply.src = p.dst;
  reply.dst = p.src;
  reply.data = kept;
  reply.len = dataLen;
  reply.tos = p.tos;
  if (!sendEchoReply(reply, view.rest)) count(DROP_TX_FULL);
  return ICMP_DONE;
}

/**
 * Sends an echo reply from `d.src` to `d.dst` with `d.len` bytes at `d.data`; `idAndSequence` is
 * the header's second word. False, and nothing is sent, if TX has no room.
 */
export function sendEchoReply(d: Datagram, idAndSequence: u32): bool {
  const isV4 = d.family == 4;
  d.proto = isV4 ? PROTO_ICMP : PROTO_ICMP6;
  const type = isV4 ? icmp.ICMP4_ECHO_REPLY : icmp.ICMP6_ECHO_REPLY;
  d.header = icmp.icmpHeader(type, 0, idAndSequence);
  if (!sendDatagram(d)) return false;
  count(STAT_ECHO_REPLIES_OUT);
  return true;
}

/** Answers a protocol that the stack does not speak: RFC 1122 §3.2.2.1, RFC 8200 §4. */
export function refuseProtocol(p: Packet): void {
  count(DROP_PROTOCOL);
  if (p.family == 4) {
    const code = typeCode(icmp.ICMP4_UNREACHABLE, icmp.ICMP4_CODE_PROTOCOL);
    emitError(4, code, 0, p.quote, p.quoteLen);
  } else {
    emitError(6, typeCode(icmp.ICMP6_PARAMETER, 1), p.protoOff, p.quote, p.quoteLen);
  }
}

/** Ends datagrams whose time is over, with "time exceeded" where the first fragment came. */
export function expireReassemblies(): void {
  for (let i: u32 = 0; i < expiredMax(); i++) {
    const record = nextExpired();
    if (!record) break;
    const isV4 = record.family == 4;
    const quoteLen = quoteFirst(record, quoteScratch, isV4 ? QUOTE_4_MAX : QUOTE_6_MAX);
    if (quoteLen != 0) {
      const type = isV4 ? icmp.ICMP4_TIME_EXCEEDED : icmp.ICMP6_TIME_EXCEEDED;
      const family: u32 = isV4 ? 4 : 6;
      emitError(family, typeCode(type, icmp.ICMP_CODE_REASSEMBLY), 0, quoteScratch, quoteLen);
    }
    expire(record);
  }
  armReassembly();
}

/** Whether the address is the device's own. */
function isOwn(family: u32, address: usize): bool {
  const own = CONFIG_BASE + ((family == 4 ? CFG_OWN_4 : CFG_OWN_6) << 2);
  return equalAddress(family, own, address);
}

function isTooBig(family: u32, view: IcmpView): bool {
  if (family == 6) return view.type == icmp.ICMP6_TOO_BIG;
  return view.type == icmp.ICMP4_UNREACHABLE && view.code == icmp.ICMP4_CODE_TOO_BIG;
}

/** Reads a quoted TCP segment of ours; false if the quote is something else. */
function readQuote(p: Packet, view: IcmpView): bool {
  const quote = p.l4 + icmp.ICMP_HEADER_BYTES;
  const quoteLen = p.l4Len - icmp.ICMP_HEADER_BYTES;
  const isV4 = p.family == 4;
  // We send neither options nor extension headers, so the segment follows the plain header.
  const headerLen = isV4 ? IPV4_HEADER_BYTES : IPV6_HEADER_BYTES;
  if (quoteLen < headerLen + 8) return false;
  const first = <u32>load<u8>(quote);
  if (isV4 ? first != 0x45 : first >> 4 != 6) return false;
  if (<u32>load<u8>(quote + (isV4 ? 9 : 6)) != PROTO_TCP) return false;
  quoted.family = p.family;
  quoted.local = quote + (isV4 ? 12 : 8);
  quoted.remote = quote + (isV4 ? 16 : 24);
  const tcp = quote + headerLen;
  quoted.localPort = be16(tcp);
  quoted.remotePort = be16(tcp + 2);
  quoted.seq = be32(tcp + 4);
  quoted.mtu = isV4 ? view.sequence : view.rest;
  return true;
}
