/**
 * Finds what may be changed in the core: operators, constants and branches of its disassembly, each
 * with the place of the source that it was compiled from.
 *
 * The text is binaryen's, one expression a line. A line `;;@ file:line:column` names the place of
 * the next expression; an expression below it without such a line has the same place; `;;@` alone
 * says that what follows has none: the compiler made it.
 */
import { MEMORY_BASE } from "../../assembly/abi.ts";

export interface Place {
  readonly file: string;
  readonly line: number;
  /** From 1. */
  readonly column: number;
}

export const KINDS = ["operator", "constant", "branch"] as const;
export type Kind = (typeof KINDS)[number];

export interface Mutant extends Place {
  readonly kind: Kind;
  /** Function of the module. */
  readonly within: string;
  /** In words: "i32.lt_u becomes i32.le_u". */
  readonly change: string;
  /** Index of the line to change, and what it becomes. */
  readonly at: number;
  readonly with: string;
  /** For a negated branch: the lines of the condition, which `with` is put in front of. */
  readonly until?: number;
}

/** Comparisons move by one, so that only a test of the boundary notices; others turn around. */
const OPERATORS: Readonly<Record<string, string>> = {
  lt: "le",
  le: "lt",
  gt: "ge",
  ge: "gt",
  eq: "ne",
  ne: "eq",
  add: "sub",
  sub: "add",
  mul: "add",
  div: "mul",
  and: "or",
  or: "and",
  xor: "or",
  shl: "shr_u",
  shr: "shl",
  rem: "div",
  min: "max",
  max: "min",
};
/** Operators that keep their sign suffix; the others lose it, or have none. */
const SIGNED = new Set(["lt", "le", "gt", "ge", "div", "rem"]);

/** Where AssemblyScript puts scratch room: to move it by one byte changes nothing. */
const DATA_BYTES = 65536;

const OPERATOR = /^\((i32|i64|f64)\.([a-z]+)(_[us])?$/;
const CONSTANT = /^\((i32|i64|f64)\.const (-?[\d.e+]+)\)$/;
const GLOBAL = /^\(global\.get (\$\S+)\)$/;
const PLACE = /^;;@(?: (\S+):(\d+):(\d+))?$/;

function otherOperator(head: string): string | undefined {
  const [, type = "", name = "", sign = ""] = OPERATOR.exec(head) ?? [];
  const other = OPERATORS[name];
  if (other === undefined || (type === "f64" && ["and", "or", "xor"].includes(name))) {
    return undefined;
  }
  const isSigned = type !== "f64" && SIGNED.has(other);
  return `(${type}.${other}${isSigned ? sign : ""}`;
}

interface Constant {
  readonly type: string;
  readonly value: string;
}

/** Constants of the module, which debug builds read by name. */
function namedConstants(lines: readonly string[]): Map<string, Constant> {
  const found = new Map<string, Constant>();
  const line = /^ \(global (\$\S+) (i32|i64|f64) \((?:i32|i64|f64)\.const (\S+)\)\)$/;
  for (const text of lines) {
    const [, name, type, value] = line.exec(text) ?? [];
    if (name !== undefined && type !== undefined && value !== undefined) {
      found.set(name, { type, value });
    }
  }
  return found;
}

/** A constant one more and one less; 0 and 1 are each other, as they may be no and yes. */
function neighbours({ type, value }: Constant): string[] {
  if (type === "f64") return [String(Number(value) + 1), String(Number(value) - 1)];
  const bits = type === "i32" ? 32 : 64;
  const number = BigInt(value);
  const near = number === 0n ? [1n] : number === 1n ? [0n] : [number + 1n, number - 1n];
  return near.map((n) => String(BigInt.asIntN(bits, n)));
}

function indentOf(line: string): number {
  return line.length - line.trimStart().length;
}

/** Index after the expression that begins at `at`. */
function endOf(lines: readonly string[], at: number): number {
  const first = lines[at] ?? "";
  const isWhole = first.trimEnd().endsWith(")") && !first.trimStart().startsWith("(;");
  if (isWhole && depthOf(first) === 0) return at + 1;
  const indent = indentOf(first);
  let end = at + 1;
  while (end < lines.length && (lines[end] ?? "") !== `${" ".repeat(indent)})`) end++;
  return end + 1;
}

function depthOf(line: string): number {
  let depth = 0;
  for (const letter of line) depth += letter === "(" ? 1 : letter === ")" ? -1 : 0;
  return depth;
}

/** The expression that decides a branch: the first below `if`, the last below `br_if`. */
function conditionOf(lines: readonly string[], at: number): [number, number] | undefined {
  let from = at + 1;
  while ((lines[from] ?? "").trimStart().startsWith(";;@")) from++;
  const text = lines[from];
  if (text === undefined || indentOf(text) !== indentOf(lines[at] ?? "") + 1) return undefined;
  return [from, endOf(lines, from)];
}

class Finder {
  readonly #lines: readonly string[];
  readonly #constants: Map<string, Constant>;
  readonly mutants: Mutant[] = [];
  #within = "";
  #place: Place | undefined;

  constructor(lines: readonly string[]) {
    this.#lines = lines;
    this.#constants = namedConstants(lines);
    this.#find();
  }

  #find(): void {
    let noted: { indent: number; place: Place | undefined } = { indent: 0, place: undefined };
    let isNew = false;
    this.#lines.forEach((line, at) => {
      const text = line.trimStart();
      const indent = indentOf(line);
      const place = PLACE.exec(text);
      if (place !== null) {
        const [, file, row, column] = place;
        const has = file !== undefined;
        noted = {
          indent,
          place: has ? { file, line: Number(row), column: Number(column) + 1 } : undefined,
        };
        isNew = true;
        return;
      }
      if (indent === 1) this.#enter(text);
      const isBelow = isNew || indent > noted.indent;
      isNew = false;
      this.#place = isBelow && indent > 1 ? noted.place : undefined;
      if (this.#place !== undefined) this.#look(text, at);
    });
  }

  #enter(text: string): void {
    const [, name = ""] = /^\(func \$(\S+)/.exec(text) ?? [];
    this.#within = name;
  }

  #look(text: string, at: number): void {
    const indent = " ".repeat(indentOf(this.#lines[at] ?? ""));
    const operator = otherOperator(text);
    if (operator !== undefined) {
      const change = `${text.slice(1)} becomes ${operator.slice(1)}`;
      this.#add("operator", at, indent + operator, change);
    }
    const [, type, value] = CONSTANT.exec(text) ?? [];
    if (type !== undefined && value !== undefined) this.#constant(at, { type, value }, value);
    const [, name] = GLOBAL.exec(text) ?? [];
    const named = name === undefined ? undefined : this.#constants.get(name);
    if (named !== undefined && name !== undefined) {
      this.#constant(at, named, name.slice(name.lastIndexOf("/") + 1));
    }
    if (/^\((if|br_if \S+)( \(result \S+\))?$/.test(text)) this.#branch(at);
    if (text === "(i32.eqz") this.#dropNot(at, indent);
  }

  #constant(at: number, constant: Constant, called: string): void {
    const value = Number(constant.value);
    if (value >= MEMORY_BASE && value < MEMORY_BASE + DATA_BYTES) return;
    const indent = " ".repeat(indentOf(this.#lines[at] ?? ""));
    for (const near of neighbours(constant)) {
      const text = `${indent}(${constant.type}.const ${near})`;
      this.#add("constant", at, text, `${called} becomes ${near}`);
    }
  }

  #branch(at: number): void {
    const condition = conditionOf(this.#lines, at);
    if (condition === undefined) return;
    const [from, until] = condition;
    const isNot = this.#lines[from]?.trimStart() === "(i32.eqz";
    // A negated "not" is the same change as to leave it out.
    if (!isNot) this.#add("branch", from, "(i32.eqz", "a branch is negated", until);
  }

  #dropNot(at: number, indent: string): void {
    this.#add("branch", at, `${indent}(i32.ne (i32.const 0)`, "a negation is left out");
  }

  #add(kind: Kind, at: number, text: string, change: string, until?: number): void {
    if (this.#place === undefined) return;
    const mutant = { ...this.#place, kind, within: this.#within, change, at, with: text };
    this.mutants.push(until === undefined ? mutant : { ...mutant, until });
  }
}

/** Every single change of the module's text, in its order. */
export function findMutants(lines: readonly string[]): Mutant[] {
  return new Finder(lines).mutants;
}

/** The module's text with one change. */
export function changed(lines: readonly string[], mutant: Mutant): string {
  const out = [...lines];
  if (mutant.until === undefined) out[mutant.at] = mutant.with;
  else {
    out.splice(mutant.until, 0, ")");
    out.splice(mutant.at, 0, mutant.with);
  }
  return out.join("\n");
}

export function nameOf({ file, line, column, change, within }: Mutant): string {
  return `${file}:${line}:${column} ${change} in ${within}`;
}
