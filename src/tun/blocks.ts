/**
 * The RX and TX blocks of a core's memory as devices in JavaScript see them: reading what was
 * received, putting packets into receive slots, gathering what is to be sent. Addresses and lengths
 * are checked against the memory, as the addon does.
 */
import * as abi from "../../assembly/abi.ts";

export class Blocks {
  readonly #bytes: Uint8Array;
  readonly #words: DataView;

  constructor(buffer: ArrayBuffer) {
    this.#bytes = new Uint8Array(buffer);
    this.#words = new DataView(buffer);
  }

  /** Bytes of RX entry `index` as its length says; a view, valid until the next ingest. */
  received(index: number): Uint8Array {
    const entry = abi.RX_BASE + index * abi.RX_ENTRY_BYTES;
    const ptr = this.#words.getUint32(entry, true);
    const len = Math.min(this.#words.getUint32(entry + 4, true), abi.SLOT_BYTES);
    return this.#bytes.subarray(ptr, ptr + len);
  }

  /** Puts a packet into RX entry `index`; false if it does not fit. */
  receive(index: number, packet: Uint8Array): boolean {
    const entry = abi.RX_BASE + index * abi.RX_ENTRY_BYTES;
    const ptr = this.#words.getUint32(entry, true);
    if (packet.length > abi.SLOT_BYTES || !this.#has(ptr, abi.SLOT_BYTES)) return false;
    this.#bytes.set(packet, ptr);
    this.#words.setUint32(entry + 4, packet.length, true);
    return true;
  }

  /** Length of TX descriptor `index` with its header; -1 if it points outside of the memory. */
  sentLength(index: number): number {
    const tx = abi.TX_BASE + index * abi.TX_BYTES;
    const header = this.#words.getUint32(tx + abi.TX_HEADER_PTR_OFF, true);
    let total = this.#words.getUint16(tx + abi.TX_HEADER_LEN_OFF, true);
    const spans = this.#words.getUint16(tx + abi.TX_SPAN_COUNT_OFF, true);
    if (spans > abi.TX_SPAN_MAX || !this.#has(header, total)) return -1;
    for (let span = 0; span < spans; span++) {
      const at = tx + abi.TX_SPANS_OFF + span * abi.SPAN_BYTES;
      const len = this.#words.getUint32(at + 4, true);
      if (!this.#has(this.#words.getUint32(at, true), len)) return -1;
      total += len;
    }
    return total;
  }

  /**
   * Copies TX descriptor `index` to `out` at `at`, leaving `skip` bytes of its header out; answers
   * the bytes written. Only after sentLength said that it is valid and fits.
   */
  gather(index: number, out: Uint8Array, at: number, skip: number): number {
    const tx = abi.TX_BASE + index * abi.TX_BYTES;
    const header = this.#words.getUint32(tx + abi.TX_HEADER_PTR_OFF, true);
    const headerLen = this.#words.getUint16(tx + abi.TX_HEADER_LEN_OFF, true);
    const spans = this.#words.getUint16(tx + abi.TX_SPAN_COUNT_OFF, true);
    const from = Math.min(skip, headerLen);
    out.set(this.#bytes.subarray(header + from, header + headerLen), at);
    let end = at + headerLen - from;
    for (let span = 0; span < spans; span++) {
      const place = tx + abi.TX_SPANS_OFF + span * abi.SPAN_BYTES;
      const ptr = this.#words.getUint32(place, true);
      const len = this.#words.getUint32(place + 4, true);
      out.set(this.#bytes.subarray(ptr, ptr + len), end);
      end += len;
    }
    return end - at;
  }

  /** TX descriptor `index` as one packet; undefined if it points outside of the memory. */
  sent(index: number): Uint8Array | undefined {
    const len = this.sentLength(index);
    if (len < 0) return undefined;
    const packet = new Uint8Array(len);
    this.gather(index, packet, 0, 0);
    return packet;
  }

  #has(ptr: number, len: number): boolean {
    return ptr > 0 && ptr + len <= this.#bytes.length;
  }
}
