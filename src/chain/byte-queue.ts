/**
 * Bytes that wait for a reader, in order. It holds little more memory than bytes: small pieces are
 * copied together, because a view would keep the whole block that it came in, and a queue of many
 * one-byte pieces would weigh a hundred times its content.
 */

/** From here, a piece is kept as it is if it is the better part of its block. */
const KEEP_BYTES_MIN = 8000;
const FIRST_BLOCK_BYTES = 2 * 1024;
const BLOCK_BYTES = 16 * 1024;

export class ByteQueue {
  #pieces: Uint8Array[] = [];
  /** A block of ours behind all pieces, filled up to `#filled`. */
  #block: Uint8Array | undefined;
  #filled = 0;
  #bytes = 0;

  get bytes(): number {
    return this.#bytes;
  }

  push(piece: Uint8Array): void {
    this.#bytes += piece.length;
    if (piece.length >= KEEP_BYTES_MIN && piece.length * 2 >= piece.buffer.byteLength) {
      this.#closeBlock();
      this.#pieces.push(piece);
      return;
    }
    let rest = piece;
    while (rest.length > 0) {
      this.#block ??= this.#newBlock();
      const part = rest.subarray(0, this.#block.length - this.#filled);
      this.#block.set(part, this.#filled);
      this.#filled += part.length;
      if (this.#filled === this.#block.length) this.#closeBlock();
      rest = rest.subarray(part.length);
    }
  }

  #newBlock(): Uint8Array {
    this.#filled = 0;
    return new Uint8Array(this.#pieces.length === 0 ? FIRST_BLOCK_BYTES : BLOCK_BYTES);
  }

  #closeBlock(): void {
    if (this.#block !== undefined) this.#pieces.push(this.#block.subarray(0, this.#filled));
    this.#block = undefined;
  }

  /** The next piece, which is the caller's; undefined if there is none. */
  shift(): Uint8Array | undefined {
    if (this.#pieces.length === 0) this.#closeBlock();
    const piece = this.#pieces.shift();
    this.#bytes -= piece?.length ?? 0;
    return piece;
  }

  /** Drops everything; answers how many bytes that were. */
  clear(): number {
    const bytes = this.#bytes;
    this.#pieces = [];
    this.#block = undefined;
    this.#bytes = 0;
    return bytes;
  }
}
