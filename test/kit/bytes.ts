/**
 * Bytes, addresses, checksums and sequence numbers for tests. Shares nothing with `assembly/`:
 * these are the plain definitions (RFC 1071, RFC 1982), written for clearness.
 */

/** `count` bytes that differ from each other and from those of another seed. */
export function pattern(count: number, seed = 1): Uint8Array {
  const bytes = new Uint8Array(count);
  let state = (seed * 2654435761) >>> 0;
  for (let i = 0; i < count; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    bytes[i] = state >>> 24;
  }
  return bytes;
}

export function text(words: string): Uint8Array {
  return new TextEncoder().encode(words);
}

export function concat(...parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

export function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex");
}

export function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}

export function get16(bytes: Uint8Array, at: number): number {
  if (at + 2 > bytes.length) throw new Error(`two bytes at ${at} of ${bytes.length}`);
  return (bytes[at]! << 8) | bytes[at + 1]!;
}

export function get32(bytes: Uint8Array, at: number): number {
  return get16(bytes, at) * 65536 + get16(bytes, at + 2);
}

export function put16(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 8;
  bytes[at + 1] = value;
}

export function put32(bytes: Uint8Array, at: number, value: number): void {
  put16(bytes, at, value >>> 16);
  put16(bytes, at + 2, value);
}

function ipv6Words(part: string): number[] {
  return part === "" ? [] : part.split(":").map((word) => parseInt(word, 16));
}

/** "192.0.2.1" to 4 bytes, "2001:db8::1" to 16. */
export function address(written: string): Uint8Array {
  if (!written.includes(":")) return Uint8Array.from(written.split("."), Number);
  const [head = "", tail] = written.split("::");
  const front = ipv6Words(head);
  const back = tail === undefined ? [] : ipv6Words(tail);
  const zeros = new Array<number>(8 - front.length - back.length).fill(0);
  const bytes = new Uint8Array(16);
  [...front, ...zeros, ...back].forEach((word, i) => put16(bytes, 2 * i, word));
  return bytes;
}

/** 4 or 16 bytes to text, IPv6 in its canonical form. */
export function addressText(bytes: Uint8Array): string {
  if (bytes.length === 4) return [...bytes].join(".");
  const words = Array.from({ length: 8 }, (_, i) => get16(bytes, 2 * i).toString(16));
  return new URL(`http://[${words.join(":")}]`).hostname.slice(1, -1);
}

/** The ones' complement sum of RFC 1071, folded, not complemented. */
export function onesSum(...parts: readonly Uint8Array[]): number {
  let sum = 0;
  const bytes = concat(...parts);
  for (let i = 0; i < bytes.length; i += 2) {
    sum += (bytes[i]! << 8) | (bytes[i + 1] ?? 0);
  }
  while (sum > 0xffff) sum = (sum & 0xffff) + Math.floor(sum / 65536);
  return sum;
}

/** The pseudo header of TCP, UDP and ICMPv6 (RFC 9293 §3.1, RFC 8200 §8.1). */
export function pseudoHeader(
  src: Uint8Array,
  dst: Uint8Array,
  proto: number,
  length: number,
): Uint8Array {
  const tail = new Uint8Array(src.length === 4 ? 4 : 8);
  if (src.length === 4) {
    tail[1] = proto;
    put16(tail, 2, length);
  } else {
    put32(tail, 0, length);
    tail[7] = proto;
  }
  return concat(src, dst, tail);
}

/** Sequence numbers: a + n, and the signed distance from b to a. */
export function seqAdd(a: number, n: number): number {
  return (a + n) >>> 0;
}

export function seqDiff(a: number, b: number): number {
  return (a - b) | 0;
}
