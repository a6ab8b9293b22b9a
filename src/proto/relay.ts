/**
 * The relay protocol, version 1: requests, replies and their features. Pure; streams are somebody
 * else's. A message is
 *
 *   0     1                2          4
 *   | VER | CMD or STATUS  | FEALEN 2 | features: TYPE 1, LEN 2, DATA |
 *
 * A reader pushes bytes into `HeadReader` until it is done, then parses `bytes`. Unknown features
 * are skipped; every other fault throws `RelayFormatError`.
 */
import { type SocksAddress, decodeAddress, encodeAddress } from "./address.ts";

export const RELAY_VERSION = 1;
export const CMD_CONNECT = 1;
export const CMD_BIND = 2;
export const FLAG_UDP = 0x80;
const CMD_MASK = 0x0f;

export const STATUS_OK = 0;
export const STATUS_BAD_REQUEST = 1;
export const STATUS_UNAUTHORIZED = 2;
export const STATUS_FORBIDDEN = 3;
export const STATUS_TIMEOUT = 4;
export const STATUS_SERVICE_UNAVAILABLE = 5;
export const STATUS_HOST_UNREACHABLE = 6;
export const STATUS_NETWORK_UNREACHABLE = 7;
export const STATUS_INTERNAL_ERROR = 8;

export const NETWORK_TCP = 0;
export const NETWORK_UDP = 1;
export const NETWORK_IP = 2;
export const NETWORK_UNIX = 0x10;
export const NETWORK_SERIAL = 0x11;

const FEATURE_AUTH = 1;
const FEATURE_ADDRESS = 2;
const FEATURE_TUNNEL = 3;
const FEATURE_NETWORK = 4;
/**
 * Private: the cause of a failure, told to another tsgost because GOST's status numbers do not tell
 * refused from unreachable. DATA is "tsgost" and one CAUSE byte. Others skip it.
 */
const FEATURE_CAUSE = 0xe7;
const CAUSE_MAGIC = Buffer.from("tsgost", "latin1");

export const CAUSE_REFUSED = 1;
export const CAUSE_HOST_UNREACHABLE = 2;
export const CAUSE_NETWORK_UNREACHABLE = 3;
export const CAUSE_TIMEOUT = 4;

/** Bytes before the features. */
export const HEAD_BYTES = 4;
const TUNNEL_BYTES_MIN = 16;

export class RelayFormatError extends Error {
  constructor(message: string) {
    super(message);
    this.name = "RelayFormatError";
  }
}

export interface RelayAuth {
  readonly username: string;
  readonly password: string;
}

export interface RelayFeatures {
  /** Several of one type: the last one, as GOST's server takes it. */
  readonly auth?: RelayAuth;
  /** All, in order: a bind peer's reply carries two. */
  readonly addresses: readonly SocksAddress[];
  readonly network?: number;
  /** CAUSE_…, from a tsgost server. */
  readonly cause?: number;
}

export interface RelayRequest extends RelayFeatures {
  /** The low nibble; 0 (what v2 clients send) is given as CMD_CONNECT. */
  readonly command: number;
  readonly udp: boolean;
}

export interface RelayReply extends RelayFeatures {
  readonly status: number;
}

export interface RequestFields {
  readonly command: number;
  readonly udp?: boolean;
  /** Sent before the rest; left out of plain CONNECTs, because v2 servers do not know it. */
  readonly network?: number;
  readonly auth?: RelayAuth;
  readonly address?: SocksAddress;
}

export interface ReplyFields {
  readonly status: number;
  readonly address?: SocksAddress;
  readonly cause?: number;
}

function feature(type: number, data: Uint8Array): Buffer {
  const bytes = Buffer.alloc(3 + data.length);
  bytes[0] = type;
  bytes.writeUInt16BE(data.length, 1);
  bytes.set(data, 3);
  return bytes;
}

function authFeature(auth: RelayAuth): Buffer {
  const name = Buffer.from(auth.username, "utf8");
  const secret = Buffer.from(auth.password, "utf8");
  if (name.length > 255 || secret.length > 255) {
    throw new RangeError("user name or password above 255 bytes");
  }
  const data = Buffer.concat([Buffer.of(name.length), name, Buffer.of(secret.length), secret]);
  return feature(FEATURE_AUTH, data);
}

function message(second: number, features: readonly Uint8Array[]): Buffer {
  const body = Buffer.concat(features);
  const head = Buffer.of(RELAY_VERSION, second, body.length >> 8, body.length & 255);
  return Buffer.concat([head, body]);
}

/** Features in GOST's order: CONNECT puts Network first, BIND behind UserAuth. */
export function encodeRequest(fields: RequestFields): Buffer {
  const features: Buffer[] = [];
  const { network, auth, address } = fields;
  const networkFeature =
    network === undefined ? undefined : feature(FEATURE_NETWORK, Buffer.of(network >> 8, network));
  const isBind = fields.command === CMD_BIND;
  if (networkFeature !== undefined && !isBind) features.push(networkFeature);
  if (auth !== undefined && auth.username !== "") features.push(authFeature(auth));
  if (networkFeature !== undefined && isBind) features.push(networkFeature);
  if (address !== undefined) features.push(feature(FEATURE_ADDRESS, encodeAddress(address)));
  return message(fields.command | (fields.udp === true ? FLAG_UDP : 0), features);
}

export function encodeReply(fields: ReplyFields): Buffer {
  const features: Buffer[] = [];
  if (fields.address !== undefined) {
    features.push(feature(FEATURE_ADDRESS, encodeAddress(fields.address)));
  }
  if (fields.cause !== undefined) {
    features.push(feature(FEATURE_CAUSE, Buffer.concat([CAUSE_MAGIC, Buffer.of(fields.cause)])));
  }
  return message(fields.status, features);
}

/** Collects one message from any splits; at most 4 + 65535 bytes. */
export class HeadReader {
  #bytes = new Uint8Array(HEAD_BYTES);
  #have = 0;
  #need = HEAD_BYTES;

  get done(): boolean {
    return this.#have === this.#need && this.#have >= HEAD_BYTES && this.#sized;
  }

  /** The message; only when done. */
  get bytes(): Uint8Array {
    return this.#bytes;
  }

  /** Bytes taken so far: 0 means that the peer has said nothing. */
  get taken(): number {
    return this.#have;
  }

  #sized = false;

  /** Takes bytes up to the end of the message and answers how many; throws at a wrong version. */
  push(chunk: Uint8Array): number {
    let used = 0;
    while (used < chunk.length && !this.done) {
      const part = chunk.subarray(used, used + this.#need - this.#have);
      this.#bytes.set(part, this.#have);
      this.#have += part.length;
      used += part.length;
      if (this.#bytes[0] !== RELAY_VERSION) {
        throw new RelayFormatError(`version byte is ${this.#bytes[0] ?? 0}, not ${RELAY_VERSION}`);
      }
      if (this.#have === HEAD_BYTES && !this.#sized) this.#size();
    }
    return used;
  }

  #size(): void {
    this.#sized = true;
    const length = ((this.#bytes[2] ?? 0) << 8) | (this.#bytes[3] ?? 0);
    if (length === 0) return;
    this.#need = HEAD_BYTES + length;
    const grown = new Uint8Array(this.#need);
    grown.set(this.#bytes);
    this.#bytes = grown;
  }
}

function parseAuth(data: Uint8Array): RelayAuth {
  const nameLength = data[0];
  if (nameLength === undefined || data.length < 2) throw new RelayFormatError("short UserAuth");
  const secretLength = data[1 + nameLength];
  if (secretLength === undefined) throw new RelayFormatError("UserAuth ends in the user name");
  const secretOff = 2 + nameLength;
  if (secretOff + secretLength > data.length) {
    throw new RelayFormatError("UserAuth ends in the password");
  }
  const text = (from: number, length: number): string =>
    Buffer.from(data.subarray(from, from + length)).toString("utf8");
  return { username: text(1, nameLength), password: text(secretOff, secretLength) };
}

function parseCause(data: Uint8Array): number | undefined {
  const isOurs =
    data.length > CAUSE_MAGIC.length &&
    CAUSE_MAGIC.equals(Buffer.from(data.subarray(0, CAUSE_MAGIC.length)));
  return isOurs ? data[CAUSE_MAGIC.length] : undefined;
}

function parseFeatures(bytes: Uint8Array): RelayFeatures {
  let auth: RelayAuth | undefined;
  let network: number | undefined;
  let cause: number | undefined;
  const addresses: SocksAddress[] = [];
  let offset = HEAD_BYTES;
  while (offset < bytes.length) {
    if (offset + 3 > bytes.length) throw new RelayFormatError("feature without a length");
    const start = offset + 3;
    const end = start + (((bytes[offset + 1] ?? 0) << 8) | (bytes[offset + 2] ?? 0));
    if (end > bytes.length) throw new RelayFormatError("feature shorter than its length");
    const data = bytes.subarray(start, end);
    switch (bytes[offset]) {
      case FEATURE_AUTH:
        auth = parseAuth(data);
        break;
      case FEATURE_ADDRESS: {
        const address = decodeAddress(data, 0);
        if (address === undefined) throw new RelayFormatError("bad address");
        addresses.push(address);
        break;
      }
      case FEATURE_TUNNEL:
        if (data.length < TUNNEL_BYTES_MIN) throw new RelayFormatError("short tunnel id");
        break;
      case FEATURE_NETWORK:
        if (data.length < 2) throw new RelayFormatError("short network");
        network = ((data[0] ?? 0) << 8) | (data[1] ?? 0);
        break;
      case FEATURE_CAUSE:
        cause = parseCause(data);
        break;
    }
    offset = end;
  }
  return {
    addresses,
    ...(auth === undefined ? {} : { auth }),
    ...(network === undefined ? {} : { network }),
    ...(cause === undefined ? {} : { cause }),
  };
}

/** Parses a whole message of a client; throws RelayFormatError. */
export function parseRequest(bytes: Uint8Array): RelayRequest {
  const features = parseFeatures(bytes);
  const second = bytes[1] ?? 0;
  const nibble = second & CMD_MASK;
  const command = nibble === 0 ? CMD_CONNECT : nibble;
  const udp = (second & FLAG_UDP) !== 0 || features.network === NETWORK_UDP;
  return { command, udp, ...features };
}

/** Parses a whole message of a server; throws RelayFormatError. */
export function parseReply(bytes: Uint8Array): RelayReply {
  return { status: bytes[1] ?? 0, ...parseFeatures(bytes) };
}

const STATUS_TEXTS = [
  "OK",
  "Bad Request",
  "Unauthorized",
  "Forbidden",
  "Timeout",
  "Service Unavailable",
  "Host Unreachable",
  "Network Unreachable",
  "Internal Server Error",
];

export function statusText(status: number): string {
  return STATUS_TEXTS[status] ?? `status ${status}`;
}
