/** A flow through a chain: what the end of its stream means for the client. */
import * as assert from "uvu/assert";
import * as abi from "../../assembly/abi.ts";
import type { Router, StreamHandler, UpStream } from "../../src/chain/types.ts";
import type { FlowFacts } from "../../src/core/flow.ts";
import type { Pump } from "../../src/core/pump.ts";
import { ChainedFlow, ChainedMapping } from "../../src/serve/tungo/chained.ts";
import { suite } from "../kit/suite.ts";

const test = suite("serve/chained");

const FACTS: FlowFacts = {
  handle: 7,
  ptr: 0,
  family: 4,
  remoteHost: "192.0.2.1",
  remotePort: 40_000,
  localHost: "192.0.2.9",
  localPort: 80,
  localBytes: new Uint8Array([192, 0, 2, 9]),
};

/** A flow whose core and stream write down what was asked of them. */
class Scene {
  readonly calls: string[] = [];
  handler: StreamHandler | undefined;
  readonly flow: ChainedFlow;

  constructor() {
    const call =
      (name: string) =>
      (...args: unknown[]): number => {
        this.calls.push([name, ...args.slice(1, -1)].join(" "));
        return 0;
      };
    const x = {
      accept: call("accept"),
      abort: call("abort"),
      reject: call("reject"),
      shutdown: call("shutdown"),
      release: () => void this.calls.push("release"),
      recvPeek: () => 0,
    };
    const pump = { core: { x }, now: () => 0, touch: () => undefined } as unknown as Pump;
    const stream: UpStream = {
      attach: (handler) => {
        this.handler = handler;
      },
      write: () => undefined,
      pause: () => undefined,
      resume: () => undefined,
      end: () => void this.calls.push("stream end"),
      reset: () => void this.calls.push("stream reset"),
      destroy: () => void this.calls.push("stream destroy"),
    };
    const router = { connect: () => Promise.resolve(stream) } as unknown as Router;
    this.flow = new ChainedFlow(
      { router, pump, queueBytes: 1000, dialFailed: () => undefined },
      FACTS,
    );
  }

  async connected(): Promise<StreamHandler> {
    await Promise.resolve();
    await Promise.resolve();
    assert.ok(this.handler !== undefined);
    return this.handler!;
  }
}

test("both ends in order, then a reset of the transport: no reset for the client", async () => {
  const scene = new Scene();
  const handler = await scene.connected();
  handler.end();
  scene.flow.fin();
  handler.close(new Error("read ECONNRESET"));
  scene.flow.closed(abi.CLOSE_DONE);
  assert.equal(scene.calls, ["accept", "shutdown", "stream end", "stream destroy", "release"]);
});

test("a stream that is lost before it ended resets the client", async () => {
  const scene = new Scene();
  const handler = await scene.connected();
  handler.close(new Error("read ECONNRESET"));
  scene.flow.closed(abi.CLOSE_HOST);
  assert.equal(scene.calls, ["accept", "abort", "stream reset", "release"]);
});

test("a stream that is lost while the client may still send resets the client", async () => {
  const scene = new Scene();
  const handler = await scene.connected();
  handler.end();
  handler.close(new Error("read ECONNRESET"));
  assert.equal(scene.calls, ["accept", "shutdown", "abort"]);
});

test("a stream that closes without a word resets the client", async () => {
  const scene = new Scene();
  const handler = await scene.connected();
  scene.flow.fin();
  handler.close();
  assert.equal(scene.calls, ["accept", "stream end", "abort"]);
});

test("the client's reset resets the stream", async () => {
  const scene = new Scene();
  await scene.connected();
  scene.flow.closed(abi.CLOSE_RESET);
  assert.equal(scene.calls, ["accept", "stream reset", "release"]);
});

/** A core's memory with one datagram of `bytes` in its first record. */
function memoryWith(bytes: number): object {
  const buffer = new ArrayBuffer(abi.MEMORY_BASE + 65_536);
  const u32 = new Uint32Array(buffer);
  u32[(abi.DGRAMS_BASE + abi.DGRAM_PTR_OFF) >> 2] = abi.MEMORY_BASE;
  u32[(abi.DGRAMS_BASE + abi.DGRAM_LEN_OFF) >> 2] = bytes;
  return { u8: new Uint8Array(buffer), u16: new Uint16Array(buffer), u32, x: {} };
}

test("UDP-14: what waits for an association is bounded, other mappings go on", async () => {
  for (const bytes of [0, 1000, 60_000]) {
    const sent: number[] = [];
    const carrier = {
      attach: () => undefined,
      send: (data: Uint8Array) => void sent.push(data.length),
      close: () => undefined,
    };
    let connect: (value: typeof carrier) => void = () => undefined;
    const slow = new Promise<typeof carrier>((resolve) => (connect = resolve));
    const answers = [slow, Promise.resolve(carrier)];
    const router = { datagrams: () => answers.shift() } as unknown as Router;
    const pump = { core: memoryWith(bytes), now: () => 0, touch: () => undefined };
    const ends = { router, pump: pump as unknown as Pump, dialFailed: () => undefined };
    const context = { ...ends, queueBytes: 262_144 };
    const waiting = new ChainedMapping(context, FACTS);
    const ready = new ChainedMapping(context, { ...FACTS, handle: 8 });
    await Promise.resolve();
    await Promise.resolve();
    for (let i = 0; i < 10_000; i++) waiting.datagrams(0, 1);
    assert.equal(sent, [], "nothing is connected");
    ready.datagrams(0, 1);
    assert.equal(sent.splice(0), [bytes]);
    connect(carrier);
    await Promise.resolve();
    await Promise.resolve();
    assert.ok(sent.length > 0);
    assert.ok(sent.length * (bytes + 128) <= 262_144, `${sent.length} datagrams waited`);
    waiting.datagrams(0, 1);
    assert.is(sent.at(-1), bytes);
  }
});

test.run();
