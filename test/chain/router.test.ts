/** The router of a service: rules, names, retries, groups; and that nothing goes direct by mistake. */
import { type Socket, createSocket } from "node:dgram";
import { type AddressInfo, createServer } from "node:net";
import * as assert from "uvu/assert";
import { type HopChain, buildChain } from "../../src/chain/chain.ts";
import type { ChainError } from "../../src/chain/errors.ts";
import { ChainGroup, Member } from "../../src/chain/group.ts";
import type { HopParts } from "../../src/chain/hop.ts";
import { type RouterOptions, ServiceRouter } from "../../src/chain/router.ts";
import type { HopConfig } from "../../src/config/model.ts";
import type { Bypass, Names } from "../../src/types.ts";
import { suite } from "../kit/suite.ts";
import {
  MemoryLog,
  Reader,
  dialContext,
  echoTarget,
  eventually,
  nodeOf,
  quiet,
  send,
  startRelay,
} from "./world.ts";

const test = suite("chain/router");
const target = echoTarget();
let port = 0;
test.before(async () => {
  port = await target.listen();
});
test.after(() => target.close());

/** Matches hosts; of a whitelist, everything else is bypassed. */
function listOf(hosts: readonly string[], whitelist = false, name = "list"): Bypass {
  return {
    match: (_network, host) => {
      const isListed = hosts.includes(host);
      if (isListed === whitelist) return undefined;
      return { bypass: name, rule: whitelist ? "" : host };
    },
  };
}

/** Bypasses by their names, for hops and nodes. */
function partsOf(lists: Readonly<Record<string, Bypass>>, more: HopParts = {}): HopParts {
  return { bypass: ([name = ""] = []) => lists[name], ...more };
}

interface HopSpec {
  readonly addrs: readonly string[];
  readonly bypass?: string;
  readonly nodeBypass?: readonly (string | undefined)[];
  readonly strategy?: string;
}

function chainWith(specs: readonly HopSpec[], parts: HopParts = {}, log = quiet): HopChain {
  const hops = specs.map(({ addrs, bypass, nodeBypass, strategy = "fifo" }, index): HopConfig => {
    const nodes = addrs.map((addr, at) => {
      const own = nodeBypass?.[at];
      const node = nodeOf({ addr }, `n${index}${at}`);
      return own === undefined ? node : { ...node, bypasses: [own] };
    });
    const selector = { strategy, maxFails: 1, failTimeoutMs: 10_000 };
    const rules = bypass === undefined ? {} : { bypasses: [bypass] };
    return { name: `hop-${index}`, nodes, selector, metadata: {}, ...rules };
  });
  return buildChain({ name: "chain-0", hops }, { log, ...parts });
}

function routerOf(chain: HopChain | undefined, more: Partial<RouterOptions> = {}): ServiceRouter {
  const chains = chain === undefined ? undefined : new ChainGroup([new Member(chain)]);
  return new ServiceRouter({ log: quiet, dialTimeoutMs: 3000, local: {}, chains, ...more });
}

async function failure(promise: Promise<unknown>): Promise<ChainError> {
  return promise.then(
    () => assert.unreachable("it succeeded") as never,
    (error: unknown) => error as ChainError,
  );
}

/** Connects, and checks that bytes come back. */
async function echo(router: ServiceRouter, host = "127.0.0.1"): Promise<void> {
  const reader = new Reader(await router.connect({ host, port }, dialContext()));
  await send(reader.stream, "x");
  await reader.until(() => reader.text === "x");
  reader.stream.reset();
}

/** How many connections the target saw while `act` ran. */
async function seenBy(act: () => Promise<unknown>): Promise<number> {
  const before = target.sockets.length;
  await act();
  return target.sockets.length - before;
}

const DEAD = "127.0.0.1:9";
const OTHER = "127.0.0.2:9";

test("without a chain the destination is dialled from here", async () => {
  assert.is(await seenBy(() => echo(routerOf(undefined))), 1);
});

test("nothing goes direct when a chain has no way: empty hop, dead nodes, also with retries", async () => {
  const chains = {
    "an empty hop": chainWith([{ addrs: [] }]),
    "no hops": chainWith([]),
    "one dead node": chainWith([{ addrs: [DEAD] }]),
    "two dead nodes": chainWith([{ addrs: [DEAD, OTHER] }]),
    "two dead nodes in turn": chainWith([{ addrs: [DEAD, OTHER], strategy: "round" }]),
    "two dead nodes by dice": chainWith([{ addrs: [DEAD, OTHER], strategy: "rand" }]),
    "a whitelist that has the destination": chainWith(
      [{ addrs: [DEAD], bypass: "white" }],
      partsOf({ white: listOf(["127.0.0.1"], true) }),
    ),
  };
  for (const [name, chain] of Object.entries(chains)) {
    for (const retries of [0, 3]) {
      const router = routerOf(chain, { retries });
      const seen = await seenBy(async () => {
        for (let turn = 0; turn < 3; turn++) {
          const error = await failure(router.connect({ host: "127.0.0.1", port }, dialContext()));
          assert.is(error.party, "proxy", name);
        }
      });
      assert.is(seen, 0, name);
      assert.is(router.verdict("tcp", { host: "127.0.0.1", port }), "chain", name);
    }
  }
});

test("rules that break refuse", async () => {
  const broken: Bypass = {
    match: () => {
      throw new Error("broken");
    },
  };
  const chain = chainWith([{ addrs: [DEAD], bypass: "broken" }], partsOf({ broken }));
  for (const router of [routerOf(chain), routerOf(undefined, { bypass: broken })]) {
    const seen = await seenBy(() =>
      failure(router.connect({ host: "127.0.0.1", port }, dialContext())),
    );
    assert.is(seen, 0);
  }
});

test("the service's bypass refuses and never means direct", async () => {
  const server = await startRelay({});
  const bypass = listOf(["127.0.0.1"]);
  for (const chain of [undefined, chainWith([{ addrs: [server.address] }])]) {
    const router = routerOf(chain, { bypass, retries: 2 });
    const seen = await seenBy(async () => {
      const error = await failure(router.connect({ host: "127.0.0.1", port }, dialContext()));
      assert.is(error.reason, "prohibited");
    });
    assert.is(seen, 0);
    assert.is(router.verdict("tcp", { host: "127.0.0.1", port }), "refused");
    assert.equal(router.refuses("udp", { host: "127.0.0.1", port: 1 }), {
      bypass: "list",
      rule: "127.0.0.1",
    });
  }
  await server.close();
});

test("a bypass of the first hop, or of all its nodes, leads from here", async () => {
  const lists = { all: listOf(["127.0.0.1"]), none: listOf([]) };
  for (const spec of [
    { addrs: [DEAD], bypass: "all" },
    { addrs: [DEAD, OTHER], nodeBypass: ["all", "all"] },
  ]) {
    const router = routerOf(chainWith([spec, { addrs: [OTHER] }], partsOf(lists)));
    assert.is(router.verdict("tcp", { host: "127.0.0.1", port }), "direct");
    assert.is(await seenBy(() => echo(router)), 1);
  }
  // One node is left: it is taken, dead as it is.
  const left = routerOf(chainWith([{ addrs: [DEAD, OTHER], nodeBypass: ["all"] }], partsOf(lists)));
  assert.is(left.verdict("tcp", { host: "127.0.0.1", port }), "chain");
  await failure(left.connect({ host: "127.0.0.1", port }, dialContext()));
});

test("a bypassed later hop is left out, and the node before reaches the destination", async () => {
  const first = await startRelay({});
  const second = await startRelay({});
  const lists = { all: listOf(["127.0.0.1"]) };
  const specs = [
    { addrs: [first.address] },
    { addrs: [second.address] },
    { addrs: [DEAD], bypass: "all" },
  ];
  const router = routerOf(chainWith(specs, partsOf(lists)));
  assert.is(await seenBy(() => echo(router)), 1);
  const told = await router.explain("tcp", { host: "127.0.0.1", port });
  assert.is(told.outcome, "chain");
  assert.equal(
    told.hops.map(({ hop, skipped }) => `${hop} ${skipped?.by ?? "-"}`),
    ["hop-0 -", "hop-1 -", "hop-2 hop"],
  );
  assert.equal(told.hit, { bypass: "list", rule: "127.0.0.1", level: "hop" });
  await first.close();
  await second.close();
});

test("three hops carry", async () => {
  const servers = [await startRelay({}), await startRelay({}), await startRelay({})];
  const chain = chainWith(servers.map(({ address }) => ({ addrs: [address] })));
  assert.is(await seenBy(() => echo(routerOf(chain))), 1);
  for (const server of servers) await server.close();
});

test("rules of hops see the name and its address", async () => {
  const names: Names = {
    resolve: (host) => Promise.resolve(host === "web.example" ? ["127.0.0.1"] : undefined),
  };
  for (const rule of ["web.example", "127.0.0.1"]) {
    const parts = partsOf({ rules: listOf([rule]) });
    const chain = chainWith([{ addrs: [DEAD], bypass: "rules" }], parts);
    assert.is(await seenBy(() => echo(routerOf(chain, { names }), "web.example")), 1, rule);
  }
  // A whitelist that has either of them keeps the destination in the chain.
  const parts = partsOf({ rules: listOf(["127.0.0.1"], true) });
  const router = routerOf(chainWith([{ addrs: [DEAD], bypass: "rules" }], parts), { names });
  const seen = await seenBy(() =>
    failure(router.connect({ host: "web.example", port }, dialContext())),
  );
  assert.is(seen, 0);
});

test("the service's bypass sees the address of a name, too", async () => {
  const names: Names = { resolve: () => Promise.resolve(["127.0.0.1"]) };
  const router = routerOf(undefined, { names, bypass: listOf(["127.0.0.1"]) });
  const error = await failure(router.connect({ host: "web.example", port }, dialContext()));
  assert.is(error.reason, "prohibited");
});

test("a name that the service's resolver does not know fails, it is not asked elsewhere", async () => {
  const names: Names = { resolve: () => Promise.reject(new Error("no such name")) };
  const router = routerOf(undefined, { names });
  const seen = await seenBy(async () => {
    const error = await failure(router.connect({ host: "localhost", port }, dialContext()));
    assert.match(error.message, /no such name/);
  });
  assert.is(seen, 0);
});

test("a request tries the next node only with retries", async () => {
  const server = await startRelay({});
  const addrs = [DEAD, server.address];
  const never = routerOf(chainWith([{ addrs }]));
  await failure(never.connect({ host: "127.0.0.1", port }, dialContext()));
  await echo(routerOf(chainWith([{ addrs }]), { retries: 1 }));
  await server.close();
});

test("every attempt has its own time", async () => {
  let dials = 0;
  const names: Names = {
    resolve: (_host, signal) => {
      dials++;
      return new Promise((_resolve, reject) => {
        signal.addEventListener("abort", () => reject(new Error("given up")));
      });
    },
  };
  const router = routerOf(undefined, { names, retries: 2, dialTimeoutMs: 40 });
  const error = await failure(router.connect({ host: "slow.example", port }, dialContext()));
  assert.is(error.reason, "timeout");
  assert.is(dials, 3);
});

test("closing a router ends its dials", async () => {
  const names: Names = { resolve: () => new Promise(() => undefined) };
  const router = routerOf(undefined, { names, retries: 5 });
  const outcome = failure(router.connect({ host: "slow.example", port }, dialContext()));
  router.close();
  assert.is((await outcome).reason, "aborted");
});

test("a group passes over a chain whose proxies fail, and never goes direct", async () => {
  const server = await startRelay({});
  const dead = new Member(chainWith([{ addrs: [DEAD] }]));
  const good = new Member(chainWith([{ addrs: [server.address] }]));
  const chains = new ChainGroup([dead, good], "fifo");
  const router = routerOf(undefined, { chains });
  await failure(router.connect({ host: "127.0.0.1", port }, dialContext()));
  await echo(router);
  const none = new ChainGroup([new Member(chainWith([{ addrs: [DEAD] }]), () => false)]);
  const seen = await seenBy(async () => {
    const picky = routerOf(undefined, { chains: none });
    const error = await failure(picky.connect({ host: "127.0.0.1", port }, dialContext()));
    assert.match(error.message, /no chain accepts/);
  });
  assert.is(seen, 0);
  await server.close();
});

test("a refused destination does not mark the node, a dead one is logged once", async () => {
  const server = await startRelay({});
  const log = new MemoryLog();
  const chain = chainWith([{ addrs: [server.address, DEAD] }], {}, log);
  const router = routerOf(chain);
  const refused = await failure(router.connect({ host: "127.0.0.1", port: 9 }, dialContext()));
  assert.is(refused.party, "destination");
  await echo(router);
  assert.equal(log.lines, []);
  await server.close();
});

test("explains without moving a counter: refused, direct, chain, failed", async () => {
  const lists = { direct: listOf(["192.0.2.1"], false, "near") };
  const addrs = ["192.0.2.8:1", "192.0.2.9:1"];
  const chain = chainWith([{ addrs, bypass: "direct", strategy: "round" }], partsOf(lists));
  const router = routerOf(chain, {
    bypass: listOf(["192.0.2.66"], false, "bad"),
    local: { device: "eth0" },
  });
  const at = (host: string) => router.explain("tcp", { host, port: 443 });
  assert.equal(await at("192.0.2.66"), {
    network: "tcp",
    destination: "192.0.2.66:443",
    hops: [],
    outcome: "refused",
    hit: { bypass: "bad", rule: "192.0.2.66", level: "service" },
  });
  const near = await at("192.0.2.1");
  assert.is(near.outcome, "direct");
  assert.equal(near.hit, { bypass: "near", rule: "192.0.2.1", level: "hop" });
  assert.equal(near.local, { device: "eth0" });
  for (let turn = 0; turn < 3; turn++) {
    const far = await at("192.0.2.7");
    assert.is(far.outcome, "chain");
    assert.is(far.chain, "chain-0");
    assert.match(far.hops[0]?.nodes[0] ?? "", /^hop-0\/n00: relay\+tcp 192\.0\.2\.8:1$/);
  }
  const empty = await routerOf(chainWith([{ addrs: [] }])).explain("udp", { host: "h", port: 1 });
  assert.is(empty.outcome, "failed");
  assert.match(empty.error ?? "", /no node/);
});

/** UDP echo on an address of this machine; answers its port. */
async function udpEcho(address: string, at = 0): Promise<Socket> {
  const socket = createSocket("udp4");
  socket.on("message", (data, from) => socket.send(data, from.port, from.address));
  await new Promise<void>((resolve) => socket.bind(at, address, resolve));
  return socket;
}

test("each datagram goes its own way: chain, direct, refused; the nodes of one carrier stay", async () => {
  const server = await startRelay({});
  const near = await udpEcho("127.0.0.2");
  const far = await udpEcho("127.0.0.3");
  const bad = await udpEcho("127.0.0.4");
  let badSeen = 0;
  bad.on("message", () => badSeen++);
  const sources = new Set<number>();
  for (const socket of [near, far]) socket.on("message", (_data, from) => sources.add(from.port));
  const specs = [{ addrs: [server.address, server.address], bypass: "near", strategy: "round" }];
  const chain = chainWith(specs, partsOf({ near: listOf(["127.0.0.2"]) }));
  const router = routerOf(chain, { bypass: listOf(["127.0.0.4"]) });
  const carrier = await router.datagrams(dialContext());
  const got: string[] = [];
  const failed: string[] = [];
  carrier.attach({
    message: (data, source) => got.push(`${source.host} ${Buffer.from(data).toString()}`),
    unreachable: ({ host }, reason) => failed.push(`${host} ${reason}`),
    close: () => undefined,
  });
  for (const text of ["a", "b"]) {
    for (const socket of [near, far, bad]) {
      const { address: host, port: at } = socket.address();
      carrier.send(Buffer.from(text), { host, port: at });
    }
  }
  await eventually(() => got.length === 4);
  assert.equal(got.map((line) => line.replace("::ffff:", "")).sort(), [
    "127.0.0.2 a",
    "127.0.0.2 b",
    "127.0.0.3 a",
    "127.0.0.3 b",
  ]);
  assert.equal(failed, ["127.0.0.4 prohibited", "127.0.0.4 prohibited"]);
  assert.is(badSeen, 0);
  assert.is(sources.size, 2, "one source port a way, whatever the selector's turn");
  carrier.close();
  assert.is(carrier.send(Buffer.from("x"), { host: "127.0.0.2", port: 1 }), false);
  for (const socket of [near, far, bad]) socket.close();
  await server.close();
});

test("datagrams for a chain that has no way are told, not sent from here", async () => {
  const echoing = await udpEcho("127.0.0.2");
  let seen = 0;
  echoing.on("message", () => seen++);
  const chain = chainWith([{ addrs: [DEAD], bypass: "none" }], partsOf({ none: listOf([]) }));
  const carrier = await routerOf(chain).datagrams(dialContext());
  const failed: string[] = [];
  carrier.attach({
    message: () => undefined,
    unreachable: ({ host }, reason) => failed.push(`${host} ${reason}`),
    close: () => undefined,
  });
  const { address: host, port: at } = echoing.address();
  carrier.send(Buffer.from("x"), { host, port: at });
  await eventually(() => failed.length === 1);
  assert.equal(failed, ["127.0.0.2 refused"]);
  assert.is(seen, 0);
  carrier.close();
  echoing.close();
});

test("what waits for a carrier is bounded", async () => {
  const silent = createServer(() => undefined);
  await new Promise<void>((resolve) => silent.listen(0, "127.0.0.1", resolve));
  const { port: at } = silent.address() as AddressInfo;
  const specs = [{ addrs: [`127.0.0.1:${at}`], bypass: "none" }];
  const chain = chainWith(specs, partsOf({ none: listOf([]) }));
  const carrier = await routerOf(chain).datagrams(dialContext());
  let taken = 0;
  for (let count = 0; count < 1000; count++) {
    if (carrier.send(Buffer.alloc(1000), { host: "127.0.0.2", port: 1 })) taken++;
  }
  assert.ok(taken > 0 && taken <= 64, String(taken));
  carrier.close();
  silent.close();
});

test.run();
