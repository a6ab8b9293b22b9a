/**
 * The Internet checksum, RFC 1071: one's complement sum of 16-bit words. Sums here are those of the
 * bytes as they lie in memory (little endian words); the property that swapping all bytes swaps the
 * sum makes that right, as long as the result is stored as it lies in memory too.
 *
 * A running sum is a u64 that `foldSum` brings down to 16 bits. Parts are added one after the
 * other; a part that begins at an odd place of the packet is added with `addSwapped`.
 */

/** Adds `bytes` bytes at `ptr`, which begin at an even place of the packet. */
export function addSum(sum: u64, ptr: usize, bytes: u32): u64 {
  let at = ptr;
  let left = bytes;
  if (ASC_FEATURE_SIMD) {
    // A lane takes two words a turn: 32,768 turns fit, and no packet has that many.
    if (left >= 64) {
      let a = i32x4.splat(0);
      let b = i32x4.splat(0);
      while (left >= 32) {
        a = i32x4.add(a, i32x4.extadd_pairwise_i16x8_u(v128.load(at)));
        b = i32x4.add(b, i32x4.extadd_pairwise_i16x8_u(v128.load(at, 16)));
        at += 32;
        left -= 32;
      }
      const lanes = i32x4.add(a, b);
      sum += <u64>(<u32>i32x4.extract_lane(lanes, 0));
      sum += <u64>(<u32>i32x4.extract_lane(lanes, 1));
      sum += <u64>(<u32>i32x4.extract_lane(lanes, 2));
      sum += <u64>(<u32>i32x4.extract_lane(lanes, 3));
    }
  }
  while (left >= 16) {
    sum += <u64>load<u32>(at) + <u64>load<u32>(at, 4);
    sum += <u64>load<u32>(at, 8) + <u64>load<u32>(at, 12);
    at += 16;
    left -= 16;
  }
  while (left >= 4) {
    sum += <u64>load<u32>(at);
    at += 4;
    left -= 4;
  }
  if (left >= 2) {
    sum += <u64>load<u16>(at);
    at += 2;
    left -= 2;
  }
  if (left != 0) sum += <u64>load<u8>(at);
  return sum;
}

/** Adds bytes that begin at an odd place of the packet. */
export function addSwapped(sum: u64, ptr: usize, bytes: u32): u64 {
  return sum + <u64>bswap<u16>(<u16>foldSum(addSum(0, ptr, bytes)));
}

/**
 * Sum of a pseudo-header (RFC 9293 §3.1, RFC 8200 §8.1) for `bytes` bytes of L4 header and data.
 */
export function pseudoSum(family: u32, src: usize, dst: usize, proto: u32, bytes: u32): u64 {
  let sum = <u64>(proto << 8) + <u64>bswap<u32>(bytes);
  if (family == 4) {
    sum += <u64>load<u32>(src) + <u64>load<u32>(dst);
  } else {
    sum += <u64>load<u32>(src) + <u64>load<u32>(src, 4);
    sum += <u64>load<u32>(src, 8) + <u64>load<u32>(src, 12);
    sum += <u64>load<u32>(dst) + <u64>load<u32>(dst, 4);
    sum += <u64>load<u32>(dst, 8) + <u64>load<u32>(dst, 12);
  }
  return sum;
}

/** The 16-bit one's complement sum, not complemented: what a partial checksum field holds. */
export function foldSum(sum: u64): u32 {
  sum = (sum & 0xffffffff) + (sum >> 32);
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  return <u32>sum;
}

/** The checksum to store, as it lies in memory. */
export function finishSum(sum: u64): u32 {
  return ~foldSum(sum) & 0xffff;
}

/** Whether bytes with their checksum field (and pseudo-header, if any) sum up as they must. */
export function isSumRight(sum: u64): bool {
  return foldSum(sum) == 0xffff;
}
