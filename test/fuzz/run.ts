/**
 * `npm run fuzz -- [--seconds N] [--target NAME] [--seed S]`: N seconds for all targets together,
 * or for one. `--file FILE` runs one input once. Exit code 1 if there is a finding.
 */
import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { TARGETS } from "./list.ts";
import { fuzz, tell } from "./session.ts";

const { values } = parseArgs({
  options: {
    seconds: { type: "string", default: "60" },
    target: { type: "string" },
    seed: { type: "string", default: "1" },
    file: { type: "string" },
  },
});
const targets = TARGETS.filter(({ name }) => values.target === undefined || name === values.target);
if (targets.length === 0) {
  throw new Error(`--target is one of ${TARGETS.map(({ name }) => name).join(" ")}`);
}
const seconds = Number(values.seconds);
const seed = Number(values.seed);
if (!(seconds > 0) || !Number.isInteger(seed)) throw new Error("--seconds and --seed are numbers");

const [first] = targets;
if (values.file === undefined) {
  const outcomes = await fuzz(targets, seconds * 1000, seed);
  for (const outcome of outcomes) console.log(tell(outcome, seed));
  process.exitCode = outcomes.some(({ findings }) => findings.length > 0) ? 1 : 0;
} else {
  if (values.target === undefined || first === undefined) throw new Error("--file needs --target");
  const shape = await first.run(Uint8Array.from(readFileSync(values.file)));
  console.log(`${first.name}: no finding; ${shape}`);
}
