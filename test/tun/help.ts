/** A core's memory as devices see it, without a core. */
import * as abi from "../../assembly/abi.ts";
import type { DeviceMemory } from "../../src/tun/device.ts";

const SLOTS = abi.RX_MAX;

export class PlainMemory implements DeviceMemory {
  readonly buffer = new ArrayBuffer(abi.MEMORY_BASE + SLOTS * abi.SLOT_BYTES);
  readonly region: number;
  readonly #view = new DataView(this.buffer);

  constructor(attach: (buffer: ArrayBuffer) => number = () => -1) {
    this.region = attach(this.buffer);
    for (let index = 0; index < SLOTS; index++) {
      const slot = abi.MEMORY_BASE + index * abi.SLOT_BYTES;
      this.#view.setUint32(abi.RX_BASE + index * abi.RX_ENTRY_BYTES, slot, true);
    }
  }

  fill(ptr: number, len: number, value: number): void {
    new Uint8Array(this.buffer, ptr, len).fill(value);
  }

  set(ptr: number, bytes: Uint8Array): void {
    new Uint8Array(this.buffer).set(bytes, ptr);
  }

  received(index: number): Uint8Array {
    const entry = abi.RX_BASE + index * abi.RX_ENTRY_BYTES;
    const ptr = this.#view.getUint32(entry, true);
    return new Uint8Array(this.buffer, ptr, this.#view.getUint32(entry + 4, true)).slice();
  }

  /** Writes TX descriptor `index`: header and spans, {ptr, len} each. */
  tx(index: number, ...parts: readonly (readonly [ptr: number, len: number])[]): void {
    const at = abi.TX_BASE + index * abi.TX_BYTES;
    const [header = [0, 0], ...spans] = parts;
    this.#view.setUint32(at + abi.TX_HEADER_PTR_OFF, header[0], true);
    this.#view.setUint16(at + abi.TX_HEADER_LEN_OFF, header[1], true);
    this.#view.setUint16(at + abi.TX_SPAN_COUNT_OFF, spans.length, true);
    spans.forEach(([ptr, len], span) => {
      this.#view.setUint32(at + abi.TX_SPANS_OFF + span * abi.SPAN_BYTES, ptr, true);
      this.#view.setUint32(at + abi.TX_SPANS_OFF + span * abi.SPAN_BYTES + 4, len, true);
    });
  }
}

/** Lets microtasks and timers of 0 ms run. */
export function turn(): Promise<void> {
  return new Promise((done) => setTimeout(done, 5));
}
