/**
 * XOR with a repeating key of four bytes: masking of WebSocket frames, RFC 6455 §5.3.
 */

/**
 * Masks `bytes` bytes at `ptr` in place. `key` holds the four bytes in the order of the stream
 * (first one lowest); `phase` says how many bytes of the frame came before.
 */
export function xorMask(ptr: usize, bytes: u32, key: u32, phase: u32): void {
  const turned = rotr<u32>(key, (phase & 3) << 3);
  let at = ptr;
  let left = bytes;
  if (ASC_FEATURE_SIMD) {
    const wide = i32x4.splat(turned);
    while (left >= 64) {
      v128.store(at, v128.xor(v128.load(at), wide));
      v128.store(at, v128.xor(v128.load(at, 16), wide), 16);
      v128.store(at, v128.xor(v128.load(at, 32), wide), 32);
      v128.store(at, v128.xor(v128.load(at, 48), wide), 48);
      at += 64;
      left -= 64;
    }
  }
  const pair = ((<u64>turned) << 32) | turned;
  while (left >= 8) {
    store<u64>(at, load<u64>(at) ^ pair);
    at += 8;
    left -= 8;
  }
  for (let i: u32 = 0; i < left; i++) {
    store<u8>(at + i, <u8>(load<u8>(at + i) ^ (pair >> (i << 3))));
  }
}
