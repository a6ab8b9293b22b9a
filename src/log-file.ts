/**
 * A log's file: appended to, and turned over when it grows too big (GOST's `log.rotation`). An old
 * file is named after the time at which it was put aside, as in `app-2026-01-02T15-04-05.123.log`;
 * those beyond the number or age that is wanted are removed, the others compressed if asked for.
 */
import {
  closeSync,
  createReadStream,
  createWriteStream,
  fstatSync,
  openSync,
  readdirSync,
  renameSync,
  rmSync,
  writeSync,
} from "node:fs";
import { basename, dirname, extname, join } from "node:path";
import { pipeline } from "node:stream/promises";
import { createGzip } from "node:zlib";

export interface LogRotation {
  /** Turned over before it would exceed this; 0 = 100 MiB. */
  readonly maxBytes: number;
  /** Old files beyond this age are removed; 0 = never. */
  readonly maxAgeMs: number;
  /** So many old files stay; 0 = all (up to BACKUPS_MAX). */
  readonly maxBackups: number;
  /** Names of old files in local time instead of UTC. */
  readonly localTime: boolean;
  readonly compress: boolean;
}

const MAX_BYTES = 100 * 1024 * 1024;
/** Nobody's disk is filled, whatever was configured. */
const BACKUPS_MAX = 1000;
const STAMP = /^-(\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d\.\d{3})(?:-\d+)?$/;

export class LogFile {
  readonly #path: string;
  readonly #rotation: LogRotation | undefined;
  readonly #nowMs: () => number;
  #descriptor: number;
  #bytes: number;

  /** Throws what the system says where the file cannot be opened. */
  constructor(path: string, rotation: LogRotation | undefined, nowMs: () => number) {
    this.#path = path;
    this.#rotation = rotation;
    this.#nowMs = nowMs;
    this.#descriptor = openSync(path, "a", 0o600);
    this.#bytes = fstatSync(this.#descriptor).size;
  }

  /** -1 once it was closed. */
  get descriptor(): number {
    return this.#descriptor;
  }

  /** To be called before so many bytes are written. */
  makeRoom(bytes: number): void {
    if (this.#rotation === undefined) return;
    const max = this.#rotation.maxBytes > 0 ? this.#rotation.maxBytes : MAX_BYTES;
    if (this.#bytes > 0 && this.#bytes + bytes > max) this.#turnOver(this.#rotation);
    this.#bytes += bytes;
  }

  write(bytes: Uint8Array): number {
    return writeSync(this.#descriptor, bytes);
  }

  /** Opens the path anew, for those who moved the file away (logrotate). */
  reopen(): void {
    const fresh = openSync(this.#path, "a", 0o600);
    closeSync(this.#descriptor);
    this.#descriptor = fresh;
    this.#bytes = fstatSync(fresh).size;
  }

  close(): void {
    if (this.#descriptor >= 0) closeSync(this.#descriptor);
    this.#descriptor = -1;
  }

  #turnOver(rotation: LogRotation): void {
    try {
      const aside = this.#freeName(rotation);
      renameSync(this.#path, aside);
      this.reopen();
      if (rotation.compress) compress(aside);
      this.#removeOld(rotation);
    } catch {
      // The log goes on in the file it has.
      this.#bytes = 0;
    }
  }

  #freeName(rotation: LogRotation): string {
    const offsetMs = rotation.localTime ? new Date(this.#nowMs()).getTimezoneOffset() * -60_000 : 0;
    const stamp = new Date(this.#nowMs() + offsetMs).toISOString().slice(0, -1);
    const { folder, stem, extension } = this.#parts();
    const name = `${stem}-${stamp.replaceAll(":", "-")}`;
    const taken = new Set(readdirSync(folder));
    const isTaken = (text: string): boolean => taken.has(text) || taken.has(`${text}.gz`);
    let free = name;
    for (let n = 1; isTaken(free + extension); n++) free = `${name}-${n}`;
    return join(folder, free + extension);
  }

  #parts(): { folder: string; stem: string; extension: string } {
    const extension = extname(this.#path);
    const stem = basename(this.#path, extension);
    return { folder: dirname(this.#path), stem, extension };
  }

  #removeOld(rotation: LogRotation): void {
    const { folder, stem, extension } = this.#parts();
    const old = readdirSync(folder).flatMap((name) => {
      const bare = name.endsWith(".gz") ? name.slice(0, -3) : name;
      if (!bare.startsWith(stem) || !bare.endsWith(extension)) return [];
      const match = STAMP.exec(bare.slice(stem.length, bare.length - extension.length));
      return match === null ? [] : [{ name, stamp: match[1] ?? "" }];
    });
    old.sort((one, other) => (one.name < other.name ? 1 : -1));
    const keep = rotation.maxBackups > 0 ? rotation.maxBackups : BACKUPS_MAX;
    for (const [index, { name, stamp }] of old.entries()) {
      const writtenMs = Date.parse(`${stamp.slice(0, 11)}${stamp.slice(11).replaceAll("-", ":")}Z`);
      const isOld = rotation.maxAgeMs > 0 && this.#nowMs() - writtenMs > rotation.maxAgeMs;
      if (index >= keep || isOld) rmSync(join(folder, name), { force: true });
    }
  }
}

/** In the background; the uncompressed file stays where that fails. */
function compress(path: string): void {
  const target = createWriteStream(`${path}.gz`, { mode: 0o600 });
  pipeline(createReadStream(path), createGzip(), target)
    .then(() => rmSync(path, { force: true }))
    .catch(() => rmSync(`${path}.gz`, { force: true }));
}
