/**
 * The server name in a TLS ClientHello (RFC 8446 §4.1.2, RFC 6066 §3), which may be cut into
 * records anywhere. Pure; reads only what it was given.
 */

const RECORD_HEADER_BYTES = 5;
const RECORD_BYTES_MAX = 16_384;
const TYPE_HANDSHAKE = 22;
const TYPE_CLIENT_HELLO = 1;
const EXTENSION_SERVER_NAME = 0;
const HELLO_HEADER_BYTES = 4;
/** Largest hello that is waited for. */
export const HELLO_BYTES_MAX = 16_384;

/** Takes lengths and parts from the front; everything beyond the end is "not there". */
class Cursor {
  readonly #bytes: Uint8Array;
  #offset = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  get left(): number {
    return this.#bytes.length - this.#offset;
  }

  /** An integer of `size` bytes; 0 beyond the end. */
  number(size: number): number {
    let value = 0;
    for (let index = 0; index < size; index++) {
      value = value * 256 + (this.#bytes[this.#offset + index] ?? 0);
    }
    this.#offset += size;
    return value;
  }

  take(length: number): Uint8Array {
    const part = this.#bytes.subarray(this.#offset, this.#offset + length);
    this.#offset += length;
    return part;
  }
}

/** The name; "" for a hello without one or what is none; undefined while more bytes are needed. */
export function serverNameOf(bytes: Uint8Array): string | undefined {
  const parts: Uint8Array[] = [];
  const records = new Cursor(bytes);
  while (records.left > 0) {
    if (records.left < RECORD_HEADER_BYTES)
      return records.number(1) === TYPE_HANDSHAKE ? undefined : "";
    const type = records.number(1);
    const major = records.number(1);
    records.number(1);
    const length = records.number(2);
    const isRecord = type === TYPE_HANDSHAKE && major === 3;
    if (!isRecord || length === 0 || length > RECORD_BYTES_MAX) return "";
    parts.push(records.take(length));
    const hello = Buffer.concat(parts);
    if (hello.length === 0) continue;
    if (hello[0] !== TYPE_CLIENT_HELLO) return "";
    const header = new Cursor(hello.subarray(1, HELLO_HEADER_BYTES));
    const wanted = HELLO_HEADER_BYTES + header.number(3);
    if (wanted > HELLO_BYTES_MAX && hello.length >= HELLO_HEADER_BYTES) return "";
    if (hello.length >= HELLO_HEADER_BYTES && hello.length >= wanted) {
      return nameIn(hello.subarray(HELLO_HEADER_BYTES, wanted));
    }
  }
  return undefined;
}

function nameIn(hello: Uint8Array): string {
  const fields = new Cursor(hello);
  // Version, random, session id, suites, compression.
  fields.take(2 + 32);
  fields.take(fields.number(1));
  fields.take(fields.number(2));
  fields.take(fields.number(1));
  const extensions = new Cursor(fields.take(fields.number(2)));
  while (extensions.left >= 4) {
    const type = extensions.number(2);
    const body = extensions.take(extensions.number(2));
    if (type !== EXTENSION_SERVER_NAME) continue;
    const names = new Cursor(body);
    names.number(2);
    const isHost = names.number(1) === 0;
    const length = names.number(2);
    const name = names.take(length);
    const text = Buffer.from(name).toString("latin1");
    const isName = isHost && name.length === length && /^[a-z0-9_.-]{1,253}$/i.test(text);
    return isName ? text : "";
  }
  return "";
}
