/**
 * The named objects of one configuration, made when first asked for and shared by whatever names
 * them: bypasses, hosts and resolvers, authenticators, admissions, chains; and the router of each
 * service. app.ts makes one for each configuration that it runs.
 *
 * Life: each service that uses it holds it (`hold`, `release`). The last release closes what was
 * made. So, after a new configuration was read, an old registry lives as long as one service of
 * the old configuration goes on.
 */
import { randomBytes } from "node:crypto";
import { ENTROPY_BYTES } from "../assembly/abi.ts";
import { RuleBypass, combineBypasses } from "./bypass/bypass.ts";
import { RuleEngine } from "./bypass/engine.ts";
import { type HopChain, buildChain } from "./chain/chain.ts";
import { ChainGroup, Member } from "./chain/group.ts";
import type { HopParts, NamesAsk } from "./chain/hop.ts";
import { ServiceRouter } from "./chain/router.ts";
import type { LocalEnd, LoopCheck } from "./chain/socket.ts";
import { metaDurationMs, metaInt, metaString } from "./config/metadata.ts";
import type {
  Config,
  EndpointConfig,
  HandlerConfig,
  Place,
  ServiceConfig,
} from "./config/model.ts";
import { coreModule } from "./core/load.ts";
import { type LocalEnds, namesOf, systemNames } from "./dns/names.ts";
import { configError, defect, messageOf } from "./errors.ts";
import { type Logger, combineLoggers, createLogger } from "./log.ts";
import { ruleOf } from "./match/selection.ts";
import type { MaskFunction } from "./proto/ws.ts";
import { AdmissionList, allOf } from "./serve/admission.ts";
import { Auther, authenticatorOf } from "./serve/auth.ts";
import type { ChainCounters } from "./serve/stats.ts";
import type { Admission, Authenticator, Bypass, Names } from "./types.ts";

const DIAL_MS = 15_000;

export interface RegistryOptions {
  readonly log: Logger;
  /**
   * Keeps sockets of ours out of the devices of this process. Given, the system's names are asked
   * for by such sockets, too.
   */
  readonly loopTo?: LoopCheck;
  /** GOST's answers, also where they are unwise. */
  readonly compat?: boolean;
  /** Masks WebSocket payload, also of bytes in a core's memory. */
  readonly mask?: MaskFunction;
  /** Hears of first nodes that answered, and of routes that failed. */
  readonly counters?: ChainCounters;
  /** Time and dice of selectors, for tests. */
  readonly now?: () => number;
  readonly random?: () => number;
}

/** What has a life of its own. */
interface Living {
  start?(): Promise<void>;
  /** Reads its files and URLs again; what cannot be read stays as it was, and is said. */
  reload?(): Promise<boolean>;
  close(): void;
}

export class Registry {
  readonly config: Config;
  readonly #options: RegistryOptions;
  readonly #chains = new Map<string, HopChain>();
  /** Chains that are being made: a chain that needs itself is a mistake. */
  readonly #making = new Set<string>();
  readonly #bypasses = new Map<string, RuleBypass>();
  /** By resolver, hosts and the way out. */
  readonly #names = new Map<string, Names>();
  readonly #made: Living[] = [];
  /** Made, and not started yet. */
  #idle: Living[] = [];
  #engine: RuleEngine | undefined;
  readonly #loggers = new Map<string, Logger>();
  /** Authers and admissions, by kind and name. */
  readonly #lists = new Map<string, Promise<Living>>();
  #holders = 0;
  #isClosed = false;

  constructor(config: Config, options: RegistryOptions) {
    this.config = config;
    this.#options = options;
  }

  /** A service uses it from now on. */
  hold(): void {
    if (this.#isClosed) throw defect("a closed registry was asked to serve again");
    this.#holders++;
  }

  /** A service does not need it any more; the last one closes it. */
  release(): void {
    if (--this.#holders <= 0) this.close();
  }

  /** The chain of that name; throws a configuration error. */
  chain(name: string, place: Place): HopChain {
    const known = this.#chains.get(name);
    if (known !== undefined) return known;
    const config = this.config.chains.find((candidate) => candidate.name === name);
    // Fail closed: a chain that is missing must never mean "direct".
    if (config === undefined) throw configError(place, `chain "${name}" does not exist`);
    if (this.#making.has(name)) throw configError(place, `chain "${name}" needs itself`);
    this.#making.add(name);
    try {
      const { log, loopTo, mask, counters } = this.#options;
      const chain = buildChain(config, {
        ...(counters === undefined ? {} : { counters }),
        log: log.child({ chain: name }),
        ...(loopTo === undefined ? {} : { loopTo }),
        ...(mask === undefined ? {} : { mask }),
        ...this.#hopParts(place),
      });
      this.#chains.set(name, chain);
      return this.#keep(chain);
    } finally {
      this.#making.delete(name);
    }
  }

  /** The bypasses of these names, acting together; undefined for no names. */
  bypass(names: readonly string[] | undefined, place: Place): Bypass | undefined {
    if (names === undefined || names.length === 0) return undefined;
    return combineBypasses(names.map((name) => this.#bypass(name, place)));
  }

  /** A hosts table, then a resolver; undefined if neither is named. */
  names(ask: NamesAsk, place: Place): Names | undefined {
    const { resolver, hosts, local } = ask;
    if (resolver === undefined && hosts === undefined) return undefined;
    const { log, loopTo, compat = false } = this.#options;
    const ends = endsOf(local, loopTo);
    return this.#once(["names", resolver, hosts, ends.device, ends.mark], () =>
      namesOf(
        resolver === undefined ? undefined : named(this.config.resolvers, resolver, place),
        hosts === undefined ? undefined : named(this.config.hosts, hosts, place),
        { log, ends, compat, chainFor: (name, from) => this.chain(name, from) },
      ),
    );
  }

  /** The system's names by sockets that leave by `local`; undefined where nothing asks for that. */
  system(local: LocalEnd): Names | undefined {
    const { log, loopTo } = this.#options;
    const ends = endsOf(local, loopTo);
    const isPlain = ends.device === undefined && ends.mark === undefined;
    if (isPlain && loopTo === undefined) return undefined;
    return this.#once(["system", ends.device, ends.mark], () => systemNames({ log, ends }));
  }

  /** Who may use a service; undefined: everybody. Reads the authers' files and URLs. */
  async authenticator(service: ServiceConfig): Promise<Authenticator | undefined> {
    const { log } = this.#options;
    const all = (service.handler.authers ?? []).map((name) =>
      this.#started(`auther ${name}`, () => {
        const config = named(this.config.authers, name, service.place);
        return new Auther(config, { log });
      }),
    );
    const authers = await Promise.all(all);
    return authenticatorOf(service, authers, { log: log.child({ service: service.name }) });
  }

  /** Who may connect; undefined: everybody. Reads the admissions' files and URLs. */
  async admission({ admissions = [], place }: ServiceConfig): Promise<Admission | undefined> {
    const { log, compat = false } = this.#options;
    const all = admissions.map((name) =>
      this.#started(`admission ${name}`, () => {
        const config = named(this.config.admissions, name, place);
        return new AdmissionList(config, { log, compat });
      }),
    );
    return allOf(await Promise.all(all));
  }

  /**
   * A service's way out, by its metadata or by what was read elsewhere (`own`). Its owner closes
   * it; what it is made of stays the registry's.
   */
  router(
    service: ServiceConfig,
    own: { readonly dialTimeoutMs?: number; readonly local?: LocalEnd } = {},
  ): ServiceRouter {
    const { handler, place } = service;
    const { log, loopTo } = this.#options;
    const dialMs = metaDurationMs(service.metadata, "dialTimeout", DIAL_MS);
    const local = own.local ?? localOf(service);
    const { resolver, hosts } = service;
    return new ServiceRouter({
      log: log.child({ service: service.name }),
      chains: this.#chainsOf(handler, place),
      bypass: this.bypass(service.bypasses, place),
      names: this.names({ resolver, hosts, local }, place),
      system: this.system(local),
      retries: handler.retries ?? 0,
      dialTimeoutMs: own.dialTimeoutMs ?? (dialMs > 0 ? dialMs : DIAL_MS),
      local,
      loopTo,
      hashByHost: metaString(handler.metadata, "hash").toLowerCase() === "host",
    });
  }

  /** Starts what was made since: files and URLs are read. Throws what is wrong with them. */
  async ready(): Promise<void> {
    const idle = this.#idle;
    this.#idle = [];
    await Promise.all(idle.map(async (living) => living.start?.()));
  }

  /** Reads all lists again, for services that live on. */
  async reload(): Promise<void> {
    await Promise.all(this.#made.map(async (living) => living.reload?.()));
  }

  /** Where a service logs: its named loggers, else the program's. */
  log(service: ServiceConfig): Logger {
    const { loggers = [], place } = service;
    if (loggers.length === 0) return this.#options.log;
    return combineLoggers(new Map(loggers.map((name) => [name, this.#logger(name, place)])));
  }

  #logger(name: string, place: Place): Logger {
    const known = this.#loggers.get(name);
    if (known !== undefined) return known;
    const config = this.config.loggers.find((candidate) => candidate.name === name);
    if (config === undefined) throw configError(place, `logger "${name}" does not exist`);
    try {
      const made = createLogger(config.log);
      this.#loggers.set(name, made);
      this.#made.push(made);
      return made;
    } catch (error) {
      throw configError(place, `logger ${name}: ${config.log.output}: ${messageOf(error)}`, error);
    }
  }

  /** Ends what was made. Idempotent. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    for (const made of this.#made.reverse()) made.close();
  }

  /** One of each key for all services, its sources read. */
  #started<T extends Living & { start(): Promise<void> }>(key: string, make: () => T): Promise<T> {
    const known = this.#lists.get(key);
    if (known !== undefined) return known as Promise<T>;
    const made = make();
    this.#made.push(made);
    const started = made.start().then(() => made);
    this.#lists.set(key, started);
    return started;
  }

  #chainsOf(handler: HandlerConfig, place: Place): ChainGroup | undefined {
    const { chain = "", chainGroup } = handler;
    const own = chain === "" ? [] : [new Member(this.chain(chain, place))];
    if (chainGroup === undefined) return own.length === 0 ? undefined : new ChainGroup(own);
    const { selector } = chainGroup;
    const { now, random } = this.#options;
    const members = chainGroup.chains.map(({ chain: name, rule }) => {
      const text = rule?.trim() ?? "";
      const own = text === "" ? undefined : { text, accepts: ruleOf(text, place) };
      return new Member(this.chain(name, place), own, selector, now);
    });
    const all = [...own, ...members];
    // An empty group is no way out, and must not mean "direct".
    if (all.length === 0) throw configError(place, "chainGroup has no chains");
    return new ChainGroup(all, selector?.strategy, random);
  }

  #bypass(name: string, place: Place): RuleBypass {
    const known = this.#bypasses.get(name);
    if (known !== undefined) return known;
    const { log, compat = false } = this.#options;
    this.#engine ??= new RuleEngine(coreModule(), randomBytes(ENTROPY_BYTES));
    const config = named(this.config.bypasses, name, place);
    const made = new RuleBypass(config, { engine: this.#engine, log, compat });
    this.#bypasses.set(name, made);
    return this.#keep(made);
  }

  /** The names that are known by `key`, made if need be. */
  #once(key: readonly unknown[], make: () => Names & Living): Names {
    const text = JSON.stringify(key);
    const known = this.#names.get(text);
    if (known !== undefined) return known;
    const made = this.#keep(make());
    this.#names.set(text, made);
    return made;
  }

  #keep<T extends Living>(made: T): T {
    this.#made.push(made);
    this.#idle.push(made);
    return made;
  }

  #hopParts(place: Place): HopParts {
    const { now, random } = this.#options;
    return {
      bypass: (names) => this.bypass(names, place),
      names: (ask) => this.names(ask, place),
      system: (local) => this.system(local),
      ...(now === undefined ? {} : { now }),
      ...(random === undefined ? {} : { random }),
    };
  }
}

/** Device and mark of what a service dials itself. */
function localOf({ metadata }: ServiceConfig): LocalEnd {
  const device = metaString(metadata, "interface");
  const mark = metaInt(metadata, ["so_mark", "soMark"]);
  return { ...(device === "" ? {} : { device }), ...(mark > 0 ? { mark } : {}) };
}

/** What is called `name`; throws a configuration error. */
function named<T extends { readonly name: string }>(
  all: readonly T[],
  name: string,
  place: Place,
): T {
  const found = all.find((one) => one.name === name);
  if (found === undefined) throw configError(place, `${JSON.stringify(name)} does not exist`);
  return found;
}

/** How nameservers are reached: `auto` has no meaning for them. */
function endsOf({ device, mark }: LocalEnd, loopTo: LoopCheck | undefined): LocalEnds {
  const parts = (device ?? "").split(",").map((part) => part.trim());
  const ends = parts.filter((part) => !/^(auto!?)?$/.test(part)).join(",");
  return { ...(ends === "" ? {} : { device: ends }), mark, loopTo };
}

/**
 * Who may use the API or the metrics; undefined: everybody who reaches them. Reads the auther's
 * file and URL; `close` ends their being read again.
 */
export async function endpointAuthenticator(
  { addr, auth, auther: name, place }: EndpointConfig,
  config: Config,
  log: Logger,
): Promise<(Authenticator & Living) | undefined> {
  const metadata = {};
  const part = { type: "http", metadata };
  const handler = { ...part, ...(auth === undefined ? {} : { auths: [auth] }) };
  const service = { name: "@web", addr, place, metadata, listener: part, handler };
  const authers =
    name === undefined ? [] : [new Auther(named(config.authers, name, place), { log })];
  const close = (): void => {
    for (const auther of authers) auther.close();
  };
  try {
    for (const auther of authers) await auther.start();
    const found = authenticatorOf(service, authers, { log });
    if (found === undefined) return undefined;
    return { accepts: (given, clientIp) => found.accepts(given, clientIp), close };
  } catch (error) {
    close();
    throw error;
  }
}
