/** Seeded simulations of the whole core; `test/sim/run.ts` runs more, and repeats one by seed. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { ROOT } from "../lint/sources.ts";
import { suite } from "../kit/suite.ts";
import { profileOf, PROFILES, type Profile } from "./profiles.ts";
import { simulate } from "./world.ts";

const test = suite("sim/seeds");
test.timeout(120_000);

const SEEDS = 200;
/** The command line has more patience: there a crowd is of up to 5,000. */
const CROWD_MAX = 400;

/** Seeds that once found something stay for good. */
interface Found {
  readonly seeds: readonly { seed: number; profile: Profile; found: string }[];
}

function run(seed: number, build: "debug" | "simd", profile: Profile): void {
  try {
    const { virtualMs } = simulate(seed, build, { profile, crowdMax: CROWD_MAX });
    assert.ok(virtualMs > 0);
  } catch (error) {
    console.error(`npm run sim -- --seed ${seed} --build ${build} --profile ${profile} --trace`);
    throw error;
  }
}

for (let seed = 1; seed <= SEEDS; seed++) {
  const profile = profileOf(seed);
  test(`TCP-31 TCP-42 FLOW-1: seed ${seed}, ${profile}, keeps every invariant`, () =>
    run(seed, seed % 2 === 0 ? "debug" : "simd", profile));
}

const { seeds } = JSON.parse(readFileSync(join(ROOT, "fixtures/seeds.json"), "utf8")) as Found;
for (const { seed, profile, found } of seeds) {
  test(`seed ${seed}, ${profile}, stays fixed: ${found}`, () => {
    assert.ok(PROFILES.includes(profile));
    run(seed, "debug", profile);
  });
}

test.run();
