/** Tables of hosts: which entry answers, files, and the addresses of nameservers. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { parseNameserver } from "../../src/dns/address.ts";
import { namesOf } from "../../src/dns/names.ts";
import { suite } from "../kit/suite.ts";
import { type Mappings, depsOf, failure, hostsOf, never } from "./help.ts";

const test = suite("dns/hosts");
const folder = mkdtempSync(join(tmpdir(), "tsgost-hosts-"));
test.after(() => rmSync(folder, { recursive: true, force: true }));

function find(mappings: Mappings, host: string, compat = false) {
  return namesOf(undefined, hostsOf(mappings), depsOf({ compat })).resolve(host, never());
}

test("exact, then .name, then shorter suffixes, then everything", async () => {
  const mappings = {
    "192.0.2.1": ["a.b.test"],
    "192.0.2.2": [".a.b.test"],
    "192.0.2.3": [".b.test"],
    "192.0.2.4": [".test"],
    "192.0.2.5": ["."],
  };
  for (const [host, ip] of [
    ["a.b.test", "192.0.2.1"],
    ["x.a.b.test", "192.0.2.2"],
    ["y.x.a.b.test", "192.0.2.2"],
    ["b.test", "192.0.2.3"],
    ["z.b.test", "192.0.2.3"],
    ["test", "192.0.2.4"],
    ["other", "192.0.2.5"],
  ] as const) {
    assert.equal(await find(mappings, host), [ip], host);
  }
});

test("an exact name holds for nothing below it", async () => {
  assert.is(await find({ "192.0.2.1": ["x.test"] }, "a.x.test"), undefined);
  assert.is(await find({ "192.0.2.1": [".x.test"] }, "ax.test"), undefined);
  assert.equal(await find({ "192.0.2.1": [".sub.test"] }, "sub.test"), ["192.0.2.1"]);
});

test("case and a last dot do not count; in GOST case does", async () => {
  const mappings = { "192.0.2.1": ["Web.Test"] };
  assert.equal(await find(mappings, "wEB.tEST."), ["192.0.2.1"]);
  assert.is(await find(mappings, "web.test", true), undefined);
  assert.equal(await find(mappings, "Web.Test", true), ["192.0.2.1"]);
});

test("several addresses and aliases, in their order, each once", async () => {
  const table = hostsOf({});
  const mappings = [
    { ip: "2001:db8::1", hostname: "web.test", aliases: ["www.test", ""] },
    { ip: "192.0.2.1", hostname: "web.test", aliases: [] },
    { ip: "192.0.2.1", hostname: "web.test", aliases: [] },
  ];
  const names = namesOf(undefined, { ...table, mappings }, depsOf());
  assert.equal(await names.resolve("web.test", never()), ["2001:db8::1", "192.0.2.1"]);
  assert.equal(await names.resolve("www.test", never()), ["2001:db8::1"]);
});

test("an address that is none is told with its place", () => {
  assert.throws(() => find({ "192.0.2.300": ["x"] }, "x"), /gost\.yml:9:1: hosts hosts-0: "192/);
});

test("a file: comments, tabs, several names; bad lines are left out; read again", async () => {
  const path = join(folder, "hosts");
  writeFileSync(
    path,
    "# all\n192.0.2.7\ta.test  b.test # two\nnonsense\n::1\n2001:db8::7 a.test\n",
  );
  const mappings = hostsOf({ "192.0.2.1": ["in.test"] }, { file: { path } });
  const names = namesOf(undefined, mappings, depsOf());
  await names.start();
  assert.equal(await names.resolve("a.test", never()), ["192.0.2.7", "2001:db8::7"]);
  assert.equal(await names.resolve("b.test", never()), ["192.0.2.7"]);
  assert.equal(await names.resolve("in.test", never()), ["192.0.2.1"]);
  writeFileSync(path, "192.0.2.8 a.test\n");
  assert.ok(await names.reload());
  assert.equal(await names.resolve("a.test", never()), ["192.0.2.8"]);
  assert.is(await names.resolve("b.test", never()), undefined);
  rmSync(path);
  assert.not.ok(await names.reload());
  assert.equal(await names.resolve("a.test", never()), ["192.0.2.8"]);
  names.close();
});

test("a file that is missing at the start leaves the entries of the configuration", async () => {
  const source = { file: { path: join(folder, "none") } };
  const names = namesOf(undefined, hostsOf({ "192.0.2.1": ["in.test"] }, source), depsOf());
  await names.start();
  assert.equal(await names.resolve("in.test", never()), ["192.0.2.1"]);
  names.close();
});

test("nameservers: schemes, ports, IPv6 with and without brackets, paths", () => {
  for (const [text, expected] of [
    ["1.1.1.1", "udp 1.1.1.1 53"],
    ["udp://dns.test:5353", "udp dns.test 5353"],
    ["TCP://1.1.1.1", "tcp 1.1.1.1 53"],
    ["tls://1.1.1.1", "tls 1.1.1.1 853"],
    ["dot://dns.test/", "tls dns.test 853"],
    ["2001:db8::53", "udp 2001:db8::53 53"],
    ["[2001:db8::53]", "udp 2001:db8::53 53"],
    ["tls://[2001:db8::53]:8853", "tls 2001:db8::53 8853"],
    ["https://dns.test", "https dns.test 443 /dns-query"],
    ["https://dns.test:8443/q?x=1", "https dns.test 8443 /q?x=1"],
    ["https://[2001:db8::1]/q", "https 2001:db8::1 443 /q"],
  ] as const) {
    const { scheme, host, port, path } = parseNameserver(text, "-L");
    const shown = `${scheme} ${host} ${port}${scheme === "https" ? ` ${path}` : ""}`;
    assert.is(shown, expected, text);
  }
  assert.is(parseNameserver("tls://1.1.1.1", "", true).port, 53);
  assert.is(parseNameserver("https://[2001:db8::1]/q", "").authority, "[2001:db8::1]");
  assert.is(parseNameserver("https://dns.test:443/q", "").authority, "dns.test:443");
});

test("nameservers: what is none is told with its place", () => {
  for (const text of [
    "",
    "udp://",
    "quic://1.1.1.1",
    "constructor://1.1.1.1",
    "1.1.1.1:x",
    "1.1.1.1:0",
    "1.1.1.1:65536",
    "[dns.test]:53",
    "udp://1.1.1.1/path",
    "https://user@dns.test/q",
    "a b",
  ]) {
    assert.throws(() => parseNameserver(text, "gost.yml:4:2"), /gost\.yml:4:2: nameserver/, text);
  }
});

test("a resolver without nameservers is a mistake", async () => {
  const empty = { name: "r", nameservers: [], place: "gost.yml:2:2" };
  assert.throws(() => namesOf(empty, undefined, depsOf()), /gost\.yml:2:2.*no nameservers/);
  const resolver = { name: "r", nameservers: [{ addr: "udp://127.0.0.1:1" }], place: "" };
  const names = namesOf(resolver, undefined, depsOf());
  names.close();
  assert.match(await failure(names.resolve("a.test", never())), /FAILED/);
});

test.run();
