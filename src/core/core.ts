/**
 * The core's typed facade: one instance of the module, its memory and views, and its calls with the
 * host's number types. No Node import, so `tsgost/stack` can use it anywhere.
 *
 * Views are made once: memory grows only inside `init`. Answers below zero are ERR_… codes; a stale
 * handle is answered with the code (a flow may end at any time), other misuse throws.
 */
import { instantiateSync } from "@assemblyscript/loader";
import * as abi from "../../assembly/abi.ts";
import { TsgostError } from "../errors.ts";
import { CORE_OPTIONS } from "./options.ts";
import { type TrapState, guardTraps } from "./trap.ts";

/** The module's exports, as assembly/index.ts has them. */
export interface CoreExports {
  readonly memory: WebAssembly.Memory;
  init(): number;
  ingest(count: number, nowUs: number): number;
  events(): number;
  poll(nowUs: number, budget: number): number;
  flush(nowUs: number): number;
  txDone(): void;
  deadline(): number;
  accept(handle: number, nowUs: number): number;
  reject(handle: number, how: number, nowUs: number): number;
  recvPeek(handle: number): number;
  recvConsume(handle: number, bytes: number, nowUs: number): number;
  sendReserve(handle: number, want: number): number;
  sendCommit(handle: number, bytes: number, nowUs: number): number;
  shutdown(handle: number, nowUs: number): number;
  abort(handle: number, nowUs: number): number;
  release(handle: number): number;
  stageSend(first: number, count: number, nowUs: number): number;
  udpClose(handle: number, nowUs: number): number;
  closeAll(nowUs: number): number;
  xorMask(ptr: number, len: number, key: number, phase: number): void;
}

/** Configuration words by CFG_… index; what is missing has its default. */
export type CoreWords = ReadonlyMap<number, number>;

const ERROR_NAMES: Readonly<Record<number, string>> = {
  [abi.ERR_STALE]: "stale handle",
  [abi.ERR_STATE]: "not legal in this state",
  [abi.ERR_RANGE]: "argument out of range",
  [abi.ERR_FULL]: "pool full",
  [abi.ERR_CONFIG]: "configuration out of range",
  [abi.ERR_MEMORY]: "no memory",
};

/** All counters and drop reasons of abi.ts: [index, name in lower case]. */
export const STAT_NAMES: readonly (readonly [number, string])[] = Object.entries(abi)
  .filter(
    ([name]) => (name.startsWith("STAT_") || name.startsWith("DROP_")) && name !== "STAT_COUNT",
  )
  .filter(([name]) => name !== "STATS_BASE" && name !== "STATS_BYTES")
  .map(([name, index]) => [index, name.toLowerCase().replace(/^stat_/, "")] as const)
  .sort((a, b) => a[0] - b[0]);

/** What is measured and worth telling: flows, mappings, buffers; not how the last call went. */
const GAUGE_NAMES: readonly (readonly [number, string])[] = Object.entries(abi)
  .filter(([name]) => /^GAUGE_(?!TX_COUNT|FLUSH_MORE|CONFIG_ERROR|DGRAM_COUNT|COUNT)/.test(name))
  .map(([name, index]) => [index, name.toLowerCase().replace(/^gauge_/, "")] as const);

export class Core {
  readonly x: CoreExports;
  readonly #trap: TrapState = { trapped: undefined, onTrap: undefined };
  readonly buffer: ArrayBuffer;
  readonly u8: Uint8Array;
  readonly u16: Uint16Array;
  readonly u32: Uint32Array;
  readonly f64: Float64Array;

  private constructor(exports: CoreExports) {
    this.x = guardTraps(exports, this.#trap);
    this.buffer = exports.memory.buffer;
    this.u8 = new Uint8Array(this.buffer);
    this.u16 = new Uint16Array(this.buffer);
    this.u32 = new Uint32Array(this.buffer);
    this.f64 = new Float64Array(this.buffer, 0, Math.floor(this.buffer.byteLength / 8));
  }

  /** Instantiates, configures and initialises a core. `entropy` has at least 16 bytes. */
  static create(wasm: WebAssembly.Module, words: CoreWords, entropy: Uint8Array): Core {
    if (entropy.length < 16) {
      throw new TsgostError("TSGOST_ERR_CORE", "the core needs 16 bytes of entropy or more");
    }
    const exports = instantiateSync(wasm, {}).exports as unknown as CoreExports;
    const before = exports.memory.buffer;
    const config = new Uint32Array(before, abi.CONFIG_BASE, abi.CFG_COUNT);
    for (const option of CORE_OPTIONS) config[option.word] = option.default;
    config[abi.CFG_ABI_VERSION] = abi.ABI_VERSION;
    config[abi.CFG_RX_ENTRIES] = abi.RX_MAX;
    for (const [word, value] of words) config[word] = value;
    const block = new Uint8Array(before, abi.ENTROPY_BASE, abi.ENTROPY_BYTES);
    block.set(entropy.subarray(0, abi.ENTROPY_BYTES));
    const answer = exports.init();
    if (answer < 0) {
      const word = new Uint32Array(exports.memory.buffer, abi.GAUGES_BASE)[abi.GAUGE_CONFIG_ERROR];
      const option = CORE_OPTIONS.find((candidate) => candidate.word === word);
      const what = answer === abi.ERR_CONFIG ? ` (${option?.key ?? `word ${word ?? -1}`})` : "";
      throw new TsgostError("TSGOST_ERR_CORE", `core: ${errorName(answer)}${what}`);
    }
    return new Core(exports);
  }

  /** Who hears, once, of the trap that ends this instance; inside of the call that trapped. */
  set onTrap(handler: (error: unknown) => void) {
    this.#trap.onTrap = handler;
  }

  /** What this instance trapped with; undefined while it lives. */
  get trapped(): unknown {
    return this.#trap.trapped;
  }

  gauge(index: number): number {
    return this.u32[(abi.GAUGES_BASE >> 2) + index] ?? 0;
  }

  stat(index: number): number {
    return this.f64[(abi.STATS_BASE >> 3) + index] ?? 0;
  }

  /** All counters that are not zero, by name. */
  stats(): Record<string, number> {
    const all: Record<string, number> = {};
    for (const [index, name] of STAT_NAMES) {
      const value = this.stat(index);
      if (value !== 0) all[name] = value;
    }
    return all;
  }

  /** Flows, mappings and buffers now, by name. */
  gauges(): Record<string, number> {
    return Object.fromEntries(GAUGE_NAMES.map(([index, name]) => [name, this.gauge(index)]));
  }

  /** The spans of the last recvPeek or sendReserve that answered `count`. */
  spans(count: number): Uint8Array[] {
    const views: Uint8Array[] = [];
    let at = abi.SPANS_BASE >> 2;
    for (let index = 0; index < count; index++, at += 2) {
      const ptr = this.u32[at] ?? 0;
      views.push(this.u8.subarray(ptr, ptr + (this.u32[at + 1] ?? 0)));
    }
    return views;
  }

  /**
   * Copies as much of `data` as the flow's send buffer takes. Answers the bytes taken (fewer than
   * asked for: EV_WRITABLE follows), or a negative code.
   */
  write(handle: number, data: Uint8Array, nowUs: number): number {
    let taken = 0;
    while (taken < data.length) {
      const count = this.x.sendReserve(handle, data.length - taken);
      if (count <= 0) return count < 0 && taken === 0 ? count : taken;
      let filled = 0;
      let at = abi.SPANS_BASE >> 2;
      for (let index = 0; index < count && taken < data.length; index++, at += 2) {
        const room = this.u32[at + 1] ?? 0;
        const part = data.subarray(taken, taken + room);
        this.u8.set(part, this.u32[at] ?? 0);
        taken += part.length;
        filled += part.length;
      }
      const answer = this.x.sendCommit(handle, filled, nowUs);
      if (answer < 0) return answer;
    }
    return taken;
  }
}

export function errorName(code: number): string {
  return ERROR_NAMES[code] ?? `error ${code}`;
}

/** The address text of 16 bytes (IPv4 in the first four). */
export function addressText(bytes: Uint8Array, family: number): string {
  if (family === 4) return bytes.subarray(0, 4).join(".");
  const groups: number[] = [];
  for (let at = 0; at < 16; at += 2) groups.push(((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0));
  let [bestAt, bestLength] = [-1, 1];
  for (let at = 0; at < 8; at++) {
    let length = 0;
    while (at + length < 8 && groups[at + length] === 0) length++;
    if (length > bestLength) [bestAt, bestLength] = [at, length];
  }
  const hex = groups.map((group) => group.toString(16));
  if (bestAt < 0) return hex.join(":");
  return `${hex.slice(0, bestAt).join(":")}::${hex.slice(bestAt + bestLength).join(":")}`;
}
