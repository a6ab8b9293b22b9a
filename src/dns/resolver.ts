/**
 * A resolver of the configuration: nameservers asked in order until one has addresses. One that
 * says "there is none" does not end it: in GOST, a later one may know more. All share one cache.
 */
import { isIP } from "node:net";
import type { Chain } from "../chain/types.ts";
import type { NameserverConfig, ResolverConfig } from "../config/model.ts";
import { configError, messageOf } from "../errors.ts";
import type { Logger } from "../log.ts";
import { ipBytes } from "../proto/address.ts";
import { type DnsMessage, type DnsOption, RCODE, clientSubnet } from "../proto/dns.ts";
import type { Names } from "../types.ts";
import { parseNameserver } from "./address.ts";
import { DnsCache } from "./cache.ts";
import { type Family, familiesOf, lookUp } from "./lookup.ts";
import { Nameserver } from "./nameserver.ts";
import { dnsError } from "./query.ts";
import { type LocalEnds, chainReach, directReach } from "./reach.ts";

export interface ResolverDeps {
  readonly log: Logger;
  /** The chain of that name, which stays the giver's; throws a configuration error. */
  chainFor(name: string, place: string): Chain;
  /** Device and mark of what is served, for nameservers without a chain. */
  readonly ends: LocalEnds;
  /** Resolves the nameservers' own names; the default is the system's way. */
  readonly bootstrap?: Names | undefined;
  /** Milliseconds of a clock that only goes forward. */
  readonly nowMs: () => number;
  /** As GOST: certificates are not verified, tls has port 53. */
  readonly compat: boolean;
  /** Authorities for tls and https instead of the system's. */
  readonly ca?: string | Buffer | undefined;
}

const TIMEOUT_MS = 5000;
const WARN_EVERY_MS = 60_000;

interface Server {
  readonly nameserver: Nameserver;
  readonly families: readonly Family[];
}

export class Resolver {
  readonly #name: string;
  readonly #log: Logger;
  readonly #servers: readonly Server[];

  /** Throws a configuration error. Nothing is asked yet. */
  constructor(config: ResolverConfig, deps: ResolverDeps) {
    this.#name = config.name;
    this.#log = deps.log;
    if (config.nameservers.length === 0) {
      throw configError(config.place, `the resolver ${config.name} has no nameservers`);
    }
    const cache = new DnsCache(deps.nowMs);
    this.#servers = config.nameservers.map((nameserver) =>
      serverOf(nameserver, config.place, cache, deps),
    );
  }

  /** Never empty; throws NOT_FOUND or FAILED. `name` is normal (lookup.ts). */
  async addresses(name: string, signal: AbortSignal): Promise<readonly string[]> {
    const failures: string[] = [];
    let hasAnswer = false;
    for (const { nameserver, families } of this.#servers) {
      try {
        for (const family of families) {
          const { addresses, exists } = await lookUp(nameserver, name, family, signal);
          if (addresses.length > 0) return addresses;
          hasAnswer = true;
          if (!exists) break;
        }
      } catch (error) {
        if (signal.aborted) throw error;
        failures.push(this.#failed(nameserver, error));
      }
    }
    throw this.#error(name, hasAnswer, failures);
  }

  /**
   * The first answer with records of a nameserver, else the first without (also NXDOMAIN); throws
   * FAILED. TTLs are those of the time when the nameserver was asked.
   */
  async ask(name: string, type: number, signal: AbortSignal): Promise<DnsMessage> {
    const failures: string[] = [];
    let negative: DnsMessage | undefined;
    for (const { nameserver } of this.#servers) {
      try {
        const message = await nameserver.ask(name, type, signal);
        if (message.rcode === RCODE.NOERROR && message.answers.length > 0) return message;
        negative ??= message;
      } catch (error) {
        if (signal.aborted) throw error;
        failures.push(this.#failed(nameserver, error));
      }
    }
    if (negative !== undefined) return negative;
    throw this.#error(name, false, failures);
  }

  close(): void {
    for (const { nameserver } of this.#servers) nameserver.close();
  }

  #failed(nameserver: Nameserver, error: unknown): string {
    const text = `${nameserver.text}: ${messageOf(error)}`;
    this.#log.once(`resolver ${this.#name} ${nameserver.text}`, WARN_EVERY_MS, {
      message: `resolver ${this.#name}: ${text}`,
      fields: { kind: "resolver", resolver: this.#name },
    });
    return text;
  }

  #error(name: string, hasAnswer: boolean, failures: readonly string[]): Error {
    const why = failures.length === 0 ? "" : ` (${failures.join("; ")})`;
    if (hasAnswer) {
      return dnsError("NOT_FOUND", `resolver: domain ${name} does not exist${why}`);
    }
    return dnsError("FAILED", `resolver ${this.#name}: cannot resolve ${name}${why}`);
  }
}

function serverOf(
  config: NameserverConfig,
  place: string,
  cache: DnsCache,
  deps: ResolverDeps,
): Server {
  const wrong = (why: string): Error => configError(place, `nameserver "${config.addr}": ${why}`);
  const address = parseNameserver(config.addr, place, deps.compat);
  const families = familiesOf(config.prefer ?? "", config.only ?? "");
  if (families === undefined) throw wrong("prefer and only are ipv4 or ipv6");
  const { host, port } = address;
  const { chain, timeoutMs = 0 } = config;
  const reach =
    chain === undefined
      ? directReach({ host, port }, deps.ends, isIP(host) === 0 ? deps.bootstrap : undefined)
      : chainReach({ host, port }, deps.chainFor(chain, place));
  const nameserver = new Nameserver({
    address,
    reach,
    cache,
    timeoutMs: timeoutMs > 0 ? timeoutMs : TIMEOUT_MS,
    ttlMs: config.ttlMs ?? 0,
    isAsync: config.isAsync === true,
    hostname: config.hostname ?? "",
    verify: !deps.compat,
    ca: deps.ca,
    options: subnetOf(config.clientIP ?? "", wrong),
  });
  return { nameserver, families };
}

/** The whole address, as GOST tells it: whoever gives one wants it known. */
function subnetOf(clientIp: string, wrong: (why: string) => Error): readonly DnsOption[] {
  if (clientIp === "") return [];
  const bytes = ipBytes(clientIp);
  if (bytes === undefined) throw wrong(`clientIP: "${clientIp}" is not an address`);
  return [clientSubnet(bytes, bytes.length * 8)];
}
