/** Resolvers against nameservers on loopback: transports, order, families, aliases. */
import * as assert from "uvu/assert";
import { RCODE, TYPE } from "../../src/proto/dns.ts";
import { namesOf } from "../../src/dns/names.ts";
import { suite } from "../kit/suite.ts";
import { depsOf, failure, hostsOf, namesWith, never, resolverOf } from "./help.ts";
import { TestNameserver, a, cname, soa, table } from "./servers.ts";

const test = suite("dns/resolver");
const one = { "web.test": ["192.0.2.1"] };

const open: { close(): void }[] = [];
function kept<T extends { close(): void }>(thing: T): T {
  open.push(thing);
  return thing;
}
test.after.each(() => {
  for (const thing of open.splice(0)) thing.close();
});

test("UDP: random case, EDNS, and the address of the answer", async () => {
  const server = kept(await new TestNameserver(table(one)).udp());
  const names = kept(namesWith(resolverOf(`127.0.0.1:${server.port}`)));
  assert.equal(await names.resolve("Web.Test.", never()), ["192.0.2.1"]);
  assert.equal(server.asked, ["udp A web.test"]);
  assert.is(server.queries[0]?.edns?.udpBytes, 1232);
  assert.is(server.queries[0]?.rd, true);
});

test("an address is nobody's business, a name without resolver stays a name", async () => {
  const names = kept(namesWith(undefined));
  assert.is(await names.resolve("192.0.2.9", never()), undefined);
  assert.is(await names.resolve("2001:db8::1", never()), undefined);
  assert.is(await names.resolve("web.test", never()), undefined);
  assert.is(await names.resolve("", never()), undefined);
});

test("localhost is not asked for", async () => {
  const server = kept(await new TestNameserver(table(one)).udp());
  const names = kept(namesWith(resolverOf(`127.0.0.1:${server.port}`)));
  assert.is(await names.resolve("localhost", never()), undefined);
  assert.is(await names.resolve("a.LOCALHOST.", never()), undefined);
  assert.equal(server.asked, []);
});

test("what is no host name is refused before anything is sent", async () => {
  const names = kept(namesWith(resolverOf("127.0.0.1:9")));
  for (const host of ["a..b", `${"x".repeat(64)}.test`, "x.".repeat(140), ".", "a\\b"]) {
    assert.match(await failure(names.resolve(host, never())), /^TSGOST_ERR_DNS_NAME: /, host);
  }
});

test("names of other scripts are asked for in ASCII", async () => {
  const server = kept(
    await new TestNameserver(table({ "xn--bcher-kva.test": ["192.0.2.2"] })).udp(),
  );
  const names = kept(namesWith(resolverOf(`127.0.0.1:${server.port}`)));
  assert.equal(await names.resolve("Bücher.test", never()), ["192.0.2.2"]);
});

test("a truncated answer is asked for again over TCP", async () => {
  const server = new TestNameserver((asked) =>
    asked.via === "udp" ? [{ tc: true }] : table(one)(asked),
  );
  await server.tcp();
  await kept(server).udp("127.0.0.1", server.port);
  const names = kept(namesWith(resolverOf(`udp://127.0.0.1:${server.port}`)));
  assert.equal(await names.resolve("web.test", never()), ["192.0.2.1"]);
  assert.equal(server.asked, ["udp A web.test", "tcp A web.test"]);
});

test("TCP: one connection for many names, answers in any order", async () => {
  const server = new TestNameserver(async (asked) => {
    const isSlow = asked.question.name.startsWith("n1.");
    await new Promise((resolve) => setTimeout(resolve, isSlow ? 60 : 5));
    return [{ answers: [a(asked.question.name, `192.0.2.${asked.question.name.slice(1, -5)}`)] }];
  });
  kept(await server.tcp());
  const names = kept(namesWith(resolverOf(`tcp://127.0.0.1:${server.port}`)));
  const all = await Promise.all(
    [1, 2, 3, 4].map((number) => names.resolve(`n${number}.test`, never())),
  );
  assert.equal(all.flat(), ["192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"]);
  assert.is(server.connections, 1);
});

test("TCP: a connection that the server closed while idle is replaced", async () => {
  const server = kept(await new TestNameserver(table({ ...one, "b.test": ["192.0.2.8"] })).tcp());
  const names = kept(namesWith(resolverOf(`tcp://127.0.0.1:${server.port}`)));
  await names.resolve("web.test", never());
  server.dropConnections();
  assert.equal(await names.resolve("b.test", never()), ["192.0.2.8"]);
  assert.is(server.connections, 2);
});

test("TLS: verified by hostname, refused without", async () => {
  const server = kept(await new TestNameserver(table(one)).tls());
  const addr = `tls://127.0.0.1:${server.port}`;
  const good = kept(namesWith(resolverOf({ addr, hostname: "gost.run" })));
  assert.equal(await good.resolve("web.test", never()), ["192.0.2.1"]);
  const bad = kept(namesWith(resolverOf({ addr: addr.replace("tls", "dot") })));
  assert.match(await failure(bad.resolve("web.test", never())), /FAILED.*tls:\/\/127.*TLS/);
  const compat = kept(namesWith(resolverOf(addr), { compat: true }));
  assert.equal(await compat.resolve("web.test", never()), ["192.0.2.1"]);
});

for (const protocol of ["h2", "http/1.1"] as const) {
  test(`HTTPS over ${protocol}: one connection, ID 0`, async () => {
    const entries = { ...one, "b.test": ["192.0.2.8"] };
    const server = kept(await new TestNameserver(table(entries)).https(protocol));
    const addr = `https://127.0.0.1:${server.port}/dns-query`;
    const names = kept(namesWith(resolverOf({ addr, hostname: "gost.run" })));
    assert.equal(await names.resolve("web.test", never()), ["192.0.2.1"]);
    assert.equal(await names.resolve("b.test", never()), ["192.0.2.8"]);
    assert.equal(server.asked, [`${protocol} A web.test`, `${protocol} A b.test`]);
    assert.is(server.queries[0]?.id, 0);
    assert.is(server.connections, 1);
    server.dropConnections();
    assert.match(await failure(names.resolve("c.test", never())), /NOT_FOUND/);
    assert.is(server.connections, 2);
  });

  test(`HTTPS over ${protocol}: another status or type is a failure`, async () => {
    for (const [status, type] of [
      [503, "application/dns-message"],
      [200, "text/html"],
    ] as const) {
      const server = kept(await new TestNameserver(table(one)).https(protocol, status, type));
      const addr = `https://127.0.0.1:${server.port}`;
      const names = kept(namesWith(resolverOf({ addr, hostname: "gost.run" })));
      const text = await failure(names.resolve("web.test", never()));
      assert.match(text, status === 503 ? /HTTP status 503/ : /"text\/html"/);
    }
  });
}

test("nameservers are asked in order, silence and failures passed over", async () => {
  const silent = kept(await new TestNameserver(() => []).udp());
  const failing = kept(await new TestNameserver(() => [{ rcode: RCODE.SERVFAIL }]).udp());
  const good = kept(await new TestNameserver(table(one)).udp());
  const names = kept(
    namesWith(
      resolverOf(
        { addr: `127.0.0.1:${silent.port}`, timeoutMs: 50 },
        `127.0.0.1:${failing.port}`,
        "tcp://127.0.0.1:1",
        `127.0.0.1:${good.port}`,
      ),
    ),
  );
  assert.equal(await names.resolve("web.test", never()), ["192.0.2.1"]);
  assert.is(failing.asked.length, 1);
});

test("when all fail, the error names each and why", async () => {
  const silent = kept(await new TestNameserver(() => []).udp());
  const failing = kept(await new TestNameserver(() => [{ rcode: RCODE.REFUSED }]).udp());
  const names = kept(
    namesWith(
      resolverOf(
        { addr: `127.0.0.1:${silent.port}`, timeoutMs: 50 },
        `127.0.0.1:${failing.port}`,
        "udp://127.0.0.1:1",
      ),
    ),
  );
  const text = await failure(names.resolve("web.test", never()));
  assert.match(text, /^TSGOST_ERR_DNS_FAILED: resolver resolver-0: cannot resolve web\.test/);
  assert.match(text, /no answer within 50 ms/);
  assert.match(text, /REFUSED/);
  assert.match(text, /ECONNREFUSED/);
});

test("a later nameserver may know what an earlier one does not", async () => {
  const first = kept(await new TestNameserver(table({})).udp());
  const second = kept(await new TestNameserver(table(one)).udp());
  const names = kept(namesWith(resolverOf(`127.0.0.1:${first.port}`, `127.0.0.1:${second.port}`)));
  assert.equal(await names.resolve("web.test", never()), ["192.0.2.1"]);
  const text = await failure(names.resolve("none.test", never()));
  assert.match(text, /^TSGOST_ERR_DNS_NOT_FOUND: resolver: domain none\.test does not exist/);
});

test("prefer and only choose the family", async () => {
  const both = { "web.test": ["192.0.2.1", "2001:db8::1"], "four.test": ["192.0.2.4"] };
  const server = kept(await new TestNameserver(table(both)).udp());
  const addr = `127.0.0.1:${server.port}`;
  const resolve = (host: string, words: { prefer?: string; only?: string }) =>
    kept(namesWith(resolverOf({ addr, ...words }))).resolve(host, never());
  assert.equal(await resolve("web.test", {}), ["192.0.2.1"]);
  assert.equal(await resolve("web.test", { prefer: "ipv6" }), ["2001:db8::1"]);
  assert.equal(await resolve("four.test", { prefer: "ipv6" }), ["192.0.2.4"]);
  assert.equal(await resolve("web.test", { only: "ip6" }), ["2001:db8::1"]);
  assert.match(await failure(resolve("four.test", { only: "ipv6" })), /NOT_FOUND/);
  assert.throws(() => namesWith(resolverOf({ addr, prefer: "v6" })), /gost\.yml:1:1.*prefer/);
});

test("clientIP is told whole, as client subnet", async () => {
  const server = kept(await new TestNameserver(table(one)).udp());
  const addr = `127.0.0.1:${server.port}`;
  await kept(namesWith(resolverOf({ addr, clientIP: "203.0.113.7" }))).resolve("web.test", never());
  const option = server.queries[0]?.edns?.options[0];
  assert.is(option?.code, 8);
  assert.equal(Array.from(option?.data ?? []), [0, 1, 32, 0, 203, 0, 113, 7]);
  assert.throws(() => namesWith(resolverOf({ addr, clientIP: "me" })), /clientIP/);
});

test("a server without EDNS is asked without", async () => {
  const server = new TestNameserver((asked) =>
    asked.query.edns === undefined ? table(one)(asked) : [{ rcode: RCODE.FORMERR, questions: [] }],
  );
  kept(await server.udp());
  const names = kept(namesWith(resolverOf(`127.0.0.1:${server.port}`)));
  assert.equal(await names.resolve("web.test", never()), ["192.0.2.1"]);
  await failure(names.resolve("b.test", never()));
  assert.equal(
    server.queries.map((query) => query.edns === undefined),
    [false, true, true],
  );
});

test("equal names at once are one query", async () => {
  const server = kept(await new TestNameserver(table(one)).udp());
  const names = kept(namesWith(resolverOf(`127.0.0.1:${server.port}`)));
  const asked = Array.from({ length: 200 }, () => names.resolve("web.test", never()));
  for (const found of await Promise.all(asked)) assert.equal(found, ["192.0.2.1"]);
  assert.equal(server.asked, ["udp A web.test"]);
});

test("who gives up leaves the others waiting", async () => {
  const server = new TestNameserver(async (asked) => {
    await new Promise((resolve) => setTimeout(resolve, 80));
    return table(one)(asked);
  });
  kept(await server.udp());
  const names = kept(namesWith(resolverOf(`127.0.0.1:${server.port}`)));
  const stop = new AbortController();
  const first = failure(names.resolve("web.test", stop.signal));
  const second = names.resolve("web.test", never());
  stop.abort(new Error("enough"));
  assert.match(await first, /enough/);
  assert.equal(await second, ["192.0.2.1"]);
  assert.is(server.asked.length, 1);
});

test("aliases are followed in the answer, and by further questions", async () => {
  const server = new TestNameserver(({ question: { name, type } }) => {
    if (type !== TYPE.A) return [{}];
    switch (name.toLowerCase()) {
      case "one.test":
        return [
          {
            answers: [
              cname(name, "Two.test"),
              cname("two.TEST", "three.test"),
              a("THREE.test", "192.0.2.3"),
            ],
          },
        ];
      case "far.test":
        return [{ answers: [cname(name, "one.test")] }];
      default:
        return [{ rcode: RCODE.NXDOMAIN }];
    }
  });
  kept(await server.udp());
  const names = kept(namesWith(resolverOf({ addr: `127.0.0.1:${server.port}`, only: "ipv4" })));
  assert.equal(await names.resolve("one.test", never()), ["192.0.2.3"]);
  assert.equal(await names.resolve("far.test", never()), ["192.0.2.3"]);
});

test("the table of hosts comes first", async () => {
  const server = kept(await new TestNameserver(table(one)).udp());
  const resolver = resolverOf(`127.0.0.1:${server.port}`);
  const names = kept(namesOf(resolver, hostsOf({ "192.0.2.99": ["Web.TEST"] }), depsOf()));
  assert.equal(await names.resolve("web.test", never()), ["192.0.2.99"]);
  assert.equal(server.asked, []);
});

test("ask gives any records, and negative answers as they came", async () => {
  const server = new TestNameserver(({ question }) =>
    question.type === TYPE.TXT
      ? [
          {
            answers: [
              { ...a(question.name, "1.2.3.4"), type: TYPE.TXT, data: Buffer.from("\x02hi") },
            ],
          },
        ]
      : [{ rcode: RCODE.NXDOMAIN, authorities: [soa("test", 60, 60)] }],
  );
  kept(await server.udp());
  const names = kept(namesWith(resolverOf(`127.0.0.1:${server.port}`)));
  const text = await names.ask("web.test", TYPE.TXT, never());
  assert.is(Buffer.from(text?.answers[0]?.data ?? []).toString("latin1"), "\x02hi");
  assert.is((await names.ask("web.test", TYPE.A, never()))?.rcode, RCODE.NXDOMAIN);
  assert.is(await kept(namesWith(undefined)).ask("web.test", TYPE.A, never()), undefined);
});

test.run();
