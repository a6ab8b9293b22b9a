/**
 * The objects beside services and chains make sense: addresses are addresses, rules can match,
 * URLs are URLs, and what they refer to exists. GOST skips what it cannot read, which disables a
 * bypass or loses a host without a word.
 */
import { configError } from "../errors.ts";
import type { DocMap } from "./document.ts";
import { listOf, mapOf, numberOf, textOf, textsOf } from "./fields.ts";
import { maskUrl } from "./mask.ts";
import { parseCidr, parseHostPort, parseIp, parseNetwork, parsePort } from "./net.ts";
import type { Scope } from "./parts.ts";
import { didYouMean } from "./suggest.ts";

export function checkSections(scope: Scope): void {
  if (scope.reading.compat) return;
  const { document } = scope;
  for (const section of ["bypasses", "admissions"]) {
    for (const map of listOf(document, section)) checkMatchers(map, section, scope);
  }
  for (const map of listOf(document, "resolvers")) checkResolver(map, scope);
  for (const map of listOf(document, "hosts")) checkHosts(map, scope);
  for (const map of listOf(document, "routers")) checkRouter(map, scope);
  for (const map of listOf(document, "authers")) checkAuther(map, scope);
  const sourced = ["bypasses", "admissions", "authers", "hosts", "routers", "hops"];
  for (const section of sourced) {
    for (const map of listOf(document, section)) checkSource(map, scope);
  }
  for (const section of ["api", "metrics", "profiling"]) checkEndpoint(section, scope);
}

/** Notes that the value of `key` is wrong. */
function fault(map: DocMap, key: string, why: string, { reading }: Scope): void {
  reading.fault(configError(reading.places.of(map, key), why));
}

const NETWORKS = ["", "tcp", "udp"];

function checkMatchers(map: DocMap, section: string, scope: Scope): void {
  const network = textOf(map, "network");
  if (!NETWORKS.includes(network)) {
    const why = `network: ${JSON.stringify(network)} is not tcp or udp`;
    fault(map, "network", `${why}${didYouMean(network, NETWORKS)}`, scope);
  }
  for (const rule of textsOf(map, "matchers")) {
    const why = section === "bypasses" ? ruleFault(rule) : clientFault(rule);
    if (why === undefined) continue;
    fault(map, "matchers", `matchers: ${JSON.stringify(rule)} ${why}`, scope);
  }
}

/** A rule of a bypass that GOST reads as a name which never matches. */
function ruleFault(rule: string): string | undefined {
  const text = rule.trim();
  const cidr = /^([0-9a-fA-F:.]+)\/(\d+)(:.*)?$/.exec(text);
  if (cidr !== null) {
    const bare = `${cidr[1] ?? ""}/${cidr[2] ?? ""}`;
    return parseCidr(bare) === undefined ? "is not ADDRESS/PREFIX" : undefined;
  }
  const range = /^([0-9.]+)\s*-\s*([0-9.]+)$/.exec(text);
  if (range !== null && range[1]?.includes(".") === true) {
    const ends = [range[1], range[2] ?? ""].map(parseIp);
    if (ends.includes(undefined)) return "is not ADDRESS-ADDRESS";
  }
  const port = /^[^:[\]]*:([^:]*)$/.exec(text)?.[1];
  if (port === undefined || port === "") return undefined;
  const ports = port.split("-").map(parsePort);
  const isRange = ports.length <= 2 && !ports.includes(undefined);
  return isRange && (ports[0] ?? 0) <= (ports.at(-1) ?? 0)
    ? undefined
    : `has no port behind the colon (0 to 65535, or MIN-MAX)`;
}

/** Clients are known by their address only. */
function clientFault(rule: string): string | undefined {
  const looksLikeIp = /^[0-9a-fA-F:.]+(\/\d+)?$/.test(rule.trim()) && /[.:]/.test(rule);
  if (!looksLikeIp || parseNetwork(rule.trim()) !== undefined) return undefined;
  return "is neither an address nor ADDRESS/PREFIX";
}

const SCHEMES = ["udp", "tcp", "tls", "dot", "https", "doh"];
const FAMILIES = ["", "ip4", "ip6", "ipv4", "ipv6"];

function checkResolver(map: DocMap, scope: Scope): void {
  for (const server of listOf(map, "nameservers")) {
    scope.names.check(server);
    const why = nameserverFault(textOf(server, "addr"));
    if (why !== undefined) fault(server, "addr", `addr: ${why}`, scope);
    for (const key of ["prefer", "only"]) {
      const family = textOf(server, key).toLowerCase();
      if (FAMILIES.includes(family)) continue;
      const shown = JSON.stringify(textOf(server, key));
      fault(server, key, `${key}: ${shown} is not ipv4 or ipv6`, scope);
    }
    const clientIp = textOf(server, "clientIP");
    if (clientIp !== "" && parseIp(clientIp) === undefined) {
      fault(server, "clientIP", `clientIP: ${JSON.stringify(clientIp)} is no IP address`, scope);
    }
    if ((numberOf(server, "timeout") ?? 0) < 0) {
      fault(server, "timeout", "timeout: is less than 0", scope);
    }
  }
}

/** `[SCHEME://]HOST[:PORT][/PATH]`. */
function nameserverFault(addr: string): string | undefined {
  const shown = JSON.stringify(maskUrl(addr));
  const cut = addr.indexOf("://");
  const scheme = cut < 0 ? "udp" : addr.slice(0, cut).toLowerCase();
  if (!SCHEMES.includes(scheme)) {
    const known = SCHEMES.join(", ");
    return `${shown} has no scheme of ${known}${didYouMean(scheme, SCHEMES)}`;
  }
  const rest = cut < 0 ? addr : addr.slice(cut + 3);
  const authority = (rest.split(/[/?#]/)[0] ?? "").replace(/^.*@/, "");
  const bare = authority.replace(/^\[(.*)\]$/, "$1");
  if (parseIp(bare) !== undefined || parseHostPort(authority) !== undefined) return undefined;
  if (/^[^\s:[\]]+$/.test(authority)) return undefined;
  return `${shown} is not [SCHEME://]HOST[:PORT]`;
}

function checkHosts(map: DocMap, scope: Scope): void {
  for (const mapping of listOf(map, "mappings")) {
    const ip = textOf(mapping, "ip");
    if (parseIp(ip) === undefined) {
      fault(mapping, "ip", `ip: ${JSON.stringify(ip)} is no IP address`, scope);
    }
    if (textOf(mapping, "hostname") === "") {
      fault(mapping, "hostname", "a mapping has no hostname", scope);
    }
  }
}

function checkRouter(map: DocMap, scope: Scope): void {
  for (const route of listOf(map, "routes")) {
    const key = textOf(route, "dst") === "" ? "net" : "dst";
    const dst = textOf(route, key);
    if (parseCidr(dst) === undefined) {
      fault(route, key, `${key}: ${JSON.stringify(dst)} is not ADDRESS/PREFIX`, scope);
    }
    const gateway = textOf(route, "gateway");
    if (parseIp(gateway) === undefined) {
      fault(route, "gateway", `gateway: ${JSON.stringify(gateway)} is no IP address`, scope);
    }
  }
}

function checkAuther(map: DocMap, scope: Scope): void {
  const users = new Set<string>();
  for (const auth of listOf(map, "auths")) {
    const user = textOf(auth, "username");
    const place = scope.reading.places.of(auth);
    if (user === "") scope.reading.warn(place, "a user without username is never accepted");
    if (users.has(user)) {
      const why = `the user ${JSON.stringify(user)} is listed twice; the last password counts`;
      scope.reading.warn(place, why);
    }
    users.add(user);
  }
}

function checkSource(map: DocMap, scope: Scope): void {
  const http = mapOf(map, "http");
  if (http !== undefined) {
    const url = textOf(http, "url");
    const isUrl = /^https?:$/.test(URL.canParse(url) ? new URL(url).protocol : "");
    if (!isUrl) {
      const shown = JSON.stringify(maskUrl(url));
      fault(http, "url", `url: ${shown} is no http:// or https:// URL`, scope);
    }
  }
  const file = mapOf(map, "file");
  if (file !== undefined && textOf(file, "path") === "") {
    fault(map, "file", "file: there is no path", scope);
  }
}

/** `api`, `metrics`, `profiling`. */
function checkEndpoint(section: string, scope: Scope): void {
  const map = mapOf(scope.document, section);
  if (map === undefined) return;
  scope.names.check(map);
  const addr = textOf(map, "addr");
  if (addr === "" || addr.startsWith("unix://") || parseHostPort(addr) !== undefined) return;
  const why = `addr: ${JSON.stringify(addr)} is not [HOST]:PORT (port 0 to 65535)`;
  fault(map, "addr", why, scope);
}
