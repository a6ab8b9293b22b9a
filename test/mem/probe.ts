/** The probe build: internals of the core as functions of numbers. */
import { readFileSync, existsSync } from "node:fs";
import { resolve } from "node:path";
import { fileURLToPath } from "node:url";
import * as abi from "../../assembly/abi.ts";
import { CORE_OPTIONS } from "../../src/core/options.ts";
import { MUTANT, wasm } from "../kit/core.ts";

const BUILD = resolve(fileURLToPath(import.meta.url), "../../../build/probe.wasm");
const FILE = MUTANT === "" ? BUILD : MUTANT;

export interface ProbeExports {
  readonly memory: { readonly buffer: ArrayBuffer };
  init(): number;
  probeScratch(): number;
  probeScratchBytes(): number;
  probeChecksum(ptr: number, bytes: number): number;
  probeChecksumSplit(ptr: number, split: number, bytes: number): number;
  probeSiphashLow(ptr: number, bytes: number, key: number): number;
  probeSiphashHigh(ptr: number, bytes: number, key: number): number;
  probePermute(value: number, halfBits: number): number;
  probeToken(bucket: number, nowUs: number): number;
  probeArm(id: number, deadlineUs: number): void;
  probeCancel(id: number): void;
  probePop(nowUs: number): number;
  probeNext(): number;
  probeTimerDeadline(id: number): number;
  probeTakeSlot(): number;
  probeTakeChunk(): number;
  probeKeepRx(rxIndex: number): number;
  probeBlockData(block: number): number;
  probeGive(block: number): void;
  probeBuffered(): number;
  xorMask(ptr: number, bytes: number, key: number, phase: number): void;
}

export interface Probe {
  readonly exports: ProbeExports;
  /** Sees the memory as it is after init. */
  view(): DataView;
  bytes(): Uint8Array;
  gauge(index: number): number;
}

let module: object | undefined;

/** An instance with default settings and small pools, initialised unless told otherwise. */
export function makeProbe(words: Readonly<Record<number, number>> = {}, init = true): Probe {
  if (!existsSync(FILE)) throw new Error("build/probe.wasm is missing: npm run build:core");
  module ??= new wasm.Module(readFileSync(FILE));
  const abort = (): never => {
    throw new Error("the core aborted");
  };
  const exports = new wasm.Instance(module, { env: { abort } }).exports as ProbeExports;
  const view = (): DataView => new DataView(exports.memory.buffer);
  const put = (word: number, value: number): void =>
    view().setUint32(abi.CONFIG_BASE + 4 * word, value, true);
  for (const option of CORE_OPTIONS) put(option.word, option.default);
  put(abi.CFG_ABI_VERSION, abi.ABI_VERSION);
  put(abi.CFG_RX_ENTRIES, 4);
  put(abi.CFG_BUFFER_CAP_BYTES, 4 * 1024 ** 2);
  put(abi.CFG_FLOWS, 1000);
  put(abi.CFG_MAPPINGS, 100);
  for (const [word, value] of Object.entries(words)) put(Number(word), value);
  for (let i = 0; i < abi.ENTROPY_BYTES; i++) view().setUint8(abi.ENTROPY_BASE + i, i % 16);
  if (init) {
    const code = exports.init();
    if (code !== 0) throw new Error(`init answered ${code}`);
  }
  return {
    exports,
    view,
    bytes: () => new Uint8Array(exports.memory.buffer),
    gauge: (index) => view().getUint32(abi.GAUGES_BASE + 4 * index, true),
  };
}
