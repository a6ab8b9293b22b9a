/**
 * All sources together: files in order, then the command line, then environment and -D. Lists are
 * joined, single sections replaced by the later one, as GOST does.
 */
import { existsSync } from "node:fs";
import { homedir } from "node:os";
import { join, resolve } from "node:path";
import { TsgostError, codeOf, configError, messageOf } from "../errors.ts";
import { DocumentBuilder, NAME_WORDS, compact } from "./builder.ts";
import type { NamedSection } from "./builder.ts";
import { isDocMap, ownKey, Reading } from "./document.ts";
import type { DocMap } from "./document.ts";
import { applyLog, applySections, endpointOf } from "./environment.ts";
import type { Environment } from "./environment.ts";
import { fetchSources } from "./fetch.ts";
import type { Flags } from "./flags.ts";
import { OPTIONS_PLACE } from "./model.ts";
import type { Config } from "./model.ts";
import { hopOf } from "./node-url.ts";
import { addServices } from "./service-url.ts";
import { readSource } from "./source.ts";
import type { SourceTexts } from "./source.ts";
import { validate } from "./validate.ts";

export interface Loaded {
  /** GOST's shape, merged: what -O prints. */
  readonly document: DocMap;
  readonly reading: Reading;
  /** The one file it came from, "" if there is none or more than one source. */
  readonly file?: string;
  /** -R. */
  readonly reloadMs?: number;
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
> & {
  readonly reloadMs?: number;
  readonly showSecrets?: boolean;
  /** Note errors in `reading.errors` and go on. */
  readonly collect?: boolean;
};

/** Fetches what is a URL, reads and merges; throws TsgostError. */
export async function load(flags: LoadFlags, environment: Environment): Promise<Loaded> {
  return loadDocument(flags, environment, await fetchSources(flags.sources));
}

/** Reads and merges; throws TsgostError (exit code 2; as GOST 1 with `compat`). */
export function loadDocument(
  flags: LoadFlags,
  environment: Environment,
  fetched?: SourceTexts,
): Loaded {
  try {
    return merged(flags, environment, fetched);
  } catch (error) {
    if (!flags.compat || codeOf(error) !== "TSGOST_ERR_CONFIG") throw error;
    throw new TsgostError("TSGOST_ERR_CONFIG", messageOf(error), { cause: error });
  }
}

function merged(flags: LoadFlags, environment: Environment, fetched?: SourceTexts): Loaded {
  const reading = new Reading(flags);
  const document: DocMap = {};
  const empty = flags.services.length === 0 && flags.api === "";
  const sources =
    flags.sources.length > 0 || !empty ? flags.sources : [defaultSource(environment, reading)];
  for (const source of sources) {
    const part = reading.attempt(() => readSource(source, reading, fetched));
    if (part !== undefined) merge(document, part, reading);
  }
  reading.attempt(() => applySections(document, environment, reading));
  merge(document, documentOfUrls(flags, document, reading), reading);
  reading.attempt(() => applyLog(document, flags, environment));
  const { reloadMs = 0 } = flags;
  const [file = ""] = sources.length === 1 && isFile(sources[0] ?? "") ? sources : [];
  return { document, reading, file, ...(reloadMs > 0 ? { reloadMs } : {}) };
}

/** Neither stdin, nor inline text, nor a URL. */
function isFile(source: string): boolean {
  return source !== "-" && !/^\s*\{|^https?:/i.test(source);
}

/** The model of a document; with `compat` the document alone may be wanted, see print.ts. */
export function modelOf(loaded: Loaded): Config {
  const config = validate(loaded.document, loaded.reading);
  return loaded.reloadMs === undefined ? config : { ...config, reloadMs: loaded.reloadMs };
}

/** GOST looks for a file where neither a service nor a source is given. */
function defaultSource(environment: Environment, reading: Reading): string {
  const home = environment["HOME"] ?? homedir();
  const folders = ["/etc/gost", join(home, ".gost"), "."];
  for (const folder of folders) {
    for (const extension of ["json", "yaml", "yml", "toml"]) {
      const path = join(folder, `gost.${extension}`);
      if (existsSync(path)) return path;
    }
  }
  if (reading.compat) {
    const paths = folders.map((folder) => resolve(folder)).join(" ");
    throw configError("", `Config File "gost" Not Found in "[${paths}]"`);
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
  const hops = flags.nodes.flatMap(
    (text, index) => reading.attempt(() => hopOf(builder, text, index)) ?? [],
  );
  const chain = hops.length === 0 ? "" : builder.add("chains", { hops }, "-F");
  for (const text of flags.services) {
    reading.attempt(() => {
      addServices(builder, text, chain);
    });
  }
  const { document } = builder;
  for (const section of ["api", "metrics"] as const) {
    if (flags[section] === "") continue;
    const option = `-${section}`;
    const map = reading.attempt(() => endpointOf(flags[section], option, reading));
    if (map === undefined) continue;
    document[section] = map;
    reading.places.set(map, option);
    reading.places.setKey(document, section, option);
  }
  return document;
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
