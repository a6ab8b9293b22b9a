/**
 * One budget of fuzzing for the whole project: every target with a seed that stays and with one
 * that changes with the sources. What is found is repeated by the command that is printed.
 */
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { suite } from "../kit/suite.ts";
import { ROOT } from "../lint/sources.ts";
import { FOLDER, Fuzzer } from "./engine.ts";
import { TARGETS } from "./list.ts";
import { tell } from "./session.ts";
import { Watchdog } from "./watchdog.ts";

const BUDGET_MS = 60_000;
const HANG_MS = 30_000;

/** Of the last commit, so that who has the sources has the seed; 2 without a repository. */
function seedOfSources(): number {
  try {
    const head = execFileSync("git", ["rev-parse", "HEAD"], { cwd: ROOT, encoding: "utf8" });
    return parseInt(head.slice(0, 7), 16);
  } catch {
    return 2;
  }
}

const test = suite("fuzz/all");
test.timeout(BUDGET_MS + HANG_MS);

const seeds = [1, seedOfSources()];
const share = BUDGET_MS / (TARGETS.length * seeds.length);
let watchdog: Watchdog | undefined;

test.before(() => {
  watchdog = new Watchdog(HANG_MS, join(ROOT, FOLDER, "found"));
});
test.after(async () => {
  await watchdog?.close();
});

for (const [index, seed] of seeds.entries()) {
  for (const target of TARGETS) {
    const which = index === 0 ? "the seed that stays" : "the seed of the sources";
    test(`${target.name} keeps its promises, ${which}`, async () => {
      watchdog?.name(target.name);
      const outcome = await new Fuzzer(target, seed, watchdog).run(share);
      watchdog?.rest();
      const told = tell(outcome, seed);
      console.log(told);
      assert.is(outcome.findings.length, 0, told);
      assert.ok(outcome.executions > 0 && outcome.shapes > 1, told);
    });
  }
}

test.run();
