/** The Internet checksum (RFC 1071), and its change when bytes change (RFC 1624). */

export function be16(data: Uint8Array, at: number): number {
  return ((data[at] ?? 0) << 8) | (data[at + 1] ?? 0);
}

export function be32(data: Uint8Array, at: number): number {
  return be16(data, at) * 65_536 + be16(data, at + 2);
}

export function putBe16(data: Uint8Array, at: number, value: number): void {
  data[at] = value >> 8;
  data[at + 1] = value;
}

export function putBe32(data: Uint8Array, at: number, value: number): void {
  putBe16(data, at, (value >>> 16) & 0xffff);
  putBe16(data, at + 2, value & 0xffff);
}

/** The sum of words from `at` to `end`, added to `sum`; folded to 16 bits. */
export function onesSum(data: Uint8Array, at: number, end: number, sum = 0): number {
  let total = sum;
  let from = at;
  for (; from + 1 < end; from += 2) total += ((data[from] ?? 0) << 8) | (data[from + 1] ?? 0);
  if (from < end) total += (data[from] ?? 0) << 8;
  while (total > 0xffff) total = (total % 65_536) + Math.floor(total / 65_536);
  return total;
}

/**
 * Writes `value` at `at` and changes the checksum at `sumAt` accordingly, so that a right one stays
 * right and a wrong one wrong (RFC 1624 §3). Words are counted from `base`, as in the checksum.
 */
export function patchBe32(
  data: Uint8Array,
  at: number,
  value: number,
  { base, sumAt }: { readonly base: number; readonly sumAt: number },
): void {
  const from = base + (((at - base) >> 1) << 1);
  const end = Math.min(data.length, base + (((at + 4 - base + 1) >> 1) << 1));
  const before = onesSum(data, from, end);
  putBe32(data, at, value);
  const after = onesSum(data, from, end);
  // ~C' = ~C + ~m + m'
  let sum = (~be16(data, sumAt) & 0xffff) + (~before & 0xffff) + after;
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  putBe16(data, sumAt, ~sum & 0xffff);
}
