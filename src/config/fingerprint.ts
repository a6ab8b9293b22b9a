/**
 * What a service is made of, as one text: the service and everything it refers to, however far
 * away, without the places where it was written. Two configurations that give the same text for a
 * service would run it alike, so a reload leaves it alone.
 */
import type { ChainConfig, Config, ServiceConfig } from "./model.ts";

export function fingerprintOf(service: ServiceConfig, config: Config): string {
  const parts = new Parts(config);
  parts.addService(service);
  return JSON.stringify(parts.all, withoutPlaces);
}

/** Keys in one order, whatever order they were written in. */
function withoutPlaces(key: string, value: unknown): unknown {
  if (key === "place") return undefined;
  if (typeof value !== "object" || value === null || Array.isArray(value)) return value;
  const entries = Object.entries(value).sort(([one], [other]) => (one < other ? -1 : 1));
  return Object.fromEntries(entries);
}

type Named = { readonly name: string };

class Parts {
  readonly all: Record<string, unknown> = {};
  readonly #config: Config;

  constructor(config: Config) {
    this.#config = config;
  }

  addService(service: ServiceConfig): void {
    const { handler, listener } = service;
    this.all["service"] = service;
    // The certificate that listeners without one of their own take.
    this.all["tls"] = this.#config.tls ?? null;
    this.#chain(handler.chain);
    this.#chain(listener.chain);
    for (const { chain } of handler.chainGroup?.chains ?? []) this.#chain(chain);
    this.#rules(service);
    this.#named("admission", this.#config.admissions, service.admissions);
    this.#named("logger", this.#config.loggers, service.loggers);
    this.#named("auther", this.#config.authers, handler.authers);
  }

  /** Answers whether it was new, so that circles come to an end. */
  #add(kind: string, object: Named | undefined): boolean {
    if (object === undefined) return false;
    const key = `${kind} ${object.name}`;
    if (Object.hasOwn(this.all, key)) return false;
    this.all[key] = object;
    return true;
  }

  #named(kind: string, objects: readonly Named[], names: readonly string[] = []): void {
    for (const name of names) {
      this.#add(
        kind,
        objects.find((object) => object.name === name),
      );
    }
  }

  #chain(name: string | undefined): void {
    const chain = this.#config.chains.find((candidate) => candidate.name === name);
    if (chain !== undefined && this.#add("chain", chain)) this.#hops(chain);
  }

  #hops(chain: ChainConfig): void {
    for (const hop of chain.hops) {
      this.#rules(hop);
      for (const node of hop.nodes) this.#rules(node);
    }
  }

  #rules(part: {
    readonly bypasses?: readonly string[];
    readonly resolver?: string;
    readonly hosts?: string;
  }): void {
    const { bypasses, resolvers, hosts } = this.#config;
    this.#named("bypass", bypasses, part.bypasses);
    this.#named("hosts", hosts, part.hosts === undefined ? [] : [part.hosts]);
    const resolver = resolvers.find(({ name }) => name === part.resolver);
    if (resolver === undefined || !this.#add("resolver", resolver)) return;
    for (const { chain } of resolver.nameservers) this.#chain(chain);
  }
}
