/** What the project assumes of Node and V8; a new version that breaks one of these fails here first. */
import * as assert from "uvu/assert";
import { suite } from "../kit/suite.ts";
import { wasm } from "../kit/core.ts";

const test = suite("platform/assumptions");

test("Node is 20 or newer, on a little-endian machine", () => {
  assert.ok(Number(process.versions.node.split(".")[0]) >= 20);
  assert.is(new Uint8Array(Uint32Array.of(1).buffer)[0], 1, "vnet headers are in native order");
});

test("microseconds are exact in a double for longer than any uptime", () => {
  const century = 100 * 366 * 24 * 3600 * 1e6;
  assert.ok(Number.isSafeInteger(century));
  assert.is(century + 1 - century, 1);
});

test("the monotonic clock has microseconds and does not go back", () => {
  let last = performance.now();
  let isFine = false;
  for (let i = 0; i < 100_000; i++) {
    const now = performance.now();
    assert.ok(now >= last);
    if (now - last > 0 && now - last < 0.5) isFine = true;
    last = now;
  }
  assert.ok(isFine, "the clock is too coarse");
});

test("growing a memory detaches its views, which is why init alone grows it", () => {
  const api = (globalThis as unknown as { WebAssembly: MemoryApi }).WebAssembly;
  const memory = new api.Memory({ initial: 1, maximum: 4 });
  const view = new Uint8Array(memory.buffer);
  memory.grow(1);
  assert.is(view.length, 0);
});

interface MemoryApi {
  readonly Memory: new (limits: { initial: number; maximum: number }) => {
    buffer: ArrayBuffer;
    grow(pages: number): number;
  };
}

test("SIMD is there: the smallest module that uses it compiles", () => {
  // (module (func (result v128) (i32x4.splat (i32.const 0))))
  const bytes = [
    0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 8, 1, 6, 0, 65, 0, 253, 17,
    11,
  ];
  assert.ok(new wasm.Module(Uint8Array.from(bytes)));
});

test("integers come back from WebAssembly signed, so handles need >>> 0", () => {
  // (module (func (export "f") (result i32) (i32.const -2147483648)))
  const bytes = [
    0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 127, 3, 2, 1, 0, 7, 5, 1, 1, 102, 0, 0, 10, 10,
    1, 8, 0, 65, 128, 128, 128, 128, 120, 11,
  ];
  const { exports } = new wasm.Instance(new wasm.Module(Uint8Array.from(bytes)), {});
  const answer = (exports as { f(): number }).f();
  assert.is(answer, -2147483648);
  assert.is(answer >>> 0, 2147483648);
});

test.run();
