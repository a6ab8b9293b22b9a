/** The last tests for a mutant: whole runs of the simulation, few enough to wait for. */
import { suite } from "../kit/suite.ts";
import { simulate } from "../sim/world.ts";

const SEEDS = 24;

const test = suite("mutants/last");
for (let seed = 1; seed <= SEEDS; seed++) {
  test(`seed ${seed} keeps every invariant`, () => void simulate(seed, "debug", { crowdMax: 200 }));
}
test.run();
