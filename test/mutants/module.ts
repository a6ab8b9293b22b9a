/**
 * The module that mutants are made of: the debug build with the doors of probe.ts, as binaryen's
 * text with places of the source, and back to bytes after a change.
 */
import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import binaryen from "binaryen";
import ts from "typescript";
import { parse, ROOT, walk } from "../lint/sources.ts";
import { changed, findMutants, type Mutant } from "./sites.ts";

export const FOLDER = join(ROOT, "build/mutants");
const BASE = join(FOLDER, "base.wasm");
const TEXT = join(FOLDER, "base.wat");

const tools = dirname(createRequire(import.meta.url).resolve("binaryen/package.json"));

function run(script: string, args: readonly string[]): void {
  execFileSync(process.execPath, [script, ...args], { cwd: ROOT, stdio: "inherit" });
}

/** Builds the module and its text; answers the text's lines. */
export function buildBase(): string[] {
  mkdirSync(FOLDER, { recursive: true });
  const asc = join(ROOT, "node_modules/assemblyscript/bin/asc.js");
  const out = ["--outFile", BASE, "--textFile", join(FOLDER, "plain.wat")];
  run(asc, ["assembly/probe.ts", "--target", "debug", "--bindings", "raw", ...out]);
  run(join(tools, "bin/wasm-dis"), [BASE, `--source-map=${BASE}.map`, "-o", TEXT]);
  return readFileSync(TEXT, "utf8").split("\n");
}

/** Bytes of a module's text; throws if it is not valid. */
export function assemble(text: string): Uint8Array {
  const module = binaryen.parseText(text);
  try {
    module.setFeatures(binaryen.Features.All);
    if (module.validate() === 0) throw new Error("the changed module is not valid");
    return module.emitBinary();
  } finally {
    module.dispose();
  }
}

export function assembleMutant(lines: readonly string[], mutant: Mutant): Uint8Array {
  return assemble(changed(lines, mutant));
}

/**
 * Spans of `assert(…)` and of `if (…) ERROR(…)` in a source: a weaker assert changes nothing that
 * can be seen, and the other was decided when the module was built.
 */
function assertSpans(path: string): [number, number][] {
  const spans: [number, number][] = [];
  walk(parse(path), (node) => {
    const isAssert = ts.isCallExpression(node) && node.expression.getText() === "assert";
    const isCheck = ts.isIfStatement(node) && node.thenStatement.getText().startsWith("ERROR(");
    if (isAssert || isCheck) spans.push([node.getStart(), node.getEnd()]);
  });
  return spans;
}

/** Mutants of the files that `wanted` takes, without those of asserts. */
export function mutantsOf(lines: readonly string[], wanted: (file: string) => boolean): Mutant[] {
  const spans = new Map<string, [number, number][]>();
  return findMutants(lines).filter(({ file, line, column }) => {
    if (!file.startsWith("assembly/") || !wanted(file)) return false;
    if (!spans.has(file)) spans.set(file, assertSpans(file));
    const at = parse(file).getPositionOfLineAndCharacter(line - 1, column - 1);
    return !(spans.get(file) ?? []).some(([from, to]) => at >= from && at < to);
  });
}
