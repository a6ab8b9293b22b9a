/** Writes a document as GOST's -O does: schema order, empty values left out, secrets masked. */
import { stringify } from "yaml";
import { isDocMap, setKey } from "./document.ts";
import type { DocMap, DocValue } from "./document.ts";
import { MASK, isSecretKey, maskText } from "./mask.ts";
import { formatDuration } from "./net.ts";
import { DOCUMENT_FIELDS } from "./schema.ts";
import type { Field, Fields } from "./schema.ts";

export type PrintFormat = "yaml" | "json";

interface Style {
  readonly format: PrintFormat;
  readonly showSecrets: boolean;
  /** As GOST prints it, also what would be read otherwise without `compat`. */
  readonly compat?: boolean;
}

/** The text of the document, with a line end. */
export function printDocument(document: DocMap, style: Style): string {
  const ordered = printMap(document, DOCUMENT_FIELDS, style);
  if (style.format === "json") return JSON.stringify(ordered, null, 2) + "\n";
  // Quoted so that readers of YAML 1.1 do not take `y` for a boolean.
  return stringify(ordered, { version: "1.1", lineWidth: 0, aliasDuplicateObjects: false });
}

function printMap(map: DocMap, fields: Fields, style: Style): DocMap {
  const result: DocMap = {};
  for (const [key, field] of Object.entries(fields)) {
    const value = Object.hasOwn(map, key) ? map[key] : undefined;
    if (value === undefined) continue;
    const printed = printValue(value, field, style);
    if (!isEmpty(printed)) setKey(result, key, printed);
  }
  return result;
}

function isEmpty(value: DocValue): boolean {
  if (value === null || value === "" || value === false || value === 0) return true;
  if (Array.isArray(value)) return value.length === 0;
  return isDocMap(value) && Object.keys(value).length === 0;
}

function printValue(value: DocValue, field: Field, style: Style): DocValue {
  switch (field.kind) {
    case "object":
      return isDocMap(value) ? printMap(value, field.fields, style) : value;
    case "list":
      if (!Array.isArray(value)) return value;
      return value.map((item) => printValue(item, field.of, style));
    case "duration":
      if (typeof value !== "number" || value === 0) return value;
      // Less than a millisecond as a number would be read as seconds.
      return style.format === "json" && (style.compat === true || Math.abs(value) >= 1)
        ? Math.round(value * 1e6)
        : formatDuration(value);
    case "string":
      if (style.showSecrets || typeof value !== "string" || value === "") return value;
      return field.secret === true ? MASK : maskText(value);
    case "metadata":
    case "any":
      return printFree(value, style);
    default:
      return value;
  }
}

/** Keys in alphabetical order; what a key calls a secret is masked, and users in URLs are. */
function printFree(value: DocValue, style: Style): DocValue {
  if (Array.isArray(value)) return value.map((item) => printFree(item, style));
  if (typeof value === "string") return style.showSecrets ? value : maskText(value);
  if (!isDocMap(value)) return value;
  const result: DocMap = {};
  for (const [key, item] of Object.entries(value).sort(byKey)) {
    const secret = !style.showSecrets && isSecretKey(key) && !isDocMap(item);
    setKey(result, key, secret ? MASK : printFree(item, style));
  }
  return result;
}

function byKey(one: readonly [string, DocValue], other: readonly [string, DocValue]): number {
  return one[0] < other[0] ? -1 : 1;
}
