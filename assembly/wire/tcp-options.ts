/**
 * TCP options: RFC 9293 §3.2 (end, no-op, MSS), RFC 7323 (window scale, timestamps), RFC 2018
 * (SACK). Unknown ones are skipped by their length; a length of 0, 1 or past the header ends the
 * list and keeps what was parsed (TCP-9).
 */
import { be16, be32, putBe32 } from "../mem/bytes";

const END: u32 = 0;
const NOP: u32 = 1;
const MSS: u32 = 2;
const SCALE: u32 = 3;
const SACK_PERMITTED: u32 = 4;
const SACK: u32 = 5;
const TIMESTAMPS: u32 = 8;

export const OPTION_MSS: u32 = 1;
export const OPTION_SCALE: u32 = 2;
export const OPTION_SACK_PERMITTED: u32 = 4;
export const OPTION_TIMESTAMPS: u32 = 8;

/** SACK blocks that fit into 40 bytes. */
export const SACK_BLOCK_MAX: u32 = 4;
/** Bytes of the timestamps option with its two no-ops. */
export const TIMESTAMPS_BYTES: u32 = 12;
/** Bytes of all options of a SYN-ACK that has all. */
export const SYN_OPTIONS_MAX: u32 = 20;

/** What a header's options say. Fields without their OPTION_ bit have no meaning. */
@unmanaged
export class TcpOptions {
  present: u32;
  mss: u32;
  scale: u32;
  tsval: u32;
  tsecr: u32;
  /** SACK blocks, and their address: {left, right} in network order each. */
  sackCount: u32;
  sackPtr: usize;

  @inline has(option: u32): bool {
    return (this.present & option) != 0;
  }

  /** Reads the `len` bytes at `ptr`. */
  parse(ptr: usize, len: u32): void {
    this.present = 0;
    this.sackCount = 0;
    // The usual case: two no-ops and timestamps, nothing else.
    if (len == TIMESTAMPS_BYTES && load<u32>(ptr) == 0x0a080101) {
      this.present = OPTION_TIMESTAMPS;
      this.tsval = be32(ptr + 4);
      this.tsecr = be32(ptr + 8);
      return;
    }
    let at: u32 = 0;
    while (at < len) {
      const kind = <u32>load<u8>(ptr + at);
      if (kind == END) return;
      if (kind == NOP) {
        at++;
        continue;
      }
      if (at + 2 > len) return;
      const size = <u32>load<u8>(ptr + at, 1);
      if (size < 2 || size > len - at) return;
      this.take(kind, ptr + at + 2, size);
      at += size;
    }
  }

  /** Takes one option, whose value is at `value` and whose whole size is `size`. */
  private take(kind: u32, value: usize, size: u32): void {
    if (kind == MSS && size == 4) {
      this.present |= OPTION_MSS;
      this.mss = be16(value);
    } else if (kind == SCALE && size == 3) {
      this.present |= OPTION_SCALE;
      this.scale = <u32>load<u8>(value);
    } else if (kind == SACK_PERMITTED && size == 2) {
      this.present |= OPTION_SACK_PERMITTED;
    } else if (kind == TIMESTAMPS && size == 10) {
      this.present |= OPTION_TIMESTAMPS;
      this.tsval = be32(value);
      this.tsecr = be32(value + 4);
    } else if (kind == SACK && size >= 10 && ((size - 2) & 7) == 0) {
      this.sackCount = min((size - 2) >> 3, SACK_BLOCK_MAX);
      this.sackPtr = value;
    }
  }
}

/** Writes no-op, no-op, timestamps: TIMESTAMPS_BYTES. */
export function putTimestamps(ptr: usize, tsval: u32, tsecr: u32): void {
  store<u32>(ptr, 0x0a080101);
  putBe32(ptr + 4, tsval);
  putBe32(ptr + 8, tsecr);
}

/** Writes the MSS option: 4 bytes. */
export function putMss(ptr: usize, mss: u32): void {
  putBe32(ptr, (MSS << 24) | (4 << 16) | mss);
}

/** Writes no-op, window scale: 4 bytes. */
export function putScale(ptr: usize, scale: u32): void {
  putBe32(ptr, (NOP << 24) | (SCALE << 16) | (3 << 8) | scale);
}

/** Writes no-op, no-op, SACK-permitted: 4 bytes. */
export function putSackPermitted(ptr: usize): void {
  putBe32(ptr, (NOP << 24) | (NOP << 16) | (SACK_PERMITTED << 8) | 2);
}

/** Writes no-op, no-op, and the head of a SACK option of `count` blocks: 4 bytes. */
export function putSackHead(ptr: usize, count: u32): void {
  putBe32(ptr, (NOP << 24) | (NOP << 16) | (SACK << 8) | (2 + (count << 3)));
}

/** Writes one SACK block: 8 bytes. */
export function putSackBlock(ptr: usize, left: u32, right: u32): void {
  putBe32(ptr, left);
  putBe32(ptr + 4, right);
}
