/**
 * A window that moves forward over a source of bytes: readers of captures look at the next bytes,
 * take them or pass over them, with bounded memory however large the file is. Every place is known
 * by its offset, for messages.
 */
import { TsgostError } from "../errors.ts";

export interface ByteSource {
  /** For messages: the file's name. */
  readonly name: string;
  /** Reads at most `into.length` bytes; 0 at the end. */
  read(into: Uint8Array): number;
}

const FIRST_BYTES = 256 * 1024;

/** A fault of the file itself, with its place. */
export function captureError(name: string, offset: number, message: string): TsgostError {
  return new TsgostError("TSGOST_ERR_PCAP", `${name}: offset ${offset}: ${message}`);
}

export class ByteWindow {
  readonly #source: ByteSource;
  #bytes = new Uint8Array(FIRST_BYTES);
  #start = 0;
  #end = 0;
  #offset = 0;
  #isOver = false;

  constructor(source: ByteSource) {
    this.#source = source;
  }

  get name(): string {
    return this.#source.name;
  }

  /** Offset of the next byte in the file. */
  get offset(): number {
    return this.#offset;
  }

  /** The next `count` bytes without taking them, fewer only at the end; valid until next time. */
  peek(count: number): Uint8Array {
    if (this.#end - this.#start < count && !this.#isOver) this.#fill(count);
    return this.#bytes.subarray(this.#start, Math.min(this.#start + count, this.#end));
  }

  /** Takes the next `count` bytes, which peek has shown. */
  advance(count: number): void {
    this.#start += count;
    this.#offset += count;
  }

  /** Passes over `count` bytes, whether they fit the window or not; answers how many there were. */
  skip(count: number): number {
    let left = count;
    while (left > 0) {
      const step = this.peek(Math.min(left, FIRST_BYTES)).length;
      if (step === 0) break;
      this.advance(step);
      left -= step;
    }
    return count - left;
  }

  fault(offset: number, message: string): TsgostError {
    return captureError(this.name, offset, message);
  }

  #fill(count: number): void {
    this.#bytes.copyWithin(0, this.#start, this.#end);
    this.#end -= this.#start;
    this.#start = 0;
    if (count > this.#bytes.length) {
      const larger = new Uint8Array(count);
      larger.set(this.#bytes.subarray(0, this.#end));
      this.#bytes = larger;
    }
    while (this.#end < count) {
      const got = this.#source.read(this.#bytes.subarray(this.#end));
      if (got === 0) {
        this.#isOver = true;
        return;
      }
      this.#end += got;
    }
  }
}
