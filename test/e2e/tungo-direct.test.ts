/** `tsgost tungo` without a proxy: traffic, pings, the ready line, pcap and the connect modes. */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { canRun, HOSTS, PLACES, Scene, skipReason, type Tsgost } from "../kit/netns.ts";
import { readPcapng } from "../kit/pcapng.ts";
import { PORT } from "../kit/servers.ts";
import { suite } from "../kit/suite.ts";
import { registerTraffic } from "./traffic.ts";

const test = suite("e2e/tungo-direct");
test.skipUnless(canRun, skipReason);
test.timeout(120_000);

let scene: Scene;
let tungo: Tsgost;
const folder = mkdtempSync(join(tmpdir(), "tsgost-e2e-"));

test.before(async () => {
  scene = await Scene.open();
  tungo = await scene.tungo();
});
test.after(async () => {
  await scene?.close();
  rmSync(folder, { recursive: true });
});

test("the ready line names service, device, addresses and MTU, once", () => {
  const lines = tungo.process.lines.filter((line) => line.includes('"msg":"ready"'));
  assert.is(lines.length, 1);
  const text = JSON.stringify(tungo.ready.fields);
  for (const part of ["tungo", "192.168.123.1", "fd7b:123::1", "1420"]) {
    assert.ok(text.includes(part), `${part} is not in ${text}`);
  }
});

registerTraffic(test, () => scene);

test("a living host answers pings of all sizes, a dead one stays silent", async () => {
  for (const host of HOSTS) {
    assert.equal(await scene.client("pingSizes", host, [0, 56, 1400, 8000]), []);
  }
  for (const host of [PLACES.dead4, PLACES.dead6]) {
    assert.is((await scene.client("ping", host, 2))?.replies, 0);
  }
});

test("empty datagrams come back", async () => {
  for (const host of HOSTS) assert.equal(await scene.client("udpSizes", host, PORT.echo, [0]), []);
});

test("a datagram to a closed port is refused", async () => {
  for (const host of HOSTS) {
    assert.is((await scene.client("udpRefused", host, PORT.closed)).outcome, "ECONNREFUSED");
  }
});

test("a dead host's connect waits, and the flow is gone when the client gives up", async () => {
  const { outcome } = await scene.client("tryConnect", PLACES.dead4, 80, 1_500);
  assert.is(outcome, "timeout");
});

test("--connect immediate accepts first and resets when the dial fails", async () => {
  await scene.stopAll();
  tungo = await scene.tungo(["--connect", "immediate"]);
  const [host] = HOSTS;
  const { how } = await scene.client("converse", host, PORT.closed, { send: "x", delayMs: 50 });
  assert.is(how, "ECONNRESET");
  const load = { hosts: HOSTS, port: PORT.duplex, flows: 10, maxBytes: 200_000 };
  assert.equal(await scene.client("duplexFlows", load), { good: 10, errors: [] });
});

test("--vnet off carries the same data", async () => {
  await scene.stopAll();
  tungo = await scene.tungo(["--vnet", "off"]);
  const load = { hosts: HOSTS, port: PORT.duplex, flows: 10, maxBytes: 1_000_000 };
  assert.equal(await scene.client("duplexFlows", load), { good: 10, errors: [] });
  assert.equal(await scene.client("udpSizes", HOSTS[0], PORT.echo, [0, 1200, 9000]), []);
});

test("--pcap writes both directions as pcapng", async () => {
  await scene.stopAll();
  const file = join(folder, "tun.pcapng");
  tungo = await scene.tungo(["--pcap", file]);
  const [host] = HOSTS;
  await scene.client("converse", host, PORT.short);
  assert.equal(await scene.client("udpSizes", host, PORT.echo, [100]), []);
  assert.is((await tungo.stop()).code, 0);
  const packets = readPcapng(readFileSync(file));
  const mine = packets.filter(({ data }) => data[0] === 0x45);
  const from = mine.filter(({ data }) => data.subarray(12, 16).join(".") === PLACES.client4);
  const to = mine.filter(({ data }) => data.subarray(16, 20).join(".") === PLACES.client4);
  assert.ok(from.length >= 4, `${from.length} packets of the client`);
  assert.ok(to.length >= 4, `${to.length} packets to the client`);
});

test.run();
