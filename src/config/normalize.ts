/**
 * Brings a document that was read from a file into the schema's form: canonical spelling of keys,
 * weak conversion of scalars, lists where one value was given, durations in milliseconds. Unknown
 * keys are warnings, unusable values errors, both with their place.
 */
import { configError } from "../errors.ts";
import { isDocMap, ownKey, setKey } from "./document.ts";
import type { DocMap, DocValue, Reading } from "./document.ts";
import { shown } from "./mask.ts";
import { parseGoBool } from "./metadata.ts";
import { DURATION_MS_MAX, parseDuration } from "./net.ts";
import type { Field, Fields } from "./schema.ts";
import { didYouMean } from "./suggest.ts";

interface Spot {
  /** Of the value, for messages. */
  readonly place: string;
  readonly path: string;
}

/** A copy of `map` in the form of `fields`. */
export function normalizeMap(map: DocMap, fields: Fields, reading: Reading, path = ""): DocMap {
  const byLower = new Map(Object.keys(fields).map((key) => [key.toLowerCase(), key]));
  const result: DocMap = {};
  reading.places.copy(map, result);
  for (const [written, value] of Object.entries(map)) {
    const place = reading.places.of(map, written);
    const key = byLower.get(written.toLowerCase());
    const field = key === undefined ? undefined : fields[key];
    if (key === undefined || field === undefined) {
      const hint = didYouMean(written, Object.keys(fields));
      const why = `${path}${written} is no key of the configuration${hint}`;
      reading.warn(place, why);
      continue;
    }
    if (ownKey(result, key) !== undefined) throw configError(place, `${path}${key} is given twice`);
    if (value === null) continue;
    const spot = { place, path: path + key };
    const normal = reading.attempt(() => normalizeValue(value, field, reading, spot));
    if (normal === undefined) continue;
    setKey(result, key, normal);
    reading.places.setKey(result, key, place);
  }
  return result;
}

function normalizeValue(value: DocValue, field: Field, reading: Reading, spot: Spot): DocValue {
  switch (field.kind) {
    case "any":
      return reading.compat ? lowerKeys(value) : value;
    case "metadata":
      if (!isDocMap(value)) throw noMap(spot, value);
      return reading.compat ? lowerKeys(value) : value;
    case "object":
      return toObject(value, field, reading, spot);
    case "list":
      return toList(value, field.of, reading, spot);
    case "string":
      return toText(value, spot);
    case "int":
      return toInt(value, spot);
    case "bool":
      return toBool(value, spot);
    case "duration":
      return toDurationMs(value, reading, spot);
  }
}

type ObjectField = Extract<Field, { readonly kind: "object" }>;

function toObject(value: DocValue, field: ObjectField, reading: Reading, spot: Spot): DocMap {
  if (isDocMap(value)) return normalizeMap(value, field.fields, reading, `${spot.path}.`);
  if (field.short === undefined || typeof value !== "string") {
    throw noMap(spot, value);
  }
  const short: DocMap = { [field.short]: value };
  reading.places.set(short, spot.place);
  return short;
}

/** A text or list in the place of a map may be a piece of a file, with anything in it: not shown. */
function noMap(spot: Spot, value: DocValue): Error {
  const why = "is not a map of keys and values";
  if (typeof value !== "string" && !Array.isArray(value)) return wrong(spot, value, why);
  const kind = typeof value === "string" ? "text" : "list";
  return configError(spot.place, `${spot.path}: a ${kind} ${why}`);
}

function wrong(spot: Spot, value: DocValue, why: string): Error {
  return configError(spot.place, `${spot.path}: ${shown(spot.path, value, 80)} ${why}`);
}

/** A single value counts as a list of one; a text for a list of texts may have commas. */
function toList(value: DocValue, of: Field, reading: Reading, spot: Spot): DocValue[] {
  const items = Array.isArray(value)
    ? value
    : of.kind === "string" && typeof value === "string"
      ? value.split(",").filter((item) => item !== "")
      : [value];
  return items.flatMap((item, index) => {
    if (item === null) return [];
    const place = (isDocMap(item) ? reading.places.of(item) : "") || spot.place;
    return [normalizeValue(item, of, reading, { place, path: `${spot.path}[${index}]` })];
  });
}

function toText(value: DocValue, spot: Spot): string {
  if (typeof value === "string") return value;
  if (typeof value === "number" || typeof value === "boolean") return String(value);
  throw wrong(spot, value, "is not a text");
}

function toInt(value: DocValue, spot: Spot): number {
  if (typeof value === "boolean") return Number(value);
  const number = typeof value === "string" && /^[+-]?\d+$/.test(value) ? Number(value) : value;
  if (typeof number === "number" && Number.isSafeInteger(number)) return number;
  throw wrong(spot, value, "is not a whole number");
}

function toBool(value: DocValue, spot: Spot): boolean {
  if (typeof value === "boolean") return value;
  if (typeof value === "number") return value !== 0;
  const parsed = typeof value === "string" ? parseGoBool(value) : undefined;
  if (parsed === undefined) throw wrong(spot, value, "is not true or false");
  return parsed;
}

/** From here on a bare number is nanoseconds: nobody means eleven days, and -O json writes them. */
const NANOSECONDS_MIN = 1e6;

function toDurationMs(value: DocValue, reading: Reading, spot: Spot): number {
  let ms = typeof value === "string" ? parseDuration(value) : undefined;
  if (typeof value === "number" && Number.isFinite(value)) {
    const isNanoseconds = reading.compat || Math.abs(value) >= NANOSECONDS_MIN;
    ms = isNanoseconds ? value / 1e6 : value * 1000;
  }
  if (ms === undefined || Math.abs(ms) > DURATION_MS_MAX)
    throw wrong(spot, value, "is not a duration (such as 30s or 1m30s)");
  return ms;
}

/** GOST's file reader lower-cases every key, also of free maps. */
function lowerKeys(value: DocValue): DocValue {
  if (Array.isArray(value)) return value.map(lowerKeys);
  if (!isDocMap(value)) return value;
  const result: DocMap = {};
  for (const [key, item] of Object.entries(value)) {
    setKey(result, key.toLowerCase(), lowerKeys(item));
  }
  return result;
}
