/**
 * The test runner: `node --import tsx test/run.ts [--only AREA] [--no-checks] [FILE|FOLDER …]`.
 *
 * Without names it runs the static checks (build, format, lint, types) and every test file. Each
 * file has a process of its own, so that none can leak into the next; two run at a time, except
 * those in the folders of SERIAL, which own devices and namespaces. The last line is always `N
 * passed, N failed, N skipped`; the exit code is 1 if anything failed.
 */
import { spawn } from "node:child_process";
import { existsSync, readdirSync, statSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import type { Report } from "./kit/suite.ts";

const ROOT = resolve(dirname(fileURLToPath(import.meta.url)), "..");
const PARALLEL = 2;
const SERIAL = ["e2e", "package", "sys", "tun"];
const FILE_TIMEOUT_MS = 600_000;
const CHECK_TIMEOUT_MS = 600_000;
/** How long a process may live on after its last test: longer means it left something open. */
const EXIT_GRACE_MS = 5_000;
/** Most output of one process that is kept: its head, where the first failure is. */
const OUTPUT_MAX_BYTES = 256 * 1024;

const CHECKS: readonly { name: string; command: readonly string[] }[] = [
  { name: "check: build", command: ["npm", "run", "--silent", "build"] },
  { name: "check: format", command: ["npx", "prettier", "--check", "."] },
  { name: "check: lint", command: ["npm", "run", "--silent", "lint"] },
  { name: "check: types", command: ["npm", "run", "--silent", "types"] },
];

const totals = { passed: 0, failed: 0, skipped: 0 };

interface Outcome {
  code: number | null;
  output: string;
  ms: number;
  reports: Report[];
  /** Why the runner ended it, or "". */
  ended: string;
}

/** Takes JSON lines out of a stream that may cut them anywhere. */
function lineReader(onLine: (line: string) => void): (data: Buffer) => void {
  let rest = "";
  return (data) => {
    const lines = (rest + data.toString("utf8")).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) onLine(line);
  };
}

function testsMissing(reports: readonly Report[]): number {
  let count = 0;
  for (const line of reports) {
    if (line.kind === "run") count += line.count;
    if (line.kind === "test" && line.name !== "after") count--;
  }
  return count;
}

function suitesNotRun(reports: readonly Report[]): string[] {
  const names = reports.filter((line) => line.kind === "suite").map((line) => line.suite);
  const run = new Set(reports.filter((line) => line.kind === "run").map((line) => line.suite));
  return names.filter((name) => !run.has(name));
}

/** Runs a command to its end; its whole process group goes when it takes too long. */
function execute(command: readonly string[], timeoutMs: number): Promise<Outcome> {
  const [program = "", ...args] = command;
  return new Promise((done) => {
    const from = performance.now();
    const outcome: Outcome = { code: null, output: "", ms: 0, reports: [], ended: "" };
    const child = spawn(program, args, {
      cwd: ROOT,
      detached: true,
      stdio: ["ignore", "pipe", "pipe", "pipe"],
      env: { ...process.env, TSGOST_TEST_FD: "3", FORCE_COLOR: process.stdout.isTTY ? "1" : "0" },
    });
    const end = (why: string): void => {
      outcome.ended = why;
      try {
        if (child.pid !== undefined) process.kill(-child.pid, "SIGKILL");
      } catch {
        // It ended by itself in the meantime.
      }
    };
    const timer = setTimeout(() => end(`ended after ${timeoutMs / 1000} s`), timeoutMs);
    let grace: NodeJS.Timeout | undefined;
    const keep = (data: Buffer): void => {
      if (outcome.output.length < OUTPUT_MAX_BYTES) outcome.output += data.toString("utf8");
    };
    child.stdout?.on("data", keep);
    child.stderr?.on("data", keep);
    child.stdio[3]?.on(
      "data",
      lineReader((line) => {
        outcome.reports.push(JSON.parse(line) as Report);
        clearTimeout(grace);
        if (testsMissing(outcome.reports) === 0 && suitesNotRun(outcome.reports).length === 0) {
          grace = setTimeout(() => end("did not exit: something was left open"), EXIT_GRACE_MS);
        }
      }),
    );
    child.on("error", (error) => keep(Buffer.from(error.message)));
    child.on("close", (code) => {
      clearTimeout(timer);
      clearTimeout(grace);
      outcome.code = code;
      outcome.ms = Math.round(performance.now() - from);
      done(outcome);
    });
  });
}

/** What is wrong with a finished file beyond its failed tests. */
function fileFaults(outcome: Outcome): string[] {
  const { reports } = outcome;
  const faults: string[] = [];
  if (outcome.ended !== "") faults.push(outcome.ended);
  const missing = testsMissing(reports);
  if (missing === 0 && !reports.some((line) => line.kind === "test" || line.kind === "skip")) {
    faults.push("no tests ran: is there a suite, and is run() called?");
  }
  for (const name of suitesNotRun(reports)) faults.push(`suite "${name}": run() was not called`);
  if (missing > 0) faults.push(`${missing} tests did not come to an end`);
  const testFailed = reports.some((line) => line.kind === "test" && !line.ok);
  if (outcome.code !== 0 && !testFailed && faults.length === 0) {
    faults.push(`exit code ${String(outcome.code)}`);
  }
  return faults;
}

function printIndented(text: string): void {
  for (const line of text.trimEnd().split("\n")) console.log(`    ${line}`);
}

async function runFile(file: string): Promise<void> {
  const name = relative(ROOT, file);
  const outcome = await execute(
    [process.execPath, "--no-warnings", "--import", "tsx", file],
    FILE_TIMEOUT_MS,
  );
  const tests = outcome.reports.filter((line) => line.kind === "test");
  const skips = outcome.reports.filter((line) => line.kind === "skip");
  const faults = fileFaults(outcome);
  const failed = tests.filter((line) => !line.ok).length + faults.length;
  const passed = tests.filter((line) => line.ok).length;
  totals.passed += passed;
  totals.failed += failed;
  totals.skipped += skips.length;
  const parts = [`${passed} passed`];
  if (failed > 0) parts.push(`${failed} failed`);
  if (skips.length > 0) parts.push(`${skips.length} skipped`);
  console.log(`${failed > 0 ? "✗" : "✓"} ${name}  ${parts.join(", ")}  ${outcome.ms} ms`);
  for (const reason of new Set(skips.map((line) => line.reason))) {
    console.log(`    skipped: ${reason}`);
  }
  if (failed === 0) return;
  for (const fault of faults) console.log(`    FAIL ${fault}`);
  for (const line of tests) {
    if (!line.ok) console.log(`    FAIL ${line.suite} "${line.name}" (${line.ms} ms)`);
  }
  printIndented(outcome.output);
}

async function runCheck(name: string, command: readonly string[]): Promise<void> {
  const outcome = await execute(command, CHECK_TIMEOUT_MS);
  const ok = outcome.code === 0;
  if (ok) totals.passed++;
  else totals.failed++;
  console.log(`${ok ? "✓" : "✗"} ${name}  ${outcome.ms} ms`);
  if (ok) return;
  console.log(`    FAIL ${outcome.ended === "" ? command.join(" ") : outcome.ended}`);
  printIndented(outcome.output);
}

/** Runs tasks in order, `width` at a time. */
async function pool(tasks: readonly (() => Promise<void>)[], width: number): Promise<void> {
  const queue = [...tasks];
  const worker = async (): Promise<void> => {
    for (let task = queue.shift(); task !== undefined; task = queue.shift()) await task();
  };
  await Promise.all(Array.from({ length: width }, worker));
}

function testFilesUnder(path: string): string[] {
  if (!statSync(path).isDirectory()) return [path];
  return readdirSync(path, { withFileTypes: true })
    .filter((entry) => entry.isDirectory() || entry.name.endsWith(".test.ts"))
    .flatMap((entry) => testFilesUnder(join(path, entry.name)))
    .sort();
}

function isSerial(file: string): boolean {
  const [area = ""] = relative(join(ROOT, "test"), file).split("/");
  return SERIAL.includes(area);
}

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { only: { type: "string" }, "no-checks": { type: "boolean" } },
  });
  const names = positionals.map((name) => resolve(name));
  if (values.only !== undefined) names.push(join(ROOT, "test", values.only));
  for (const name of names) {
    if (!existsSync(name)) throw new Error(`no such file or folder: ${name}`);
  }
  const whole = names.length === 0;
  if (whole) names.push(join(ROOT, "test"));
  if (whole && values["no-checks"] !== true) {
    const [build, ...others] = CHECKS.map(
      ({ name, command }) =>
        () =>
          runCheck(name, command),
    );
    await build?.();
    await pool(others, PARALLEL);
  }
  const files = [...new Set(names.flatMap(testFilesUnder))];
  const task = (file: string) => () => runFile(file);
  await pool(files.filter((file) => !isSerial(file)).map(task), PARALLEL);
  await pool(files.filter(isSerial).map(task), 1);
  if (files.length === 0) totals.failed++;
}

try {
  await main();
} catch (error) {
  totals.failed++;
  console.error(error instanceof Error ? error.message : error);
}
console.log(`${totals.passed} passed, ${totals.failed} failed, ${totals.skipped} skipped`);
process.exitCode = totals.failed > 0 ? 1 : 0;
