/**
 * The document that the command line becomes: services of -L, one chain of all -F, and the objects
 * their keys stand for (bypasses, resolvers …) with generated names. Shared by service-url.ts and
 * node-url.ts; the rules are GOST's.
 */
import { isDocMap, setKey } from "./document.ts";
import type { DocMap, DocValue, Reading } from "./document.ts";
import { metaFloat, metaInt, metaString, parseGoBool } from "./metadata.ts";
import { parseDuration } from "./net.ts";
import { base64Fault, decodeAuth, urlError } from "./url.ts";
import type { GostUrl, UrlOptions } from "./url.ts";

/** Sections that get objects with generated names, and the first word of those. */
export type NamedSection =
  | "services"
  | "chains"
  | "admissions"
  | "bypasses"
  | "resolvers"
  | "hosts"
  | "limiters"
  | "climiters"
  | "rlimiters";

export const NAME_WORDS: Readonly<Record<NamedSection, string>> = {
  services: "service",
  chains: "chain",
  admissions: "admission",
  bypasses: "bypass",
  resolvers: "resolver",
  hosts: "hosts",
  limiters: "limiter",
  climiters: "climiter",
  rlimiters: "rlimiter",
};

/** Names that files gave already, so that none is generated twice. */
export type TakenNames = ReadonlyMap<string, ReadonlySet<string>>;

export class DocumentBuilder {
  readonly document: DocMap = {};
  readonly reading: Reading;
  readonly #taken: TakenNames;
  readonly #lists = new Map<NamedSection, DocMap[]>();
  readonly #next = new Map<NamedSection, number>();

  constructor(reading: Reading, taken: TakenNames) {
    this.reading = reading;
    this.#taken = taken;
  }

  /** Adds an object to a section; answers its new name. */
  add(section: NamedSection, fields: DocMap, place: string): string {
    const name = this.#nextName(section);
    const object: DocMap = { name, ...fields };
    const list = this.#lists.get(section) ?? [];
    list.push(object);
    this.#lists.set(section, list);
    this.document[section] = list;
    this.#setPlaces(object, place);
    return name;
  }

  /** Of what the object holds, too, as far as it has no place of its own. */
  #setPlaces(object: DocMap, place: string): void {
    const { places } = this.reading;
    if (places.of(object) === "") places.set(object, place);
    for (const value of Object.values(object)) {
      const items = Array.isArray(value) ? value : [value];
      for (const item of items) if (isDocMap(item)) this.#setPlaces(item, place);
    }
  }

  #nextName(section: NamedSection): string {
    const taken = this.reading.compat ? undefined : this.#taken.get(section);
    let index = this.#next.get(section) ?? 0;
    while (taken?.has(`${NAME_WORDS[section]}-${index}`) === true) index++;
    this.#next.set(section, index + 1);
    return `${NAME_WORDS[section]}-${index}`;
  }
}

/** Keys whose values add up when they are given several times; of hooks each is a command. */
const JOINED = new Set("net route routes exclude dns bypass".split(" "));
const HOOKS = new Set("preup postup predown postdown".split(" "));

/** The query as a map: the first value of a key counts, of a few all. */
export function queryMap(url: GostUrl, place: string, reading: Reading): DocMap {
  const map: DocMap = {};
  const byLower = new Map<string, string>();
  for (const [key, value] of url.query) {
    const known = Object.hasOwn(map, key) ? key : byLower.get(key.toLowerCase());
    if (known === undefined || (reading.compat && !Object.hasOwn(map, key))) {
      setKey(map, key, value);
      byLower.set(key.toLowerCase(), key);
      continue;
    }
    if (reading.compat) continue;
    const before = map[known] ?? "";
    const word = known.toLowerCase().replace(/^tun\./, "");
    if (HOOKS.has(word)) {
      setKey(map, known, Array.isArray(before) ? [...before, value] : [before, value]);
    } else if (JOINED.has(word) && typeof before === "string") {
      setKey(map, known, `${before},${value}`);
    } else {
      reading.warn(place, `${key} is given twice; only the first value counts`);
    }
  }
  return map;
}

/** Takes a key (any case) out of the map: its text, or "". */
export function takeText(map: DocMap, ...names: readonly string[]): string {
  const text = metaString(map, names);
  remove(map, ...names);
  return text;
}

/** Takes a whole number that counts only above 0, or 0. */
export function takeCount(map: DocMap, ...names: readonly string[]): number {
  const count = metaInt(map, names);
  remove(map, ...names);
  return count;
}

export function remove(map: DocMap, ...names: readonly string[]): void {
  const lowers = names.map((name) => name.toLowerCase());
  for (const key of Object.keys(map)) {
    if (lowers.includes(key.toLowerCase())) Reflect.deleteProperty(map, key);
  }
}

/** Userinfo, or `auth=`, or a file or variable that holds it. */
export function takeAuth(
  url: GostUrl,
  map: DocMap,
  text: string,
  options: UrlOptions,
): DocMap | undefined {
  const encoded = takeText(map, "auth");
  const file = takeText(map, "authFile", "auth.file");
  const env = takeText(map, "authEnv", "auth.env");
  if (file !== "" || env !== "") {
    return { ...(file === "" ? {} : { file }), ...(env === "" ? {} : { env }) };
  }
  const encodedUser = encoded === "" ? undefined : decodeAuth(encoded);
  if (encoded !== "" && encodedUser === undefined && url.user === undefined) {
    throw urlError(options, text, "auth= is not base64 of user:password", base64Fault(encoded));
  }
  const user = url.user ?? encodedUser;
  if (user === undefined) return undefined;
  const shadowsocks = url.words[0]?.startsWith("ss") === true && user.password === "";
  const inner = shadowsocks ? decodeAuth(user.username) : undefined;
  const { username, password } = inner?.password ? inner : user;
  return { username, password };
}

/** GOST's selector keys, or undefined where none is given. */
export function takeSelector(map: DocMap, options: UrlOptions, text: string): DocMap | undefined {
  const strategy = takeText(map, "strategy");
  const maxFails = takeCount(map, "maxFails", "max_fails");
  const timeoutText = takeText(map, "failTimeout", "fail_timeout");
  const failTimeout = timeoutText === "" ? 0 : parseDuration(timeoutText);
  if (failTimeout === undefined && !options.compat) {
    throw urlError(options, text, `failTimeout: ${JSON.stringify(timeoutText)} is not a duration`);
  }
  const timeoutMs = failTimeout ?? 0;
  if (strategy === "" && maxFails <= 0 && timeoutMs <= 0) return undefined;
  return {
    strategy: strategy === "" ? "round" : strategy,
    maxFails: maxFails > 0 ? maxFails : 1,
    failTimeout: timeoutMs > 0 ? timeoutMs : 30_000,
  };
}

/** A boolean key; in GOST whatever is no true is false. */
export function takeBool(map: DocMap, options: UrlOptions, text: string, name: string): boolean {
  const value = takeText(map, name, `tls.${name}`);
  const parsed = value === "" ? false : parseGoBool(value);
  if (parsed === undefined && !options.compat) {
    throw urlError(options, text, `${name}: ${JSON.stringify(value)} is not true or false`);
  }
  return parsed ?? false;
}

/** `~a,b` becomes an object of a section with whitelist and matchers; answers its name. */
export function addMatchers(
  builder: DocumentBuilder,
  section: "bypasses" | "admissions",
  text: string,
  place: string,
): string {
  const whitelist = text.startsWith("~");
  const matchers = splitList(whitelist ? text.slice(1) : text);
  return builder.add(section, { ...(whitelist ? { whitelist } : {}), matchers }, place);
}

export function addResolver(
  builder: DocumentBuilder,
  text: string,
  prefer: string,
  place: string,
): string {
  const nameservers = splitList(text).map((addr) => ({
    addr,
    ...(prefer === "" ? {} : { prefer }),
  }));
  return builder.add("resolvers", { nameservers }, place);
}

/** `name:ip,name:ip`; items without a colon are skipped. */
export function addHosts(builder: DocumentBuilder, text: string, place: string): string {
  const mappings = splitList(text).flatMap((item): DocValue[] => {
    const colon = item.indexOf(":");
    if (colon < 0) return [];
    return [{ ip: item.slice(colon + 1), hostname: item.slice(0, colon) }];
  });
  return builder.add("hosts", { mappings }, place);
}

/** The limiter keys of a handler; answers what the service refers to. */
export function addLimiters(builder: DocumentBuilder, map: DocMap, place: string): DocMap {
  const references: DocMap = {};
  const limits = [
    limitLine("$", takeText(map, "limiter.in"), takeText(map, "limiter.out")),
    limitLine("$$", takeText(map, "limiter.conn.in"), takeText(map, "limiter.conn.out")),
  ].filter((line) => line !== "");
  if (limits.length > 0) references["limiter"] = builder.add("limiters", { limits }, place);
  const count = takeCount(map, "climiter");
  if (count > 0) {
    references["climiter"] = builder.add("climiters", { limits: [`$ ${count}`] }, place);
  }
  const rate = metaFloat(map, "rlimiter");
  remove(map, "rlimiter");
  if (rate > 0) {
    references["rlimiter"] = builder.add("rlimiters", { limits: [`$ ${rate}`] }, place);
  }
  return references;
}

function limitLine(word: string, input: string, output: string): string {
  return input === "" && output === "" ? "" : `${word} ${input} ${output}`;
}

function splitList(text: string): string[] {
  return text.split(",").filter((item) => item !== "");
}

/** Leaves empty maps and absent values out. */
export function compact(fields: Readonly<Record<string, DocValue | undefined>>): DocMap {
  const result: DocMap = {};
  for (const [key, value] of Object.entries(fields)) {
    if (value === undefined || value === "" || value === false) continue;
    if (typeof value === "object" && value !== null && Object.keys(value).length === 0) continue;
    setKey(result, key, value);
  }
  return result;
}
