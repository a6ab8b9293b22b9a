/** DNS servers of a device in resolv.conf: set, taken back, and healed after a crash. */
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { type DnsPaths, restoreDnsServers, setDnsServers } from "../../src/serve/tungo/resolver.ts";
import { MemoryLog } from "../chain/world.ts";
import { suite } from "../kit/suite.ts";

const test = suite("serve/dns-servers");

const BEFORE = "search example.org\nnameserver 192.0.2.53\noptions edns0\n";
const REQUEST = { device: "tun9", servers: ["10.0.0.53", "fd00::53"], domains: ["~."] };

let folder = "";
let path = "";
let paths: DnsPaths;
test.before.each(() => {
  folder = mkdtempSync(join(tmpdir(), "tsgost-dns-"));
  paths = {
    resolvConf: join(folder, "resolv.conf"),
    state: join(folder, "state", "deep"),
    resolved: join(folder, "resolved"),
  };
  writeFileSync(paths.resolvConf, BEFORE);
  path = process.env["PATH"] ?? "";
  // Neither resolvectl nor resolvconf: those of the machine must not be touched.
  process.env["PATH"] = folder;
});
test.after.each(() => {
  process.env["PATH"] = path;
  rmSync(folder, { recursive: true, force: true });
});

function conf(): string {
  return readFileSync(paths.resolvConf, "utf8");
}

function program(name: string, script: string): void {
  writeFileSync(join(folder, name), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
}

test("the file names our servers, keeps options, and comes back byte for byte", async () => {
  const log = new MemoryLog();
  const undo = await setDnsServers(REQUEST, log, paths);
  assert.ok(undo);
  const [first, ...lines] = conf().trimEnd().split("\n");
  assert.match(first ?? "", /^# set by tsgost for tun9, process \d+;/);
  assert.equal(lines, [
    "nameserver 10.0.0.53",
    "nameserver fd00::53",
    "search example.org",
    "options edns0",
  ]);
  await undo();
  assert.is(conf(), BEFORE);
  assert.equal(log.lines, []);
});

test("a file that somebody else wrote meanwhile is left alone", async () => {
  const undo = await setDnsServers(REQUEST, new MemoryLog(), paths);
  writeFileSync(paths.resolvConf, "nameserver 203.0.113.1\n");
  await undo?.();
  assert.is(conf(), "nameserver 203.0.113.1\n");
  assert.not(existsSync(join(paths.state, "resolv.conf")));
});

test("what a killed process left is put back, what a living one set is not", async () => {
  const { pid } = spawnSync("/bin/true");
  const marked = (owner: number): string =>
    `# set by tsgost for tun0, process ${owner}; what stood here comes back at its end\n`;
  mkdirSync(paths.state, { recursive: true });
  writeFileSync(join(paths.state, "resolv.conf"), BEFORE);
  writeFileSync(paths.resolvConf, marked(pid));
  const undo = await setDnsServers(REQUEST, new MemoryLog(), paths);
  await undo?.();
  assert.is(conf(), BEFORE);

  writeFileSync(paths.resolvConf, marked(process.ppid));
  const log = new MemoryLog();
  assert.is(await setDnsServers(REQUEST, log, paths), undefined);
  assert.is(conf(), marked(process.ppid));
  assert.match(log.lines[0] ?? "", /in the hands of process \d+\); continuing/);
  assert.not(restoreDnsServers(paths));
});

test("systemd-resolved and resolvconf are preferred where they are", async () => {
  const said = join(folder, "said");
  program("resolvectl", `echo resolvectl "$@" >> ${said}`);
  program(
    "resolvconf",
    `echo resolvconf "$@" >> ${said}; while read l; do echo $l; done >> ${said}`,
  );
  const viaConf = await setDnsServers(REQUEST, new MemoryLog(), paths);
  await viaConf?.();
  mkdirSync(paths.resolved);
  await setDnsServers(REQUEST, new MemoryLog(), paths);
  assert.equal(readFileSync(said, "utf8").trimEnd().split("\n"), [
    "resolvconf -a tun9.tsgost",
    "nameserver 10.0.0.53",
    "nameserver fd00::53",
    "resolvconf -d tun9.tsgost",
    "resolvectl dns tun9 10.0.0.53 fd00::53",
    "resolvectl domain tun9 ~.",
  ]);
  assert.is(conf(), BEFORE);
});

test("when nothing works there is one warning that says why", async () => {
  program("resolvconf", "exit 5");
  paths = { ...paths, resolvConf: join(folder, "no", "such", "folder") };
  const log = new MemoryLog();
  assert.is(await setDnsServers(REQUEST, log, paths), undefined);
  assert.is(log.lines.length, 1);
  assert.match(
    log.lines[0] ?? "",
    /cannot set DNS servers for tun9 \(no systemd-resolved; resolvconf: exit status 5; ENOENT/,
  );
});

test.run();
