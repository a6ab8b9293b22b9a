/** The addon's guards: regions, bounds, descriptors, watches. */
import { suite } from "../kit/suite.ts";
import * as assert from "uvu/assert";
import { constants } from "node:os";
import { closeSync, openSync } from "node:fs";
import { Worker } from "node:worker_threads";
import * as abi from "../../assembly/abi.ts";
import { loadNative } from "../../src/sys/addon.ts";
import { READABLE, WRITABLE } from "../../src/sys/native.ts";
import { DATA, LOOPBACK_4, TestMemory, until } from "./help.ts";

const test = suite("sys/addon");
const native = loadNative();
const memory = new TestMemory(native);
const END = memory.buffer.byteLength;
const { EBADF, EFAULT, EINVAL } = constants.errno;

/** Node's types have no WebAssembly without those of a browser. */
interface WasmMemory {
  readonly buffer: ArrayBuffer;
  grow(pages: number): number;
}
const { Memory } = (
  globalThis as unknown as {
    WebAssembly: { Memory: new (sizes: { initial: number; maximum: number }) => WasmMemory };
  }
).WebAssembly;

/** Addresses that must never be touched. */
const BAD = [0, END, END - 1, 0xffffffff, 0xfffffff8];

const list = new Int32Array(16);
let onReady: (count: number) => void = () => undefined;
native.onReady(list, (count) => onReady(count));

function udpSocket(): { fd: number; port: number } {
  const fd = native.socket(4, "dgram", { localAddress: LOOPBACK_4 });
  return { fd, port: native.socketName(fd, false)?.port ?? 0 };
}

function send(fd: number, port: number): number {
  const at = memory.record(0, { ptr: DATA, len: 1, far: { address: LOOPBACK_4, port } });
  return native.udpSend(memory.region, fd, at, 1);
}

test("no region, a detached one and a detached buffer are refused", () => {
  assert.is(native.tunRead(63, 0, abi.RX_BASE, 1), -EFAULT);
  assert.is(native.tunRead(1_000_000, 0, abi.RX_BASE, 1), -EFAULT);
  const region = native.attach(new ArrayBuffer(END));
  native.detach(region);
  native.detach(region);
  assert.is(native.tunRead(region, 0, abi.RX_BASE, 1), -EFAULT);
  const moved = new ArrayBuffer(END);
  const gone = native.attach(moved);
  structuredClone(moved, { transfer: [moved] });
  assert.is(native.tunRead(gone, 0, abi.RX_BASE, 1), -EFAULT);
  native.detach(gone);
});

test("growing WebAssembly memory makes its old region unusable, not unsafe", () => {
  const wasm = new Memory({ initial: 100, maximum: 200 });
  const region = native.attach(wasm.buffer);
  wasm.grow(1);
  assert.is(native.tunRead(region, 0, abi.RX_BASE, 1), -EFAULT);
  native.detach(region);
});

test("regions are limited in number and can be used again", () => {
  const regions: number[] = [];
  assert.throws(() => {
    for (let count = 0; count < 100; count++) regions.push(native.attach(new ArrayBuffer(8)));
  }, /ENOSPC/);
  assert.is(new Set(regions).size, regions.length);
  for (const region of regions) native.detach(region);
  native.detach(native.attach(new ArrayBuffer(8)));
});

test("arguments of the wrong type throw", () => {
  assert.throws(() => native.attach(new Uint8Array(8) as never), TypeError);
  assert.throws(() => native.tunRead("x" as never, 0, 0, 0), TypeError);
  assert.throws(() => native.connect(1, "127.0.0.1" as never, 1), TypeError);
  assert.throws(() => native.netlink(new Uint16Array(8) as never), TypeError);
  assert.throws(() => native.onReady(new Uint32Array(8) as never, () => undefined), TypeError);
  assert.throws(() => native.onReady(list, 1 as never), TypeError);
  assert.throws(() => (native.detach as () => void)(), TypeError);
});

test("tunRead: entries and slots outside of the memory", () => {
  for (const bad of BAD) assert.is(native.tunRead(memory.region, 0, bad, 4), -EFAULT);
  const old = memory.u32(abi.RX_BASE);
  for (const bad of [0, END - abi.SLOT_BYTES + 1, 0xffffffff]) {
    memory.setU32(abi.RX_BASE, bad);
    assert.is(native.tunRead(memory.region, 0, abi.RX_BASE, 1), -EFAULT);
  }
  memory.setU32(abi.RX_BASE, old);
});

test("tunRead: a closed descriptor is a negative errno", () => {
  assert.is(native.tunRead(memory.region, 9_999, abi.RX_BASE, 4), -EBADF);
  assert.is(native.tunRead(memory.region, -1, abi.RX_BASE, 4), -EBADF);
});

test("tunWrite: a packet that points outside fails alone", () => {
  const sink = openSync("/dev/null", "w");
  memory.tx(0, [DATA, 40]);
  memory.tx(1, [END, 40]);
  memory.tx(2, [DATA, 40], [DATA, 100], [END - 10, 11]);
  memory.tx(3, [DATA, 40], [DATA, 100], [END - 10, 10]);
  memory.tx(4, [DATA, 40]);
  memory.setU16(abi.TX_BASE + 4 * abi.TX_BYTES + abi.TX_SPAN_COUNT_OFF, abi.TX_SPAN_MAX + 1);
  memory.tx(5, [DATA, 40], [0, 5]);
  memory.tx(6, [DATA, 40], [DATA, 0xffffffff]);
  assert.is(native.tunWrite(memory.region, sink, abi.TX_BASE, 7), 5);
  assert.is(native.lastErrno(), EFAULT);
  closeSync(sink);
  for (const bad of BAD) assert.is(native.tunWrite(memory.region, 0, bad, 4), -EFAULT);
  assert.is(native.tunWrite(memory.region, 0, abi.TX_BASE, 0xffffffff), -EFAULT);
});

test("spans outside of the memory, and none at all", () => {
  const { fd } = udpSocket();
  for (const move of [native.sendSpans, native.recvSpans]) {
    for (const bad of BAD) {
      assert.is(move(memory.region, fd, bad, 2), -EFAULT);
      assert.is(move(memory.region, fd, memory.spans([DATA, 4], [bad, 2]), 2), -EFAULT);
    }
    assert.is(move(memory.region, fd, memory.spans([DATA, 0xffffffff]), 1), -EFAULT);
    assert.is(move(memory.region, fd, memory.spans([DATA, 0]), 1), -EINVAL);
    assert.is(move(memory.region, fd, abi.SPANS_BASE, 0), -EINVAL);
  }
  native.close(fd);
});

test("datagram records outside of the memory", () => {
  const { fd, port } = udpSocket();
  const far = { address: LOOPBACK_4, port };
  for (const bad of BAD) {
    assert.is(native.udpSend(memory.region, fd, bad, 1), -EFAULT);
    assert.is(native.udpRecv(memory.region, fd, bad, 1), -EFAULT);
    assert.is(native.pingSend(memory.region, fd, bad, 1), -EFAULT);
    assert.is(native.pingRecv(memory.region, fd, bad), -EFAULT);
    const at = memory.record(0, { ptr: bad, len: 100, far });
    assert.is(native.udpSend(memory.region, fd, at, 1), -EFAULT);
    assert.is(native.udpRecv(memory.region, fd, at, 1), -EFAULT);
    assert.is(native.pingSend(memory.region, fd, at, 1), -EFAULT);
    assert.is(native.pingRecv(memory.region, fd, at), -EFAULT);
  }
  assert.is(native.udpSend(memory.region, fd, abi.DGRAMS_BASE, 0xffffffff), -EFAULT);
  native.close(fd);
});

test("a socket that cannot be made as wished throws with code and call", () => {
  const cases: [() => unknown, string, string][] = [
    [() => native.socket(4, "stream", { device: "no-such-dev" }), "ENODEV", "SO_BINDTODEVICE"],
    [() => native.socket(4, "stream", { device: "x".repeat(16) }), "ENAMETOOLONG", "BINDTODEVICE"],
    [
      () => native.socket(4, "stream", { localAddress: new Uint8Array(16) }),
      "EAFNOSUPPORT",
      "bind",
    ],
    [
      () => native.socket(4, "dgram", { localAddress: Uint8Array.of(192, 0, 2, 1) }),
      "EADDRNOTAVAIL",
      "bind",
    ],
    [() => native.socket(4, "dgram", { localPort: 65_536 }), "EINVAL", "bind"],
    [() => native.socket(5 as never, "dgram", {}), "EAFNOSUPPORT", "socket"],
    [() => native.socket(4, "other" as never, {}), "EPROTONOSUPPORT", "socket"],
  ];
  for (const [make, code, syscall] of cases) {
    try {
      native.close(make() as number);
      assert.unreachable(`${code} was expected`);
    } catch (error) {
      const found = error as { code: string; syscall: string; errno: number };
      assert.is(found.code, code);
      assert.ok(found.syscall.includes(syscall), found.syscall);
      assert.is(found.errno, constants.errno[code as "ENODEV"]);
    }
  }
});

test("a watch reports its id until it is set to nothing or closed", async () => {
  const a = udpSocket();
  const b = udpSocket();
  const watch = native.watch(a.fd, 77, READABLE);
  const seen: number[] = [];
  onReady = (count) => {
    for (let index = 0; index < count; index++) {
      seen.push(list[2 * index]!, list[2 * index + 1]!);
    }
    watch.set(0);
  };
  assert.is(send(b.fd, a.port), 1);
  await until("readiness", () => seen.length > 0);
  assert.equal(seen, [77, READABLE]);
  await new Promise((done) => setTimeout(done, 20));
  assert.is(seen.length, 2);
  // What was there before the watch is told too: level triggered.
  watch.set(READABLE | WRITABLE);
  await until("readiness again", () => seen.length === 4);
  assert.is(seen[3], READABLE | WRITABLE);
  watch.close();
  watch.close();
  watch.set(READABLE);
  await new Promise((done) => setTimeout(done, 20));
  assert.is(seen.length, 4);
  native.close(a.fd);
  native.close(b.fd);
});

test("more ready descriptors than the list holds come in the next turns", async () => {
  const sockets = Array.from({ length: 50 }, () => udpSocket());
  const seen = new Set<number>();
  const watches = sockets.map(({ fd }, index) => native.watch(fd, index, WRITABLE));
  onReady = (count) => {
    assert.ok(count <= 8);
    for (let index = 0; index < count; index++) {
      const id = list[2 * index]!;
      seen.add(id);
      watches[id]?.close();
    }
  };
  await until("all of them", () => seen.size === 50);
  for (const { fd } of sockets) native.close(fd);
});

test("closing a descriptor kills its watch: the number's next owner is not disturbed", async () => {
  const first = udpSocket();
  const stale = native.watch(first.fd, 1, READABLE);
  native.close(first.fd);
  const second = udpSocket();
  assert.is(second.fd, first.fd);
  const fresh = native.watch(second.fd, 2, READABLE);
  const seen: number[] = [];
  onReady = (count) => {
    for (let index = 0; index < count; index++) seen.push(list[2 * index]!);
    fresh.set(0);
  };
  stale.set(WRITABLE);
  stale.close();
  assert.is(send(second.fd, second.port), 1);
  await until("readiness", () => seen.length > 0);
  assert.equal(seen, [2]);
  fresh.close();
  native.close(second.fd);
});

test("a descriptor closed by somebody else does no harm", () => {
  const fd = openSync("/dev/null", "r");
  closeSync(fd);
  assert.throws(() => native.watch(fd, 1, READABLE), /EBADF/);
  const pipe = udpSocket();
  const watch = native.watch(pipe.fd, 1, READABLE);
  closeSync(pipe.fd);
  watch.set(READABLE | WRITABLE);
  watch.set(0);
  watch.set(READABLE);
  watch.close();
});

test("watching a plain file is an error with a code", () => {
  const fd = openSync("/etc/hostname", "r");
  assert.throws(() => native.watch(fd, 1, READABLE), /EPERM/);
  closeSync(fd);
});

test("each worker has an addon of its own and may end at any time", async () => {
  const file = new URL("../../src/sys/addon.ts", import.meta.url).href;
  const code = `
    const { parentPort } = require("node:worker_threads");
    const load = async () => {
      (await import("tsx/esm/api")).register();
      return import(${JSON.stringify(file)});
    };
    load().then(({ loadNative }) => {
      const native = loadNative();
      const region = native.attach(new ArrayBuffer(1024));
      native.onReady(new Int32Array(16), () => undefined);
      const fd = native.socket(4, "dgram", {});
      native.watch(fd, 1, 3);
      parentPort.postMessage(region);
      setInterval(() => undefined, 1000);
    });`;
  for (let round = 0; round < 3; round++) {
    const worker = new Worker(code, { eval: true, execArgv: [] });
    const region = await new Promise((done, fail) => {
      worker.once("message", done);
      worker.once("error", fail);
    });
    assert.is(region, 0);
    await worker.terminate();
  }
});

test("watches that want nothing do not keep the process alive", () => {
  // The runner ends a file that does not exit; so this one holds a stopped watch to the end.
  const { fd } = udpSocket();
  native.watch(fd, 1, READABLE).set(0);
});

test.run();
