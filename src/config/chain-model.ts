/** Chains, hops and nodes: from document to model. */
import { configError } from "../errors.ts";
import { ownKey } from "./document.ts";
import type { DocMap } from "./document.ts";
import { listOf, mapOf, optional, textOf } from "./fields.ts";
import { checkHopKeys, checkNodeKeys } from "./key-check.ts";
import type { ChainConfig, ConnectorConfig, DialerConfig, HopConfig, NodeConfig } from "./model.ts";
import { parseHostPort } from "./net.ts";
import {
  metadataOf,
  referencesOf,
  selectionOf,
  selectorOf,
  tlsOf,
  typeOf,
  warnTwins,
} from "./parts.ts";
import type { Scope } from "./parts.ts";
import { authOf, sourceOf } from "./sections.ts";
import { didYouMean } from "./suggest.ts";
import { CONNECTOR_WORDS, DIALER_WORDS } from "./words.ts";

/** Where a hop's nodes may come from; one with none of these is one of `hops`, by its name. */
const NODE_SOURCES = ["nodes", "plugin", "file", "redis", "http"];

export function chainsOf(scope: Scope): ChainConfig[] {
  const { reading } = scope;
  const chains = listOf(scope.document, "chains").map((map) => ({
    name: textOf(map, "name"),
    hops: listOf(map, "hops").flatMap(
      (hop, index) => reading.attempt(() => chainHop(hop, index, scope)) ?? [],
    ),
    place: reading.places.of(map),
  }));
  // Those that no chain uses are looked at, too.
  for (const [index, map] of listOf(scope.document, "hops").entries()) {
    reading.attempt(() => hopOf(map, index, scope));
  }
  return chains;
}

function chainHop(map: DocMap, index: number, scope: Scope): HopConfig {
  if (NODE_SOURCES.some((key) => ownKey(map, key) !== undefined)) return hopOf(map, index, scope);
  const name = textOf(map, "name");
  const shared = listOf(scope.document, "hops");
  const found = shared.find((hop) => textOf(hop, "name") === name);
  if (found !== undefined) return hopOf(found, index, scope);
  const known = shared.map((hop) => textOf(hop, "name"));
  const what = `the hop ${JSON.stringify(name)} has no nodes and is none of hops`;
  const place = scope.reading.places.of(map);
  scope.reading.fault(configError(place, `${what}${didYouMean(name, known)}`));
  return hopOf(map, index, scope);
}

function hopOf(map: DocMap, index: number, scope: Scope): HopConfig {
  const { reading, names } = scope;
  names.check(map);
  warnTwins(map, "nodes", reading);
  const selector = mapOf(map, "selector");
  const hop: HopConfig = {
    name: textOf(map, "name") || `hop-${index}`,
    nodes: listOf(map, "nodes").flatMap(
      (node, nodeIndex) => reading.attempt(() => nodeOf(node, nodeIndex, scope)) ?? [],
    ),
    ...(selector === undefined ? {} : { selector: selectorOf(selector, reading) }),
    ...referencesOf(map),
    ...(["file", "http"].some((key) => ownKey(map, key) !== undefined)
      ? { source: sourceOf(map, reading) }
      : {}),
    metadata: metadataOf(map, reading),
    place: reading.places.of(map),
  };
  checkHopKeys(hop, reading);
  return hop;
}

function nodeOf(map: DocMap, index: number, scope: Scope): NodeConfig {
  const { reading, names } = scope;
  names.check(map);
  const connector = connectorOf(mapOf(map, "connector") ?? {}, scope);
  const dialer = dialerOf(mapOf(map, "dialer") ?? {}, scope);
  const addr = textOf(map, "addr");
  if (connector.type !== "direct" && parseHostPort(addr) === undefined) {
    const message = `addr: ${JSON.stringify(addr)} is not HOST:PORT (port 0 to 65535)`;
    reading.fault(configError(reading.places.of(map, "addr"), message));
  }
  const node: NodeConfig = {
    name: textOf(map, "name") || `node-${index}`,
    addr,
    ...optional("network", networkOf(map, scope)),
    ...selectionOf(map),
    ...referencesOf(map),
    connector,
    dialer,
    metadata: metadataOf(map, reading),
    place: reading.places.of(map),
  };
  checkNodeKeys(node, reading);
  return node;
}

/** `network` of a node: tcp or udp. */
export function networkOf(map: DocMap, scope: Scope): string {
  const network = textOf(map, "network");
  if (["", "tcp", "udp", "unix"].includes(network)) return network;
  const why = `network: ${JSON.stringify(network)} is not tcp or udp`;
  scope.reading.fault(configError(scope.reading.places.of(map, "network"), why));
  return network;
}

function connectorOf(map: DocMap, { reading }: Scope): ConnectorConfig {
  const type = typeOf(map, "connector", "http", CONNECTOR_WORDS, reading);
  const auth = mapOf(map, "auth");
  return {
    type,
    ...(auth === undefined ? {} : { auth: authOf(auth) }),
    metadata: metadataOf(map, reading),
  };
}

function dialerOf(map: DocMap, { reading }: Scope): DialerConfig {
  const type = typeOf(map, "dialer", "tcp", DIALER_WORDS, reading);
  const auth = mapOf(map, "auth");
  const tls = mapOf(map, "tls");
  return {
    type,
    ...(auth === undefined ? {} : { auth: authOf(auth) }),
    ...(tls === undefined ? {} : { tls: tlsOf(tls) }),
    metadata: metadataOf(map, reading),
  };
}
