/**
 * Bytes in memory: network byte order, copies, comparisons. Callers guarantee that the ranges lie
 * in memory; nothing here checks.
 */

/** Reads 16 bits in network order at any alignment. */
export function be16(ptr: usize): u32 {
  return <u32>bswap<u16>(load<u16>(ptr));
}

/** Reads 32 bits in network order at any alignment. */
export function be32(ptr: usize): u32 {
  return bswap<u32>(load<u32>(ptr));
}

/** Writes the low 16 bits of `value` in network order. */
export function putBe16(ptr: usize, value: u32): void {
  store<u16>(ptr, bswap<u16>(<u16>value));
}

/** Writes 32 bits in network order. */
export function putBe32(ptr: usize, value: u32): void {
  store<u32>(ptr, bswap<u32>(value));
}

/** Copies `bytes` from `from` to `to`; the ranges may overlap. */
export function copy(to: usize, from: usize, bytes: usize): void {
  memory.copy(to, from, bytes);
}

/** Sets `bytes` at `ptr` to zero. */
export function clear(ptr: usize, bytes: usize): void {
  memory.fill(ptr, 0, bytes);
}

/** Whether two 16-byte values are the same. */
export function equal16(a: usize, b: usize): bool {
  return ((load<u64>(a) ^ load<u64>(b)) | (load<u64>(a, 8) ^ load<u64>(b, 8))) == 0;
}

/** Whether two addresses of one family are the same: 4 or 16 bytes. */
export function equalAddress(family: u32, a: usize, b: usize): bool {
  return family == 4 ? load<u32>(a) == load<u32>(b) : equal16(a, b);
}

/** Writes an address into a 16-byte field: IPv4 in its first four bytes, the rest zero. */
export function putAddress(family: u32, to: usize, from: usize): void {
  if (family == 4) {
    store<u32>(to, load<u32>(from));
    store<u32>(to, 0, 4);
    store<u64>(to, 0, 8);
  } else {
    store<u64>(to, load<u64>(from));
    store<u64>(to, load<u64>(from, 8), 8);
  }
}

/** Whether `[ptr, ptr + bytes)` lies in memory above the fixed blocks, as a host's pointer must. */
export function isInMemory(ptr: u32, bytes: u32): bool {
  const limit = (<u64>memory.size()) << 16;
  return ptr >= 65536 && <u64>ptr + <u64>bytes <= limit;
}
