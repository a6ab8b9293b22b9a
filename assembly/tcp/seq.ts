/**
 * Arithmetic of sequence numbers and of timestamps: modulo 2^32 (RFC 9293 §3.4, RFC 7323 §5.2,
 * DET-10). The one place that compares them.
 */

/** a is before b. */
export function seqLt(a: u32, b: u32): bool {
  return <i32>(a - b) < 0;
}

/** a is before b or the same. */
export function seqLe(a: u32, b: u32): bool {
  return <i32>(a - b) <= 0;
}

/** a is after b. */
export function seqGt(a: u32, b: u32): bool {
  return <i32>(a - b) > 0;
}

/** a is after b or the same. */
export function seqGe(a: u32, b: u32): bool {
  return <i32>(a - b) >= 0;
}

/** The later of two. */
export function seqMax(a: u32, b: u32): u32 {
  return seqGt(a, b) ? a : b;
}

/** The earlier of two. */
export function seqMin(a: u32, b: u32): u32 {
  return seqLt(a, b) ? a : b;
}

/** How far `to` is after `from`; 0 if it is not. */
export function seqDistance(from: u32, to: u32): u32 {
  return seqGt(to, from) ? to - from : 0;
}
