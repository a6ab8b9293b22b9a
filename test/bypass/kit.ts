/** Bypasses for tests: an engine of the built core, and bypasses of a few rules. */
import { randomBytes } from "node:crypto";
import { RuleBypass } from "../../src/bypass/bypass.ts";
import { RuleEngine } from "../../src/bypass/engine.ts";
import type { MatcherConfig, SourceConfig } from "../../src/config/model.ts";
import { coreModule } from "../../src/core/load.ts";
import { createLogger } from "../../src/log.ts";
import type { Logger } from "../../src/log.ts";

export const SILENT: Logger = createLogger({ level: "fatal", format: "json", output: "none" });

let shared: RuleEngine | undefined;

export function makeEngine(): RuleEngine {
  return new RuleEngine(coreModule(), randomBytes(64));
}

export function sharedEngine(): RuleEngine {
  shared ??= makeEngine();
  return shared;
}

export interface BypassSetup {
  readonly whitelist?: boolean;
  readonly network?: string;
  readonly compat?: boolean;
  readonly source?: Omit<SourceConfig, "place">;
  readonly engine?: RuleEngine;
  readonly log?: Logger;
}

/** A bypass that has started; the caller closes it. */
export async function makeBypass(
  rules: readonly string[],
  setup: BypassSetup = {},
): Promise<RuleBypass> {
  const config: MatcherConfig = {
    name: "b",
    whitelist: setup.whitelist === true,
    matchers: rules,
    network: setup.network ?? "",
    source: { place: "bypasses:1:1", ...setup.source },
  };
  const bypass = new RuleBypass(config, {
    engine: setup.engine ?? sharedEngine(),
    log: setup.log ?? SILENT,
    compat: setup.compat === true,
  });
  try {
    await bypass.start();
  } catch (error) {
    bypass.close();
    throw error;
  }
  return bypass;
}

/** `host:port` and `[v6]:port` as a CONNECT request has them. */
export function splitAddress(address: string): { host: string; port: number } {
  const colon = address.lastIndexOf(":");
  const host = address.slice(0, colon).replace(/^\[(.*)\]$/, "$1");
  return { host, port: Number(address.slice(colon + 1)) };
}
