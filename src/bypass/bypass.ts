/**
 * One bypass of the configuration: its rules, those of its file and URL, and what it says of a
 * target. Reloading builds a new table beside the old one and then changes over, so a look-up sees
 * all of one or all of the other. `combineBypasses` makes one of several.
 *
 * Without `compat` a whitelist without rules, also because its source failed, bypasses everything,
 * and a source may become empty; a blacklist for one network that lost its source bypasses nothing.
 * With `compat` the answers are GOST's.
 */
import type { MatcherConfig } from "../config/model.ts";
import type { Logger } from "../log.ts";
import { configError } from "../errors.ts";
import { SourceList } from "../sys/source-list.ts";
import type { SourcePart } from "../sys/source-list.ts";
import type { Bypass, BypassHit, Network } from "../types.ts";
import type { RuleEngine, RuleTable } from "./engine.ts";
import { RuleImage } from "./image.ts";
import { readTarget } from "./target.ts";

/** Warnings of one load that are logged one by one. */
const WARNINGS_MAX = 10;

export interface BypassOptions {
  readonly engine: RuleEngine;
  readonly log: Logger;
  /** GOST's answers, also where they are unwise. */
  readonly compat?: boolean;
}

/** What one bypass says, and why: for explanations. */
export interface BypassAnswer {
  readonly bypass: string;
  readonly whitelist: boolean;
  readonly bypassed: boolean;
  /** Text of the rule that matched, also in a whitelist; "" = none. */
  readonly rule: string;
}

export class RuleBypass implements Bypass {
  readonly name: string;
  readonly whitelist: boolean;
  readonly #config: MatcherConfig;
  readonly #engine: RuleEngine;
  readonly #log: Logger;
  readonly #compat: boolean;
  readonly #list: SourceList<RuleTable | undefined>;
  #table: RuleTable | undefined;
  #isClosed = false;

  constructor(config: MatcherConfig, options: BypassOptions) {
    this.name = config.name;
    this.whitelist = config.whitelist;
    this.#config = config;
    this.#engine = options.engine;
    this.#log = options.log;
    this.#compat = options.compat === true;
    if (!this.#compat && !["", "tcp", "udp"].includes(config.network)) {
      const network = JSON.stringify(config.network);
      throw configError(config.source.place, `network: ${network} is neither tcp nor udp`);
    }
    this.#list = new SourceList({
      label: `bypass ${config.name}`,
      source: config.source,
      log: options.log,
      dropFailed: this.#compat,
      parse: (parts) => this.#build(parts),
      onUpdate: (table) => this.#change(table),
    });
  }

  /** Loads all rules. Throws a configError for rules that make no sense, with their place. */
  start(): Promise<void> {
    return this.#list.start();
  }

  /** Reads the sources again; false if that failed and the rules of before stay. */
  reload(): Promise<boolean> {
    return this.#list.reload();
  }

  close(): void {
    this.#isClosed = true;
    this.#list.close();
    this.#table?.free();
    this.#table = undefined;
  }

  match(network: Network, host: string, port: number): BypassHit | undefined {
    if (host === "" || !this.#isAsked(network)) return undefined;
    // Nothing is loaded before `start` and after `close`: what a whitelist protects stays closed.
    if (this.#table === undefined) {
      return this.whitelist && !this.#compat ? { bypass: this.name, rule: "" } : undefined;
    }
    const verdict = this.#table.verdict(network, readTarget(host, this.#compat), port);
    return verdict.bypassed ? { bypass: this.name, rule: verdict.rule } : undefined;
  }

  /** GOST takes any word for a network, and then none is meant. */
  #isAsked(network: Network): boolean {
    return this.#config.network === "" || this.#config.network === network;
  }

  explain(network: Network, host: string, port: number): BypassAnswer {
    const hit = this.match(network, host, port);
    const rule = this.#table?.find(readTarget(host, this.#compat), port) ?? "";
    return { bypass: this.name, whitelist: this.whitelist, bypassed: hit !== undefined, rule };
  }

  /** undefined: as GOST, an empty list leaves the rules of before. */
  async #build(parts: readonly SourcePart[]): Promise<RuleTable | undefined> {
    const { matchers, network, whitelist, source, name } = this.#config;
    let warnings = 0;
    const warn = (place: string, message: string): void => {
      if (++warnings > WARNINGS_MAX) return;
      this.#log.warn(`bypass ${name}: ${place === "" ? "" : `${place}: `}${message}`);
    };
    const image = new RuleImage(this.#compat, warn);
    const bases = parts.map((part) => image.addSource(part));
    for (const text of matchers) image.addText(text, source.place);
    for (const [index, part] of parts.entries()) await image.addLines(part, bases[index] ?? 0);
    if (warnings > WARNINGS_MAX) {
      this.#log.warn(`bypass ${name}: ${warnings - WARNINGS_MAX} more warnings of this kind`);
    }
    if (this.#compat && image.count === 0 && this.#table !== undefined) return undefined;
    // A network without rules is GOST's way to say: all of it.
    const isWholeNetwork = network !== "" && !whitelist && this.#list.isEmpty;
    const compatEmpty = network !== "" && !whitelist;
    const emptyBypasses = this.#compat ? compatEmpty : whitelist || isWholeNetwork;
    const flags = { whitelist, network, compat: this.#compat, emptyBypasses };
    const table = await this.#engine.load(image, flags);
    if (!this.#isClosed) return table;
    table.free();
    return undefined;
  }

  #change(table: RuleTable | undefined): void {
    if (table === undefined) return;
    this.#table?.free();
    this.#table = table;
  }
}

/**
 * Several bypasses of one object as one: bypassed if any blacklist says so, or if there are
 * whitelists and all of them say so. undefined for none.
 */
export function combineBypasses(all: readonly RuleBypass[]): Bypass | undefined {
  const [first] = all;
  if (first === undefined || all.length === 1) return first;
  const blacklists = all.filter(({ whitelist }) => !whitelist);
  const whitelists = all.filter(({ whitelist }) => whitelist);
  return {
    match(network, host, port) {
      for (const bypass of blacklists) {
        const hit = bypass.match(network, host, port);
        if (hit !== undefined) return hit;
      }
      let last: BypassHit | undefined;
      for (const bypass of whitelists) {
        last = bypass.match(network, host, port);
        if (last === undefined) return undefined;
      }
      return last;
    },
  };
}
