/** Nameservers reached through a chain: every transport, and chains without datagrams. */
import * as assert from "uvu/assert";
import type { Chain } from "../../src/chain/types.ts";
import { ChainError } from "../../src/chain/errors.ts";
import { chainOf, startRelay } from "../chain/world.ts";
import { suite } from "../kit/suite.ts";
import { failure, namesWith, never, resolverOf } from "./help.ts";
import { TestNameserver, table } from "./servers.ts";

const test = suite("dns/chain");
const entries = { "web.test": ["192.0.2.1"], "b.test": ["192.0.2.2"] };

const open: { close(): unknown }[] = [];
test.after.each(async () => {
  for (const thing of open.splice(0).reverse()) await thing.close();
});

async function relayChain(): Promise<Chain> {
  const server = await startRelay({});
  const chain = chainOf([{ addr: server.address }]);
  open.push(server, chain);
  return chain;
}

function namesBy(chain: Chain, addr: string) {
  const nameserver = { addr, chain: "chain-0", hostname: "gost.run", only: "ipv4" };
  const chainFor = (name: string): Chain => {
    assert.is(name, "chain-0");
    return chain;
  };
  const names = namesWith(resolverOf(nameserver), { chainFor });
  open.push(names);
  return names;
}

test("UDP: one carrier for several questions", async () => {
  const server = await new TestNameserver(table(entries)).udp();
  open.push(server);
  const names = namesBy(await relayChain(), `udp://127.0.0.1:${server.port}`);
  const both = ["web.test", "b.test"].map((host) => names.resolve(host, never()));
  assert.equal((await Promise.all(both)).flat(), ["192.0.2.1", "192.0.2.2"]);
  assert.match(await failure(names.resolve("c.test", never())), /NOT_FOUND/);
});

for (const kind of ["tcp", "tls", "h2", "http/1.1"] as const) {
  test(`${kind}: one connection, replaced when the server closed it`, async () => {
    const server = new TestNameserver(table(entries));
    if (kind === "tcp") await server.tcp();
    else if (kind === "tls") await server.tls();
    else await server.https(kind);
    open.push(server);
    const scheme = kind === "tcp" || kind === "tls" ? kind : "https";
    const names = namesBy(await relayChain(), `${scheme}://127.0.0.1:${server.port}`);
    assert.equal(await names.resolve("web.test", never()), ["192.0.2.1"]);
    assert.equal(await names.resolve("b.test", never()), ["192.0.2.2"]);
    assert.is(server.connections, 1);
    server.dropConnections();
    assert.match(await failure(names.resolve("c.test", never())), /NOT_FOUND/);
    assert.is(server.connections, 2);
  });
}

test("the name of a nameserver goes through the chain as it is", async () => {
  const server = await new TestNameserver(table(entries)).tcp();
  open.push(server);
  const names = namesBy(await relayChain(), `tcp://localhost:${server.port}`);
  assert.equal(await names.resolve("web.test", never()), ["192.0.2.1"]);
});

test("a chain without datagrams carries UDP's questions over TCP", async () => {
  const server = await new TestNameserver(table(entries)).tcp();
  open.push(server);
  const relay = await relayChain();
  const chain: Chain = {
    name: "streams",
    connect: (destination, context) => relay.connect(destination, context),
    datagrams: () =>
      Promise.reject(new ChainError("no UDP", { reason: "prohibited", party: "proxy" })),
    describe: () => [],
    close: () => undefined,
  };
  const names = namesBy(chain, `udp://127.0.0.1:${server.port}`);
  assert.equal(await names.resolve("web.test", never()), ["192.0.2.1"]);
});

test("a chain that cannot connect is a failure, and nothing goes direct", async () => {
  const server = new TestNameserver(table(entries));
  await server.tcp();
  await server.udp("127.0.0.1", server.port);
  open.push(server);
  const chain = chainOf([{ addr: "127.0.0.1:1" }]);
  open.push(chain);
  for (const scheme of ["udp", "tcp"]) {
    const names = namesBy(chain, `${scheme}://127.0.0.1:${server.port}`);
    assert.match(await failure(names.resolve("web.test", never())), /FAILED.*ECONNREFUSED/);
  }
  assert.equal(server.asked, []);
});

test("datagrams of others are no answers", async () => {
  let deliver: (data: Uint8Array, port: number) => void = () => undefined;
  const sent: Uint8Array[] = [];
  const chain: Chain = {
    name: "fake",
    connect: () => Promise.reject(new Error("no streams")),
    datagrams: () =>
      Promise.resolve({
        attach: (handler) => {
          deliver = (data, port) => handler.message(data, { host: "192.0.2.53", port });
        },
        send: (data) => {
          sent.push(Uint8Array.from(data));
          return true;
        },
        close: () => undefined,
      }),
    describe: () => [],
    close: () => undefined,
  };
  const names = namesBy(chain, "192.0.2.53");
  const found = names.resolve("web.test", never());
  while (sent.length === 0) await new Promise((wake) => setTimeout(wake, 5));
  const server = new TestNameserver(table({ "web.test": ["192.0.2.66"] }));
  const [evil = new Uint8Array(0)] = await server.replies(sent[0]!, "udp");
  deliver(evil, 54);
  server.respond = table(entries);
  const [good = new Uint8Array(0)] = await server.replies(sent[0]!, "udp");
  deliver(good, 53);
  assert.equal(await found, ["192.0.2.1"]);
});

test.run();
