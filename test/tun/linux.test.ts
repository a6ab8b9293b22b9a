/** The Linux device against a real kernel, in a namespace of the test's own. */
import { suite } from "../kit/suite.ts";
import * as assert from "uvu/assert";
import { spawnSync } from "node:child_process";
import { openSync } from "node:fs";
import { Worker } from "node:worker_threads";
import * as abi from "../../assembly/abi.ts";
import { TsgostError } from "../../src/errors.ts";
import { loadNative } from "../../src/sys/addon.ts";
import { Poller } from "../../src/sys/poll.ts";
import { FaultsDevice } from "../../src/tun/faults.ts";
import { LinuxDevice, checkDeviceName, openLinuxDevice } from "../../src/tun/linux.ts";
import { enterNamespace, ip4, noDevices, runTool, until } from "../sys/help.ts";
import { PlainMemory } from "./help.ts";

const test = suite("tun/linux");

function code(run: () => unknown): { code: string; message: string; exitCode: number } {
  try {
    run();
  } catch (error) {
    assert.instance(error, TsgostError);
    return error as TsgostError;
  }
  throw new Error("nothing was thrown");
}

test("names that no device can have are refused before the kernel is asked", () => {
  for (const name of ["tun0", "tun%d", "", "a".repeat(15), "münchen"]) checkDeviceName(name);
  for (const name of [
    "a".repeat(16),
    "ü".repeat(8),
    ".",
    "..",
    "a/b",
    "a b",
    "a:b",
    "%s",
    "a%d%d",
  ]) {
    const error = code(() => checkDeviceName(name));
    assert.is(error.code, "TSGOST_ERR_DEVICE_NAME");
    assert.is(error.exitCode, 2);
    assert.ok(error.message.includes(JSON.stringify(name)));
  }
});

const reason = noDevices();
test.skipUnless(reason === "", reason);

function setUp(): { native: ReturnType<typeof loadNative>; poller: Poller } {
  const native = loadNative();
  return { native, poller: new Poller(native) };
}

let leave: (() => void) | undefined;
test.before(async () => {
  if (reason === "") leave = await enterNamespace(loadNative());
});
test.after(() => leave?.());

function open(name: string, vnet = true): { device: LinuxDevice; memory: PlainMemory } {
  const { native, poller } = setUp();
  const device = openLinuxDevice({ native, poller, name, vnet });
  const memory = new PlainMemory((buffer) => native.attach(buffer));
  device.attach(memory);
  return { device, memory };
}

const never = (error: TsgostError): void => {
  throw error;
};
const NET = { family: 4, bytes: ip4("192.168.123.1"), prefix: 24 } as const;
const FAR = { family: 4, bytes: ip4("100.64.0.0"), prefix: 10 } as const;

test("opens with virtio headers and offloads; closing takes the device away", async () => {
  const { device } = open("addon1");
  assert.is(device.vnetBytes, 12);
  assert.is(device.offloads & abi.OFFLOAD_CSUM, abi.OFFLOAD_CSUM);
  assert.is(device.offloads & abi.OFFLOAD_TSO4, abi.OFFLOAD_TSO4);
  const { output } = await runTool("ip", "-d", "link", "show", "addon1");
  assert.match(output, /tun type tun pi off vnet_hdr on persist off/);
  device.close();
  device.close();
  assert.is.not((await runTool("ip", "link", "show", "addon1")).code, 0);
});

test("opens without headers; lets the kernel choose a name", () => {
  const { device } = open("addon%d", false);
  assert.match(device.name, /^addon\d+$/);
  assert.is(device.vnetBytes, 0);
  assert.is(device.offloads, 0);
  device.close();
});

test("a name in use, by a TUN or another device, says so", () => {
  const { native, poller } = setUp();
  const { device } = open("addon1");
  const twice = code(() => openLinuxDevice({ native, poller, name: "addon1", vnet: true }));
  assert.is(twice.code, "TSGOST_ERR_DEVICE_BUSY");
  assert.match(twice.message, /device addon1, the name is taken .*: device or resource busy$/);
  const other = code(() => openLinuxDevice({ native, poller, name: "lo", vnet: true }));
  assert.is(other.code, "TSGOST_ERR_DEVICE_BUSY");
  device.close();
});

test("several queues, and TAP", async () => {
  const { native, poller } = setUp();
  const options = { native, poller, name: "addon2", vnet: true, multiQueue: true };
  const queues = [openLinuxDevice(options), openLinuxDevice(options)];
  assert.equal(
    queues.map(({ name }) => name),
    ["addon2", "addon2"],
  );
  for (const queue of queues) queue.close();
  const tap = openLinuxDevice({ native, poller, name: "addon3", vnet: true, tap: true });
  assert.match((await runTool("ip", "-d", "link", "show", "addon3")).output, /tun type tap/);
  tap.close();
});

test("configure sets MTU, queue, addresses, state and routes; a bad route says which", async () => {
  const { device } = open("addon1");
  device.configure(
    { mtu: 9000, txQueueLen: 2000, addresses: [NET], routes: [{ dst: FAR }] },
    never,
  );
  assert.is(device.mtu, 9000);
  const { output } = await runTool("sh", "-c", "ip address show addon1; ip route");
  assert.match(output, /UP.* mtu 9000 .*qlen 2000/);
  assert.match(output, /inet 192\.168\.123\.1\/24/);
  assert.match(output, /100\.64\.0\.0\/10 dev addon1/);
  const gw = { family: 4, bytes: ip4("172.31.9.9") } as const;
  const error = code(() => device.configure({ routes: [{ dst: FAR, gw }] }, never));
  assert.match(
    error.message,
    /^add route 100\.64\.0\.0\/10 via 172\.31\.9\.9: network is unreachable/,
  );
  device.close();
});

/** An echo request to 100.64.1.1 turned into its reply, in place. */
function makeReply(packet: Uint8Array): void {
  const ip = packet.subarray(12);
  const from = ip.slice(12, 16);
  ip.copyWithin(12, 16, 20);
  ip.set(from, 16);
  ip[20] = 0;
  const view = new DataView(packet.buffer, packet.byteOffset + 12);
  let sum = view.getUint16(22) + 0x0800;
  sum = (sum & 0xffff) + (sum >> 16);
  view.setUint16(22, sum);
}

/** Answers echo requests until closed. */
function answerPings(
  device: Pick<LinuxDevice, "onReadable" | "read" | "write">,
  memory: PlainMemory,
): void {
  device.onReadable(() => {
    for (let count = device.read(64); count > 0; count = device.read(64)) {
      let sent = 0;
      for (let index = 0; index < count; index++) {
        const packet = memory.received(index);
        if (packet[12] !== 0x45 || packet[21] !== 1 || packet[32] !== 8) continue;
        makeReply(packet);
        const at = 900_000 + sent * 4000;
        memory.set(at, packet);
        memory.tx(sent++, [at, 32], [at + 32, 30], [at + 62, packet.length - 62]);
      }
      assert.is(device.write(sent), 0);
    }
  });
}

test("packets come in and go out, gathered from spans", async () => {
  const { device, memory } = open("addon1");
  device.configure({ mtu: 1420, addresses: [NET], routes: [{ dst: FAR }] }, never);
  answerPings(device, memory);
  const { code: status, output } = await runTool(
    "ping",
    "-c",
    "5",
    "-i",
    "0.01",
    "-W",
    "2",
    "100.64.1.1",
  );
  assert.is(status, 0, output);
  assert.match(output, /5 received/);
  device.close();
});

test("the same through faults: loss is seen as loss, the rest arrives", async () => {
  const { native } = setUp();
  const { device } = open("addon1");
  device.configure({ addresses: [NET], routes: [{ dst: FAR }] }, never);
  const faults = new FaultsDevice(device, {
    seed: 3,
    out: { loss: 0.5, delayMs: 5 },
    attach: (buffer) => native.attach(buffer),
    detach: (region) => native.detach(region),
  });
  const memory = new PlainMemory();
  faults.attach(memory);
  answerPings(faults, memory);
  const { output } = await runTool("ping", "-c", "20", "-i", "0.01", "-W", "1", "100.64.1.1");
  const received = Number(/(\d+) received/.exec(output)?.[1]);
  assert.is(received, 20 - faults.counts.out.lost);
  assert.ok(received > 2 && received < 18, output);
  faults.close();
});

test("super-packets arrive whole, with partial checksums", async () => {
  const { device, memory } = open("addon1");
  device.configure({ mtu: 1420, addresses: [NET], routes: [{ dst: FAR }] }, never);
  // UDP with a segment size needs no handshake.
  const sizes: number[] = [];
  device.onReadable(() => {
    for (let count = device.read(64); count > 0; count = device.read(64)) {
      for (let index = 0; index < count; index++) {
        const packet = memory.received(index);
        if (packet[21] !== 17) continue;
        assert.is((packet[0] ?? 0) & 1, 1, "NEEDS_CSUM");
        sizes.push(packet.length);
      }
    }
  });
  const { native } = setUp();
  const fd = native.socket(4, "dgram", {});
  const sender = new PlainMemory((buffer) => native.attach(buffer));
  const view = new DataView(sender.buffer, abi.DGRAMS_BASE);
  view.setUint32(abi.DGRAM_PTR_OFF, abi.MEMORY_BASE, true);
  view.setUint32(abi.DGRAM_LEN_OFF, 12_000, true);
  view.setUint32(abi.DGRAM_GSO_OFF, 1200, true);
  view.setUint16(abi.DGRAM_FAMILY_OFF, 4, true);
  view.setUint16(abi.DGRAM_PORT_OFF, 9, true);
  sender.set(abi.DGRAMS_BASE + abi.DGRAM_FAR_OFF, ip4("100.64.1.1"));
  assert.is(native.udpSend(sender.region, fd, abi.DGRAMS_BASE, 1), 1);
  const whole = (device.offloads & abi.OFFLOAD_USO) !== 0;
  await until("the datagrams", () => sizes.length === (whole ? 1 : 10));
  if (whole) assert.equal(sizes, [12 + 28 + 12_000]);
  native.close(fd);
  device.close();
});

test("a packet that the kernel refuses is counted, the others go", () => {
  const { device, memory } = open("addon1");
  device.configure({ addresses: [NET] }, never);
  memory.fill(900_000, 100, 0);
  memory.set(900_012, Uint8Array.of(0x45, 0, 0, 20));
  memory.fill(910_000, 100, 0xff);
  memory.tx(0, [900_000, 32]);
  memory.tx(1, [910_000, 32]);
  memory.tx(2, [900_000, 5]);
  assert.is(device.write(3), 2);
  assert.is(device.lastWriteError(), "invalid argument");
  device.close();
});

test("down, up and down again are told and end nothing; a deleted device is lost", async () => {
  const { device } = open("addon1");
  device.configure({ addresses: [NET] }, never);
  const kinds: string[] = [];
  let lost: TsgostError | undefined;
  device.onLink(({ kind }) => kinds.push(kind));
  device.onReadable(() => {
    try {
      while (device.read(64) > 0);
    } catch (error) {
      lost = error as TsgostError;
      device.close();
    }
  });
  await runTool("ip", "link", "set", "addon1", "down");
  await until("down", () => kinds.includes("down"));
  await runTool("ip", "link", "set", "addon1", "up");
  await until("up", () => kinds.includes("up"));
  assert.is(device.read(64) >= 0, true);
  assert.is(lost, undefined);
  await runTool("ip", "link", "del", "addon1");
  await until("lost", () => lost !== undefined);
  assert.is(lost?.code, "TSGOST_ERR_DEVICE_LOST");
  assert.match(lost?.message ?? "", /^device addon1 is lost: /);
});

test("a device moved to another namespace lives on; configuring it is a warning", async () => {
  const { device } = open("addon1");
  const kinds: string[] = [];
  device.onLink(({ kind }) => kinds.push(kind));
  const child = spawnSync("sh", [
    "-c",
    "unshare --net sleep 5 & sleep 0.2; ip link set addon1 netns $!; kill $!",
  ]);
  assert.is(child.status, 0, child.stderr.toString());
  await until("moved", () => kinds.length > 0);
  assert.is(kinds[0], "moved");
  const warnings: string[] = [];
  device.configure({ addresses: [NET] }, (error) => warnings.push(error.message));
  assert.match(warnings.join(), /^link addon1: no such device/);
  device.close();
});

test("a worker that is ended takes its device with it", async () => {
  const file = new URL("../../src/sys/addon.ts", import.meta.url).href;
  const worker = new Worker(
    `const load = async () => {
      (await import("tsx/esm/api")).register();
      return import(${JSON.stringify(file)});
    };
    load().then(({ loadNative }) => {
      loadNative().tunOpen({ name: "addon6", vnet: true });
      require("node:worker_threads").parentPort.postMessage("open");
      setInterval(() => undefined, 1000);
    });`,
    { eval: true, execArgv: [] },
  );
  await new Promise((done, fail) => {
    worker.once("message", done);
    worker.once("error", fail);
  });
  assert.is((await runTool("ip", "link", "show", "addon6")).code, 0);
  await worker.terminate();
  assert.is.not((await runTool("ip", "link", "show", "addon6")).code, 0);
});

test("takes over an open descriptor, and refuses one that is no TUN", async () => {
  const { native, poller } = setUp();
  const first = native.tunOpen({ name: "addon4", vnet: true });
  const device = openLinuxDevice({ native, poller, fd: first.fd, name: "", vnet: true });
  assert.is(device.name, "addon4");
  assert.is(device.vnetBytes, 12);
  assert.is(device.offloads, first.offloads);
  device.close();
  assert.is.not((await runTool("ip", "link", "show", "addon4")).code, 0);
  const fd = openSync("/dev/null", "r");
  const error = code(() => openLinuxDevice({ native, poller, fd, name: "", vnet: true }));
  assert.is(error.code, "TSGOST_ERR_DEVICE");
  assert.match(
    error.message,
    new RegExp(`^descriptor ${fd} is not a TUN device that can be used: `),
  );
});

test("without the right to make devices the error says what is needed", () => {
  const file = (path: string): string => new URL(`../../src/${path}`, import.meta.url).pathname;
  const program = `
    const run = async () => {
      const { openLinuxDevice } = await import("${file("tun/linux.ts")}");
      const { loadNative } = await import("${file("sys/addon.ts")}");
      const { Poller } = await import("${file("sys/poll.ts")}");
      const native = loadNative();
      try {
        openLinuxDevice({ native, poller: new Poller(native), name: "addon5", vnet: true });
      } catch (error) {
        console.log(error.code + ": " + error.message);
      }
    };
    run();`;
  const drop = ["--bounding-set", "-net_admin", "--inh-caps", "-net_admin"];
  const node = [process.execPath, "--import", "tsx", "-e", program];
  const { stdout, stderr } = spawnSync("setpriv", [...drop, ...node], { encoding: "utf8" });
  assert.is(
    (stdout + stderr).trim(),
    "TSGOST_ERR_DEVICE_PERMISSION: cannot make device addon5 " +
      "(run as root, or give CAP_NET_ADMIN): operation not permitted",
  );
});

test.run();
