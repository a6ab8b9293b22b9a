/** mtls, mws and mwss: sessions are shared, replaced when they die, and carry later hops. */
import { type Socket, connect, createServer } from "node:net";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import * as assert from "uvu/assert";
import type { Chain } from "../../src/chain/types.ts";
import { suite } from "../kit/suite.ts";
import {
  CertFiles,
  MemoryLog,
  Reader,
  chainOf,
  dialContext,
  echoTarget,
  eventually,
  portOf,
  send,
  startRelay,
} from "./world.ts";

const test = suite("chain/mux-dialer");
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

/** A relay that counts its connections, and can cut them. */
async function counted(addr: string): Promise<{
  addr: string;
  sockets: Socket[];
  cut(): void;
  close(): void;
}> {
  const sockets: Socket[] = [];
  const server = createServer((socket) => {
    const far = connect(portOf(addr), "127.0.0.1");
    for (const one of [socket, far]) one.on("error", () => undefined);
    socket.on("close", () => far.destroy());
    far.on("close", () => socket.destroy());
    socket.pipe(far).pipe(socket);
    sockets.push(socket);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const cut = (): void => {
    for (const socket of sockets) socket.resetAndDestroy();
  };
  return {
    addr: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    sockets,
    cut,
    close: () => {
      cut();
      server.close();
    },
  };
}

async function echo(chain: Chain, text: string): Promise<Reader> {
  const reader = new Reader(await chain.connect({ host: "127.0.0.1", port }, dialContext()));
  await send(reader.stream, text);
  await reader.until(() => reader.text === text);
  return reader;
}

for (const dialer of ["mtls", "mws", "mwss"]) {
  test(`${dialer}: many dials at once share one session, which outlives them`, async () => {
    const relay = await startRelay({ listener: dialer, tls: files.tls });
    const wire = await counted(relay.address);
    const chain = chainOf([{ addr: wire.addr, dialer }]);
    const texts = Array.from({ length: 30 }, (_, index) => `hello ${index}`);
    const readers = await Promise.all(texts.map((text) => echo(chain, text)));
    for (const { stream } of readers) stream.end();
    for (const reader of readers) await reader.until(() => reader.closed);
    (await echo(chain, "again")).stream.reset();
    assert.is(wire.sockets.length, 1);
    chain.close();
    await eventually(() => wire.sockets[0]?.destroyed === true);
    wire.close();
    await relay.close();
  });

  test(`${dialer}: streams fail at once with their session, and the next dial gets a new one`, async () => {
    const relay = await startRelay({ listener: dialer, tls: files.tls });
    const wire = await counted(relay.address);
    const chain = chainOf([{ addr: wire.addr, dialer }]);
    const readers = await Promise.all(["one", "two"].map((text) => echo(chain, text)));
    wire.cut();
    for (const reader of readers) {
      await reader.until(() => reader.closed);
      assert.ok(reader.error !== undefined);
      assert.not.ok(reader.ended);
    }
    (await echo(chain, "three")).stream.reset();
    assert.is(wire.sockets.length, 2);
    chain.close();
    wire.close();
    await relay.close();
  });
}

test("who gives up waiting for a session leaves the others waiting; all get its failure", async () => {
  const server = createServer(() => undefined).listen(0, "127.0.0.1");
  await once(server, "listening");
  const sockets: Socket[] = [];
  server.on("connection", (socket) => {
    socket.on("error", () => undefined);
    sockets.push(socket);
  });
  const addr = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  const log = new MemoryLog();
  const chain = chainOf([{ addr, dialer: "mws" }], log);
  const hasty = new AbortController();
  const destination = { host: "127.0.0.1", port };
  const outcome = (promise: Promise<unknown>): Promise<string> =>
    promise.then(
      () => "connected",
      (error: unknown) => (error as { reason: string }).reason,
    );
  const first = outcome(chain.connect(destination, { signal: hasty.signal }));
  const second = outcome(chain.connect(destination, dialContext()));
  await eventually(() => sockets.length === 1);
  hasty.abort();
  assert.is(await first, "aborted");
  sockets[0]?.end("HTTP/1.1 403 Forbidden\r\n\r\n");
  assert.is(await second, "protocol");
  assert.is(sockets.length, 1);
  chain.close();
  server.close();
  sockets[0]?.destroy();
});

test("a session that is full is joined by a second one", async () => {
  const relay = await startRelay({ listener: "mws" });
  const wire = await counted(relay.address);
  const chain = chainOf([
    { addr: wire.addr, dialer: "mws", dialerMetadata: { "mux.maxStreams": 2 } },
  ]);
  const readers: Reader[] = [];
  for (const text of ["a", "b", "c", "d", "e"]) readers.push(await echo(chain, text));
  assert.is(wire.sockets.length, 3);
  for (const { stream } of readers) stream.end();
  for (const reader of readers) await reader.until(() => reader.closed);
  (await echo(chain, "f")).stream.reset();
  assert.is(wire.sockets.length, 3);
  chain.close();
  wire.close();
  await relay.close();
});

test("nodes before a multiplexing one are travelled once, for its session", async () => {
  const inner = await startRelay({ listener: "mwss", tls: files.tls });
  const outer = await startRelay({ listener: "tcp" });
  const wire = await counted(outer.address);
  const chain = chainOf([
    { addr: wire.addr, dialer: "tcp" },
    { addr: inner.address, dialer: "mwss" },
  ]);
  const texts = Array.from({ length: 10 }, (_, index) => `x${index}`);
  const readers = await Promise.all(texts.map((text) => echo(chain, text)));
  assert.is(wire.sockets.length, 1);
  for (const { stream } of readers) stream.reset();
  chain.close();
  wire.close();
  await outer.close();
  await inner.close();
});

test("a node after a multiplexing one gets a stream a connection", async () => {
  const inner = await startRelay({ listener: "tls", tls: files.tls });
  const outer = await startRelay({ listener: "mtls", tls: files.tls });
  const wire = await counted(outer.address);
  const chain = chainOf([
    { addr: wire.addr, dialer: "mtls" },
    { addr: inner.address, dialer: "tls" },
  ]);
  const texts = Array.from({ length: 10 }, (_, index) => `x${index}`);
  const readers = await Promise.all(texts.map((text) => echo(chain, text)));
  assert.is(wire.sockets.length, 1);
  for (const { stream } of readers) stream.end();
  for (const reader of readers) await reader.until(() => reader.closed);
  chain.close();
  wire.close();
  await outer.close();
  await inner.close();
});

test("unlike versions fail with their reason, and nothing hangs", async () => {
  const relay = await startRelay({ listener: "mws", listenerMetadata: { "mux.version": 2 } });
  const chain = chainOf([{ addr: relay.address, dialer: "mws" }]);
  const error = await chain.connect({ host: "127.0.0.1", port }, dialContext()).then(
    () => undefined,
    (thrown: unknown) => thrown as { reason?: string },
  );
  assert.ok(["closed", "protocol"].includes(error?.reason ?? ""), String(error));
  chain.close();
  await relay.close();
});

test("closing the service ends its sessions", async () => {
  const relay = await startRelay({ listener: "mws" });
  const wire = await counted(relay.address);
  const chain = chainOf([{ addr: wire.addr, dialer: "mws" }]);
  const reader = await echo(chain, "x");
  await relay.close();
  await reader.until(() => reader.closed);
  await eventually(() => wire.sockets[0]?.destroyed === true);
  chain.close();
  wire.close();
});

test("settings that cannot work are configuration errors before anything is dialled", () => {
  const build = (metadata: Record<string, number | string>): void => {
    chainOf([{ addr: "127.0.0.1:1", dialer: "mws", dialerMetadata: metadata }]);
  };
  const isConfig = (error: unknown): boolean =>
    (error as { code?: string }).code === "TSGOST_ERR_CONFIG" && String(error).includes("-F");
  assert.throws(() => build({ "mux.version": 3 }), isConfig);
  assert.throws(() => build({ "mux.type": "yamux" }), isConfig);
});

test.run();
