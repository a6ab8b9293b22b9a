/**
 * Reads one configuration source (-C): a YAML or JSON file, `-` (stdin), inline JSON or what was
 * fetched, into a normalised document whose objects and keys know their `file:line:column`.
 */
import { existsSync, readFileSync } from "node:fs";
import { isAlias, isMap, isScalar, isSeq, LineCounter, parseDocument } from "yaml";
import type { Document, Node, Pair, YAMLMap } from "yaml";
import { codeOf, configError, messageOf } from "../errors.ts";
import { isDocMap, setKey } from "./document.ts";
import type { DocMap, DocValue, Reading } from "./document.ts";
import { maskUrl } from "./mask.ts";
import { normalizeMap } from "./normalize.ts";
import { DOCUMENT_FIELDS } from "./schema.ts";

const SOURCE_BYTES_MAX = 10 * 1024 * 1024;
const NODES_MAX = 1_000_000;
const DEPTH_MAX = 64;

/** Texts of sources that were fetched, by source: see fetch.ts. */
export type SourceTexts = ReadonlyMap<string, string>;

/** Reads and normalises; throws TsgostError with exit code 2 and the place. */
export function readSource(source: string, reading: Reading, fetched?: SourceTexts): DocMap {
  const inline = source.startsWith("{") && source.endsWith("}");
  const name = inline ? "-C" : source === "-" ? "stdin" : maskUrl(source);
  const remote = fetched?.get(source);
  if (remote === undefined && /^https?:\/\//.test(source)) {
    throw configError("-C", `${name}: was not fetched`);
  }
  if (/\.toml$/i.test(source)) {
    throw configError(`-C ${name}`, "TOML is not supported; write it as YAML or JSON");
  }
  if (source.startsWith("{") && !inline && !existsSync(source)) {
    throw configError("-C", "a configuration that begins with { is inline, and must end with }");
  }
  const text = remote ?? (inline ? source : readText(source, reading));
  if (Buffer.byteLength(text) > SOURCE_BYTES_MAX) {
    throw configError(name, `is larger than ${SOURCE_BYTES_MAX} bytes`);
  }
  return parseText(text, name, reading);
}

/** Kept: what came from stdin cannot be read a second time. */
let stdinText: string | undefined;

function readStdin(): string {
  stdinText ??= readFileSync(0, "utf8");
  return stdinText;
}

function readText(source: string, reading: Reading): string {
  try {
    return source === "-" ? readStdin() : readFileSync(source, "utf8");
  } catch (error) {
    if (reading.compat && codeOf(error) === "ENOENT") {
      throw configError("", `open ${source}: no such file or directory`, error);
    }
    const why: Record<string, string> = {
      ENOENT: "no such file; check the path behind -C",
      EACCES: "may not be read by this user",
      EISDIR: "is a directory; give a file",
    };
    const text = why[codeOf(error)] ?? messageOf(error);
    throw configError(source === "-" ? "stdin" : `-C ${source}`, text, error);
  }
}

/** Parses YAML or JSON text called `name`. */
export function parseText(text: string, name: string, reading: Reading): DocMap {
  const lines = new LineCounter();
  const parsed = parseDocument(text.replace(/^\ufeff/, ""), {
    lineCounter: lines,
    prettyErrors: false,
    uniqueKeys: true,
    merge: true,
    logLevel: "silent",
  });
  const error = parsed.errors[0];
  if (error !== undefined) throw configError(at(name, lines, error.pos[0]), yamlMessage(error));
  const walk: Walk = { document: parsed, lines, name, reading, count: 0 };
  const value = parsed.contents === null ? {} : walkNode(walk, parsed.contents, 0);
  if (value === null) return {};
  if (!isDocMap(value)) {
    throw configError(`${name}:1:1`, "the configuration is not a map (services:, chains: …)");
  }
  return normalizeMap(value, DOCUMENT_FIELDS, reading);
}

function yamlMessage(error: { readonly code: string; readonly message: string }): string {
  if (error.code === "TAB_AS_INDENT") return "a tab cannot indent YAML; use blanks";
  // The parser quotes the source, which may be a password.
  return messageOf(error)
    .replace(/:\s*".*$/s, "")
    .replace(/:$/, "");
}

function at(name: string, lines: LineCounter, offset: number): string {
  const { line, col } = lines.linePos(offset);
  return `${name}:${line}:${col}`;
}

interface Walk {
  readonly document: Document;
  readonly lines: LineCounter;
  readonly name: string;
  readonly reading: Reading;
  count: number;
}

function placeOf(walk: Walk, node: Node): string {
  return at(walk.name, walk.lines, node.range?.[0] ?? 0);
}

/** Bounded in depth and, aliases expanded, in number. */
function walkNode(walk: Walk, node: Node, depth: number): DocValue {
  if (++walk.count > NODES_MAX || depth > DEPTH_MAX) {
    throw configError(placeOf(walk, node), "the configuration is too deep or too large");
  }
  if (isAlias(node)) {
    const target = node.resolve(walk.document);
    if (target === undefined) {
      throw configError(placeOf(walk, node), `there is no anchor &${node.source}`);
    }
    return walkNode(walk, target, depth + 1);
  }
  if (isScalar(node)) return scalarOf(walk, node.value, node);
  if (isSeq(node)) {
    return node.items.map((item) => walkNode(walk, item as Node, depth + 1));
  }
  if (isMap(node)) return walkMap(walk, node, depth);
  throw configError(placeOf(walk, node), "is neither a map, a list nor a value");
}

function scalarOf(walk: Walk, value: unknown, node: Node): DocValue {
  if (value === null || value === undefined) return null;
  if (typeof value === "string" || typeof value === "boolean") return value;
  if (typeof value === "number") return value;
  throw configError(placeOf(walk, node), "is a value of a kind that a configuration cannot hold");
}

function walkMap(walk: Walk, map: YAMLMap, depth: number): DocMap {
  const result: DocMap = {};
  const merged: DocMap[] = [];
  for (const pair of map.items as Pair<Node, Node | null>[]) {
    const key = isScalar(pair.key) ? pair.key.value : undefined;
    const value = pair.value === null ? null : walkNode(walk, pair.value, depth + 1);
    if (key === "<<" || typeof key === "symbol") {
      const parts = Array.isArray(value) ? value : [value];
      merged.push(...parts.filter(isDocMap));
      continue;
    }
    if (typeof key !== "string" && typeof key !== "number" && typeof key !== "boolean") {
      throw configError(placeOf(walk, map), "a key is not a text");
    }
    setKey(result, String(key), value);
    walk.reading.places.setKey(result, String(key), placeOf(walk, pair.key));
  }
  for (const part of merged) {
    for (const [key, value] of Object.entries(part)) {
      if (!Object.hasOwn(result, key)) setKey(result, key, value);
    }
  }
  walk.reading.places.set(result, placeOf(walk, map));
  return result;
}
