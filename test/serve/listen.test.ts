/**
 * Listeners under hostile clients: limits of time, bytes and numbers; addresses; independent peers.
 */
import { once } from "node:events";
import { type Socket, connect } from "node:net";
import { connect as connectTls } from "node:tls";
import * as assert from "uvu/assert";
import WebSocket, { WebSocketServer } from "ws";
import { type AddressInfo } from "node:net";
import { CMD_CONNECT, encodeRequest } from "../../src/proto/relay.ts";
import {
  CertFiles,
  MemoryLog,
  Reader,
  type StartParts,
  chainOf,
  dialContext,
  echoTarget,
  eventually,
  pauseMs,
  portOf,
  send,
  startRelay,
} from "../chain/world.ts";
import { suite } from "../kit/suite.ts";

const test = suite("serve/listen");
const files = new CertFiles();
const target = echoTarget();
let port = 0;
test.before(async () => {
  port = await target.listen();
});
test.after(() => {
  files.remove();
  target.close();
});

async function withRelay(parts: StartParts, body: (port: number) => Promise<void>): Promise<void> {
  const server = await startRelay({ tls: files.tls, ...parts });
  try {
    await body(portOf(server.address));
  } finally {
    await server.close();
  }
}

interface Raw {
  readonly socket: Socket;
  text: string;
  isOver: boolean;
}

async function open(at: number): Promise<Raw> {
  const socket = connect({ port: at, host: "127.0.0.1", allowHalfOpen: true });
  await once(socket, "connect");
  const raw: Raw = { socket, text: "", isOver: false };
  socket.on("data", (chunk: Buffer) => (raw.text += chunk.toString("latin1")));
  for (const event of ["error", "end", "close"]) socket.on(event, () => (raw.isOver = true));
  return raw;
}

const UPGRADE =
  "GET /ws HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

const hasty = { handshakeTimeout: "200ms" };

for (const listener of ["tls", "ws", "wss"]) {
  test(`${listener}: who does not finish the handshake is closed in time`, () =>
    withRelay({ listener, listenerMetadata: hasty }, async (at) => {
      const silent = await open(at);
      const slow = await open(at);
      const drip = setInterval(() => slow.socket.write(listener === "ws" ? "G" : "\x16"), 50);
      await eventually(() => silent.isOver && slow.isOver, 2000);
      clearInterval(drip);
    }));
}

test("ws: a header line by line, for ever, is closed in time", () =>
  withRelay({ listener: "ws", listenerMetadata: hasty }, async (at) => {
    const raw = await open(at);
    raw.socket.write("GET /ws HTTP/1.1\r\nHost: h\r\n");
    const drip = setInterval(() => raw.socket.write("X-More: 1\r\n"), 20);
    await eventually(() => raw.isOver, 2000);
    clearInterval(drip);
  }));

test("ws: a head above 16 KiB is refused", () =>
  withRelay({ listener: "ws" }, async (at) => {
    const raw = await open(at);
    raw.socket.write(`GET /ws HTTP/1.1\r\nHost: h\r\n${"X: y\r\n".repeat(10_000)}`);
    await eventually(() => raw.isOver, 2000);
  }));

test("ws: a refused request leaves the connection for another one", () =>
  withRelay({ listener: "ws" }, async (at) => {
    const raw = await open(at);
    raw.socket.write(UPGRADE.replace("/ws", "/nope"));
    await eventually(() => raw.text.includes("404 page not found"));
    raw.text = "";
    raw.socket.write(UPGRADE);
    await eventually(() => raw.text.includes("101 Switching Protocols"));
    assert.is(raw.isOver, false);
    raw.socket.destroy();
  }));

test("ws: the answer is the same at every split of the request", () =>
  withRelay({ listener: "ws" }, async (at) => {
    for (let split = 1; split < UPGRADE.length; split += 7) {
      const raw = await open(at);
      raw.socket.setNoDelay(true);
      raw.socket.write(UPGRADE.slice(0, split));
      await pauseMs(2);
      raw.socket.write(UPGRADE.slice(split));
      await eventually(() => raw.text.endsWith("\r\n\r\n"));
      assert.match(raw.text, /^HTTP\/1.1 101 .*s3pPLMBiTxaQ9kYGzzhZRbK\+xOo=\r\n\r\n$/s);
      raw.socket.destroy();
    }
  }));

const GARBAGE = [
  "\x00".repeat(100),
  "\xff".repeat(70_000),
  "GET / HTTP/1.0\r\n\r\n",
  "\x16\x03\x01\x02\x00\x01",
];

for (const listener of ["tcp", "tls", "ws", "wss"]) {
  test(`${listener}: garbage closes its connection and nothing else`, () =>
    withRelay(
      { listener, listenerMetadata: hasty, metadata: { readTimeout: "200ms" } },
      async (at) => {
        for (const text of GARBAGE) {
          const raw = await open(at);
          raw.socket.write(text, "latin1");
          await eventually(() => raw.isOver, 3000);
        }
        const chain = chainOf([{ addr: `127.0.0.1:${at}`, dialer: listener }]);
        const reader = new Reader(await chain.connect({ host: "127.0.0.1", port }, dialContext()));
        await send(reader.stream, "alive");
        await reader.until(() => reader.text === "alive");
        reader.stream.reset();
      },
    ));
}

test("a request that does not come is not waited for", () =>
  withRelay({ metadata: { readTimeout: "150ms" } }, async (at) => {
    const raw = await open(at);
    raw.socket.write(Buffer.from("0101000a02", "hex"));
    await eventually(() => raw.isOver, 2000);
    assert.is(raw.text, "");
  }));

test("connections beyond the limit are closed, told once, and room is found again", async () => {
  const log = new MemoryLog();
  await withRelay({ listenerMetadata: { maxConnections: 3 }, log }, async (at) => {
    const held = [await open(at), await open(at), await open(at)];
    const more = [await open(at), await open(at)];
    await eventually(() => more.every((raw) => raw.isOver));
    assert.ok(held.every((raw) => !raw.isOver));
    assert.is(log.find(/too many connections/).length, 1);
    for (const raw of held) raw.socket.destroy();
    await pauseMs(50);
    const again = await open(at);
    await pauseMs(50);
    assert.is(again.isOver, false);
    again.socket.destroy();
  });
});

test("an open relay is warned of; authentication, loopback or a fixed target is not", async () => {
  const cases: [StartParts, boolean][] = [
    [{ addr: "127.0.0.1:0" }, false],
    [{ addr: "[::1]:0" }, false],
    [{ addr: "0.0.0.0:0", auth: { username: "u", password: "p" } }, false],
    [{ addr: "0.0.0.0:0", forward: ["127.0.0.1:9"] }, false],
    [{ addr: "0.0.0.0:0" }, true],
  ];
  for (const [parts, isWarned] of cases) {
    const log = new MemoryLog();
    const server = await startRelay({ ...parts, log });
    assert.is(log.find(/relay without authentication/).length, isWarned ? 1 : 0, parts.addr);
    await server.close();
  }
});

test("a host given binds its family only, an address in use is one clear error", async () => {
  const server = await startRelay({ addr: "[::1]:0", auth: { username: "u", password: "p" } });
  const at = portOf(server.address);
  const four = await startRelay({ addr: `127.0.0.1:${at}` });
  const error = await startRelay({ addr: `127.0.0.1:${at}` }).then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  assert.is((error as { code?: string }).code, "TSGOST_ERR_LISTEN");
  assert.match(String(error), /-L: cannot listen on 127.0.0.1:.*EADDRINUSE/);
  await server.close();
  await four.close();
});

test("unknown listeners, handlers and empty passwords are configuration errors", async () => {
  const cases: [StartParts, RegExp][] = [
    [{ listener: "quic" }, /listener "quic" is unknown/],
    [{ auth: { username: "u", password: "" } }, /auth.anyPassword=true/],
    [{ addr: "nowhere" }, /not HOST:PORT/],
    [{ listener: "tls", tls: { certFile: "/nonexistent", keyFile: "/nonexistent" } }, /certFile/],
    [{ forward: ["nowhere"] }, /forward target/],
  ];
  for (const [parts, pattern] of cases) {
    const error = await startRelay(parts).then(
      () => undefined,
      (thrown: unknown) => thrown,
    );
    assert.is((error as { code?: string }).code, "TSGOST_ERR_CONFIG");
    assert.match(String(error), pattern);
  }
  const open = { auth: { username: "u", password: "" }, metadata: { "auth.anyPassword": true } };
  await withRelay(open, async (at) => {
    const auth = { username: "u", password: "whatever" };
    const chain = chainOf([{ addr: `127.0.0.1:${at}`, auth }]);
    (await chain.connect({ host: "127.0.0.1", port }, dialContext())).reset();
    const other = chainOf([{ addr: `127.0.0.1:${at}`, auth: { username: "x", password: "" } }]);
    const error = await other.connect({ host: "127.0.0.1", port }, dialContext()).then(
      () => undefined,
      (thrown: unknown) => thrown,
    );
    assert.is((error as { reason?: string }).reason, "auth");
  });
});

test("an independent WebSocket client can use the server", () =>
  withRelay({ listener: "wss" }, async (at) => {
    const socket = new WebSocket(`wss://127.0.0.1:${at}/ws`, { rejectUnauthorized: false });
    await once(socket, "open");
    let got = Buffer.alloc(0);
    socket.on("message", (data: Buffer) => (got = Buffer.concat([got, data])));
    const request = encodeRequest({ command: CMD_CONNECT, address: { host: "127.0.0.1", port } });
    socket.send(request.subarray(0, 5), { fin: false });
    socket.send(request.subarray(5), { fin: true });
    const big = Buffer.alloc(300_000, "b");
    socket.send(big);
    await eventually(() => got.length === 4 + big.length);
    assert.equal(got.subarray(4), big);
    socket.ping("hi");
    const [pong] = (await once(socket, "pong")) as [Buffer];
    assert.is(pong.toString(), "hi");
    socket.close(1000);
    const [code] = (await once(socket, "close")) as [number];
    assert.is(code, 1000);
  }));

test("an independent WebSocket server can be used, with pings, fragments and a close", async () => {
  const server = new WebSocketServer({ port: 0, host: "127.0.0.1", path: "/ws" });
  await once(server, "listening");
  server.on("connection", (socket) => {
    socket.once("message", () => {
      socket.send(Buffer.from("01000000", "hex"));
      socket.on("message", (data: Buffer) => {
        socket.ping("beat");
        socket.send(data.subarray(0, 3), { fin: false });
        socket.send(data.subarray(3), { fin: true });
        socket.once("pong", () => socket.close(1000));
      });
    });
  });
  const addr = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  const chain = chainOf([{ addr, dialer: "ws" }]);
  const reader = new Reader(await chain.connect({ host: "192.0.2.1", port: 1 }, dialContext()));
  await send(reader.stream, "z".repeat(100_000));
  await reader.until(() => reader.ended);
  assert.is(reader.bytes, 100_000);
  reader.stream.end();
  await reader.until(() => reader.closed);
  server.close();
});

test("closing the service resets its connections and frees its port", async () => {
  const server = await startRelay({ listener: "wss", tls: files.tls });
  const chain = chainOf([{ addr: server.address, dialer: "wss" }]);
  const reader = new Reader(await chain.connect({ host: "127.0.0.1", port }, dialContext()));
  const unfinished = connectTls({ port: portOf(server.address), rejectUnauthorized: false });
  unfinished.on("error", () => undefined);
  await once(unfinished, "secureConnect");
  await server.close();
  await reader.until(() => reader.closed);
  assert.ok(reader.error !== undefined);
  const again = await startRelay({ addr: server.address });
  await again.close();
  await server.close();
});

test.run();
