/**
 * The services that run, and how one configuration follows another. A service whose configuration,
 * with everything it refers to, stays the same is left alone and its flows live on; the files and
 * URLs of its lists are read again. The others end
 * before their successors start, since those want the same addresses and devices; where one of
 * these fails, what ran before is started again.
 */
import { fingerprintOf } from "./config/fingerprint.ts";
import type { Config, ServiceConfig } from "./config/model.ts";
import { messageOf, type TsgostError } from "./errors.ts";
import { type Logger, logger } from "./log.ts";
import { Registry } from "./registry.ts";
import { ServiceLife } from "./serve/life.ts";
import type { ServiceSource } from "./serve/metrics.ts";
import { ChainCounters, ServiceStats } from "./serve/stats.ts";
import type { ServiceInfo } from "./serve/tungo/service.ts";
import { Shared, type Started, startService } from "./start-service.ts";

export interface ServiceEvent {
  readonly timeMs: number;
  readonly message: string;
}

interface Running {
  readonly service: ServiceConfig;
  readonly fingerprint: string;
  readonly registry: Registry;
  readonly stats: ServiceStats;
  readonly started: Started;
  readonly life: ServiceLife;
  readonly events: ServiceEvent[];
  state: ServiceSource["state"];
}

export interface ServicesOptions {
  /** A service cannot go on: the program must end. */
  onFatal(error: TsgostError): void;
  /** What the clock of the day says, milliseconds. */
  now(): number;
}

const EVENTS_MAX = 20;
/** After this, what does not close by itself is left behind. */
const CLOSE_MS = 2500;

export class Services {
  readonly chains = new ChainCounters();
  readonly #options: ServicesOptions;
  readonly #shared = new Shared();
  readonly #log: Logger = logger;
  #running: Running[] = [];
  /** Changes one after another. */
  #queue: Promise<void> = Promise.resolve();

  constructor(options: ServicesOptions) {
    this.#options = options;
  }

  /** Name, device, addresses and MTU of each. */
  infos(): readonly ServiceInfo[] {
    return this.#running.map(({ started }) => started.info);
  }

  /** For metrics and the API. */
  sources(): readonly (ServiceSource & { readonly events: readonly ServiceEvent[] })[] {
    return this.#running.map(({ service, state, stats, started, events }) => ({
      name: service.name,
      state,
      stats,
      events,
      ...(started.core === undefined ? {} : { core: started.core }),
    }));
  }

  /**
   * Makes the running services those of `config`. Rejects with the first failure, and then what ran
   * before runs again.
   */
  apply(config: Config): Promise<void> {
    const change = this.#queue.then(() => this.#apply(config));
    this.#queue = change.catch(() => undefined);
    return change;
  }

  /** Ends all: hooks first, while the devices are still there. */
  async close(): Promise<void> {
    await this.#queue;
    const ending = this.#running;
    this.#running = [];
    await Promise.all(ending.map(({ life }) => life.down()));
    await withinMs(
      CLOSE_MS,
      ending.map(({ started }) => started.close()),
    );
  }

  async #apply(config: Config): Promise<void> {
    const registry = this.#registryOf(config);
    const wanted = config.services.map((service) => ({
      service,
      fingerprint: fingerprintOf(service, config),
    }));
    const isKept = (old: Running): boolean =>
      wanted.some(
        ({ service, fingerprint }) =>
          service.name === old.service.name && fingerprint === old.fingerprint,
      );
    const before = this.#running;
    const kept = before.filter(isKept);
    const ending = before.filter((old) => !isKept(old));
    // The old registries must outlive their services until it is certain that nobody goes back.
    const held = new Set([registry, ...ending.map((old) => old.registry)]);
    for (const old of held) old.hold();
    const fresh: Running[] = [];
    try {
      for (const old of ending) await this.#end(old);
      for (const { service, fingerprint } of wanted) {
        if (kept.some((old) => old.service.name === service.name)) continue;
        fresh.push(await this.#start(service, fingerprint, registry));
      }
      this.#running = inOrder([...kept, ...fresh], config);
      await Promise.all([...new Set(kept.map((old) => old.registry))].map((old) => old.reload()));
      for (const { life } of fresh) await life.up();
    } catch (error) {
      for (const failed of fresh) await this.#end(failed);
      this.#running = kept;
      await this.#goBack(ending, before);
      throw error;
    } finally {
      for (const old of held) old.release();
    }
  }

  #registryOf(config: Config): Registry {
    const { loopTo, masks, hasGuard } = this.#shared;
    const hasDevice = config.services.some(({ listener }) => listener.type === "tungo");
    return new Registry(config, {
      log: this.#log,
      ...(hasDevice || hasGuard ? { loopTo } : {}),
      mask: masks.mask,
      counters: this.chains,
    });
  }

  async #start(service: ServiceConfig, fingerprint: string, registry: Registry): Promise<Running> {
    const stats = new ServiceStats();
    const events: ServiceEvent[] = [];
    const back: { life?: ServiceLife } = {};
    const started = await startService({
      service,
      registry,
      shared: this.#shared,
      stats,
      events: {
        fatal: (error) => {
          this.#note(events, messageOf(error));
          this.#options.onFatal(error);
        },
        back: () => {
          this.#note(events, "the device is back");
          back.life?.again();
        },
      },
    });
    const life = new ServiceLife(service, started.info, registry.log(service));
    back.life = life;
    const where = placeOf(service, started.info);
    this.#note(events, `service ${service.name} is listening on ${where}`);
    registry.log(service).info(`listening on ${where}`, {
      kind: "service",
      service: service.name,
      listener: service.listener.type,
      handler: service.handler.type,
    });
    await life.begin();
    return { service, fingerprint, registry, stats, started, life, events, state: "ready" };
  }

  async #end(old: Running): Promise<void> {
    old.state = "closed";
    await old.life.down();
    await withinMs(CLOSE_MS, [old.started.close()]);
  }

  /** Starts again what was ended for a configuration that failed. */
  async #goBack(ended: readonly Running[], before: readonly Running[]): Promise<void> {
    for (const old of ended) {
      try {
        const again = await this.#start(old.service, old.fingerprint, old.registry);
        this.#running.push(again);
        await again.life.up();
      } catch (error) {
        const name = old.service.name;
        this.#log.error(`service ${name} could not be started again: ${messageOf(error)}`, {
          service: name,
        });
      }
    }
    const order = before.map(({ service }) => service.name);
    this.#running.sort(
      (one, other) => order.indexOf(one.service.name) - order.indexOf(other.service.name),
    );
  }

  #note(events: ServiceEvent[], message: string): void {
    events.push({ timeMs: this.#options.now(), message });
    if (events.length > EVENTS_MAX) events.shift();
  }
}

/** ADDRESS/NETWORK as GOST writes it; of a device its name. */
function placeOf({ listener }: ServiceConfig, { device, addresses }: ServiceInfo): string {
  if (device !== undefined) return `${device}/${listener.type}`;
  return `${addresses.join(", ")}/${listener.type === "udp" ? "udp" : "tcp"}`;
}

function inOrder(running: readonly Running[], config: Config): Running[] {
  const order = config.services.map(({ name }) => name);
  return [...running].sort(
    (one, other) => order.indexOf(one.service.name) - order.indexOf(other.service.name),
  );
}

async function withinMs(ms: number, work: readonly Promise<void>[]): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise((resolve) => {
    timer = setTimeout(resolve, ms);
  });
  await Promise.race([Promise.allSettled(work), late]);
  clearTimeout(timer);
}
