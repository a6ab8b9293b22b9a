/** The system's names by sockets of our own: hosts, resolv.conf, search lists, changes, bounds. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { candidates, parseResolvConf } from "../../src/dns/resolv-conf.ts";
import { type SystemDeps, systemNames } from "../../src/dns/system.ts";
import { RCODE } from "../../src/proto/dns.ts";
import { suite } from "../kit/suite.ts";
import { failure, never, quiet } from "./help.ts";
import { type Respond, TestNameserver, table } from "./servers.ts";

const test = suite("dns/system");
const folder = mkdtempSync(join(tmpdir(), "tsgost-system-"));
const open: { close(): void }[] = [];
let files = 0;
test.after.each(() => {
  for (const thing of open.splice(0)) thing.close();
});
test.after(() => rmSync(folder, { recursive: true, force: true }));

async function world(respond: Respond, options = "", more: Partial<SystemDeps> = {}) {
  const server = await new TestNameserver(respond).udp();
  const resolvConfFile = join(folder, `resolv-${files++}`);
  const hostsFile = join(folder, `hosts-${files++}`);
  writeFileSync(resolvConfFile, `nameserver 127.0.0.1\n${options}\n`);
  writeFileSync(hostsFile, "127.0.0.1 localhost\n192.0.2.50 box.test box\n2001:db8::50 box\n");
  const clock = { ms: 0 };
  const names = systemNames({
    log: quiet,
    ends: {},
    nowMs: () => clock.ms,
    resolvConfFile,
    hostsFile,
    port: server.port,
    ...more,
  });
  open.push(server, names);
  const resolve = (host: string) => names.resolve(host, never());
  return { server, clock, resolve, resolvConfFile, hostsFile };
}

test("hosts first, both families of a name, addresses left alone", async () => {
  const { server, resolve } = await world(table({ "web.test": ["192.0.2.1", "2001:db8::1"] }));
  assert.equal(await resolve("BOX"), ["192.0.2.50", "2001:db8::50"]);
  assert.equal(await resolve("localhost"), ["127.0.0.1"]);
  assert.equal(await resolve("a.localhost"), ["127.0.0.1", "::1"]);
  assert.is(await resolve("192.0.2.1"), undefined);
  assert.equal(server.asked, []);
  assert.equal(await resolve("web.test"), ["192.0.2.1", "2001:db8::1"]);
  assert.equal(server.asked.sort(), ["udp A web.test", "udp AAAA web.test"]);
  assert.match(await failure(resolve("none.test")), /^TSGOST_ERR_DNS_NOT_FOUND/);
});

test("the search list, before or behind the name itself by its dots", async () => {
  const entries = { "a.corp.test": ["192.0.2.1"], "b.x.corp.test": ["192.0.2.2"] };
  const { server, resolve } = await world(table(entries), "search other.test corp.test");
  assert.equal(await resolve("a"), ["192.0.2.1"]);
  assert.equal(await resolve("b.x"), ["192.0.2.2"]);
  assert.match(await failure(resolve("a.")), /NOT_FOUND/);
  const order = server.asked
    .filter((line) => line.startsWith("udp A "))
    .map((line) => line.slice(6));
  assert.equal(order, [
    "a.other.test",
    "a.corp.test",
    "b.x",
    "b.x.other.test",
    "b.x.corp.test",
    "a",
  ]);
});

test("a nameserver that fails is an error, not an unknown name", async () => {
  const { resolve, server } = await world(() => [{ rcode: RCODE.SERVFAIL }]);
  assert.match(await failure(resolve("web.test")), /^TSGOST_ERR_DNS_FAILED.*SERVFAIL/);
  assert.is(server.asked.length, 4);
});

test("both files are looked at again when they change", async () => {
  const { clock, resolve, resolvConfFile, hostsFile, server } = await world(table({}));
  assert.match(await failure(resolve("new")), /NOT_FOUND/);
  writeFileSync(hostsFile, "192.0.2.77 new # now\n");
  writeFileSync(resolvConfFile, "nameserver 127.0.0.1\nsearch corp.test\n");
  clock.ms += 2000;
  assert.equal(await resolve("new"), ["192.0.2.77"]);
  assert.match(await failure(resolve("x")), /NOT_FOUND/);
  assert.ok(server.asked.includes("udp A x.corp.test"));
  rmSync(hostsFile);
  clock.ms += 2000;
  assert.equal(await resolve("new"), ["192.0.2.77"]);
});

test("use-vc asks over TCP", async () => {
  const server = await new TestNameserver(table({ "web.test": ["192.0.2.1"] })).tcp();
  open.push(server);
  const options = "options use-vc";
  const { resolve } = await world(table({}), options, { port: server.port });
  assert.equal(await resolve("web.test"), ["192.0.2.1"]);
});

test("a nameserver behind our own device is refused with the remedy, and nothing is sent", async () => {
  const ends = { loopTo: () => "tun7" };
  const { resolve, server } = await world(table({ "web.test": ["192.0.2.1"] }), "", { ends });
  assert.match(await failure(resolve("web.test")), /FAILED.*own device tun7.*interface=DEVICE/);
  assert.equal(server.asked, []);
});

test("sockets are bound to the local address that is asked for", async () => {
  const server = new TestNameserver(table({ "web.test": ["192.0.2.1"] }));
  const sources: string[] = [];
  const real = server.sendUdp.bind(server);
  server.sendUdp = (socket, bytes, port, address) => {
    sources.push(address);
    real(socket, bytes, port, address);
  };
  await server.udp();
  open.push(server);
  const ends = { device: "127.0.0.5" };
  const { resolve } = await world(table({}), "", { port: server.port, ends });
  assert.equal(await resolve("web.test"), ["192.0.2.1"]);
  assert.equal([...new Set(sources)], ["127.0.0.5"]);
});

test.skipUnless(
  process.getuid?.() === 0,
  "marks need root",
  "sockets carry the mark that is asked for, to a nameserver on this machine, too",
  async () => {
    const ends = { device: "lo", mark: 7 };
    const { resolve } = await world(table({ "web.test": ["192.0.2.1"] }), "", { ends });
    assert.equal(await resolve("web.test"), ["192.0.2.1"]);
  },
);

test("a device that does not exist fails, closed", async () => {
  const ends = { device: "tsgost-none0" };
  const { resolve, server } = await world(table({ "web.test": ["192.0.2.1"] }), "", { ends });
  assert.match(await failure(resolve("web.test")), /FAILED/);
  assert.equal(server.asked, []);
});

test("resolv.conf: keywords, bounds and rubbish", () => {
  const conf = parseResolvConf(
    "# c\n; c\nnameserver 192.0.2.1\nnameserver x\nnameserver 2001:db8::1\nnameserver 192.0.2.3\n" +
      "nameserver 192.0.2.4\ndomain a.test\nsearch b.test. c.test\r\n" +
      "options ndots:3 timeout:99 attempts:0 rotate edns0\n",
  );
  assert.equal(conf.nameservers, ["192.0.2.1", "2001:db8::1", "192.0.2.3"]);
  assert.equal(conf.search, ["b.test", "c.test"]);
  assert.equal([conf.ndots, conf.timeoutMs, conf.attempts, conf.rotate], [3, 30_000, 1, true]);
  const empty = parseResolvConf("");
  assert.equal([empty.nameservers, empty.search, empty.ndots], [["127.0.0.1"], [], 1]);
  assert.equal(candidates("a.b", { ...conf, ndots: 2 }, false), [
    "a.b.b.test",
    "a.b.c.test",
    "a.b",
  ]);
  assert.equal(candidates("a", conf, true), ["a"]);
});

test.run();
