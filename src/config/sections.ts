/**
 * The sections beside services and chains: bypasses, admissions, resolvers, hosts, routers,
 * loggers, api and metrics. What they say is taken over here.
 */
import { ownKey } from "./document.ts";
import type { DocMap, Reading } from "./document.ts";
import { given, listOf, mapOf, numberOf, optional, textOf, textsOf } from "./fields.ts";
import { validateLog } from "./log-config.ts";
import type {
  Auth,
  EndpointConfig,
  HostsConfig,
  LoggerConfig,
  MatcherConfig,
  NameserverConfig,
  ResolverConfig,
  RouterTableConfig,
  SourceConfig,
} from "./model.ts";

export function authOf(map: DocMap): Auth {
  return {
    username: textOf(map, "username"),
    password: textOf(map, "password"),
    ...optional("file", textOf(map, "file")),
    ...optional("env", textOf(map, "env")),
  };
}

export function sourceOf(map: DocMap, reading: Reading): SourceConfig {
  const path = textOf(mapOf(map, "file") ?? {}, "path");
  const http = mapOf(map, "http");
  const url = http === undefined ? "" : textOf(http, "url");
  const timeoutMs = http === undefined ? undefined : numberOf(http, "timeout");
  return {
    ...(path === "" ? {} : { file: { path } }),
    ...(url === "" ? {} : { http: { url, ...given("timeoutMs", timeoutMs) } }),
    ...given("reloadMs", numberOf(map, "reload")),
    place: reading.places.of(map),
  };
}

/** `bypasses` or `admissions`. */
export function matchersOf(document: DocMap, section: string, reading: Reading): MatcherConfig[] {
  return listOf(document, section).map((map) => ({
    name: textOf(map, "name"),
    whitelist: ownKey(map, "whitelist") === true || ownKey(map, "reverse") === true,
    matchers: textsOf(map, "matchers"),
    network: textOf(map, "network"),
    source: sourceOf(map, reading),
  }));
}

export function resolversOf(document: DocMap, reading: Reading): ResolverConfig[] {
  return listOf(document, "resolvers").map((map) => ({
    name: textOf(map, "name"),
    nameservers: listOf(map, "nameservers").map(nameserverOf),
    place: reading.places.of(map),
  }));
}

function nameserverOf(map: DocMap): NameserverConfig {
  return {
    addr: textOf(map, "addr"),
    ...optional("chain", textOf(map, "chain")),
    ...optional("prefer", textOf(map, "prefer")),
    ...optional("only", textOf(map, "only")),
    ...optional("hostname", textOf(map, "hostname")),
    ...optional("clientIP", textOf(map, "clientIP")),
    ...given("ttlMs", numberOf(map, "ttl")),
    ...given("timeoutMs", numberOf(map, "timeout")),
    ...(ownKey(map, "async") === true ? { isAsync: true } : {}),
  };
}

export function hostsOf(document: DocMap, reading: Reading): HostsConfig[] {
  return listOf(document, "hosts").map((map) => ({
    name: textOf(map, "name"),
    mappings: listOf(map, "mappings").map((mapping) => ({
      ip: textOf(mapping, "ip"),
      hostname: textOf(mapping, "hostname"),
      aliases: textsOf(mapping, "aliases"),
    })),
    source: sourceOf(map, reading),
  }));
}

export function routersOf(document: DocMap, reading: Reading): RouterTableConfig[] {
  return listOf(document, "routers").map((map) => ({
    name: textOf(map, "name"),
    routes: listOf(map, "routes").map((route) => ({
      dst: textOf(route, "dst") || textOf(route, "net"),
      gateway: textOf(route, "gateway"),
    })),
    source: sourceOf(map, reading),
  }));
}

export function loggersOf(document: DocMap, reading: Reading): LoggerConfig[] {
  return listOf(document, "loggers").map((map) => ({
    name: textOf(map, "name"),
    log: validateLog(mapOf(map, "log"), reading),
  }));
}

/** `api` or `metrics`; undefined without an address. */
export function endpointOf(
  document: DocMap,
  section: string,
  reading: Reading,
): EndpointConfig | undefined {
  const map = mapOf(document, section);
  if (map === undefined || textOf(map, "addr") === "") return undefined;
  const auth = mapOf(map, "auth");
  return {
    addr: textOf(map, "addr"),
    ...optional("path", textOf(map, "path")),
    ...optional("pathPrefix", textOf(map, "pathPrefix")),
    ...(ownKey(map, "accesslog") === true ? { accesslog: true } : {}),
    ...given("auth", auth === undefined ? undefined : authOf(auth)),
    ...optional("auther", textOf(map, "auther")),
    place: reading.places.of(document, section),
  };
}
