/**
 * The demo itself: all ✓ on a sound machine, ✗ where something is spoiled, nothing left in the
 * end.
 */
import { mkdtempSync, readdirSync, readFileSync, rmdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import * as assert from "uvu/assert";
import {
  runChild,
  signalGroup,
  startChild,
  type RunResult,
} from "../../src/commands/demo/children.ts";
import { canRun, cliCommand, cliFile, skipReason, until } from "../kit/netns.ts";
import { suite } from "../kit/suite.ts";

const test = suite("e2e/demo");
test.skipUnless(canRun, skipReason);
test.timeout(300_000);

/** The temporary folder of the demos here; nothing may stay in it. */
const folder = mkdtempSync(join(tmpdir(), "tsgost-e2e-"));
const env = { TMPDIR: folder };
const HERE = dirname(cliFile());

function demo(...args: readonly string[]): Promise<RunResult> {
  return runChild(cliCommand("demo", "--size", "8M", ...args), { timeoutMs: 280_000, env });
}

function commandLine(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "latin1");
  } catch {
    return "";
  }
}

/** Processes that run this package's command line or agent. */
function ours(): string[] {
  const pids = readdirSync("/proc").filter((name) => /^\d+$/.test(name));
  return pids.filter((pid) => commandLine(pid).includes(HERE));
}

async function assertNothingLeft(): Promise<void> {
  const left = (): string[] => [...ours(), ...readdirSync(folder)];
  assert.ok(await until(() => left().length === 0, 10_000), `left: ${left().join(", ")}`);
}

test("all checks pass, the exit code is 0, nothing is left", async () => {
  const { code, stdout, stderr } = await demo();
  assert.is(code, 0, stdout + stderr);
  assert.not.match(stdout, /✗ /);
  for (const line of [/✓ download +8 MiB/, /✓ upload +8 MiB/, /refused +ECONNREFUSED/, /3 of 3/]) {
    assert.match(stdout, line);
  }
  await assertNothingLeft();
});

for (const [what, line] of [
  ["corrupt", /✗ download /],
  ["open-port", /✗ closed port over IPv4 is refused /],
  ["dns", /✗ DNS over IPv4 /],
  ["leave-device", /✗ device, addresses, routes are gone /],
] as const) {
  test(`--sabotage ${what} is noticed: its line is ✗, the exit code 1`, async () => {
    const { code, stdout } = await demo("--sabotage", what);
    assert.is(code, 1, stdout);
    assert.match(stdout, line);
    await assertNothingLeft();
  });
}

for (const signal of ["SIGINT", "SIGTERM", "SIGKILL"] as const) {
  test(`${signal} in the middle leaves nothing behind`, async () => {
    const child = startChild(cliCommand("demo"), ["ignore", "pipe", "inherit"], { env });
    let text = "";
    child.stdout?.setEncoding("utf8").on("data", (part: string) => (text += part));
    assert.ok(await until(() => text.includes("tungo serves"), 60_000), text);
    const ended = new Promise<number | null>((done) => child.once("close", done));
    // To the whole group, as a terminal does it, and timeout(1), and the runner of these tests.
    signalGroup(child, signal);
    assert.is(await ended, signal === "SIGKILL" ? null : 1);
    await assertNothingLeft();
  });
}

test.after(() => rmdirSync(folder));

test("bad options: exit 2 and one line", async () => {
  for (const args of [["--sabotage", "all"], ["--size", "much"], ["--nonsense"]]) {
    const { code, stdout, stderr } = await runChild(cliCommand("demo", ...args));
    assert.is(code, 2, stdout + stderr);
    assert.is((stdout + stderr).trim().split("\n").length, 1, stdout + stderr);
    assert.match(stdout + stderr, new RegExp(args.at(-1) ?? ""));
  }
});

test.run();
