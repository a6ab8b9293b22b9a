/**
 * Lists that live outside the configuration: `file.path` and `http.url` of bypasses, admissions,
 * authers, hosts and routers, read at start and again every `reload`.
 *
 * Use:
 *   const list = new SourceList({ label: "bypass bypass-0", source, log, parse, onUpdate });
 *   await list.start();   // files are in force now, URLs too unless they are slow
 *   await list.reload();  // at SIGHUP: reads at once; false if a source failed
 *   list.close();
 *
 * `parse` gets the bytes of all sources that could be read (an empty array if none) and makes a
 * value of them; it may be asynchronous, and must check every byte. `onUpdate` gets the value and
 * puts it in force. Both are called at start, and later only when a byte changed; never twice at
 * once. If a source fails, it is a warning and its last good bytes stay; if `parse` throws, it is a
 * warning and the previous value stays. A source that failed is tried again after RETRY_MS even
 * without `reload`. For texts of lines there is `linesOf`.
 *
 * Bounds: SOURCE_BYTES_MAX a source, REDIRECTS_MAX redirects, a deadline for each request, one
 * round at a time. Only regular files are read.
 */
import { constants } from "node:fs";
import { open } from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";
import * as http from "node:http";
import * as https from "node:https";
import type { SourceConfig } from "../config/model.ts";
import { TsgostError, messageOf } from "../errors.ts";
import type { Logger } from "../log.ts";

/** Most bytes of one file or answer. */
export const SOURCE_BYTES_MAX = 64 * 1024 * 1024;
/** Most bytes of a line of `linesOf`. */
export const LINE_BYTES_MAX = 4096;
/** Shorter periods are taken for this one. */
export const RELOAD_MS_MIN = 1000;
const TIMER_MS_MAX = 0x7fff_ffff;
const RETRY_MS = 60_000;
const REDIRECTS_MAX = 5;
const HTTP_TIMEOUT_MS = 10_000;
/** How long a start waits for URLs; they go on in the background. */
const START_WAIT_MS = 3000;
const WARN_EVERY_MS = 60_000;
const STABLE_TRIES = 3;

export interface SourcePart {
  /** The path, or the URL without its secrets: for messages. */
  readonly origin: string;
  readonly bytes: Uint8Array;
  /** From a URL: somebody else writes it. */
  readonly isRemote?: boolean;
}

export interface SourceListOptions<T> {
  /** Whose list it is, for messages: `bypass bypass-0`. */
  readonly label: string;
  readonly source: SourceConfig;
  readonly log: Logger;
  readonly parse: (parts: readonly SourcePart[]) => T | Promise<T>;
  readonly onUpdate: (value: T) => void;
  /** As GOST: a source that fails contributes nothing, its last good bytes do not stay. */
  readonly dropFailed?: boolean;
  /** Default: SOURCE_BYTES_MAX. */
  readonly bytesMax?: number;
}

/** One file or URL and what was last read from it. */
interface Source {
  readonly origin: string;
  readonly isRemote: boolean;
  readonly read: (signal: AbortSignal) => Promise<Uint8Array>;
  bytes: Uint8Array | undefined;
}

export class SourceList<T> {
  readonly #options: SourceListOptions<T>;
  readonly #sources: readonly Source[];
  readonly #closed = new AbortController();
  #timer: NodeJS.Timeout | undefined;
  /** The end of the last round; rounds follow each other. */
  #last: Promise<unknown> = Promise.resolve();
  #hasValue = false;
  #dirty = true;

  constructor(options: SourceListOptions<T>) {
    this.#options = options;
    this.#sources = sourcesOf(options);
  }

  /** Is there a file or URL at all? */
  get isEmpty(): boolean {
    return this.#sources.length === 0;
  }

  /**
   * Reads everything and puts it in force. Waits for files, and a short while for URLs. Throws what
   * `parse` throws for what is there at the start.
   */
  async start(): Promise<void> {
    const remote = this.#sources.filter((source) => source.isRemote).map((s) => this.#read(s));
    const local = this.#sources.filter((source) => !source.isRemote).map((s) => this.#read(s));
    const all = Promise.all([...local, ...remote]);
    const isInTime = await within(START_WAIT_MS, all, local);
    await this.#inTurn(() => this.#deliver(true));
    if (isInTime) {
      this.#schedule((await all).every(Boolean));
      return;
    }
    void all.then(async (answers) => {
      await this.#inTurn(() => this.#deliver(false));
      this.#schedule(answers.every(Boolean));
    });
  }

  /** Reads everything again now; false if a source failed or its content was refused. */
  reload(): Promise<boolean> {
    return this.#inTurn(async () => {
      clearTimeout(this.#timer);
      const answers = await Promise.all(this.#sources.map((source) => this.#read(source)));
      const isGood = answers.every(Boolean);
      const isTaken = await this.#deliver(false);
      this.#schedule(isGood);
      return isGood && isTaken;
    });
  }

  /** Ends reading; nothing is called any more. */
  close(): void {
    this.#closed.abort();
    clearTimeout(this.#timer);
  }

  #isClosed(): boolean {
    return this.#closed.signal.aborted;
  }

  #inTurn<R>(round: () => Promise<R>): Promise<R> {
    const next = this.#last.then(round);
    this.#last = next.catch(() => undefined);
    return next;
  }

  /** True if the source could be read. */
  async #read(source: Source): Promise<boolean> {
    try {
      const bytes = await source.read(this.#closed.signal);
      if (source.bytes === undefined || !sameBytes(source.bytes, bytes)) {
        source.bytes = bytes;
        this.#dirty = true;
      }
      return true;
    } catch (error) {
      if (this.#isClosed()) return false;
      if (this.#options.dropFailed === true && source.bytes !== undefined) {
        source.bytes = undefined;
        this.#dirty = true;
      }
      const kept = source.bytes === undefined ? "nothing was read from it" : "the last read stays";
      this.#warn(source.origin, `${messageOf(error)}; ${kept}`);
      return false;
    }
  }

  /** True unless `parse` refused what was read. */
  async #deliver(isStart: boolean): Promise<boolean> {
    if (!this.#dirty || this.#isClosed()) return true;
    this.#dirty = false;
    const parts = this.#sources.flatMap(({ origin, bytes, isRemote }) =>
      bytes === undefined ? [] : [{ origin, bytes, isRemote }],
    );
    try {
      const value = await this.#options.parse(parts);
      if (this.#isClosed()) return true;
      this.#options.onUpdate(value);
      this.#hasValue = true;
      return true;
    } catch (error) {
      if (isStart) throw error;
      const kept = this.#hasValue ? "the previous list stays" : "there is no list";
      this.#warn("content", `${messageOf(error)}; ${kept}`);
      return false;
    }
  }

  #schedule(isGood: boolean): void {
    if (this.#isClosed() || this.isEmpty) return;
    const reloadMs = this.#options.source.reloadMs ?? 0;
    const periodMs = reloadMs > 0 ? Math.max(reloadMs, RELOAD_MS_MIN) : isGood ? 0 : RETRY_MS;
    if (periodMs === 0) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.reload(), Math.min(periodMs, TIMER_MS_MAX));
    this.#timer.unref();
  }

  #warn(what: string, message: string): void {
    const { label, log } = this.#options;
    log.once(`${label} ${what}`, WARN_EVERY_MS, { message: `${label}: ${what}: ${message}` });
  }
}

/** True if `all` ended in time; whatever happens `first` has ended. */
async function within(
  ms: number,
  all: Promise<unknown>,
  first: readonly Promise<unknown>[],
): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<boolean>((resolve) => {
    timer = setTimeout(() => resolve(false), ms);
  });
  const isInTime = await Promise.race([all.then(() => true), late]);
  clearTimeout(timer);
  await Promise.all(first);
  return isInTime;
}

function sourcesOf<T>({ source, bytesMax }: SourceListOptions<T>): Source[] {
  const limit = bytesMax ?? SOURCE_BYTES_MAX;
  const sources: Source[] = [];
  if (source.file !== undefined) {
    const { path } = source.file;
    const read = (): Promise<Uint8Array> => readFileBounded(path, limit);
    sources.push({ origin: path, isRemote: false, read, bytes: undefined });
  }
  if (source.http !== undefined) {
    const { url, timeoutMs = 0 } = source.http;
    const deadlineMs = timeoutMs > 0 ? Math.min(timeoutMs, TIMER_MS_MAX) : HTTP_TIMEOUT_MS;
    const read = (closed: AbortSignal): Promise<Uint8Array> =>
      fetchBounded(url, limit, AbortSignal.any([closed, AbortSignal.timeout(deadlineMs)]));
    sources.push({ origin: safeUrl(url), isRemote: true, read, bytes: undefined });
  }
  return sources;
}

function sameBytes(one: Uint8Array, other: Uint8Array): boolean {
  return one.length === other.length && Buffer.compare(one, other) === 0;
}

function sourceError(message: string, cause?: unknown): TsgostError {
  return new TsgostError("TSGOST_ERR_SOURCE", message, { cause });
}

/** A regular file as a whole; a FIFO or device would block or never end. */
async function readFileBounded(path: string, limit: number): Promise<Uint8Array> {
  const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    for (let tries = 1; ; tries++) {
      const before = await file.stat({ bigint: true });
      if (!before.isFile()) throw sourceError("is not a regular file");
      if (before.size > limit) throw sourceError(`has more than ${limit} bytes`);
      const bytes = await readWhole(file, limit);
      const after = await file.stat({ bigint: true });
      // Somebody is writing: what was read may be half of it.
      const isStable = before.mtimeNs === after.mtimeNs && before.size === after.size;
      if (isStable || tries === STABLE_TRIES) return bytes;
    }
  } finally {
    await file.close();
  }
}

async function readWhole(file: FileHandle, limit: number): Promise<Uint8Array> {
  const { size } = await file.stat();
  // One byte more than it should have shows that it grew.
  let bytes = Buffer.allocUnsafeSlow(Math.min(size, limit) + 1);
  let length = 0;
  for (;;) {
    const { bytesRead } = await file.read(bytes, length, bytes.length - length, length);
    if (bytesRead === 0) return bytes.subarray(0, length);
    length += bytesRead;
    if (length > limit) throw sourceError(`has more than ${limit} bytes`);
    if (length === bytes.length) {
      bytes = Buffer.concat([bytes, Buffer.allocUnsafeSlow(Math.min(length, limit - length) + 1)]);
    }
  }
}

/** The body of a 200 answer; follows redirects, but none from https to http. */
async function fetchBounded(text: string, limit: number, signal: AbortSignal): Promise<Uint8Array> {
  let url = httpUrl(text);
  for (let hops = 0; hops <= REDIRECTS_MAX; hops++) {
    const answer = await request(url, signal);
    const status = answer.statusCode ?? 0;
    const location = answer.headers.location;
    if (status === 200) return await readBody(answer, limit, signal);
    answer.destroy();
    if (![301, 302, 303, 307, 308].includes(status) || location === undefined) {
      throw sourceError(`the answer has status ${status}`);
    }
    const next = httpUrl(location, url);
    if (url.protocol === "https:" && next.protocol !== "https:") {
      throw sourceError("a redirect leads from https to http");
    }
    url = next;
  }
  throw sourceError(`more than ${REDIRECTS_MAX} redirects`);
}

function httpUrl(text: string, base?: URL): URL {
  let url: URL;
  try {
    url = new URL(text, base);
  } catch (error) {
    throw sourceError("is not a URL", error);
  }
  if (url.protocol === "http:" || url.protocol === "https:") return url;
  throw sourceError(`${url.protocol}// is not supported, only http:// and https://`);
}

function request(url: URL, signal: AbortSignal): Promise<http.IncomingMessage> {
  return new Promise((resolve, reject) => {
    const get = url.protocol === "https:" ? https.get : http.get;
    const headers = { "user-agent": "tsgost", accept: "*/*" };
    const sent = get(url, { agent: false, signal, headers }, resolve);
    sent.on("error", (error) => reject(signal.aborted ? sourceError("timed out", error) : error));
  });
}

async function readBody(
  answer: http.IncomingMessage,
  limit: number,
  signal: AbortSignal,
): Promise<Uint8Array> {
  const chunks: Buffer[] = [];
  let length = 0;
  try {
    for await (const chunk of answer as AsyncIterable<Buffer>) {
      length += chunk.length;
      if (length > limit) throw sourceError(`has more than ${limit} bytes`);
      chunks.push(chunk);
    }
  } catch (error) {
    answer.destroy();
    throw signal.aborted ? sourceError("timed out", error) : error;
  }
  return Buffer.concat(chunks, length);
}

/** A URL for messages: neither user nor password nor query. */
function safeUrl(text: string): string {
  try {
    const url = new URL(text);
    return `${url.protocol}//${url.host}${url.pathname}`;
  } catch {
    return "url";
  }
}

export interface SourceLine {
  /** Without comment and surrounding blanks; never empty. */
  readonly text: string;
  /** From 1. */
  readonly line: number;
  /** `path:line`, for messages. */
  readonly place: string;
}

/**
 * The lines of a part: `#` begins a comment anywhere, blanks around are cut, empty ones left out.
 * Lines of more than LINE_BYTES_MAX bytes or with a NUL go to `onFault` instead.
 */
export function* linesOf(
  { origin, bytes }: SourcePart,
  onFault: (place: string, message: string) => void = () => undefined,
): Generator<SourceLine> {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let line = 0;
  for (let from = 0; from < buffer.length;) {
    const newline = buffer.indexOf(10, from);
    const end = newline < 0 ? buffer.length : newline;
    line++;
    const place = `${origin}:${line}`;
    if (end - from > LINE_BYTES_MAX) {
      onFault(place, `the line has more than ${LINE_BYTES_MAX} bytes`);
    } else {
      const raw = buffer.toString("utf8", from, end);
      const hash = raw.indexOf("#");
      const text = (hash < 0 ? raw : raw.slice(0, hash)).trim();
      if (text.includes("\0")) onFault(place, "the line has a NUL");
      else if (text !== "") yield { text, line, place };
    }
    from = end + 1;
  }
}
