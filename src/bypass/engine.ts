/**
 * Look-ups in sets of rules by an instance of the core's module that has no stack: one for all
 * bypasses of a process. Its memory grows when sets are loaded, and serves again when they are
 * freed. The module comes from core/load.ts, through whoever wires the services.
 */
import * as abi from "../../assembly/abi.ts";
import { TsgostError } from "../errors.ts";
import type { Network } from "../types.ts";
import type { ImageFlags, RuleImage } from "./image.ts";
import type { TargetText } from "./target.ts";

/** The exports of the module that rules need. */
interface RuleExports {
  readonly memory: WebAssembly.Memory;
  rulesReserve(bytes: number): number;
  rulesImage(handle: number): number;
  rulesBuild(handle: number, budget: number): number;
  rulesFree(handle: number): number;
  rulesFind(handle: number, what: number, port: number, nameBytes: number): number;
  rulesVerdict(handle: number, what: number, port: number, nameBytes: number): number;
  rulesBytes(): number;
}

/** Records of one step of building: some milliseconds. */
const BUILD_BUDGET = 50_000;

/** What a set says about a target. */
export interface Verdict {
  readonly bypassed: boolean;
  /** Text of the rule that matched, "" where none did. */
  readonly rule: string;
}

const NOT_BYPASSED: Verdict = { bypassed: false, rule: "" };
const UNMATCHED: Verdict = { bypassed: true, rule: "" };

export class RuleEngine {
  readonly #exports: RuleExports;
  #bytes: Buffer;
  #words: Uint32Array;

  /** `entropy` keys the hash tables: 64 bytes that nobody can guess. */
  constructor(wasm: WebAssembly.Module, entropy: Uint8Array) {
    this.#exports = new WebAssembly.Instance(wasm, {}).exports as unknown as RuleExports;
    this.#bytes = Buffer.from(this.#exports.memory.buffer);
    this.#words = new Uint32Array(this.#exports.memory.buffer);
    this.#bytes.set(entropy.subarray(0, abi.ENTROPY_BYTES), abi.ENTROPY_BASE);
  }

  /** Bytes of all sets, and of the memory they are in. */
  get bytesInUse(): number {
    return this.#exports.rulesBytes() >>> 0;
  }

  get memoryBytes(): number {
    return this.#exports.memory.buffer.byteLength;
  }

  /** Builds a set, a few milliseconds at a time. */
  async load(image: RuleImage, flags: ImageFlags): Promise<RuleTable> {
    const handle = this.#exports.rulesReserve(image.byteLength);
    if (handle <= 0) throw engineError(handle);
    this.#renew();
    const at = this.#exports.rulesImage(handle) >>> 0;
    try {
      image.write(this.#bytes, at, flags);
      for (;;) {
        const answer = this.#exports.rulesBuild(handle, BUILD_BUDGET);
        this.#renew();
        if (answer < 0) throw engineError(answer);
        if (answer === 0) return new RuleTable(this, handle, at);
        await new Promise((resolve) => setImmediate(resolve));
      }
    } catch (error) {
      this.#exports.rulesFree(handle);
      throw error;
    }
  }

  free(handle: number): void {
    this.#exports.rulesFree(handle);
  }

  /** rulesVerdict: 0, index + 1, VERDICT_UNMATCHED. */
  verdict(handle: number, network: Network, target: TargetText, port: number): number {
    const what = this.#put(target) | (network === "udp" ? abi.TARGET_UDP : abi.TARGET_TCP);
    return checked(this.#exports.rulesVerdict(handle, what, port, target.name.length));
  }

  /** rulesFind: 0, index + 1. */
  find(handle: number, target: TargetText, port: number): number {
    const what = this.#put(target);
    return checked(this.#exports.rulesFind(handle, what, port, target.name.length));
  }

  /** Text of rule `index` of the image at `image`. */
  ruleText(image: number, index: number): string {
    const record = image + abi.RULES_HEADER_BYTES + index * abi.RULE_BYTES;
    const word = (at: number): number => this.#words[at >>> 2] ?? 0;
    const pool = image + word(image + abi.RULES_POOL_PTR_OFF);
    const from = pool + word(record + abi.RULE_TEXT_OFF);
    const bytes = word(record + abi.RULE_TEXT_BYTES_OFF) & 0xffff;
    return this.#bytes.toString("utf8", from, from + bytes);
  }

  /** Memory that has grown needs new views. */
  #renew(): void {
    const { buffer } = this.#exports.memory;
    if (this.#bytes.buffer === buffer) return;
    this.#bytes = Buffer.from(buffer);
    this.#words = new Uint32Array(buffer);
  }

  /** Writes the target into the ROUTE block; answers the family's bits. */
  #put({ family, address, name }: TargetText): number {
    const bytes = this.#bytes;
    if (family !== 0) bytes.set(address, abi.ROUTE_BASE + abi.ROUTE_ADDRESS_OFF);
    const from = abi.ROUTE_BASE + abi.ROUTE_NAME_OFF;
    for (let index = 0; index < name.length; index++) bytes[from + index] = name.charCodeAt(index);
    return family << abi.TARGET_FAMILY_SHIFT;
  }
}

/** A set that is ready; must be freed, once. */
export class RuleTable {
  readonly #engine: RuleEngine;
  readonly #handle: number;
  readonly #image: number;

  constructor(engine: RuleEngine, handle: number, image: number) {
    this.#engine = engine;
    this.#handle = handle;
    this.#image = image;
  }

  verdict(network: Network, target: TargetText, port: number): Verdict {
    const answer = this.#engine.verdict(this.#handle, network, target, port);
    if (answer === 0) return NOT_BYPASSED;
    if (answer === abi.VERDICT_UNMATCHED) return UNMATCHED;
    return { bypassed: true, rule: this.#engine.ruleText(this.#image, answer - 1) };
  }

  /** Text of the rule that matches, whatever follows from it; undefined = none. */
  find(target: TargetText, port: number): string | undefined {
    const answer = this.#engine.find(this.#handle, target, port);
    return answer === 0 ? undefined : this.#engine.ruleText(this.#image, answer - 1);
  }

  free(): void {
    this.#engine.free(this.#handle);
  }
}

function checked(answer: number): number {
  if (answer < 0) throw engineError(answer);
  return answer;
}

function engineError(answer: number): TsgostError {
  const why: Readonly<Record<number, string>> = {
    [abi.ERR_STALE]: "the set was freed",
    [abi.ERR_RANGE]: "the image or the question makes no sense",
    [abi.ERR_FULL]: `more than ${abi.RULE_SETS_MAX} sets`,
    [abi.ERR_MEMORY]: "no memory",
  };
  return new TsgostError("TSGOST_ERR_RULES", `rules: ${why[answer] ?? `error ${answer}`}`);
}
