/**
 * A hop: its nodes, their fail marks, and which one the next connection takes.
 *
 * In this order: the hop's bypass (then the hop and all behind it are left out); each node's
 * matcher, or filter, and its own bypass; with one candidate left, that one; of several, the one
 * with the highest priority, or those that share it; of these the ones that have not failed, the
 * backups only if nothing else is left, and of these the strategy's choice. Where no matcher takes
 * the destination the connection fails; only a bypass means direct.
 *
 * Strategies as in GOST: round (default), rand (by weight), fifo, hash. Fails closed: where all
 * candidates have failed the one whose mark is oldest is tried, because going on without a node
 * would go direct.
 */
import { metaBool, metaDurationMs, metaInt, metaString } from "../config/metadata.ts";
import type { HopConfig, NodeConfig } from "../config/model.ts";
import { type Selection, selectionOf } from "../match/selection.ts";
import type { Bypass, BypassHit, Names } from "../types.ts";
import { NodeMemory } from "./memory.ts";
import { type Target, bypassHit } from "./rules.ts";
import type { LocalEnd } from "./socket.ts";

const MARK_KEYS = ["so_mark", "soMark"];
const MAX_FAILS = 1;
const FAIL_TIMEOUT_MS = 10_000;

/** Where time and dice come from, and what names of the configuration stand for. */
export interface HopParts {
  /** Milliseconds, rising. */
  readonly now?: () => number;
  /** From 0 to below 1. */
  readonly random?: () => number;
  /** The bypasses of these names, acting together; undefined for no names. */
  readonly bypass?: (names: readonly string[] | undefined) => Bypass | undefined;
  /** Hosts table and resolver of these names; undefined if neither is given. */
  readonly names?: (ask: NamesAsk) => Names | undefined;
  /** Asked last, for sockets of ours by this way out; undefined: the system as it comes. */
  readonly system?: (local: LocalEnd) => Names | undefined;
}

export interface NamesAsk {
  readonly resolver: string | undefined;
  readonly hosts: string | undefined;
  /** By what nameservers are asked. */
  readonly local: LocalEnd;
}

/** Device and mark of a node: its own, else its hop's. */
export function localEnd(node: NodeConfig, hop: HopConfig): LocalEnd {
  const device = metaString(node.metadata, "interface") || metaString(hop.metadata, "interface");
  const mark = metaInt(node.metadata, MARK_KEYS) || metaInt(hop.metadata, MARK_KEYS);
  return { ...(device === "" ? {} : { device }), ...(mark > 0 ? { mark } : {}) };
}

/** What a selector may look at. */
export interface RouteRequest extends Target {
  /** Who is asking, for `hash`; undefined: unknown, so dice decide. */
  readonly hashKey?: string | undefined;
}

/** Failure counts as in GOST: so many failures, then out for a while. */
export class FailMark {
  readonly #maxFails: number;
  readonly #failTimeoutMs: number;
  readonly #now: () => number;
  #fails = 0;
  #failedAtMs = 0;

  constructor(maxFails: number, failTimeoutMs: number, now: () => number) {
    this.#maxFails = Math.max(1, maxFails);
    this.#failTimeoutMs = failTimeoutMs;
    this.#now = now;
  }

  get failedAtMs(): number {
    return this.#failedAtMs;
  }

  /** Failed often enough and not long enough ago. */
  get isFailed(): boolean {
    if (this.#fails < this.#maxFails) return false;
    return this.#now() - this.#failedAtMs < this.#failTimeoutMs;
  }

  markFailed(): void {
    this.#fails++;
    this.#failedAtMs = this.#now();
  }

  markGood(): void {
    this.#fails = 0;
  }
}

export class HopNode extends FailMark {
  readonly config: NodeConfig;
  readonly memory = new NodeMemory();
  readonly bypass: Bypass | undefined;
  readonly selection: Selection;
  readonly local: LocalEnd;
  /** For the node's own address; undefined: the system, or the node before. */
  readonly names: Names | undefined;
  /** For sockets of ours, where `names` know nothing. */
  readonly system: Names | undefined;
  readonly weight: number;
  readonly isBackup: boolean;

  constructor(config: NodeConfig, hop: HopConfig, parts: HopParts) {
    const { selector } = hop;
    const { metadata } = config;
    super(
      metaInt(metadata, "maxFails") || (selector?.maxFails ?? MAX_FAILS),
      metaDurationMs(metadata, "failTimeout", 0) || (selector?.failTimeoutMs ?? FAIL_TIMEOUT_MS),
      parts.now ?? now,
    );
    this.config = config;
    this.bypass = parts.bypass?.(config.bypasses);
    this.selection = selectionOf(config, config.place);
    const local = localEnd(config, hop);
    this.local = local;
    const resolver = config.resolver ?? hop.resolver;
    this.names = parts.names?.({ resolver, hosts: config.hosts ?? hop.hosts, local });
    this.system = parts.system?.(local);
    const weight = metaInt(metadata, "weight");
    this.weight = weight > 0 ? weight : 1;
    this.isBackup = metaBool(metadata, "backup");
  }
}

/** What a hop says to a target: these nodes may be used, or it is left out and why. */
export interface Candidates {
  readonly nodes: readonly HopNode[];
  /** Set: a bypass leaves the hop out. */
  readonly skipped?: { readonly hit: BypassHit; readonly by: "hop" | "node" };
}

/** What a node's matcher, or filter, says to a target, for people. */
export interface MatcherView {
  readonly node: string;
  /** The rule or filter. */
  readonly matcher: string;
  readonly accepts: boolean;
  readonly priority: number;
}

/** Whom a strategy chooses among: `mark` and `weight` of each. */
export interface Choosable {
  readonly isFailed: boolean;
  readonly failedAtMs: number;
  readonly weight: number;
  readonly isBackup: boolean;
}

/** One strategy with its counter. */
export class Selector<T extends Choosable> {
  readonly #strategy: string;
  readonly #random: () => number;
  #next = 0;

  constructor(strategy: string | undefined, random: () => number = randomUnit) {
    this.#strategy = (strategy ?? "round").toLowerCase();
    this.#random = random;
  }

  /** undefined only if there is none at all. `peek`: the counter stays. */
  select(all: readonly T[], hashKey: string | undefined, peek = false): T | undefined {
    if (all.length <= 1) return all[0];
    const usable = usableOf(all);
    switch (this.#strategy) {
      case "fifo":
      case "ha":
        return usable[0];
      case "rand":
      case "random":
        return this.#byWeight(usable);
      case "hash":
        if (hashKey === undefined) return this.#byWeight(usable);
        return usable[crc32(hashKey) % usable.length];
      default: {
        const turn = this.#next;
        if (!peek) this.#next = (turn + 1) >>> 0;
        return usable[turn % usable.length];
      }
    }
  }

  #byWeight(usable: readonly T[]): T | undefined {
    let total = 0;
    for (const one of usable) total += one.weight;
    let left = this.#random() * total;
    for (const one of usable) {
      left -= one.weight;
      if (left < 0) return one;
    }
    return usable.at(-1);
  }
}

/**
 * Of several the ones that the strategy is for: those of the highest priority. A single one at the
 * top is taken as it is, unless it is a backup. Lower ones come next where all of a priority have
 * failed, or are backups and there are others; all, where that leaves none.
 */
export function topOf<T extends Choosable & { readonly selection: Selection }>(
  all: readonly T[],
): readonly T[] {
  const priorities = new Set(all.map(({ selection }) => selection.priority));
  if (priorities.size <= 1) return all;
  const hasPrimary = all.some((one) => !one.isBackup);
  for (const priority of [...priorities].sort((one, other) => other - one)) {
    const tier = all.filter(({ selection }) => selection.priority === priority);
    if (hasPrimary && tier.every((one) => one.isBackup)) continue;
    if (tier.length === 1 || tier.some((one) => !one.isFailed)) return tier;
  }
  return all;
}

/** Those that have not failed, primaries before backups; else the one that failed longest ago. */
function usableOf<T extends Choosable>(all: readonly T[]): readonly T[] {
  const living = all.filter((one) => !one.isFailed);
  if (living.length === 0) {
    const [oldest] = [...all].sort((one, other) => one.failedAtMs - other.failedAtMs);
    return oldest === undefined ? [] : [oldest];
  }
  const primaries = living.filter((one) => !one.isBackup);
  return primaries.length > 0 ? primaries : living;
}

export class Hop {
  readonly config: HopConfig;
  readonly nodes: readonly HopNode[];
  readonly #bypass: Bypass | undefined;
  readonly #selector: Selector<HopNode>;
  /** Whether the choice may depend on the destination. */
  readonly hasRules: boolean;

  constructor(config: HopConfig, parts: HopParts = {}) {
    this.config = config;
    this.#bypass = parts.bypass?.(config.bypasses);
    this.#selector = new Selector(config.selector?.strategy, parts.random);
    this.nodes = config.nodes.map((node) => new HopNode(node, config, parts));
    this.hasRules =
      this.#bypass !== undefined ||
      this.nodes.some(({ bypass, selection }) => (bypass ?? selection.accepts) !== undefined);
  }

  /** Who may serve the target. No nodes and not skipped: the connection must fail. */
  candidates(target: Target): Candidates {
    const own = bypassHit(this.#bypass, target);
    if (own !== undefined) return { nodes: [], skipped: { hit: own, by: "hop" } };
    let last: BypassHit | undefined;
    // The bypass of a node that the target is not for says nothing about it.
    const nodes = this.nodes.filter(({ bypass, selection }) => {
      if (selection.accepts?.(target) === false) return false;
      const hit = bypassHit(bypass, target);
      last = hit ?? last;
      return hit === undefined;
    });
    if (nodes.length > 0 || last === undefined) return { nodes };
    return { nodes, skipped: { hit: last, by: "node" } };
  }

  /** One of the candidates; undefined only for none. */
  choose(nodes: readonly HopNode[], request: RouteRequest, peek = false): HopNode | undefined {
    return this.#selector.select(topOf(nodes), request.hashKey, peek);
  }

  /** What the nodes' matchers say; without those of nodes that take everything. */
  matchers(target: Target): readonly MatcherView[] {
    const ruled = this.nodes.filter(({ selection }) => selection.accepts !== undefined);
    return ruled.map(({ config, selection }) => ({
      node: config.name,
      matcher: selection.text,
      accepts: selection.accepts?.(target) ?? true,
      priority: selection.priority,
    }));
  }
}

/** Polynomial 0xEDB88320 (IEEE 802.3), bit by bit: texts are short. */
function crc32(text: string): number {
  let crc = -1;
  for (const byte of Buffer.from(text, "utf8")) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  }
  return ~crc >>> 0;
}

function now(): number {
  return performance.now();
}

function randomUnit(): number {
  return (crypto.getRandomValues(new Uint32Array(1))[0] ?? 0) / 2 ** 32;
}
