/** smux frames: computed ones, every split, every truncation, each length field at its limits. */
import * as assert from "uvu/assert";
import {
  CMD_FIN,
  CMD_NOP,
  CMD_PSH,
  CMD_SYN,
  SmuxDecoder,
  SmuxFormatError,
  type SmuxVersion,
  encodeHeader,
  encodeUpdate,
} from "../../src/proto/smux.ts";
import { suite } from "../kit/suite.ts";

const test = suite("proto/smux");

/** What a decoder says of the pieces, data of one stream in a row joined. */
function decode(version: SmuxVersion, pieces: readonly Uint8Array[]): string[] {
  const decoder = new SmuxDecoder(version);
  const said: string[] = [];
  for (const piece of pieces) {
    for (let offset = 0; offset < piece.length;) {
      let calls = 0;
      const next = decoder.decode(piece, offset, {
        control: (command, id) => {
          calls++;
          said.push(`${command} ${id}`);
        },
        data: (id, bytes) => {
          calls++;
          const text = Buffer.from(bytes).toString("latin1");
          const last = said.length - 1;
          if (said[last]?.startsWith(`data ${id} `) === true) said[last] += text;
          else said.push(`data ${id} ${text}`);
        },
        update: (id, consumed, window) => {
          calls++;
          said.push(`update ${id} ${consumed} ${window}`);
        },
      });
      assert.ok(next > offset);
      assert.ok(calls <= 1);
      offset = next;
    }
  }
  if (decoder.isInside) said.push("inside");
  return said;
}

const hex = (text: string): Buffer => Buffer.from(text.replaceAll(" ", ""), "hex");

test("frames are written as GOST writes them", () => {
  const open = Buffer.from(encodeHeader(1, CMD_SYN, 3));
  assert.is(open.toString("hex"), "0100000003000000");
  const data = Buffer.from(encodeHeader(1, CMD_PSH, 3, 5));
  assert.is(data.toString("hex"), "0102050003000000");
  assert.is(Buffer.from(encodeHeader(1, CMD_FIN, 3)).toString("hex"), "0101000003000000");
  assert.is(Buffer.from(encodeHeader(1, CMD_NOP, 0)).toString("hex"), "0103000000000000");
  const update = Buffer.from(encodeUpdate(3, 4, 65536));
  assert.is(update.toString("hex"), "02040800030000000400000000000100");
  const big = Buffer.from(encodeHeader(2, CMD_PSH, 0xfffffffd, 65535));
  assert.is(big.toString("hex"), "0202fffffdffffff");
});

const STREAM = hex(
  "0200000003000000 0202050003000000 68656c6c6f 0204080003000000 04000000 ffffffff" +
    "0203000000000000 02020000 05000000 02010000 fdffffff",
);
const SAID = ["0 3", "data 3 hello", "update 3 4 4294967295", "3 0", "1 4294967293"];

test("frames are read the same at every split, byte by byte, and in one piece", () => {
  assert.equal(decode(2, [STREAM]), SAID);
  for (let split = 1; split < STREAM.length; split++) {
    assert.equal(decode(2, [STREAM.subarray(0, split), STREAM.subarray(split)]), SAID);
  }
  const bytes = [...STREAM].map((byte) => Buffer.of(byte));
  assert.equal(decode(2, bytes), SAID);
});

test("at every truncation nothing is invented, and what is cut off shows", () => {
  const ends = new Set([8, 21, 37, 45, 53, 61]);
  for (let length = 0; length < STREAM.length; length++) {
    const said = decode(2, [STREAM.subarray(0, length)]);
    assert.is(said.at(-1) === "inside", length > 0 && !ends.has(length), `at ${length}`);
  }
});

test("other versions, unknown commands and lengths that cannot be end the session", () => {
  const cases: [SmuxVersion, string, RegExp][] = [
    [1, "0200000003000000", /version 2 instead of 1/],
    [2, "0100000003000000", /version 1 instead of 2/],
    [1, "0000000003000000", /version 0/],
    [1, "0104080003000000", /unknown smux command 4/],
    [2, "0205000003000000", /unknown smux command 5/],
    [1, "01ff000003000000", /unknown smux command 255/],
    [1, "0100010003000000", /command 0 with 1 bytes/],
    [1, "0101ffff03000000", /command 1 with 65535 bytes/],
    [1, "0103000100000000", /command 3 with 256 bytes/],
    [2, "0204000003000000", /command 4 with 0 bytes/],
    [2, "0204070003000000", /command 4 with 7 bytes/],
    [2, "0204ffff03000000", /command 4 with 65535 bytes/],
  ];
  for (const [version, text, pattern] of cases) {
    const faults = (error: unknown): boolean =>
      error instanceof SmuxFormatError && pattern.test(error.message);
    assert.throws(() => decode(version, [hex(text)]), faults, text);
  }
});

test("a frame of the greatest length is a frame like others", () => {
  const payload = Buffer.alloc(65535, "x");
  const frame = Buffer.concat([encodeHeader(1, CMD_PSH, 7, 65535), payload]);
  const said = decode(1, [frame.subarray(0, 40_000), frame.subarray(40_000)]);
  assert.equal(said, [`data 7 ${"x".repeat(65535)}`]);
});

test.run();
