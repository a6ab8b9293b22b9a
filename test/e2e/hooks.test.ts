/** Hooks of a device in a namespace: when they run, and again when the device comes back. */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { canRun, Scene, skipReason, until } from "../kit/netns.ts";
import { suite } from "../kit/suite.ts";

const test = suite("e2e/hooks");
test.skipUnless(canRun, skipReason);
test.timeout(60_000);

let scene: Scene;
const folder = mkdtempSync(join(tmpdir(), "tsgost-hooks-"));
const out = join(folder, "out");

test.before(async () => {
  scene = await Scene.open();
});
test.after(async () => {
  await scene?.close();
  rmSync(folder, { recursive: true, force: true });
});

const lines = (): string[] => readFileSync(out, "utf8").trim().split("\n");

test("routes of postUp work, and are there again after the device was lost", async () => {
  // Each writes its name and whether the device is there.
  const tell =
    'echo "$TSGOST_HOOK $TSGOST_DEVICE $TSGOST_ADDRESSES" ' +
    `"$(ip -brief link show dev $TSGOST_DEVICE | cut -d " " -f 1) $TSGOST_MTU" >> ${out}`;
  const query = [
    "name=tungo",
    "net=192.168.123.1/24",
    "interface=wan0",
    "hooks.shell=true",
    ...["preUp", "postUp", "preDown", "postDown"].map(
      (key) => `${key}=${encodeURIComponent(tell)}`,
    ),
    `postUp=${encodeURIComponent("ip route add 203.0.113.0/24 dev $TSGOST_DEVICE")}`,
    `postUp=${encodeURIComponent("exit 7")}`,
  ];
  const { gateway } = scene.world;
  const tungo = await scene.start(gateway, ["-L", `tungo://:0?${query.join("&")}`]);
  const facts = "tungo 192.168.123.1/24 tungo 1420";
  assert.equal(lines(), [`preUp ${facts}`, `postUp ${facts}`]);
  assert.match(await gateway.must("ip", "route", "show", "dev", "tungo"), /203\.0\.113\.0\/24/);
  assert.ok(tungo.process.lines.some((line) => line.includes("[post-up] exit 7: exit status 7")));

  await gateway.ip("link del tungo");
  assert.ok(await until(() => Promise.resolve(lines().length >= 3), 20_000));
  const routed = async (): Promise<boolean> =>
    /203\.0\.113\.0/.test(await gateway.must("ip", "route", "show", "table", "all"));
  assert.ok(await until(routed, 10_000));

  assert.is((await tungo.stop()).code, 0);
  const postUp = `postUp ${facts}`;
  assert.equal(lines().slice(1), [postUp, postUp, `preDown ${facts}`, `postDown ${facts}`]);
});

test.run();
