/** ICMP echo through the addon: datagram and raw sockets, both families, on loopback. */
import { suite } from "../kit/suite.ts";
import * as assert from "uvu/assert";
import { existsSync, readFileSync } from "node:fs";
import * as abi from "../../assembly/abi.ts";
import { loadNative } from "../../src/sys/addon.ts";
import {
  DATA,
  LOOPBACK_4,
  LOOPBACK_6,
  TestMemory,
  enterNamespace,
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

test.run();
