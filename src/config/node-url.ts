/** One -F becomes one hop with a node for each address of its comma list. */
import {
  addHosts,
  addMatchers,
  addResolver,
  compact,
  queryMap,
  takeAuth,
  takeBool,
  takeSelector,
  takeText,
} from "./builder.ts";
import type { DocumentBuilder } from "./builder.ts";
import { setKey } from "./document.ts";
import type { DocMap } from "./document.ts";
import { maskUrl } from "./mask.ts";
import { metaInt } from "./metadata.ts";
import { parseHostPort, parsePort } from "./net.ts";
import { spread } from "./service-url.ts";
import { didYouMean } from "./suggest.ts";
import { parseGostUrl, portColon, urlError, urlOptions } from "./url.ts";
import type { GostUrl, UrlOptions } from "./url.ts";
import { CONNECTOR_WORDS, DIALER_WORDS } from "./words.ts";

interface Types {
  readonly connector: string;
  readonly dialer: string;
}

/** The hop of `text`, number `index` of the chain. */
export function hopOf(builder: DocumentBuilder, text: string, index: number): DocMap {
  const options = urlOptions("-F", builder.reading);
  const url = parseGostUrl(text, options);
  const place = `-F ${maskUrl(text)}`;
  const types = nodeTypes(url, text, options);
  const query = queryMap(url, place, builder.reading);
  const selector = takeSelector(query, options, text);
  const bypass = takeText(query, "bypass");
  const resolver = takeText(query, "resolver");
  // GOST has this for services only.
  const prefer = resolver === "" || options.compat ? "" : takeText(query, "prefer");
  const hosts = takeText(query, "hosts");
  const references = compact({
    bypass: bypass === "" ? "" : addMatchers(builder, "bypasses", bypass, place),
    resolver: resolver === "" ? "" : addResolver(builder, resolver, prefer, place),
    hosts: hosts === "" ? "" : addHosts(builder, hosts, place),
  });
  const metadata = hopMetadata(query);
  const auth = takeAuth(url, query, text, options);
  const tls = takeClientTls(query, text, options);
  const parts = spread(dropHopKeys(query), ["node", "connector", "dialer"]);
  const nodes = nodeAddresses(url, types, text, options).map((addr, nodeIndex): DocMap => {
    const serverName = tls.serverName === "" ? hostnameOf(url, addr, options) : tls.serverName;
    const ssh = types.dialer === "ssh" || types.dialer === "sshd";
    const node = compact({
      name: `node-${nodeIndex}`,
      addr,
      connector: compact({
        type: types.connector,
        auth: ssh ? undefined : auth,
        metadata: parts.get("connector"),
      }),
      dialer: compact({
        type: types.dialer,
        auth: ssh ? auth : undefined,
        tls: compact({ ...tls.fields, serverName }),
        metadata: parts.get("dialer"),
      }),
      metadata: parts.get("node"),
    });
    builder.reading.places.set(node, place);
    return node;
  });
  const hop = compact({ name: `hop-${index}`, selector, ...references, nodes, metadata });
  builder.reading.places.set(hop, place);
  return hop;
}

/** GOST takes http for an unknown connector; we only for a word that is a dialer. */
function nodeTypes(url: GostUrl, text: string, options: UrlOptions): Types {
  const [first = "", second = first] = url.words;
  const several = url.words.length > 2;
  // GOST's "auto" stands for a missing scheme.
  const bare = url.words.length === 1 && first === "auto";
  const connectorKnown = !several && CONNECTOR_WORDS.has(first);
  const dialerKnown = !several && DIALER_WORDS.has(second);
  const connector = connectorKnown ? first : "http";
  const dialer = dialerKnown ? second : connector === "ssu" ? "udp" : "tcp";
  if (options.compat || bare) return { connector, dialer };
  if (several) throw urlError(options, text, "a scheme has one word or two (CONNECTOR+DIALER)");
  if (url.words.length === 1 ? !connectorKnown && !dialerKnown : !connectorKnown) {
    const hint = didYouMean(first, [...CONNECTOR_WORDS, ...DIALER_WORDS]);
    throw urlError(options, text, `there is no connector ${JSON.stringify(first)}${hint}`);
  }
  if (url.words.length === 2 && !dialerKnown) {
    const hint = didYouMean(second, DIALER_WORDS);
    throw urlError(options, text, `there is no dialer ${JSON.stringify(second)}${hint}`);
  }
  return { connector, dialer };
}

/** All keys but those for one part of the node, and those that only the hop may have. */
function hopMetadata(query: DocMap): DocMap {
  const metadata: DocMap = {};
  for (const [key, value] of Object.entries(query)) {
    if (/^(node|connector|dialer)\./.test(key)) continue;
    const name = key.startsWith("hop.") ? key.slice(4) : key;
    const lower = name.toLowerCase();
    if (lower !== "so_mark" && lower !== "proxyprotocol") {
      setKey(metadata, name, value);
      continue;
    }
    const count = metaInt(query, key);
    if (count > 0) setKey(metadata, name, count);
  }
  return metadata;
}

const HOP_KEYS = new Set(["interface", "so_mark", "proxyprotocol", "netns"]);

function dropHopKeys(query: DocMap): DocMap {
  const rest: DocMap = {};
  for (const [key, value] of Object.entries(query)) {
    if (key.startsWith("hop.") || HOP_KEYS.has(key.toLowerCase())) continue;
    setKey(rest, key, value);
  }
  return rest;
}

interface ClientTls {
  readonly serverName: string;
  readonly fields: DocMap;
}

function takeClientTls(query: DocMap, text: string, options: UrlOptions): ClientTls {
  return {
    serverName: takeText(query, "tls.servername", "servername"),
    fields: compact({
      certFile: takeText(query, "tls.certFile", "certFile", "cert"),
      keyFile: takeText(query, "tls.keyFile", "keyFile", "key"),
      caFile: takeText(query, "tls.caFile", "caFile", "ca"),
      secure: takeBool(query, options, text, "secure"),
      pin: takeText(query, "tls.pin", "pin"),
    }),
  };
}

function nodeAddresses(url: GostUrl, types: Types, text: string, options: UrlOptions): string[] {
  if (options.compat) return compatAddresses(url, text, options);
  const addresses = url.host.split(",").filter((item) => item !== "");
  // Such a node is no place: what follows is dialled from here.
  const virtual = types.connector === "direct" || types.connector === "virtual";
  if (addresses.length === 0 && virtual) return [":0"];
  if (addresses.length === 0) throw urlError(options, text, "there is no HOST:PORT");
  for (const addr of addresses) {
    if (parseHostPort(addr) !== undefined) continue;
    const shown = JSON.stringify(addr);
    if (portColon(addr) < 0) throw urlError(options, text, `${shown} has no port; use HOST:PORT`);
    const remedy = addr.startsWith("[") ? "" : "; IPv6 addresses stand in brackets";
    throw urlError(options, text, `${shown} is not HOST:PORT (port 0 to 65535)${remedy}`);
  }
  return addresses;
}

/** What Go's net/url lets pass: only the text behind the last colon is looked at. */
function compatAddresses(url: GostUrl, text: string, options: UrlOptions): string[] {
  const colon = portColon(url.host);
  const port = colon < 0 ? "" : url.host.slice(colon + 1);
  if (!/^\d*$/.test(port)) {
    const why = `invalid port ${JSON.stringify(`:${port}`)} after host`;
    const full = text.startsWith(":") || !text.includes("://") ? `auto://${text}` : text;
    throw urlError(options, text, why, `parse ${JSON.stringify(full)}: ${why}`);
  }
  return url.host.split(",").filter((item) => item !== "");
}

/** The name for SNI and verification: the node's own host (GOST: of the whole list). */
function hostnameOf(url: GostUrl, addr: string, options: UrlOptions): string {
  const authority = options.compat ? url.host : addr;
  const colon = portColon(authority);
  const port = colon < 0 ? undefined : parsePort(authority.slice(colon + 1));
  const strip = colon >= 0 && (port !== undefined || options.compat);
  return (strip ? authority.slice(0, colon) : authority).replace(/^\[|\]$/g, "");
}
