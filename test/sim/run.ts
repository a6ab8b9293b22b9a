/**
 * Runs simulations: `npm run sim -- [--seeds N] [--from S] [--seed S [--trace]] [--build NAME]
 * [--profile NAME]`. Without a build, odd seeds take the release and even ones the debug build.
 * Prints a line for each failing seed with the command that repeats it; exit code 1 if there is
 * one.
 */
import { parseArgs } from "node:util";
import { BUILDS, type Build } from "../kit/core.ts";
import { PROFILES, profileOf, type Profile } from "./profiles.ts";
import { simulate } from "./world.ts";

const { values } = parseArgs({
  options: {
    seeds: { type: "string", default: "100" },
    from: { type: "string", default: "1" },
    seed: { type: "string" },
    trace: { type: "boolean", default: false },
    build: { type: "string" },
    profile: { type: "string" },
  },
});

function oneOf<T extends string>(name: string, value: string | undefined, all: readonly T[]) {
  const found = all.find((one) => one === value);
  if (value !== undefined && found === undefined) {
    throw new Error(`--${name} is one of ${all.join(" ")}`);
  }
  return found;
}

const wantedBuild = oneOf("build", values.build, Object.keys(BUILDS) as Build[]);
const profile: Profile | undefined = oneOf("profile", values.profile, PROFILES);
const first = Number(values.seed ?? values.from);
const count = values.seed === undefined ? Number(values.seeds) : 1;
if (!Number.isInteger(first) || !Number.isInteger(count))
  throw new Error("seeds are whole numbers");
/** Longer than a seed may take without being named. */
const SLOW_MS = 5000;

let failed = 0;
for (let seed = first; seed < first + count; seed++) {
  const build = wantedBuild ?? (seed % 2 === 0 ? "debug" : "simd");
  const from = performance.now();
  try {
    const trace = values.trace ? (line: string) => console.log(line) : undefined;
    const { packets, virtualMs, digest, stats } = simulate(seed, build, {
      profile,
      trace,
    });
    if (values.seed !== undefined) {
      console.log(`seed ${seed}: ${packets} packets, ${virtualMs} ms, sha256 ${digest}`);
      console.log(stats);
    }
  } catch (error) {
    failed++;
    const [reason = ""] = String(error).split("\n");
    console.log(`seed ${seed}: ${reason.slice(0, 400)}`);
    const kind = `--profile ${profile ?? profileOf(seed)}`;
    console.log(`  npm run sim -- --seed ${seed} --build ${build} ${kind} --trace`);
    if (values.seed !== undefined) console.log(error);
  }
  const ms = performance.now() - from;
  if (ms > SLOW_MS) console.log(`seed ${seed} took ${Math.round(ms)} ms`);
}
console.log(`${count - failed} seeds passed, ${failed} failed`);
process.exitCode = failed > 0 ? 1 : 0;
