/** TCP, UDP and ICMP echo through the addon, on loopback. */
import { suite } from "../kit/suite.ts";
import * as assert from "uvu/assert";
import { createSocket } from "node:dgram";

import { createServer, Socket, type AddressInfo, type Server } from "node:net";
import { constants } from "node:os";
import * as abi from "../../assembly/abi.ts";
import { loadNative } from "../../src/sys/addon.ts";
import { FAILED, READABLE, WRITABLE } from "../../src/sys/native.ts";
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
import type { Far } from "./help.ts";

const test = suite("sys/sockets");
const native = loadNative();
const memory = new TestMemory(native);
const poller = new Poller(native);
const { EAGAIN, ECONNREFUSED, ECONNRESET, EINPROGRESS } = constants.errno;

function listen(onSocket: (socket: Socket) => void): Promise<{ server: Server; port: number }> {
  const server = createServer({ allowHalfOpen: true }, onSocket);
  return new Promise((done) => {
    server.listen(0, "127.0.0.1", () =>
      done({ server, port: (server.address() as AddressInfo).port }),
    );
  });
}

/** Connects and waits until the socket is writable; answers SO_ERROR too. */
async function connect(address: Uint8Array, port: number): Promise<{ fd: number; error: number }> {
  const fd = native.socket(address.length === 4 ? 4 : 6, "stream", {});
  const result = native.connect(fd, address, port);
  assert.ok(result === 0 || result === -EINPROGRESS, `connect: ${result}`);
  let events = 0;
  const watch = poller.watch(fd, WRITABLE, (bits) => (events |= bits));
  await until("connected", () => events !== 0);
  watch.close();
  return { fd, error: native.socketError(fd) };
}

function udp(family: 4 | 6): Far & { fd: number } {
  const address = family === 4 ? LOOPBACK_4 : LOOPBACK_6;
  const fd = native.socket(family, "dgram", { localAddress: address, recvBuffer: 4 << 20 });
  return { fd, address, port: native.socketName(fd, false)?.port ?? 0 };
}

/** Receives until `bytes` came; answers the records' facts. */
async function receive(
  fd: number,
  bytes: number,
): Promise<{ text: string; gso: number; port: number }[]> {
  const all: { text: string; gso: number; port: number }[] = [];
  let total = 0;
  await until("datagrams", () => {
    const count = native.udpRecv(memory.region, fd, abi.STAGE_BASE, abi.STAGE_MAX);
    assert.ok(count >= 0, `udpRecv: ${count}`);
    for (let index = 0; index < count; index++) {
      const at = abi.STAGE_BASE + index * abi.DGRAM_BYTES;
      const ptr = memory.u32(at + abi.DGRAM_PTR_OFF);
      const len = memory.u32(at + abi.DGRAM_LEN_OFF);
      all.push({
        text: Buffer.from(memory.buffer, ptr, len).toString("latin1"),
        gso: memory.u32(at + abi.DGRAM_GSO_OFF),
        port: memory.u16(at + abi.DGRAM_PORT_OFF),
      });
      total += len;
    }
    return total >= bytes;
  });
  return all;
}

/** The single datagrams in what came, super-packets split. */
function datagrams(all: readonly { text: string; gso: number }[]): string[] {
  return all.flatMap(({ text, gso }) => {
    if (gso === 0) return [text];
    const parts: string[] = [];
    for (let at = 0; at < text.length; at += gso) parts.push(text.slice(at, at + gso));
    return parts;
  });
}

function fill(ptr: number, text: string): void {
  memory.bytes.set(Buffer.from(text, "latin1"), ptr);
}

test("tcp: spans go out in order and come back scattered; half-close is EOF", async () => {
  const { server, port } = await listen((socket) => socket.pipe(socket));
  const { fd, error } = await connect(LOOPBACK_4, port);
  assert.is(error, 0);
  native.setNoDelay(fd, true);
  assert.equal(native.socketName(fd, true), { address: LOOPBACK_4, port });
  fill(DATA, "hello ");
  fill(DATA + 100, "spans");
  assert.is(native.sendSpans(memory.region, fd, memory.spans([DATA, 6], [DATA + 100, 5]), 2), 11);
  assert.is(native.shutdownWrite(fd), 0);
  let text = "";
  let end = false;
  const spans = memory.spans([DATA + 200, 4], [DATA + 300, 100]);
  assert.is(native.recvSpans(memory.region, fd, spans, 2), -EAGAIN);
  const watch = poller.watch(fd, READABLE, () => {
    const got = native.recvSpans(
      memory.region,
      fd,
      memory.spans([DATA + 200, 4], [DATA + 300, 100]),
      2,
    );
    end = got === 0;
    if (got <= 0) return;
    text += Buffer.from(memory.buffer, DATA + 200, Math.min(got, 4)).toString();
    if (got > 4) text += Buffer.from(memory.buffer, DATA + 300, got - 4).toString();
  });
  await until("end of stream", () => end);
  assert.is(text, "hello spans");
  watch.close();
  native.close(fd);
  server.close();
});

test("tcp: a closed port is refused, told by SO_ERROR", async () => {
  const { server, port } = await listen(() => undefined);
  await new Promise((done) => server.close(done));
  const { fd, error } = await connect(LOOPBACK_4, port);
  assert.is(error, ECONNREFUSED);
  assert.is(native.socketError(fd), 0);
  native.close(fd);
});

test("tcp: reset reaches the peer as a reset, and the peer's reaches us", async () => {
  const errors: string[] = [];
  const sockets: Socket[] = [];
  const { server, port } = await listen((socket) => {
    sockets.push(socket);
    socket.on("error", (error) => errors.push((error as { code?: string }).code ?? ""));
  });
  const first = await connect(LOOPBACK_4, port);
  await until("accepted", () => sockets.length === 1);
  native.reset(first.fd);
  await until("reset", () => errors.length === 1);
  assert.equal(errors, ["ECONNRESET"]);

  const second = await connect(LOOPBACK_4, port);
  await until("accepted", () => sockets.length === 2);
  let events = 0;
  const watch = poller.watch(second.fd, READABLE, (bits) => {
    events |= bits;
    watch.set(0);
  });
  sockets[1]?.resetAndDestroy();
  await until("reset", () => events !== 0);
  assert.ok((events & FAILED) !== 0);
  assert.is(native.recvSpans(memory.region, second.fd, memory.spans([DATA, 10]), 1), -ECONNRESET);
  assert.ok(native.sendSpans(memory.region, second.fd, memory.spans([DATA, 10]), 1) < 0);
  watch.close();
  native.close(second.fd);
  server.close();
});

test("tcp: binds to the local address and port wished for, and hands over to Node", async () => {
  let from = "";
  const { server, port } = await listen((socket) => {
    from = `${socket.remoteAddress}:${socket.remotePort}`;
    socket.end("bye");
  });
  const free = udp(4);
  native.close(free.fd);
  const fd = native.socket(4, "stream", { localAddress: ip4("127.0.0.2"), localPort: free.port });
  native.connect(fd, LOOPBACK_4, port);
  let events = 0;
  const watch = poller.watch(fd, WRITABLE, (bits) => (events = bits));
  await until("connected", () => events !== 0);
  watch.close();
  const socket = new Socket({ fd, readable: true, writable: true });
  let text = "";
  socket.on("data", (data) => (text += data.toString()));
  await new Promise((done) => socket.on("end", done));
  assert.is(text, "bye");
  assert.is(from, `127.0.0.2:${free.port}`);
  socket.destroy();
  server.close();
});

for (const family of [4, 6] as const) {
  test(`udp: a batch of datagrams, IPv${family}, with sizes 0, 1 and most`, async () => {
    const a = udp(family);
    const b = udp(family);
    const sizes = [0, 1, 1400, 9000, family === 4 ? 65_507 : 65_487];
    sizes.forEach((len, index) => {
      memory.bytes.fill(97 + index, memory.slot(40 + index), memory.slot(40 + index) + len);
      memory.record(index, { ptr: memory.slot(40 + index), len, far: b });
    });
    assert.is(native.udpSend(memory.region, a.fd, abi.DGRAMS_BASE, sizes.length), sizes.length);
    const got = await receive(
      b.fd,
      sizes.reduce((sum, len) => sum + len),
    );
    assert.equal(
      got.map(({ text }) => text),
      sizes.map((len, index) => String.fromCharCode(97 + index).repeat(len)),
    );
    assert.ok(got.every(({ port }) => port === a.port));
    native.close(a.fd);
    native.close(b.fd);
  });
}

test("udp: a segment size makes datagrams of it, also more than one send takes", async () => {
  const a = udp(4);
  const b = udp(4);
  for (const [len, gso] of [
    [10_000, 1200],
    [65_000, 500],
    [1200, 1200],
    [60_000, 65_535],
  ] as const) {
    const text = Array.from({ length: len }, (_, at) => String.fromCharCode(97 + (at % 23))).join(
      "",
    );
    fill(DATA, text);
    const at = memory.record(0, { ptr: DATA, len, gso, far: b });
    assert.is(native.udpSend(memory.region, a.fd, at, 1), 1);
    const got = datagrams(await receive(b.fd, len));
    assert.is(got.join(""), text);
    assert.equal(
      got.map((part) => part.length),
      Array.from({ length: Math.ceil(len / gso) }, (_, part) => Math.min(gso, len - part * gso)),
    );
  }
  native.close(a.fd);
  native.close(b.fd);
});

test("udp: a plain socket gets single datagrams from a super-packet", async () => {
  const plain = createSocket("udp4");
  const sizes: number[] = [];
  plain.on("message", (message) => sizes.push(message.length));
  await new Promise<void>((done) => plain.bind(0, "127.0.0.1", done));
  const a = udp(4);
  const far = { address: LOOPBACK_4, port: plain.address().port };
  const at = memory.record(0, { ptr: DATA, len: 3001, gso: 1000, far });
  assert.is(native.udpSend(memory.region, a.fd, at, 1), 1);
  await until("four datagrams", () => sizes.length === 4);
  assert.equal(sizes, [1000, 1000, 1000, 1]);
  plain.close();
  native.close(a.fd);
});

test("udp: a record that cannot go out does not hold up the others", async () => {
  const a = udp(4);
  const b = udp(4);
  memory.record(0, { ptr: DATA, len: 5, far: b });
  memory.record(1, { ptr: DATA, len: 65_600, far: b });
  memory.record(2, { ptr: DATA, len: 6, far: b });
  assert.is(native.udpSend(memory.region, a.fd, abi.DGRAMS_BASE, 3), 1);
  const second = abi.DGRAMS_BASE + abi.DGRAM_BYTES;
  assert.is(native.udpSend(memory.region, a.fd, second, 2), -constants.errno.EMSGSIZE);
  assert.is(native.udpSend(memory.region, a.fd, second + abi.DGRAM_BYTES, 1), 1);
  const got = await receive(b.fd, 11);
  assert.equal(
    got.map(({ text }) => text.length),
    [5, 6],
  );
  native.close(a.fd);
  native.close(b.fd);
});

for (const family of [4, 6] as const) {
  test(`udp: a closed port comes back through the error queue, IPv${family}`, async () => {
    const a = udp(family);
    const gone = udp(family);
    const b = udp(family);
    native.close(gone.fd);
    let failed = false;
    const watch = poller.watch(a.fd, READABLE, (events) => {
      failed = (events & FAILED) !== 0;
      watch.set(0);
    });
    const at = memory.record(0, { ptr: DATA, len: 5, far: gone });
    assert.is(native.udpSend(memory.region, a.fd, at, 1), 1);
    await until("failure", () => failed);
    // The old error is not the next datagram's.
    const next = memory.record(1, { ptr: DATA, len: 7, far: b });
    assert.is(native.udpSend(memory.region, a.fd, next, 1), 1);
    assert.is((await receive(b.fd, 7)).length, 1);
    const error = native.udpError(a.fd);
    assert.equal(error, {
      errno: ECONNREFUSED,
      origin: family === 4 ? 2 : 3,
      info: 0,
      family,
      address: gone.address,
      port: gone.port,
    });
    assert.is(native.udpError(a.fd), undefined);
    watch.close();
    native.close(a.fd);
    native.close(b.fd);
  });
}

const reason = noDevices();
test.skipUnless(
  reason === "",
  reason,
  "sockets leave by the device and with the mark wished for",
  async () => {
    const leave = await enterNamespace(native);
    try {
      for (const command of [
        "ip link set lo up",
        "ip link add d0 type veth peer name d1",
        "ip addr add 192.0.2.1/24 dev d0",
        "ip link set d0 up",
      ]) {
        const { code, output } = await runTool("sh", "-c", command);
        assert.is(code, 0, output);
      }
      const bound = native.socket(4, "dgram", { device: "d0", mark: 77, sendBuffer: 1 << 20 });
      // Loopback cannot be reached through a device that is not it.
      const at = memory.record(0, {
        ptr: DATA,
        len: 5,
        far: { address: ip4("192.0.2.7"), port: 9 },
      });
      assert.is(native.udpSend(memory.region, bound, at, 1), 1);
      assert.equal(native.socketName(bound, true), undefined);
      const { output } = await runTool("ss", "-uanpe");
      assert.match(output, /d0:\d+/);
      assert.match(output, /fwmark:0x4d/);
      native.close(bound);
    } finally {
      leave();
    }
  },
);

test.run();
