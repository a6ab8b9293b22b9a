/** The documented examples: what would be made, or what is wrong. */
import { readFileSync } from "node:fs";
import * as assert from "uvu/assert";
import { planOf } from "../../src/config/plan.ts";
import { suite } from "../kit/suite.ts";
import { refusal, start, withFiles } from "./read.ts";

interface Example {
  readonly id: string;
  readonly args: readonly string[];
  readonly error?: string;
  readonly warnings?: readonly string[];
  readonly plan?: readonly string[];
}

const path = new URL("../../fixtures/config/examples.json", import.meta.url);
const fixture = JSON.parse(readFileSync(path, "utf8")) as {
  readonly files: Readonly<Record<string, string>>;
  readonly cases: readonly Example[];
};

const test = suite("config/examples");

for (const { id, args, error, warnings = [], plan } of fixture.cases) {
  test(`${id}: ${error === undefined ? "would start" : "is refused"}`, () => {
    withFiles(fixture.files, args, (words) => {
      if (error !== undefined) {
        const refused = refusal(() => start(words));
        assert.is(refused.exitCode, 2);
        assert.ok(refused.message.includes(error), refused.message);
        return;
      }
      const outcome = start(words);
      assert.equal(planOf(outcome.config), plan);
      assert.is(outcome.warnings.length, warnings.length, outcome.warnings.join("\n"));
      for (const [index, warning] of warnings.entries()) {
        assert.ok(outcome.warnings[index]!.includes(warning), outcome.warnings[index]);
      }
    });
  });
}

test.run();
