/**
 * Look-up in metadata. Keys ignore case; of several alias names the first that exists decides, also
 * if its value is of no use (that is GOST's rule). `meta…` convert as GOST does and fall back where
 * a value is unusable; `MetadataReader` refuses such values with key and value in the message.
 */
import { configError } from "../errors.ts";
import { OPTIONS_PLACE } from "./model.ts";
import type { Metadata, MetadataValue, Place } from "./model.ts";
import { parseDuration } from "./net.ts";

/** One name, or several: the first that exists decides. */
export type Names = string | readonly string[];

export interface Found {
  /** As written in the configuration. */
  readonly key: string;
  readonly value: MetadataValue;
}

/** The entry that the first existing name leads to. */
export function findMeta(metadata: Metadata, names: Names): Found | undefined {
  for (const name of typeof names === "string" ? [names] : names) {
    if (Object.hasOwn(metadata, name)) return { key: name, value: metadata[name] ?? null };
    const lower = name.toLowerCase();
    for (const key of Object.keys(metadata)) {
      if (key.toLowerCase() === lower) return { key, value: metadata[key] ?? null };
    }
  }
  return undefined;
}

export function metaHas(metadata: Metadata, names: Names): boolean {
  return findMeta(metadata, names) !== undefined;
}

/** Go's ParseBool; undefined for every other text. */
export function parseGoBool(text: string): boolean | undefined {
  if (/^(1|t|T|TRUE|true|True)$/.test(text)) return true;
  return /^(0|f|F|FALSE|false|False)$/.test(text) ? false : undefined;
}

function toBool(value: MetadataValue): boolean | undefined {
  if (typeof value === "boolean") return value;
  if (typeof value === "number") return value !== 0;
  return typeof value === "string" ? parseGoBool(value) : undefined;
}

function toInt(value: MetadataValue): number | undefined {
  if (typeof value === "boolean") return value ? 1 : 0;
  if (typeof value === "number") return Number.isSafeInteger(value) ? value : undefined;
  if (typeof value !== "string" || !/^[+-]?\d{1,16}$/.test(value)) return undefined;
  const parsed = Number(value);
  return Number.isSafeInteger(parsed) ? parsed : undefined;
}

function toFloat(value: MetadataValue): number | undefined {
  if (typeof value === "number") return value;
  if (typeof value !== "string" || !/^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(value)) {
    return undefined;
  }
  return Number(value);
}

/** Milliseconds. */
function toDuration(value: MetadataValue): number | undefined {
  if (typeof value === "number") return Number.isFinite(value) ? value * 1000 : undefined;
  return typeof value === "string" ? parseDuration(value) : undefined;
}

function toText(value: MetadataValue): string | undefined {
  if (typeof value === "string") return value;
  return typeof value === "number" || typeof value === "boolean" ? String(value) : undefined;
}

/** A list's items, or the parts between the commas of a string; trimmed, empty ones left out. */
function toList(value: MetadataValue): string[] | undefined {
  const text = toText(value);
  const items: (string | undefined)[] =
    text !== undefined ? text.split(",") : Array.isArray(value) ? value.map(toText) : [];
  if (text === undefined && !Array.isArray(value)) return undefined;
  if (items.includes(undefined)) return undefined;
  return items.flatMap((item) => {
    const trimmed = item?.trim() ?? "";
    return trimmed === "" ? [] : [trimmed];
  });
}

function isMap(value: MetadataValue): value is Metadata {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function convert<T>(
  metadata: Metadata,
  names: Names,
  to: (value: MetadataValue) => T | undefined,
  fallback: T,
): T {
  const found = findMeta(metadata, names);
  return found === undefined ? fallback : (to(found.value) ?? fallback);
}

export function metaBool(metadata: Metadata, names: Names, fallback = false): boolean {
  return convert(metadata, names, toBool, fallback);
}

export function metaInt(metadata: Metadata, names: Names, fallback = 0): number {
  return convert(metadata, names, toInt, fallback);
}

export function metaFloat(metadata: Metadata, names: Names, fallback = 0): number {
  return convert(metadata, names, toFloat, fallback);
}

/** Milliseconds; a bare number is seconds. */
export function metaDurationMs(metadata: Metadata, names: Names, fallbackMs = 0): number {
  return convert(metadata, names, toDuration, fallbackMs);
}

export function metaString(metadata: Metadata, names: Names, fallback = ""): string {
  return convert(metadata, names, toText, fallback);
}

/** From a list, or from a string with commas. */
export function metaList(metadata: Metadata, names: Names): string[] {
  return convert<string[]>(metadata, names, toList, []);
}

export function metaMap(metadata: Metadata, names: Names): Metadata {
  return convert<Metadata>(metadata, names, (value) => (isMap(value) ? value : undefined), {});
}

/** camelCase and so_mark as the command line writes them. */
export function kebabCase(key: string): string {
  return key
    .replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)
    .replaceAll("_", "-")
    .replaceAll(".", "-");
}

export interface Range {
  readonly min?: number;
  readonly max?: number;
}

const NUMBERS = new Intl.NumberFormat("en", { useGrouping: false, maximumFractionDigits: 3 });

/** Answers undefined for absent keys and throws for unusable values. */
export class MetadataReader {
  readonly #metadata: Metadata;
  readonly #place: Place;
  readonly #placeOf: (key: string) => Place;

  /** `placeOf` answers where a key was written, "" where that is not known. */
  constructor(metadata: Metadata, place: Place, placeOf: (key: string) => Place = () => "") {
    this.#metadata = metadata;
    this.#place = place;
    this.#placeOf = placeOf;
  }

  /** The error for the value of `key`: "PLACE: KEY: "VALUE" is …". */
  refuse(key: string, value: MetadataValue, why: string): Error {
    const text = typeof value === "string" ? value : JSON.stringify(value);
    const secret = /(auth|pass(word|phrase)?|secret|token|psk|key)$/i.test(key);
    const clipped = secret ? "***" : text.length > 120 ? text.slice(0, 120) + "…" : text;
    if (this.#place === OPTIONS_PLACE) {
      return configError("", `--${kebabCase(key)} ${JSON.stringify(clipped)} ${why}`);
    }
    const place = this.#placeOf(key) || this.#place;
    return configError(place, `${key}: ${JSON.stringify(clipped)} ${why}`);
  }

  find(names: Names): Found | undefined {
    return findMeta(this.#metadata, names);
  }

  bool(names: Names): boolean | undefined {
    return this.#read(names, toBool, "is not true or false");
  }

  int(names: Names, range: Range = {}): number | undefined {
    return this.#ranged(names, toInt, range, "is not a whole number");
  }

  float(names: Names, range: Range = {}): number | undefined {
    return this.#ranged(names, toFloat, range, "is not a number");
  }

  durationMs(names: Names, range: Range = {}): number | undefined {
    const why = "is not a duration (such as 30s, 1m30s, 500ms, or seconds without a unit)";
    return this.#ranged(names, toDuration, range, why);
  }

  string(names: Names): string | undefined {
    return this.#read(names, toText, "is not a text");
  }

  list(names: Names): string[] | undefined {
    return this.#read(names, toList, "is not a list of texts");
  }

  map(names: Names): Metadata | undefined {
    return this.#read(names, (value) => (isMap(value) ? value : undefined), "is not a map");
  }

  oneOf<T extends string>(names: Names, words: readonly T[]): T | undefined {
    const pick = (value: MetadataValue): T | undefined =>
      words.find((word) => word === toText(value)?.toLowerCase());
    return this.#read(names, pick, `is not one of ${words.join(", ")}`);
  }

  #ranged(
    names: Names,
    to: (value: MetadataValue) => number | undefined,
    range: Range,
    why: string,
  ): number | undefined {
    const value = this.#read(names, to, why);
    if (value === undefined) return undefined;
    const { min = -Infinity, max = Infinity } = range;
    if (value >= min && value <= max) return value;
    const found = this.find(names);
    const unit = to === toDuration ? " ms" : "";
    const bounds =
      max === Infinity
        ? `is less than ${NUMBERS.format(min)}${unit}`
        : `is outside ${NUMBERS.format(min)} … ${NUMBERS.format(max)}${unit}`;
    throw this.refuse(found?.key ?? String(names), found?.value ?? null, bounds);
  }

  #read<T>(names: Names, to: (value: MetadataValue) => T | undefined, why: string): T | undefined {
    const found = this.find(names);
    if (found === undefined) return undefined;
    const value = to(found.value);
    if (value === undefined) throw this.refuse(found.key, found.value, why);
    return value;
  }
}
