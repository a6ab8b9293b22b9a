/** Seeded simulations of the whole core; `test/sim/run.ts` runs more, and repeats one by seed. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { ROOT } from "../lint/sources.ts";
import { suite } from "../kit/suite.ts";
import { simulate } from "./world.ts";

const test = suite("sim/seeds");
test.timeout(120_000);

/** Seeds that once found something stay for good. */
interface Found {
  readonly seeds: readonly { seed: number; found: string }[];
}

function run(seed: number, build: "debug" | "simd"): void {
  try {
    simulate(seed, build);
  } catch (error) {
    console.error(`npm run sim -- --seed ${seed} --build ${build} --trace`);
    throw error;
  }
}

for (let seed = 1; seed <= 40; seed++) {
  test(`TCP-31 TCP-42 FLOW-1: seed ${seed} keeps every invariant`, () =>
    run(seed, seed % 2 === 0 ? "debug" : "simd"));
}

const { seeds } = JSON.parse(readFileSync(join(ROOT, "fixtures/seeds.json"), "utf8")) as Found;
for (const { seed, found } of seeds) {
  test(`seed ${seed} stays fixed: ${found}`, () => run(seed, "debug"));
}

test.run();
