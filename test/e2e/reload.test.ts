/** Two devices in one process, and SIGHUP: what stays the same keeps its flows and its device. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { canRun, inventory, logged, PLACES, Scene, skipReason, until } from "../kit/netns.ts";
import { PORT } from "../kit/servers.ts";
import { suite } from "../kit/suite.ts";

const test = suite("e2e/reload");
test.skipUnless(canRun, skipReason);
test.timeout(90_000);

const folder = mkdtempSync(join(tmpdir(), "tsgost-reload-"));
const file = join(folder, "gost.yml");
let scene: Scene;

test.before(async () => {
  scene = await Scene.open();
});
test.after.each(async () => {
  await scene?.stopAll();
});
test.after(async () => {
  await scene?.close();
  rmSync(folder, { recursive: true, force: true });
});

/** A service `name` with a device of that name for one host. */
function device(name: string, net: string, host: string, mtu: number): string {
  const route = `${host}/${host.includes(":") ? 128 : 32}`;
  return (
    `- name: ${name}\n  addr: ":0"\n  handler: {type: tungo}\n  metadata: {interface: wan0}\n` +
    `  listener: {type: tungo, metadata: {name: ${name}, net: "${net}", ` +
    `route: "${route}", mtu: ${mtu}}}\n`
  );
}

const one = (mtu: number): string => device("one", "192.168.123.1/24", PLACES.web4, mtu);
const two = (mtu: number): string => device("two", "fd7b:123::1/64", PLACES.web6, mtu);

const short = async (host: string): Promise<boolean> =>
  (await scene.client("converse", host, PORT.short, { timeoutMs: 3_000 })).text === "done\n";

test("both serve; a reload changes one, and the flows of the other live on", async () => {
  const { gateway } = scene.world;
  const empty = await inventory(gateway);
  writeFileSync(file, `services:\n${one(1420)}${two(1420)}`);
  const tsgost = await scene.start(gateway, ["-C", file]);
  assert.ok(await short(PLACES.web4));
  assert.ok(await short(PLACES.web6));
  assert.is(await scene.client("holdOpen", PLACES.web4, PORT.echo, 10), 10);

  writeFileSync(file, `services:\n${one(1420)}${two(1300)}`);
  await tsgost.process.signal("SIGHUP");
  assert.ok(await until(() => logged(tsgost, /config reloaded/).length === 1, 20_000));
  assert.match(await gateway.must("ip", "link", "show", "two"), /mtu 1300/);
  assert.ok(await short(PLACES.web6));
  const { standing } = await scene.client("heldOutcome", 1_000);
  assert.is(standing, 10);

  // One that cannot start: the device's name is taken by the other service's.
  writeFileSync(
    file,
    `services:\n${one(1420)}${two(1300).replace("name: two, net", "name: wan0, net")}`,
  );
  await tsgost.process.signal("SIGHUP");
  assert.ok(await until(() => logged(tsgost, /reload failed/).length === 1, 20_000));
  assert.ok(await short(PLACES.web4));
  assert.ok(await until(() => short(PLACES.web6), 20_000));

  writeFileSync(file, `services:\n${one(1420)}`);
  await tsgost.process.signal("SIGHUP");
  assert.ok(await until(() => logged(tsgost, /config reloaded/).length === 2, 20_000));
  assert.not.match(await gateway.must("ip", "-brief", "link"), /^two/m);
  assert.ok(await short(PLACES.web4));
  assert.is((await tsgost.stop()).code, 0);
  assert.equal(await inventory(gateway), empty);
});

test.run();
