/**
 * Datagrams inside a relay stream, two framings:
 *
 *   CONNECT (one destination):     | LEN 2 | payload |
 *   association (0x82), SOCKS5 form: | LEN 2 | 0xFF | ATYP, address, port | payload |
 *
 * The stream may be split anywhere; frames are at most 64 KiB and a header.
 */
import {
  ADDRESS_BYTES_MAX,
  type SocksAddress,
  addressLength,
  decodeAddress,
  encodeAddress,
} from "./address.ts";
import { RelayFormatError } from "./relay.ts";

export const DATAGRAM_BYTES_MAX = 65535;
const PLAIN_HEADER_BYTES = 2;
const ASSOCIATION_HEADER_BYTES = 3;
const FRAG = 0xff;

/** A frame for a CONNECT; payload above 65535 bytes throws RangeError. */
export function encodeDatagram(payload: Uint8Array): Buffer {
  checkLength(payload);
  const frame = Buffer.allocUnsafe(PLAIN_HEADER_BYTES + payload.length);
  frame.writeUInt16BE(payload.length, 0);
  frame.set(payload, PLAIN_HEADER_BYTES);
  return frame;
}

/**
 * A frame for an association. An empty payload throws: GOST takes a length of 0 for "the next read
 * is the payload" and loses step, so who sends must drop empty datagrams.
 */
export function encodeAssociated(payload: Uint8Array, address: SocksAddress): Buffer {
  return encodeAssociatedTo(payload, encodeAddress(address));
}

/** The same with an address that was encoded before. */
export function encodeAssociatedTo(payload: Uint8Array, address: Uint8Array): Buffer {
  checkLength(payload);
  if (payload.length === 0) throw new RangeError("empty datagram in an association");
  const start = ASSOCIATION_HEADER_BYTES + address.length;
  const frame = Buffer.allocUnsafe(start + payload.length);
  frame.writeUInt16BE(payload.length, 0);
  frame[2] = FRAG;
  frame.set(address, ASSOCIATION_HEADER_BYTES);
  frame.set(payload, start);
  return frame;
}

function checkLength(payload: Uint8Array): void {
  if (payload.length > DATAGRAM_BYTES_MAX) throw new RangeError("datagram above 65535 bytes");
}

/** How many bytes the frame at the start of `bytes` takes, as far as these bytes tell. */
type Measure = (bytes: Uint8Array) => number;

/** Cuts a stream into frames; keeps at most one unfinished frame. */
class FrameReader {
  readonly #measure: Measure;
  readonly #bytesMax: number;
  #rest: Uint8Array | undefined;
  #have = 0;

  constructor(measure: Measure, bytesMax: number) {
    this.#measure = measure;
    this.#bytesMax = bytesMax;
  }

  /** A frame has begun and not ended. */
  get isInside(): boolean {
    return this.#have > 0;
  }

  push(chunk: Uint8Array, onFrame: (frame: Uint8Array) => void): void {
    let offset = this.#have > 0 ? this.#finish(chunk, onFrame) : 0;
    while (offset < chunk.length) {
      const rest = chunk.subarray(offset);
      const need = this.#measure(rest);
      if (need > rest.length) {
        this.#keep(rest);
        return;
      }
      offset += need;
      onFrame(rest.subarray(0, need));
    }
  }

  /** Fills the unfinished frame; answers how much of `chunk` went into it. */
  #finish(chunk: Uint8Array, onFrame: (frame: Uint8Array) => void): number {
    let offset = 0;
    while (offset < chunk.length && this.#rest !== undefined) {
      const need = this.#measure(this.#rest.subarray(0, this.#have));
      const part = chunk.subarray(offset, offset + need - this.#have);
      this.#rest.set(part, this.#have);
      this.#have += part.length;
      offset += part.length;
      const frame = this.#rest.subarray(0, this.#have);
      if (this.#have >= need && this.#measure(frame) === this.#have) {
        this.#have = 0;
        // The buffer is used again: the frame is valid only during the call.
        onFrame(frame);
        return offset;
      }
    }
    return offset;
  }

  #keep(rest: Uint8Array): void {
    this.#rest ??= new Uint8Array(this.#bytesMax);
    this.#rest.set(rest);
    this.#have = rest.length;
  }
}

/** Reads the frames of a CONNECT. Payloads are valid during the call. */
export class DatagramReader {
  readonly #frames = new FrameReader(
    (bytes) => PLAIN_HEADER_BYTES + (bytes.length < 2 ? 0 : lengthOf(bytes)),
    PLAIN_HEADER_BYTES + DATAGRAM_BYTES_MAX,
  );

  get isInside(): boolean {
    return this.#frames.isInside;
  }

  push(chunk: Uint8Array, onDatagram: (payload: Uint8Array) => void): void {
    this.#frames.push(chunk, (frame) => onDatagram(frame.subarray(PLAIN_HEADER_BYTES)));
  }
}

function lengthOf(bytes: Uint8Array): number {
  return ((bytes[0] ?? 0) << 8) | (bytes[1] ?? 0);
}

/**
 * Reads the frames of an association; throws RelayFormatError at an unknown address type. Empty
 * datagrams come through, FRAG is ignored. Payloads are valid during the call.
 */
export class AssociatedReader {
  readonly #frames = new FrameReader(
    measureAssociated,
    ASSOCIATION_HEADER_BYTES + ADDRESS_BYTES_MAX + DATAGRAM_BYTES_MAX,
  );

  get isInside(): boolean {
    return this.#frames.isInside;
  }

  push(chunk: Uint8Array, onDatagram: (payload: Uint8Array, address: SocksAddress) => void): void {
    this.#frames.push(chunk, (frame) => {
      const address = decodeAddress(frame, ASSOCIATION_HEADER_BYTES);
      if (address === undefined) throw new RelayFormatError("bad address of a datagram");
      const start = frame.length - lengthOf(frame);
      onDatagram(frame.subarray(start), address);
    });
  }
}

function measureAssociated(bytes: Uint8Array): number {
  // Up to the length byte of a name; each address is longer than that.
  const least = ASSOCIATION_HEADER_BYTES + 2;
  if (bytes.length < least) return least;
  const address = addressLength(bytes, ASSOCIATION_HEADER_BYTES);
  if (address < 0) throw new RelayFormatError(`address type ${bytes[3] ?? 0} of a datagram`);
  return ASSOCIATION_HEADER_BYTES + address + lengthOf(bytes);
}
