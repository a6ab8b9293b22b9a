/**
 * A server's side of one connection as the capture has it: its segments put in order, so that the
 * bytes can be handed to the core as if a server sent them now. Offsets count from the first byte
 * after the SYN. The first copy of a byte wins. What is held is bounded; bytes that the capture
 * lacks are filled with zeros when the client acknowledged them.
 */

/** Bytes out of order, and pieces, that one connection may hold. */
const AHEAD_BYTES_MAX = 4 * 1024 ** 2;
const AHEAD_PIECES_MAX = 4096;
/** Bytes in order that the core has not taken yet. */
const READY_BYTES_MAX = 16 * 1024 ** 2;

interface Piece {
  from: number;
  data: Uint8Array;
}

export class RecordedStream {
  /** The next byte in order. */
  next = 0;
  /** Where the FIN stands. */
  end: number | undefined;
  /** Zeros that stand for bytes that the capture lacks. */
  filled = 0;
  readonly #ready: Uint8Array[] = [];
  #readyBytes = 0;
  #ahead: Piece[] = [];
  #aheadBytes = 0;

  /** Bytes that wait for the core. */
  get readyBytes(): number {
    return this.#readyBytes;
  }

  get isEnded(): boolean {
    return this.end !== undefined && this.next >= this.end && this.#ready.length === 0;
  }

  /** The first of the bytes that wait for the core. */
  get first(): Uint8Array | undefined {
    return this.#ready[0];
  }

  /** The core took `count` of them. */
  taken(count: number): void {
    const first = this.#ready[0];
    if (first === undefined) return;
    this.#readyBytes -= count;
    if (count >= first.length) this.#ready.shift();
    else this.#ready[0] = first.subarray(count);
  }

  /**
   * Adds bytes seen at `from`; `bytes` as the wire had them, of which `data` are there. False if
   * there is no room.
   */
  add(from: number, data: Uint8Array, bytes: number): boolean {
    if (from + bytes <= this.next) return true;
    if (this.#readyBytes + bytes > READY_BYTES_MAX) return false;
    if (from > this.next) return this.#keep(from, data, bytes);
    this.#append(data.subarray(this.next - from), from + bytes - this.next);
    this.#join();
    return true;
  }

  /** Adds bytes at the end; false if there is no room. */
  say(data: Uint8Array): boolean {
    return this.add(this.next, data, data.length);
  }

  /** Fills up to `to` with zeros; false if that is more than anybody lost. */
  fill(to: number): boolean {
    while (this.next < to) {
      const until = Math.min(to, this.#ahead[0]?.from ?? to);
      const missing = until - this.next;
      if (missing > AHEAD_BYTES_MAX || this.#readyBytes + missing > READY_BYTES_MAX) return false;
      if (missing > 0) {
        this.filled += missing;
        this.#append(new Uint8Array(0), missing);
      }
      this.#join();
    }
    return true;
  }

  #append(data: Uint8Array, bytes: number): void {
    const piece = new Uint8Array(bytes);
    piece.set(data.subarray(0, bytes));
    this.#ready.push(piece);
    this.#readyBytes += bytes;
    this.next += bytes;
  }

  #keep(from: number, data: Uint8Array, bytes: number): boolean {
    if (this.#ahead.length >= AHEAD_PIECES_MAX) return false;
    if (from - this.next > AHEAD_BYTES_MAX || this.#aheadBytes + bytes > AHEAD_BYTES_MAX)
      return false;
    const piece = new Uint8Array(bytes);
    piece.set(data.subarray(0, bytes));
    let at = this.#ahead.length;
    while (at > 0 && (this.#ahead[at - 1]?.from ?? 0) > from) at--;
    this.#ahead.splice(at, 0, { from, data: piece });
    this.#aheadBytes += bytes;
    return true;
  }

  /** Takes over pieces that are in order now. */
  #join(): void {
    for (let piece = this.#ahead[0]; piece !== undefined; piece = this.#ahead[0]) {
      if (piece.from > this.next) return;
      this.#ahead.shift();
      this.#aheadBytes -= piece.data.length;
      const fresh = piece.data.subarray(this.next - piece.from);
      if (fresh.length > 0) this.#append(fresh, fresh.length);
    }
  }
}
