/**
 * All sources together: files in order, then the command line, then environment and -D. Lists are
 * joined, single sections replaced by the later one, as GOST does.
 */
import { existsSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { configError } from "../errors.ts";
import { DocumentBuilder, NAME_WORDS, compact, takeBool, takeText } from "./builder.ts";
import type { NamedSection } from "./builder.ts";
import { isDocMap, ownKey, Reading } from "./document.ts";
import type { DocMap } from "./document.ts";
import type { Flags } from "./flags.ts";
import { parseLevel } from "./log-config.ts";
import { OPTIONS_PLACE } from "./model.ts";
import type { Config } from "./model.ts";
import { parseHostPort } from "./net.ts";
import { hopOf } from "./node-url.ts";
import { addServices } from "./service-url.ts";
import { readSource } from "./source.ts";
import { parseGostUrl } from "./url.ts";
import { validate } from "./validate.ts";

type Environment = Readonly<Record<string, string | undefined>>;

export interface Loaded {
  /** GOST's shape, merged: what -O prints. */
  readonly document: DocMap;
  readonly reading: Reading;
}

/** What of the flags makes the configuration. */
export type LoadFlags = Pick<
  Flags,
  | "services"
  | "nodes"
  | "sources"
  | "debug"
  | "trace"
  | "api"
  | "metrics"
  | "strict"
  | "compat"
  | "logLevel"
  | "logFormat"
>;

/** Reads and merges; throws TsgostError (exit code 2). */
export function loadDocument(flags: LoadFlags, environment: Environment): Loaded {
  const reading = new Reading(flags);
  const document: DocMap = {};
  const empty = flags.services.length === 0 && flags.api === "";
  const sources = flags.sources.length > 0 || !empty ? flags.sources : [defaultSource(environment)];
  for (const source of sources) merge(document, readSource(source, reading), reading);
  merge(document, documentOfUrls(flags, document, reading), reading);
  applyLog(document, flags, environment);
  return { document, reading };
}

/** The model of a document; with `compat` the document alone may be wanted, see print.ts. */
export function modelOf(loaded: Loaded): Config {
  return validate(loaded.document, loaded.reading);
}

function defaultSource(environment: Environment): string {
  const home = environment["HOME"] ?? homedir();
  const folders = ["/etc/gost", join(home, ".gost"), "."];
  for (const folder of folders) {
    for (const extension of ["json", "yaml", "yml"]) {
      const path = join(folder, `gost.${extension}`);
      if (existsSync(path)) return path;
    }
  }
  const where = folders.join(" ");
  throw configError(
    "",
    `nothing to do: give -L, -C or a sub-command, see tsgost --help (no gost.yaml in ${where})`,
  );
}

function merge(into: DocMap, from: DocMap, reading: Reading): void {
  for (const [key, value] of Object.entries(from)) {
    const before = ownKey(into, key);
    into[key] = Array.isArray(before) && Array.isArray(value) ? [...before, ...value] : value;
    reading.places.setKey(into, key, reading.places.of(from, key));
  }
}

function takenNames(document: DocMap): Map<string, Set<string>> {
  const taken = new Map<string, Set<string>>();
  for (const section of Object.keys(NAME_WORDS) as NamedSection[]) {
    const list = ownKey(document, section);
    const maps = Array.isArray(list) ? list.filter(isDocMap) : [];
    const names = maps.map((map) => ownKey(map, "name"));
    taken.set(section, new Set(names.filter((name) => typeof name === "string")));
  }
  return taken;
}

function documentOfUrls(flags: LoadFlags, files: DocMap, reading: Reading): DocMap {
  const builder = new DocumentBuilder(reading, takenNames(files));
  const hops = flags.nodes.map((text, index) => hopOf(builder, text, index));
  const chain = hops.length === 0 ? "" : builder.add("chains", { hops }, "-F");
  for (const text of flags.services) addServices(builder, text, chain);
  const { document } = builder;
  if (flags.api !== "") document["api"] = apiOf(flags.api, "-api", reading);
  if (flags.metrics !== "") document["metrics"] = apiOf(flags.metrics, "-metrics", reading);
  for (const key of ["api", "metrics"]) reading.places.setKey(document, key, `-${key}`);
  return document;
}

/** `[user:password@]host:port[?pathPrefix=…&accesslog=…]` and the same for -metrics. */
function apiOf(text: string, option: string, reading: Reading): DocMap {
  const options = { option, compat: reading.compat };
  const url = parseGostUrl(text, options);
  if (!reading.compat && parseHostPort(url.host) === undefined) {
    throw configError(option, `${JSON.stringify(url.host)} is not [HOST]:PORT (port 0 to 65535)`);
  }
  const query = Object.fromEntries(url.query.slice().reverse());
  return compact({
    addr: url.host,
    pathPrefix: takeText(query, "pathPrefix"),
    path: takeText(query, "path"),
    accesslog: takeBool(query, options, text, "accesslog"),
    auth: url.user === undefined ? undefined : { ...url.user },
  });
}

function applyLog(document: DocMap, flags: LoadFlags, environment: Environment): void {
  const fromEnvironment = environment["GOST_LOGGER_LEVEL"] ?? "";
  const chosen = [
    fromEnvironment === "" ? "" : parseLevel(fromEnvironment, "GOST_LOGGER_LEVEL"),
    flags.debug ? "debug" : "",
    flags.trace ? "trace" : "",
    flags.logLevel === "" ? "" : parseLevel(flags.logLevel, "--log-level"),
  ].findLast((level) => level !== "");
  if (chosen === undefined && flags.logFormat === "") return;
  const before = ownKey(document, "log");
  document["log"] = {
    ...(isDocMap(before) ? before : {}),
    ...(chosen === undefined ? {} : { level: chosen }),
    ...(flags.logFormat === "" ? {} : { format: flags.logFormat }),
  };
}

/** A service made by a sub-command's options, and its chain of -F. */
export interface CommandService {
  readonly addr: string;
  readonly handler: DocMap;
  readonly listener: DocMap;
  readonly metadata: DocMap;
  readonly nodes: readonly string[];
  /** `interface` and `so_mark` for the first hop, unless it has its own. */
  readonly firstHop: DocMap;
}

/** The document of a sub-command. */
export function documentOfCommand(
  service: CommandService,
  flags: LoadFlags,
  environment: Environment,
): Loaded {
  const reading = new Reading(flags);
  const builder = new DocumentBuilder(reading, new Map());
  const hops = service.nodes.map((text, index) => hopOf(builder, text, index));
  const first = hops[0];
  if (first !== undefined) {
    const own = ownKey(first, "metadata");
    first["metadata"] = { ...service.firstHop, ...(isDocMap(own) ? own : {}) };
  }
  const chain = hops.length === 0 ? "" : builder.add("chains", { hops }, "-F");
  const handler = compact({ ...service.handler, chain });
  const fields = compact({
    addr: service.addr,
    handler,
    listener: service.listener,
    metadata: service.metadata,
  });
  builder.add("services", fields, OPTIONS_PLACE);
  applyLog(builder.document, flags, environment);
  return { document: builder.document, reading };
}
