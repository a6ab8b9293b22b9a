/** `tsgost check`: all errors and warnings with their places, as lines or as JSON. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { run } from "../../src/commands/check.ts";
import { TsgostError } from "../../src/errors.ts";
import { suite } from "../kit/suite.ts";

interface Output {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs the command in this process, its output caught. */
async function check(...args: readonly string[]): Promise<Output> {
  const caught = { stdout: "", stderr: "" };
  const { stdout, stderr } = process;
  const writes = [stdout.write, stderr.write] as const;
  stdout.write = (text: string | Uint8Array) => ((caught.stdout += String(text)), true);
  stderr.write = (text: string | Uint8Array) => ((caught.stderr += String(text)), true);
  try {
    return { code: await run(args), ...caught };
  } finally {
    [stdout.write, stderr.write] = writes;
  }
}

/** `FILE:name` in arguments is the path of the file that is made of `files[name]`. */
async function checkFiles(
  files: Readonly<Record<string, string>>,
  args: readonly string[],
): Promise<Output> {
  const folder = mkdtempSync(join(tmpdir(), "tsgost-check-"));
  try {
    for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text);
    return await check(...args.map((word) => word.replace(/^FILE:/, `${folder}/`)));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const BAD = `services:
- name: a
  addr: 127.0.0.1:1
  handler: {type: rely}
- name: a
  addr: ":99999"
  adr: 5
  handler: {type: relay, chain: nope}
bypasses:
- name: b
  network: upd
  matchers: [10.0.0.0/33, example.com:http]
`;
const GOOD = "services:\n- name: a\n  addr: 127.0.0.1:1\n  handler: {type: relay}\n";

const test = suite("config/check");

test("every error and warning is told, with file, line and column", async () => {
  const { code, stderr, stdout } = await checkFiles({ "gost.yaml": BAD }, ["FILE:gost.yaml"]);
  assert.is(code, 2);
  const lines = stderr
    .replaceAll(/\/\S*gost\.yaml/g, "gost.yaml")
    .trim()
    .split("\n");
  assert.equal(lines.sort(), [
    'tsgost: gost.yaml:11:3: network: "upd" is not tcp or udp; did you mean udp?',
    'tsgost: gost.yaml:12:3: matchers: "10.0.0.0/33" is not ADDRESS/PREFIX',
    'tsgost: gost.yaml:12:3: matchers: "example.com:http" has no port behind the colon ' +
      "(0 to 65535, or MIN-MAX)",
    'tsgost: gost.yaml:4:13: there is no handler "rely"; did you mean relay?',
    'tsgost: gost.yaml:5:3: services: the name "a" is taken already',
    'tsgost: gost.yaml:6:3: addr: ":99999" is not [HOST]:PORT (port 0 to 65535)',
    'tsgost: gost.yaml:8:26: chain: there is no "nope" in chains',
    "tsgost: warning: gost.yaml:7:3: services[1].adr is no key of the configuration; " +
      "did you mean addr?",
  ]);
  assert.match(stdout, /gost\.yaml: 7 errors, 1 warning\n$/);
});

test("--json has the places in parts", async () => {
  const files = { "bad.yaml": BAD, "good.yaml": GOOD };
  const { code, stdout } = await checkFiles(files, ["--json", "FILE:good.yaml", "FILE:bad.yaml"]);
  assert.is(code, 2);
  const told = JSON.parse(stdout) as {
    ok: boolean;
    configurations: { name: string; ok: boolean; errors: Record<string, unknown>[] }[];
  };
  assert.is(told.ok, false);
  assert.equal(
    told.configurations.map(({ ok }) => ok),
    [true, false],
  );
  const [, bad] = told.configurations;
  const error = bad!.errors.find(({ line }) => line === 4)!;
  assert.is(error["file"], bad!.name);
  assert.is(error["column"], 13);
  assert.is(error["message"], 'there is no handler "rely"; did you mean relay?');
});

test("a good one is ok; warnings are errors with --strict", async () => {
  const odd = GOOD.replace("{type: relay}", "{type: relay, metadata: {nodlay: true}}");
  const files = { "good.yaml": GOOD, "odd.yaml": odd };
  assert.is((await checkFiles(files, ["FILE:good.yaml"])).code, 0);
  const warned = await checkFiles(files, ["FILE:odd.yaml"]);
  assert.is(warned.code, 0);
  assert.match(warned.stderr, /4:37: nothing here knows the key "nodlay"; did you mean nodelay\?/);
  assert.match(warned.stdout, /odd\.yaml: ok, 1 warning\n/);
  const strict = await checkFiles(files, ["--strict", "FILE:odd.yaml"]);
  assert.is(strict.code, 2);
  assert.match(strict.stdout, /odd\.yaml: 1 error\n/);
});

test("options are one configuration", async () => {
  const fine = await check("-L", "relay://127.0.0.1:1", "-F=relay+wss://h.example:443");
  assert.is(fine.code, 0, fine.stderr);
  assert.is(fine.stdout, "command line: ok\n");
  const wrong = await check("-L", "relya://:1", "-L", "relay://:port", "-F", "relay://h");
  assert.is(wrong.code, 2);
  assert.match(wrong.stderr, /"relya"; did you mean relay\?/);
  assert.match(wrong.stderr, /"port" is no port/);
  assert.match(wrong.stderr, /"h" has no port/);
  const unread = await check("-C", '{"services":[{"name":"a","addr":":1","handler":5}]}');
  assert.match(unread.stderr, /-C:1:38: services\[0\]\.handler: 5 is not a map/);
});

test("what GOST has and tsgost has not is told with its place", async () => {
  const { stderr } = await check("-L", "ss://aes-128-gcm:pw@:8338", "-F", "ss+kcp://h.example:1");
  assert.match(stderr, /-L ss:\/\/aes-128-gcm:\*\*\*@:8338: the handler ss is not supported/);
  assert.match(stderr, /-F ss\+kcp:\/\/h\.example:1: the connector ss is not supported/);
});

test("files and options together, and nothing at all, are refused", async () => {
  for (const args of [["a.yaml", "-L", "relay://:1"], []]) {
    try {
      await check(...args);
    } catch (error) {
      assert.instance(error, TsgostError);
      assert.is((error as TsgostError).exitCode, 2);
      continue;
    }
    assert.unreachable(args.join(" "));
  }
});

test.run();
