/**
 * Changes the core one thing at a time and asks whether a test notices:
 * `npm run mutants -- [--count N] [--seed S] [--files GLOB] [--resume] [--list] [--only TEXT]`.
 *
 * The module is the debug build with the doors of probe.ts. A mutant is drawn by the seed from
 * assembly/{wire,ip,flow,tcp}, one a place of the source, written to build/mutants/, and the kit
 * loads it from there (TSGOST_CORE_WASM). Tests of the file's area come first, then the other quick
 * ones, then seeds of the simulation; the first failure ends it. Every verdict is a line of
 * build/mutants.jsonl; --resume goes on from there. Survivors are listed at the end. --only tries
 * the mutants whose names have a text in them, as a survivor's after a new test.
 */
import { createHash } from "node:crypto";
import { appendFileSync, existsSync, readFileSync, writeFileSync } from "node:fs";
import { join, matchesGlob } from "node:path";
import { parseArgs } from "node:util";
import { Random } from "../kit/random.ts";
import { ROOT } from "../lint/sources.ts";
import { testsFor } from "./areas.ts";
import { judge, type Verdict } from "./judge.ts";
import { assemble, assembleMutant, buildBase, FOLDER, mutantsOf } from "./module.ts";
import { KINDS, nameOf, type Mutant } from "./sites.ts";

interface Entry extends Verdict {
  readonly id: string;
  /** sha256 of the module's text: verdicts of another core do not count. */
  readonly core: string;
  readonly mutant: string;
  readonly file: string;
}

const LEDGER = join(ROOT, "build/mutants.jsonl");
const SILENCE_MIN_MS = 10_000;

const { values } = parseArgs({
  options: {
    count: { type: "string", default: "200" },
    seed: { type: "string", default: "1" },
    files: { type: "string", default: "assembly/{wire,ip,flow,tcp}/*.ts" },
    resume: { type: "boolean", default: false },
    list: { type: "boolean", default: false },
    only: { type: "string" },
  },
});

function digest(text: string): string {
  return createHash("sha256").update(text).digest("hex").slice(0, 16);
}

/** One mutant a place; operators, constants and branches in turn; the seed gives the order. */
function draw(mutants: readonly Mutant[], count: number, seed: number): Mutant[] {
  const random = new Random(seed);
  const kinds = KINDS.map((kind) => mutants.filter((mutant) => mutant.kind === kind));
  const places = new Set<string>();
  const drawn: Mutant[] = [];
  for (let turn = 0; drawn.length < count && kinds.some((rest) => rest.length > 0); turn++) {
    const rest = kinds[turn % kinds.length] ?? [];
    let isDrawn = false;
    while (!isDrawn && rest.length > 0) {
      const [mutant] = rest.splice(random.below(rest.length), 1);
      const place = mutant === undefined ? "" : `${mutant.file}:${mutant.line}:${mutant.column}`;
      isDrawn = mutant !== undefined && !places.has(place);
      places.add(place);
      if (mutant !== undefined && isDrawn) drawn.push(mutant);
    }
  }
  return drawn;
}

function readLedger(core: string): Map<string, Entry> {
  const known = new Map<string, Entry>();
  if (!existsSync(LEDGER)) return known;
  for (const line of readFileSync(LEDGER, "utf8").split("\n")) {
    if (line === "") continue;
    const entry = JSON.parse(line) as Entry;
    if (entry.core === core) known.set(entry.id, entry);
  }
  return known;
}

function percent(part: number, whole: number): string {
  return whole === 0 ? "-" : `${((100 * part) / whole).toFixed(1)} %`;
}

/** Tests that fail with the module unchanged, and how long silence has to last to be a hang. */
async function measure(
  lines: readonly string[],
): Promise<{ ignored: Set<string>; ms: number; tests: number }> {
  const wasm = join(FOLDER, "same.wasm");
  writeFileSync(wasm, assemble(lines.join("\n")));
  const ignored = new Set<string>();
  const files = testsFor("assembly/tcp/tcp.ts");
  for (;;) {
    const verdict = await judge({ wasm, files, silenceMs: 120_000, ignored, expected: 1 });
    if (verdict.killer === "") return { ignored, ms: verdict.ms, tests: verdict.tests };
    if (["hang", "crash"].includes(verdict.killer)) throw new Error(`unchanged: ${verdict.killer}`);
    console.log(`fails unchanged, so does not count: ${verdict.killer} ${verdict.message}`);
    ignored.add(verdict.killer);
  }
}

async function main(): Promise<void> {
  const lines = buildBase();
  const core = digest(lines.join("\n"));
  const wanted = (file: string): boolean => matchesGlob(file, values.files);
  const all = mutantsOf(lines, wanted);
  const { only, count, seed } = values;
  const drawn =
    only === undefined
      ? draw(all, Number(count), Number(seed))
      : all.filter((mutant) => nameOf(mutant).includes(only));
  console.log(`${drawn.length} of ${all.length} mutants of ${values.files}, core ${core}`);
  if (values.list) {
    for (const mutant of drawn) console.log(nameOf(mutant));
    return;
  }
  const known = values.resume ? readLedger(core) : new Map<string, Entry>();
  const { ignored, ms, tests } = await measure(lines);
  console.log(`unchanged: ${tests} tests, ${ms} ms`);
  const setting = { core, silenceMs: Math.max(SILENCE_MIN_MS, ms), ignored, lines, tests };
  const survivors: Entry[] = [];
  for (const [index, mutant] of drawn.entries()) {
    const name = nameOf(mutant);
    const id = digest(`${name} ${mutant.at}`);
    const entry = known.get(id) ?? (await tryOne(mutant, id, setting));
    if (entry.killer === "") survivors.push(entry);
    const what = entry.killer === "" ? "SURVIVED" : `killed by ${entry.killer}`;
    console.log(`${index + 1}/${drawn.length} ${name}: ${what}, ${entry.ms} ms`);
  }
  const killed = drawn.length - survivors.length;
  console.log(`${killed} of ${drawn.length} killed, ${percent(killed, drawn.length)}`);
  for (const { mutant } of survivors) console.log(`survived: ${mutant}`);
}

interface Setting {
  readonly core: string;
  readonly silenceMs: number;
  readonly ignored: ReadonlySet<string>;
  readonly lines: readonly string[];
  readonly tests: number;
}

async function tryOne(mutant: Mutant, id: string, setting: Setting): Promise<Entry> {
  const { core, silenceMs, ignored, lines, tests } = setting;
  const wasm = join(FOLDER, `mutant-${process.pid}.wasm`);
  writeFileSync(wasm, assembleMutant(lines, mutant));
  const files = testsFor(mutant.file);
  const verdict = await judge({ wasm, files, silenceMs, ignored, expected: tests });
  // A module that ends the process before the first test is as likely as a test that cannot load.
  if (verdict.tests === 0 && verdict.killer === "crash") throw new Error("no test could be run");
  const entry: Entry = { ...verdict, id, core, mutant: nameOf(mutant), file: mutant.file };
  appendFileSync(LEDGER, `${JSON.stringify(entry)}\n`);
  return entry;
}

await main();
