/**
 * The fuzzing loop: generate or mutate, run, keep what shows a new shape. Same target, same seed,
 * same inputs in the same order; the time given only says how many of them there are. A finding is
 * made smaller, written to fixtures/fuzz/found and told with the command that repeats it.
 */
import { mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Random } from "../kit/random.ts";
import { ROOT } from "../lint/sources.ts";
import { mutate } from "./mutate.ts";
import { hashOf, type Target } from "./target.ts";
import type { Watchdog } from "./watchdog.ts";

export const FOLDER = "fixtures/fuzz";
/** A run that takes longer, three times over, is a finding. Processor time, not the clock's. */
const SLOW_MS = 2000;
const CORPUS_MAX = 3000;
const FINDINGS_MAX = 8;
const SMALLER_TRIES = 1500;
/** Between two looks at the clock and turns of the event loop. */
const BATCH = 64;

export interface Finding {
  readonly target: string;
  readonly message: string;
  readonly input: Uint8Array;
  readonly command: string;
}

export interface Outcome {
  readonly target: string;
  readonly executions: number;
  readonly shapes: number;
  readonly findings: readonly Finding[];
}

/** Inputs that are in the repository: the small corpus, and what was once found. */
export function storedInputs(target: Target): Uint8Array[] {
  const read = (folder: string, mayUse: (name: string) => boolean): Uint8Array[] => {
    let names: string[];
    try {
      names = readdirSync(join(ROOT, folder));
    } catch {
      return [];
    }
    const own = names.filter(mayUse).sort();
    return own.map((name) => Uint8Array.from(readFileSync(join(ROOT, folder, name))));
  };
  const found = read(`${FOLDER}/found`, (name) => name.startsWith(`${target.name}-`));
  return [...read(`${FOLDER}/${target.name}`, (name) => !name.endsWith(".md")), ...found];
}

/** The message without what differs from input to input. */
function keyOf(error: unknown): string {
  const [first = ""] = String(error).split("\n");
  return first
    .replace(/["'`].*/s, "")
    .replace(/[\da-f]{4,}|\d+/gi, "#")
    .slice(0, 120);
}

export class Fuzzer {
  readonly target: Target;
  readonly #random: Random;
  readonly #watchdog: Watchdog | undefined;
  readonly #corpus: Uint8Array[] = [];
  readonly #shapes = new Set<string>();
  readonly #findings = new Map<string, Finding>();
  #executions = 0;
  /** What nobody caught: also a finding. */
  #stray: unknown;

  constructor(target: Target, seed: number, watchdog?: Watchdog) {
    this.target = target;
    this.#random = new Random(seed ^ hashOf(Buffer.from(target.name)));
    this.#watchdog = watchdog;
  }

  /** Runs stored inputs, then new ones for as long as `ms` says, or `most` of them. */
  async run(ms: number, most = Infinity): Promise<Outcome> {
    const end = performance.now() + ms;
    process.on("uncaughtException", this.#onStray);
    try {
      await this.#loop(end, most);
    } finally {
      process.off("uncaughtException", this.#onStray);
    }
    return {
      target: this.target.name,
      executions: this.#executions,
      shapes: this.#shapes.size,
      findings: [...this.#findings.values()],
    };
  }

  readonly #onStray = (error: unknown): void => {
    this.#stray ??= error;
  };

  async #loop(end: number, most: number): Promise<void> {
    for (const input of storedInputs(this.target)) await this.#try(input);
    while (this.#findings.size < FINDINGS_MAX && this.#executions < most) {
      if (performance.now() >= end) break;
      for (let index = 0; index < BATCH; index++) await this.#try(this.#next());
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  /** The smallest inputs that showed different shapes. */
  smallest(count: number): readonly Uint8Array[] {
    return [...this.#corpus].sort((a, b) => a.length - b.length).slice(0, count);
  }

  #next(): Uint8Array {
    const random = this.#random;
    const isNew = this.#corpus.length === 0 || random.chance(0.25);
    const base = isNew ? this.target.generate(random) : this.#pick();
    if (isNew && random.chance(0.3)) return base.slice(0, this.target.bytesMax);
    return mutate(this.target, base, random, this.#corpus);
  }

  /** The youngest more often. */
  #pick(): Uint8Array {
    const { length } = this.#corpus;
    const back = this.#random.chance(0.5) ? this.#random.below(Math.min(length, 50)) : -1;
    const index = back < 0 ? this.#random.below(length) : length - 1 - back;
    return this.#corpus[index] ?? new Uint8Array(0);
  }

  async #try(input: Uint8Array): Promise<void> {
    this.#executions++;
    let shape: string;
    try {
      shape = await this.#once(input);
    } catch (error) {
      await this.#report(input, error);
      return;
    }
    if (shape === "" || this.#shapes.has(shape)) return;
    this.#shapes.add(shape);
    if (this.#corpus.length < CORPUS_MAX) this.#corpus.push(input);
    else this.#corpus[this.#random.below(CORPUS_MAX)] = input;
  }

  async #once(input: Uint8Array): Promise<string> {
    this.#watchdog?.begin(input);
    const copy = input.slice();
    const from = process.cpuUsage();
    const answer = this.target.run(copy);
    const shape = typeof answer === "string" ? answer : await answer;
    const { user } = process.cpuUsage(from);
    const stray = this.#stray;
    this.#stray = undefined;
    if (stray !== undefined) throw stray;
    if (user > SLOW_MS * 1000 && (await this.#isSlow(input))) {
      throw new Error(`takes more than ${SLOW_MS} ms of processor time`);
    }
    return shape;
  }

  /** Once more, twice: neither a garbage collection nor a neighbour makes a finding. */
  async #isSlow(input: Uint8Array): Promise<boolean> {
    for (let round = 0; round < 2; round++) {
      const from = process.cpuUsage();
      await this.target.run(input.slice());
      if (process.cpuUsage(from).user <= SLOW_MS * 1000) return false;
    }
    return true;
  }

  async #report(input: Uint8Array, error: unknown): Promise<void> {
    const key = keyOf(error);
    if (this.#findings.has(key)) return;
    const smaller = await this.#smaller(input, key);
    const hash = hashOf(smaller).toString(16).padStart(8, "0");
    const file = `${FOLDER}/found/${this.target.name}-${hash}`;
    mkdirSync(join(ROOT, FOLDER, "found"), { recursive: true });
    writeFileSync(join(ROOT, file), smaller);
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
    this.#findings.set(key, {
      target: this.target.name,
      message: text,
      input: smaller,
      command: `npm run fuzz -- --target ${this.target.name} --file ${file}`,
    });
  }

  /** Takes spans away, and turns bytes into zeros, while the same fault shows. */
  async #smaller(input: Uint8Array, key: string): Promise<Uint8Array> {
    let best = input;
    let tries = 0;
    const isSame = async (candidate: Uint8Array): Promise<boolean> => {
      tries++;
      try {
        await this.#once(candidate);
        return false;
      } catch (error) {
        return keyOf(error) === key;
      }
    };
    for (let size = best.length >> 1; size >= 1 && tries < SMALLER_TRIES; size >>= 1) {
      for (let at = 0; at < best.length && tries < SMALLER_TRIES;) {
        const candidate = Uint8Array.from(
          Buffer.concat([best.subarray(0, at), best.subarray(at + size)]),
        );
        if (await isSame(candidate)) best = candidate;
        else at += size;
      }
    }
    return best;
  }
}
