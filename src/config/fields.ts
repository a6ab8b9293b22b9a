/** Reads typed values out of a normalised document map; what is missing is "" or undefined. */
import { isDocMap, ownKey } from "./document.ts";
import type { DocMap } from "./document.ts";

export function listOf(map: DocMap, key: string): DocMap[] {
  const value = ownKey(map, key);
  return Array.isArray(value) ? value.filter(isDocMap) : [];
}

export function mapOf(map: DocMap, key: string): DocMap | undefined {
  const value = ownKey(map, key);
  return isDocMap(value) ? value : undefined;
}

export function textOf(map: DocMap, key: string): string {
  const value = ownKey(map, key);
  return typeof value === "string" ? value : "";
}

export function numberOf(map: DocMap, key: string): number | undefined {
  const value = ownKey(map, key);
  return typeof value === "number" ? value : undefined;
}

export function textsOf(map: DocMap, key: string): string[] {
  const value = ownKey(map, key);
  const items = Array.isArray(value) ? value : [value];
  return items.filter((item): item is string => typeof item === "string" && item !== "");
}

/** GOST's pairs such as `bypass` and `bypasses`: both, in this order. */
export function namesOf(map: DocMap, single: string, plural: string): string[] {
  return textsOf(map, single).concat(textsOf(map, plural));
}

/** `{ [key]: value }`, or nothing for an empty text. */
export function optional<K extends string>(key: K, value: string): Partial<Record<K, string>> {
  return value === "" ? {} : ({ [key]: value } as Record<K, string>);
}

/** `{ [key]: value }`, or nothing for undefined. */
export function given<K extends string, V>(key: K, value: V | undefined): Partial<Record<K, V>> {
  return value === undefined ? {} : ({ [key]: value } as Record<K, V>);
}
