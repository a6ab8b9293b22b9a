/**
 * HTTP/1.x message heads, as a proxy needs them (RFC 9112 §2 to §5), strictly.
 *
 * What two parsers could read differently is refused, for that is how requests are smuggled: lines
 * that do not end in CR LF, bare CR, folded fields, blanks before the colon, control characters.
 * Framing of bodies is in http1-body.ts.
 *
 * Bounds: bytes of a head and number of its fields. Texts are Latin-1: bytes come out as they came.
 */
import { isIP } from "node:net";

export const HEAD_BYTES_MAX = 32 * 1024;
export const FIELDS_MAX = 128;
/** Empty lines that may come before a request (RFC 9112 §2.2). */
const EMPTY_LINES_MAX = 2;
const FIRST_BYTES = 512;

const CR = 13;
const LF = 10;

export class HttpFormatError extends Error {
  /** What a server answers; undefined: this is not HTTP, and there is nobody to talk to. */
  readonly status: number | undefined;

  constructor(message: string, status?: number) {
    super(message);
    this.name = "HttpFormatError";
    this.status = status;
  }
}

export interface HttpField {
  readonly name: string;
  readonly value: string;
}

export interface HttpHead {
  /** HTTP/1.N */
  readonly minor: 0 | 1;
  readonly fields: readonly HttpField[];
}

export interface RequestHead extends HttpHead {
  readonly method: string;
  readonly target: string;
}

export interface ResponseHead extends HttpHead {
  readonly status: number;
  readonly reason: string;
}

const TOKEN = "[!#$%&'*+\\-.^_`|~0-9A-Za-z]+";
const REQUEST_LINE = new RegExp(`^(${TOKEN}) ([\\x21-\\x7e\\x80-\\xff]*) HTTP/(\\d)\\.(\\d)$`);
const STATUS_LINE = /^HTTP\/1\.([01]) ([1-9]\d\d)(?: (.*))?$/;
const FIELD_LINE = new RegExp(`^(${TOKEN}):[ \\t]*(.*)$`);
const CONTROL = /[\x00-\x08\x0a-\x1f\x7f]/;

/** Collects a head from pieces and checks each line as soon as it is complete. */
abstract class HeadReader<T extends HttpHead> {
  #bytes = Buffer.alloc(0);
  #length = 0;
  #lineStart = 0;
  #emptyLines = 0;
  #head: T | undefined;
  protected readonly fields: HttpField[] = [];
  #hasStart = false;

  /** The head once it is complete. */
  get head(): T | undefined {
    return this.#head;
  }

  /** Bytes of a head were seen. */
  get hasBegun(): boolean {
    return this.#length > 0;
  }

  protected abstract takeStart(line: string): void;
  protected abstract finish(): T;
  protected abstract checkFirst(byte: number): void;

  /** Takes bytes up to the head's end and answers how many. Throws HttpFormatError. */
  push(chunk: Uint8Array): number {
    let offset = 0;
    while (offset < chunk.length && this.#head === undefined) {
      const found = chunk.indexOf(LF, offset);
      const end = found < 0 ? chunk.length : found + 1;
      this.#append(chunk.subarray(offset, end));
      offset = end;
      if (found >= 0) this.#endLine();
    }
    return offset;
  }

  #append(part: Uint8Array): void {
    const length = this.#length + part.length;
    if (length > HEAD_BYTES_MAX) throw new HttpFormatError("a head above its bound", 431);
    if (length > this.#bytes.length) {
      const size = Math.min(HEAD_BYTES_MAX, Math.max(FIRST_BYTES, 2 * this.#bytes.length, length));
      const larger = Buffer.allocUnsafe(size);
      larger.set(this.#bytes.subarray(0, this.#length));
      this.#bytes = larger;
    }
    this.#bytes.set(part, this.#length);
    this.#length = length;
    if (!this.#hasStart) this.checkFirst(this.#bytes[this.#lineStart] ?? CR);
  }

  #endLine(): void {
    const end = this.#length - 2;
    const status = this.#hasStart ? 400 : undefined;
    if (end < this.#lineStart || this.#bytes[end] !== CR) {
      throw new HttpFormatError("a line does not end in CR LF", status);
    }
    const line = this.#bytes.toString("latin1", this.#lineStart, end);
    this.#lineStart = this.#length;
    if (CONTROL.test(line)) throw new HttpFormatError("a control character", status);
    if (!this.#hasStart) {
      this.#startLine(line);
    } else if (line === "") {
      this.#head = this.finish();
      this.#bytes = Buffer.alloc(0);
    } else {
      this.#fieldLine(line);
    }
  }

  #startLine(line: string): void {
    if (line === "") {
      if (++this.#emptyLines > EMPTY_LINES_MAX) throw new HttpFormatError("only empty lines");
      return;
    }
    this.takeStart(line);
    this.#hasStart = true;
  }

  #fieldLine(line: string): void {
    this.fields.push(parseField(line));
    if (this.fields.length > FIELDS_MAX) throw new HttpFormatError("too many fields", 431);
  }
}

/** One field line without its end; throws HttpFormatError. */
export function parseField(line: string): HttpField {
  const match = FIELD_LINE.exec(line);
  if (match === null || CONTROL.test(line)) {
    const what = /^[ \t]/.test(line) ? "a folded field" : "a malformed field";
    throw new HttpFormatError(what, 400);
  }
  const [, name = "", value = ""] = match;
  return { name, value: value.replace(/[ \t]+$/, "") };
}

/** Reads the head of a request. */
export class RequestReader extends HeadReader<RequestHead> {
  #method = "";
  #target = "";
  #minor: 0 | 1 = 1;

  protected override checkFirst(byte: number): void {
    const isToken = /[!#$%&'*+\-.^_`|~0-9A-Za-z\r\n]/.test(String.fromCharCode(byte));
    if (!isToken) throw new HttpFormatError("not HTTP");
  }

  protected override takeStart(line: string): void {
    const match = REQUEST_LINE.exec(line);
    if (match === null) throw new HttpFormatError("not HTTP");
    const [, method = "", target = "", major, minor] = match;
    // GOST's client asks for a UDP session to nowhere in particular with an empty target.
    if (target === "" && method !== "CONNECT") throw new HttpFormatError("not HTTP");
    if (major !== "1") throw new HttpFormatError(`HTTP/${major}.${minor}`, 400);
    this.#method = method;
    this.#target = target;
    this.#minor = minor === "0" ? 0 : 1;
  }

  protected override finish(): RequestHead {
    const { fields } = this;
    return { method: this.#method, target: this.#target, minor: this.#minor, fields };
  }
}

/** Reads the head of a response. */
export class ResponseReader extends HeadReader<ResponseHead> {
  #status = 0;
  #reason = "";
  #minor: 0 | 1 = 1;

  protected override checkFirst(byte: number): void {
    if (byte !== 0x48 && byte !== CR && byte !== LF) throw new HttpFormatError("not HTTP");
  }

  protected override takeStart(line: string): void {
    const match = STATUS_LINE.exec(line);
    if (match === null) throw new HttpFormatError("not HTTP/1.1");
    const [, minor, status, reason = ""] = match;
    this.#minor = minor === "0" ? 0 : 1;
    this.#status = Number(status);
    this.#reason = reason;
  }

  protected override finish(): ResponseHead {
    const { fields } = this;
    return { status: this.#status, reason: this.#reason, minor: this.#minor, fields };
  }
}

/** The value of the first field of that name. */
export function fieldOf(head: HttpHead, name: string): string | undefined {
  const lower = name.toLowerCase();
  return head.fields.find((field) => field.name.toLowerCase() === lower)?.value;
}

/** The comma-separated members of all fields of that name, in lower case. */
export function tokensOf(head: HttpHead, name: string): string[] {
  const lower = name.toLowerCase();
  return head.fields
    .filter((field) => field.name.toLowerCase() === lower)
    .flatMap((field) => field.value.toLowerCase().split(","))
    .map((token) => token.trim())
    .filter((token) => token !== "");
}

/** Whether the sender wants to use the connection for another message (RFC 9112 §9.3). */
export function isPersistent(head: HttpHead): boolean {
  const tokens = [...tokensOf(head, "connection"), ...tokensOf(head, "proxy-connection")];
  if (tokens.includes("close")) return false;
  return head.minor === 1 || tokens.includes("keep-alive");
}

/** About one connection only (RFC 9110 §7.6.1), or meant for this proxy. */
const HOP_BY_HOP = new Set(
  "connection proxy-connection keep-alive te upgrade proxy-authenticate proxy-authorization"
    .concat(" proxy-authentication-info x-gost-protocol gost-target x-gost-target")
    .split(" "),
);

/** What goes on to the next hop. Transfer-Encoding stays, for bodies are passed on as they are. */
export function endToEnd(head: HttpHead): HttpField[] {
  const named = new Set(tokensOf(head, "connection"));
  // They frame the message: a Connection field must not take them away.
  for (const name of ["content-length", "transfer-encoding", "host"]) named.delete(name);
  return head.fields.filter(({ name }) => {
    const lower = name.toLowerCase();
    return !HOP_BY_HOP.has(lower) && !named.has(lower);
  });
}

/** Whether a text may be a field's value: no line can be hidden in it. */
export function isFieldValue(text: string): boolean {
  return /^[\t\x20-\x7e\x80-\xff]*$/.test(text);
}

export function isFieldName(text: string): boolean {
  return new RegExp(`^${TOKEN}$`).test(text);
}

/** Bytes of a head; throws RangeError for what would not be one field a line. */
export function encodeHead(start: string, fields: readonly HttpField[]): Buffer {
  if (!isFieldValue(start)) throw new RangeError("a start line of several lines");
  let text = `${start}\r\n`;
  for (const { name, value } of fields) {
    if (!isFieldName(name) || !isFieldValue(value)) throw new RangeError(`field ${name}`);
    text += `${name}: ${value}\r\n`;
  }
  return Buffer.from(`${text}\r\n`, "latin1");
}

export interface Authority {
  /** IP text without brackets, or a name. */
  readonly host: string;
  readonly port: number;
}

/** `host[:port]`; undefined for anything else, user information included. */
export function parseAuthority(text: string, defaultPort: number): Authority | undefined {
  const match = /^(?:\[([^\]]*)\]|([^:[\]]*))(?::(\d{0,5}))?$/.exec(text);
  if (match === null) return undefined;
  const [, literal, name = "", digits = ""] = match;
  if (literal !== undefined && isIP(literal) !== 6) return undefined;
  if (!/^[A-Za-z0-9._~!$&'()*+,;=%\-\x80-\xff]*$/.test(name) || name.length > 255) return undefined;
  const port = digits === "" ? defaultPort : Number(digits);
  return port > 65535 ? undefined : { host: literal ?? name, port };
}

export interface HttpUrl extends Authority {
  /** As written. */
  readonly authority: string;
  /** Path and query; "*" where OPTIONS names no path. */
  readonly path: string;
}

/** A target in absolute form, `http://…` only; undefined for anything else. */
export function parseHttpUrl(text: string, method: string): HttpUrl | undefined {
  const match = /^http:\/\/([^/?#]*)([^#]*)$/i.exec(text);
  if (match === null) return undefined;
  const [, authority = "", rest = ""] = match;
  const where = parseAuthority(authority, 80);
  if (where === undefined || where.host === "") return undefined;
  const bare = method === "OPTIONS" ? "*" : "/";
  return {
    ...where,
    authority,
    path: rest === "" ? bare : rest.startsWith("/") ? rest : `/${rest}`,
  };
}

export interface BasicCredentials {
  readonly username: string;
  readonly password: string;
}

/** RFC 7617; undefined for other schemes and what is not base64 of `user:password`. */
export function parseBasic(value: string | undefined): BasicCredentials | undefined {
  const match = /^basic +([A-Za-z0-9+/]+={0,2})$/i.exec(value ?? "");
  if (match === null) return undefined;
  const text = Buffer.from(match[1] ?? "", "base64").toString("utf8");
  const colon = text.indexOf(":");
  if (colon < 0) return undefined;
  return { username: text.slice(0, colon), password: text.slice(colon + 1) };
}

export function encodeBasic({ username, password }: BasicCredentials): string {
  return `Basic ${Buffer.from(`${username}:${password}`, "utf8").toString("base64")}`;
}
