/** The kit itself: what a file must do to count, run through the real runner in a child process. */
import { execFile } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import * as assert from "uvu/assert";
import { suite } from "./suite.ts";

const KIT = dirname(fileURLToPath(import.meta.url));
const ROOT = resolve(KIT, "../..");
const RUNNER = join(ROOT, "test/run.ts");

const test = suite("kit/suite");
let folder = "";
test.timeout(60_000);
test.before(() => {
  mkdirSync(join(ROOT, ".cache"), { recursive: true });
  folder = mkdtempSync(join(ROOT, ".cache/suite-"));
});
test.after(() => rmSync(folder, { recursive: true }));

/** Runs `body` as a test file; answers the exit code and the runner's output. */
function runBody(body: string): Promise<{ code: number; output: string; last: string }> {
  const file = join(folder, "probe.test.ts");
  const head = `import { suite } from ${JSON.stringify(join(KIT, "suite.ts"))};\n`;
  writeFileSync(file, head + body);
  return new Promise((done) => {
    const args = ["--import", "tsx", RUNNER, file];
    execFile(process.execPath, args, { cwd: ROOT }, (error, stdout) => {
      const last = stdout.trimEnd().split("\n").at(-1) ?? "";
      done({ code: error === null ? 0 : 1, output: stdout, last });
    });
  });
}

test("counts what passed and ends with the closing line", async () => {
  const { code, last } = await runBody(
    `const t = suite("a"); t("x", () => {}); t("y", async () => {}); t.run();`,
  );
  assert.is(last, "2 passed, 0 failed, 0 skipped");
  assert.is(code, 0);
});

test("reports a failure in full, also when no Error was thrown", async () => {
  const { code, output, last } = await runBody(
    `const t = suite("a"); t("y", () => {});
     t("says so", () => { throw "plain words"; }); t.run();`,
  );
  assert.is(last, "1 passed, 1 failed, 0 skipped");
  assert.match(output, "says so");
  assert.match(output, "plain words");
  assert.is(code, 1);
});

test("fails a file without tests", async () => {
  const { last } = await runBody("void suite;");
  assert.is(last, "0 passed, 1 failed, 0 skipped");
});

test("fails a suite whose run() was forgotten", async () => {
  const { last, output } = await runBody(
    `const t = suite("a"); t("x", () => {}); t.run(); suite("b")("y", () => {});`,
  );
  assert.is(last, "1 passed, 1 failed, 0 skipped");
  assert.match(output, 'suite "b": run() was not called');
});

test("fails a test that takes too long, and one that ends the process", async () => {
  const late = await runBody(
    `const t = suite("a"); t.timeout(50);
     t("x", () => new Promise(() => setTimeout(() => {}, 400))); t.run();`,
  );
  assert.is(late.last, "0 passed, 1 failed, 0 skipped");
  assert.match(late.output, "more than 50 ms");
  const gone = await runBody(`const t = suite("a"); t("x", () => process.exit(0)); t.run();`);
  assert.is(gone.last, "0 passed, 1 failed, 0 skipped");
});

test("fails every test when a before hook throws", async () => {
  const { last } = await runBody(
    `const t = suite("a"); t.before(() => { throw new Error("no"); }); t("x", () => {}); t.run();`,
  );
  assert.is(last, "0 passed, 1 failed, 0 skipped");
});

test("fails when an after hook throws", async () => {
  const { code, last } = await runBody(
    `const t = suite("a"); t.after(() => { throw new Error("no"); }); t("x", () => {}); t.run();`,
  );
  assert.is(last, "1 passed, 1 failed, 0 skipped");
  assert.is(code, 1);
});

test("records a skip with its reason", async () => {
  const { code, last, output } = await runBody(
    `const t = suite("a"); t.skipUnless(false, "needs a moon", "x", () => {});
     t("y", () => {}); t.run();`,
  );
  assert.is(last, "1 passed, 0 failed, 1 skipped");
  assert.match(output, "needs a moon");
  assert.is(code, 0);
});

test("fails a file that leaves something open", async () => {
  const { last, output } = await runBody(
    `setInterval(() => {}, 1000); const t = suite("a"); t("x", () => {}); t.run();`,
  );
  assert.is(last, "1 passed, 1 failed, 0 skipped");
  assert.match(output, "left open");
});

test.run();
