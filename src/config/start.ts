/**
 * What must hold before anything is started, and is not needed to print or check a configuration:
 * only what is built is used (anything else is refused, never ignored where that would leak or
 * open), files exist, users and passwords are at hand, device options make sense.
 */
import { accessSync, constants } from "node:fs";
import { codeOf, configError, messageOf } from "../errors.ts";
import { isDocMap, ownKey } from "./document.ts";
import type { DocMap, DocValue, Reading } from "./document.ts";
import { findMeta } from "./metadata.ts";
import type {
  Auth,
  ChainConfig,
  Config,
  HopConfig,
  NodeConfig,
  Place,
  ServiceConfig,
  TlsConfig,
} from "./model.ts";
import { formatIp, parseHostPort, parseIp } from "./net.ts";
import { resolveAuth } from "./secrets.ts";
import { tungoOptions } from "./tungo.ts";
import { CONNECTORS_BUILT, DIALERS_BUILT, HANDLERS_BUILT, LISTENERS_BUILT } from "./words.ts";

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
  if (config.services.length === 0) {
    throw configError("", "there is no service to run; give -L, a file with services, or --help");
  }
  refuseUnbuilt(document, reading);
  for (const service of config.services) checkService(service, reading);
  checkDeviceNames(config.services);
  const used = new Set(config.services.flatMap(chainNames));
  for (const chain of config.chains) if (used.has(chain.name)) checkChain(chain, reading);
  checkTlsFiles(config.tls, "tls");
  const take = (auth: Auth, place: Place): Auth => {
    const { auth: resolved, warning } = resolveAuth(auth, place, environment);
    if (warning !== undefined) reading.warn(place, warning);
    return resolved;
  };
  const services = config.services.map((service) => withSecrets(service, take));
  for (const service of services) checkOpen(service, reading);
  const chains = config.chains.map((chain) =>
    used.has(chain.name) ? chainWithSecrets(chain, take) : chain,
  );
  return { ...config, services, chains };
}

function chainNames(service: ServiceConfig): string[] {
  return [service.handler.chain, service.listener.chain].filter((name) => name !== undefined);
}

/** References that are read and printed, and would be without effect. */
const REFUSED_SERVICE = "admission admissions bypass bypasses resolver hosts limiter climiter";
const REFUSED = {
  service: `${REFUSED_SERVICE} rlimiter observer recorders`.split(" "),
  handler: "chainGroup limiter observer".split(" "),
  listener: "chainGroup auther authers auth".split(" "),
  hop: "bypass bypasses resolver hosts plugin file redis http".split(" "),
  node: "bypass bypasses resolver hosts matcher filter http network".split(" "),
  auther: "plugin file redis http".split(" "),
} as const;
const REFUSED_METADATA = ["netns", "netns.out", "proxyProtocol", "ignoreChain"];
const SECTIONS_WITHOUT_EFFECT = ["api", "metrics", "profiling"];

function refuseUnbuilt(document: DocMap, reading: Reading): void {
  for (const service of mapsIn(document, "services")) {
    refuseKeys(service, REFUSED.service, reading);
    refuseMetadata(service, reading);
    for (const part of ["handler", "listener"] as const) {
      const map = ownKey(service, part);
      if (isDocMap(map)) refuseKeys(map, REFUSED[part], reading);
    }
    if (ownKey(service, "logger") !== undefined || ownKey(service, "loggers") !== undefined) {
      reading.warn(reading.places.of(service), "logger has no effect yet");
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
    throw configError(reading.places.of(map, key), `${key} is not supported yet; remove it`);
  }
}

function refuseMetadata(map: DocMap, reading: Reading): void {
  const metadata = ownKey(map, "metadata");
  if (!isDocMap(metadata)) return;
  for (const name of REFUSED_METADATA) {
    const found = findMeta(metadata, name);
    if (found === undefined || found.value === "false" || found.value === false) continue;
    const place = reading.places.of(metadata, found.key) || reading.places.of(map);
    throw configError(place, `${found.key} is not supported yet; remove it`);
  }
}

function refuseType(what: string, type: string, built: ReadonlySet<string>, place: Place): void {
  if (built.has(type)) return;
  const known = Array.from(built).sort().join(", ");
  throw configError(place, `the ${what} ${type} is not supported yet (there are ${known})`);
}

function checkService(service: ServiceConfig, reading: Reading): void {
  const { handler, listener, place } = service;
  refuseType("handler", handler.type, HANDLERS_BUILT, place);
  refuseType("listener", listener.type, LISTENERS_BUILT, place);
  if ((handler.type === "tungo") !== (listener.type === "tungo")) {
    throw configError(place, "tungo is handler and listener at once: write tungo://");
  }
  if (listener.tls !== undefined && (listener.type === "tcp" || listener.type === "ws")) {
    const remedy = listener.type === "tcp" ? "tls" : "wss";
    const why = `a certificate is given, and ${listener.type} does not encrypt`;
    throw configError(place, `${why}; use the listener ${remedy}`);
  }
  checkTlsFiles(listener.tls, place);
  if (handler.type !== "tungo") return;
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

/** A service that anybody may use, reachable by anybody, is said aloud; so are empty passwords. */
function checkOpen(service: ServiceConfig, reading: Reading): void {
  const { handler, place } = service;
  if (handler.type === "tungo") return;
  const bare = handler.auths?.find((auth) => auth.password === "");
  if (bare !== undefined) {
    const user = JSON.stringify(bare.username);
    throw configError(place, `the user ${user} has no password, so any would do; give one`);
  }
  if (handler.auths !== undefined || service.forwarder !== undefined) return;
  const host = parseHostPort(service.addr)?.host ?? "";
  if (isLoopback(host)) return;
  const where = host === "" ? "every address" : host;
  const what = `${handler.type} on ${where} without authentication is open to everybody`;
  reading.warn(place, `${what}; give USER:PASSWORD@, authFile= or listen on 127.0.0.1`);
}

function isLoopback(host: string): boolean {
  if (host.toLowerCase() === "localhost") return true;
  const address = parseIp(host);
  if (address === undefined) return false;
  return address.family === 4 ? address.bytes[0] === 127 : formatIp(address) === "::1";
}

function checkChain(chain: ChainConfig, reading: Reading): void {
  if (chain.hops.length === 0) {
    throw configError("", `the chain ${chain.name} has no hops; everything would go direct`);
  }
  for (const hop of chain.hops) checkHop(chain, hop, reading);
}

function checkHop(chain: ChainConfig, hop: HopConfig, reading: Reading): void {
  const first = hop.nodes[0];
  if (first === undefined) {
    throw configError("", `the hop ${hop.name} of ${chain.name} has no nodes`);
  }
  for (const node of hop.nodes) checkNode(node);
  if (hop.nodes.length > 1) {
    const what = `the hop ${hop.name} has ${hop.nodes.length} nodes; only the first is used yet`;
    reading.warn(first.place, what);
  }
}

function checkNode(node: NodeConfig): void {
  const { connector, dialer, place } = node;
  refuseType("connector", connector.type, CONNECTORS_BUILT, place);
  refuseType("dialer", dialer.type, DIALERS_BUILT, place);
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

type Take = (auth: Auth, place: Place) => Auth;

function withSecrets(service: ServiceConfig, take: Take): ServiceConfig {
  const { handler, place } = service;
  if (handler.auths === undefined) return service;
  const auths = handler.auths.map((auth) => take(auth, place));
  const auth = handler.auth === undefined ? {} : { auth: take(handler.auth, place) };
  return { ...service, handler: { ...handler, ...auth, auths } };
}

function chainWithSecrets(chain: ChainConfig, take: Take): ChainConfig {
  const nodeOf = (node: NodeConfig): NodeConfig => {
    const auth = node.connector.auth;
    if (auth === undefined) return node;
    return { ...node, connector: { ...node.connector, auth: take(auth, node.place) } };
  };
  const hops = chain.hops.map((hop) => ({ ...hop, nodes: hop.nodes.map(nodeOf) }));
  return { ...chain, hops };
}
