/**
 * From document to model: defaults, types that exist, names that are found, no name twice. Nothing
 * outside the document is looked at here (files, devices: start.ts), so that -O and `check` can.
 */
import { configError } from "../errors.ts";
import { isDocMap, ownKey, setKey } from "./document.ts";
import type { DocMap, DocValue, Reading } from "./document.ts";
import { checkNodeKeys, checkServiceKeys } from "./keys.ts";
import { validateLog } from "./log-config.ts";
import type {
  Auth,
  AutherConfig,
  ChainConfig,
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
const MODELLED = new Set(["services", "chains", "hops", "authers", "log", "tls"]);

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
    log: validateLog(mapOf(document, "log"), reading),
    ...(tls === undefined ? {} : { tls: tlsOf(tls) }),
    rest,
  };
}

function listOf(map: DocMap, key: string): DocMap[] {
  const value = ownKey(map, key);
  return Array.isArray(value) ? value.filter(isDocMap) : [];
}

function mapOf(map: DocMap, key: string): DocMap | undefined {
  const value = ownKey(map, key);
  return isDocMap(value) ? value : undefined;
}

function textOf(map: DocMap, key: string): string {
  const value = ownKey(map, key);
  return typeof value === "string" ? value : "";
}

function numberOf(map: DocMap, key: string): number | undefined {
  const value = ownKey(map, key);
  return typeof value === "number" ? value : undefined;
}

function textsOf(map: DocMap, key: string): string[] {
  const value = ownKey(map, key);
  const items = Array.isArray(value) ? value : [value];
  return items.filter((item): item is string => typeof item === "string" && item !== "");
}

/** `{ [key]: value }`, or nothing for an empty text. */
function optional<K extends string>(key: K, value: string): Partial<Record<K, string>> {
  return value === "" ? {} : ({ [key]: value } as Record<K, string>);
}

function authOf(map: DocMap): Auth {
  return {
    username: textOf(map, "username"),
    password: textOf(map, "password"),
    ...optional("file", textOf(map, "file")),
    ...optional("env", textOf(map, "env")),
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
      ...optional("bypass", textsOf(map, "bypass").concat(textsOf(map, "bypasses")).join(",")),
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
      ...(retries === undefined ? {} : { retries }),
      ...(auth === undefined ? {} : { auth: authOf(auth) }),
      ...optional("auther", authers[0] ?? ""),
      ...(auths === undefined ? {} : { auths }),
      metadata: this.#metadata(map),
    };
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
      return { name: textOf(node, "name"), addr: textOf(node, "addr") };
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
      ...optional("bypass", textsOf(map, "bypass").concat(textsOf(map, "bypasses")).join(",")),
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
      ...optional("bypass", textsOf(map, "bypass").concat(textsOf(map, "bypasses")).join(",")),
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
