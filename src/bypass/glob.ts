/**
 * Wildcards of rules as tokens (assembly/abi.ts, GLOB_…): `*` any string, `?` one character,
 * `[abc] [!abc] [a-c]` one of, `{a,b}` one or the other, `\x` the character itself. Alternatives
 * are multiplied out, ALTERNATIVES_MAX at most, so that matching needs no stack.
 */
import * as abi from "../../assembly/abi.ts";

/** Most patterns that the alternatives of one wildcard may make. */
export const ALTERNATIVES_MAX = 256;
/** Most characters of a wildcard. */
export const GLOB_CHARACTERS_MAX = 1024;
const PAIRS_MAX = 255;

type Token =
  | { readonly kind: "star" | "any" }
  | { readonly kind: "text"; readonly text: string }
  | {
      readonly kind: "class";
      readonly isNegated: boolean;
      readonly pairs: readonly (readonly [number, number])[];
    };

/** A pattern without alternatives. */
export interface Glob {
  readonly tokens: Uint8Array;
  /** The text in front of the first and behind the last token that is no text. */
  readonly head: string;
  readonly tail: string;
  /** Is it a star and a text, nothing else? */
  readonly isStarAndTail: boolean;
}

/** What the reader of a pattern stands on. */
interface Reader {
  readonly text: string;
  at: number;
}

/** The patterns of a wildcard; undefined where it is none: brackets do not close, or too many. */
export function parseGlob(text: string): readonly Glob[] | undefined {
  if (text.length > GLOB_CHARACTERS_MAX) return undefined;
  if (/^[\x20-\x5a^-z|~]*$/.test(text)) return [encodePlain(text)];
  const reader: Reader = { text, at: 0 };
  const all = readSequence(reader, 0);
  if (all === undefined || reader.at < text.length) return undefined;
  return all.map(encode);
}

/** Tokens up to the end, or within braces up to `,` or `}`; every way through them. */
function readSequence(reader: Reader, depth: number): readonly Token[][] | undefined {
  let ways: Token[][] = [[]];
  while (reader.at < reader.text.length) {
    const character = reader.text[reader.at] ?? "";
    if (depth > 0 && (character === "," || character === "}")) break;
    if (character === "{") {
      const inner = readAlternatives(reader, depth + 1);
      if (inner === undefined || ways.length * inner.length > ALTERNATIVES_MAX) return undefined;
      ways = ways.flatMap((way) => inner.map((tokens) => [...way, ...tokens]));
    } else {
      const token = readToken(reader);
      if (token === undefined) return undefined;
      for (const way of ways) way.push(token);
    }
  }
  return ways;
}

/** Deeper nesting is refused. */
const DEPTH_MAX = 8;

function readAlternatives(reader: Reader, depth: number): readonly Token[][] | undefined {
  if (depth > DEPTH_MAX) return undefined;
  const all: Token[][] = [];
  do {
    // The brace, then each comma.
    reader.at++;
    const ways = readSequence(reader, depth);
    if (ways === undefined || all.length + ways.length > ALTERNATIVES_MAX) return undefined;
    all.push(...ways);
  } while (reader.text[reader.at] === ",");
  if (reader.text[reader.at] !== "}") return undefined;
  reader.at++;
  return all;
}

function readToken(reader: Reader): Token | undefined {
  const code = reader.text.codePointAt(reader.at) ?? 0;
  const character = String.fromCodePoint(code);
  reader.at += character.length;
  switch (character) {
    case "*":
      return { kind: "star" };
    case "?":
      return { kind: "any" };
    case "[":
      return readClass(reader);
    case "\\": {
      const next = reader.text.codePointAt(reader.at);
      if (next === undefined) return undefined;
      const text = String.fromCodePoint(next);
      reader.at += text.length;
      return { kind: "text", text };
    }
    default:
      return code < abi.GLOB_LITERAL ? undefined : { kind: "text", text: character };
  }
}

function readClass(reader: Reader): Token | undefined {
  const close = reader.text.indexOf("]", reader.at);
  if (close < 0) return undefined;
  const inner = reader.text.slice(reader.at, close);
  reader.at = close + 1;
  const isNegated = inner.startsWith("!");
  const points = Array.from(isNegated ? inner.slice(1) : inner, (c) => c.codePointAt(0) ?? 0);
  if (points.length === 0 || points.length > PAIRS_MAX) return undefined;
  const [first = 0, dash, last = 0] = points;
  if (points.length === 3 && dash === 0x2d) {
    return first > last ? undefined : { kind: "class", isNegated, pairs: [[first, last]] };
  }
  return { kind: "class", isNegated, pairs: points.map((point) => [point, point] as const) };
}

/** A pattern of ASCII that has neither classes nor alternatives nor backslashes. */
function encodePlain(text: string): Glob {
  const tokens = Buffer.from(text.replace(/\*+/g, "*"), "latin1");
  for (let index = 0; index < tokens.length; index++) {
    if (tokens[index] === 42) tokens[index] = abi.GLOB_STAR;
    else if (tokens[index] === 63) tokens[index] = abi.GLOB_ANY;
  }
  const first = text.search(/[*?]/);
  const last = Math.max(text.lastIndexOf("*"), text.lastIndexOf("?"));
  return {
    tokens,
    head: first < 0 ? text : text.slice(0, first),
    tail: text.slice(last + 1),
    isStarAndTail: last === 0 && text.startsWith("*"),
  };
}

function encode(tokens: readonly Token[]): Glob {
  const bytes: number[] = [];
  for (const [index, token] of tokens.entries()) {
    if (token.kind === "text") bytes.push(...Buffer.from(token.text));
    else if (token.kind === "any") bytes.push(abi.GLOB_ANY);
    else if (token.kind === "class") {
      bytes.push(abi.GLOB_CLASS, token.isNegated ? 1 : 0, token.pairs.length);
      for (const point of token.pairs.flat()) {
        bytes.push(point & 255, (point >> 8) & 255, point >> 16);
      }
    } else if (tokens[index - 1]?.kind !== "star") bytes.push(abi.GLOB_STAR);
  }
  const first = tokens.findIndex((token) => token.kind !== "text");
  const last = tokens.findLastIndex((token) => token.kind !== "text");
  return {
    tokens: Uint8Array.from(bytes),
    head: textOf(tokens.slice(0, first < 0 ? tokens.length : first)),
    tail: textOf(tokens.slice(last + 1)),
    isStarAndTail: last === 0 && tokens[0]?.kind === "star",
  };
}

function textOf(tokens: readonly Token[]): string {
  return tokens.map((token) => (token.kind === "text" ? token.text : "")).join("");
}
