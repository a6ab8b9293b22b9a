/**
 * IPv6 header, RFC 8200 §3, and fragment header, §4.5.
 *   0              4         6      7      8     24    40
 *   | ver/tc/label | payload | next | hops | src | dst |
 *   0      1     2                  4    8
 *   | next |  0  | offset<<3 .. M   | id |
 */
import { putBe16 } from "../mem/bytes";

export const IPV6_HEADER_BYTES: u32 = 40;
export const FRAGMENT_HEADER_BYTES: u32 = 8;

@unmanaged
export class Ipv6View {
  private versionLabel: u32;
  private payloadBe: u16;
  private nextByte: u8;
  private hopsByte: u8;
  private srcLow: u64;
  private srcHigh: u64;
  private dstLow: u64;
  private dstHigh: u64;

  /** The view, or null if `bytes` at `ptr` do not hold header and payload. */
  static check(ptr: usize, bytes: u32): Ipv6View | null {
    if (bytes < IPV6_HEADER_BYTES) return null;
    const view = changetype<Ipv6View>(ptr);
    return IPV6_HEADER_BYTES + view.payloadLen > bytes ? null : view;
  }

  @inline get payloadLen(): u32 {
    return <u32>bswap<u16>(this.payloadBe);
  }
  @inline get nextHeader(): u32 {
    return this.nextByte;
  }
  @inline get hops(): u32 {
    return this.hopsByte;
  }
  @inline get src(): usize {
    return changetype<usize>(this) + 8;
  }
  @inline get dst(): usize {
    return changetype<usize>(this) + 24;
  }
}

if (offsetof<Ipv6View>() != 40) ERROR("Ipv6View must be 40 bytes");

/** Writes a header; payload length and flow label follow. */
export function putIpv6(ptr: usize, next: u32, hops: u32, src: usize, dst: usize): void {
  store<u32>(ptr, 0x60);
  store<u16>(ptr, 0, 4);
  store<u8>(ptr, <u8>next, 6);
  store<u8>(ptr, <u8>hops, 7);
  store<u64>(ptr, load<u64>(src), 8);
  store<u64>(ptr, load<u64>(src, 8), 16);
  store<u64>(ptr, load<u64>(dst), 24);
  store<u64>(ptr, load<u64>(dst, 8), 32);
}

/** Sets payload length, and traffic class and flow label (28 bits). */
export function closeIpv6(ptr: usize, payloadLen: u32, classAndLabel: u32): void {
  store<u32>(ptr, bswap<u32>(0x60000000 | (classAndLabel & 0xfffffff)));
  putBe16(ptr + 4, payloadLen);
}

/** Whether packets from this address can be answered: not ::, ::1, multicast or v4-mapped. */
export function isIpv6SourceFine(address: usize): bool {
  return <u32>load<u8>(address) != 0xff && !isUnspecifiedOrMapped(address);
}

/** Whether the address is a multicast group. */
export function isIpv6Multicast(address: usize): bool {
  return <u32>load<u8>(address) == 0xff;
}

/** Whether packets to this address are looked at; multicast is decided by the caller. */
export function isIpv6DestinationFine(address: usize): bool {
  const linkLocal = load<u8>(address) == 0xfe && (load<u8>(address, 1) & 0xc0) == 0x80;
  return !linkLocal && !isUnspecifiedOrMapped(address);
}

/** ::, ::1 and ::ffff:0:0/96. */
function isUnspecifiedOrMapped(address: usize): bool {
  if (load<u64>(address) != 0) return false;
  const third = load<u32>(address, 8);
  if (third == 0xffff0000) return true;
  if (third != 0) return false;
  const last = bswap<u32>(load<u32>(address, 12));
  return last <= 1;
}
