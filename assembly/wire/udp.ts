/**
 * UDP header, RFC 768.
 *   0      2      4      6      8
 *   | src  | dst  | len  | sum  | payload
 */
import { be16 } from "../mem/bytes";

export const UDP_HEADER_BYTES: u32 = 8;

@unmanaged
export class UdpView {
  private srcBe: u16;
  private dstBe: u16;
  private lenBe: u16;
  private sumBe: u16;

  /** The view, or null if `bytes` at `ptr` do not hold the length that the header states. */
  static check(ptr: usize, bytes: u32): UdpView | null {
    if (bytes < UDP_HEADER_BYTES) return null;
    const claimed = be16(ptr + 4);
    if (claimed < UDP_HEADER_BYTES || claimed > bytes) return null;
    return changetype<UdpView>(ptr);
  }

  @inline get srcPort(): u32 {
    return <u32>bswap<u16>(this.srcBe);
  }
  @inline get dstPort(): u32 {
    return <u32>bswap<u16>(this.dstBe);
  }
  /** Header and payload. */
  @inline get totalLen(): u32 {
    return <u32>bswap<u16>(this.lenBe);
  }
  /** As it lies in memory; 0 is "none" (IPv4 only). */
  @inline get checksum(): u32 {
    return this.sumBe;
  }
  @inline get payload(): usize {
    return changetype<usize>(this) + 8;
  }
}

if (offsetof<UdpView>() != 8) ERROR("UdpView must be 8 bytes");

/** A header with a zero checksum, as it lies in memory; `bytes` counts header and payload. */
export function udpHeader(srcPort: u32, dstPort: u32, bytes: u32): u64 {
  const ports = bswap<u32>((srcPort << 16) | (dstPort & 0xffff));
  return (<u64>ports) | ((<u64>bswap<u16>(<u16>bytes)) << 32);
}
