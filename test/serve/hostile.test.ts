/**
 * Clients that mean harm, in small numbers: whoever idles, drips, floods or fails, others are
 * served, and what it took is given back.
 */
import { once } from "node:events";
import { type Socket, connect } from "node:net";
import * as assert from "uvu/assert";
import { encodeHeader } from "../../src/proto/smux.ts";
import {
  CertFiles,
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

const test = suite("serve/hostile");
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

const LISTENERS = ["tls", "ws", "wss", "mtls", "mws", "mwss"];

async function withRelay(parts: StartParts, body: (at: number) => Promise<void>): Promise<void> {
  const server = await startRelay({ tls: files.tls, ...parts });
  try {
    await body(portOf(server.address));
  } finally {
    await server.close();
  }
}

interface Raw {
  readonly socket: Socket;
  isOver: boolean;
}

async function open(at: number): Promise<Raw> {
  const socket = connect({ port: at, host: "127.0.0.1" });
  const raw: Raw = { socket, isOver: false };
  socket.on("error", () => undefined);
  socket.on("close", () => (raw.isOver = true));
  socket.on("end", () => (raw.isOver = true));
  socket.resume();
  await once(socket, "connect");
  return raw;
}

/** An honest client's round trip; the milliseconds it took. */
async function roundTrip(at: number, dialer: string): Promise<number> {
  const startMs = performance.now();
  const chain = chainOf([{ addr: `127.0.0.1:${at}`, dialer }]);
  const reader = new Reader(await chain.connect({ host: "127.0.0.1", port }, dialContext()));
  await send(reader.stream, "alive");
  await reader.until(() => reader.text === "alive");
  reader.stream.reset();
  chain.close();
  return performance.now() - startMs;
}

for (const listener of LISTENERS) {
  const hasty = { handshakeTimeout: "400ms" };
  test(`${listener}: idle and dripping clients are closed in time, others served meanwhile`, () =>
    withRelay({ listener, listenerMetadata: hasty }, async (at) => {
      const raws = await Promise.all(Array.from({ length: 100 }, () => open(at)));
      const drip = setInterval(() => {
        for (const { socket } of raws.slice(50))
          socket.write(listener.endsWith("s") ? "\x16" : "G");
      }, 50);
      await roundTrip(at, listener);
      await eventually(() => raws.every((raw) => raw.isOver), 4000);
      clearInterval(drip);
    }));

  test(`${listener}: failing handshakes in a row leave others undisturbed`, () =>
    withRelay({ listener }, async (at) => {
      const raws: Raw[] = [];
      for (let count = 0; count < 60; count++) {
        const raw = await open(at);
        raw.socket.end(count % 2 === 0 ? "nonsense\r\n\r\n" : Buffer.alloc(200, 0xff));
        raws.push(raw);
        if (count % 20 === 10) await roundTrip(at, listener);
      }
      await eventually(() => raws.every((raw) => raw.isOver), 4000);
    }));
}

test("unfinished handshakes above the limit: the oldest give way to who comes", () =>
  withRelay({ listener: "mwss", listenerMetadata: { backlog: 20 } }, async (at) => {
    const raws = await Promise.all(Array.from({ length: 20 }, () => open(at)));
    const early = await open(at);
    await eventually(() => early.isOver);
    assert.ok(raws.every((raw) => !raw.isOver));
    await pauseMs(1100);
    await roundTrip(at, "mwss");
    assert.is(raws.filter((raw) => raw.isOver).length, 1);
    for (const { socket } of raws) socket.destroy();
  }));

/** A WebSocket message of a client; the mask is zero, so the payload stands as it is. */
function masked(payload: Uint8Array): Buffer {
  const length = Buffer.of(0x82, 0xfe, payload.length >> 8, payload.length & 255);
  return Buffer.concat([length, Buffer.alloc(4), payload]);
}

const UPGRADE =
  "GET /ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
  "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

async function upgraded(at: number): Promise<Raw> {
  const raw = await open(at);
  raw.socket.write(UPGRADE);
  await once(raw.socket, "data");
  return raw;
}

test("mws: streams without a request end in time, their session lives, others are served", () =>
  withRelay({ listener: "mws", metadata: { readTimeout: "200ms" } }, async (at) => {
    const raw = await upgraded(at);
    let answered = 0;
    raw.socket.on("data", (chunk) => (answered += chunk.length));
    const syns = Array.from({ length: 500 }, (_, index) => encodeHeader(1, 0, 3 + 2 * index));
    raw.socket.write(masked(Buffer.concat(syns)));
    await roundTrip(at, "mws");
    // A FIN each, with or without a frame of its own.
    await eventually(() => answered >= 500 * 8, 4000);
    assert.not.ok(raw.isOver);
    raw.socket.destroy();
  }));

test("mws: sessions that say nothing end with the keep-alive", () =>
  withRelay(
    {
      listener: "mws",
      listenerMetadata: { "mux.keepaliveInterval": "50ms", "mux.keepaliveTimeout": "150ms" },
    },
    async (at) => {
      const raws = await Promise.all(Array.from({ length: 50 }, () => upgraded(at)));
      await roundTrip(at, "mws");
      await eventually(() => raws.every((raw) => raw.isOver), 4000);
    },
  ));

test("mws: streams above the listener's limit are refused, and room is found again", () =>
  withRelay({ listener: "mws", listenerMetadata: { maxConnections: 5 } }, async (at) => {
    const chain = chainOf([{ addr: `127.0.0.1:${at}`, dialer: "mws" }]);
    const dial = async (): Promise<Reader> =>
      new Reader(await chain.connect({ host: "127.0.0.1", port }, dialContext()));
    const readers: Reader[] = [];
    for (let count = 0; count < 5; count++) readers.push(await dial());
    const isRefused = await dial().then(
      () => false,
      () => true,
    );
    assert.ok(isRefused);
    for (const { stream } of readers) stream.reset();
    await eventually(() => target.events.length >= 5);
    const again = await dial();
    await send(again.stream, "x");
    await again.until(() => again.text === "x");
    chain.close();
  }));

test.run();
