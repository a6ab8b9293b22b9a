/**
 * The receiving half of the test peer: reassembly, the window it offers, SACK blocks (RFC 2018).
 * Positions are offsets in the stream, 0 the first byte after the far end's SYN.
 */
import { concat, sameBytes } from "./bytes.ts";
import type { Range } from "./peer-send.ts";

interface Held {
  off: number;
  bytes: Uint8Array;
}

/** A run of bytes ahead of a hole, and when it grew last. */
interface Ahead {
  left: number;
  right: number;
  stamp: number;
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
  /** In order, none overlapping another, from #firstHeld on. */
  #held: Held[] = [];
  #firstHeld = 0;
  /** In order and apart. */
  #ahead: Ahead[] = [];
  #stamp = 0;
  /** What arrived for nothing, for the first block of the next report (RFC 2883). */
  #duplicate: Range | undefined;

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
    if (bytes.length > 0) this.#noteDuplicate(off, end);
    if (end + (fin ? 1 : 0) <= this.nxt) {
      this.duplicates++;
      return true;
    }
    const isInOrder = off <= this.nxt;
    const hadHoles = this.#ahead.length > 0;
    if (bytes.length > 0) this.#hold(off, bytes);
    if (bytes.length > 0 && !isInOrder) this.#noteAhead(off, end);
    this.#deliver();
    return !isInOrder || hadHoles || fin;
  }

  #noteFin(at: number): void {
    if (this.finAt !== Infinity && this.finAt !== at) throw new Error("the FIN moved");
    this.finAt = at;
  }

  #noteDuplicate(off: number, end: number): void {
    const isAhead = this.#ahead.some(({ left, right }) => left <= off && end <= right);
    if (off < this.nxt) this.#duplicate = [off, Math.min(end, this.nxt)];
    else if (isAhead) this.#duplicate = [off, end];
  }

  /** Keeps what is new of a segment; what is not must be the same as before. */
  #hold(off: number, bytes: Uint8Array): void {
    const end = off + bytes.length;
    let index = this.#held.length;
    while (index > this.#firstHeld && this.#held[index - 1]!.off >= off) index--;
    const before = index > this.#firstHeld ? this.#held[index - 1]! : undefined;
    if (before !== undefined && before.off + before.bytes.length > off) index--;
    let at = Math.max(off, this.nxt);
    while (at < end) {
      const next = index < this.#held.length ? this.#held[index] : undefined;
      const limit = Math.min(end, next?.off ?? end);
      if (limit > at) {
        const copy = Uint8Array.from(bytes.subarray(at - off, limit - off));
        this.#held.splice(index++, 0, { off: at, bytes: copy });
        at = limit;
        continue;
      }
      const to = Math.min(end, next!.off + next!.bytes.length);
      const old = next!.bytes.subarray(at - next!.off, to - next!.off);
      if (to > at && !sameBytes(old, bytes.subarray(at - off, to - off))) {
        throw new Error(`bytes ${at}…${to} changed between two transmissions`);
      }
      at = Math.max(at, to);
      index++;
    }
  }

  #noteAhead(left: number, right: number): void {
    let from = 0;
    while (from < this.#ahead.length && this.#ahead[from]!.right < left) from++;
    let to = from;
    while (to < this.#ahead.length && this.#ahead[to]!.left <= right) to++;
    const joined = this.#ahead.slice(from, to);
    const low = Math.min(left, ...joined.map((range) => range.left));
    const high = Math.max(right, ...joined.map((range) => range.right));
    this.#ahead.splice(from, to - from, { left: low, right: high, stamp: ++this.#stamp });
  }

  #deliver(): void {
    while (this.#firstHeld < this.#held.length && this.#held[this.#firstHeld]!.off <= this.nxt) {
      const { bytes } = this.#held[this.#firstHeld++]!;
      this.#unread.push(bytes);
      this.#unreadBytes += bytes.length;
      this.nxt += bytes.length;
    }
    if (this.#firstHeld > 1000 || this.#firstHeld === this.#held.length) {
      this.#held = this.#held.slice(this.#firstHeld);
      this.#firstHeld = 0;
    }
    while (this.#ahead.length > 0 && this.#ahead[0]!.right <= this.nxt) this.#ahead.shift();
    if (this.nxt === this.finAt) this.nxt++;
  }

  /** Ranges to report: a duplicate, told once, then those that changed last. */
  sackRanges(most: number): Range[] {
    const ranges = [...this.#ahead]
      .sort((a, b) => b.stamp - a.stamp)
      .map(({ left, right }) => [left, right] as const);
    if (this.#duplicate !== undefined) ranges.unshift(this.#duplicate);
    this.#duplicate = undefined;
    return ranges.slice(0, most);
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

  /** Drops all that lies ahead of a hole, reported or not (RFC 2018 §8). */
  renege(): void {
    this.#held.length = this.#firstHeld;
    this.#ahead = [];
    this.#duplicate = undefined;
    if (this.nxt <= this.finAt) this.finAt = Infinity;
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
