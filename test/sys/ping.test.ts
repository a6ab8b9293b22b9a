/** ICMP echo through the addon: datagram and raw sockets, both families, on loopback. */
import { suite } from "../kit/suite.ts";
import * as assert from "uvu/assert";
import { existsSync, readFileSync } from "node:fs";
import { constants } from "node:os";
import * as abi from "../../assembly/abi.ts";
import { loadNative } from "../../src/sys/addon.ts";
import { FAILED, READABLE } from "../../src/sys/native.ts";
import { Poller } from "../../src/sys/poll.ts";
import {
  DATA,
  LOOPBACK_4,
  LOOPBACK_6,
  TestMemory,
  enterNamespace,
  ip4,
  noDevices,
  runTool,
  until,
} from "./help.ts";

const test = suite("sys/ping");
const native = loadNative();
const memory = new TestMemory(native);

function mayPing(): boolean {
  const file = "/proc/sys/net/ipv4/ping_group_range";
  if (!existsSync(file)) return false;
  const [low = 1, high = 0] = readFileSync(file, "latin1").split(/\s+/).map(Number);
  const groups = [process.getegid?.() ?? -1, ...(process.getgroups?.() ?? [])];
  return groups.some((group) => group >= low && group <= high);
}

/** An echo through `type`; checks sequence number, data and sender. */
async function echo(family: 4 | 6, type: "ping" | "raw-icmp"): Promise<void> {
  const fd = native.socket(family, type, {});
  const address = family === 4 ? LOOPBACK_4 : LOOPBACK_6;
  for (const text of ["", "x", "odd", "payload of an echo request".repeat(50)]) {
    memory.bytes.set(Buffer.from(text), DATA);
    const at = memory.record(0, { ptr: DATA, len: text.length, far: { address, port: 0 } });
    memory.setU16(at + abi.DGRAM_SEQ_OFF, 513);
    assert.is(native.pingSend(memory.region, fd, at, 0x1234), 0);
    let result = 0;
    await until("a reply", () => {
      result = native.pingRecv(memory.region, fd, abi.STAGE_BASE);
      return result !== 0;
    });
    assert.is(result, 1);
    const len = memory.u32(abi.STAGE_BASE + abi.DGRAM_LEN_OFF);
    const ptr = memory.u32(abi.STAGE_BASE + abi.DGRAM_PTR_OFF);
    assert.is(Buffer.from(memory.buffer, ptr, len).toString(), text);
    assert.is(memory.u16(abi.STAGE_BASE + abi.DGRAM_SEQ_OFF), 513);
    assert.is(memory.u16(abi.STAGE_BASE + abi.DGRAM_FAMILY_OFF), family);
    if (type === "raw-icmp") assert.is(memory.u16(abi.STAGE_BASE + abi.DGRAM_ID_OFF), 0x1234);
    const far = memory.bytes.slice(abi.STAGE_BASE + abi.DGRAM_FAR_OFF).subarray(0, address.length);
    assert.equal(far, address);
  }
  assert.is(native.pingRecv(memory.region, fd, abi.STAGE_BASE), 0);
  native.close(fd);
}

/** Echo in a namespace that allows what this machine may not. */
async function echoInside(family: 4 | 6, type: "ping" | "raw-icmp"): Promise<void> {
  if (reason !== "") return echo(family, type);
  const leave = await enterNamespace(native);
  try {
    const allow = "ip link set lo up && echo 0 2147483647 > /proc/sys/net/ipv4/ping_group_range";
    const { code, output } = await runTool("sh", "-c", allow);
    assert.is(code, 0, output);
    await echo(family, type);
  } finally {
    leave();
  }
}

const reason = noDevices();
for (const family of [4, 6] as const) {
  test.skipUnless(
    reason === "" || mayPing(),
    "net.ipv4.ping_group_range allows no group of this user",
    `ping: echo on a datagram socket, IPv${family}`,
    () => echoInside(family, "ping"),
  );
  test.skipUnless(reason === "", reason, `ping: echo on a raw socket, IPv${family}`, () =>
    echoInside(family, "raw-icmp"),
  );
}

test.skipUnless(
  reason === "",
  reason,
  "a dead host: silence for echo, an error for UDP",
  async () => {
    const leave = await enterNamespace(native);
    const poller = new Poller(native);
    try {
      const { code, output } = await runTool(
        "sh",
        "-ec",
        `ip link set lo up; ip link add d0 type veth peer name d1; ip addr add 192.0.2.1/24 dev d0
      ip link set d0 up; ip link set d1 up; echo 10 > /proc/sys/net/ipv4/neigh/d0/retrans_time_ms
      echo 0 2147483647 > /proc/sys/net/ipv4/ping_group_range`,
      );
      assert.is(code, 0, output);
      const dead = { address: ip4("192.0.2.99"), port: 9 };
      const at = memory.record(0, { ptr: DATA, len: 5, far: dead });
      const events = { ping: 0, "raw-icmp": 0, dgram: 0 };
      const fds: number[] = [];
      for (const type of ["ping", "raw-icmp", "dgram"] as const) {
        const fd = native.socket(4, type, {});
        fds.push(fd);
        const watch = poller.watch(fd, READABLE, (bits) => {
          events[type] |= bits;
          watch.set(0);
        });
        const sent = type === "dgram" ? native.udpSend : native.pingSend;
        assert.ok(sent(memory.region, fd, at, 1) >= 0);
      }
      await until("the UDP error", () => events.dgram !== 0);
      await new Promise((done) => setTimeout(done, 50));
      assert.equal(events, { ping: 0, "raw-icmp": 0, dgram: FAILED });
      const error = native.udpError(fds[2] ?? -1);
      assert.is(error?.errno, constants.errno.EHOSTUNREACH);
      assert.equal(error?.address, dead.address);
      for (const fd of fds) native.close(fd);
    } finally {
      leave();
    }
  },
);

test.run();
