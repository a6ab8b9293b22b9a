/**
 * SOCKS5 (RFC 1928, RFC 1929) with GOST's methods (TLS inside) and commands. Pure; messages may be
 * split anywhere and a reader takes no byte beyond its message.
 *
 *   greeting   | 5 | count | methods … |            answer  | 5 | method |
 *   password   | 1 | length, user | length, password |      answer  | 1 | status |
 *   request    | 5 | command | 0 | ATYP, address, port |    reply   | 5 | code | 0 | ATYP … |
 *   datagram   | 0 0 | FRAG | ATYP, address, port | payload |
 *
 * Datagrams in a stream (0xF3) have the form of relay associations: relay-udp.ts.
 */
import type { Credentials } from "../types.ts";
import { type SocksAddress, addressLength, decodeAddress, encodeAddress } from "./address.ts";

export const METHOD_NONE = 0x00;
export const METHOD_PASSWORD = 0x02;
/** GOST: TLS begins right after the method's answer, then SOCKS5 goes on inside. */
export const METHOD_TLS = 0x80;
/** The same, with user and password inside. */
export const METHOD_TLS_PASSWORD = 0x82;
export const METHOD_REFUSED = 0xff;

export const CMD_CONNECT = 0x01;
export const CMD_BIND = 0x02;
export const CMD_ASSOCIATE = 0x03;
/** GOST: BIND whose connections come as streams of a session. */
export const CMD_MUX_BIND = 0xf2;
/** GOST: datagrams inside the stream. */
export const CMD_UDP_TUNNEL = 0xf3;

export const REP_OK = 0x00;
export const REP_FAILURE = 0x01;
export const REP_PROHIBITED = 0x02;
export const REP_NETWORK_UNREACHABLE = 0x03;
export const REP_HOST_UNREACHABLE = 0x04;
export const REP_REFUSED = 0x05;
export const REP_TIMEOUT = 0x06;
export const REP_COMMAND = 0x07;
export const REP_ADDRESS_TYPE = 0x08;

const REP_TEXTS: readonly string[] = [
  "succeeded",
  "general failure",
  "not allowed",
  "network unreachable",
  "host unreachable",
  "connection refused",
  "TTL expired",
  "command not supported",
  "address type not supported",
];

const VERSION = 5;
const PASSWORD_VERSION = 1;
const TEXT_BYTES_MAX = 255;
const REQUEST_HEADER_BYTES = 3;
const DATAGRAM_HEADER_BYTES = 3;

/** The peer does not speak SOCKS5. */
export class Socks5FormatError extends Error {
  constructor(message: string) {
    super(message);
    this.name = "Socks5FormatError";
  }
}

export function replyText(code: number): string {
  return REP_TEXTS[code] ?? "unknown code";
}

export interface Socks5Request {
  readonly command: number;
  readonly address: SocksAddress;
  /** As the address was written: fixes the family of a socket that is asked for. */
  readonly addressType: number;
}

export interface Socks5Reply {
  readonly code: number;
  readonly address: SocksAddress;
}

/** How many bytes the message takes, as far as `bytes` tell; throws Socks5FormatError. */
type Measure = (bytes: Uint8Array) => number;

/** Collects one message; never more than its own bytes, at most a few hundred. */
export class MessageReader<Message> {
  readonly #measure: Measure;
  readonly #parse: (bytes: Uint8Array) => Message;
  #bytes: Uint8Array = new Uint8Array(0);

  constructor(measure: Measure, parse: (bytes: Uint8Array) => Message) {
    this.#measure = measure;
    this.#parse = parse;
  }

  /** Bytes of the message that came so far. */
  get taken(): number {
    return this.#bytes.length;
  }

  /** Answers how many bytes of `chunk` it used, and the message when it is whole. */
  push(chunk: Uint8Array): { readonly used: number; readonly message?: Message } {
    let used = 0;
    for (;;) {
      const need = this.#measure(this.#bytes);
      if (need === this.#bytes.length) return { used, message: this.#parse(this.#bytes) };
      if (used === chunk.length) return { used };
      const part = chunk.subarray(used, used + need - this.#bytes.length);
      const joined = new Uint8Array(this.#bytes.length + part.length);
      joined.set(this.#bytes);
      joined.set(part, this.#bytes.length);
      this.#bytes = joined;
      used += part.length;
    }
  }
}

function checkVersion(bytes: Uint8Array, version = VERSION): void {
  if (bytes.length > 0 && bytes[0] !== version) {
    throw new Socks5FormatError(`version ${bytes[0] ?? 0} instead of ${version}`);
  }
}

/** The methods that a client offers, in its order. */
export function greetingReader(): MessageReader<Uint8Array> {
  return new MessageReader(
    (bytes) => {
      checkVersion(bytes);
      return 2 + (bytes[1] ?? 0);
    },
    (bytes) => bytes.subarray(2),
  );
}

/** The method that a server chose. */
export function methodReader(): MessageReader<number> {
  return new MessageReader(
    (bytes) => {
      checkVersion(bytes);
      return 2;
    },
    (bytes) => bytes[1] ?? METHOD_REFUSED,
  );
}

/** User and password. */
export function passwordReader(): MessageReader<Credentials> {
  return new MessageReader(
    (bytes) => {
      checkVersion(bytes, PASSWORD_VERSION);
      const user = bytes[1];
      if (user === undefined) return 2;
      return 3 + user + (bytes[2 + user] ?? 0);
    },
    (bytes) => {
      const end = 2 + (bytes[1] ?? 0);
      return {
        username: textOf(bytes.subarray(2, end)),
        password: textOf(bytes.subarray(end + 1)),
      };
    },
  );
}

function textOf(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("utf8");
}

/** Whether user and password were accepted. The version is not looked at: some servers say 5. */
export function passwordStatusReader(): MessageReader<boolean> {
  return new MessageReader(
    () => 2,
    (bytes) => bytes[1] === 0,
  );
}

function measureAddressed(bytes: Uint8Array): number {
  checkVersion(bytes);
  // Up to the length byte of a name; each address is longer than that.
  const least = REQUEST_HEADER_BYTES + 2;
  if (bytes.length < least) return least;
  const address = addressLength(bytes, REQUEST_HEADER_BYTES);
  if (address < 0) throw new Socks5FormatError(`address type ${bytes[3] ?? 0}`);
  return REQUEST_HEADER_BYTES + address;
}

function addressOf(bytes: Uint8Array): SocksAddress {
  const address = decodeAddress(bytes, REQUEST_HEADER_BYTES);
  if (address === undefined) throw new Socks5FormatError("bad address");
  return address;
}

export function requestReader(): MessageReader<Socks5Request> {
  return new MessageReader(measureAddressed, (bytes) => ({
    command: bytes[1] ?? 0,
    address: addressOf(bytes),
    addressType: bytes[REQUEST_HEADER_BYTES] ?? 0,
  }));
}

export function replyReader(): MessageReader<Socks5Reply> {
  return new MessageReader(measureAddressed, (bytes) => ({
    code: bytes[1] ?? REP_FAILURE,
    address: addressOf(bytes),
  }));
}

export function encodeGreeting(methods: readonly number[]): Uint8Array {
  return Uint8Array.of(VERSION, methods.length, ...methods);
}

export function encodeMethod(method: number): Uint8Array {
  return Uint8Array.of(VERSION, method);
}

/** Throws RangeError for texts above 255 bytes. */
export function encodePassword({ username, password }: Credentials): Uint8Array {
  const parts = [username, password].map((text) => Buffer.from(text, "utf8"));
  if (parts.some((part) => part.length > TEXT_BYTES_MAX)) {
    throw new RangeError("user name or password above 255 bytes");
  }
  const lengthed = parts.flatMap((part) => [Buffer.of(part.length), part]);
  return Buffer.concat([Buffer.of(PASSWORD_VERSION), ...lengthed]);
}

export function encodePasswordStatus(isAccepted: boolean): Uint8Array {
  return Uint8Array.of(PASSWORD_VERSION, isAccepted ? 0 : 1);
}

/** Throws RangeError for what is no address. */
export function encodeRequest(command: number, address: SocksAddress): Uint8Array {
  return Buffer.concat([Buffer.of(VERSION, command, 0), encodeAddress(address)]);
}

/** GOST's reply address where there is none. */
const NO_ADDRESS: SocksAddress = { host: "0.0.0.0", port: 0 };

export function encodeReply(code: number, address: SocksAddress = NO_ADDRESS): Uint8Array {
  return Buffer.concat([Buffer.of(VERSION, code, 0), encodeAddress(address)]);
}

/** A datagram of an association (RFC 1928 §7). */
export interface SocksDatagram {
  readonly fragment: number;
  readonly address: SocksAddress;
  /** A view. */
  readonly payload: Uint8Array;
}

/** Throws RangeError for what is no address. */
export function encodeDatagram(payload: Uint8Array, address: SocksAddress): Buffer {
  const encoded = encodeAddress(address);
  const start = DATAGRAM_HEADER_BYTES + encoded.length;
  const bytes = Buffer.allocUnsafe(start + payload.length);
  bytes.fill(0, 0, DATAGRAM_HEADER_BYTES);
  bytes.set(encoded, DATAGRAM_HEADER_BYTES);
  bytes.set(payload, start);
  return bytes;
}

/** undefined if it is none; the two reserved bytes are not looked at, as in GOST. */
export function decodeDatagram(bytes: Uint8Array): SocksDatagram | undefined {
  const address = decodeAddress(bytes, DATAGRAM_HEADER_BYTES);
  if (address === undefined) return undefined;
  const start = DATAGRAM_HEADER_BYTES + addressLength(bytes, DATAGRAM_HEADER_BYTES);
  return { fragment: bytes[2] ?? 0, address, payload: bytes.subarray(start) };
}
