/** Two streams joined: what happens when one takes no more. */
import { once } from "node:events";
import { connect } from "node:net";
import * as assert from "uvu/assert";
import type { StreamHandler, UpStream } from "../../src/chain/types.ts";
import { CMD_CONNECT, encodeRequest } from "../../src/proto/relay.ts";
import { OP_BINARY, OP_CLOSE, encodeFrame } from "../../src/proto/ws.ts";
import { pipe } from "../../src/serve/relay-pipe.ts";
import { Target, eventually, portOf, startRelay } from "../chain/world.ts";
import { suite } from "../kit/suite.ts";

const test = suite("serve/pipe");

/** A stream that writes down what was asked of it; writes fail once it is told so. */
class Fake implements UpStream {
  readonly calls: string[] = [];
  handler: StreamHandler | undefined;
  error: Error | undefined;

  attach(handler: StreamHandler): void {
    this.handler = handler;
  }
  write(chunks: readonly Uint8Array[], done: (error?: Error) => void): void {
    this.calls.push(`write ${Buffer.concat(chunks).toString()}`);
    done(this.error);
  }
  pause(): void {
    this.calls.push("pause");
  }
  resume(): void {
    this.calls.push("resume");
  }
  end(): void {
    this.calls.push("end");
  }
  reset(): void {
    if (this.calls.includes("reset")) return;
    this.calls.push("reset");
    this.handler?.close();
  }
  destroy(): void {
    this.calls.push("destroy");
  }
}

test("a side that takes no more ends both", async () => {
  const [first, second] = [new Fake(), new Fake()];
  const over = pipe(first, second);
  first.handler?.data(Buffer.from("a"));
  assert.equal(second.calls, ["resume", "write a"]);
  // The client ended, cleanly, and does not read on; the target goes on sending.
  first.handler?.end();
  first.error = new Error("closed");
  second.handler?.data(Buffer.from("b"));
  await over;
  assert.equal(second.calls, ["resume", "write a", "end", "reset"]);
  assert.equal(first.calls, ["resume", "write b", "reset"]);
});

test("a WebSocket Close from the client ends a target that goes on sending", async () => {
  const target = new Target((socket) => {
    const timer = setInterval(() => socket.write("more"), 5);
    socket.on("close", () => clearInterval(timer));
  });
  const port = await target.listen();
  const relay = await startRelay({ listener: "ws" });
  const client = connect({ port: portOf(relay.address), host: "127.0.0.1", allowHalfOpen: true });
  client.on("error", () => undefined);
  try {
    client.write(
      "GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    );
    await once(client, "data");
    const address = { host: "127.0.0.1", port };
    client.write(encodeFrame(OP_BINARY, encodeRequest({ command: CMD_CONNECT, address }), 1));
    await eventually(() => target.sockets.length === 1);
    await once(client, "data");
    client.write(encodeFrame(OP_CLOSE, Buffer.of(0x03, 0xe8), 1));
    await eventually(() => target.events.includes("close"), 2000);
    assert.ok(target.events.includes("close"), target.events.join());
  } finally {
    client.destroy();
    await relay.close();
    target.close();
  }
});

test.run();
