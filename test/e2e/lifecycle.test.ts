/** The device and the process: their end, their loss, and what stays behind (nothing). */
import { fileURLToPath } from "node:url";
import * as assert from "uvu/assert";
import {
  canRun,
  cliCommand,
  HOSTS,
  inventory,
  PLACES,
  PROXY,
  residentBytes,
  Scene,
  skipReason,
  TUNGO,
  until,
  type Tsgost,
} from "../kit/netns.ts";
import { PORT } from "../kit/servers.ts";
import { suite } from "../kit/suite.ts";

const test = suite("e2e/lifecycle");
test.skipUnless(canRun, skipReason);
test.timeout(120_000);

const STOP_WITHIN_MS = 15_000;
let scene: Scene;
let empty: string[];

test.before(async () => {
  scene = await Scene.open();
  empty = await inventory(scene.world.gateway);
});
test.after.each(async () => {
  await scene?.stopAll();
});
test.after(async () => {
  await scene?.close();
});

const [host] = HOSTS;
const echoes = async (): Promise<boolean> =>
  (await scene.client("converse", host, PORT.short, { timeoutMs: 2_000 })).text === "done\n";

for (const signal of ["SIGTERM", "SIGINT"] as const) {
  test(`${signal} with open flows: they are reset, nothing stays, exit 0`, async () => {
    const tungo = await scene.tungo();
    assert.is(await scene.client("holdOpen", host, PORT.echo, 50), 50);
    const from = performance.now();
    await tungo.process.signal(signal);
    const { code } = await tungo.process.ended;
    assert.is(code, 0);
    assert.ok(performance.now() - from < STOP_WITHIN_MS);
    const { ends } = await scene.client("heldOutcome", 5_000);
    assert.equal(ends, { ECONNRESET: 50 });
    assert.equal(await inventory(scene.world.gateway), empty);
  });
}

test("a second signal ends it at once", async () => {
  const tungo = await scene.tungo();
  assert.is(await scene.client("holdOpen", host, PORT.echo, 50), 50);
  await tungo.process.signal("SIGTERM");
  await tungo.process.signal("SIGTERM");
  await tungo.process.ended;
  assert.equal(await inventory(scene.world.gateway), empty);
  await scene.client("heldOutcome", 5_000);
});

test("SIGKILL leaves nothing, and a restart works at once", async () => {
  const first = await scene.tungo();
  await first.process.signal("SIGKILL");
  await first.process.ended;
  const second = await scene.tungo();
  assert.ok(await echoes());
  assert.is((await second.stop()).code, 0);
  assert.equal(await inventory(scene.world.gateway), empty);
});

async function refusedStart(tungo: readonly string[]): Promise<{ code: number; text: string }> {
  const result = await scene.world.gateway.run(cliCommand(...tungo), { timeoutMs: 20_000 });
  return { code: result.code ?? -1, text: result.stdout + result.stderr };
}

test("a device name that is taken: exit 1, the name in one line, the first goes on", async () => {
  await scene.tungo(["--name", "tungo"]);
  const { code, text } = await refusedStart(["tungo", "--name", "tungo", "--net", "10.9.9.1/24"]);
  assert.is(code, 1);
  assert.match(text, /tungo/);
  assert.match(text, /busy|in use|taken/i);
  assert.ok(await echoes());
});

test("a device that goes down is no loss: up again, it carries traffic", async () => {
  const tungo = await scene.tungo();
  await scene.world.gateway.ip("link set tungo down");
  await scene.world.gateway.ip("link set tungo up");
  await scene.world.gateway.ip("route replace 203.0.113.0/24 dev tungo");
  assert.ok(await until(echoes, 10_000), tungo.process.lines.join("\n"));
});

test("a device that is moved to another namespace goes on there", async () => {
  const tungo = await scene.tungo();
  const { client, gateway } = scene.world;
  await gateway.ip(`link set tungo netns ${client.pid}`);
  await client.ip(
    "addr add 192.168.123.1/24 dev tungo",
    "link set tungo up",
    "route add 203.0.113.0/24 dev tungo",
  );
  assert.ok(await until(echoes, 10_000), tungo.process.lines.join("\n"));
  assert.is((await tungo.stop()).code, 0);
  assert.not.match(await client.must("ip", "-brief", "link"), /tungo/);
});

test("a device that is deleted is made again with its addresses and routes", async () => {
  const tungo = await scene.tungo();
  const before = await withoutTunIndex();
  await scene.world.gateway.ip("link del tungo");
  assert.ok(await until(echoes, 20_000), tungo.process.lines.join("\n"));
  assert.equal(await withoutTunIndex(), before);
  assert.is((await tungo.stop()).code, 0);
  assert.equal(await inventory(scene.world.gateway), empty);
});

/** The routes to the TUN; its random link-local address aside. */
async function withoutTunIndex(): Promise<string[]> {
  const lines = await inventory(scene.world.gateway);
  return lines.filter((line) => line.includes("dev tungo") && !line.includes("fe80::"));
}

test("--dry-run prints device, addresses, routes and chain, and makes none", async () => {
  const command = cliCommand(...TUNGO, "--dry-run", ...PROXY);
  const { code, stdout, stderr } = await scene.world.gateway.run(command, { timeoutMs: 20_000 });
  assert.is(code, 0, stderr);
  for (const part of ["tungo", "192.168.123.1/24", "fd7b:123::1/64", "0.0.0.0/1", "128.0.0.0/1"]) {
    assert.ok(stdout.includes(part), `${part} is not in ${stdout}`);
  }
  assert.match(stdout, /relay/);
  assert.not.match(stdout, /secret/);
  assert.equal(await inventory(scene.world.gateway), empty);
});

test("--tun-fd serves a device that somebody else made, and leaves it to him", async () => {
  const { gateway } = scene.world;
  const launcher = fileURLToPath(new URL("../kit/tun-fd.ts", import.meta.url));
  const node = [process.execPath, "--import", import.meta.resolve("tsx"), launcher, "handed"];
  const tsgost = cliCommand("tungo", "--tun-fd", "3", "--interface", "wan0");
  const running = await gateway.start([...node, ...tsgost]);
  const ready = (): boolean => running.lines.some((line) => line.includes('"msg":"ready"'));
  assert.ok(await until(ready, 20_000), running.lines.join("\n"));
  await gateway.ip("link set handed up", "route add 203.0.113.0/24 dev handed");
  assert.ok(await until(echoes, 5_000), running.lines.join("\n"));
  await running.signal("SIGTERM");
  assert.is((await running.ended).code, 0);
  assert.equal(await inventory(gateway), empty);
});

test("without --net and routes the device is up, and addresses are the caller's", async () => {
  const tungo = await scene.start(scene.world.gateway, ["tungo", "--interface", "wan0"]);
  const { gateway } = scene.world;
  assert.match(await gateway.must("ip", "-brief", "link", "show", "tungo"), /[<,]UP[,>]/);
  assert.is(await gateway.must("ip", "-4", "addr", "show", "tungo", "scope", "global"), "");
  await gateway.ip("route add 203.0.113.0/24 dev tungo");
  assert.ok(await until(echoes, 5_000));
  assert.is((await tungo.stop()).code, 0);
  assert.equal(await inventory(gateway), empty);
});

test("--route for half of IPv4 warns that the rest stays outside", async () => {
  const args = ["tungo", "--net", "192.168.123.1/24", "--route", "0.0.0.0/1"];
  const tungo = await scene.start(scene.world.gateway, args);
  const warnings = tungo.process.lines.filter((line) => line.includes('"level":"warn"'));
  assert.ok(
    warnings.some((line) => /half|part|IPv6|outside/i.test(line)),
    warnings.join("\n"),
  );
});

test("--exclude keeps a network out of the TUN", async () => {
  await scene.tungo(["--exclude", "203.0.113.53/32"]);
  const { gateway } = scene.world;
  assert.match(await gateway.must("ip", "route", "get", PLACES.dns4), /dev wan0/);
  assert.match(await gateway.must("ip", "route", "get", PLACES.web4), /dev tungo/);
});

test("10,000 short connections leave no memory behind", async () => {
  const tungo: Tsgost = await scene.tungo();
  const rounds: number[] = [];
  for (let round = 0; round < 5; round++) {
    const seen = await scene.client("shortFlows", host, PORT.short, [2_000, 50]);
    assert.equal(seen, { good: 2_000, errors: [] });
    rounds.push(residentBytes(tungo.process.pid));
  }
  const [, second = 0] = rounds;
  const last = rounds.at(-1) ?? 0;
  assert.ok(last <= second * 1.1 + 16 * 1024 ** 2, `RSS by round: ${rounds.join(", ")}`);
});

test("1,000 flows at once with random data: all hashes equal, memory comes back", async () => {
  const tungo = await scene.tungo();
  const load = { hosts: HOSTS, port: PORT.duplex, flows: 1_000, maxBytes: 100_000 };
  const rounds: number[] = [];
  for (let round = 0; round < 4; round++) {
    assert.equal(await scene.client("duplexFlows", load), { good: 1_000, errors: [] });
    rounds.push(residentBytes(tungo.process.pid));
  }
  const [, second = 0] = rounds;
  const last = rounds.at(-1) ?? 0;
  assert.ok(last <= second * 1.1 + 16 * 1024 ** 2, `RSS by round: ${rounds.join(", ")}`);
});

test("1,000 flows at once through relay+wss, all hashes equal", async () => {
  await scene.relay();
  await scene.tungo(PROXY);
  const load = { hosts: HOSTS, port: PORT.duplex, flows: 1_000, maxBytes: 50_000 };
  assert.equal(await scene.client("duplexFlows", load), { good: 1_000, errors: [] });
});

test.run();
