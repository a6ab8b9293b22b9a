/**
 * Structured logs: one line an entry, JSON with GOST's fields (`level msg time` and whatever the
 * call adds, such as `kind` and `service`) or text for people. A logger never throws and never
 * writes what a key calls a secret. Repeated trouble is logged once per cause and period with
 * `once`. Who logs keeps a child: `const log = logger.child({ kind: "listener", service: name })`.
 */
import { writeSync } from "node:fs";
import { codeOf, messageOf } from "./errors.ts";
import { LogFile, type LogRotation } from "./log-file.ts";

export const LOG_LEVELS = ["trace", "debug", "info", "warn", "error", "fatal"] as const;

export type LogLevel = (typeof LOG_LEVELS)[number];
export type LogFormat = "json" | "text";
export type LogFields = Readonly<Record<string, unknown>>;

export interface LogSettings {
  readonly level: LogLevel;
  readonly format: LogFormat;
  /** stderr, stdout, none (also: null), or the path of a file that is appended to. */
  readonly output: string;
  /** Of a file; undefined: it grows. */
  readonly rotation?: LogRotation;
}

export interface Logger {
  trace(message: string, fields?: LogFields): void;
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  error(message: string, fields?: LogFields): void;
  fatal(message: string, fields?: LogFields): void;
  /** Is this level written? To spare the making of costly fields. */
  enabled(level: LogLevel): boolean;
  /** A logger that adds these fields to each entry. */
  child(fields: LogFields): Logger;
  /**
   * Writes at most one entry per `key` and `perMs`; what was held back is told by the next one in
   * the field `repeated`. Keys are shared by all children of one root and bounded in number.
   */
  once(key: string, perMs: number, entry: OnceEntry): void;
}

export interface OnceEntry {
  /** Default: warn. */
  readonly level?: LogLevel;
  readonly message: string;
  readonly fields?: LogFields;
}

/** The period of "once per cause and minute". */
export const ONCE_PER_MS = 60_000;

const ONCE_KEYS_MAX = 1024;
const TEXT_BYTES_MAX = 8192;
const DEPTH_MAX = 4;
const ITEMS_MAX = 64;
const SECRET_KEY = /^(pass(word|wd|phrase)?|secret|token|authorization|auth|psk|privatekey)$/i;
const MASK = "***";

interface OnceState {
  untilMs: number;
  held: number;
}

/** What all loggers of one root share. */
interface Sink {
  settings: LogSettings;
  rank: number;
  /** -1: nothing is written. */
  descriptor: number;
  file: LogFile | undefined;
  readonly once: Map<string, OnceState>;
  readonly rate: LineRate;
}

/** Lines of a second, and how many may come at once: a storm must not fill a disk. */
const RATE_LINES = 1000;
const BURST_LINES = 5000;

/** A token bucket for lines; what it refused is told with the next line that passes. */
class LineRate {
  #tokens = BURST_LINES;
  #atMs = performance.now();
  #refused = 0;

  /** How many lines were left out since the last one; undefined: this one is, too. */
  take(level: LogLevel): number | undefined {
    const nowMs = performance.now();
    this.#tokens = Math.min(BURST_LINES, this.#tokens + ((nowMs - this.#atMs) * RATE_LINES) / 1000);
    this.#atMs = nowMs;
    if (this.#tokens < 1 && level !== "fatal") {
      this.#refused++;
      return undefined;
    }
    this.#tokens--;
    const refused = this.#refused;
    this.#refused = 0;
    return refused;
  }
}

class SinkLogger implements OwnLogger {
  readonly #sink: Sink;
  readonly #fields: LogFields;

  constructor(sink: Sink, fields: LogFields) {
    this.#sink = sink;
    this.#fields = fields;
  }

  trace(message: string, fields?: LogFields): void {
    this.#write("trace", message, fields);
  }

  debug(message: string, fields?: LogFields): void {
    this.#write("debug", message, fields);
  }

  info(message: string, fields?: LogFields): void {
    this.#write("info", message, fields);
  }

  warn(message: string, fields?: LogFields): void {
    this.#write("warn", message, fields);
  }

  error(message: string, fields?: LogFields): void {
    this.#write("error", message, fields);
  }

  fatal(message: string, fields?: LogFields): void {
    this.#write("fatal", message, fields);
  }

  enabled(level: LogLevel): boolean {
    return this.#sink.descriptor >= 0 && LOG_LEVELS.indexOf(level) >= this.#sink.rank;
  }

  child(fields: LogFields): Logger {
    return new SinkLogger(this.#sink, { ...this.#fields, ...fields });
  }

  once(key: string, perMs: number, entry: OnceEntry): void {
    const level = entry.level ?? "warn";
    if (!this.enabled(level)) return;
    const nowMs = performance.now();
    const states = this.#sink.once;
    const state = states.get(key);
    if (state !== undefined && nowMs < state.untilMs) {
      state.held++;
      return;
    }
    if (state === undefined && states.size >= ONCE_KEYS_MAX) forgetOldest(states);
    // Set anew, so that the map's order is the order of the last entry.
    states.delete(key);
    states.set(key, { untilMs: nowMs + perMs, held: 0 });
    const held = state?.held ?? 0;
    this.#write(
      level,
      entry.message,
      held > 0 ? { ...entry.fields, repeated: held } : entry.fields,
    );
  }

  close(): void {
    this.#sink.file?.close();
    this.#sink.file = undefined;
    this.#sink.descriptor = -1;
  }

  #write(level: LogLevel, message: string, fields?: LogFields): void {
    if (!this.enabled(level)) return;
    try {
      const refused = this.#sink.rate.take(level);
      if (refused === undefined) return;
      const all = { ...this.#fields, ...fields, ...(refused > 0 ? { leftOut: refused } : {}) };
      const line =
        this.#sink.settings.format === "json"
          ? jsonLine(level, message, all)
          : textLine(level, message, all);
      emitLine(this.#sink, line);
    } catch {
      // A log must not bring down what it speaks about.
    }
  }
}

function forgetOldest(states: Map<string, OnceState>): void {
  for (const key of states.keys()) {
    states.delete(key);
    return;
  }
}

/** Blocking writes: lines keep their order, and the last one before an exit is not lost. */
function emitLine(sink: Sink, line: string): void {
  const bytes = Buffer.from(line + "\n", "utf8");
  if (sink.file !== undefined) {
    sink.file.makeRoom(bytes.length);
    sink.descriptor = sink.file.descriptor;
  }
  let offset = 0;
  // A full pipe answers EAGAIN: a few tries, then the rest of the line is given up.
  for (let tries = 0; offset < bytes.length && tries < 8; tries++) {
    try {
      offset += writeSync(sink.descriptor, bytes, offset);
    } catch (error) {
      const code = codeOf(error);
      if (code === "EAGAIN" || code === "EINTR") continue;
      if (code === "EPIPE" || code === "EBADF") sink.descriptor = -1;
      return;
    }
  }
}

function clip(text: string): string {
  return text.length > TEXT_BYTES_MAX ? text.slice(0, TEXT_BYTES_MAX) + "…" : text;
}

/** A copy that JSON can hold: bounded in depth and size, secrets masked. */
function plain(value: unknown, depth: number): unknown {
  if (typeof value === "string") return clip(value);
  if (value === null || typeof value === "boolean") return value;
  if (typeof value === "number") return Number.isFinite(value) ? value : String(value);
  if (value === undefined) return undefined;
  if (typeof value === "bigint" || typeof value === "symbol") return String(value);
  if (typeof value === "function") return "[function]";
  if (value instanceof Error) return messageOf(value);
  if (value instanceof Date) return value.toISOString();
  if (depth >= DEPTH_MAX) return "…";
  if (value instanceof Uint8Array) return `[${value.length} bytes]`;
  if (Array.isArray(value)) return value.slice(0, ITEMS_MAX).map((item) => plain(item, depth + 1));
  const result: Record<string, unknown> = {};
  for (const [key, item] of Object.entries(value).slice(0, ITEMS_MAX)) {
    result[key] = isSecret(key, item) ? MASK : plain(item, depth + 1);
  }
  return result;
}

function isSecret(key: string, value: unknown): boolean {
  return SECRET_KEY.test(key) && typeof value === "string";
}

function jsonLine(level: LogLevel, message: string, fields: LogFields): string {
  const head = { time: timeText(), level, msg: clip(message) };
  // Twice, so that these come first and cannot be overwritten.
  return JSON.stringify({ ...head, ...(plain(fields, 0) as LogFields), ...head });
}

/** GOST's form of a time: local, with milliseconds and the zone's offset. */
function timeText(): string {
  const now = new Date();
  const offsetMin = -now.getTimezoneOffset();
  const local = new Date(now.getTime() + offsetMin * 60_000).toISOString().slice(0, -1);
  if (offsetMin === 0) return `${local}Z`;
  const sign = offsetMin < 0 ? "-" : "+";
  const size = Math.abs(offsetMin);
  return `${local}${sign}${two(Math.floor(size / 60))}:${two(size % 60)}`;
}

function two(value: number): string {
  return String(value).padStart(2, "0");
}

function textLine(level: LogLevel, message: string, fields: LogFields): string {
  const parts = [escapeControls(clip(message))];
  for (const [key, value] of Object.entries(plain(fields, 0) as Record<string, unknown>)) {
    if (value === undefined) continue;
    parts.push(`${key}=${textValue(value)}`);
  }
  parts.push(`time=${timeText()}`);
  // Ordinary lines begin with their message, so that a first word such as `ready` can be found.
  return level === "info" ? parts.join(" ") : `${level}: ${parts.join(" ")}`;
}

function textValue(value: unknown): string {
  if (typeof value !== "string") return JSON.stringify(value);
  return /^[\w.:/+@%*,-]+$/.test(value) ? value : JSON.stringify(value);
}

function escapeControls(text: string): string {
  return text.replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029]/g, " ");
}

/** Opens the output; throws what the system says where a file cannot be opened. */
function openOutput(settings: LogSettings): Pick<Sink, "descriptor" | "file"> {
  switch (settings.output) {
    case "":
    case "stderr":
      return { descriptor: 2, file: undefined };
    case "stdout":
      return { descriptor: 1, file: undefined };
    case "none":
    case "null":
      return { descriptor: -1, file: undefined };
    default: {
      const file = new LogFile(settings.output, settings.rotation, Date.now);
      return { descriptor: file.descriptor, file };
    }
  }
}

function makeSink(settings: LogSettings): Sink {
  return {
    settings,
    rank: LOG_LEVELS.indexOf(settings.level),
    ...openOutput(settings),
    once: new Map(),
    rate: new LineRate(),
  };
}

const rootSink = makeSink({ level: "info", format: "json", output: "stderr" });

/** The process's logger; info and above to stderr as JSON until `configureLog` says otherwise. */
export const logger: Logger = new SinkLogger(rootSink, {});

/** Sets level, format and output of `logger` and all its children; throws if a file won't open. */
export function configureLog(settings: LogSettings): void {
  const { descriptor, file } = openOutput(settings);
  rootSink.file?.close();
  rootSink.settings = settings;
  rootSink.rank = LOG_LEVELS.indexOf(settings.level);
  rootSink.descriptor = descriptor;
  rootSink.file = file;
}

/** Opens the log's file anew, for those who moved it away (logrotate); throws where it won't. */
export function reopenLog(): void {
  rootSink.file?.reopen();
}

/** A logger with an output of its own. */
export interface OwnLogger extends Logger {
  /** Closes its file, if it has one; nothing is written any more. */
  close(): void;
}

/** A logger apart from the process's own, for named loggers, tests and the library. */
export function createLogger(settings: LogSettings, fields: LogFields = {}): OwnLogger {
  return new SinkLogger(makeSink(settings), fields);
}

/** Writes each entry to all of them, with the name of each in the field `logger`. */
export function combineLoggers(named: ReadonlyMap<string, Logger>): Logger {
  const all = Array.from(named, ([name, log]) => log.child({ logger: name }));
  return new ManyLoggers(all);
}

class ManyLoggers implements Logger {
  readonly #all: readonly Logger[];

  constructor(all: readonly Logger[]) {
    this.#all = all;
  }

  trace(message: string, fields?: LogFields): void {
    for (const log of this.#all) log.trace(message, fields);
  }

  debug(message: string, fields?: LogFields): void {
    for (const log of this.#all) log.debug(message, fields);
  }

  info(message: string, fields?: LogFields): void {
    for (const log of this.#all) log.info(message, fields);
  }

  warn(message: string, fields?: LogFields): void {
    for (const log of this.#all) log.warn(message, fields);
  }

  error(message: string, fields?: LogFields): void {
    for (const log of this.#all) log.error(message, fields);
  }

  fatal(message: string, fields?: LogFields): void {
    for (const log of this.#all) log.fatal(message, fields);
  }

  enabled(level: LogLevel): boolean {
    return this.#all.some((log) => log.enabled(level));
  }

  child(fields: LogFields): Logger {
    return new ManyLoggers(this.#all.map((log) => log.child(fields)));
  }

  once(key: string, perMs: number, entry: OnceEntry): void {
    for (const log of this.#all) log.once(key, perMs, entry);
  }
}
