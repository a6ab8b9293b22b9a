/**
 * TCP header, RFC 9293 §3.1.
 *   0     2     4     8     12       13      14       16    18    20
 *   | src | dst | seq | ack | offset | flags | window | sum | urg | options
 *
 * Reserved bits are ignored in and zero out (TCP-83); the urgent pointer likewise (TCP-47).
 */
import { putBe16, putBe32 } from "../mem/bytes";

export const FIN: u32 = 1;
export const SYN: u32 = 2;
export const RST: u32 = 4;
export const PSH: u32 = 8;
export const ACK: u32 = 16;
export const URG: u32 = 32;
export const ECE: u32 = 64;
export const CWR: u32 = 128;

export const TCP_HEADER_BYTES: u32 = 20;
/** Place of the checksum in the header. */
export const TCP_CSUM_OFF: u32 = 16;

@unmanaged
export class TcpView {
  private srcBe: u16;
  private dstBe: u16;
  private seqBe: u32;
  private ackBe: u32;
  private offset: u8;
  private flagBits: u8;
  private windowBe: u16;
  private sumBe: u16;
  private urgentBe: u16;

  /** The view, or null if the header with its options does not fit in `len` bytes (TCP-10). */
  static check(ptr: usize, len: u32): TcpView | null {
    if (len < TCP_HEADER_BYTES) return null;
    const headerLen = ((<u32>load<u8>(ptr, 12)) >> 4) << 2;
    if (headerLen < TCP_HEADER_BYTES || headerLen > len) return null;
    return changetype<TcpView>(ptr);
  }

  @inline get srcPort(): u32 {
    return <u32>bswap<u16>(this.srcBe);
  }

  @inline get dstPort(): u32 {
    return <u32>bswap<u16>(this.dstBe);
  }

  @inline get seq(): u32 {
    return bswap<u32>(this.seqBe);
  }

  @inline get ack(): u32 {
    return bswap<u32>(this.ackBe);
  }

  /** Bytes of the header with options: 20 … 60. */
  @inline get headerLen(): u32 {
    return ((<u32>this.offset) >> 4) << 2;
  }

  @inline get flags(): u32 {
    return <u32>this.flagBits;
  }

  @inline get window(): u32 {
    return <u32>bswap<u16>(this.windowBe);
  }
}

if (offsetof<TcpView>() != 20) ERROR("TcpView must be 20 bytes");

/** Writes ports; the rest of the header is written by `putTcp`. */
export function putPorts(ptr: usize, srcPort: u32, dstPort: u32): void {
  putBe16(ptr, srcPort);
  putBe16(ptr + 2, dstPort);
}

/** Writes all behind the ports: no urgent pointer, checksum zero. `window` is as it goes out. */
export function putTcp(ptr: usize, seq: u32, ack: u32, headerAndFlags: u32, window: u32): void {
  putBe32(ptr + 4, seq);
  putBe32(ptr + 8, ack);
  putBe16(ptr + 12, headerAndFlags);
  putBe16(ptr + 14, window);
  store<u32>(ptr, 0, 16);
}

/** The 16 bits of data offset and flags. */
export function headerAndFlags(headerLen: u32, flags: u32): u32 {
  return ((headerLen >> 2) << 12) | flags;
}
