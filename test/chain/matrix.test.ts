/** Every dialer with the relay connector against our own server, on loopback. */
import { createHash, randomBytes } from "node:crypto";
import * as assert from "uvu/assert";
import { wasReset } from "../../src/chain/tcp-state.ts";
import { suite } from "../kit/suite.ts";
import {
  CertFiles,
  Reader,
  Target,
  chainOf,
  dialContext,
  echoTarget,
  eventually,
  portOf,
  send,
  startRelay,
} from "./world.ts";

const test = suite("chain/matrix");
const files = new CertFiles();
test.after(() => files.remove());

async function withServer(
  listener: string,
  body: (addr: string) => Promise<void>,
  parts: object = {},
): Promise<void> {
  const server = await startRelay({ listener, tls: files.tls, ...parts });
  try {
    await body(server.address);
  } finally {
    await server.close();
  }
}

for (const dialer of ["tcp", "tls", "ws", "wss", "mtls", "mws", "mwss"]) {
  test(`${dialer}: carries bytes both ways and both half-closes`, () =>
    withServer(dialer, async (addr) => {
      const target = echoTarget();
      const port = await target.listen();
      const chain = chainOf([{ addr, dialer }]);
      const stream = await chain.connect({ host: "127.0.0.1", port }, dialContext());
      const reader = new Reader(stream);
      await send(stream, "hello");
      await reader.until(() => reader.text === "hello");
      stream.end();
      await reader.until(() => reader.ended);
      await reader.until(() => reader.closed);
      assert.is(reader.error, undefined);
      await eventually(() => target.events.includes("close"));
      target.close();
      chain.close();
    }));

  test(`${dialer}: a client's end reaches the target, whose answer still comes`, () =>
    withServer(dialer, async (addr) => {
      const target = new Target((socket) => {
        let got = "";
        socket.on("data", (chunk: Buffer) => (got += chunk.toString()));
        socket.on("end", () => setTimeout(() => socket.end(`got ${got}`), 50));
      });
      const port = await target.listen();
      const chain = chainOf([{ addr, dialer }]);
      const stream = await chain.connect({ host: "127.0.0.1", port }, dialContext());
      const reader = new Reader(stream);
      await send(stream, "request");
      stream.end();
      await reader.until(() => reader.closed);
      assert.is(reader.text, "got request");
      assert.ok(reader.ended);
      assert.is(reader.error, undefined);
      target.close();
    }));

  test(`${dialer}: a target's end leaves the way to it open`, () =>
    withServer(dialer, async (addr) => {
      let got = "";
      const target = new Target((socket) => {
        socket.end("banner");
        socket.on("data", (chunk: Buffer) => (got += chunk.toString()));
      });
      const port = await target.listen();
      const chain = chainOf([{ addr, dialer }]);
      const stream = await chain.connect({ host: "127.0.0.1", port }, dialContext());
      const reader = new Reader(stream);
      await reader.until(() => reader.ended);
      assert.is(reader.text, "banner");
      await send(stream, "still here");
      stream.end();
      await reader.until(() => reader.closed);
      assert.is(reader.error, undefined);
      await eventually(() => got === "still here");
      target.close();
    }));

  test(`${dialer}: 8 MiB come back unchanged`, () =>
    withServer(dialer, async (addr) => {
      const target = echoTarget();
      const port = await target.listen();
      const chain = chainOf([{ addr, dialer }]);
      const stream = await chain.connect({ host: "127.0.0.1", port }, dialContext());
      const reader = new Reader(stream);
      const sent = createHash("sha256");
      const total = 8 * 1024 * 1024;
      for (let bytes = 0; bytes < total; bytes += 128 * 1024) {
        const parts = [randomBytes(64 * 1024), randomBytes(64 * 1024 - 3), randomBytes(3)];
        for (const part of parts) sent.update(part);
        await new Promise<void>((resolve, reject) => {
          stream.write(parts, (error) => (error === undefined ? resolve() : reject(error)));
        });
      }
      stream.end();
      await reader.until(() => reader.closed, 20_000);
      assert.is(reader.bytes, total);
      const got = createHash("sha256").update(Buffer.concat(reader.chunks));
      assert.is(got.digest("hex"), sent.digest("hex"));
      target.close();
    }));

  test(`${dialer}: a client's reset resets the target`, () =>
    withServer(dialer, async (addr) => {
      const target = new Target((socket, self) => {
        socket.resume();
        // Node tells a reset that comes with data as an end: look at what the kernel says.
        socket.on("end", () => self.events.push(wasReset(socket) ? "ECONNRESET" : "end"));
      });
      const port = await target.listen();
      const chain = chainOf([{ addr, dialer }]);
      const stream = await chain.connect({ host: "127.0.0.1", port }, dialContext());
      const reader = new Reader(stream);
      await send(stream, "x");
      stream.reset();
      await reader.until(() => reader.closed);
      await eventually(() => target.events.length > 0);
      assert.is(target.events[0], "ECONNRESET");
      target.close();
    }));

  test(`${dialer}: a target's reset resets the client`, () =>
    withServer(dialer, async (addr) => {
      const target = new Target((socket) => {
        socket.on("data", () => socket.resetAndDestroy());
      });
      const port = await target.listen();
      const chain = chainOf([{ addr, dialer }]);
      const stream = await chain.connect({ host: "127.0.0.1", port }, dialContext());
      const reader = new Reader(stream);
      await send(stream, "x");
      await reader.until(() => reader.closed);
      assert.ok(reader.error !== undefined);
      assert.not.ok(reader.ended);
      target.close();
    }));

  test(`${dialer}: a closed port is refused, not accepted`, () =>
    withServer(dialer, async (addr) => {
      const target = echoTarget();
      const port = await target.listen();
      target.close();
      await eventually(() => !target.server.listening);
      const chain = chainOf([{ addr, dialer }]);
      const failure = await chain.connect({ host: "127.0.0.1", port }, dialContext()).then(
        () => undefined,
        (error: unknown) => error,
      );
      assert.is((failure as { reason?: string }).reason, "refused");
      assert.is((failure as { party?: string }).party, "destination");
      assert.is(portOf(addr) > 0, true);
    }));
}

test.run();
