/**
 * What environment variables say: GOST_LOGGER_LEVEL, GOST_API, GOST_METRICS and GOST_PROFILING as
 * in GOST, TSGOST_LOG_LEVEL and TSGOST_LOG_FORMAT of our own. They come after files and before the
 * options. (Users and passwords in TSGOST_AUTH_…: secrets.ts.)
 */
import { compact, takeBool, takeText } from "./builder.ts";
import { configError } from "../errors.ts";
import { isDocMap, ownKey } from "./document.ts";
import type { DocMap, Reading } from "./document.ts";
import type { LoadFlags } from "./load.ts";
import { parseLevel } from "./log-config.ts";
import { parseHostPort } from "./net.ts";
import { parseGostUrl, urlOptions } from "./url.ts";

export type Environment = Readonly<Record<string, string | undefined>>;

const PROFILING_ADDRESS = ":6060";

/** Sections that a variable replaces. */
const SECTION_VARIABLES = { GOST_API: "api", GOST_METRICS: "metrics" } as const;

/** The sections `api`, `metrics` and `profiling`. */
export function applySections(document: DocMap, environment: Environment, reading: Reading): void {
  for (const [variable, section] of Object.entries(SECTION_VARIABLES)) {
    const text = environment[variable] ?? "";
    if (text === "") continue;
    document[section] = reading.compat ? { addr: text } : endpointOf(text, variable, reading);
    reading.places.setKey(document, section, variable);
  }
  const profiling = environment["GOST_PROFILING"] ?? "";
  const before = ownKey(document, "profiling");
  if (profiling !== "") {
    document["profiling"] = { addr: profiling };
    reading.places.setKey(document, "profiling", "GOST_PROFILING");
  } else if (isDocMap(before) && ownKey(before, "addr") === undefined) {
    before["addr"] = PROFILING_ADDRESS;
  }
}

/** `[user:password@]host:port[?pathPrefix=…&accesslog=…]` of -api, and the same of -metrics. */
export function endpointOf(text: string, option: string, reading: Reading): DocMap {
  const options = urlOptions(option, reading);
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

type LogFlags = Pick<LoadFlags, "debug" | "trace" | "logLevel" | "logFormat">;

export function applyLog(document: DocMap, flags: LogFlags, environment: Environment): void {
  const level = (name: string): string => {
    const text = environment[name] ?? "";
    return text === "" ? "" : parseLevel(text, name);
  };
  const chosen = [
    level("GOST_LOGGER_LEVEL"),
    level("TSGOST_LOG_LEVEL"),
    flags.debug ? "debug" : "",
    flags.trace ? "trace" : "",
    flags.logLevel === "" ? "" : parseLevel(flags.logLevel, "--log-level"),
  ].findLast((word) => word !== "");
  const format = flags.logFormat || (environment["TSGOST_LOG_FORMAT"] ?? "");
  if (chosen === undefined && format === "") return;
  const before = ownKey(document, "log");
  document["log"] = {
    ...(isDocMap(before) ? before : {}),
    ...(chosen === undefined ? {} : { level: chosen }),
    ...(format === "" ? {} : { format }),
  };
}
