/** `tsgost tungo -F socks5://…` to a tsgost server: TCP and UDP, TLS inside, and the tunnels. */
import * as assert from "uvu/assert";
import { canRun, HOSTS, logged, PLACES, Scene, skipReason, USER } from "../kit/netns.ts";
import { PORT } from "../kit/servers.ts";
import { suite } from "../kit/suite.ts";
import { registerTraffic } from "./traffic.ts";

const test = suite("e2e/tungo-socks5");
test.skipUnless(canRun, skipReason);
test.timeout(120_000);

const AT = `${PLACES.relay}:1080`;
const URL = `socks5://${USER}@${AT}`;
let scene: Scene;

test.before(async () => {
  scene = await Scene.open();
  await scene.relay("-L", `${URL}?udp=true`);
  await scene.tungo(["-F", URL]);
});
test.after(() => scene?.close());

registerTraffic(test, () => scene);

const SIZES = [1, 64, 512, 1300];

for (const query of ["relay=udp", "notls=true"]) {
  test(`with ${query}: streams and datagrams arrive`, async () => {
    await scene.stopAll();
    await scene.relay("-L", `${URL}?udp=true`);
    await scene.tungo(["-F", `${URL}?${query}`]);
    const load = { hosts: HOSTS, port: PORT.duplex, flows: 4, maxBytes: 100_000 };
    assert.equal(await scene.client("duplexFlows", load), { good: 4, errors: [] });
    for (const host of HOSTS) {
      assert.equal(await scene.client("udpSizes", host, PORT.echo, SIZES), []);
    }
  });
}

test("a server without udp=true: streams arrive, and the log says what datagrams need", async () => {
  await scene.stopAll();
  await scene.relay("-L", URL);
  const tungo = await scene.tungo(["-F", URL]);
  const load = { hosts: HOSTS, port: PORT.duplex, flows: 2, maxBytes: 10_000 };
  assert.equal(await scene.client("duplexFlows", load), { good: 2, errors: [] });
  const lost = await scene.client("udpSizes", HOSTS[0], PORT.echo, [64]);
  assert.is(lost.length, 1);
  assert.ok(logged(tungo, /udp=true/).length > 0);
});

test.run();
