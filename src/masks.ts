/**
 * Masking of WebSocket payload by where the bytes lie: those in a core's memory are masked there,
 * all others in JavaScript. One table a process, because chains are shared by services.
 */
import { type MaskFunction, xorMask } from "./proto/ws.ts";

export class Masks {
  readonly #byBuffer = new WeakMap<ArrayBufferLike, MaskFunction>();

  /** Bytes in `buffer` are masked by `mask`, as long as the buffer lives. */
  add(buffer: ArrayBufferLike, mask: MaskFunction): void {
    this.#byBuffer.set(buffer, mask);
  }

  readonly mask: MaskFunction = (bytes, key, phase) => {
    (this.#byBuffer.get(bytes.buffer) ?? xorMask)(bytes, key, phase);
  };
}
