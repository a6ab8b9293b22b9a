/** Routers with rules of the tests' own. */
import * as assert from "uvu/assert";
import { type HopChain, buildChain } from "../../src/chain/chain.ts";
import type { ChainError } from "../../src/chain/errors.ts";
import { ChainGroup, Member } from "../../src/chain/group.ts";
import type { HopParts } from "../../src/chain/hop.ts";
import { type RouterOptions, ServiceRouter } from "../../src/chain/router.ts";
import type { HopConfig } from "../../src/config/model.ts";
import type { Bypass } from "../../src/types.ts";
import { nodeOf, quiet } from "./world.ts";

/** Where nothing listens. */
export const DEAD = "127.0.0.1:9";

/** Matches hosts; of a whitelist, everything else is bypassed. */
export function listOf(hosts: readonly string[], whitelist = false, name = "list"): Bypass {
  return {
    match: (_network, host) => {
      const isListed = hosts.includes(host);
      if (isListed === whitelist) return undefined;
      return { bypass: name, rule: whitelist ? "" : host };
    },
  };
}

/** Bypasses by their names, for hops and nodes. */
export function partsOf(lists: Readonly<Record<string, Bypass>>, more: HopParts = {}): HopParts {
  return { bypass: ([name = ""] = []) => lists[name], ...more };
}

export interface HopSpec {
  readonly addrs: readonly string[];
  readonly bypass?: string;
  readonly nodeBypass?: readonly (string | undefined)[];
  readonly strategy?: string;
}

export function chainWith(specs: readonly HopSpec[], parts: HopParts = {}, log = quiet): HopChain {
  const hops = specs.map(({ addrs, bypass, nodeBypass, strategy = "fifo" }, index): HopConfig => {
    const nodes = addrs.map((addr, at) => {
      const own = nodeBypass?.[at];
      const node = nodeOf({ addr }, `n${index}${at}`);
      return own === undefined ? node : { ...node, bypasses: [own] };
    });
    const selector = { strategy, maxFails: 1, failTimeoutMs: 10_000 };
    const rules = bypass === undefined ? {} : { bypasses: [bypass] };
    return { name: `hop-${index}`, nodes, selector, metadata: {}, ...rules };
  });
  return buildChain({ name: "chain-0", hops }, { log, ...parts });
}

export function routerOf(
  chain: HopChain | undefined,
  more: Partial<RouterOptions> = {},
): ServiceRouter {
  const chains = chain === undefined ? undefined : new ChainGroup([new Member(chain)]);
  return new ServiceRouter({ log: quiet, dialTimeoutMs: 3000, local: {}, chains, ...more });
}

export async function failure(promise: Promise<unknown>): Promise<ChainError> {
  return promise.then(
    () => assert.unreachable("it succeeded") as never,
    (error: unknown) => error as ChainError,
  );
}
