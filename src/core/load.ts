/**
 * Finds and compiles the core's module on Node, and gives it what it cannot make itself: entropy
 * and the time.
 */
import { randomBytes } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import * as abi from "../../assembly/abi.ts";
import { TsgostError } from "../errors.ts";
import { Core, type CoreWords } from "./core.ts";

let compiled: WebAssembly.Module | undefined;

/** The package's folder: two levels up from here in the sources, three in `dist`. */
function wasmPath(name: string): string {
  for (const up of ["../../build/", "../../../build/"]) {
    const path = fileURLToPath(new URL(up + name, import.meta.url));
    if (existsSync(path)) return path;
  }
  throw new TsgostError("TSGOST_ERR_CORE", `${name} is not built; run: npm run build:core`);
}

/** The SIMD build, or the plain one where the engine has no SIMD (both give the same bytes). */
export function coreModule(): WebAssembly.Module {
  if (compiled === undefined) {
    try {
      compiled = new WebAssembly.Module(readFileSync(wasmPath("core.wasm")));
    } catch (error) {
      if (!(error instanceof WebAssembly.CompileError)) throw error;
      compiled = new WebAssembly.Module(readFileSync(wasmPath("core-plain.wasm")));
    }
  }
  return compiled;
}

export function loadCore(words: CoreWords): Core {
  return Core.create(coreModule(), words, randomBytes(abi.ENTROPY_BYTES));
}

/** Monotonic time in whole microseconds, the unit of every call into the core. */
export function nowUs(): number {
  return Math.floor(performance.now() * 1000);
}
