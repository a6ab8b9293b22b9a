/** Admissions: addresses, networks and ranges; lists from files; failing closed. */
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as assert from "uvu/assert";
import type { MatcherConfig } from "../../src/config/model.ts";
import { AdmissionList, allOf } from "../../src/serve/admission.ts";
import { IpSet } from "../../src/serve/ip-set.ts";
import type { Accepted } from "../../src/serve/handler.ts";
import { listen } from "../../src/serve/listen.ts";
import { emptyConfig, portOf, quiet, serviceOf } from "../chain/world.ts";
import { suite } from "../kit/suite.ts";

const test = suite("serve/admission");
const folder = mkdtempSync(join(tmpdir(), "tsgost-admission-"));
test.after(() => rmSync(folder, { recursive: true, force: true }));

function listOf(
  matchers: readonly string[],
  changes: Partial<MatcherConfig> & { file?: string; compat?: boolean } = {},
): AdmissionList {
  const { file, compat = false, ...rest } = changes;
  const source = { place: "g.yml:3:3", ...(file === undefined ? {} : { file: { path: file } }) };
  const config = { name: "a-0", whitelist: false, matchers, network: "", source, ...rest };
  return new AdmissionList(config, { log: quiet, compat });
}

test("sets: addresses, networks, ranges, mapped addresses, neighbours", () => {
  const set = new IpSet();
  for (const entry of [
    "192.0.2.7",
    "10.1.2.3/8",
    "198.51.100.10 - 198.51.100.20",
    "198.51.100.15-198.51.100.30",
    "2001:db8::/33",
    "::ffff:203.0.113.0/120",
    "fe80::1",
  ]) {
    assert.ok(set.add(entry), entry);
  }
  for (const inside of [
    "192.0.2.7",
    "::ffff:192.0.2.7",
    "10.0.0.0",
    "10.255.255.255",
    "198.51.100.10",
    "198.51.100.30",
    "2001:db8::",
    "2001:db8:7fff:ffff:ffff:ffff:ffff:ffff",
    "203.0.113.255",
    "fe80::1%eth0",
  ]) {
    assert.ok(set.has(inside), inside);
  }
  for (const outside of [
    "192.0.2.6",
    "192.0.2.8",
    "9.255.255.255",
    "11.0.0.0",
    "198.51.100.9",
    "198.51.100.31",
    "2001:db8:8000::",
    "203.0.114.0",
    "::a01:203",
    "",
    "host",
  ]) {
    assert.not.ok(set.has(outside), outside);
  }
});

test("sets: everything, and what is no entry", () => {
  const all = new IpSet();
  assert.ok(all.isEmpty && !all.has("192.0.2.1"));
  assert.ok(all.add("0.0.0.0/0"));
  assert.ok(all.has("0.0.0.0") && all.has("255.255.255.255") && !all.has("::1"));
  for (const entry of [
    "",
    "x",
    "10.0.0.0/33",
    "1.2.3.4-",
    "5.0.0.0-4.0.0.0",
    "1.2.3.4-::5",
    "1-2-3",
  ]) {
    assert.not.ok(all.add(entry), entry);
  }
});

test("a hundred thousand networks are asked in order", () => {
  const set = new IpSet();
  for (let count = 0; count < 100_000; count++) {
    set.add(`${10 + (count & 63)}.${(count >> 6) & 255}.${(count >> 14) * 4}.0/24`);
  }
  assert.ok(set.has("10.0.0.9") && !set.has("10.0.1.9") && !set.has("9.0.0.1"));
});

test("a blacklist refuses what it lists, a whitelist all else", () => {
  const black = listOf(["10.0.0.0/8"]);
  assert.ok(!black.admits("10.1.1.1") && black.admits("192.0.2.1"));
  const white = listOf(["10.0.0.0/8"], { whitelist: true });
  assert.ok(white.admits("::ffff:10.1.1.1") && !white.admits("192.0.2.1") && !white.admits(""));
});

test("empty lists: a blacklist admits all, a whitelist nobody; GOST's everybody", () => {
  assert.ok(listOf([]).admits("192.0.2.1"));
  assert.not.ok(listOf([], { whitelist: true }).admits("192.0.2.1"));
  assert.ok(listOf([], { whitelist: true, compat: true }).admits("192.0.2.1"));
});

test("of several, all must admit", () => {
  assert.is(allOf([]), undefined);
  const both = allOf([listOf(["10.0.0.0/8"], { whitelist: true }), listOf(["10.6.0.0/16"])]);
  assert.ok(
    both?.admits("10.5.0.1") === true && !both.admits("10.6.0.1") && !both.admits("9.0.0.1"),
  );
});

test("a wrong entry is told with its place; GOST leaves it out", async () => {
  assert.throws(() => listOf(["10.0.0.0/8", "ten"]), /g\.yml:3:3: admission a-0: "ten"/);
  assert.ok(listOf(["10.0.0.0/8", "ten"], { compat: true }).admits("192.0.2.1"));
  const file = join(folder, "wrong");
  writeFileSync(file, "10.0.0.0/8\n\nten # comment\n");
  const error = await listOf([], { file })
    .start()
    .catch((reason: Error) => reason);
  assert.match((error as Error).message, /wrong:3: admission a-0: "ten"/);
});

test("a file: added to the entries, read again, kept when it fails", async () => {
  const file = join(folder, "clients");
  writeFileSync(file, "# office\n192.0.2.0/24 # all of it\n");
  const list = listOf(["10.0.0.1"], { file, whitelist: true });
  await list.start();
  assert.ok(list.admits("10.0.0.1") && list.admits("192.0.2.9") && !list.admits("198.51.100.1"));
  writeFileSync(file, "198.51.100.1\n");
  assert.ok(await list.reload());
  assert.ok(list.admits("198.51.100.1") && !list.admits("192.0.2.9"));
  writeFileSync(file, "rubbish\n");
  assert.not.ok(await list.reload());
  rmSync(file);
  assert.not.ok(await list.reload());
  assert.ok(list.admits("198.51.100.1") && list.admits("10.0.0.1"));
  list.close();
});

test("a file that cannot be read fails the start", async () => {
  const list = listOf([], { file: join(folder, "none") });
  const error = await list.start().catch((reason: Error) => reason);
  assert.match((error as Error).message, /g\.yml:3:3: admission a-0: file .*none/);
});

test("a listener closes who is not admitted before any handshake, and serves others", async () => {
  for (const [entry, isAdmitted] of [
    ["192.0.2.1", true],
    ["127.0.0.0/8", false],
  ] as const) {
    const admission = listOf([entry]);
    const accepted: string[] = [];
    const accept = ({ transport, peer }: Accepted): void => {
      accepted.push(peer);
      transport.destroy();
    };
    const listener = await listen(serviceOf({}), emptyConfig, { log: quiet, accept, admission });
    const socket = connect(portOf(listener.address), "127.0.0.1");
    socket.resume().on("error", () => undefined);
    await once(socket, "close");
    assert.is(accepted.length, isAdmitted ? 1 : 0);
    await listener.close();
  }
});

test.run();
