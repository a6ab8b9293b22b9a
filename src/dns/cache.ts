/**
 * Answers of nameservers for as long as they hold: bounded in entries and bytes, the least recently
 * used goes first. Entries that ran out stay for STALE_MS where they may be used while they are
 * asked for again (`async`).
 */

export interface CacheLimits {
  readonly entries: number;
  readonly bytes: number;
}

export const CACHE_LIMITS: CacheLimits = { entries: 8192, bytes: 4 * 1024 * 1024 };

/** What an entry costs beside its message. */
const ENTRY_BYTES = 256;
const STALE_MS = 24 * 3600 * 1000;

export interface Cached {
  readonly bytes: Uint8Array;
  /** Since it was asked for. */
  readonly ageMs: number;
  readonly isFresh: boolean;
}

interface Entry {
  readonly bytes: Uint8Array;
  readonly fromMs: number;
  readonly untilMs: number;
  readonly goneMs: number;
}

export class DnsCache {
  readonly #limits: CacheLimits;
  readonly #nowMs: () => number;
  /** In the order of use. */
  readonly #entries = new Map<string, Entry>();
  #bytes = 0;

  constructor(nowMs: () => number, limits: CacheLimits = CACHE_LIMITS) {
    this.#nowMs = nowMs;
    this.#limits = limits;
  }

  get size(): number {
    return this.#entries.size;
  }

  get byteCount(): number {
    return this.#bytes;
  }

  get(key: string): Cached | undefined {
    const entry = this.#entries.get(key);
    if (entry === undefined) return undefined;
    const nowMs = this.#nowMs();
    this.#entries.delete(key);
    if (nowMs >= entry.goneMs) {
      this.#bytes -= costOf(key, entry);
      return undefined;
    }
    this.#entries.set(key, entry);
    const { bytes, fromMs, untilMs } = entry;
    return { bytes, ageMs: nowMs - fromMs, isFresh: nowMs < untilMs };
  }

  /** Keeps a copy of `bytes`; `mayBeStale`: also after `ttlMs`. */
  set(key: string, bytes: Uint8Array, ttlMs: number, mayBeStale: boolean): void {
    this.#remove(key);
    if (ttlMs <= 0) return;
    const fromMs = this.#nowMs();
    const untilMs = fromMs + ttlMs;
    const goneMs = mayBeStale ? untilMs + STALE_MS : untilMs;
    const entry = { bytes: Uint8Array.from(bytes), fromMs, untilMs, goneMs };
    this.#entries.set(key, entry);
    this.#bytes += costOf(key, entry);
    for (const oldest of this.#entries.keys()) {
      const { entries, bytes: most } = this.#limits;
      if (this.#entries.size <= entries && this.#bytes <= most) return;
      this.#remove(oldest);
    }
  }

  clear(): void {
    this.#entries.clear();
    this.#bytes = 0;
  }

  #remove(key: string): void {
    const entry = this.#entries.get(key);
    if (entry === undefined) return;
    this.#entries.delete(key);
    this.#bytes -= costOf(key, entry);
  }
}

function costOf(key: string, entry: Entry): number {
  return key.length + entry.bytes.length + ENTRY_BYTES;
}
