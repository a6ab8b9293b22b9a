/**
 * The big file: as long as is asked for, never stored, the same on every machine. It consists of
 * blocks of 1 MiB of keystream whose first eight bytes are the block's number, so that a block that
 * is lost, doubled or displaced changes the hash.
 */
import { createCipheriv, createHash } from "node:crypto";

export const BLOCK_BYTES = 1024 ** 2;
const NUMBER_BYTES = 8;

const base = createCipheriv("aes-128-ctr", Buffer.alloc(16, 0x74), Buffer.alloc(16)).update(
  Buffer.alloc(BLOCK_BYTES),
);

/** The pieces of bytes `from` to `to` (exclusive) that lie in one block; not to be written to. */
export function piecesAt(from: number, to: number): Buffer[] {
  const index = Math.floor(from / BLOCK_BYTES);
  const first = from - index * BLOCK_BYTES;
  const last = Math.min(to - index * BLOCK_BYTES, BLOCK_BYTES);
  const pieces: Buffer[] = [];
  if (first < NUMBER_BYTES) {
    const head = Buffer.alloc(NUMBER_BYTES);
    head.writeBigUInt64LE(BigInt(index));
    pieces.push(head.subarray(first, Math.min(last, NUMBER_BYTES)));
  }
  if (last > NUMBER_BYTES) pieces.push(base.subarray(Math.max(first, NUMBER_BYTES), last));
  return pieces;
}

/** All pieces of a range, in order. */
export function* content(from: number, to: number): Generator<Buffer> {
  for (let at = from; at < to;) {
    for (const piece of piecesAt(at, to)) {
      yield piece;
      at += piece.length;
    }
  }
}

/** sha256 of a range, in hex; lets others run between blocks. */
export async function contentHash(from: number, to: number): Promise<string> {
  const hash = createHash("sha256");
  for (const piece of content(from, to)) {
    hash.update(piece);
    if (piece.length > NUMBER_BYTES) await new Promise((next) => setImmediate(next));
  }
  return hash.digest("hex");
}
