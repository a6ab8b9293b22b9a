/**
 * The receiving half of the test peer: reassembly, the window it offers, SACK blocks (RFC 2018).
 * Positions are offsets in the stream, 0 the first byte after the far end's SYN.
 */
import { concat, sameBytes } from "./bytes.ts";
import { addRange } from "./peer-send.ts";

interface Held {
  off: number;
  bytes: Uint8Array;
}

export class PeerReceiver {
  /** Next offset expected; passes the FIN. */
  nxt = 0;
  /** Right edge of the window offered so far; never moves left. */
  edge: number;
  /** Offset of the FIN, once seen. */
  finAt = Infinity;
  duplicates = 0;
  readonly bufferBytes: number;
  #unread: Uint8Array[] = [];
  #unreadBytes = 0;
  #held: Held[] = [];
  /** Ranges above nxt, the one that changed last first. */
  #recent: (readonly [number, number])[] = [];

  constructor(bufferBytes: number) {
    this.bufferBytes = bufferBytes;
    this.edge = bufferBytes;
  }

  get unreadBytes(): number {
    return this.#unreadBytes;
  }

  get isFinished(): boolean {
    return this.nxt > this.finAt;
  }

  /** Takes a segment; true if it must be acknowledged at once. */
  onData(off: number, bytes: Uint8Array, fin: boolean): boolean {
    const end = off + bytes.length;
    if (fin) this.#noteFin(end);
    if (end + (fin ? 1 : 0) <= this.nxt) {
      this.duplicates++;
      return true;
    }
    const isInOrder = off <= this.nxt;
    const hadHoles = this.#recent.length > 0;
    if (bytes.length > 0) this.#hold(off, bytes);
    this.#deliver();
    this.#noteRange(off, end);
    return !isInOrder || hadHoles || fin;
  }

  #noteFin(at: number): void {
    if (this.finAt !== Infinity && this.finAt !== at) throw new Error("the FIN moved");
    this.finAt = at;
  }

  #hold(off: number, bytes: Uint8Array): void {
    for (const held of this.#held) {
      const from = Math.max(held.off, off);
      const to = Math.min(held.off + held.bytes.length, off + bytes.length);
      if (from >= to) continue;
      const old = held.bytes.subarray(from - held.off, to - held.off);
      if (!sameBytes(old, bytes.subarray(from - off, to - off))) {
        throw new Error(`bytes ${from}…${to} changed between two transmissions`);
      }
    }
    this.#held.push({ off, bytes: Uint8Array.from(bytes) });
    this.#held.sort((a, b) => a.off - b.off);
  }

  #deliver(): void {
    while (this.#held.length > 0 && this.#held[0]!.off <= this.nxt) {
      const { off, bytes } = this.#held.shift()!;
      const fresh = bytes.subarray(Math.max(0, this.nxt - off));
      if (fresh.length === 0) continue;
      this.#unread.push(fresh);
      this.#unreadBytes += fresh.length;
      this.nxt += fresh.length;
    }
    if (this.nxt === this.finAt) this.nxt++;
  }

  #noteRange(off: number, end: number): void {
    let ranges: (readonly [number, number])[] = [];
    for (const { off: left, bytes } of this.#held) {
      ranges = addRange(ranges, [left, left + bytes.length]);
    }
    const isNew = ([left, right]: readonly [number, number]): boolean => off < right && end > left;
    const rank = (range: readonly [number, number]): number => {
      if (isNew(range)) return -1;
      const at = this.#recent.findIndex(([left, right]) => left < range[1] && right > range[0]);
      return at < 0 ? this.#recent.length : at;
    };
    this.#recent = ranges.sort((a, b) => rank(a) - rank(b));
  }

  sackRanges(most: number): (readonly [number, number])[] {
    return this.#recent.slice(0, most);
  }

  /** Bytes of window to offer now, in units of `unit`; remembers the edge. */
  offer(unit: number, most: number): number {
    const free = Math.max(0, this.bufferBytes - this.#unreadBytes);
    const edge = Math.max(this.edge, this.nxt + free);
    const window = Math.min(Math.max(0, edge - this.nxt), most);
    const units = Math.floor(window / unit);
    this.edge = Math.max(this.edge, this.nxt + units * unit);
    return units;
  }

  /** How far the edge could move now, if a window has at most `most` bytes. */
  mayOpenBy(most: number): number {
    return this.nxt + Math.min(this.bufferBytes - this.#unreadBytes, most) - this.edge;
  }

  read(most = Infinity): Uint8Array {
    const all = concat(...this.#unread);
    const taken = all.subarray(0, Math.min(all.length, most));
    const rest = all.subarray(taken.length);
    this.#unread = rest.length > 0 ? [rest] : [];
    this.#unreadBytes = rest.length;
    return taken;
  }
}
