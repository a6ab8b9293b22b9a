/** Devices in memory, and the blocks they share with the addon's. */
import { suite } from "../kit/suite.ts";
import * as assert from "uvu/assert";
import * as abi from "../../assembly/abi.ts";
import { Blocks } from "../../src/tun/blocks.ts";
import { MemoryDevice, memoryPair } from "../../src/tun/memory.ts";
import { PlainMemory, turn } from "./help.ts";

const test = suite("tun/memory");

test("packets pushed in are read into receive slots, in order, at most `max`", async () => {
  const memory = new PlainMemory();
  const device = new MemoryDevice();
  device.attach(memory);
  let calls = 0;
  device.onReadable(() => calls++);
  for (let value = 1; value <= 3; value++)
    assert.ok(device.push(new Uint8Array(value).fill(value)));
  assert.is(calls, 0);
  await turn();
  assert.is(calls, 1);
  assert.is(device.read(2), 2);
  assert.equal([...memory.received(0)], [1]);
  assert.equal([...memory.received(1)], [2, 2]);
  // What was left is told again.
  await turn();
  assert.is(calls, 2);
  assert.is(device.read(64), 1);
  assert.equal([...memory.received(0)], [3, 3, 3]);
  assert.is(device.read(64), 0);
  await turn();
  assert.is(calls, 2);
});

test("the pushed bytes are copied", () => {
  const memory = new PlainMemory();
  const device = new MemoryDevice();
  device.attach(memory);
  const packet = Uint8Array.of(1, 2);
  device.push(packet);
  packet.fill(9);
  device.read(1);
  assert.equal([...memory.received(0)], [1, 2]);
});

test("header and spans of a descriptor come out as one packet", () => {
  const memory = new PlainMemory();
  const device = new MemoryDevice();
  device.attach(memory);
  memory.fill(5000, 10, 1);
  memory.fill(6000, 4, 2);
  memory.fill(7000, 1, 3);
  memory.tx(0, [5000, 10], [6000, 4], [7000, 1]);
  memory.tx(1, [5000, 3]);
  assert.is(device.write(2), 0);
  assert.equal(
    device.takeAll().map((packet) => [...packet]),
    [
      [...new Array<number>(10).fill(1), 2, 2, 2, 2, 3],
      [1, 1, 1],
    ],
  );
});

test("a descriptor that points outside fails alone", () => {
  const memory = new PlainMemory();
  const device = new MemoryDevice();
  device.attach(memory);
  const end = memory.buffer.byteLength;
  memory.tx(0, [5000, 10], [end - 3, 4]);
  memory.tx(1, [0, 10]);
  memory.tx(2, [5000, 10], [5000, 0xffffffff]);
  memory.tx(3, [5000, 10], [end - 4, 4]);
  assert.is(device.write(4), 3);
  assert.is(device.take()?.length, 14);
  assert.is(device.take(), undefined);
});

test("both queues are bounded", () => {
  const memory = new PlainMemory();
  const device = new MemoryDevice({ queue: 2 });
  device.attach(memory);
  const packet = Uint8Array.of(1);
  assert.equal(
    [device.push(packet), device.push(packet), device.push(packet)],
    [true, true, false],
  );
  memory.tx(0, [5000, 1]);
  memory.tx(1, [5000, 1]);
  memory.tx(2, [5000, 1]);
  assert.is(device.write(3), 0);
  assert.is(device.dropped, 1);
  assert.is(device.takeAll().length, 2);
});

test("empty packets and those larger than a slot are refused", () => {
  const device = new MemoryDevice();
  assert.not.ok(device.push(new Uint8Array(0)));
  assert.not.ok(device.push(new Uint8Array(abi.SLOT_BYTES + 1)));
  assert.ok(device.push(new Uint8Array(abi.SLOT_BYTES)));
});

test("after close nothing goes in or out", async () => {
  const memory = new PlainMemory();
  const device = new MemoryDevice();
  device.attach(memory);
  let calls = 0;
  device.onReadable(() => calls++);
  device.push(Uint8Array.of(1));
  device.close();
  device.close();
  await turn();
  assert.is(calls, 0);
  assert.ok(device.closed);
  assert.not.ok(device.push(Uint8Array.of(1)));
  assert.is(device.read(1), 0);
  memory.tx(0, [5000, 1]);
  assert.is(device.write(1), 1);
});

test("a pair: what one writes the other reads", async () => {
  const left = new PlainMemory();
  const right = new PlainMemory();
  const [a, b] = memoryPair({ mtu: 9000, vnetBytes: 12 });
  assert.is(b.mtu, 9000);
  a.attach(left);
  b.attach(right);
  let told = 0;
  b.onReadable(() => told++);
  left.fill(5000, 20, 7);
  left.tx(0, [5000, 20]);
  a.write(1);
  await turn();
  assert.is(told, 1);
  assert.is(b.read(4), 1);
  assert.equal([...right.received(0)], new Array<number>(20).fill(7));
});

test("gather leaves out the first bytes of the header", () => {
  const memory = new PlainMemory();
  const blocks = new Blocks(memory.buffer);
  memory.fill(5000, 12, 1);
  memory.fill(5012, 4, 2);
  memory.fill(6000, 2, 3);
  memory.tx(0, [5000, 16], [6000, 2]);
  const out = new Uint8Array(10);
  assert.is(blocks.sentLength(0), 18);
  assert.is(blocks.gather(0, out, 1, 12), 6);
  assert.equal([...out], [0, 2, 2, 2, 2, 3, 3, 0, 0, 0]);
});

test.run();
