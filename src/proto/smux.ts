/**
 * smux, versions 1 and 2, as GOST's multiplexed transports speak it (xtaci/smux): frames of a
 * header and up to 65535 bytes, many streams over one connection.
 *
 *   0         1     2        4           8
 *   | version | cmd | length | stream id | payload      little endian
 *
 * SYN opens a stream, PSH carries its bytes, FIN ends it, NOP keeps the session alive. Version 2
 * adds UPD with a payload of eight bytes: how many bytes of the stream were read in all, and how
 * many may be on their way. Nothing is negotiated: both ends are configured alike.
 */

export const CMD_SYN = 0;
export const CMD_FIN = 1;
export const CMD_PSH = 2;
export const CMD_NOP = 3;
export const CMD_UPD = 4;

export const HEADER_BYTES = 8;
export const UPDATE_BYTES = 8;
/** What the length field can say. */
export const PAYLOAD_BYTES_MAX = 65535;
/** What a peer may send of a stream before it was told a window (version 2). */
export const INITIAL_WINDOW_BYTES = 262_144;

export type SmuxVersion = 1 | 2;

/** The peer broke the protocol: the session is over. */
export class SmuxFormatError extends Error {
  constructor(message: string) {
    super(message);
    this.name = "SmuxFormatError";
  }
}

/** A header; with `length` bytes of payload to follow. */
export function encodeHeader(
  version: SmuxVersion,
  command: number,
  stream: number,
  length = 0,
): Uint8Array {
  const header = new Uint8Array(HEADER_BYTES);
  header[0] = version;
  header[1] = command;
  header[2] = length;
  header[3] = length >>> 8;
  put32(header, 4, stream);
  return header;
}

/** A whole UPD frame. */
export function encodeUpdate(stream: number, consumed: number, window: number): Uint8Array {
  const frame = new Uint8Array(HEADER_BYTES + UPDATE_BYTES);
  frame.set(encodeHeader(2, CMD_UPD, stream, UPDATE_BYTES));
  put32(frame, HEADER_BYTES, consumed);
  put32(frame, HEADER_BYTES + 4, window);
  return frame;
}

function put32(bytes: Uint8Array, offset: number, value: number): void {
  for (let index = 0; index < 4; index++) bytes[offset + index] = value >>> (index * 8);
}

function get32(bytes: Uint8Array, offset: number): number {
  let value = 0;
  for (let index = 3; index >= 0; index--) value = value * 256 + (bytes[offset + index] ?? 0);
  return value;
}

export interface SmuxSink {
  /** SYN, FIN or NOP. */
  control(command: number, stream: number): void;
  /** A part of a PSH frame's payload: a view of the decoded chunk. */
  data(stream: number, bytes: Uint8Array): void;
  /** A UPD frame: two numbers modulo 2^32. */
  update(stream: number, consumed: number, window: number): void;
}

/** Decodes frames from any splits. After a SmuxFormatError it is of no further use. */
export class SmuxDecoder {
  readonly #version: SmuxVersion;
  readonly #head = new Uint8Array(HEADER_BYTES + UPDATE_BYTES);
  #have = 0;
  #stream = 0;
  /** Payload of the PSH frame that is still to come. */
  #left = 0;

  constructor(version: SmuxVersion) {
    this.#version = version;
  }

  /** Inside a frame: an end of the connection here cuts it off. */
  get isInside(): boolean {
    return this.#have > 0 || this.#left > 0;
  }

  /**
   * Decodes from `offset` on; answers the offset up to which `chunk` was used, which is more than
   * `offset`. Calls the sink at most once, so that a session can stop between two frames.
   */
  decode(chunk: Uint8Array, offset: number, sink: SmuxSink): number {
    if (this.#left > 0) {
      const end = Math.min(chunk.length, offset + this.#left);
      this.#left -= end - offset;
      sink.data(this.#stream, chunk.subarray(offset, end));
      return end;
    }
    const head = this.#head;
    let at = offset;
    while (at < chunk.length) {
      head[this.#have++] = chunk[at++] ?? 0;
      if (this.#have === HEADER_BYTES) this.#check();
      if (this.#have >= HEADER_BYTES && this.#have === this.#need()) {
        this.#have = 0;
        this.#finish(sink);
        break;
      }
    }
    return at;
  }

  /** Bytes before something can be told of the frame. */
  #need(): number {
    return this.#head[1] === CMD_UPD ? HEADER_BYTES + UPDATE_BYTES : HEADER_BYTES;
  }

  #check(): void {
    const [version = 0, command = 0, low = 0, high = 0] = this.#head;
    const length = low | (high << 8);
    if (version !== this.#version) {
      throw new SmuxFormatError(`smux version ${version} instead of ${this.#version}`);
    }
    if (command > (version === 2 ? CMD_UPD : CMD_NOP)) {
      throw new SmuxFormatError(`unknown smux command ${command}`);
    }
    const wanted = command === CMD_UPD ? UPDATE_BYTES : command === CMD_PSH ? length : 0;
    if (length !== wanted) {
      throw new SmuxFormatError(`smux command ${command} with ${length} bytes of payload`);
    }
  }

  #finish(sink: SmuxSink): void {
    const head = this.#head;
    const [, command = 0, low = 0, high = 0] = head;
    const stream = get32(head, 4);
    if (command === CMD_PSH) {
      this.#stream = stream;
      this.#left = low | (high << 8);
    } else if (command === CMD_UPD) {
      sink.update(stream, get32(head, HEADER_BYTES), get32(head, HEADER_BYTES + 4));
    } else {
      sink.control(command, stream);
    }
  }
}
