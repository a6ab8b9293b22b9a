/** Several hops, several nodes, and the ways to the first one. */
import { once } from "node:events";
import { type AddressInfo, createServer } from "node:net";
import * as assert from "uvu/assert";
import { buildChain } from "../../src/chain/chain.ts";
import { Hop, type HopNode, type HopParts } from "../../src/chain/hop.ts";
import { dialTcp } from "../../src/chain/socket.ts";
import type { Chain } from "../../src/chain/types.ts";
import type { HopConfig, Metadata } from "../../src/config/model.ts";
import { Registry } from "../../src/registry.ts";
import { suite } from "../kit/suite.ts";
import {
  CertFiles,
  Reader,
  chainOf,
  dialContext,
  echoTarget,
  emptyConfig,
  nodeOf,
  quiet,
  send,
  serviceOf,
  startRelay,
} from "./world.ts";

const test = suite("chain/hops");
const files = new CertFiles();
const target = echoTarget();
let port = 0;
test.before(async () => {
  port = await target.listen();
});
test.after(() => {
  files.remove();
  target.close();
});

async function echo(chain: Chain, text: string): Promise<void> {
  const reader = new Reader(await chain.connect({ host: "127.0.0.1", port }, dialContext()));
  await send(reader.stream, text);
  await reader.until(() => reader.text === text);
  reader.stream.end();
  await reader.until(() => reader.closed);
  assert.is(reader.error, undefined);
}

for (const first of ["tcp", "tls", "ws", "wss"]) {
  for (const second of ["tcp", "tls", "ws", "wss"]) {
    test(`${first} then ${second}: bytes, ends and refusals come through both hops`, async () => {
      const one = await startRelay({ listener: first, tls: files.tls });
      const two = await startRelay({ listener: second, tls: files.tls });
      const nodes = [
        { addr: one.address, dialer: first },
        { addr: two.address, dialer: second },
      ];
      const chain = chainOf(nodes);
      await echo(chain, "x".repeat(100_000));
      const error = await chain.connect({ host: "127.0.0.1", port: 9 }, dialContext()).then(
        () => undefined,
        (thrown: unknown) => thrown,
      );
      assert.is((error as { reason?: string }).reason, "refused");
      assert.is((error as { party?: string }).party, "destination");
      await one.close();
      await two.close();
    });
  }
}

test("a later node that is down is the proxy's failure, not the destination's", async () => {
  const one = await startRelay({});
  const chain = chainOf([
    { addr: one.address },
    { addr: "127.0.0.1:9", connectorMetadata: { nodelay: true } },
  ]);
  const error = (await chain.connect({ host: "127.0.0.1", port }, dialContext()).then(
    () => undefined,
    (thrown: unknown) => thrown,
  )) as { party?: string };
  assert.is(error.party, "proxy");
  await one.close();
});

test("a server behind a chain dials its targets through it", async () => {
  const inner = await startRelay({});
  const outer = await startRelay({ through: chainOf([{ addr: inner.address }]) });
  await echo(chainOf([{ addr: outer.address }]), "through two");
  await inner.close();
  const error = await chainOf([{ addr: outer.address }])
    .connect({ host: "127.0.0.1", port }, dialContext())
    .then(
      () => undefined,
      (thrown: unknown) => thrown,
    );
  assert.ok(error !== undefined, "it must never go direct");
  await outer.close();
});

test("a service whose chain does not exist refuses to start", () => {
  const registry = new Registry(emptyConfig, { log: quiet });
  assert.throws(
    () => registry.router(serviceOf({ chain: "nowhere" })),
    (error: unknown) => (error as { code?: string }).code === "TSGOST_ERR_CONFIG",
  );
});

function hopOf(addrs: readonly string[], strategy: string, maxFails = 1): HopConfig {
  return {
    name: "hop-0",
    nodes: addrs.map((addr, index) => nodeOf({ addr }, `n${index}`)),
    selector: { strategy, maxFails, failTimeoutMs: 60 },
    metadata: {},
  };
}

/** The node for somebody. */
function pick(hop: Hop, hashKey?: string): HopNode | undefined {
  const request = { network: "tcp", hosts: ["192.0.2.9"], port: 80, hashKey } as const;
  return hop.choose(hop.candidates(request).nodes, request);
}

test("round takes turns, fifo the first that lives, hash the same for the same client", () => {
  const addrs = ["a:1", "b:1", "c:1"];
  const names = (hop: Hop, count: number): string =>
    Array.from({ length: count }, () => pick(hop)?.config.name).join(" ");
  assert.is(names(new Hop(hopOf(addrs, "round")), 4), "n0 n1 n2 n0");
  const fifo = new Hop(hopOf(addrs, "fifo"));
  assert.is(names(fifo, 2), "n0 n0");
  fifo.nodes[0]?.markFailed();
  assert.is(names(fifo, 2), "n1 n1");
  const hash = new Hop(hopOf(addrs, "hash"));
  assert.is(pick(hash, "192.0.2.1"), pick(hash, "192.0.2.1"));
  assert.ok(pick(new Hop(hopOf(addrs, "rand"))) !== undefined);
});

test("failed nodes come back in time, and when all have failed one is tried", () => {
  let ms = 1000;
  const hop = new Hop(hopOf(["a:1", "b:1"], "fifo", 2), { now: () => ms });
  const [first, second] = hop.nodes;
  first?.markFailed();
  assert.is(pick(hop), first, "one failure of two is none");
  first?.markFailed();
  assert.is(pick(hop), second);
  ms += 1;
  second?.markFailed();
  second?.markFailed();
  assert.is(pick(hop), first, "never no node, which would mean direct elsewhere");
  ms += 80;
  assert.is(pick(hop), first);
  first?.markGood();
  assert.is(first?.isFailed, false);
});

/** A hop of nodes with metadata. */
function hopBy(strategy: string, metadata: readonly Metadata[], parts: HopParts = {}): Hop {
  const nodes = metadata.map((own, index) => nodeOf({ addr: "a:1", metadata: own }, `n${index}`));
  const selector = { strategy, maxFails: 1, failTimeoutMs: 100 };
  return new Hop({ name: "hop-0", nodes, selector, metadata: {} }, parts);
}

test("rand follows the weights; what is no weight counts as 1", () => {
  let at = 0;
  const hop = hopBy("rand", [{ weight: 2 }, { weight: -5 }, {}], { random: () => at / 4 });
  const names: string[] = [];
  for (at = 0; at < 4; at++) names.push(pick(hop)?.config.name ?? "");
  assert.equal(names, ["n0", "n0", "n1", "n2"]);
});

test("hash without somebody to hash throws dice", () => {
  const hop = hopBy("hash", [{}, {}], { random: () => 0.9 });
  assert.is(pick(hop)?.config.name, "n1");
});

test("backups serve only while no primary lives", () => {
  const hop = hopBy("round", [{ backup: true }, {}, {}], { now: () => 0 });
  const names = (): string => [1, 2].map(() => pick(hop)?.config.name).join(" ");
  assert.is(names(), "n1 n2");
  hop.nodes[1]?.markFailed();
  assert.is(names(), "n2 n2");
  hop.nodes[2]?.markFailed();
  assert.is(names(), "n0 n0");
});

test("a node's own maxFails and failTimeout beat the selector's", () => {
  let ms = 1000;
  const metadata = [{ maxFails: 2, failTimeout: "1s" }, {}];
  const hop = hopBy("fifo", metadata, { now: () => ms });
  const [first, second] = hop.nodes;
  first?.markFailed();
  assert.is(pick(hop), first);
  first?.markFailed();
  assert.is(pick(hop), second);
  ms += 500;
  assert.is(pick(hop), second, "the selector's 100 ms are over");
  ms += 600;
  assert.is(pick(hop), first);
});

test("the only node is taken, failed as it is", () => {
  const hop = hopBy("round", [{}]);
  hop.nodes[0]?.markFailed();
  assert.is(pick(hop), hop.nodes[0]);
});

test("a hop without nodes fails the connection, never goes direct", async () => {
  const config = { name: "c", hops: [{ name: "empty", nodes: [], metadata: {} }] };
  const chain = buildChain(config, { log: quiet });
  const error = await chain.connect({ host: "127.0.0.1", port }, dialContext()).then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  assert.match(String(error), /no node/);
});

test("a dead node of two is passed over by the next connection", async () => {
  const server = await startRelay({});
  const hop = { ...hopOf(["127.0.0.1:9", server.address], "fifo"), name: "hop" };
  const chain = buildChain({ name: "c", hops: [hop] }, { log: quiet });
  const first = await chain.connect({ host: "127.0.0.1", port }, dialContext()).then(
    () => "connected",
    () => "failed",
  );
  assert.is(first, "failed");
  await echo(chain, "second");
  await server.close();
});

test("direct dials the destination itself, as the first hop only", async () => {
  await echo(chainOf([{ addr: ":0", connector: "direct", dialer: "direct" }]), "direct");
  assert.throws(
    () => chainOf([{ addr: "127.0.0.1:1" }, { addr: ":0", connector: "direct", dialer: "direct" }]),
    /first hop/,
  );
});

test("direct with action=reject lets nothing out, and other actions are none", async () => {
  const direct = { addr: ":0", connector: "direct", dialer: "direct" };
  const chain = chainOf([{ ...direct, connectorMetadata: { action: "reject" } }]);
  for (const work of [
    () => chain.connect({ host: "127.0.0.1", port }, dialContext()),
    () => chain.datagrams(dialContext()),
  ]) {
    const error: unknown = await work().then(
      () => undefined,
      (thrown: unknown) => thrown,
    );
    assert.match(String(error), /rejects everything/);
    assert.is((error as { reason?: string }).reason, "prohibited");
  }
  const block = { ...direct, connectorMetadata: { action: "block" } };
  assert.throws(() => chainOf([block]), /action: "block" is unknown/);
});

test("an interface that does not exist fails the dial", async () => {
  const server = await startRelay({});
  for (const name of ["nope0", "192.0.2.1"]) {
    const chain = chainOf([{ addr: server.address, metadata: { interface: name } }]);
    const outcome = await chain
      .connect({ host: "127.0.0.1", port }, { ...dialContext(), timeoutMs: 2000 })
      .then(
        () => "connected",
        () => "failed",
      );
    assert.is(outcome, "failed", name);
  }
  const signal = AbortSignal.timeout(2000);
  const dial = { host: "192.0.2.1", port: 1, device: "nope0", signal, party: "proxy" } as const;
  const error = await dialTcp(dial).then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  assert.match(String(error), /no network device "nope0"/);
  await server.close();
});

test("a local address is what the node sees", async () => {
  const seen: string[] = [];
  const server = createServer((socket) => {
    seen.push(socket.remoteAddress ?? "");
    socket.destroy();
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const addr = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  for (const list of ["::1,127.0.0.5!,127.0.0.6", "nope0,127.0.0.5", "nope0!,127.0.0.5"]) {
    const chain = chainOf([{ addr, metadata: { interface: list } }]);
    await chain.connect({ host: "127.0.0.1", port }, dialContext()).catch(() => undefined);
  }
  // What does not exist is passed over, unless it is strict: then nothing after it is tried.
  assert.equal(seen, ["127.0.0.5", "127.0.0.5"]);
  server.close();
});

test("of several addresses the one that answers is used", async () => {
  const server = createServer((socket) => socket.destroy());
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const signal = AbortSignal.timeout(5000);
  const { port: only } = server.address() as AddressInfo;
  // "" is this machine, by both families; nothing listens on ::1.
  const socket = await dialTcp({ host: "", port: only, signal, party: "proxy" });
  assert.is(socket.remotePort, only);
  socket.destroy();
  server.close();
});

test.run();
