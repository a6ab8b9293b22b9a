/**
 * A hop: its nodes, their fail marks, and which one the next connection takes. Strategies as in
 * GOST: round (default), fifo, rand, hash. Fails closed: a hop whose nodes have all failed still
 * answers one of them (the one whose mark is oldest), because going on without it would go direct.
 */
import type { HopConfig, NodeConfig } from "../config/model.ts";
import { metaInt } from "../config/metadata.ts";
import { NodeMemory } from "./memory.ts";

const MAX_FAILS = 1;
const FAIL_TIMEOUT_MS = 10_000;

export class HopNode {
  readonly config: NodeConfig;
  readonly memory = new NodeMemory();
  readonly #maxFails: number;
  readonly #failTimeoutMs: number;
  #fails = 0;
  #failedAtMs = 0;

  constructor(config: NodeConfig, maxFails: number, failTimeoutMs: number) {
    this.config = config;
    this.#maxFails = maxFails;
    this.#failTimeoutMs = failTimeoutMs;
  }

  get failedAtMs(): number {
    return this.#failedAtMs;
  }

  /** Failed often enough and not long enough ago. */
  get isFailed(): boolean {
    if (this.#fails < this.#maxFails) return false;
    return performance.now() - this.#failedAtMs < this.#failTimeoutMs;
  }

  markFailed(): void {
    this.#fails++;
    this.#failedAtMs = performance.now();
  }

  markGood(): void {
    this.#fails = 0;
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

export class Hop {
  readonly config: HopConfig;
  readonly nodes: readonly HopNode[];
  readonly #strategy: string;
  #next = 0;

  constructor(config: HopConfig) {
    this.config = config;
    const { selector } = config;
    this.#strategy = (selector?.strategy ?? "round").toLowerCase();
    this.nodes = config.nodes.map((node) => {
      const maxFails = metaInt(node.metadata, "maxFails", selector?.maxFails ?? MAX_FAILS);
      return new HopNode(node, Math.max(1, maxFails), selector?.failTimeoutMs ?? FAIL_TIMEOUT_MS);
    });
  }

  /** The node for a connection to `key` (host:port); undefined only for a hop without nodes. */
  select(key: string): HopNode | undefined {
    const living = this.nodes.filter((node) => !node.isFailed);
    if (living.length === 0) {
      return [...this.nodes].sort((one, other) => one.failedAtMs - other.failedAtMs)[0];
    }
    switch (this.#strategy) {
      case "fifo":
      case "ha":
        return living[0];
      case "rand":
      case "random":
        return living[Math.floor(randomUnit() * living.length)];
      case "hash":
        return living[crc32(key) % living.length];
      default:
        this.#next = (this.#next + 1) >>> 0;
        return living[(this.#next - 1) % living.length];
    }
  }
}

function randomUnit(): number {
  return (crypto.getRandomValues(new Uint32Array(1))[0] ?? 0) / 2 ** 32;
}
