/**
 * The debug build with counters: each function, branch of an `if`, loop and block that a branch
 * leads out of adds to a byte of its own, in the part of memory that the core leaves empty
 * (assembly/abi.ts). Made on the fly by binaryen, never stored.
 */
import library from "binaryen";
import { readFileSync } from "node:fs";
import { coreFile, wasm } from "../kit/core-setup.ts";

/** First counter; the core's own memory begins at 65536. */
const BASE = 1024;
const COUNTERS_MAX = 65_536 - BASE;

/** Parts of expressions as the library has them, which its declarations leave out. */
interface Parts {
  readonly Block: {
    getNumChildren(block: number): number;
    getChildAt(block: number, index: number): number;
    setChildAt(block: number, index: number, child: number): void;
  };
  readonly If: {
    getCondition(expression: number): number;
    getIfTrue(expression: number): number;
    setIfTrue(expression: number, child: number): void;
    getIfFalse(expression: number): number;
    setIfFalse(expression: number, child: number): void;
  };
  readonly Loop: {
    getBody(loop: number): number;
    setBody(loop: number, body: number): void;
  };
  readonly Function: { setBody(fn: number, body: number): void };
}

/** Expressions with one value inside. */
interface Valued {
  getValue(expression: number): number;
}

const binaryen = library as typeof library &
  Parts &
  Readonly<Record<"LocalSet" | "Drop" | "Return" | "Unary", Valued>>;

export interface CountedCore {
  readonly module: object;
  readonly counters: number;
}

class Counting {
  readonly #module: library.Module;
  count = 0;

  constructor(module: library.Module) {
    this.#module = module;
  }

  /** `inner` behind a count of its own. */
  #counted(inner: number): number {
    if (this.count === COUNTERS_MAX) return inner;
    const { i32 } = this.#module;
    const at = i32.const(BASE + this.count++);
    const again = i32.const(BASE + this.count - 1);
    const more = i32.add(i32.load8_u(0, 1, again), i32.const(1));
    const type = binaryen.getExpressionType(inner);
    return this.#module.block(null, [i32.store8(0, 1, at, more), inner], type);
  }

  body(body: number): number {
    this.#walk(body);
    return this.#counted(body);
  }

  #walk(expression: number): void {
    if (expression === 0) return;
    switch (binaryen.getExpressionId(expression)) {
      case binaryen.BlockId: {
        const { Block } = binaryen;
        const children = Block.getNumChildren(expression);
        for (let at = 0; at < children; at++) {
          const child = Block.getChildAt(expression, at);
          this.#walk(child);
          // What follows a branch out of a block is a place of its own.
          const isInner = binaryen.getExpressionId(child) === binaryen.BlockId;
          if (isInner && at + 1 < children) {
            const next = Block.getChildAt(expression, at + 1);
            this.#walk(next);
            Block.setChildAt(expression, at + 1, this.#counted(next));
            at++;
          }
        }
        break;
      }
      case binaryen.IfId: {
        const { If } = binaryen;
        this.#walk(If.getCondition(expression));
        this.#walk(If.getIfTrue(expression));
        If.setIfTrue(expression, this.#counted(If.getIfTrue(expression)));
        const other = If.getIfFalse(expression);
        if (other === 0) break;
        this.#walk(other);
        If.setIfFalse(expression, this.#counted(other));
        break;
      }
      case binaryen.LoopId: {
        const body = binaryen.Loop.getBody(expression);
        this.#walk(body);
        binaryen.Loop.setBody(expression, this.#counted(body));
        break;
      }
      case binaryen.LocalSetId:
        this.#walk(binaryen.LocalSet.getValue(expression));
        break;
      case binaryen.DropId:
        this.#walk(binaryen.Drop.getValue(expression));
        break;
      case binaryen.ReturnId:
        this.#walk(binaryen.Return.getValue(expression));
        break;
      case binaryen.UnaryId:
        this.#walk(binaryen.Unary.getValue(expression));
        break;
    }
  }
}

let made: CountedCore | undefined;

export function countedCore(): CountedCore {
  if (made !== undefined) return made;
  const module = binaryen.readBinary(readFileSync(coreFile("debug")));
  module.setFeatures(binaryen.Features.All);
  const counting = new Counting(module);
  for (let index = 0; index < module.getNumFunctions(); index++) {
    const fn = module.getFunctionByIndex(index);
    const info = binaryen.getFunctionInfo(fn);
    if (info.module !== "" && info.module !== null) continue;
    const body = counting.body(info.body);
    binaryen.Function.setBody(fn, body);
  }
  if (module.validate() !== 1) throw new Error("the counted core is not valid");
  const bytes = module.emitBinary();
  module.dispose();
  made = { module: new wasm.Module(bytes), counters: counting.count };
  return made;
}

/** Which counters were hit, and about how often, in any run so far. */
export class Edges {
  readonly #seen = new Uint8Array(COUNTERS_MAX);
  hit = 0;

  /** Adds the counters of a run; answers what was new as text, "" for nothing. */
  add(memory: ArrayBuffer, counters: number): string {
    const counts = new Uint8Array(memory, BASE, counters);
    let fresh = "";
    for (let index = 0; index < counters; index++) {
      const count = counts[index]!;
      if (count === 0) continue;
      const bucket = 1 << Math.min(7, 32 - Math.clz32(count));
      const seen = this.#seen[index]!;
      if ((seen & bucket) !== 0) continue;
      if (seen === 0) this.hit++;
      this.#seen[index] = seen | bucket;
      if (fresh.length < 200) fresh += `${index}:${bucket} `;
    }
    return fresh;
  }
}
