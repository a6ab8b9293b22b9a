/** `tsgost replay` as a program: its JSON, its table, its output file, its exit codes. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { createHash } from "node:crypto";
import * as assert from "uvu/assert";
import { commandHelp } from "../../src/commands/help.ts";
import { run, SPEC } from "../../src/commands/replay.ts";
import { TsgostError } from "../../src/errors.ts";
import { pcapFile } from "../kit/capture.ts";
import { readPcapng } from "../kit/pcapng.ts";
import { suite } from "../kit/suite.ts";
import { FOLDER, readGolden } from "./golden.ts";

const test = suite("replay/command");
const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "replay-"));
test.after(() => rmSync(folder, { recursive: true }));

const WEB = join(FOLDER, "web.pcap");

function replay(...argv: readonly string[]): { code: number; out: string; err: string } {
  const command = ["--import", "tsx", join(ROOT, "src/cli.ts"), "replay", ...argv];
  const { status, stdout, stderr } = spawnSync(process.execPath, command, { encoding: "utf8" });
  return { code: status ?? -1, out: stdout, err: stderr };
}

test("--json is one object with the golden results; --out has what was hashed", () => {
  const file = join(folder, "out.pcapng");
  const { code, out } = replay(WEB, "--json", "--out", file, "--repeat", "2");
  assert.is(code, 0);
  const { packets, flows, drops, sha256, out: sent } = JSON.parse(out) as Record<string, unknown>;
  const golden = readGolden()["web.pcap"]?.recorded;
  assert.equal({ packets, flows, drops, sha256, out: sent }, golden);
  const captured = readPcapng(readFileSync(file));
  assert.is(captured.length, golden?.out.packets);
  const hash = createHash("sha256");
  for (const { data } of captured) hash.update(data);
  assert.is(hash.digest("hex"), sha256);
});

test("--flows prints a table; --upstream refuse resets", () => {
  const { code, out } = replay(WEB, "--flows", "--upstream", "refuse");
  assert.is(code, 0);
  assert.match(out, /^tcp +192\.0\.2\.10:40001 +192\.0\.2\.200:80 +closed .* refused$/m);
  assert.match(out, /^sha256 +[0-9a-f]{64}$/m);
});

test("a damaged capture: what was replayed is told, then the place, exit code 1", () => {
  const file = join(folder, "cut.pcap");
  writeFileSync(file, readFileSync(WEB).subarray(0, 1000));
  const { code, out, err } = replay(file, "--json");
  assert.is(code, 1);
  assert.is((JSON.parse(out) as { packets: number }).packets > 3, true);
  assert.match(err, /cut\.pcap: offset \d+: the file is cut short/);
});

test("unknown link types alone: the number and the place, exit code 1", () => {
  const file = join(folder, "link.pcap");
  const bytes = pcapFile({ link: "raw" }, [{ timeNs: 0n, data: new Uint8Array(9) }]);
  bytes[20] = 147;
  writeFileSync(file, bytes);
  const { code, err } = replay(file);
  assert.is(code, 1);
  assert.match(err, /1 of link type 147 \(first at offset 24\)/);
});

test("mistakes: exit code 2 for options, 1 for files", async () => {
  const faults: readonly (readonly [readonly string[], number, RegExp])[] = [
    [[], 2, /usage: tsgost replay FILE/],
    [[WEB, "--upstream", "who"], 2, /--upstream must be recorded, echo, sink, refuse/],
    [[WEB, "--checksums", "no"], 2, /--checksums must be verify, ignore, repair/],
    [[WEB, "--repeat", "0"], 2, /--repeat must be 1 … 10000/],
    [[WEB, "--out", WEB], 2, /--out must not be the capture itself/],
    [[join(folder, "none")], 1, /cannot read .*none: there is no such file/],
    [[folder], 1, /it is a folder/],
    [[join(ROOT, "README.md")], 1, /README\.md: offset 0: neither pcap nor pcapng/],
  ];
  for (const [argv, code, message] of faults) {
    const error = await run(argv).then(
      () => undefined,
      (cause: unknown) => cause,
    );
    assert.instance(error, TsgostError, argv.join(" "));
    assert.is((error as TsgostError).exitCode, code, argv.join(" "));
    assert.match((error as TsgostError).message, message);
  }
});

test("help has examples", () => {
  assert.match(commandHelp(SPEC), /Examples:\n {2}tsgost replay /);
});

test.run();
