/**
 * Loads a build of the core and makes an instance with a configuration and a seed; `core.ts` is the
 * harness around it.
 */
import { existsSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import * as abi from "../../assembly/abi.ts";
import { CORE_OPTIONS } from "../../src/core/options.ts";
import { Random } from "./random.ts";
import type { Suite } from "./suite.ts";

const ROOT = resolve(fileURLToPath(import.meta.url), "../../..");

export const BUILDS = {
  debug: "build/core-debug.wasm",
  plain: "build/core-plain.wasm",
  simd: "build/core.wasm",
} as const;
export type Build = keyof typeof BUILDS;
/** A module to test instead of all builds: test/mutants writes it. */
export const MUTANT = process.env["TSGOST_CORE_WASM"] ?? "";
export const BUILD_NAMES = MUTANT === "" ? (Object.keys(BUILDS) as Build[]) : ["debug" as const];

/** The exports of index.ts, all numbers. */
export interface CoreExports {
  readonly memory: { readonly buffer: ArrayBuffer };
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

export interface CoreSetup {
  build?: Build;
  /** Instead of a build: one that was changed for a purpose. */
  module?: object;
  /** By key of CORE_OPTIONS, in the unit of the word. */
  options?: Readonly<Record<string, number>>;
  /** Configuration words without an option, by CFG_… index. */
  words?: Readonly<Record<number, number>>;
  vnetBytes?: 0 | 10 | 12;
  offloads?: number;
  flags?: number;
  seed?: number;
  startUs?: number;
}

/** Small pools: tests make many cores. */
const TEST_OPTIONS: Readonly<Record<string, number>> = {
  mtu: 1500,
  bufferCap: 16 * 1024 ** 2,
  recvBuffer: 128 * 1024,
  recvBufferMax: 1024 ** 2,
  sendBuffer: 128 * 1024,
  sendBufferMax: 1024 ** 2,
  flows: 256,
  halfOpen: 64,
  dials: 64,
  timeWaits: 64,
  udpMappings: 64,
  udpMappingsPerClient: 32,
  reassemblyDatagrams: 16,
  reassemblyBytes: 1024 ** 2,
};

/** RX entries in use, and so the most packets of one ingest. */
export const RX_ENTRIES = 16;

/** What the kit needs of the global WebAssembly, whatever libraries the compiler was given. */
interface WebAssemblyApi {
  readonly Module: {
    new (bytes: Uint8Array): object;
    imports(module: object): { module: string; name: string }[];
    exports(module: object): { name: string; kind: string }[];
  };
  readonly Instance: new (module: object, imports: object) => { exports: unknown };
}
export const wasm = (globalThis as unknown as { WebAssembly: WebAssemblyApi }).WebAssembly;

/** What tests run that do not choose: TSGOST_CORE_BUILD runs a suite on another build. */
const chosen = process.env["TSGOST_CORE_BUILD"] ?? "debug";
if (!(chosen in BUILDS)) throw new Error(`TSGOST_CORE_BUILD is one of ${BUILD_NAMES.join(" ")}`);
const DEFAULT_BUILD = chosen as Build;

const modules = new Map<Build, object>();

export function coreFile(build: Build): string {
  const file = join(ROOT, BUILDS[build]);
  if (!existsSync(file)) throw new Error(`${BUILDS[build]} is missing: npm run build:core`);
  return file;
}

export function coreModule(build: Build): object {
  const name = MUTANT === "" ? build : "debug";
  let module = modules.get(name);
  if (module === undefined) {
    module = new wasm.Module(readFileSync(MUTANT === "" ? coreFile(build) : MUTANT));
    modules.set(name, module);
  }
  return module;
}

/** Registers the body once for each build. */
export function forBuilds(
  test: Suite,
  name: string,
  body: (build: Build) => void | Promise<void>,
): void {
  for (const build of BUILD_NAMES) test(`${name} [${build}]`, () => body(build));
}

/** An instance with its configuration and entropy written, before init; the MTU with it. */
export function makeInstance(setup: CoreSetup): { exports: CoreExports; mtu: number } {
  const module = setup.module ?? coreModule(setup.build ?? DEFAULT_BUILD);
  const abort = (message: number, file: number, line: number, column: number): never => {
    const { buffer } = exports.memory;
    const where = `${stringAt(buffer, file)}:${line}:${column}`;
    throw new Error(`core aborted at ${where} ${stringAt(buffer, message)}`);
  };
  const instance = new wasm.Instance(module, { env: { abort } });
  const exports = instance.exports as CoreExports;
  const view = new DataView(exports.memory.buffer);
  const mtu = writeConfig(view, setup);
  const random = new Random(setup.seed ?? 1);
  for (let i = 0; i < abi.ENTROPY_BYTES; i++)
    view.setUint8(abi.ENTROPY_BASE + i, random.below(256));
  return { exports, mtu };
}

/** A string of AssemblyScript: UTF-16, its length in bytes before it. */
function stringAt(buffer: ArrayBuffer, ptr: number): string {
  if (ptr === 0) return "";
  const length = new DataView(buffer).getUint32(ptr - 4, true);
  return new TextDecoder("utf-16le").decode(new Uint8Array(buffer, ptr, length));
}

/** Writes the configuration block; answers the MTU. */
function writeConfig(view: DataView, setup: CoreSetup): number {
  const put = (word: number, value: number): void =>
    view.setUint32(abi.CONFIG_BASE + 4 * word, value, true);
  const wanted = { ...TEST_OPTIONS, ...setup.options };
  let mtu = 0;
  for (const option of CORE_OPTIONS) {
    const value = wanted[option.key] ?? option.default;
    if (option.word === abi.CFG_MTU) mtu = value;
    put(option.word, value);
    delete wanted[option.key];
  }
  const [unknown] = Object.keys(wanted);
  if (unknown !== undefined) throw new Error(`no core option is called ${unknown}`);
  put(abi.CFG_ABI_VERSION, abi.ABI_VERSION);
  put(abi.CFG_VNET_BYTES, setup.vnetBytes ?? 0);
  put(abi.CFG_OFFLOADS, setup.offloads ?? 0);
  put(abi.CFG_FLAGS, setup.flags ?? 0);
  put(abi.CFG_RX_ENTRIES, RX_ENTRIES);
  for (const [word, value] of Object.entries(setup.words ?? {})) put(Number(word), value);
  return mtu;
}
