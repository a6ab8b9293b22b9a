/** All bypasses of a configuration by name: made when first asked for, loaded and closed together. */
import { randomBytes } from "node:crypto";
import * as abi from "../../assembly/abi.ts";
import type { MatcherConfig, Place } from "../config/model.ts";
import { configError } from "../errors.ts";
import type { Logger } from "../log.ts";
import type { Bypass } from "../types.ts";
import { RuleBypass, combineBypasses } from "./bypass.ts";
import { RuleEngine } from "./engine.ts";

export interface BypassSetOptions {
  /** The core's module: the engine is made when the first bypass is. */
  readonly wasm: () => WebAssembly.Module;
  readonly log: Logger;
  readonly compat?: boolean;
}

export class BypassSet {
  readonly #configs: readonly MatcherConfig[];
  readonly #options: BypassSetOptions;
  readonly #made = new Map<string, RuleBypass>();
  readonly #starting = new Map<RuleBypass, Promise<void>>();
  #engine: RuleEngine | undefined;

  constructor(configs: readonly MatcherConfig[], options: BypassSetOptions) {
    this.#configs = configs;
    this.#options = options;
  }

  /** The bypasses of these names acting together; undefined for none. Throws a configError. */
  of(names: readonly string[] | undefined, place: Place): Bypass | undefined {
    return combineBypasses((names ?? []).map((name) => this.one(name, place)));
  }

  one(name: string, place: Place): RuleBypass {
    const known = this.#made.get(name);
    if (known !== undefined) return known;
    const config = this.#configs.find((candidate) => candidate.name === name);
    // Fail closed: without its rules nobody knows what it would have let through.
    if (config === undefined) throw configError(place, `bypass "${name}" does not exist`);
    const { wasm, log, compat = false } = this.#options;
    this.#engine ??= new RuleEngine(wasm(), randomBytes(abi.ENTROPY_BYTES));
    const bypass = new RuleBypass(config, { engine: this.#engine, log, compat });
    this.#made.set(name, bypass);
    return bypass;
  }

  /** Loads what was made and is not loaded yet; before a service that uses it may serve. */
  async start(): Promise<void> {
    for (const bypass of this.#made.values()) {
      if (!this.#starting.has(bypass)) this.#starting.set(bypass, bypass.start());
    }
    await Promise.all(this.#starting.values());
  }

  /** Reads all sources again; false if one failed. */
  async reload(): Promise<boolean> {
    const all = await Promise.all([...this.#made.values()].map((bypass) => bypass.reload()));
    return all.every(Boolean);
  }

  close(): void {
    for (const bypass of this.#made.values()) bypass.close();
    this.#made.clear();
  }
}
