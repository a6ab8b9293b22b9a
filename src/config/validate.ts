/**
 * From document to model: defaults, types that exist, names that are found, no name twice. Nothing
 * outside the document is looked at here (files, devices: start.ts), so that -O and `check` can.
 */
import { configError } from "../errors.ts";
import { isDocMap, ownKey, setKey } from "./document.ts";
import type { DocMap, DocValue, Reading } from "./document.ts";
import { given, listOf, mapOf, namesOf, numberOf, optional, textOf, textsOf } from "./fields.ts";
import { checkNodeKeys, checkServiceKeys } from "./keys.ts";
import { validateLog } from "./log-config.ts";
import type {
  Auth,
  AutherConfig,
  ChainConfig,
  ChainGroupConfig,
  Config,
  ConnectorConfig,
  DialerConfig,
  ForwarderConfig,
  HandlerConfig,
  HopConfig,
  ListenerConfig,
  Metadata,
  NodeConfig,
  Place,
  SelectorConfig,
  ServiceConfig,
  TlsConfig,
} from "./model.ts";
import { parseHostPort } from "./net.ts";
import {
  authOf,
  endpointOf,
  hostsOf,
  loggersOf,
  matchersOf,
  resolversOf,
  routersOf,
  sourceOf,
} from "./sections.ts";
import { didYouMean } from "./suggest.ts";
import {
  CONNECTOR_WORDS,
  DEVICE_LISTENERS,
  DIALER_WORDS,
  HANDLER_WORDS,
  LISTENER_WORDS,
  TYPE_ALIASES,
} from "./words.ts";

/** Sections that end in the model; the others are `rest`. */
const MODELLED = new Set(
  (
    "services chains hops authers bypasses admissions resolvers hosts routers loggers api metrics " +
    "log tls"
  ).split(" "),
);

/** Keys of a service that name objects, and the sections those are in. */
const REFERENCES: Readonly<Record<string, string>> = {
  admission: "admissions",
  admissions: "admissions",
  auther: "authers",
  authers: "authers",
  bypass: "bypasses",
  bypasses: "bypasses",
  chain: "chains",
  climiter: "climiters",
  hosts: "hosts",
  limiter: "limiters",
  logger: "loggers",
  loggers: "loggers",
  observer: "observers",
  resolver: "resolvers",
  rlimiter: "rlimiters",
};

/** The document as a model; throws TsgostError (exit code 2) with the place. */
export function validate(document: DocMap, reading: Reading): Config {
  const checker = new Checker(document, reading);
  const rest: Record<string, DocValue> = {};
  for (const [key, value] of Object.entries(document)) {
    if (!MODELLED.has(key)) rest[key] = value;
  }
  const tls = mapOf(document, "tls");
  return {
    services: checker.services(),
    chains: checker.chains(),
    authers: checker.authers(),
    bypasses: matchersOf(document, "bypasses", reading),
    admissions: matchersOf(document, "admissions", reading),
    resolvers: resolversOf(document, reading),
    hosts: hostsOf(document, reading),
    routers: routersOf(document, reading),
    loggers: loggersOf(document, reading),
    ...given("api", endpointOf(document, "api", reading)),
    ...given("metrics", endpointOf(document, "metrics", reading)),
    log: validateLog(mapOf(document, "log"), reading),
    ...(tls === undefined ? {} : { tls: tlsOf(tls) }),
    rest,
  };
}

/** Keys and kinds are the schema's: they were normalised. */
function tlsOf(map: DocMap): TlsConfig {
  return { ...map };
}

function selectorOf(map: DocMap): SelectorConfig {
  return {
    strategy: textOf(map, "strategy") || "round",
    maxFails: numberOf(map, "maxFails") ?? 1,
    failTimeoutMs: numberOf(map, "failTimeout") ?? 10_000,
  };
}

class Checker {
  readonly #document: DocMap;
  readonly #reading: Reading;
  readonly #names = new Map<string, Set<string>>();

  constructor(document: DocMap, reading: Reading) {
    this.#document = document;
    this.#reading = reading;
    for (const section of [...new Set(Object.values(REFERENCES)), "services", "hops"]) {
      this.#names.set(section, this.#uniqueNames(section));
    }
  }

  services(): ServiceConfig[] {
    return listOf(this.#document, "services").map((map) => this.#service(map));
  }

  chains(): ChainConfig[] {
    return listOf(this.#document, "chains").map((map) => ({
      name: textOf(map, "name"),
      hops: listOf(map, "hops").map((hop, index) => this.#hop(hop, index)),
    }));
  }

  authers(): AutherConfig[] {
    return listOf(this.#document, "authers").map((map) => ({
      name: textOf(map, "name"),
      auths: listOf(map, "auths").map(authOf),
      source: sourceOf(map, this.#reading),
    }));
  }

  #place(map: DocMap, key?: string): Place {
    return this.#reading.places.of(map, key);
  }

  /** Names of a section; a missing or repeated one is an error. */
  #uniqueNames(section: string): Set<string> {
    const names = new Set<string>();
    for (const map of listOf(this.#document, section)) {
      const name = textOf(map, "name");
      if (name === "") throw configError(this.#place(map), `an object of ${section} has no name`);
      if (names.has(name)) {
        const place = this.#place(map, "name");
        throw configError(place, `${section}: the name ${JSON.stringify(name)} is taken already`);
      }
      names.add(name);
    }
    return names;
  }

  /** Every name that `map` refers to must exist: a typo must neither open nor divert a service. */
  #checkReferences(map: DocMap): void {
    for (const [key, section] of Object.entries(REFERENCES)) {
      for (const name of textsOf(map, key)) {
        const known = this.#names.get(section) ?? new Set<string>();
        if (known.has(name)) continue;
        const hint = didYouMean(name, known);
        const what = `${key}: there is no ${JSON.stringify(name)} in ${section}`;
        throw configError(this.#place(map, key), `${what}${hint}`);
      }
    }
  }

  /** The type of a part, under its first name; an unknown one is an error. */
  #type(map: DocMap, what: string, fallback: string, known: ReadonlySet<string>): string {
    const type = textOf(map, "type") || fallback;
    if (known.has(type)) return TYPE_ALIASES[type] ?? type;
    const hint = didYouMean(type, known);
    const message = `there is no ${what} ${JSON.stringify(type)}${hint}`;
    throw configError(this.#place(map, "type"), message);
  }

  /** The map's metadata with GOST's older fields in it. */
  #metadata(map: DocMap): Metadata {
    const metadata = mapOf(map, "metadata") ?? {};
    const mark = numberOf(mapOf(map, "sockopts") ?? {}, "mark");
    const old: DocMap = {
      ...optional("interface", textOf(map, "interface")),
      ...optional("netns", textOf(map, "netns")),
      ...(mark === undefined || mark <= 0 ? {} : { so_mark: mark }),
    };
    if (Object.keys(old).length === 0) return metadata;
    const lowers = new Set(Object.keys(metadata).map((key) => key.toLowerCase()));
    const result: DocMap = { ...metadata };
    this.#reading.places.copy(metadata, result);
    for (const [key, value] of Object.entries(old)) {
      if (!lowers.has(key)) setKey(result, key, value);
    }
    return result;
  }

  #service(map: DocMap): ServiceConfig {
    this.#checkReferences(map);
    const listener = this.#listener(mapOf(map, "listener") ?? {});
    const handler = this.#handler(mapOf(map, "handler") ?? {});
    const addr = textOf(map, "addr");
    if (!DEVICE_LISTENERS.has(listener.type) && parseHostPort(addr) === undefined) {
      const message = `addr: ${JSON.stringify(addr)} is not [HOST]:PORT (port 0 to 65535)`;
      throw configError(this.#place(map, "addr"), message);
    }
    const forwarder = mapOf(map, "forwarder");
    const service: ServiceConfig = {
      name: textOf(map, "name"),
      addr,
      listener,
      handler,
      ...(forwarder === undefined ? {} : { forwarder: this.#forwarder(forwarder) }),
      bypasses: namesOf(map, "bypass", "bypasses"),
      admissions: namesOf(map, "admission", "admissions"),
      ...optional("resolver", textOf(map, "resolver")),
      ...optional("hosts", textOf(map, "hosts")),
      loggers: namesOf(map, "logger", "loggers"),
      metadata: this.#metadata(map),
      place: this.#place(map),
    };
    checkServiceKeys(service, this.#reading);
    return service;
  }

  #listener(map: DocMap): ListenerConfig {
    this.#checkReferences(map);
    const type = this.#type(map, "listener", "tcp", LISTENER_WORDS);
    const auth = mapOf(map, "auth");
    const tls = mapOf(map, "tls");
    return {
      type,
      ...optional("chain", textOf(map, "chain")),
      ...(auth === undefined ? {} : { auth: authOf(auth) }),
      ...(tls === undefined ? {} : { tls: tlsOf(tls) }),
      metadata: this.#metadata(map),
    };
  }

  #handler(map: DocMap): HandlerConfig {
    this.#checkReferences(map);
    const type = this.#type(map, "handler", "auto", HANDLER_WORDS);
    const auth = mapOf(map, "auth");
    const retries = numberOf(map, "retries");
    const authers = textsOf(map, "auther").concat(textsOf(map, "authers"));
    const auths = this.#auths(auth, authers);
    return {
      type,
      ...optional("chain", textOf(map, "chain")),
      ...given("chainGroup", this.#chainGroup(mapOf(map, "chainGroup"))),
      ...(retries === undefined ? {} : { retries }),
      ...(auth === undefined ? {} : { auth: authOf(auth) }),
      ...optional("auther", authers[0] ?? ""),
      ...(auths === undefined ? {} : { auths }),
      metadata: this.#metadata(map),
    };
  }

  /** Its chains must exist; an entry is a name or a map with `chain` and `matcher.rule`. */
  #chainGroup(map: DocMap | undefined): ChainGroupConfig | undefined {
    if (map === undefined) return undefined;
    const place = this.#place(map, "chains");
    const known = this.#names.get("chains") ?? new Set<string>();
    const items = ownKey(map, "chains");
    const chains = (Array.isArray(items) ? items : []).map((item) => {
      const entry: DocMap = isDocMap(item) ? item : { chain: item };
      const chain = textOf(entry, "chain");
      if (!known.has(chain)) {
        const what = `chainGroup: there is no ${JSON.stringify(chain)} in chains`;
        throw configError(place, `${what}${didYouMean(chain, known)}`);
      }
      return { chain, ...optional("rule", textOf(mapOf(entry, "matcher") ?? {}, "rule")) };
    });
    const selector = mapOf(map, "selector");
    return { chains, ...(selector === undefined ? {} : { selector: selectorOf(selector) }) };
  }

  /** Of a handler's own user and of all its authers. */
  #auths(auth: DocMap | undefined, authers: readonly string[]): Auth[] | undefined {
    if (auth === undefined && authers.length === 0) return undefined;
    const lists = this.authers().filter((auther) => authers.includes(auther.name));
    const own = auth === undefined ? [] : [authOf(auth)];
    return [...own, ...lists.flatMap((auther) => auther.auths)];
  }

  #forwarder(map: DocMap): ForwarderConfig {
    const selector = mapOf(map, "selector");
    const nodes = listOf(map, "nodes").map((node) => {
      this.#checkReferences(node);
      return {
        name: textOf(node, "name"),
        addr: textOf(node, "addr"),
        ...optional("network", textOf(node, "network")),
        ...given("metadata", mapOf(node, "metadata")),
      };
    });
    return { nodes, ...(selector === undefined ? {} : { selector: selectorOf(selector) }) };
  }

  /** A hop without nodes and without a source of nodes is one of `hops`, by name. */
  #hop(map: DocMap, index: number): HopConfig {
    this.#checkReferences(map);
    const name = textOf(map, "name");
    const sources = ["nodes", "plugin", "file", "redis", "http"];
    if (sources.some((key) => ownKey(map, key) !== undefined)) return this.#hopFields(map, index);
    const shared = listOf(this.#document, "hops");
    const found = shared.find((hop) => textOf(hop, "name") === name);
    if (found === undefined) {
      const known = shared.map((hop) => textOf(hop, "name"));
      const what = `the hop ${JSON.stringify(name)} has no nodes and is none of hops`;
      throw configError(this.#place(map), `${what}${didYouMean(name, known)}`);
    }
    return this.#hopFields(found, index);
  }

  #hopFields(map: DocMap, index: number): HopConfig {
    this.#checkReferences(map);
    const selector = mapOf(map, "selector");
    const nodes = listOf(map, "nodes");
    return {
      name: textOf(map, "name") || `hop-${index}`,
      nodes: nodes.map((node, nodeIndex) => this.#node(node, nodeIndex)),
      ...(selector === undefined ? {} : { selector: selectorOf(selector) }),
      bypasses: namesOf(map, "bypass", "bypasses"),
      ...optional("resolver", textOf(map, "resolver")),
      ...optional("hosts", textOf(map, "hosts")),
      metadata: this.#metadata(map),
    };
  }

  #node(map: DocMap, index: number): NodeConfig {
    this.#checkReferences(map);
    const connector = this.#connector(mapOf(map, "connector") ?? {});
    const dialer = this.#dialer(mapOf(map, "dialer") ?? {});
    const addr = textOf(map, "addr");
    if (connector.type !== "direct" && parseHostPort(addr) === undefined) {
      const message = `addr: ${JSON.stringify(addr)} is not HOST:PORT (port 0 to 65535)`;
      throw configError(this.#place(map, "addr"), message);
    }
    const node: NodeConfig = {
      name: textOf(map, "name") || `node-${index}`,
      addr,
      bypasses: namesOf(map, "bypass", "bypasses"),
      ...optional("resolver", textOf(map, "resolver")),
      ...optional("hosts", textOf(map, "hosts")),
      connector,
      dialer,
      metadata: this.#metadata(map),
      place: this.#place(map),
    };
    checkNodeKeys(node, this.#reading);
    return node;
  }

  #connector(map: DocMap): ConnectorConfig {
    const type = this.#type(map, "connector", "http", CONNECTOR_WORDS);
    const auth = mapOf(map, "auth");
    return {
      type,
      ...(auth === undefined ? {} : { auth: authOf(auth) }),
      metadata: this.#metadata(map),
    };
  }

  #dialer(map: DocMap): DialerConfig {
    const type = this.#type(map, "dialer", "tcp", DIALER_WORDS);
    const auth = mapOf(map, "auth");
    const tls = mapOf(map, "tls");
    return {
      type,
      ...(auth === undefined ? {} : { auth: authOf(auth) }),
      ...(tls === undefined ? {} : { tls: tlsOf(tls) }),
      metadata: this.#metadata(map),
    };
  }
}
