/** Resolvers and tables as the configuration gives them, for the tests. */
import type { HostsConfig, NameserverConfig, ResolverConfig } from "../../src/config/model.ts";
import { type ConfiguredNames, type NamesDeps, namesOf } from "../../src/dns/names.ts";
import { createLogger } from "../../src/log.ts";
import { pair } from "./servers.ts";

export const quiet = createLogger({ level: "error", format: "text", output: "none" });

export function resolverOf(...nameservers: readonly (string | NameserverConfig)[]): ResolverConfig {
  return {
    name: "resolver-0",
    nameservers: nameservers.map((one) => (typeof one === "string" ? { addr: one } : one)),
    place: "gost.yml:1:1",
  };
}

export type Mappings = Readonly<Record<string, readonly string[]>>;

/** From addresses to their names. */
export function hostsOf(mappings: Mappings, source: Partial<HostsConfig["source"]> = {}) {
  return {
    name: "hosts-0",
    mappings: Object.entries(mappings).map(([ip, [hostname = "", ...aliases]]) => ({
      ip,
      hostname,
      aliases,
    })),
    source: { place: "gost.yml:9:1", ...source },
  } satisfies HostsConfig;
}

export function depsOf(changes: Partial<NamesDeps> = {}): NamesDeps {
  return {
    log: quiet,
    chainFor: () => {
      throw new Error("there is no chain");
    },
    ca: pair.cert,
    ...changes,
  };
}

export function namesWith(
  resolver: ResolverConfig | undefined,
  changes: Partial<NamesDeps> = {},
): ConfiguredNames {
  return namesOf(resolver, undefined, depsOf(changes));
}

export function never(): AbortSignal {
  return new AbortController().signal;
}

/** What it rejects with, as `code: message`. */
export async function failure(promise: Promise<unknown>): Promise<string> {
  try {
    await promise;
  } catch (error) {
    const { code, message } = error as { code?: string; message: string };
    return `${code ?? "?"}: ${message}`;
  }
  throw new Error("it did not fail");
}
