/** The router of a service: rules, names, retries, groups; and that nothing goes direct by mistake. */
import * as assert from "uvu/assert";
import { ChainGroup, Member } from "../../src/chain/group.ts";
import type { ServiceRouter } from "../../src/chain/router.ts";
import type { Bypass, Names } from "../../src/types.ts";
import { suite } from "../kit/suite.ts";
import { DEAD, chainWith, failure, listOf, partsOf, routerOf } from "./router-world.ts";
import { MemoryLog, Reader, dialContext, echoTarget, send, startRelay } from "./world.ts";

const test = suite("chain/router");
const target = echoTarget();
let port = 0;
test.before(async () => {
  port = await target.listen();
});
test.after(() => target.close());

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

const OTHER = "127.0.0.2:9";

test("without a chain the destination is dialled from here", async () => {
  assert.is(await seenBy(() => echo(routerOf(undefined))), 1);
});

test("nothing goes direct when a chain has no way: empty hop, dead nodes, retries", async () => {
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

test("a name that the service's resolver does not know fails, nobody else is asked", async () => {
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
  const never = { text: "never", accepts: () => false };
  const none = new ChainGroup([new Member(chainWith([{ addrs: [DEAD] }]), never)]);
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

test.run();
