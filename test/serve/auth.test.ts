/** Who may use a service: users, authers with files, skipauth, and what is logged of failures. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as assert from "uvu/assert";
import type { AutherConfig, Metadata, ServiceConfig } from "../../src/config/model.ts";
import { Auther, authenticatorOf } from "../../src/serve/auth.ts";
import { FailedLogins } from "../../src/serve/failed-logins.ts";
import { MemoryLog, eventually, quiet, serviceOf } from "../chain/world.ts";
import { suite } from "../kit/suite.ts";

const test = suite("serve/auth");
const folder = mkdtempSync(join(tmpdir(), "tsgost-auth-"));
test.after(() => rmSync(folder, { recursive: true, force: true }));

type Users = Readonly<Record<string, string>>;

function authsOf(users: Users) {
  return Object.entries(users).map(([username, password]) => ({ username, password }));
}

function serviceWith(users: Users | undefined, metadata: Metadata = {}): ServiceConfig {
  const service = serviceOf({ metadata });
  const auths = users === undefined ? {} : { auths: authsOf(users) };
  return { ...service, handler: { ...service.handler, ...auths } };
}

function autherOf(users: Users, source: Partial<AutherConfig["source"]> = {}, log = quiet): Auther {
  const config = {
    name: "auther-0",
    auths: authsOf(users),
    source: { place: "g.yml:1:1", ...source },
  };
  return new Auther(config, { log });
}

function fileOf(name: string, text: string): { path: string } {
  const path = join(folder, name);
  writeFileSync(path, text);
  return { path };
}

const ip = "192.0.2.7";
const login = (username: string, password: string) => ({ username, password });

test("without users and authers there is nobody to ask", () => {
  assert.is(authenticatorOf(serviceWith(undefined), [], { log: quiet }), undefined);
});

test("own users: exact names and passwords, case and all", () => {
  const who = authenticatorOf(serviceWith({ alice: "Secret", bob: "x y" }), [], { log: quiet });
  assert.is(who?.accepts(login("alice", "Secret"), ip), true);
  assert.is(who?.accepts(login("bob", "x y"), ip), true);
  for (const [user, password] of [
    ["alice", "secret"],
    ["Alice", "Secret"],
    ["alice", ""],
    ["", ""],
  ]) {
    assert.is(who?.accepts(login(user ?? "", password ?? ""), ip), false, `${user}:${password}`);
  }
  assert.is(who?.accepts(undefined, ip), false);
});

test("an empty list of users is nobody, and prototypes are no users", () => {
  const who = authenticatorOf(serviceWith({}), [], { log: quiet });
  assert.is(who?.accepts(login("", ""), ip), false);
  assert.is(who?.accepts(login("constructor", ""), ip), false);
  assert.is(who?.accepts(login("__proto__", ""), ip), false);
});

test("a user without a password must be wanted", () => {
  const bare = serviceWith({ alice: "" });
  assert.throws(
    () => authenticatorOf(bare, [], { log: quiet }),
    /-L: user "alice" has no password/,
  );
  const open = serviceWith({ alice: "" }, { "auth.anyPassword": true });
  const who = authenticatorOf(open, [], { log: quiet });
  assert.is(who?.accepts(login("alice", "whatever"), ip), true);
  assert.is(who?.accepts(login("bob", ""), ip), false);
});

test("any of several lists will do", async () => {
  const one = autherOf({ alice: "1" });
  const two = autherOf({ alice: "2", bob: "3" });
  await Promise.all([one.start(), two.start()]);
  const who = authenticatorOf(serviceWith({ carol: "4" }), [one, two], { log: quiet });
  for (const [user, password] of [
    ["alice", "1"],
    ["alice", "2"],
    ["bob", "3"],
    ["carol", "4"],
  ]) {
    assert.is(who?.accepts(login(user ?? "", password ?? ""), ip), true, `${user}:${password}`);
  }
  assert.is(who?.accepts(login("carol", "1"), ip), false);
});

test("a file: tabs, comments, passwords with # and blanks; what comes later wins", async () => {
  const text = "# c\nalice\tnew\r\n\n  bob  p#w d \nx # y\n#carol c\n";
  const auther = autherOf({ alice: "old", dave: "d" }, { file: fileOf("users", text) });
  await auther.start();
  const accepts = (user: string, password: string): boolean =>
    auther.accepts(login(user, password), false);
  assert.ok(accepts("alice", "new") && !accepts("alice", "old"));
  assert.ok(accepts("bob", "p#w d") && accepts("dave", "d") && accepts("x", "# y"));
  assert.ok(!accepts("#carol", "c") && !accepts("carol", "c") && !accepts("#", "c"));
  auther.close();
});

test("a file that cannot be read fails the start, with the place", async () => {
  const auther = autherOf({ alice: "1" }, { file: { path: join(folder, "none") } });
  const error = await auther.start().then(
    () => undefined,
    (reason: Error) => reason,
  );
  assert.match(error?.message ?? "", /^g\.yml:1:1: auther auther-0: file .*none could not be read/);
});

test("a user without a password in a file fails the service, or is never accepted", async () => {
  const file = fileOf("bare", "alice\n");
  const auther = autherOf({}, { file });
  await auther.start();
  assert.throws(() => authenticatorOf(serviceWith(undefined), [auther], { log: quiet }), /"alice"/);
  const open = serviceWith(undefined, { "auth.anyPassword": true });
  const who = authenticatorOf(open, [auther], { log: quiet });
  assert.is(who?.accepts(login("alice", "x"), ip), true);
  auther.close();
});

test("a reload: new users count, a failing one keeps the old, bare users stay out", async () => {
  const log = new MemoryLog();
  const file = fileOf("again", "alice 1\n");
  const auther = autherOf({}, { file }, log);
  await auther.start();
  const who = authenticatorOf(serviceWith(undefined), [auther], { log });
  assert.is(who?.accepts(login("alice", "1"), ip), true);
  writeFileSync(file.path, "alice 2\nbob\n");
  assert.is(await auther.reload(), true);
  assert.is(who?.accepts(login("alice", "1"), ip), false);
  assert.is(who?.accepts(login("alice", "2"), ip), true);
  assert.is(who?.accepts(login("bob", ""), ip), false);
  assert.is(log.find(/"bob" has no password/).length, 1);
  rmSync(file.path);
  assert.is(await auther.reload(), false);
  assert.is(who?.accepts(login("alice", "2"), ip), true);
  writeFileSync(file.path, `alice ${"x".repeat(5000)}\n`);
  assert.is(await auther.reload(), false);
  assert.is(who?.accepts(login("alice", "2"), ip), true);
  auther.close();
});

test("a file is read again by itself", async () => {
  const file = fileOf("timed", "alice 1\n");
  const auther = autherOf({}, { file, reloadMs: 1 });
  await auther.start();
  writeFileSync(file.path, "alice 22\n");
  await eventually(() => auther.accepts(login("alice", "22"), false));
  auther.close();
});

test("skipauth: those clients need nothing, others do, and a wrong entry is told", () => {
  const service = serviceWith({ alice: "1" }, { skipauth: ["10.0.0.0/8", "2001:db8::1"] });
  const who = authenticatorOf(service, [], { log: quiet });
  for (const free of ["10.1.2.3", "::ffff:10.1.2.3", "2001:db8::1"]) {
    assert.is(who?.accepts(undefined, free), true, free);
  }
  for (const other of ["11.0.0.1", "2001:db8::2", ""]) {
    assert.is(who?.accepts(undefined, other), false, other);
  }
  assert.is(who?.accepts(login("alice", "1"), "11.0.0.1"), true);
  const wrong = serviceWith({ alice: "1" }, { skipauth: "10.0.0.0/8,office" });
  assert.throws(() => authenticatorOf(wrong, [], { log: quiet }), /-L: skipauth: "office"/);
});

test("failures are logged once a minute for a client, without a user's name", () => {
  const log = new MemoryLog();
  let nowMs = 0;
  const who = authenticatorOf(serviceWith({ alice: "1" }), [], { log, nowMs: () => nowMs });
  for (let count = 0; count < 100; count++) who?.accepts(login("alice", "secret"), ip);
  who?.accepts(undefined, "192.0.2.99");
  assert.is(log.lines.length, 1);
  nowMs += 60_000;
  who?.accepts(login("alice", "secret"), ip);
  who?.accepts(login("alice", "secret"), "2001:db8::1");
  who?.accepts(login("alice", "secret"), "2001:db8::ffff");
  assert.is(log.lines.length, 3);
  assert.not.match(log.lines.join(" "), /alice|secret/);
});

test("ten thousand clients that fail are a thousand lines and one", () => {
  const log = new MemoryLog();
  let nowMs = 0;
  const failed = new FailedLogins(log, () => nowMs);
  for (let count = 0; count < 10_000; count++) failed.note(`10.0.${count >> 8}.${count & 255}`);
  assert.is(log.lines.length, 1025);
  nowMs += 60_000;
  failed.note("10.9.9.9");
  assert.is(log.lines.length, 1026);
});

test.run();
