/** Rules of a tungo service: what a bypass of its chain or of itself does to TCP and UDP flows. */
import * as assert from "uvu/assert";
import { canRun, PLACES, RELAY_URL, Scene, skipReason } from "../kit/netns.ts";
import { PORT } from "../kit/servers.ts";
import { suite } from "../kit/suite.ts";

const test = suite("e2e/tungo-rules");
test.skipUnless(canRun, skipReason);
test.timeout(60_000);

const SIZES = [1, 1200, 5000] as const;
let scene: Scene;

test.before(async () => {
  scene = await Scene.open();
});
test.after.each(async () => {
  await scene?.stopAll();
});
test.after(async () => {
  await scene?.close();
});

async function outcomeOf(host: string): Promise<string> {
  return (await scene.client("tryConnect", host, PORT.echo, 10_000)).outcome;
}

test("what the hop's bypass matches leaves directly; the rest never does", async () => {
  // Nothing listens at the relay's address: whoever gets through went direct.
  await scene.tungo(["-F", `${RELAY_URL}?interface=wan0&bypass=${PLACES.web4}`]);
  assert.is(await outcomeOf(PLACES.web4), "connected");
  assert.equal(await scene.client("udpSizes", PLACES.web4, PORT.echo, SIZES), []);
  const before = await scene.serverCounts(PORT.echo);
  assert.is(await outcomeOf(PLACES.web6), "ECONNREFUSED");
  const after = await scene.serverCounts(PORT.echo);
  assert.is(after.total, before.total);
});

test("the same through a chain that lives: two ways side by side", async () => {
  await scene.relay();
  await scene.tungo(["-F", `${RELAY_URL}?interface=wan0&bypass=${PLACES.web4}`]);
  for (const host of [PLACES.web4, PLACES.web6]) {
    assert.is(await outcomeOf(host), "connected", host);
    assert.equal(await scene.client("udpSizes", host, PORT.echo, SIZES), [], host);
  }
});

test("what the service's bypass matches is refused, TCP and UDP", async () => {
  const own = `tungo://:0?name=tungo&net=${PLACES.tunNet}&interface=wan0&bypass=${PLACES.web4}`;
  for (const chain of [[], ["-F", `${RELAY_URL}?interface=wan0`]]) {
    await scene.relay();
    await scene.start(scene.world.gateway, ["-L", `${own}&route=0.0.0.0/1,128.0.0.0/1`, ...chain]);
    const { total } = await scene.serverCounts(PORT.echo);
    assert.match(await outcomeOf(PLACES.web4), /EHOSTUNREACH|EACCES|ECONNREFUSED/);
    const { outcome } = await scene.client("udpRefused", PLACES.web4, PORT.echo);
    assert.match(outcome, /EHOSTUNREACH|EACCES|ECONNREFUSED/);
    assert.is((await scene.serverCounts(PORT.echo)).total, total);
    await scene.stopAll();
  }
});

test("datagrams from a source that the service's bypass matches are not heard", async () => {
  const own = `tungo://:0?name=tungo&net=${PLACES.tunNet}&interface=wan0&route=0.0.0.0/1,128.0.0.0/1`;
  const both = [PORT.chatty, PORT.stranger];
  for (const [bypass, expected] of [
    ["192.0.2.1", both],
    [`${PLACES.web4}:${PORT.stranger}`, [PORT.chatty]],
  ] as const) {
    await scene.start(scene.world.gateway, ["-L", `${own}&bypass=${bypass}`]);
    const heard = await scene.client("udpHeard", PLACES.web4, PORT.chatty, {
      count: 5,
      waitMs: 300,
    });
    assert.equal(heard, expected, bypass);
    await scene.stopAll();
  }
});

/** A tungo service with a group of two chains to the relay, each with its own rules. */
function groupOf(first: string, second: string): string {
  const chain = (name: string, rules: string): object => ({
    name,
    hops: [
      {
        name: "hop",
        metadata: { interface: "wan0" },
        bypass: rules,
        nodes: [{ name: "node", addr: `${PLACES.relay}:443`, connector: { type: "relay" } }],
      },
    ],
  });
  return JSON.stringify({
    services: [
      {
        name: "tungo",
        addr: ":0",
        handler: { type: "tungo", chainGroup: { chains: ["one", "two"] } },
        listener: { type: "tungo" },
        metadata: {
          name: "tungo",
          net: PLACES.tunNet,
          interface: "wan0",
          route: "0.0.0.0/1,128.0.0.0/1",
        },
      },
    ],
    chains: [chain("one", first), chain("two", second)],
    bypasses: [
      { name: "web", matchers: [PLACES.web4] },
      { name: "nothing", matchers: ["192.0.2.1"] },
    ],
  });
}

test("a group of chains: what both leave out leaves directly, else as its turn says", async () => {
  // Nobody listens at the relay's address.
  await scene.start(scene.world.gateway, ["-C", groupOf("web", "web")]);
  for (let turn = 0; turn < 4; turn++) assert.is(await outcomeOf(PLACES.web4), "connected");
  assert.equal(await scene.client("udpSizes", PLACES.web4, PORT.echo, SIZES), []);
  await scene.stopAll();
  await scene.start(scene.world.gateway, ["-C", groupOf("web", "nothing")]);
  const outcomes = [await outcomeOf(PLACES.web4), await outcomeOf(PLACES.web4)];
  assert.equal(outcomes.sort(), ["ECONNREFUSED", "connected"]);
});

test.run();
