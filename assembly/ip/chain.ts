/**
 * The chain of IPv6 extension headers, RFC 8200 §4: walked once, bounded in headers, options and
 * bytes (RFC 8504 §5.3). The walk stops at a fragment header, at the first thing that is none of
 * these headers, or at an offence.
 */
import {
  PROTO_DESTINATION,
  PROTO_FRAGMENT,
  PROTO_HOP_BY_HOP,
  PROTO_NONE,
  PROTO_ROUTING,
} from "../wire/protocols";
import { IPV6_HEADER_BYTES } from "../wire/ipv6";

/** The L4 header was reached: `proto`, `off`, `protoOff`. */
export const CHAIN_L4: u32 = 0;
/** A fragment header lies at `off`; `protoOff` names it. */
export const CHAIN_FRAGMENT: u32 = 1;
/** To be dropped silently. */
export const CHAIN_BAD: u32 = 2;
/** A header runs past the end. */
export const CHAIN_TRUNCATED: u32 = 3;
/** To be answered with a parameter problem: `code`, `pointer`. */
export const CHAIN_PARAMETER: u32 = 4;

const HEADERS_MAX: u32 = 8;
const OPTIONS_MAX: u32 = 16;
const CHAIN_BYTES_MAX: u32 = 1024;

const OPTION_PAD1: u32 = 0;
const OPTION_JUMBO: u32 = 0xc2;
/** Parameter problem codes, RFC 4443 §3.4 and RFC 7112 §5. */
const CODE_FIELD: u32 = 0;
const CODE_NEXT_HEADER: u32 = 1;
const CODE_OPTION: u32 = 2;

@unmanaged
export class Chain {
  /** The next header's number, where it begins, and where it is named: offsets in the packet. */
  proto: u32;
  off: u32;
  protoOff: u32;
  /** Headers and bytes walked so far. */
  headers: u32;
  bytes: u32;
  /** Of a parameter problem. */
  code: u32;
  pointer: u32;
}

/** Points `chain` at the header after the IPv6 header. */
export function startChain(chain: Chain, next: u32): void {
  chain.proto = next;
  chain.off = IPV6_HEADER_BYTES;
  chain.protoOff = 6;
  chain.headers = 0;
  chain.bytes = 0;
}

/** Walks on from where `chain` stands in the packet of `len` bytes at `ip`; a CHAIN_… answer. */
export function walkChain(chain: Chain, ip: usize, len: u32, isMulticast: bool): u32 {
  while (true) {
    const proto = chain.proto;
    if (proto == PROTO_NONE) return CHAIN_BAD;
    const hasOptions = proto == PROTO_HOP_BY_HOP || proto == PROTO_DESTINATION;
    if (!hasOptions && proto != PROTO_ROUTING && proto != PROTO_FRAGMENT) return CHAIN_L4;
    if (proto == PROTO_HOP_BY_HOP && chain.headers != 0) {
      return parameter(chain, CODE_NEXT_HEADER, chain.protoOff);
    }
    if (chain.off + 8 > len) return CHAIN_TRUNCATED;
    if (proto == PROTO_FRAGMENT) return CHAIN_FRAGMENT;
    const header = ip + chain.off;
    const bytes = (<u32>load<u8>(header, 1) + 1) << 3;
    if (chain.off + bytes > len) return CHAIN_TRUNCATED;
    if (hasOptions) {
      const answer = walkOptions(chain, ip, chain.off + bytes, isMulticast);
      if (answer != CHAIN_L4) return answer;
    } else if (load<u8>(header, 3) != 0) {
      return parameter(chain, CODE_FIELD, chain.off + 2);
    }
    if (!passHeader(chain, ip, bytes)) return CHAIN_BAD;
  }
}

/** Steps over a header of `bytes`; false if the chain is longer than what is looked at. */
export function passHeader(chain: Chain, ip: usize, bytes: u32): bool {
  chain.headers++;
  chain.bytes += bytes;
  if (chain.headers > HEADERS_MAX) return false;
  if (chain.bytes > CHAIN_BYTES_MAX) return false;
  chain.protoOff = chain.off;
  chain.proto = load<u8>(ip + chain.off);
  chain.off += bytes;
  return true;
}

/** RFC 8200 §4.2: the two high bits of an unknown option say what to do. */
function walkOptions(chain: Chain, ip: usize, end: u32, isMulticast: bool): u32 {
  let at = chain.off + 2;
  let options: u32 = 0;
  while (at < end) {
    if (++options > OPTIONS_MAX) return CHAIN_BAD;
    const type = <u32>load<u8>(ip + at);
    if (type == OPTION_PAD1) {
      at++;
      continue;
    }
    if (at + 2 > end) return CHAIN_BAD;
    const bytes = 2 + <u32>load<u8>(ip + at, 1);
    if (at + bytes > end) return CHAIN_BAD;
    if (type == OPTION_JUMBO) return CHAIN_BAD;
    const action = type >> 6;
    if (action == 1) return CHAIN_BAD;
    if (action == 3 && isMulticast) return CHAIN_BAD;
    if (action != 0) return parameter(chain, CODE_OPTION, at);
    at += bytes;
  }
  return CHAIN_L4;
}

function parameter(chain: Chain, code: u32, pointer: u32): u32 {
  chain.code = code;
  chain.pointer = pointer;
  return CHAIN_PARAMETER;
}
