/**
 * Regular expressions of HostRegexp, in Go's syntax (RE2), which promises a time that grows with
 * the length of the text alone: parsed here into a small program, run by program.ts on all ways at
 * once. What RE2 does not have (look-around, back-references) is refused, and so are classes of
 * Unicode: hosts are ASCII.
 *
 *   alternation  = sequence { "|" sequence }
 *   sequence     = { atom [ "*" | "+" | "?" | "{n}" | "{n,}" | "{n,m}" ] [ "?" ] }
 *   atom         = character | "." | "^" | "$" | class | escape | "(" [ "?" flags ] … ")"
 */
import { CharSet, POSIX, PERL } from "./char-set.ts";

/** What a pattern must be; the message says what is wrong with it. */
export class ExpressionError extends Error {}

export type Node =
  | { readonly kind: "set"; readonly set: CharSet }
  | { readonly kind: "assert"; readonly what: Assertion }
  | { readonly kind: "sequence" | "choice"; readonly parts: readonly Node[] }
  | { readonly kind: "repeat"; readonly part: Node; readonly min: number; readonly max: number };

export type Assertion = "start" | "end" | "line-start" | "line-end" | "border" | "inside";

const REPEAT_MAX = 1000;
const DEPTH_MAX = 64;
export const PATTERN_BYTES_MAX = 1024;

interface Flags {
  /** Capital and small letters are the same. */
  readonly i: boolean;
  /** ^ and $ are at lines, too. */
  readonly m: boolean;
  /** A dot is also a line feed. */
  readonly s: boolean;
}

/** Throws an ExpressionError. */
export function parseExpression(text: string): Node {
  if (text.length > PATTERN_BYTES_MAX) {
    throw new ExpressionError(`has more than ${PATTERN_BYTES_MAX} characters`);
  }
  if (!/^[\x00-\x7f]*$/.test(text)) throw new ExpressionError("has characters beyond ASCII");
  return new Parser(text).parse();
}

class Parser {
  readonly #text: string;
  #at = 0;
  #depth = 0;
  #flags: Flags = { i: false, m: false, s: false };

  constructor(text: string) {
    this.#text = text;
  }

  parse(): Node {
    const node = this.#choice();
    if (this.#at < this.#text.length) throw new ExpressionError("has a ) without a (");
    return node;
  }

  #choice(): Node {
    const parts = [this.#sequence()];
    while (this.#take("|")) parts.push(this.#sequence());
    const [only] = parts;
    return parts.length === 1 && only !== undefined ? only : { kind: "choice", parts };
  }

  #sequence(): Node {
    const parts: Node[] = [];
    for (;;) {
      const next = this.#text[this.#at];
      if (next === undefined || next === "|" || next === ")") return { kind: "sequence", parts };
      if (this.#take("\\Q")) {
        const quoted = this.#quoted();
        const last = quoted.pop();
        parts.push(...quoted, ...(last === undefined ? [] : [this.#repeated(last)]));
        continue;
      }
      const atom = this.#atom();
      if (atom !== undefined) parts.push(this.#repeated(atom));
    }
  }

  /** Up to \E, or to the end. */
  #quoted(): Node[] {
    const end = this.#text.indexOf("\\E", this.#at);
    const inner = this.#text.slice(this.#at, end < 0 ? undefined : end);
    this.#at = end < 0 ? this.#text.length : end + 2;
    return Array.from(inner, (character) => this.#one(character.charCodeAt(0)));
  }

  /** undefined: flags alone. */
  #atom(): Node | undefined {
    const character = this.#text[this.#at++] ?? "";
    const { m, s } = this.#flags;
    switch (character) {
      case "(":
        return this.#group();
      case "[":
        return { kind: "set", set: this.#class() };
      case ".":
        return { kind: "set", set: s ? CharSet.all() : CharSet.of([[10, 10]]).negated() };
      case "^":
        return { kind: "assert", what: m ? "line-start" : "start" };
      case "$":
        return { kind: "assert", what: m ? "line-end" : "end" };
      case "\\":
        return this.#escape();
      case "*":
      case "+":
      case "?":
        throw new ExpressionError(`has nothing in front of ${character}`);
      default:
        return this.#one(character.charCodeAt(0));
    }
  }

  #one(code: number): Node {
    return { kind: "set", set: CharSet.of([[code, code]]).folded(this.#flags.i) };
  }

  #group(): Node | undefined {
    const before = this.#flags;
    if (++this.#depth > DEPTH_MAX) throw new ExpressionError("has too many nested groups");
    if (this.#take("?") && this.#flagsOnly()) {
      this.#depth--;
      return undefined;
    }
    const inner = this.#choice();
    if (!this.#take(")")) throw new ExpressionError("has a ( without a )");
    this.#depth--;
    this.#flags = before;
    return inner;
  }

  /** Behind `(?`: flags up to `)`, which hold to the end of the group around, or a group's head. */
  #flagsOnly(): boolean {
    const rest = this.#text.slice(this.#at);
    const name = /^P?<([A-Za-z0-9_]+)>/.exec(rest);
    if (name !== null) {
      this.#at += name[0].length;
      return false;
    }
    if (/^<?[=!]/.test(rest)) throw new ExpressionError("looks ahead or behind");
    const head = /^([imsU]*)(?:-([imsU]+))?([:)])/.exec(rest);
    if (head === null || head[0] === ")") throw new ExpressionError("has an unknown kind of group");
    this.#at += head[0].length;
    const [, on = "", off = "", last] = head;
    const is = (flag: keyof Flags): boolean =>
      !off.includes(flag) && (on.includes(flag) || this.#flags[flag]);
    this.#flags = { i: is("i"), m: is("m"), s: is("s") };
    return last === ")";
  }

  #escape(): Node {
    const character = this.#text[this.#at++];
    switch (character) {
      case undefined:
        throw new ExpressionError("ends with a backslash");
      case "A":
        return { kind: "assert", what: "start" };
      case "z":
        return { kind: "assert", what: "end" };
      case "b":
        return { kind: "assert", what: "border" };
      case "B":
        return { kind: "assert", what: "inside" };
      default: {
        this.#at--;
        return { kind: "set", set: this.#escapedSet().folded(this.#flags.i) };
      }
    }
  }

  /** What an escape stands for, in a class or outside. */
  #escapedSet(): CharSet {
    const character = this.#text[this.#at++] ?? "";
    const perl = PERL[character];
    if (perl !== undefined) return perl;
    if (/[1-9]/.test(character)) throw new ExpressionError("has a back-reference");
    if (/[pP]/.test(character)) throw new ExpressionError("has a class of Unicode");
    const code = this.#escapedCode(character);
    return CharSet.of([[code, code]]);
  }

  #escapedCode(character: string): number {
    const control = "aftnrv".indexOf(character);
    if (character !== "" && control >= 0) return "\x07\x0c\x09\x0a\x0d\x0b".charCodeAt(control);
    if (character === "x" || character === "0") return this.#numbered(character);
    if (/[A-Za-z]/.test(character) || character === "") {
      throw new ExpressionError(`has the unknown escape \\${character}`);
    }
    return character.charCodeAt(0);
  }

  #numbered(character: string): number {
    const form = character === "x" ? /^(?:([0-9A-Fa-f]{2})|\{([0-9A-Fa-f]{1,6})\})/ : /^[0-7]{0,2}/;
    const match = form.exec(this.#text.slice(this.#at));
    if (match === null) throw new ExpressionError("has a \\x without a number");
    this.#at += match[0].length;
    const code =
      character === "x"
        ? Number.parseInt(match[1] ?? match[2] ?? "", 16)
        : Number.parseInt(`0${match[0]}`, 8);
    if (code > 0x7f) throw new ExpressionError("has characters beyond ASCII");
    return code;
  }

  #class(): CharSet {
    const isNegated = this.#take("^");
    let set = CharSet.of([]);
    for (let isFirst = true; ; isFirst = false) {
      if (this.#at >= this.#text.length) throw new ExpressionError("has a [ without a ]");
      if (!isFirst && this.#take("]")) break;
      set = set.or(this.#classItem());
    }
    // What is left out is left out in both cases.
    const folded = set.folded(this.#flags.i);
    return isNegated ? folded.negated() : folded;
  }

  #classItem(): CharSet {
    const posix = /^\[:(\^?)([a-z]+):\]/.exec(this.#text.slice(this.#at));
    if (posix !== null) {
      this.#at += posix[0].length;
      const known = POSIX[posix[2] ?? ""];
      if (known === undefined) throw new ExpressionError(`has the unknown class ${posix[0]}`);
      const folded = known.folded(this.#flags.i);
      return posix[1] === "^" ? folded.negated() : folded;
    }
    const first = this.#classSet();
    const [low] = first.single;
    const isRange = this.#text[this.#at] === "-" && this.#text[this.#at + 1] !== "]";
    if (!isRange || low === undefined) return first;
    this.#at++;
    const [high] = this.#classSet().single;
    if (high === undefined || high < low) throw new ExpressionError("has a range without an order");
    return CharSet.of([[low, high]]);
  }

  #classSet(): CharSet {
    const character = this.#text[this.#at++];
    if (character === undefined) throw new ExpressionError("has a [ without a ]");
    if (character === "\\") return this.#escapedSet();
    const code = character.charCodeAt(0);
    return CharSet.of([[code, code]]);
  }

  #repeated(atom: Node): Node {
    const counts = this.#counts();
    if (counts === undefined) return atom;
    // Whether as few as possible are taken makes no difference to whether there is a match.
    this.#take("?");
    if (this.#counts() !== undefined) throw new ExpressionError("repeats a repetition");
    return { kind: "repeat", part: atom, ...counts };
  }

  #counts(): { min: number; max: number } | undefined {
    if (this.#take("*")) return { min: 0, max: Infinity };
    if (this.#take("+")) return { min: 1, max: Infinity };
    if (this.#take("?")) return { min: 0, max: 1 };
    const match = /^\{(\d{1,5})(,(\d{1,5})?)?\}/.exec(this.#text.slice(this.#at));
    // Other braces are characters.
    if (match === null) return undefined;
    this.#at += match[0].length;
    const min = Number(match[1]);
    const max = match[2] === undefined ? min : match[3] === undefined ? Infinity : Number(match[3]);
    if (max < min || min > REPEAT_MAX || (max > REPEAT_MAX && max !== Infinity)) {
      throw new ExpressionError(`has the repetition ${match[0]} (at most ${REPEAT_MAX})`);
    }
    return { min, max };
  }

  #take(text: string): boolean {
    if (!this.#text.startsWith(text, this.#at)) return false;
    this.#at += text.length;
    return true;
  }
}
