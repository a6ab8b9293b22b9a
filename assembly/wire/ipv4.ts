/**
 * IPv4 header, RFC 791 §3.1.
 *   0    1     2       4    6      8     9       10    12    16    20
 *   |VIHL| tos | total | id | frag | ttl | proto | sum | src | dst | options |
 */
import { putBe16 } from "../mem/bytes";
import { addSum, finishSum, isSumRight } from "./checksum";

export const IPV4_HEADER_BYTES: u32 = 20;
const FLAG_DF: u32 = 0x4000;
const FLAG_MF: u32 = 0x2000;
const OFFSET_MASK: u32 = 0x1fff;

@unmanaged
export class Ipv4View {
  private versionIhl: u8;
  private tosByte: u8;
  private totalBe: u16;
  private idBe: u16;
  private fragBe: u16;
  private ttlByte: u8;
  private protoByte: u8;
  private sumBe: u16;
  private srcBe: u32;
  private dstBe: u32;

  /** The view, or null if `bytes` at `ptr` do not hold a header and the length that it states. */
  static check(ptr: usize, bytes: u32): Ipv4View | null {
    if (bytes < IPV4_HEADER_BYTES) return null;
    const view = changetype<Ipv4View>(ptr);
    if (view.headerLen < IPV4_HEADER_BYTES) return null;
    if (view.totalLen < view.headerLen) return null;
    return view.totalLen > bytes ? null : view;
  }

  @inline get headerLen(): u32 {
    return ((<u32>this.versionIhl) & 15) << 2;
  }
  @inline get totalLen(): u32 {
    return <u32>bswap<u16>(this.totalBe);
  }
  @inline get id(): u32 {
    return <u32>bswap<u16>(this.idBe);
  }
  @inline get isDf(): bool {
    return ((<u32>bswap<u16>(this.fragBe)) & FLAG_DF) != 0;
  }
  @inline get isMf(): bool {
    return ((<u32>bswap<u16>(this.fragBe)) & FLAG_MF) != 0;
  }
  /** In bytes. */
  @inline get fragmentOffset(): u32 {
    return ((<u32>bswap<u16>(this.fragBe)) & OFFSET_MASK) << 3;
  }
  @inline get ttl(): u32 {
    return this.ttlByte;
  }
  @inline get proto(): u32 {
    return this.protoByte;
  }
  @inline get src(): usize {
    return changetype<usize>(this) + 12;
  }
  @inline get dst(): usize {
    return changetype<usize>(this) + 16;
  }

  /** Whether the header checksum is right, RFC 1122 §3.2.1.2. */
  isChecksumRight(): bool {
    return isSumRight(addSum(0, changetype<usize>(this), this.headerLen));
  }
}

if (offsetof<Ipv4View>() != 20) ERROR("Ipv4View must be 20 bytes");

/** Writes a header without options and with DF; the length and the checksum follow. */
export function putIpv4(ptr: usize, proto: u32, ttl: u32, src: usize, dst: usize): void {
  store<u64>(ptr, 0x0040000000000045);
  store<u8>(ptr, <u8>ttl, 8);
  store<u8>(ptr, <u8>proto, 9);
  store<u16>(ptr, 0, 10);
  store<u32>(ptr, load<u32>(src), 12);
  store<u32>(ptr, load<u32>(dst), 16);
}

/** Sets the type of service; closeIpv4 comes after it. */
export function putTos(ptr: usize, tos: u32): void {
  store<u8>(ptr, <u8>tos, 1);
}

/** Sets the total length and the header checksum of a header of 20 bytes. */
export function closeIpv4(ptr: usize, totalLen: u32): void {
  putBe16(ptr + 2, totalLen);
  store<u16>(ptr, 0, 10);
  store<u16>(ptr, <u16>finishSum(addSum(0, ptr, IPV4_HEADER_BYTES)), 10);
}

/** Makes a header one of a fragment at `offset` bytes: id, offset, MF; DF is cleared. */
export function putIpv4Fragment(ptr: usize, id: u32, offset: u32, isLast: bool): void {
  putBe16(ptr + 4, id);
  putBe16(ptr + 6, (offset >> 3) | (isLast ? 0 : FLAG_MF));
}

const OPTION_END: u32 = 0;
const OPTION_NOP: u32 = 1;
const OPTION_LSRR: u32 = 131;
const OPTION_SSRR: u32 = 137;

/** Whether the options between `ptr` and `end` are well formed and free of source routes. */
export function areOptionsFine(ptr: usize, end: usize): bool {
  let at = ptr;
  while (at < end) {
    const kind = <u32>load<u8>(at);
    if (kind == OPTION_END) return true;
    if (kind == OPTION_NOP) {
      at++;
      continue;
    }
    if (kind == OPTION_LSRR || kind == OPTION_SSRR) return false;
    if (at + 2 > end) return false;
    const bytes = <usize>load<u8>(at, 1);
    if (bytes < 2 || at + bytes > end) return false;
    at += bytes;
  }
  return true;
}

/** Whether packets from this address can be answered, RFC 6890 and RFC 1122 §3.2.1.3. */
export function isIpv4SourceFine(address: usize): bool {
  const first = <u32>load<u8>(address);
  return first != 0 && first != 127 && first < 224;
}

/** Whether the address is a multicast group. */
export function isIpv4Multicast(address: usize): bool {
  return ((<u32>load<u8>(address)) & 0xf0) == 0xe0;
}

/** Whether packets to this address are looked at; multicast is decided by the caller. */
export function isIpv4DestinationFine(address: usize): bool {
  const first = <u32>load<u8>(address);
  return first != 0 && first != 127 && first < 240;
}
