/**
 * Looks at every metadata key of a service, hop or node: unknown ones are warnings with the
 * nearest known one, those that stand where nothing reads them say where they belong, and values
 * of the wrong kind are errors. Called by validate.ts.
 */
import { configError } from "../errors.ts";
import type { Reading } from "./document.ts";
import {
  GOST_CONNECTOR_KEYS,
  GOST_DIALER_KEYS,
  GOST_HANDLER_KEYS,
  GOST_LISTENER_KEYS,
  GOST_SERVICE_KEYS,
} from "./gost-keys.ts";
import { keyInfo, valueFault } from "./key-kinds.ts";
import {
  CONNECTOR_KEYS,
  DIALER_KEYS,
  HANDLER_KEYS,
  HOP_KEYS,
  LISTENER_KEYS,
  NODE_KEYS,
  SERVICE_KEYS,
  URL_KEYS,
} from "./keys.ts";
import { shown } from "./mask.ts";
import { metaHas, parseGoBool } from "./metadata.ts";
import type { HopConfig, Metadata, MetadataValue, NodeConfig, ServiceConfig } from "./model.ts";
import type { DocValue } from "./document.ts";
import { didYouMean } from "./suggest.ts";

type Keys = readonly string[];
type Tables = Readonly<Record<string, Keys>>;

/** What a component understands. */
export interface Known {
  /** What takes effect. */
  readonly keys: Keys;
  /** What GOST has besides: accepted, without effect. */
  readonly idle: Keys;
}

/** A map of metadata, and what its owner understands. */
interface Part extends Known {
  /** As in the configuration: `listener`. */
  readonly what: string;
  readonly metadata: Metadata;
}

interface Spot {
  readonly place: string;
  readonly reading: Reading;
  /** Has the core's settings, whose reader checks the values with their bounds (tungo.ts). */
  readonly core: boolean;
}

const NOTHING: Known = { keys: [], idle: [] };

/** The keys of a type; undefined for types without a table. */
function knownOf(ours: Tables, gosts: Tables, type: string): Known | undefined {
  const mine = Object.hasOwn(ours, type) ? ours[type] : undefined;
  const theirs = (Object.hasOwn(gosts, type) ? gosts[type] : undefined) ?? [];
  // A type that is not built is refused at the start: what it would read is not judged.
  if (mine === undefined) return theirs.length === 0 ? undefined : { keys: theirs, idle: [] };
  const lowers = new Set(mine.map((key) => key.toLowerCase()));
  return { keys: mine, idle: theirs.filter((key) => !lowers.has(key.toLowerCase())) };
}

export function handlerKeys(type: string): Known | undefined {
  return knownOf(HANDLER_KEYS, GOST_HANDLER_KEYS, type);
}

export function listenerKeys(type: string): Known | undefined {
  return knownOf(LISTENER_KEYS, GOST_LISTENER_KEYS, type);
}

export function connectorKeys(type: string): Known | undefined {
  return knownOf(CONNECTOR_KEYS, GOST_CONNECTOR_KEYS, type);
}

export function dialerKeys(type: string): Known | undefined {
  return knownOf(DIALER_KEYS, GOST_DIALER_KEYS, type);
}

export function checkServiceKeys(service: ServiceConfig, reading: Reading): void {
  const { handler, listener, metadata, place } = service;
  const ofHandler = handlerKeys(handler.type);
  const ofListener = listenerKeys(listener.type);
  const core = handler.type === "tungo" || listener.type === "tungo";
  const parts: Part[] = [
    // A tungo service reads its keys wherever they are.
    {
      what: "service",
      metadata,
      keys: core ? [...SERVICE_KEYS, ...(ofListener?.keys ?? [])] : SERVICE_KEYS,
      idle: GOST_SERVICE_KEYS,
    },
    { what: "handler", metadata: handler.metadata, ...(ofHandler ?? NOTHING) },
    { what: "listener", metadata: listener.metadata, ...(ofListener ?? NOTHING) },
  ];
  const isKnown = ofHandler !== undefined && ofListener !== undefined;
  checkParts(parts, isKnown, { place, reading, core });
}

export function checkHopKeys(hop: HopConfig, reading: Reading): void {
  const parts = [{ what: "hop", metadata: hop.metadata, keys: HOP_KEYS, idle: [] }];
  // A URL's hop has a copy of every key of the URL.
  const place = hop.place ?? "";
  const isKnown = !place.startsWith("-");
  checkParts(parts, isKnown, { place, reading, core: false });
}

export function checkNodeKeys(node: NodeConfig, reading: Reading): void {
  const { connector, dialer, metadata, place } = node;
  const ofConnector = connectorKeys(connector.type);
  const ofDialer = dialerKeys(dialer.type);
  const parts: Part[] = [
    { what: "node", metadata, keys: NODE_KEYS, idle: [] },
    { what: "connector", metadata: connector.metadata, ...(ofConnector ?? NOTHING) },
    { what: "dialer", metadata: dialer.metadata, ...(ofDialer ?? NOTHING) },
  ];
  const isKnown = ofConnector !== undefined && ofDialer !== undefined;
  checkParts(parts, isKnown, { place, reading, core: false });
}

function checkParts(parts: readonly Part[], isKnown: boolean, spot: Spot): void {
  const all = [...parts.flatMap(({ keys, idle }) => [...keys, ...idle]), ...URL_KEYS];
  const lowers = new Set(all.map((key) => key.toLowerCase()));
  const seen = new Set<string>();
  for (const part of parts) {
    for (const [key, value] of Object.entries(part.metadata)) {
      const lower = key.toLowerCase();
      checkValue(part.metadata, key, value, spot);
      if (!isKnown || seen.has(lower)) continue;
      seen.add(lower);
      const place = spot.reading.places.of(part.metadata, key) || spot.place;
      if (!lowers.has(lower)) spot.reading.warn(place, unknownKey(key, all));
      else warnPlace(part, key, parts, spot);
    }
  }
}

/** A key that its own part does not read, and that is missing where it would be read, or nowhere. */
function warnPlace(part: Part, key: string, parts: readonly Part[], spot: Spot): void {
  if (spot.core) return;
  const lower = key.toLowerCase();
  const reads = (other: Part): boolean => other.keys.some((known) => known.toLowerCase() === lower);
  const readers = parts.filter(reads);
  if (readers.length === 0) {
    const isIdle = parts.some(({ idle }) => idle.some((one) => one.toLowerCase() === lower));
    const place = spot.reading.places.of(part.metadata, key) || spot.place;
    if (isIdle && !isOff(part.metadata[key])) spot.reading.warn(place, `${key} has no effect`);
    return;
  }
  if (readers.some((other) => metaHas(other.metadata, key))) return;
  const where = readers.map(({ what }) => (what === "service" ? "" : `${what}.`) + "metadata");
  const place = spot.reading.places.of(part.metadata, key) || spot.place;
  spot.reading.warn(place, `${key} has no effect here; it belongs into ${where.join(" or ")}`);
}

/** What is switched off, or empty, asks for nothing. */
function isOff(value: MetadataValue | undefined): boolean {
  if (value === undefined || value === null || value === "") return true;
  return value === false || value === 0 || (typeof value === "string" && isGoFalse(value));
}

function isGoFalse(text: string): boolean {
  return parseGoBool(text) === false;
}

function checkValue(metadata: Metadata, key: string, value: MetadataValue, spot: Spot): void {
  const info = spot.core || spot.reading.compat ? undefined : keyInfo(key, false);
  // Networks and addresses are read by those who know what is wrong with them.
  if (info?.kind === "networks" || info?.kind.startsWith("address") === true) return;
  const why = info === undefined ? undefined : valueFault(info, value);
  if (why === undefined || info === undefined) return;
  const place = spot.reading.places.of(metadata, key) || spot.place;
  const message = `${key}: ${shown(key, value as DocValue)} ${why}`;
  if (info.kind === "map") spot.reading.warn(place, `${message}; it has no effect`);
  else spot.reading.fault(configError(place, message));
}

function unknownKey(key: string, known: readonly string[]): string {
  const name = JSON.stringify(key.length > 60 ? key.slice(0, 60) + "…" : key);
  return `nothing here knows the key ${name}${didYouMean(key, known)}`;
}
