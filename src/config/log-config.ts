/** The log section: level, format and output with their defaults. */
import { configError } from "../errors.ts";
import { LOG_LEVELS } from "../log.ts";
import type { LogLevel } from "../log.ts";
import type { LogRotation } from "../log-file.ts";
import { ownKey } from "./document.ts";
import { mapOf, numberOf } from "./fields.ts";
import type { DocMap, Reading } from "./document.ts";
import type { LogConfig } from "./model.ts";
import { didYouMean } from "./suggest.ts";

const FORMATS = ["json", "text"] as const;

/** A level's name as GOST takes it; throws for others. */
export function parseLevel(text: string, place: string): LogLevel {
  const lower = text.toLowerCase();
  const word = lower === "warning" ? "warn" : lower;
  const level = LOG_LEVELS.find((candidate) => candidate === word);
  if (level !== undefined) return level;
  const why = `${JSON.stringify(text)} is no log level (${LOG_LEVELS.join(", ")})`;
  throw configError(place, `${why}${didYouMean(text, LOG_LEVELS)}`);
}

export function validateLog(map: DocMap | undefined, reading: Reading): LogConfig {
  const field = (key: string): string => {
    const value = map === undefined ? undefined : ownKey(map, key);
    return typeof value === "string" ? value : "";
  };
  const place = (key: string): string => (map === undefined ? "" : reading.places.of(map, key));
  const level = field("level");
  const format = field("format");
  const known = FORMATS.find((candidate) => candidate === format.toLowerCase());
  if (format !== "" && known === undefined) {
    throw configError(place("format"), `log.format: ${JSON.stringify(format)} is not json or text`);
  }
  const rotation = rotationOf(map);
  return {
    level: level === "" ? "info" : parseLevel(level, place("level")),
    format: known ?? "json",
    output: field("output") || "stderr",
    ...(rotation === undefined ? {} : { rotation }),
  };
}

const MIB = 1024 * 1024;
const DAY_MS = 86_400_000;

/** Sizes are MiB and ages days, as in GOST. */
function rotationOf(log: DocMap | undefined): LogRotation | undefined {
  const map = log === undefined ? undefined : mapOf(log, "rotation");
  if (map === undefined) return undefined;
  const count = (key: string): number => Math.max(0, numberOf(map, key) ?? 0);
  return {
    maxBytes: count("maxSize") * MIB,
    maxAgeMs: count("maxAge") * DAY_MS,
    maxBackups: count("maxBackups"),
    localTime: ownKey(map, "localTime") === true,
    compress: ownKey(map, "compress") === true,
  };
}
