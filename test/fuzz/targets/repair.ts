/**
 * Makes the checksums of a packet right, as far as it has any: so that mutations get behind the
 * first check. Lengths stay as they are. Shares nothing with `assembly/`.
 */
import { onesSum, pseudoHeader, put16 } from "../../kit/bytes.ts";

/** Where the checksum stands in the header of a transport. */
const AT: Readonly<Record<number, number>> = { 1: 2, 6: 16, 17: 6, 58: 2 };
const HOP_BY_HOP = 0;
const EXTENSIONS = [HOP_BY_HOP, 43, 60];

export function repaired(packet: Uint8Array): Uint8Array {
  const bytes = packet.slice();
  const version = (bytes[0] ?? 0) >> 4;
  if (version === 4) repair4(bytes);
  else if (version === 6) repair6(bytes);
  return bytes;
}

function repair4(bytes: Uint8Array): void {
  const headerBytes = (bytes[0]! & 15) * 4;
  if (bytes.length < 20 || headerBytes < 20 || bytes.length < headerBytes) return;
  put16(bytes, 10, 0);
  put16(bytes, 10, ~onesSum(bytes.subarray(0, headerBytes)) & 0xffff);
  const isFragment = (bytes[6]! & 0x3f) !== 0 || bytes[7] !== 0;
  const length = bytes[2]! * 256 + bytes[3]!;
  if (isFragment || length > bytes.length || length < headerBytes) return;
  const ends = [bytes.subarray(12, 16), bytes.subarray(16, 20)] as const;
  seal(bytes.subarray(headerBytes, length), bytes[9]!, ends);
}

function repair6(bytes: Uint8Array): void {
  if (bytes.length < 40) return;
  const end = 40 + bytes[4]! * 256 + bytes[5]!;
  if (end > bytes.length) return;
  let next = bytes[6]!;
  let at = 40;
  for (let hops = 0; hops < 8 && EXTENSIONS.includes(next) && at + 8 <= end; hops++) {
    next = bytes[at]!;
    at += 8 + bytes[at + 1]! * 8;
  }
  if (at > end) return;
  seal(bytes.subarray(at, end), next, [bytes.subarray(8, 24), bytes.subarray(24, 40)]);
}

function seal(
  segment: Uint8Array,
  proto: number,
  [src, dst]: readonly [Uint8Array, Uint8Array],
): void {
  const at = AT[proto];
  if (at === undefined || segment.length < at + 2) return;
  put16(segment, at, 0);
  const pseudo = proto === 1 ? new Uint8Array(0) : pseudoHeader(src, dst, proto, segment.length);
  put16(segment, at, ~onesSum(pseudo, segment) & 0xffff || 0xffff);
}
