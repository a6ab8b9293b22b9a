/** One -L becomes one service, or several (port ranges); see GOST's rules in builder.ts. */
import {
  addHosts,
  addLimiters,
  addMatchers,
  addResolver,
  compact,
  queryMap,
  remove,
  takeAuth,
  takeCount,
  takeSelector,
  takeText,
} from "./builder.ts";
import type { DocumentBuilder } from "./builder.ts";
import { setKey } from "./document.ts";
import type { DocMap, DocValue } from "./document.ts";
import { maskUrl } from "./mask.ts";
import { findMeta, metaInt, metaString } from "./metadata.ts";
import { didYouMean } from "./suggest.ts";
import { expandPorts, parseGostUrl, portColon, urlError, urlOptions } from "./url.ts";
import type { GostUrl, UrlOptions } from "./url.ts";
import {
  CHAIN_LISTENERS,
  DEVICE_LISTENERS,
  FORWARD_LISTENERS,
  HANDLER_WORDS,
  LISTENER_WORDS,
} from "./words.ts";

interface Types {
  readonly handler: string;
  readonly listener: string;
}

/** Adds the services of `text`; `chain` is the name of the chain made of -F, "" without one. */
export function addServices(builder: DocumentBuilder, text: string, chain: string): void {
  const options = urlOptions("-L", builder.reading);
  const url = parseGostUrl(text, options);
  const types = serviceTypes(url, text, options);
  const place = `-L ${maskUrl(text)}`;
  const addresses = serviceAddresses(url, types, text, options);
  const targets = url.path === "" ? [] : targetsOf(url.path, text, options);
  // The objects a query stands for are made once, whatever the number of ports.
  const shared = serviceFields(builder, url, types, { text, place, chain, options });
  for (const [index, addr] of addresses.entries()) {
    // One target goes to every service, several go one to one.
    const own =
      addresses.length === 1 || targets.length <= 1 ? targets : targets.slice(index, index + 1);
    const forwarder = forwarderOf(own, shared.selector);
    const { handler, listener, metadata, references } = shared;
    const fields: DocMap = {
      addr,
      ...references,
      handler: { ...handler, type: handlerType(types, targets.length > 0, options) },
      listener: { ...listener },
      ...(forwarder === undefined ? {} : { forwarder }),
      ...(Object.keys(metadata).length === 0 ? {} : { metadata }),
    };
    builder.add("services", fields, place);
  }
}

/** GOST falls back for unknown words; we do so only for words that are known on the other side. */
function serviceTypes(url: GostUrl, text: string, options: UrlOptions): Types {
  const [first = "", second = first] = url.words;
  const several = url.words.length > 2;
  const handlerKnown = !several && HANDLER_WORDS.has(first);
  const listenerKnown = !several && LISTENER_WORDS.has(second);
  const handler = handlerKnown ? first : "auto";
  const listener = listenerKnown ? second : handler === "ssu" ? "udp" : "tcp";
  if (options.compat) return { handler, listener };
  if (several) throw urlError(options, text, "a scheme has one word or two (HANDLER+LISTENER)");
  if (url.words.length === 1 ? !handlerKnown && !listenerKnown : !handlerKnown) {
    const hint = didYouMean(first, [...HANDLER_WORDS, ...LISTENER_WORDS]);
    throw urlError(options, text, `there is no service type ${JSON.stringify(first)}${hint}`);
  }
  if (url.words.length === 2 && !listenerKnown) {
    const hint = didYouMean(second, LISTENER_WORDS);
    throw urlError(options, text, `there is no listener ${JSON.stringify(second)}${hint}`);
  }
  return { handler, listener };
}

function serviceAddresses(url: GostUrl, types: Types, text: string, options: UrlOptions): string[] {
  const label = DEVICE_LISTENERS.has(types.listener);
  if (!options.compat && !label && portColon(url.host) < 0) {
    const word = url.host.toLowerCase();
    const remedy = /^\d+$/.test(word)
      ? `:${word}`
      : HANDLER_WORDS.has(word)
        ? `${word}://:${DEVICE_LISTENERS.has(word) ? "0" : "PORT"}`
        : "HOST:PORT";
    throw urlError(options, text, `the address has no port; did you mean ${remedy}?`);
  }
  return expandPorts(url.host, text, options);
}

function targetsOf(path: string, text: string, options: UrlOptions): DocMap[] {
  return path
    .split(",")
    .filter((item) => item !== "")
    .flatMap((item) => expandPorts(item, text, options))
    .map((addr, index) => ({ name: `target-${index}`, addr }));
}

function handlerType(types: Types, hasTargets: boolean, options: UrlOptions): string {
  if (!hasTargets || types.handler === "relay") return types.handler;
  // DEVIATION: GOST makes a forward handler of tungo, which breaks it; a target is an error later.
  if (types.handler === "tungo" && !options.compat) return types.handler;
  return FORWARD_LISTENERS.has(types.listener) ? types.listener : "forward";
}

function forwarderOf(targets: readonly DocMap[], selector: DocMap | undefined): DocMap | undefined {
  if (targets.length === 0) return undefined;
  return compact({ selector, nodes: targets.map((target) => ({ ...target })) });
}

interface Spot {
  readonly text: string;
  readonly place: string;
  readonly chain: string;
  readonly options: UrlOptions;
}

interface ServiceFields {
  readonly handler: DocMap;
  readonly listener: DocMap;
  readonly metadata: DocMap;
  readonly references: DocMap;
  readonly selector: DocMap | undefined;
}

function serviceFields(
  builder: DocumentBuilder,
  url: GostUrl,
  types: Types,
  spot: Spot,
): ServiceFields {
  const query = queryMap(url, spot.place, builder.reading);
  const auth = takeAuth(url, query, spot.text, spot.options);
  const tls = takeServerTls(query);
  splitDns(query);
  const ownMetadata = takeServiceKeys(query);
  const selector = takeSelector(query, spot.options, spot.text);
  const parts = spread(query, ["handler", "listener", "service"]);
  const handlerMap = parts.get("handler") ?? {};
  const listenerMap = parts.get("listener") ?? {};
  const metadata = { ...ownMetadata, ...parts.get("service") };
  const retries = takeCount(handlerMap, "retries");
  const references = takeReferences(builder, handlerMap, spot.place);
  const onListener = CHAIN_LISTENERS.has(types.listener);
  const ssh = types.listener === "ssh" || types.listener === "sshd";
  return {
    handler: compact({
      type: types.handler,
      retries: retries > 0 ? retries : undefined,
      chain: onListener ? "" : spot.chain,
      auth: ssh ? undefined : auth,
      metadata: handlerMap,
    }),
    listener: compact({
      type: types.listener,
      chain: onListener ? spot.chain : "",
      auth: ssh ? auth : undefined,
      tls,
      metadata: listenerMap,
    }),
    metadata,
    references,
    selector,
  };
}

/** A TLS section is made only where a certificate is given. */
function takeServerTls(query: DocMap): DocMap | undefined {
  const certFile = takeText(query, "tls.certFile", "certFile", "cert");
  const keyFile = takeText(query, "tls.keyFile", "keyFile", "key");
  const caFile = takeText(query, "tls.caFile", "caFile", "ca");
  return certFile === "" ? undefined : compact({ certFile, keyFile, caFile });
}

function splitDns(query: DocMap): void {
  const found = findMeta(query, "dns");
  if (found === undefined || typeof found.value !== "string") return;
  setKey(query, found.key, found.value.split(","));
}

/** Keys that only the service's own metadata gets. */
function takeServiceKeys(query: DocMap): DocMap {
  const mark = metaInt(query, "so_mark");
  const proxyProtocol = metaInt(query, "proxyProtocol");
  remove(query, "so_mark", "proxyProtocol");
  return compact({
    interface: takeText(query, "interface"),
    so_mark: mark > 0 ? mark : undefined,
    proxyProtocol: proxyProtocol > 0 ? proxyProtocol : undefined,
    netns: takeText(query, "netns"),
    "netns.out": takeText(query, "netns.out"),
  });
}

/** A prefixed key goes to that part without the prefix, any other to all parts. */
export function spread(query: DocMap, parts: readonly string[]): Map<string, DocMap> {
  const maps = new Map(parts.map((part): [string, DocMap] => [part, {}]));
  for (const [key, value] of Object.entries(query)) {
    const part = parts.find((name) => key.startsWith(`${name}.`));
    const only = part === undefined ? undefined : maps.get(part);
    if (part !== undefined && only !== undefined) {
      setKey(only, key.slice(part.length + 1), copyOf(value));
      continue;
    }
    for (const map of maps.values()) setKey(map, key, copyOf(value));
  }
  return maps;
}

function copyOf(value: DocValue): DocValue {
  return Array.isArray(value) ? [...value] : value;
}

/** The keys of a handler that stand for objects of their own. */
function takeReferences(builder: DocumentBuilder, map: DocMap, place: string): DocMap {
  const admission = takeText(map, "admission");
  const bypass = takeText(map, "bypass");
  const resolver = takeText(map, "resolver");
  const prefer = metaString(map, "prefer");
  const hosts = takeText(map, "hosts");
  return {
    ...compact({
      admission: admission === "" ? "" : addMatchers(builder, "admissions", admission, place),
      bypass: bypass === "" ? "" : addMatchers(builder, "bypasses", bypass, place),
      resolver: resolver === "" ? "" : addResolver(builder, resolver, prefer, place),
      hosts: hosts === "" ? "" : addHosts(builder, hosts, place),
    }),
    ...addLimiters(builder, map, place),
  };
}
