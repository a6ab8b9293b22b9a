/** Sockets of the addon that Node connects: by device, by mark, and given up in time. */
import { once } from "node:events";
import { type AddressInfo, createServer } from "node:net";
import * as assert from "uvu/assert";
import { openBoundSocket } from "../../src/chain/bound-socket.ts";
import { openUdp } from "../../src/chain/direct-datagrams.ts";
import { SocketStream } from "../../src/chain/socket-stream.ts";
import { suite } from "../kit/suite.ts";
import { Reader, echoTarget, eventually, send } from "./world.ts";

const test = suite("chain/bound");
const isRoot = process.getuid?.() === 0;

function way(
  port: number,
  more: { device?: string; mark?: number; local?: string },
): {
  address: string;
  port: number;
  local: string | undefined;
  device: string | undefined;
  mark: number | undefined;
} {
  const { device, mark, local } = more;
  return { address: "127.0.0.1", port, local, device, mark };
}

test("a socket by a device carries bytes, half-closes and resets like any other", async () => {
  const target = echoTarget();
  const port = await target.listen();
  const signal = new AbortController().signal;
  const socket = await openBoundSocket(way(port, { device: "lo" }), signal);
  const reader = new Reader(new SocketStream(socket));
  await send(reader.stream, "hello");
  await reader.until(() => reader.text === "hello");
  reader.stream.end();
  await reader.until(() => reader.closed);
  assert.is(reader.error, undefined);
  const again = new SocketStream(await openBoundSocket(way(port, { device: "lo" }), signal));
  await send(again, "x");
  await eventually(() => target.sockets.length === 2);
  again.reset();
  await eventually(() => target.events.includes("ECONNRESET"));
  target.close();
});

test("a refused connection and a missing device are told as such", async () => {
  const signal = new AbortController().signal;
  const codeOf = (promise: Promise<unknown>): Promise<unknown> =>
    promise.then(
      () => "connected",
      (error: unknown) => (error as { code?: unknown }).code,
    );
  assert.is(await codeOf(openBoundSocket(way(9, { device: "lo" }), signal)), "ECONNREFUSED");
  assert.is(await codeOf(openBoundSocket(way(9, { device: "nope0" }), signal)), "ENODEV");
  assert.is(await codeOf(openUdp(4, { device: "nope0" })), "ENODEV");
});

test("a local address is bound", async () => {
  const seen: string[] = [];
  const server = createServer((socket) => {
    seen.push(socket.remoteAddress ?? "");
    socket.destroy();
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const signal = new AbortController().signal;
  const socket = await openBoundSocket(way(port, { device: "lo", local: "127.0.0.9" }), signal);
  await eventually(() => seen.length === 1);
  assert.equal(seen, ["127.0.0.9"]);
  socket.destroy();
  server.close();
});

test("giving up closes the descriptor", async () => {
  const stop = new AbortController();
  // TEST-NET-1 by loopback: no answer ever comes, or none can.
  const to = { ...way(9, { device: "lo" }), address: "192.0.2.1" };
  const dialing = openBoundSocket(to, stop.signal).then(
    () => "connected",
    () => "failed",
  );
  stop.abort(new Error("enough"));
  assert.is(await dialing, "failed");
  await eventually(() => !process.getActiveResourcesInfo().includes("TCPSocketWrap"));
});

test("a datagram socket by a device sends and receives", async () => {
  const one = await openUdp(4, { device: "lo" });
  const two = await openUdp(4, {});
  const got = once(two, "message");
  one.send("hello", two.address().port, "127.0.0.1");
  const [data] = (await got) as [Buffer];
  assert.is(data.toString(), "hello");
  one.close();
  two.close();
});

test.skipUnless(isRoot, "SO_MARK needs CAP_NET_ADMIN", "a mark is set", async () => {
  const target = echoTarget();
  const port = await target.listen();
  const socket = await openBoundSocket(way(port, { mark: 7 }), new AbortController().signal);
  const reader = new Reader(new SocketStream(socket));
  await send(reader.stream, "marked");
  await reader.until(() => reader.text === "marked");
  reader.stream.reset();
  target.close();
});

test.run();
