/** Protocol numbers that the stack knows, of IPv4 and of IPv6 next headers. */
export const PROTO_ICMP: u32 = 1;
export const PROTO_TCP: u32 = 6;
export const PROTO_UDP: u32 = 17;
export const PROTO_ICMP6: u32 = 58;
/** IPv6 extension headers, RFC 8200 §4.1. */
export const PROTO_HOP_BY_HOP: u32 = 0;
export const PROTO_ROUTING: u32 = 43;
export const PROTO_FRAGMENT: u32 = 44;
export const PROTO_NONE: u32 = 59;
export const PROTO_DESTINATION: u32 = 60;

/** Where the checksum lies in the L4 header; 0 for a protocol without one that we know. */
export function checksumOffset(family: u32, proto: u32): u32 {
  if (proto == PROTO_TCP) return 16;
  if (proto == PROTO_UDP) return 6;
  return proto == (family == 4 ? PROTO_ICMP : PROTO_ICMP6) ? 2 : 0;
}
