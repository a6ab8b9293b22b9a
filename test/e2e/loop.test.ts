/** Sockets of our own that would come back through our own device are refused, and it is said. */
import * as assert from "uvu/assert";
import { canRun, HOSTS, logged, PLACES, Scene, skipReason } from "../kit/netns.ts";
import { PORT } from "../kit/servers.ts";
import { suite } from "../kit/suite.ts";

const test = suite("e2e/loop");
test.skipUnless(canRun, skipReason);
test.timeout(60_000);

const ROUTED = ["tungo", "--net", "192.168.123.1/24", "--net", "fd7b:123::1/64"] as const;
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

for (const host of HOSTS) {
  test(`direct without --interface: ${host} is unreachable at once, not a loop`, async () => {
    const tungo = await scene.start(scene.world.gateway, [...ROUTED, "--route", "default"]);
    const { outcome } = await scene.client("tryConnect", host, PORT.echo, 10_000);
    assert.match(outcome, /EHOSTUNREACH|EACCES|ENETUNREACH|ECONNREFUSED/);
    assert.is(logged(tungo, /leads into the own device tungo/).length, 1);
  });
}

test("a chain whose server lies behind the device: refused, with the remedy in the log", async () => {
  const proxy = ["-F", `relay+wss://${PLACES.relay}:443`];
  const args = [...ROUTED, "--route", "default", ...proxy];
  const tungo = await scene.start(scene.world.gateway, args);
  const [host] = HOSTS;
  const { outcome } = await scene.client("tryConnect", host, PORT.echo, 10_000);
  assert.match(outcome, /EHOSTUNREACH|EACCES|ENETUNREACH|ECONNREFUSED/);
  assert.is(logged(tungo, /leads into the own device tungo/).length, 1);
});

test.run();
