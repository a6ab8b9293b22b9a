/**
 * Names as the configuration knows them: a table of hosts first, then a resolver. What neither is
 * responsible for stays a name, for the system or the far end of a chain.
 *
 * Use:
 *   const names = namesOf(resolver, hosts, deps);   // throws configuration errors
 *   await names.start();                            // reads the table's file and URL
 *   … names.resolve(host, signal) …
 *   names.close();
 */
import { isIP } from "node:net";
import type { Chain } from "../chain/types.ts";
import type { HostsConfig, ResolverConfig } from "../config/model.ts";
import type { Logger } from "../log.ts";
import type { DnsMessage } from "../proto/dns.ts";
import type { Names } from "../types.ts";
import { Hosts } from "./hosts.ts";
import { normalName } from "./lookup.ts";
import type { LocalEnds } from "./reach.ts";
import { Resolver } from "./resolver.ts";
import { systemNames } from "./system.ts";

export type { LocalEnds } from "./reach.ts";
export { type SystemNames, systemNames } from "./system.ts";

export interface NamesDeps {
  readonly log: Logger;
  /** The chain of that name, which stays the giver's; throws a configuration error. */
  chainFor(name: string, place: string): Chain;
  /** Device and mark of the service or node that is served: nameservers are asked by them. */
  readonly ends?: LocalEnds;
  /** Milliseconds of a clock that only goes forward; the default is performance.now. */
  readonly nowMs?: () => number;
  /** Answers as GOST's: the table by exact case, certificates of nameservers not verified. */
  readonly compat?: boolean;
  /** Authorities for nameservers with TLS instead of the system's. */
  readonly ca?: string | Buffer;
}

export interface ConfiguredNames extends Names {
  /** Reads the table's sources; throws what is wrong with them only for a table of this process. */
  start(): Promise<void>;
  /** Reads the table's sources again; false if one could not be read. */
  reload(): Promise<boolean>;
  /** Any question to the resolver; undefined without one. Throws as `resolve`. */
  ask(name: string, type: number, signal: AbortSignal): Promise<DnsMessage | undefined>;
  close(): void;
}

/** Throws a configuration error. */
export function namesOf(
  resolver: ResolverConfig | undefined,
  hosts: HostsConfig | undefined,
  deps: NamesDeps,
): ConfiguredNames {
  return new TableThenResolver(resolver, hosts, deps);
}

class TableThenResolver implements ConfiguredNames {
  readonly #hosts: Hosts | undefined;
  readonly #resolver: Resolver | undefined;
  readonly #system: { close(): void } | undefined;

  constructor(
    resolver: ResolverConfig | undefined,
    hosts: HostsConfig | undefined,
    deps: NamesDeps,
  ) {
    const { log, ends = {}, compat = false } = deps;
    this.#hosts = hosts === undefined ? undefined : new Hosts(hosts, { log, compat });
    if (resolver === undefined) return;
    const bootstrap = systemNames({ log, ends });
    this.#system = bootstrap;
    this.#resolver = new Resolver(resolver, {
      log,
      chainFor: (name, place) => deps.chainFor(name, place),
      ends,
      bootstrap,
      nowMs: deps.nowMs ?? (() => performance.now()),
      compat,
      ca: deps.ca,
    });
  }

  start(): Promise<void> {
    return this.#hosts?.start() ?? Promise.resolve();
  }

  reload(): Promise<boolean> {
    return this.#hosts?.reload() ?? Promise.resolve(true);
  }

  async resolve(host: string, signal: AbortSignal): Promise<readonly string[] | undefined> {
    if (host === "" || isIP(host) !== 0) return undefined;
    const found = this.#hosts?.find(host);
    if (found !== undefined) return found;
    if (this.#resolver === undefined) return undefined;
    const name = normalName(host);
    const normal = name === host ? undefined : this.#hosts?.find(name);
    if (normal !== undefined) return normal;
    // RFC 6761 §6.3: not for nameservers.
    if (name === "localhost" || name.endsWith(".localhost")) return undefined;
    return this.#resolver.addresses(name, signal);
  }

  async ask(name: string, type: number, signal: AbortSignal): Promise<DnsMessage | undefined> {
    return this.#resolver?.ask(name, type, signal);
  }

  close(): void {
    this.#hosts?.close();
    this.#resolver?.close();
    this.#system?.close();
  }
}
