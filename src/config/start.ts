/**
 * What must hold before anything is started, and is not needed to print or check a configuration:
 * only what is built is used (anything else is refused, never ignored where that would leak or
 * open), files exist, users and passwords are at hand, device options make sense.
 */
import { accessSync, constants } from "node:fs";
import { codeOf, configError, messageOf } from "../errors.ts";
import { isDocMap, ownKey } from "./document.ts";
import type { DocMap, DocValue, Reading } from "./document.ts";
import { interfacesOf, soMarkOf } from "./interfaces.ts";
import { findMeta, metaBool } from "./metadata.ts";
import type {
  Auth,
  AutherConfig,
  ChainConfig,
  Config,
  HopConfig,
  Metadata,
  NodeConfig,
  Place,
  ServiceConfig,
  TlsConfig,
} from "./model.ts";
import { resolveAuths } from "./secrets.ts";
import { checkSelections } from "./selection-check.ts";
import { refuseParts } from "./unbuilt.ts";
import { didYouMean } from "./suggest.ts";
import { tungoOptions } from "./tungo.ts";
import {
  CONNECTORS_BUILT,
  CONNECTORS_OF_UDP,
  DIALERS_BUILT,
  HANDLERS_BUILT,
  LISTENERS_BUILT,
  STRATEGY_WORDS,
} from "./words.ts";

type Environment = Readonly<Record<string, string | undefined>>;

export interface StartInput {
  readonly config: Config;
  /** What the configuration was made of: has the references that the model leaves out. */
  readonly document: DocMap;
  readonly reading: Reading;
  readonly environment: Environment;
}

/** The configuration to run, secrets in place; throws TsgostError (exit code 2). */
export function prepareStart(input: StartInput): Config {
  const { config, document, reading, environment } = input;
  if (config.services.length === 0 && config.api === undefined) {
    throw configError("", "there is no service to run; give -L, a file with services, or --help");
  }
  refuseUnbuilt(document, reading);
  refuseParts(document, reading);
  checkSelections(document, reading);
  for (const service of config.services) {
    reading.attempt(() => {
      checkService(service, reading);
    });
  }
  reading.attempt(() => {
    checkDeviceNames(config.services);
  });
  const used = usedChains(config);
  for (const chain of config.chains) {
    if (!used.has(chain.name)) continue;
    reading.attempt(() => {
      checkChain(chain);
    });
  }
  reading.attempt(() => {
    checkTlsFiles(config.tls, "tls");
  });
  const secrets = secretsOf(environment, reading);
  const services = config.services.flatMap(
    (service) => reading.attempt(() => withPasswords(service, secrets, config.authers)) ?? [],
  );
  const chains = config.chains.flatMap((chain) =>
    used.has(chain.name)
      ? (reading.attempt(() => chainWithSecrets(chain, secrets)) ?? [])
      : [chain],
  );
  return { ...config, services, chains };
}

function chainNames({ handler, listener }: ServiceConfig): string[] {
  const group = handler.chainGroup?.chains.map(({ chain }) => chain) ?? [];
  return [handler.chain, listener.chain, ...group].filter((name) => name !== undefined);
}

/** The chains that services go through, and those that nameservers are reached through. */
function usedChains(config: Config): ReadonlySet<string> {
  const used = new Set(config.services.flatMap(chainNames));
  const viaResolver = (name: string | undefined): void => {
    const resolver = config.resolvers.find((one) => one.name === name);
    for (const { chain } of resolver?.nameservers ?? []) {
      if (chain !== undefined && chain !== "") used.add(chain);
    }
  };
  for (const { resolver } of config.services) viaResolver(resolver);
  // Chains that are added on the way are visited, too.
  for (const name of used) {
    for (const hop of config.chains.find((chain) => chain.name === name)?.hops ?? []) {
      viaResolver(hop.resolver);
      for (const node of hop.nodes) viaResolver(node.resolver);
    }
  }
  return used;
}

/** References that are read and printed, and would be without effect. */
const REFUSED_SERVICE = "limiter climiter";
const REFUSED = {
  service: `${REFUSED_SERVICE} rlimiter observer recorders`.split(" "),
  handler: "limiter observer".split(" "),
  listener: "chainGroup auther authers auth".split(" "),
  hop: "plugin file redis http".split(" "),
  node: "http network netns".split(" "),
  auther: "plugin redis".split(" "),
} as const;
const REFUSED_METADATA = ["netns", "netns.out", "proxyProtocol", "ignoreChain"];
const SECTIONS_WITHOUT_EFFECT = ["profiling"];

function refuseUnbuilt(document: DocMap, reading: Reading): void {
  for (const service of mapsIn(document, "services")) {
    refuseKeys(service, REFUSED.service, reading);
    refuseMetadata(service, reading);
    for (const part of ["handler", "listener"] as const) {
      const map = ownKey(service, part);
      if (!isDocMap(map)) continue;
      refuseKeys(map, REFUSED[part], reading);
      refuseMetadata(map, reading);
    }
  }
  const chains = mapsIn(document, "chains").flatMap((chain) => mapsIn(chain, "hops"));
  for (const hop of [...chains, ...mapsIn(document, "hops")]) {
    refuseKeys(hop, REFUSED.hop, reading);
    refuseMetadata(hop, reading);
    for (const node of mapsIn(hop, "nodes")) {
      refuseKeys(node, REFUSED.node, reading);
      refuseMetadata(node, reading);
    }
  }
  for (const auther of mapsIn(document, "authers")) refuseKeys(auther, REFUSED.auther, reading);
  for (const section of SECTIONS_WITHOUT_EFFECT) {
    if (ownKey(document, section) === undefined) continue;
    reading.warn(reading.places.of(document, section), `${section} has no effect yet`);
  }
}

function mapsIn(map: DocMap, key: string): DocMap[] {
  const value = ownKey(map, key);
  return Array.isArray(value) ? value.filter(isDocMap) : [];
}

function isGiven(value: DocValue | undefined): boolean {
  if (value === undefined || value === null || value === "" || value === false) return false;
  return !Array.isArray(value) || value.length > 0;
}

function refuseKeys(map: DocMap, keys: readonly string[], reading: Reading): void {
  for (const key of keys) {
    if (!isGiven(ownKey(map, key))) continue;
    const why = `${key} is not supported yet; remove it`;
    reading.fault(configError(reading.places.of(map, key), why));
  }
}

function refuseMetadata(map: DocMap, reading: Reading): void {
  const metadata = ownKey(map, "metadata");
  if (!isDocMap(metadata)) return;
  for (const name of REFUSED_METADATA) {
    const found = findMeta(metadata, name);
    if (found === undefined || found.value === "false" || found.value === false) continue;
    const place = reading.places.of(metadata, found.key) || reading.places.of(map);
    reading.fault(configError(place, `${found.key} is not supported yet; remove it`));
  }
}

function refuseType(what: string, type: string, built: ReadonlySet<string>, place: Place): void {
  if (built.has(type)) return;
  const known = Array.from(built).sort().join(", ");
  throw configError(place, `the ${what} ${type} is not supported yet (there are ${known})`);
}

/** Listeners without encryption, and what to use with a certificate. */
const PLAIN_LISTENERS: Readonly<Record<string, string>> = { tcp: "tls", ws: "wss", mws: "mwss" };

function checkService(service: ServiceConfig, reading: Reading): void {
  const { handler, listener, place } = service;
  refuseType("handler", handler.type, HANDLERS_BUILT, place);
  refuseType("listener", listener.type, LISTENERS_BUILT, place);
  if ((handler.type === "tungo") !== (listener.type === "tungo")) {
    throw configError(place, "tungo is handler and listener at once: write tungo://");
  }
  const remedy = PLAIN_LISTENERS[listener.type];
  if (listener.tls !== undefined && remedy !== undefined) {
    const why = `a certificate is given, and ${listener.type} does not encrypt`;
    throw configError(place, `${why}; use the listener ${remedy}`);
  }
  checkTlsFiles(listener.tls, place);
  checkInterface(service.metadata, place);
  if (handler.type !== "tungo") return;
  checkNoAuto(service.metadata, place);
  if ((service.admissions?.length ?? 0) > 0) {
    throw configError(place, "admission is not supported by tungo, where nobody connects");
  }
  const { warnings } = tungoOptions(service, reading.places);
  for (const warning of warnings) reading.warn(place, warning);
}

function checkDeviceNames(services: readonly ServiceConfig[]): void {
  const names = new Map<string, ServiceConfig>();
  for (const service of services) {
    if (service.handler.type !== "tungo") continue;
    const { options } = tungoOptions(service);
    if (options.name.includes("%") || options.tunFd !== undefined) continue;
    const other = names.get(options.name);
    if (other !== undefined) {
      const both = `${other.name} and ${service.name}`;
      throw configError(service.place, `name: ${both} both want the device ${options.name}`);
    }
    names.set(options.name, service);
  }
}

/** GOST lets everybody in who names a user without a password; here that must be said. */
function checkPasswords(service: ServiceConfig, authers: readonly AutherConfig[]): void {
  const { handler, place } = service;
  const lists = authers.filter(({ name }) => handler.authers?.includes(name));
  const listed = lists.flatMap(({ auths }) => auths).filter(({ username }) => username !== "");
  const bare = [...(handler.auths ?? []), ...listed].find(({ password }) => password === "");
  if (bare === undefined || metaBool(handler.metadata, "auth.anyPassword")) return;
  const user = JSON.stringify(bare.username);
  throw configError(
    place,
    `the user ${user} has no password; give one, or allow every password with auth.anyPassword=true`,
  );
}

/** A device that sockets are bound to, and who asks for it. */
export interface BoundDevice {
  readonly name: string;
  readonly place: Place;
}

/** The devices that a service and the hops of its chain leave by: they must exist. */
export function boundDevices(service: ServiceConfig, config: Config): BoundDevice[] {
  const names = chainNames(service);
  const hops = config.chains.filter(({ name }) => names.includes(name)).flatMap(({ hops }) => hops);
  const asked = [
    { metadata: service.metadata, place: service.place },
    ...hops.flatMap((hop) => [
      { metadata: hop.metadata, place: hop.nodes[0]?.place ?? "" },
      ...hop.nodes.map(({ metadata, place }) => ({ metadata, place })),
    ]),
  ];
  return asked.flatMap(({ metadata, place }) => {
    const [only, ...others] = interfacesOf(metadata, place);
    // Of several, those that do not exist are passed over.
    return only?.name === undefined || others.length > 0 ? [] : [{ name: only.name, place }];
  });
}

function checkInterface(metadata: Metadata, place: Place): void {
  soMarkOf(metadata, place);
  interfacesOf(metadata, place);
}

/** `auto` is the address that a client connected to: in a device that is anybody's. */
function checkNoAuto(metadata: Metadata, place: Place): void {
  if (interfacesOf(metadata, place).every(({ auto }) => auto === undefined)) return;
  throw configError(place, "interface: auto means nothing to tungo, where nobody connects");
}

function checkChain(chain: ChainConfig): void {
  if (chain.hops.length === 0) {
    throw configError("", `the chain ${chain.name} has no hops; everything would go direct`);
  }
  for (const hop of chain.hops) checkHop(chain, hop);
  for (const node of chain.hops.flatMap(({ nodes }) => nodes)) checkDatagramNode(chain, node);
}

/** Over the dialer udp there are no streams: neither for a protocol nor for a further hop. */
function checkDatagramNode(chain: ChainConfig, { connector, dialer, place }: NodeConfig): void {
  if (dialer.type !== "udp" || connector.type === "direct") return;
  const only = Array.from(CONNECTORS_OF_UDP).join(" or ");
  if (!CONNECTORS_OF_UDP.has(connector.type)) {
    const what = `the connector ${connector.type} needs a stream, and the dialer udp has none`;
    throw configError(place, `${what}: write ${connector.type}+tcp, or ${only} with udp`);
  }
  if (chain.hops.length === 1) return;
  const why = `the dialer udp must be the only hop of its chain, ${chain.name} has more`;
  throw configError(place, `${why}: datagrams to the node cannot pass other hops`);
}

function checkHop(chain: ChainConfig, hop: HopConfig): void {
  const first = hop.nodes[0];
  if (first === undefined) {
    throw configError("", `the hop ${hop.name} of ${chain.name} has no nodes`);
  }
  checkInterface(hop.metadata, first.place);
  for (const node of hop.nodes) checkNode(node);
  const strategy = hop.selector?.strategy ?? "round";
  if (STRATEGY_WORDS.has(strategy.toLowerCase())) return;
  const hint = didYouMean(strategy, STRATEGY_WORDS);
  const known = Array.from(STRATEGY_WORDS).join(", ");
  const what = `the strategy ${JSON.stringify(strategy)} is not supported (there are ${known})`;
  throw configError(first.place, `${what}${hint}`);
}

function checkNode(node: NodeConfig): void {
  const { connector, dialer, place } = node;
  refuseType("connector", connector.type, CONNECTORS_BUILT, place);
  if (connector.type !== "direct") refuseType("dialer", dialer.type, DIALERS_BUILT, place);
  checkInterface(node.metadata, place);
  checkTlsFiles(dialer.tls, place);
}

function checkTlsFiles(tls: TlsConfig | undefined, place: Place): void {
  if (tls === undefined) return;
  for (const key of ["certFile", "keyFile", "caFile"] as const) {
    const path = tls[key];
    if (path === undefined || path === "") continue;
    try {
      accessSync(path, constants.R_OK);
    } catch (error) {
      const why = codeOf(error) === "ENOENT" ? "no such file" : messageOf(error);
      throw configError(place, `${key}: ${path}: ${why}`, error);
    }
  }
  const [cert = "", key = ""] = [tls.certFile, tls.keyFile];
  if ((cert === "") !== (key === "")) {
    throw configError(place, "certFile and keyFile belong together; give both or none");
  }
}

interface Secrets {
  /** One user: what a client presents. */
  one(auth: Auth, place: Place): Auth;
  /** Every user of a file: whom a server admits. */
  all(auth: Auth, place: Place): readonly Auth[];
}

function secretsOf(environment: Environment, reading: Reading): Secrets {
  const all = (auth: Auth, place: Place): readonly Auth[] => {
    const { auths, warning } = resolveAuths(auth, place, environment);
    if (warning !== undefined) reading.warn(place, warning);
    return auths;
  };
  return { all, one: (auth, place) => all(auth, place)[0] ?? auth };
}

function withPasswords(
  service: ServiceConfig,
  secrets: Secrets,
  authers: readonly AutherConfig[],
): ServiceConfig {
  const result = withSecrets(service, secrets);
  checkPasswords(result, authers);
  return result;
}

function withSecrets(service: ServiceConfig, secrets: Secrets): ServiceConfig {
  const { handler, place } = service;
  if (handler.auths === undefined) return service;
  const auths = handler.auths.flatMap((auth) => secrets.all(auth, place));
  const auth = handler.auth === undefined ? {} : { auth: secrets.one(handler.auth, place) };
  return { ...service, handler: { ...handler, ...auth, auths } };
}

function chainWithSecrets(chain: ChainConfig, secrets: Secrets): ChainConfig {
  const nodeOf = (node: NodeConfig): NodeConfig => {
    const auth = node.connector.auth;
    if (auth === undefined) return node;
    return { ...node, connector: { ...node.connector, auth: secrets.one(auth, node.place) } };
  };
  const hops = chain.hops.map((hop) => ({ ...hop, nodes: hop.nodes.map(nodeOf) }));
  return { ...chain, hops };
}
