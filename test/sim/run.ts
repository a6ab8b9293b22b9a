/**
 * Runs simulations: `npm run sim -- [--seeds N] [--from S] [--seed S [--trace]] [--build NAME]`.
 * Prints a line for each failing seed with the command that repeats it; exit code 1 if there is
 * one.
 */
import { parseArgs } from "node:util";
import { BUILDS, type Build } from "../kit/core.ts";
import { simulate } from "./world.ts";

const { values } = parseArgs({
  options: {
    seeds: { type: "string", default: "100" },
    from: { type: "string", default: "1" },
    seed: { type: "string" },
    trace: { type: "boolean", default: false },
    build: { type: "string", default: "debug" },
  },
});

if (!(values.build in BUILDS))
  throw new Error(`--build is one of ${Object.keys(BUILDS).join(" ")}`);
const build = values.build as Build;
const first = Number(values.seed ?? values.from);
const count = values.seed === undefined ? Number(values.seeds) : 1;
if (!Number.isInteger(first) || !Number.isInteger(count))
  throw new Error("seeds are whole numbers");

let failed = 0;
for (let seed = first; seed < first + count; seed++) {
  try {
    const trace = values.trace ? (line: string) => console.log(line) : undefined;
    const { packets, virtualMs, digest, stats } = simulate(seed, build, trace);
    if (values.seed !== undefined) {
      console.log(`seed ${seed}: ${packets} packets, ${virtualMs} ms, sha256 ${digest}`);
      console.log(stats);
    }
  } catch (error) {
    failed++;
    const [reason = ""] = String(error).split("\n");
    console.log(`seed ${seed}: ${reason.slice(0, 400)}`);
    console.log(`  npm run sim -- --seed ${seed} --build ${build} --trace`);
    if (values.seed !== undefined) console.log(error);
  }
}
console.log(`${count - failed} seeds passed, ${failed} failed`);
process.exitCode = failed > 0 ? 1 : 0;
