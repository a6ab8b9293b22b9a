/**
 * WebSocket frames, RFC 6455 §5: headers, masking, and a decoder that streams payload instead of
 * collecting messages. Message boundaries mean nothing to the protocols above, so data of text,
 * binary and continuation frames is one byte stream. The texts of protocol errors are GOST's.
 */

export const OP_CONTINUATION = 0;
export const OP_TEXT = 1;
export const OP_BINARY = 2;
export const OP_CLOSE = 8;
export const OP_PING = 9;
export const OP_PONG = 10;

export const CLOSE_NORMAL = 1000;
export const CLOSE_GOING_AWAY = 1001;
export const CLOSE_PROTOCOL_ERROR = 1002;
export const CLOSE_TOO_BIG = 1009;

export const CONTROL_BYTES_MAX = 125;
/** All fragments of one message; nothing is collected, so this only stops absurd lengths. */
export const MESSAGE_BYTES_MAX = 16 * 1024 * 1024;
/** 2, 8 of length, 4 of mask. */
export const HEADER_BYTES_MAX = 14;

const FIN = 0x80;
const RSV = [0x40, 0x20, 0x10] as const;
const MASKED = 0x80;

export class WsFormatError extends Error {
  /** For the Close frame. */
  readonly closeCode: number;

  constructor(message: string, closeCode = CLOSE_PROTOCOL_ERROR) {
    super(message);
    this.name = "WsFormatError";
    this.closeCode = closeCode;
  }
}

/**
 * XORs `bytes` in place with a key of four bytes (little endian in `key`); `phase` is the offset of
 * the first byte in the frame's payload. The core's SIMD form takes over for its own memory.
 */
export type MaskFunction = (bytes: Uint8Array, key: number, phase: number) => void;

/** `key` turned so that its lowest byte masks the byte at `phase`. */
export function turnKey(key: number, phase: number): number {
  const bits = (phase & 3) * 8;
  return bits === 0 ? key : (key >>> bits) | (key << (32 - bits));
}

/** Below this, setting up a word view costs more than it saves. */
const WORDS_WORTH_BYTES = 64;

export const xorMask: MaskFunction = (bytes, key, phase) => {
  let turned = turnKey(key, phase);
  let index = 0;
  if (bytes.length >= WORDS_WORTH_BYTES) {
    const lead = (4 - (bytes.byteOffset & 3)) & 3;
    xorBytes(bytes, 0, lead, turned);
    turned = turnKey(turned, lead);
    const words = new Int32Array(
      bytes.buffer,
      bytes.byteOffset + lead,
      (bytes.length - lead) >>> 2,
    );
    const word = turned | 0;
    for (let at = 0; at < words.length; at++) words[at] = (words[at] ?? 0) ^ word;
    index = lead + words.length * 4;
  }
  xorBytes(bytes, index, bytes.length, turned);
};

function xorBytes(bytes: Uint8Array, from: number, to: number, key: number): void {
  for (let index = from, shift = 0; index < to; index++, shift = (shift + 8) & 31) {
    bytes[index] = (bytes[index] ?? 0) ^ (key >>> shift);
  }
}

/** The key as it stands on the wire. */
function putKey(bytes: Uint8Array, offset: number, key: number): void {
  for (let index = 0; index < 4; index++) bytes[offset + index] = key >>> (index * 8);
}

/**
 * Writes the header of an unfragmented frame at the start of `out` (14 bytes are always enough) and
 * answers its length. `key` masks (a client must); undefined leaves the mask out (a server must).
 */
export function putHeader(
  out: Uint8Array,
  opcode: number,
  length: number,
  key: number | undefined,
): number {
  const masked = key === undefined ? 0 : MASKED;
  out[0] = FIN | opcode;
  let end = 2;
  if (length <= 125) {
    out[1] = masked | length;
  } else if (length <= 65535) {
    out[1] = masked | 126;
    out[2] = length >> 8;
    out[3] = length;
    end = 4;
  } else {
    out[1] = masked | 127;
    const high = Math.floor(length / 2 ** 32);
    for (let index = 0; index < 4; index++) {
      out[2 + index] = high >>> (24 - index * 8);
      out[6 + index] = length >>> (24 - index * 8);
    }
    end = 10;
  }
  if (key === undefined) return end;
  putKey(out, end, key);
  return end + 4;
}

/** A whole frame in one buffer: control frames and small messages. `payload` is copied. */
export function encodeFrame(
  opcode: number,
  payload: Uint8Array,
  key: number | undefined,
): Uint8Array {
  const frame = new Uint8Array(HEADER_BYTES_MAX + payload.length);
  const start = putHeader(frame, opcode, payload.length, key);
  const end = start + payload.length;
  frame.set(payload, start);
  if (key !== undefined) xorMask(frame.subarray(start, end), key, 0);
  return frame.subarray(0, end);
}

/** Payload of a Close frame; the text is cut to what a control frame holds. */
export function closePayload(code: number, text: string): Uint8Array {
  const bytes = Buffer.from(text, "utf8").subarray(0, CONTROL_BYTES_MAX - 2);
  return Buffer.concat([Buffer.of(code >> 8, code & 255), bytes]);
}

export interface CloseReason {
  /** undefined: the frame had no code. */
  readonly code: number | undefined;
  readonly text: string;
}

/** RFC 6455 §7.4: which codes may come over the wire. */
function isCloseCode(code: number): boolean {
  if (code >= 3000 && code <= 4999) return true;
  return code >= 1000 && code <= 1013 && code !== 1004 && code !== 1005 && code !== 1006;
}

/** Checks a received Close payload; throws WsFormatError. */
export function parseClose(payload: Uint8Array): CloseReason {
  if (payload.length < 2) return { code: undefined, text: "" };
  const code = ((payload[0] ?? 0) << 8) | (payload[1] ?? 0);
  if (!isCloseCode(code)) throw new WsFormatError(`bad close code ${code}`);
  try {
    const text = new TextDecoder("utf-8", { fatal: true }).decode(payload.subarray(2));
    return { code, text };
  } catch {
    throw new WsFormatError("invalid utf8 payload in close frame");
  }
}

export interface FrameSink {
  /** Payload of data frames, in order: a view of the decoded chunk, unmasked in place. */
  data(bytes: Uint8Array): void;
  /** A whole control frame: OP_CLOSE, OP_PING or OP_PONG. The payload is the sink's. */
  control(opcode: number, payload: Uint8Array): void;
}

/**
 * Decodes frames from any splits. `server` says which side *we* are: a server demands masks and a
 * client refuses them. After a WsFormatError the decoder is of no further use.
 */
export class FrameDecoder {
  readonly #server: boolean;
  readonly #mask: MaskFunction;
  readonly #header = new Uint8Array(HEADER_BYTES_MAX);
  #headerHave = 0;
  #inPayload = false;
  #opcode = 0;
  #left = 0;
  #key = 0;
  #phase = 0;
  #messageBytes = 0;
  /** A data message is open: the next data frame must continue it. */
  #isOpen = false;
  #control = new Uint8Array(0);

  constructor(server: boolean, mask: MaskFunction = xorMask) {
    this.#server = server;
    this.#mask = mask;
  }

  /** Inside a frame or between the fragments of a message: an end of stream here cuts data off. */
  get isInside(): boolean {
    return this.#headerHave > 0 || this.#inPayload || this.#isOpen;
  }

  /**
   * Decodes from `offset` on; answers the offset up to which `chunk` was used, which is more than
   * `offset`. Calls the sink at most once, so that a reader can pause between spans.
   */
  decode(chunk: Uint8Array, offset: number, sink: FrameSink): number {
    let at = offset;
    if (!this.#inPayload) {
      at = this.#readHeader(chunk, at);
      if (this.#headerHave > 0) return at;
    }
    const end = Math.min(chunk.length, at + this.#left);
    if (this.#opcode >= OP_CLOSE) this.#takeControl(chunk.subarray(at, end), sink);
    else this.#takeData(chunk.subarray(at, end), sink);
    return end;
  }

  #readHeader(chunk: Uint8Array, offset: number): number {
    let at = offset;
    const header = this.#header;
    while (at < chunk.length) {
      header[this.#headerHave++] = chunk[at++] ?? 0;
      if (this.#headerHave === 2) this.#checkFirst();
      if (this.#headerHave >= 2 && this.#headerHave === this.#headerNeed()) {
        this.#begin();
        return at;
      }
    }
    return at;
  }

  #headerNeed(): number {
    const second = this.#header[1] ?? 0;
    const short = second & 0x7f;
    const length = short === 126 ? 2 : short === 127 ? 8 : 0;
    return 2 + length + ((second & MASKED) === 0 ? 0 : 4);
  }

  /** All faults of the first two bytes, told together. */
  #checkFirst(): void {
    const [first = 0, second = 0] = this.#header;
    const faults: string[] = [];
    RSV.forEach((bit, index) => {
      if ((first & bit) !== 0) faults.push(`RSV${index + 1} set`);
    });
    const opcode = first & 15;
    const isFinal = (first & FIN) !== 0;
    if (opcode === OP_CLOSE || opcode === OP_PING || opcode === OP_PONG) {
      if ((second & 0x7f) > CONTROL_BYTES_MAX) faults.push("len > 125 for control");
      if (!isFinal) faults.push("FIN not set on control");
    } else if (opcode === OP_TEXT || opcode === OP_BINARY) {
      if (this.#isOpen) faults.push("data before FIN");
      this.#isOpen = !isFinal;
      this.#messageBytes = 0;
    } else if (opcode === OP_CONTINUATION) {
      if (!this.#isOpen) faults.push("continuation after FIN");
      this.#isOpen = !isFinal;
    } else {
      faults.push(`bad opcode ${opcode}`);
    }
    if (((second & MASKED) !== 0) !== this.#server) faults.push("bad MASK");
    if (faults.length > 0) throw new WsFormatError(faults.join(", "));
    this.#opcode = opcode;
  }

  /** The header is complete: length and key. */
  #begin(): void {
    const view = new DataView(this.#header.buffer);
    const short = view.getUint8(1) & 0x7f;
    let length = short;
    if (short === 126) length = view.getUint16(2);
    // The high half as a number: the sum is checked before it is used.
    if (short === 127) length = view.getUint32(2) * 2 ** 32 + view.getUint32(6);
    if (this.#opcode < OP_CLOSE) {
      this.#messageBytes += length;
      if (this.#messageBytes > MESSAGE_BYTES_MAX) {
        throw new WsFormatError("message too big", CLOSE_TOO_BIG);
      }
    } else {
      this.#control = new Uint8Array(length);
    }
    this.#key = this.#server ? view.getUint32(this.#headerHave - 4, true) : 0;
    this.#left = length;
    this.#phase = 0;
    this.#headerHave = 0;
    this.#inPayload = true;
  }

  #unmask(span: Uint8Array): void {
    if (this.#server && span.length > 0) this.#mask(span, this.#key, this.#phase);
    this.#phase += span.length;
    this.#left -= span.length;
    if (this.#left === 0) this.#inPayload = false;
  }

  #takeData(span: Uint8Array, sink: FrameSink): void {
    this.#unmask(span);
    if (span.length > 0) sink.data(span);
  }

  #takeControl(span: Uint8Array, sink: FrameSink): void {
    const start = this.#phase;
    this.#unmask(span);
    this.#control.set(span, start);
    if (!this.#inPayload) sink.control(this.#opcode, this.#control);
  }
}
