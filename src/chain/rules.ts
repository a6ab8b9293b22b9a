/**
 * Asks a bypass about a destination that has several texts: the host as it was asked for, its
 * address, names that are known for it. A rule that matches one of them matches; a whitelist says
 * "bypass" only if none of them is on it.
 */
import type { Bypass, BypassHit, Network } from "../types.ts";

/** A destination as rules see it. */
export interface Target {
  readonly network: Network;
  /** As requested first; never empty. */
  readonly hosts: readonly string[];
  readonly port: number;
  /** IP text of the client's end; undefined: unknown. */
  readonly clientIp?: string | undefined;
}

/** Why the target is bypassed; undefined: it is not. */
export function bypassHit(bypass: Bypass | undefined, target: Target): BypassHit | undefined {
  if (bypass === undefined) return undefined;
  let whitelist: BypassHit | undefined;
  let isListed = false;
  for (const host of target.hosts) {
    const hit = bypass.match(target.network, host, target.port);
    if (hit === undefined) isListed = true;
    else if (hit.rule !== "") return hit;
    else whitelist = hit;
  }
  return isListed ? undefined : whitelist;
}

/** The texts of a destination without repetitions. */
export function hostsOf(...hosts: readonly (string | undefined)[]): readonly string[] {
  return [...new Set(hosts.filter((host) => host !== undefined))];
}
