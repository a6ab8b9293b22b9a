/** Services with their handlers, listeners and targets: from document to model. */
import { configError } from "../errors.ts";
import { ownKey } from "./document.ts";
import type { DocMap, Reading } from "./document.ts";
import { networkOf } from "./chain-model.ts";
import { given, listOf, mapOf, namesOf, numberOf, optional, textOf } from "./fields.ts";
import { checkServiceKeys } from "./key-check.ts";
import type {
  ForwarderConfig,
  ForwardNodeConfig,
  HandlerConfig,
  ListenerConfig,
  ServiceConfig,
} from "./model.ts";
import { parseHostPort } from "./net.ts";
import {
  chainGroupOf,
  metadataOf,
  referencesOf,
  selectionOf,
  selectorOf,
  tlsOf,
  typeOf,
} from "./parts.ts";
import type { Scope } from "./parts.ts";
import { authOf } from "./sections.ts";
import { checkTunnel } from "./tunnel-check.ts";
import { DEVICE_LISTENERS, HANDLER_WORDS, LISTENER_WORDS } from "./words.ts";

export function servicesOf(scope: Scope): ServiceConfig[] {
  const { reading } = scope;
  const services = listOf(scope.document, "services").flatMap(
    (map) => reading.attempt(() => serviceOf(map, scope)) ?? [],
  );
  for (const service of services) warnOwnTarget(service, services, reading);
  return services;
}

/**
 * A tunnel whose packets are meant for another service of ours, but go through the chain: they
 * reach that port of the last node instead.
 */
function warnOwnTarget(
  service: ServiceConfig,
  services: readonly ServiceConfig[],
  reading: Reading,
): void {
  const { handler, forwarder, place } = service;
  if (handler.chain === undefined || !["tun", "tap"].includes(handler.type)) return;
  for (const { addr } of forwarder?.nodes ?? []) {
    const target = parseHostPort(addr);
    if (target === undefined || !["", "localhost", "127.0.0.1", "::1"].includes(target.host))
      continue;
    const isOwn = services.some(
      (other) => other !== service && parseHostPort(other.addr)?.port === target.port,
    );
    if (!isOwn) continue;
    const why = `${handler.type} target ${addr} is a local service but goes through the chain`;
    reading.warn(place, `${why}; give the chain to that service only`);
  }
}

function serviceOf(map: DocMap, scope: Scope): ServiceConfig {
  const { reading, names } = scope;
  names.check(map);
  names.checkRecorders(map, ownKey(map, "recorders"));
  const listener = listenerOf(mapOf(map, "listener") ?? {}, scope);
  const handler = handlerOf(mapOf(map, "handler") ?? {}, scope);
  const addr = textOf(map, "addr");
  if (!DEVICE_LISTENERS.has(listener.type) && parseHostPort(addr) === undefined) {
    const message = `addr: ${JSON.stringify(addr)} is not [HOST]:PORT (port 0 to 65535)`;
    reading.fault(configError(reading.places.of(map, "addr"), message));
  }
  const forwarder = mapOf(map, "forwarder");
  const service: ServiceConfig = {
    name: textOf(map, "name"),
    addr,
    listener,
    handler,
    ...(forwarder === undefined ? {} : { forwarder: forwarderOf(forwarder, scope) }),
    ...referencesOf(map),
    admissions: namesOf(map, "admission", "admissions"),
    loggers: namesOf(map, "logger", "loggers"),
    metadata: metadataOf(map, reading),
    place: reading.places.of(map),
  };
  checkServiceKeys(service, reading);
  if (!reading.compat) checkTunnel(service, scope);
  return service;
}

function listenerOf(map: DocMap, scope: Scope): ListenerConfig {
  const { reading, names } = scope;
  names.check(map);
  chainGroupOf(map, scope);
  const auth = mapOf(map, "auth");
  const tls = mapOf(map, "tls");
  return {
    type: typeOf(map, "listener", "tcp", LISTENER_WORDS, reading),
    ...optional("chain", textOf(map, "chain")),
    ...(auth === undefined ? {} : { auth: authOf(auth) }),
    ...(tls === undefined ? {} : { tls: tlsOf(tls) }),
    metadata: metadataOf(map, reading),
  };
}

function handlerOf(map: DocMap, scope: Scope): HandlerConfig {
  const { reading } = scope;
  scope.names.check(map);
  const auth = mapOf(map, "auth");
  const named = namesOf(map, "auther", "authers");
  const retries = numberOf(map, "retries");
  if (retries !== undefined && (retries < 0 || retries > RETRIES_MAX)) {
    const why = `retries: ${retries} is outside 0 … ${RETRIES_MAX}`;
    reading.fault(configError(reading.places.of(map, "retries"), why));
  }
  return {
    type: typeOf(map, "handler", "auto", HANDLER_WORDS, reading),
    ...optional("chain", textOf(map, "chain")),
    ...given("chainGroup", chainGroupOf(map, scope)),
    ...(retries === undefined ? {} : { retries }),
    ...(auth === undefined ? {} : { auth: authOf(auth) }),
    ...(named.length === 0 ? {} : { authers: named, auths: [] }),
    ...(auth === undefined ? {} : { auths: [authOf(auth)] }),
    metadata: metadataOf(map, reading),
  };
}

const RETRIES_MAX = 1000;

function forwarderOf(map: DocMap, scope: Scope): ForwarderConfig {
  const { reading, names } = scope;
  const selector = mapOf(map, "selector");
  const hop = textOf(map, "hop") || textOf(map, "name");
  const nodes = listOf(map, "nodes").map((node) => targetOf(node, scope));
  if (hop !== "" && nodes.length === 0) {
    const key = textOf(map, "hop") === "" ? "name" : "hop";
    names.require("hops", hop, "forwarder", reading.places.of(map, key));
  }
  return {
    nodes,
    ...optional("hop", nodes.length === 0 ? hop : ""),
    ...(selector === undefined ? {} : { selector: selectorOf(selector, reading) }),
  };
}

function targetOf(map: DocMap, scope: Scope): ForwardNodeConfig {
  const { reading, names } = scope;
  names.check(map);
  const addr = textOf(map, "addr");
  const bypasses = namesOf(map, "bypass", "bypasses");
  // Without a port it is a target of IP packets, which tun has.
  if (addr === "" || (/:[^\]:]*$/.test(addr) && parseHostPort(addr) === undefined)) {
    const why = `addr: ${JSON.stringify(addr)} is not HOST:PORT (port 0 to 65535)`;
    reading.fault(configError(reading.places.of(map, "addr"), why));
  }
  return {
    name: textOf(map, "name"),
    addr,
    ...optional("network", networkOf(map, scope)),
    ...(bypasses.length === 0 ? {} : { bypasses }),
    ...selectionOf(map),
    ...given("metadata", mapOf(map, "metadata")),
  };
}
