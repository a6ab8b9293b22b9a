/** Seeded faults in virtual time: the same seed does the same, each fault does what it says. */
import { suite } from "../kit/suite.ts";
import * as assert from "uvu/assert";
import { FaultsDevice, type FaultClock, type Faults } from "../../src/tun/faults.ts";
import { MemoryDevice } from "../../src/tun/memory.ts";
import { PlainMemory } from "./help.ts";

const test = suite("tun/faults");

/** Time that moves only when told. */
class Clock implements FaultClock {
  ms = 1000;
  #timers: { ms: number; callback: () => void }[] = [];

  nowMs(): number {
    return this.ms;
  }

  after(ms: number, callback: () => void): () => void {
    const timer = { ms: this.ms + ms, callback };
    this.#timers.push(timer);
    return () => {
      this.#timers = this.#timers.filter((other) => other !== timer);
    };
  }

  advance(ms: number): void {
    const end = this.ms + ms;
    for (;;) {
      this.#timers.sort((a, b) => a.ms - b.ms);
      const next = this.#timers[0];
      if (next === undefined || next.ms > end) break;
      this.#timers.shift();
      this.ms = Math.max(this.ms, next.ms);
      next.callback();
    }
    this.ms = end;
  }

  get pending(): number {
    return this.#timers.length;
  }
}

interface Bench {
  readonly clock: Clock;
  readonly inner: MemoryDevice;
  readonly device: FaultsDevice;
  /** First bytes of the packets that the stack got, or the far side. */
  readonly got: number[];
  readonly arrived: number[];
  send(value: number): void;
}

function bench(faults: { in?: Faults; out?: Faults }, seed = 1): Bench {
  const clock = new Clock();
  const inner = new MemoryDevice({ queue: 10_000 });
  const device = new FaultsDevice(inner, { seed, clock, ...faults });
  const memory = new PlainMemory();
  const got: number[] = [];
  const arrived: number[] = [];
  device.attach(memory);
  device.onReadable(() => {
    for (let count = device.read(8); count > 0; count = device.read(8)) {
      for (let index = 0; index < count; index++) {
        const packet = memory.received(index);
        got.push((packet[0] ?? 0) * 256 + (packet[1] ?? 0));
      }
    }
  });
  inner.onPacket((packet) => arrived.push((packet[0] ?? 0) * 256 + (packet[1] ?? 0)));
  const send = (value: number): void => {
    memory.set(700_000, Uint8Array.of(value >> 8, value & 255, ...new Uint8Array(98)));
    memory.tx(0, [700_000, 40], [700_040, 60]);
    assert.is(device.write(1), 0);
  };
  return { clock, inner, device, got, arrived, send };
}

async function pushAll(on: Bench, count: number): Promise<void> {
  for (let value = 0; value < count; value++) {
    assert.ok(on.inner.push(Uint8Array.of(value >> 8, value & 255)));
  }
  await new Promise((done) => setTimeout(done, 10));
}

const COUNT = 500;
const ALL = Array.from({ length: COUNT }, (_, value) => value);

test("without faults all passes at once, in order, both ways", async () => {
  const on = bench({});
  await pushAll(on, COUNT);
  assert.equal(on.got, ALL);
  for (const value of ALL) on.send(value);
  assert.equal(on.arrived, ALL);
  assert.is(on.clock.pending, 0);
});

test("loss: about the share asked for, order kept, a write of it did not fail", async () => {
  const on = bench({ in: { loss: 0.2 }, out: { loss: 0.2 } });
  await pushAll(on, COUNT);
  for (const value of ALL) on.send(value);
  for (const list of [on.got, on.arrived]) {
    assert.ok(list.length > 350 && list.length < 450, `${list.length}`);
    assert.equal(
      list,
      [...list].sort((a, b) => a - b),
    );
  }
  assert.is(on.device.counts.in.lost, COUNT - on.got.length);
  assert.is(on.device.counts.out.passed, on.arrived.length);
});

test("loss 1 lets nothing through", async () => {
  const on = bench({ in: { loss: 1 } });
  await pushAll(on, 50);
  assert.equal(on.got, []);
});

test("duplicates come twice, directly after each other", async () => {
  const on = bench({ in: { duplicate: 1 } });
  await pushAll(on, 3);
  assert.equal(on.got, [0, 0, 1, 1, 2, 2]);
});

test("delay: nothing before its time, all in order after it", async () => {
  const on = bench({ in: { delayMs: 50 }, out: { delayMs: 30 } });
  await pushAll(on, 20);
  for (const value of ALL.slice(0, 20)) on.send(value);
  on.clock.advance(29);
  assert.equal([on.got, on.arrived], [[], []]);
  on.clock.advance(1);
  assert.equal(on.arrived, ALL.slice(0, 20));
  on.clock.advance(19);
  assert.equal(on.got, []);
  on.clock.advance(1);
  assert.equal(on.got, ALL.slice(0, 20));
  assert.is(on.clock.pending, 0);
});

test("reorder: held packets are overtaken, none is lost", async () => {
  const on = bench({ out: { reorder: 0.1, reorderMs: 5 } });
  for (const value of ALL) {
    on.send(value);
    on.clock.advance(1);
  }
  on.clock.advance(10);
  assert.not.equal(on.arrived, ALL);
  assert.equal(
    [...on.arrived].sort((a, b) => a - b),
    ALL,
  );
  assert.ok(on.device.counts.out.reordered > 20);
});

test("jitter spreads packets over its range", async () => {
  const on = bench({ out: { jitterMs: 100 } });
  for (const value of ALL) on.send(value);
  on.clock.advance(50);
  assert.ok(on.arrived.length > 150 && on.arrived.length < 350, `${on.arrived.length}`);
  on.clock.advance(51);
  assert.is(on.arrived.length, COUNT);
});

test("a seed means the same decisions, whatever other faults there are", async () => {
  const run = async (seed: number, faults: Faults): Promise<number[]> => {
    const on = bench({ in: faults }, seed);
    await pushAll(on, COUNT);
    on.clock.advance(1000);
    return [...on.got].sort((a, b) => a - b);
  };
  const first = await run(7, { loss: 0.3 });
  assert.equal(await run(7, { loss: 0.3 }), first);
  assert.equal(await run(7, { loss: 0.3, jitterMs: 10, reorder: 0.5 }), first);
  assert.not.equal(await run(8, { loss: 0.3 }), first);
});

test("what waits is bounded", async () => {
  const on = bench({ out: { delayMs: 1000 } });
  for (let value = 0; value < 5000; value++) on.send(value);
  assert.is(on.device.counts.out.overflowed, 5000 - 4096);
  on.clock.advance(1000);
  assert.is(on.arrived.length, 4096);
});

test("a descriptor that points outside fails", () => {
  const on = bench({});
  const memory = new PlainMemory();
  on.device.attach(memory);
  memory.tx(0, [0, 40]);
  memory.tx(1, [700_000, 40]);
  assert.is(on.device.write(2), 1);
});

test("after close no timer is left and nothing passes", async () => {
  const on = bench({ in: { delayMs: 50 }, out: { delayMs: 50 } });
  await pushAll(on, 5);
  on.send(1);
  on.device.close();
  on.device.close();
  assert.ok(on.inner.closed);
  assert.is(on.clock.pending, 0);
  on.clock.advance(100);
  assert.equal([on.got, on.arrived], [[], []]);
  assert.is(on.device.read(1), 0);
});

test.run();
