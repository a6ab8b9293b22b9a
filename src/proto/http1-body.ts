/**
 * Where the body of an HTTP/1.x message ends (RFC 9112 §6 and §7), for a proxy that passes bodies
 * on as they are. Strict for the same reason as http1.ts: a length that is told twice or in two
 * ways, and chunks that are not exactly as the grammar says, are refused.
 */
import {
  type HttpHead,
  HttpFormatError,
  type ResponseHead,
  parseField,
  tokensOf,
} from "./http1.ts";

export type BodyFraming =
  | { readonly kind: "none" }
  | { readonly kind: "length"; readonly bytes: number }
  | { readonly kind: "chunked" }
  /** Everything up to the end of the connection. */
  | { readonly kind: "close" };

const NONE: BodyFraming = { kind: "none" };

/** Throws HttpFormatError. */
export function requestBody(head: HttpHead): BodyFraming {
  return framingOf(head) ?? NONE;
}

/** Throws HttpFormatError. `method` is the request's. */
export function responseBody(head: ResponseHead, method: string): BodyFraming {
  const { status } = head;
  const framing = framingOf(head);
  if (method === "HEAD" || status < 200 || status === 204 || status === 304) return NONE;
  return framing ?? { kind: "close" };
}

function framingOf(head: HttpHead): BodyFraming | undefined {
  const codings = tokensOf(head, "transfer-encoding");
  const lengths = head.fields.filter(({ name }) => name.toLowerCase() === "content-length");
  const hasCoding = head.fields.some(({ name }) => name.toLowerCase() === "transfer-encoding");
  if (hasCoding) {
    if (lengths.length > 0) throw new HttpFormatError("a length and a transfer coding", 400);
    if (head.minor === 0) throw new HttpFormatError("a transfer coding in HTTP/1.0", 400);
    if (codings.length === 1 && codings[0] === "chunked") return { kind: "chunked" };
    throw new HttpFormatError("a transfer coding other than chunked", 501);
  }
  const [first] = lengths;
  if (first === undefined) return undefined;
  if (lengths.length > 1 || !/^\d{1,15}$/.test(first.value)) {
    throw new HttpFormatError("a bad Content-Length", 400);
  }
  return { kind: "length", bytes: Number(first.value) };
}

const LINE_BYTES_MAX = 4096;
const TRAILER_LINES_MAX = 64;
const CR = 13;
const LF = 10;

type Stage = "size" | "data" | "data-end" | "trailer" | "over";

/** Follows a body and tells where it ends. */
export class BodyReader {
  #stage: Stage;
  readonly #isChunked: boolean;
  /** Of the body or the chunk. */
  #left = 0;
  #line = "";
  #trailerLines = 0;

  constructor(framing: BodyFraming) {
    this.#isChunked = framing.kind === "chunked";
    this.#stage = this.#isChunked ? "size" : "data";
    if (framing.kind === "length") this.#left = framing.bytes;
    if (framing.kind === "close") this.#left = Infinity;
    if (!this.#isChunked && this.#left === 0) this.#stage = "over";
  }

  get isOver(): boolean {
    return this.#stage === "over";
  }

  /** How many of these bytes are of the body. Throws HttpFormatError. */
  push(chunk: Uint8Array): number {
    let offset = 0;
    while (offset < chunk.length && this.#stage !== "over") {
      offset = this.#stage === "data" ? this.#skip(chunk, offset) : this.#takeLine(chunk, offset);
    }
    return offset;
  }

  #skip(chunk: Uint8Array, offset: number): number {
    const bytes = Math.min(this.#left, chunk.length - offset);
    this.#left -= bytes;
    if (this.#left === 0) this.#stage = this.#isChunked ? "data-end" : "over";
    return offset + bytes;
  }

  #takeLine(chunk: Uint8Array, offset: number): number {
    const found = chunk.indexOf(LF, offset);
    const end = found < 0 ? chunk.length : found + 1;
    const part = chunk.subarray(offset, end);
    if (this.#line.length + part.length > LINE_BYTES_MAX) {
      throw new HttpFormatError("a line of a chunked body is too long", 400);
    }
    this.#line += Buffer.from(part.buffer, part.byteOffset, part.length).toString("latin1");
    if (found >= 0) {
      const line = this.#line;
      this.#line = "";
      if (line.charCodeAt(line.length - 2) !== CR) {
        throw new HttpFormatError("a line of a chunked body does not end in CR LF", 400);
      }
      this.#endLine(line.slice(0, -2));
    }
    return end;
  }

  #endLine(line: string): void {
    if (this.#stage === "data-end") {
      if (line !== "") throw new HttpFormatError("a chunk is longer than it says", 400);
      this.#stage = "size";
    } else if (this.#stage === "size") {
      // Extensions are passed on; quoted ones hold no line ends here.
      const match = /^([0-9A-Fa-f]{1,12})(?:[ \t]*;[\t\x20-\x7e]*)?$/.exec(line);
      if (match === null) throw new HttpFormatError("a bad chunk size", 400);
      this.#left = parseInt(match[1] ?? "0", 16);
      this.#stage = this.#left === 0 ? "trailer" : "data";
    } else if (line === "") {
      this.#stage = "over";
    } else {
      parseField(line);
      if (++this.#trailerLines > TRAILER_LINES_MAX) {
        throw new HttpFormatError("too many trailer fields", 400);
      }
    }
  }
}
