/** What services and chains have in common on the way from document to model. */
import { configError } from "../errors.ts";
import { isDocMap, ownKey, setKey } from "./document.ts";
import type { DocMap, Reading } from "./document.ts";
import { listOf, mapOf, namesOf, numberOf, optional, textOf } from "./fields.ts";
import { interfacesOf, soMarkOf } from "./interfaces.ts";
import type {
  ChainGroupConfig,
  Metadata,
  NodeFilter,
  NodeMatcher,
  Place,
  SelectorConfig,
  TlsConfig,
} from "./model.ts";
import type { Names } from "./names.ts";
import { didYouMean } from "./suggest.ts";
import { STRATEGY_WORDS, STRATEGY_WORDS_GOST, TYPE_ALIASES } from "./words.ts";

/** What a configuration is read with. */
export interface Scope {
  readonly document: DocMap;
  readonly reading: Reading;
  readonly names: Names;
}

/** Keys and kinds are the schema's: they were normalised. */
export function tlsOf(map: DocMap): TlsConfig {
  const validityMs = numberOf(map, "validity");
  return { ...map, ...(validityMs === undefined ? {} : { validityMs }) };
}

/** The type of a part, under its first name; an unknown one is an error. */
export function typeOf(
  map: DocMap,
  what: string,
  fallback: string,
  known: ReadonlySet<string>,
  reading: Reading,
): string {
  const type = textOf(map, "type") || fallback;
  if (known.has(type)) return TYPE_ALIASES[type] ?? type;
  const hint = didYouMean(type, known);
  const message = `there is no ${what} ${JSON.stringify(type)}${hint}`;
  reading.fault(configError(reading.places.of(map, "type"), message));
  return type;
}

/** The map's metadata with GOST's older fields in it; `interface` and `so_mark` make sense. */
export function metadataOf(map: DocMap, reading: Reading): Metadata {
  const metadata = mapOf(map, "metadata") ?? {};
  const mark = numberOf(mapOf(map, "sockopts") ?? {}, "mark");
  const old: DocMap = {
    ...optional("interface", textOf(map, "interface")),
    ...optional("netns", textOf(map, "netns")),
    ...(mark === undefined || mark <= 0 ? {} : { so_mark: mark }),
  };
  const lowers = new Set(Object.keys(metadata).map((key) => key.toLowerCase()));
  const added = Object.entries(old).filter(([key]) => !lowers.has(key));
  const result: DocMap = added.length === 0 ? metadata : { ...metadata };
  if (added.length > 0) reading.places.copy(metadata, result);
  for (const [key, value] of added) {
    setKey(result, key, value);
    reading.places.setKey(result, key, reading.places.of(map, key));
  }
  const placeOf = (name: string): Place => {
    const key = Object.keys(result).find((candidate) => candidate.toLowerCase() === name);
    return reading.places.of(result, key) || reading.places.of(map);
  };
  if (!reading.compat) {
    reading.attempt(() => interfacesOf(result, placeOf("interface")));
    reading.attempt(() => soMarkOf(result, placeOf("so_mark")));
  }
  return result;
}

/** GOST takes round for every strategy that it does not know. */
export function selectorOf(map: DocMap, reading: Reading): SelectorConfig {
  const strategy = textOf(map, "strategy") || "round";
  if (!STRATEGY_WORDS.has(strategy.toLowerCase()) && !STRATEGY_WORDS_GOST.has(strategy)) {
    const known = Array.from(STRATEGY_WORDS).join(", ");
    const hint = didYouMean(strategy, STRATEGY_WORDS);
    const why = `there is no strategy ${JSON.stringify(strategy)} (there are ${known})${hint}`;
    reading.fault(configError(reading.places.of(map, "strategy"), why));
  }
  return {
    strategy,
    maxFails: numberOf(map, "maxFails") ?? 1,
    failTimeoutMs: numberOf(map, "failTimeout") ?? 10_000,
  };
}

/** Several chains; an entry is a name or a map with `chain` and `matcher.rule`. */
export function chainGroupOf(map: DocMap, scope: Scope): ChainGroupConfig | undefined {
  const group = mapOf(map, "chainGroup");
  if (group === undefined) return undefined;
  const { reading, names } = scope;
  const items = ownKey(group, "chains");
  const chains = (Array.isArray(items) ? items : []).map((item) => {
    const entry: DocMap = isDocMap(item) ? item : { chain: item };
    const chain = textOf(entry, "chain");
    names.require("chains", chain, "chainGroup", reading.places.of(group, "chains"));
    return { chain, ...optional("rule", textOf(mapOf(entry, "matcher") ?? {}, "rule")) };
  });
  if (chains.length === 0) {
    const why = "chainGroup has no chains; everything would go direct";
    reading.fault(configError(reading.places.of(map, "chainGroup"), why));
  }
  const selector = mapOf(group, "selector");
  return {
    chains,
    ...(selector === undefined ? {} : { selector: selectorOf(selector, reading) }),
  };
}

/** GOST's older and newer way to say which requests a node takes. */
export function selectionOf(map: DocMap): { filter?: NodeFilter; matcher?: NodeMatcher } {
  const old = mapOf(map, "filter") ?? map;
  const [host, protocol, path] = ["host", "protocol", "path"].map((key) => textOf(old, key));
  const filter = { host: host ?? "", protocol: protocol ?? "", path: path ?? "" };
  const matcher = mapOf(map, "matcher");
  const rule = matcher === undefined ? "" : textOf(matcher, "rule");
  const priority = (matcher === undefined ? undefined : numberOf(matcher, "priority")) ?? 0;
  return {
    ...(Object.values(filter).join("") === "" ? {} : { filter }),
    ...(rule === "" && priority === 0 ? {} : { matcher: { rule, priority } }),
  };
}

/** What services, hops and nodes may refer to. */
export function referencesOf(map: DocMap): {
  bypasses: string[];
  resolver?: string;
  hosts?: string;
} {
  return {
    bypasses: namesOf(map, "bypass", "bypasses"),
    ...optional("resolver", textOf(map, "resolver")),
    ...optional("hosts", textOf(map, "hosts")),
  };
}

/** Two of a list with one name cannot be told apart in logs and metrics. */
export function warnTwins(map: DocMap, key: string, reading: Reading): void {
  const names = new Set<string>();
  for (const item of listOf(map, key)) {
    const name = textOf(item, "name");
    if (name === "") continue;
    if (names.has(name)) {
      const why = `two of ${key} have the name ${JSON.stringify(name)}; give each its own`;
      reading.warn(reading.places.of(item, "name"), why);
    }
    names.add(name);
  }
}
