/**
 * The half of a Transport that faces its user: the handler, holding events back while there is none
 * or while it paused, and their order (data, end, close; close once and last). Sources call
 * `deliver…`; `hold` and `release` tell a source to stop and to go on.
 *
 * Bounds: a source that was told to stop delivers at most what it has in its hands, so `#held`
 * carries a chunk or two.
 */
import type { StreamHandler, Transport } from "./types.ts";

export abstract class BaseStream implements Transport {
  #handler: StreamHandler | undefined;
  #paused = false;
  #held: Uint8Array[] = [];
  #hasEnd = false;
  #endTold = false;
  #hasClose = false;
  #closeTold = false;
  #error: Error | undefined;
  #scheduled = false;
  #forsaken = false;

  abstract write(chunks: readonly Uint8Array[], done: (error?: Error) => void): void;
  abstract end(): void;
  abstract reset(): void;
  abstract destroy(): void;
  /** Stop reading. */
  protected abstract hold(): void;
  /** Go on reading. */
  protected abstract release(): void;

  attach(handler: StreamHandler): void {
    this.#handler = handler;
    this.#schedule();
  }

  detach(): void {
    this.#handler = undefined;
    if (!this.#hasClose) this.hold();
  }

  unshift(bytes: Uint8Array): void {
    if (bytes.length > 0) this.#held.unshift(bytes);
  }

  pause(): void {
    if (this.#paused) return;
    this.#paused = true;
    if (!this.#hasClose) this.hold();
  }

  resume(): void {
    if (!this.#paused) return;
    this.#paused = false;
    this.#schedule();
  }

  /** Whether a chunk would reach the handler now. */
  protected get isOpen(): boolean {
    return this.#handler !== undefined && !this.#paused && this.#held.length === 0;
  }

  /** The stream is over for its user: close was delivered or is about to be. */
  protected get isClosed(): boolean {
    return this.#hasClose;
  }

  protected get hasEnd(): boolean {
    return this.#hasEnd;
  }

  protected deliver(chunk: Uint8Array): void {
    if (this.#hasClose || this.#forsaken) return;
    if (this.isOpen) {
      this.#handler?.data(chunk);
      return;
    }
    this.#held.push(chunk);
    this.hold();
  }

  protected deliverEnd(): void {
    if (this.#hasEnd || this.#hasClose) return;
    this.#hasEnd = true;
    this.#drain();
  }

  /** An error comes at once, whatever is held back; a clean close waits for its turn. */
  protected deliverClose(error?: Error): void {
    if (this.#hasClose) return;
    this.#hasClose = true;
    this.#error = error;
    if (error !== undefined) this.#held = [];
    this.#drain();
  }

  /** Takes out what is held back, for who goes on with the source itself. */
  protected takeHeld(): readonly Uint8Array[] {
    const held = this.#held;
    this.#held = [];
    return held;
  }

  /** The user gave up: nothing is held back for it any more, and close need not wait. */
  protected forsake(): void {
    this.#forsaken = true;
    this.#held = [];
  }

  /** Not at once: who attaches or resumes does not expect data inside that call. */
  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    process.nextTick(() => {
      this.#scheduled = false;
      this.#drain();
    });
  }

  #drain(): void {
    while (!this.#paused && this.#held.length > 0 && this.#handler !== undefined) {
      const chunk = this.#held.shift();
      if (chunk !== undefined) this.#handler.data(chunk);
    }
    const mayEnd = this.#hasEnd && !this.#endTold && !this.#forsaken;
    if (this.isOpen && mayEnd && this.#error === undefined) {
      this.#endTold = true;
      this.#handler?.end();
    }
    if (this.#hasClose) {
      this.#tellClose();
    } else if (this.isOpen && !this.#hasEnd) {
      this.release();
    }
  }

  #tellClose(): void {
    const handler = this.#handler;
    if (handler === undefined || this.#closeTold) return;
    const isDue = this.#error !== undefined || this.#forsaken || this.isOpen;
    if (!isDue) return;
    this.#closeTold = true;
    handler.close(this.#error);
  }
}

/** Runs `done` with an error, later. */
export function failLater(done: (error?: Error) => void, error: Error): void {
  process.nextTick(done, error);
}

/** Copies a few small chunks into one. */
export function joined(chunks: readonly Uint8Array[], bytes: number): Uint8Array {
  const all = Buffer.allocUnsafe(bytes);
  let offset = 0;
  for (const chunk of chunks) {
    all.set(chunk, offset);
    offset += chunk.length;
  }
  return all;
}

export function byteCount(chunks: readonly Uint8Array[]): number {
  let bytes = 0;
  for (const chunk of chunks) bytes += chunk.length;
  return bytes;
}
