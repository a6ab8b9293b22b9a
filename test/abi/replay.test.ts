/**
 * Determinism (DET-1, DET-2): a recorded log of calls, with the bytes the host wrote before each,
 * replayed on a fresh instance gives the same answers and the same memory, bit for bit; and every
 * build puts out the same bytes.
 */
import { createHash } from "node:crypto";
import * as assert from "uvu/assert";
import * as abi from "../../assembly/abi.ts";
import { BUILD_NAMES, CoreHarness, type Build, type CoreExports } from "../kit/core.ts";
import { expectTcp, tcpPacket } from "../kit/packet.ts";
import { suite } from "../kit/suite.ts";
import { drawPlain } from "../sim/scenario.ts";
import { simulate, World } from "../sim/world.ts";

const test = suite("abi/replay");
test.timeout(120_000);

interface Call {
  readonly name: keyof CoreExports;
  readonly args: readonly number[];
  /** What the host wrote since the call before. */
  readonly writes: readonly (readonly [number, Uint8Array])[];
  result: number;
}

/** The bytes a host writes before `name`: packets before ingest, data before sendCommit. */
function writesBefore(core: CoreHarness, name: string, args: readonly number[]): Call["writes"] {
  const { view, bytes } = core;
  const keep = (ptr: number, len: number): readonly [number, Uint8Array] => [
    ptr,
    bytes.slice(ptr, ptr + len),
  ];
  if (name === "ingest") {
    return Array.from({ length: args[0]! }, (_, i) => {
      const entry = abi.RX_BASE + abi.RX_ENTRY_BYTES * i;
      const len = view.getUint32(entry + 4, true);
      const ptr = view.getUint32(entry, true);
      return [keep(entry, abi.RX_ENTRY_BYTES), keep(ptr, Math.min(len + 64, abi.SLOT_BYTES))];
    }).flat();
  }
  if (name !== "sendCommit") return [];
  return Array.from({ length: abi.SPAN_MAX }, (_, i) => {
    const at = abi.SPANS_BASE + abi.SPAN_BYTES * i;
    return keep(view.getUint32(at, true), view.getUint32(at + 4, true));
  });
}

/** Makes the harness write down every call from now on. */
function record(core: CoreHarness): Call[] {
  const log: Call[] = [];
  const real = core.exports as unknown as Record<string, (...args: number[]) => number>;
  const wrapped: Record<string, unknown> = { memory: core.exports.memory };
  for (const [name, call] of Object.entries(real)) {
    if (typeof call !== "function") continue;
    wrapped[name] = (...args: number[]): number => {
      const writes = writesBefore(core, name, args);
      const entry = { name: name as keyof CoreExports, args, writes, result: 0 };
      log.push(entry);
      return (entry.result = call(...args));
    };
  }
  (core as { exports: unknown }).exports = wrapped;
  return log;
}

function memoryHash(core: CoreHarness): string {
  return createHash("sha256").update(core.bytes).digest("hex");
}

function replay(log: readonly Call[], setup: CoreHarness["setup"]): CoreHarness {
  const core = new CoreHarness(setup);
  const calls = core.exports as unknown as Record<string, (...args: number[]) => number>;
  log.forEach(({ name, args, writes, result }, i) => {
    for (const [ptr, bytes] of writes) core.bytes.set(bytes, ptr);
    const answer = calls[name]!(...args);
    if (!Object.is(answer, result)) {
      throw new Error(`call ${i}, ${name}(${args.join(", ")}): ${answer}, was ${result}`);
    }
    if (name === "txDone") core.poisonTx();
  });
  return core;
}

for (const seed of [5, 24, 28, 60]) {
  test(`DET-1: a recorded run gives the same memory when it is replayed, seed ${seed}`, () => {
    const world = new World(drawPlain(seed), "simd");
    const log = record(world.core);
    world.run();
    assert.ok(log.length > 100, "the run is too short to prove anything");
    const again = replay(log, world.core.setup);
    assert.is(memoryHash(again), memoryHash(world.core));
  });
}

for (const seed of [4, 21, 22, 43, 44, 59]) {
  test(`DET-6: all builds put out the same bytes, seed ${seed}`, () => {
    const digests = BUILD_NAMES.map((build) => simulate(seed, build).digest);
    assert.equal(new Set(digests).size, 1, digests.join(" "));
  });
}

function initialSequence(seed: number, build: Build, sport = 40_000): number {
  const core = new CoreHarness({ build, seed, options: { connect: abi.CONNECT_IMMEDIATE } });
  core.send(tcpPacket({ sport, seq: 1, flags: "S" }));
  return expectTcp(core.flush()[0]!).seq;
}

test("DET-2 TCP-19 MUST-9: the initial sequence number comes from seed, ports and time alone", () => {
  assert.is(initialSequence(1, "simd"), initialSequence(1, "debug"));
  assert.is.not(initialSequence(1, "simd"), initialSequence(2, "simd"));
  assert.is.not(initialSequence(1, "simd"), initialSequence(1, "simd", 40_001));
});

test.run();
