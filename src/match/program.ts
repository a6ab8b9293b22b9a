/**
 * Runs regular expressions on all ways at once (Thompson's construction): each character of the
 * text moves every way one step, and two ways that meet are one, so the work is at most the
 * product of program and text, whatever both say.
 */
import { type CharSet, isWord } from "./char-set.ts";
import { type Assertion, ExpressionError, type Node, parseExpression } from "./expression.ts";

type Step =
  | { readonly kind: "set"; readonly set: CharSet }
  | { readonly kind: "assert"; readonly what: Assertion }
  | { readonly kind: "jump"; to: number }
  | { readonly kind: "split"; to: number; or: number }
  | { readonly kind: "match" };

const STEPS_MAX = 2000;
/** Parts that a program is made of, empty ones and repetitions of them included. */
const PARTS_MAX = 20_000;

export class HostExpression {
  readonly #steps: Step[] = [];
  /** At which character each step was reached last, + 1. */
  readonly #reached: Uint32Array;
  #parts = 0;

  /** Throws an ExpressionError. */
  constructor(text: string) {
    this.#emit(parseExpression(text));
    this.#add({ kind: "match" });
    this.#reached = new Uint32Array(this.#steps.length);
  }

  /** Is there a match anywhere in the text? */
  matches(text: string): boolean {
    const codes = Array.from(text, (character) => character.codePointAt(0) ?? 0);
    this.#reached.fill(0);
    let ways: number[] = [];
    for (let at = 0; at <= codes.length; at++) {
      // A match may begin at every character.
      const next: number[] = [];
      for (const step of ways) if (this.#follow(step, codes, at, next)) return true;
      if (this.#follow(0, codes, at, next)) return true;
      const code = codes[at];
      if (code === undefined) return false;
      ways = next.filter((step) => {
        const here = this.#steps[step];
        return here?.kind === "set" && here.set.has(code);
      });
      ways = ways.map((step) => step + 1);
    }
    return false;
  }

  /** Goes on to the steps that want a character; true at the end of the program. */
  #follow(from: number, codes: readonly number[], at: number, found: number[]): boolean {
    const open = [from];
    for (let step = open.pop(); step !== undefined; step = open.pop()) {
      if (this.#reached[step] === at + 1) continue;
      this.#reached[step] = at + 1;
      const here = this.#steps[step];
      if (here === undefined) continue;
      if (here.kind === "match") return true;
      if (here.kind === "set") found.push(step);
      else if (here.kind === "jump") open.push(here.to);
      else if (here.kind === "split") open.push(here.or, here.to);
      else if (holds(here.what, codes, at)) open.push(step + 1);
    }
    return false;
  }

  #add(step: Step): Step {
    if (this.#steps.length >= STEPS_MAX) throw new ExpressionError("is too large");
    this.#steps.push(step);
    return step;
  }

  #emit(node: Node): void {
    if (++this.#parts > PARTS_MAX) throw new ExpressionError("is too large");
    switch (node.kind) {
      case "set":
      case "assert":
        this.#add(node);
        break;
      case "sequence":
        for (const part of node.parts) this.#emit(part);
        break;
      case "choice":
        this.#emitChoice(node.parts);
        break;
      case "repeat":
        this.#emitRepeat(node.part, node.min, node.max);
    }
  }

  #emitChoice(parts: readonly Node[]): void {
    const ends: { to: number }[] = [];
    for (const [index, part] of parts.entries()) {
      const isLast = index === parts.length - 1;
      const split = { kind: "split" as const, to: this.#steps.length + 1, or: 0 };
      if (!isLast) this.#add(split);
      this.#emit(part);
      if (isLast) break;
      const jump = { kind: "jump" as const, to: 0 };
      this.#add(jump);
      ends.push(jump);
      split.or = this.#steps.length;
    }
    for (const end of ends) end.to = this.#steps.length;
  }

  #emitRepeat(part: Node, min: number, max: number): void {
    for (let count = 0; count < min; count++) this.#emit(part);
    if (max === Infinity) {
      const split = { kind: "split" as const, to: this.#steps.length + 1, or: 0 };
      const from = this.#steps.length;
      this.#add(split);
      this.#emit(part);
      this.#add({ kind: "jump", to: from });
      split.or = this.#steps.length;
      return;
    }
    const splits: { or: number }[] = [];
    for (let count = min; count < max; count++) {
      const split = { kind: "split" as const, to: this.#steps.length + 1, or: 0 };
      this.#add(split);
      splits.push(split);
      this.#emit(part);
    }
    for (const split of splits) split.or = this.#steps.length;
  }
}

function holds(what: Assertion, codes: readonly number[], at: number): boolean {
  const [before, after] = [codes[at - 1], codes[at]];
  switch (what) {
    case "start":
      return at === 0;
    case "end":
      return at === codes.length;
    case "line-start":
      return at === 0 || before === 10;
    case "line-end":
      return at === codes.length || after === 10;
    case "border":
      return isWord(before) !== isWord(after);
    case "inside":
      return isWord(before) === isWord(after);
  }
}
