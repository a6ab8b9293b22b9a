/**
 * ICMP (RFC 792) and ICMPv6 (RFC 4443) headers; both have one shape.
 *   0      1      2     4      8
 *   | type | code | sum | rest | data
 */
import { be16, be32, putBe32 } from "../mem/bytes";

export const ICMP_HEADER_BYTES: u32 = 8;

export const ICMP4_ECHO_REPLY: u32 = 0;
export const ICMP4_UNREACHABLE: u32 = 3;
export const ICMP4_ECHO: u32 = 8;
export const ICMP4_TIME_EXCEEDED: u32 = 11;
export const ICMP4_CODE_PROTOCOL: u32 = 2;
export const ICMP4_CODE_TOO_BIG: u32 = 4;

export const ICMP6_UNREACHABLE: u32 = 1;
export const ICMP6_TOO_BIG: u32 = 2;
export const ICMP6_TIME_EXCEEDED: u32 = 3;
export const ICMP6_PARAMETER: u32 = 4;
export const ICMP6_ECHO: u32 = 128;
export const ICMP6_ECHO_REPLY: u32 = 129;

/** Time exceeded: of reassembly. */
export const ICMP_CODE_REASSEMBLY: u32 = 1;

@unmanaged
export class IcmpView {
  private typeByte: u8;
  private codeByte: u8;
  private sumBe: u16;
  private restBe: u32;

  /** The view, or null if `bytes` are too few, RFC 792. */
  static check(ptr: usize, bytes: u32): IcmpView | null {
    return bytes < ICMP_HEADER_BYTES ? null : changetype<IcmpView>(ptr);
  }

  @inline get type(): u32 {
    return this.typeByte;
  }
  @inline get code(): u32 {
    return this.codeByte;
  }
  /** Echo identifier. */
  @inline get id(): u32 {
    return be16(changetype<usize>(this) + 4);
  }
  /** Echo sequence number; of "fragmentation needed" the next hop's MTU. */
  @inline get sequence(): u32 {
    return be16(changetype<usize>(this) + 6);
  }
  /** The second word: of "packet too big" the MTU. */
  @inline get rest(): u32 {
    return be32(changetype<usize>(this) + 4);
  }
}

if (offsetof<IcmpView>() != 8) ERROR("IcmpView must be 8 bytes");

/** A header with a zero checksum, as it lies in memory. */
export function icmpHeader(type: u32, code: u32, rest: u32): u64 {
  return ((<u64>bswap<u32>(rest)) << 32) | (<u64>((code << 8) | type));
}

/** Writes a header with a zero checksum. */
export function putIcmp(ptr: usize, type: u32, code: u32, rest: u32): void {
  store<u8>(ptr, <u8>type);
  store<u8>(ptr, <u8>code, 1);
  store<u16>(ptr, 0, 2);
  putBe32(ptr + 4, rest);
}

/** Whether a type reports an error and hence must not be answered with one. */
export function isIcmpError(family: u32, type: u32): bool {
  if (family == 6) return type < 128;
  return type == 3 || type == 4 || type == 5 || type == 11 || type == 12;
}
