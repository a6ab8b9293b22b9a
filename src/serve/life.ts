/**
 * What belongs to a service beside its sockets: its hook commands and the DNS servers of its
 * device, from its start to its end. Everything here is told in the log when it fails and stops
 * nothing.
 */
import { type HookCommands, hooksOf } from "../config/hooks.ts";
import type { ServiceConfig } from "../config/model.ts";
import { formatIp } from "../config/net.ts";
import { tungoOptions } from "../config/tungo.ts";
import type { Logger } from "../log.ts";
import { type HookFacts, type HookKind, runHooks } from "./hooks.ts";
import { type UndoDns, setDnsServers } from "./tungo/resolver.ts";
import type { ServiceInfo } from "./tungo/service.ts";

export class ServiceLife {
  readonly #service: ServiceConfig;
  readonly #hooks: HookCommands;
  readonly #facts: HookFacts;
  readonly #log: Logger;
  #undoDns: UndoDns | undefined;
  /** One after another, also when the device comes back in between. */
  #queue: Promise<void> = Promise.resolve();
  #isDown = false;

  constructor(service: ServiceConfig, info: ServiceInfo, log: Logger) {
    this.#service = service;
    this.#hooks = hooksOf(service);
    this.#log = log.child({ service: service.name });
    this.#facts = {
      service: service.name,
      addresses: info.addresses,
      ...(info.device === undefined ? {} : { device: info.device }),
      ...(info.mtu === undefined ? {} : { mtu: info.mtu }),
    };
  }

  /** The device or socket exists: preUp. */
  begin(): Promise<void> {
    return this.#enqueue(() => this.#run("preUp"));
  }

  /** All services stand: DNS servers, postUp. */
  up(): Promise<void> {
    return this.#enqueue(() => this.#raise());
  }

  /** The device was lost and is back: what hung on it is done again. */
  again(): void {
    if (!this.#isDown) void this.#enqueue(() => this.#raise());
  }

  /** preDown and postDown, both while the device still exists, as in GOST. */
  down(): Promise<void> {
    if (this.#isDown) return this.#queue;
    this.#isDown = true;
    return this.#enqueue(async () => {
      await this.#run("preDown");
      await this.#undoDns?.();
      await this.#run("postDown");
    });
  }

  async #raise(): Promise<void> {
    await this.#setDns();
    await this.#run("postUp");
  }

  async #setDns(): Promise<void> {
    const { device } = this.#facts;
    if (this.#service.handler.type !== "tungo" || device === undefined) return;
    const { dns, dnsDomains } = tungoOptions(this.#service).options;
    if (dns.length === 0) return;
    const request = { device, servers: dns.map(formatIp), domains: dnsDomains };
    this.#undoDns = (await setDnsServers(request, this.#log)) ?? this.#undoDns;
  }

  #run(kind: HookKind): Promise<void> {
    return runHooks(kind, this.#hooks, this.#facts, this.#log);
  }

  #enqueue(work: () => Promise<void>): Promise<void> {
    this.#queue = this.#queue.then(work);
    return this.#queue;
  }
}
