/** The core's settings out of metadata: one configuration word for each entry of CORE_OPTIONS. */
import * as abi from "../../assembly/abi.ts";
import { CORE_OPTIONS } from "../core/options.ts";
import type { CoreOption } from "../core/options.ts";
import type { MetadataReader } from "./metadata.ts";
import type { MetadataValue } from "./model.ts";
import { parseBytes } from "./net.ts";
import type { Cidr } from "./net.ts";

/** Words where the first must not exceed the second. */
const ORDERED: readonly (readonly [number, number])[] = [
  [abi.CFG_RTO_MIN_MS, abi.CFG_RTO_MAX_MS],
  [abi.CFG_RTO_INITIAL_MS, abi.CFG_RTO_MAX_MS],
  [abi.CFG_RECV_BUFFER_BYTES, abi.CFG_BUFFER_CAP_BYTES],
  [abi.CFG_SEND_BUFFER_BYTES, abi.CFG_BUFFER_CAP_BYTES],
  [abi.CFG_RECV_BUFFER_MAX_BYTES, abi.CFG_BUFFER_CAP_BYTES],
  [abi.CFG_SEND_BUFFER_MAX_BYTES, abi.CFG_BUFFER_CAP_BYTES],
  [abi.CFG_RECV_BUFFER_BYTES, abi.CFG_RECV_BUFFER_MAX_BYTES],
  [abi.CFG_SEND_BUFFER_BYTES, abi.CFG_SEND_BUFFER_MAX_BYTES],
];

/** Every option's word, given or default; `echo` only if it is not `auto` (the caller decides). */
export function coreWords(reader: MetadataReader): Map<number, number> {
  const words = new Map<number, number>();
  for (const option of CORE_OPTIONS) words.set(option.word, readOption(reader, option));
  for (const [low, high] of ORDERED) checkOrder(reader, words, low, high);
  return words;
}

/** The device's own addresses, the first of each family: bytes in network order. */
export function coreWordsOfNets(words: Map<number, number>, nets: readonly Cidr[]): void {
  const own4 = nets.find((net) => net.family === 4);
  const own6 = nets.find((net) => net.family === 6);
  if (own4 !== undefined) words.set(abi.CFG_OWN_4, wordAt(own4.bytes, 0));
  if (own6 === undefined) return;
  for (let index = 0; index < 4; index++) {
    words.set(abi.CFG_OWN_6 + index, wordAt(own6.bytes, index * 4));
  }
}

/** The word whose bytes in (little-endian) memory are these four. */
function wordAt(bytes: Uint8Array, offset: number): number {
  return new DataView(bytes.buffer, bytes.byteOffset + offset, 4).getUint32(0, true);
}

function namesOf(option: CoreOption): string[] {
  return [option.key, ...(option.aliases ?? [])];
}

function readOption(reader: MetadataReader, option: CoreOption): number {
  const names = namesOf(option);
  const range = { min: option.min, max: option.max };
  switch (option.kind) {
    case "count":
      return reader.int(names, range) ?? option.default;
    case "ms":
      return Math.round(reader.durationMs(names, range) ?? option.default);
    case "bool":
      return Number(reader.bool(names) ?? option.default);
    case "bytes":
      return readBytes(reader, names, option);
    case "connect": {
      const word = reader.oneOf(names, ["faithful", "immediate"] as const);
      if (word === undefined) return option.default;
      return word === "faithful" ? abi.CONNECT_FAITHFUL : abi.CONNECT_IMMEDIATE;
    }
    case "congestion": {
      const word = reader.oneOf(names, ["cubic", "newreno"] as const);
      if (word === undefined) return option.default;
      return word === "cubic" ? abi.CONGESTION_CUBIC : abi.CONGESTION_NEWRENO;
    }
    case "echo":
      return option.default;
  }
}

function readBytes(reader: MetadataReader, names: readonly string[], option: CoreOption): number {
  const found = reader.find(names);
  if (found === undefined) return option.default;
  // GOST takes 0 and less for "default" in these.
  const value = bytesOf(found.value);
  if (value === undefined) throw reader.refuse(found.key, found.value, "is not a number of bytes");
  if (value <= 0) return option.default;
  if (value >= option.min && value <= option.max) return value;
  const bounds = `is outside ${option.min} … ${option.max} bytes`;
  throw reader.refuse(found.key, found.value, bounds);
}

function bytesOf(value: MetadataValue): number | undefined {
  if (typeof value === "number") return Number.isSafeInteger(value) ? value : undefined;
  if (typeof value !== "string") return undefined;
  return /^-\d+$/.test(value) ? Number(value) : parseBytes(value);
}

function optionOf(word: number): CoreOption {
  const option = CORE_OPTIONS.find((candidate) => candidate.word === word);
  if (option === undefined) throw new RangeError(`no option has the word ${word}`);
  return option;
}

/** A low end that was given above a default high end raises it; two given ones are an error. */
function checkOrder(
  reader: MetadataReader,
  words: Map<number, number>,
  low: number,
  high: number,
): void {
  const [lowValue, highValue] = [words.get(low) ?? 0, words.get(high) ?? 0];
  if (lowValue <= highValue) return;
  const [lowOption, highOption] = [optionOf(low), optionOf(high)];
  if (reader.find(namesOf(highOption)) === undefined) {
    words.set(high, lowValue);
    return;
  }
  if (reader.find(namesOf(lowOption)) === undefined) {
    words.set(low, highValue);
    return;
  }
  const value = reader.find(namesOf(lowOption))?.value ?? lowValue;
  throw reader.refuse(lowOption.key, value, `is more than ${highOption.key} (${highValue})`);
}
