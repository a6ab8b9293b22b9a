/**
 * One budget of fuzzing for the whole project: every target with a seed and a number of inputs that
 * stay, so that the same sources give the same outcome on every machine that is fast enough, and a
 * part of it on others. Other seeds are for `npm run fuzz`. What is found is repeated by the
 * command that is printed.
 */
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

/** Inputs of each target; the core and its histories of calls take longer. */
const INPUTS = 6000;
const INPUTS_OF: Readonly<Record<string, number>> = { core: 400, bypass: 2500 };
const SEED = 1;

const test = suite("fuzz/all");
test.timeout(BUDGET_MS + HANG_MS);

/** The core and rules cost milliseconds a run, the others microseconds. */
const WEIGHTS: Readonly<Record<string, number>> = { core: 5, bypass: 2, config: 2, url: 2 };
const weightOf = (name: string): number => WEIGHTS[name] ?? 1;
const whole = TARGETS.reduce((sum, { name }) => sum + weightOf(name), 0);
let watchdog: Watchdog | undefined;

test.before(() => {
  watchdog = new Watchdog(HANG_MS, join(ROOT, FOLDER, "found"));
});
test.after(async () => {
  await watchdog?.close();
});

for (const target of TARGETS) {
  test(`${target.name} keeps its promises`, async () => {
    watchdog?.name(target.name);
    const share = (BUDGET_MS * weightOf(target.name)) / whole;
    const most = INPUTS_OF[target.name] ?? INPUTS;
    const outcome = await new Fuzzer(target, SEED, watchdog).run(share, most);
    watchdog?.rest();
    const told = tell(outcome, SEED);
    console.log(told);
    assert.is(outcome.findings.length, 0, told);
    assert.ok(outcome.executions > 1, told);
  });
}

test.run();
