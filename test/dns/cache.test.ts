/** What is kept of answers, in injected time: TTLs, negative answers, bounds, stale ones. */
import * as assert from "uvu/assert";
import { DnsCache } from "../../src/dns/cache.ts";
import type { NameserverConfig } from "../../src/config/model.ts";
import { RCODE } from "../../src/proto/dns.ts";
import { eventually } from "../chain/world.ts";
import { suite } from "../kit/suite.ts";
import { failure, namesWith, never, resolverOf } from "./help.ts";
import { type Respond, TestNameserver, a, cname, soa, table } from "./servers.ts";

const test = suite("dns/cache");

async function world(respond: Respond, config: Partial<NameserverConfig> = {}) {
  const server = await new TestNameserver(respond).udp();
  const clock = { ms: 0 };
  const nameserver = { addr: `127.0.0.1:${server.port}`, only: "ipv4", ...config };
  const names = namesWith(resolverOf(nameserver), { nowMs: () => clock.ms });
  open.push(names, server);
  const resolve = (host: string) => names.resolve(host, never());
  return { server, clock, resolve };
}

const open: { close(): void }[] = [];
test.after.each(() => {
  for (const thing of open.splice(0)) thing.close();
});

test("an answer holds for its TTL, whatever the case of the name", async () => {
  const { server, clock, resolve } = await world(table({ "web.test": ["192.0.2.1"] }, 30));
  await resolve("web.test");
  clock.ms = 29_999;
  assert.equal(await resolve("WEB.test"), ["192.0.2.1"]);
  assert.is(server.asked.length, 1);
  clock.ms = 30_000;
  await resolve("web.test");
  assert.is(server.asked.length, 2);
});

test("the least TTL of all records counts, and none above a day", async () => {
  const { server, clock, resolve } = await world(({ question: { name } }) => [
    { answers: [cname(name, "b.test", 5), a("b.test", "192.0.2.1", 0x7fff_ffff)] },
  ]);
  await resolve("a.test");
  clock.ms = 5000;
  await resolve("a.test");
  assert.is(server.asked.length, 2);
  const huge = await world(table({ "web.test": ["192.0.2.1"] }, 0x7fff_ffff));
  await huge.resolve("web.test");
  huge.clock.ms = 24 * 3600 * 1000;
  await huge.resolve("web.test");
  assert.is(huge.server.asked.length, 2);
});

test("TTL 0 is not kept", async () => {
  const { server, resolve } = await world(table({ "web.test": ["192.0.2.1"] }, 0));
  await resolve("web.test");
  await resolve("web.test");
  assert.is(server.asked.length, 2);
});

test("ttl of the configuration: fixed, or nothing kept", async () => {
  const entries = { "web.test": ["192.0.2.1"] };
  const fixed = await world(table(entries, 5), { ttlMs: 100_000 });
  await fixed.resolve("web.test");
  fixed.clock.ms = 99_999;
  await fixed.resolve("web.test");
  assert.is(fixed.server.asked.length, 1);
  const none = await world(table(entries, 500), { ttlMs: -1 });
  await none.resolve("web.test");
  await none.resolve("web.test");
  assert.is(none.server.asked.length, 2);
});

test("negative answers hold as the SOA says, a minute at most; without one not at all", async () => {
  for (const [ttl, minimum, holdsMs] of [
    [900, 20, 20_000],
    [10, 900, 10_000],
    [900, 900, 60_000],
    [-1, 0, 0],
  ] as const) {
    for (const rcode of [RCODE.NXDOMAIN, RCODE.NOERROR]) {
      const authorities = ttl < 0 ? [] : [soa("test", ttl, minimum)];
      const { server, clock, resolve } = await world(() => [{ rcode, authorities }]);
      assert.match(await failure(resolve("no.test")), /NOT_FOUND/);
      if (holdsMs > 0) {
        clock.ms = holdsMs - 1;
        assert.match(await failure(resolve("no.test")), /NOT_FOUND/);
        assert.is(server.asked.length, 1);
      }
      clock.ms = holdsMs;
      await failure(resolve("no.test"));
      assert.is(server.asked.length, 2);
    }
  }
});

test("failures are not kept", async () => {
  const { server, resolve } = await world(() => [{ rcode: RCODE.SERVFAIL }]);
  await failure(resolve("web.test"));
  await failure(resolve("web.test"));
  assert.is(server.asked.length, 2);
});

test("async: what ran out is given at once, and asked for again", async () => {
  let ip = "192.0.2.1";
  const respond: Respond = ({ question }) => [{ answers: [a(question.name, ip, 30)] }];
  const { server, clock, resolve } = await world(respond, { isAsync: true });
  await resolve("web.test");
  clock.ms = 31_000;
  ip = "192.0.2.2";
  assert.equal(await resolve("web.test"), ["192.0.2.1"]);
  await eventually(() => server.asked.length === 2);
  await new Promise((wake) => setTimeout(wake, 50));
  assert.equal(await resolve("web.test"), ["192.0.2.2"]);
  clock.ms += 25 * 3600 * 1000;
  ip = "192.0.2.3";
  assert.equal(await resolve("web.test"), ["192.0.2.3"]);
});

test("bounds: entries and bytes, the least used goes first", () => {
  const nowMs = 0;
  const few = new DnsCache(() => nowMs, { entries: 3, bytes: 1e6 });
  for (const key of ["a", "b", "c"]) few.set(key, new Uint8Array(10), 1000, false);
  assert.ok(few.get("a") !== undefined);
  few.set("d", new Uint8Array(10), 1000, false);
  assert.ok(few.get("b") === undefined && few.get("a") !== undefined && few.size === 3);
  const small = new DnsCache(() => nowMs, { entries: 1000, bytes: 2000 });
  for (let count = 0; count < 1000; count++) {
    small.set(`key ${count}`, new Uint8Array(200), 1000, false);
    assert.ok(small.byteCount <= 2000);
  }
  assert.ok(small.get("key 999") !== undefined && small.get("key 0") === undefined);
  small.set("large", new Uint8Array(5000), 1000, false);
  assert.is(small.size, 0);
  assert.is(small.byteCount, 0);
});

test("bounds: what is replaced, runs out or is cleared counts no more", () => {
  let nowMs = 0;
  const cache = new DnsCache(() => nowMs, { entries: 10, bytes: 10_000 });
  for (let count = 0; count < 100; count++) cache.set("a", new Uint8Array(100), 1000, false);
  assert.is(cache.byteCount, 1 + 100 + 256);
  assert.is(cache.get("a")?.ageMs, 0);
  nowMs = 1000;
  assert.is(cache.get("a"), undefined);
  assert.is(cache.byteCount, 0);
  cache.set("b", new Uint8Array(1), 1, true);
  cache.set("b", new Uint8Array(1), 0, true);
  assert.is(cache.size, 0);
});

test.run();
