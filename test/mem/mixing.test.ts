/** SipHash, the secret permutation, masking. */
import * as assert from "uvu/assert";
import { pattern } from "../kit/bytes.ts";
import { suite } from "../kit/suite.ts";
import { makeProbe } from "./probe.ts";

const test = suite("mem/mixing");

test("DOS-8: SipHash-2-4 gives the published values for key 00…0f", () => {
  const { exports, bytes } = makeProbe();
  // From the reference implementation: messages 00 01 02 … of these lengths.
  const expected = { 0: "310e0edd47db6f72", 1: "fd67dc93c539f874", 15: "e545be4961ca29a1" };
  const scratch = exports.probeScratch();
  for (let i = 0; i < 64; i++) bytes()[scratch + i] = i;
  for (const [length, digest] of Object.entries(expected)) {
    const low = exports.probeSiphashLow(scratch, Number(length), 0) >>> 0;
    const high = exports.probeSiphashHigh(scratch, Number(length), 0) >>> 0;
    const out = Buffer.alloc(8);
    out.writeUInt32LE(low, 0);
    out.writeUInt32LE(high, 4);
    assert.is(out.toString("hex"), digest, `length ${length}`);
  }
});

test("IP-7: the permutation repeats nothing and follows no pattern", () => {
  const { exports } = makeProbe();
  const seen = new Set<number>();
  let steps = 0;
  let before = 0;
  for (let i = 0; i < 65536; i++) {
    const id = exports.probePermute(i, 8) >>> 0;
    assert.ok(id < 65536);
    seen.add(id);
    if (Math.abs(id - before) < 4) steps++;
    before = id;
  }
  assert.is(seen.size, 65536);
  assert.ok(steps < 60);
});

test("masking equals the definition at every phase, length and alignment, and undoes itself", () => {
  const { exports, bytes } = makeProbe();
  const key = Uint8Array.of(0x11, 0x82, 0xf3, 0x04);
  const word = new DataView(key.buffer).getUint32(0, true);
  const base = exports.probeScratch();
  for (const length of [0, 1, 2, 3, 4, 7, 8, 9, 63, 64, 65, 127, 128, 200, 5000]) {
    for (let phase = 0; phase < 5; phase++) {
      const ptr = base + ((length + phase) % 7);
      const data = pattern(length, phase + 1);
      bytes().set(data, ptr);
      bytes()[ptr + length] = 0x5a;
      exports.xorMask(ptr, length, word, phase);
      const wanted = data.map((byte, i) => byte ^ key[(i + phase) % 4]!);
      assert.is(Buffer.compare(bytes().subarray(ptr, ptr + length), wanted), 0, `${length}`);
      assert.is(bytes()[ptr + length], 0x5a);
      exports.xorMask(ptr, length, word, phase);
      assert.is(Buffer.compare(bytes().subarray(ptr, ptr + length), data), 0);
    }
  }
});

test("masking outside of memory does nothing", () => {
  const { exports, bytes } = makeProbe();
  const size = bytes().length;
  for (const [ptr, length] of [
    [0, 4],
    [size - 2, 3],
    [0xffffffff, 1],
    [65536, 0xffffffff],
  ] as const) {
    exports.xorMask(ptr, length, 0xffffffff, 0);
  }
  assert.is(bytes()[0], 0);
});

test.run();
