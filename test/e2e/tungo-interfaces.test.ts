/** `interface` of a tungo service as a list: its entries in turn, for TCP, UDP and pings. */
import * as assert from "uvu/assert";
import { canRun, PLACES, Scene, skipReason } from "../kit/netns.ts";
import { PORT } from "../kit/servers.ts";
import { suite } from "../kit/suite.ts";

const test = suite("e2e/tungo-interfaces");
test.skipUnless(canRun, skipReason);
test.timeout(60_000);

/** The gateway's addresses at wan0, and one that nobody has. */
const WAN4 = "10.77.2.2";
const FOREIGN = "192.0.2.200";
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

function start(list: string): Promise<unknown> {
  const own = `tungo://:0?name=tungo&net=${PLACES.tunNet}&route=0.0.0.0/1,128.0.0.0/1,::/1,8000::/1`;
  return scene.start(scene.world.gateway, ["-L", `${own}&interface=${list}&echo=host`]);
}

async function outcomes(host: string): Promise<readonly [string, readonly number[], number]> {
  const { outcome } = await scene.client("tryConnect", host, PORT.echo, 10_000);
  const lost = outcome === "connected" ? await scene.client("udpSizes", host, PORT.echo, [9]) : [9];
  const pings = outcome === "connected" ? await scene.client("ping", host, 1) : undefined;
  return [outcome, lost, pings?.replies ?? 0];
}

test("what does not exist, or would come back, is passed over", async () => {
  await start(`nope0,${FOREIGN},${WAN4},wan0`);
  assert.equal(await outcomes(PLACES.web4), ["connected", [], 1]);
  assert.equal(await outcomes(PLACES.web6), ["connected", [], 1]);
});

test("nothing behind a strict entry is tried", async () => {
  await start("nope0!,wan0");
  const [outcome] = await outcomes(PLACES.web4);
  assert.match(outcome, /ENETUNREACH|EHOSTUNREACH/);
});

test("an address leaves as the rules for it say", async () => {
  const { gateway } = scene.world;
  await gateway.ip(`rule add from ${WAN4} table 77`, "route add default via 10.77.2.1 table 77");
  await start(`nope0,${WAN4}`);
  assert.equal(await outcomes(PLACES.web4), ["connected", [], 1]);
  assert.is((await outcomes(PLACES.web6))[0] === "connected", false, "it has no way for IPv6");
  await gateway.ip(`rule del from ${WAN4} table 77`);
});

test.run();
