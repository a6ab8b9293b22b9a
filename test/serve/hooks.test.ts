/** preUp … postDown: what is run, what it is told, and what becomes of failures. */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { hooksOf, type HookCommands } from "../../src/config/hooks.ts";
import { runHooks } from "../../src/serve/hooks.ts";
import { MemoryLog } from "../chain/world.ts";
import { suite } from "../kit/suite.ts";

const test = suite("serve/hooks");

let folder = "";
test.before(() => {
  folder = mkdtempSync(join(tmpdir(), "tsgost-hooks-"));
});
test.after(() => rmSync(folder, { recursive: true, force: true }));

function commands(changes: Partial<HookCommands>): HookCommands {
  const none = { preUp: [], postUp: [], preDown: [], postDown: [] };
  return { ...none, shell: false, timeoutMs: 5000, ...changes };
}

const FACTS = {
  service: "service-0",
  device: "tun9",
  mtu: 1420,
  addresses: ["10.0.0.1/24", "fd00::1/64"],
};

test("commands run in order, without a shell, and are told the device", async () => {
  const out = join(folder, "out");
  const print =
    `require("fs").appendFileSync(process.argv[1], process.argv[2] + " " + ` +
    `["HOOK","SERVICE","DEVICE","MTU","ADDRESSES"].map((k) => process.env["TSGOST_" + k])` +
    `.join("|") + "\\n")`;
  const command = (word: string): string => `${process.execPath} -e '${print}' ${out} "${word}"`;
  const log = new MemoryLog();
  await runHooks("postUp", commands({ postUp: [command("$HOME"), command("a b")] }), FACTS, log);
  const facts = "postUp|service-0|tun9|1420|10.0.0.1/24 fd00::1/64";
  assert.is(readFileSync(out, "utf8"), `$HOME ${facts}\na b ${facts}\n`);
  assert.equal(log.find(/^(?!info )/), []);
});

test("with hooks.shell a command may be a script", async () => {
  const out = join(folder, "shell");
  const log = new MemoryLog();
  const script = `echo "$TSGOST_DEVICE" | tr 'a-z' 'A-Z' > ${out}`;
  await runHooks("preUp", commands({ preUp: [script], shell: true }), FACTS, log);
  assert.is(readFileSync(out, "utf8"), "TUN9\n");
});

test("a failure is a warning that names the command, and the next one runs", async () => {
  const out = join(folder, "next");
  const bad = ["/nonexistent/program x", "sh -c 'exit 3'", "echo 'never closed"];
  const log = new MemoryLog();
  const last = `${process.execPath} -e 'require("fs").writeFileSync("${out}", "ran")'`;
  await runHooks("preDown", commands({ preDown: [...bad, last] }), FACTS, log);
  assert.is(readFileSync(out, "utf8"), "ran");
  const warnings = log.find(/^warn /);
  assert.is(warnings.length, 3);
  assert.match(warnings[0] ?? "", /^warn \[pre-down\] \/nonexistent\/program x: .*ENOENT/);
  assert.match(warnings[1] ?? "", /^warn \[pre-down\] sh -c 'exit 3': exit status 3$/);
  assert.match(warnings[2] ?? "", /a quotation is not closed$/);
});

test("what a command prints is logged, and only so much of it", async () => {
  const log = new MemoryLog();
  const loud = `${process.execPath} -e 'process.stdout.write("line\\n".repeat(100000))'`;
  await runHooks("postDown", commands({ postDown: ["echo hello", loud] }), FACTS, log);
  const texts = log.lines.map((line) => line.replace("info ", ""));
  assert.ok(texts.includes("hello"));
  const lines = texts.filter((text) => text === "line").length;
  assert.ok(lines > 0 && lines <= 16_384 / 5 + 1, `${lines} lines`);
  assert.ok(texts.includes("(more output is not logged)"));
});

test("a command that takes too long is ended with all it started", async () => {
  const pids = join(folder, "pids");
  const log = new MemoryLog();
  const slow = `echo $$ > ${pids}; sleep 600 & echo $! >> ${pids}; trap '' TERM; wait; sleep 600`;
  const settings = commands({ preUp: [slow], shell: true, timeoutMs: 300 });
  await runHooks("preUp", settings, FACTS, log);
  const warnings = log.find(/^warn /);
  assert.is(warnings.length, 1);
  assert.match(warnings[0] ?? "", /not done after 300 ms, ended$/);
  for (const pid of readFileSync(pids, "utf8").trim().split("\n").map(Number)) {
    assert.ok(isGone(pid), `process ${pid} lives on`);
  }
});

/** Ended, or dead and not yet collected by its parent. */
function isGone(pid: number): boolean {
  try {
    return /^State:\s+[ZX]/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
  } catch {
    return true;
  }
}

test("hooks come from the service's metadata, as a list or as one command", () => {
  const part = { type: "tcp", metadata: {} };
  const service = {
    name: "s",
    addr: ":0",
    listener: part,
    handler: part,
    metadata: {
      postup: ["a, b", "c"],
      preDown: "one, and the same",
      "hooks.timeout": "2s",
      "hooks.shell": true,
    },
    place: "-L",
  };
  const hooks = hooksOf(service);
  assert.equal(hooks.postUp, ["a, b", "c"]);
  assert.equal(hooks.preDown, ["one, and the same"]);
  assert.equal([hooks.preUp, hooks.postDown], [[], []]);
  assert.equal([hooks.shell, hooks.timeoutMs], [true, 2000]);
  const wrong = { ...service, metadata: { "hooks.timeout": "soon" } };
  assert.throws(() => hooksOf(wrong), /hooks\.timeout: "soon" is not a duration/);
});

test.run();
