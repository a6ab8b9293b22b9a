/** The Internet checksum: lengths, alignments, splits, carries. */
import * as assert from "uvu/assert";
import { onesSum, pattern } from "../kit/bytes.ts";
import { suite } from "../kit/suite.ts";
import { makeProbe } from "../mem/probe.ts";

const test = suite("wire/checksum");

/** The checksum as it lies in memory. */
function expected(data: Uint8Array): number {
  const sum = ~onesSum(data) & 0xffff;
  return ((sum & 255) << 8) | (sum >> 8);
}

test("is right for every length up to 300 at every alignment", () => {
  const { exports, bytes } = makeProbe();
  const base = exports.probeScratch();
  for (let length = 0; length <= 300; length++) {
    const data = pattern(length, length + 1);
    for (let shift = 0; shift < 4; shift++) {
      bytes().set(data, base + shift);
      assert.is(exports.probeChecksum(base + shift, length), expected(data), `length ${length}`);
    }
  }
});

test("is right for all ones and for the largest packets", () => {
  const { exports, bytes } = makeProbe();
  const base = exports.probeScratch();
  for (const length of [1, 2, 63, 64, 65, 1500, 65534, 65535]) {
    for (const data of [new Uint8Array(length).fill(0xff), pattern(length)]) {
      bytes().set(data, base);
      assert.is(exports.probeChecksum(base, length), expected(data), `length ${length}`);
    }
  }
});

test("is the same in two parts, wherever it is split", () => {
  const { exports, bytes } = makeProbe();
  const base = exports.probeScratch();
  for (const length of [40, 41, 255]) {
    const data = pattern(length);
    bytes().set(data, base);
    for (let split = 0; split <= length; split++) {
      assert.is(exports.probeChecksumSplit(base, split, length), expected(data), `at ${split}`);
    }
  }
});

test.run();
