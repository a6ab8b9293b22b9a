/** smux frames of both versions (src/proto/smux.ts). The first byte says the version. */
import {
  CMD_UPD,
  SmuxDecoder,
  SmuxFormatError,
  type SmuxSink,
  encodeHeader,
  encodeUpdate,
} from "../../../src/proto/smux.ts";
import type { Random } from "../../kit/random.ts";
import { type Log, type Target, check, sameInEverySplit } from "../target.ts";

function play(version: 1 | 2, pieces: readonly Uint8Array[], log: Log): void {
  const decoder = new SmuxDecoder(version);
  let calls = 0;
  const sink: SmuxSink = {
    control(command, stream) {
      calls++;
      log.add(`control ${command}`, stream);
      check(command <= 3, "an unknown command came through");
    },
    data(stream, bytes) {
      calls++;
      log.data(`data ${stream}`, bytes);
    },
    update(stream, consumed, window) {
      calls++;
      log.add("update", [stream, consumed, window]);
    },
  };
  for (const piece of pieces) {
    for (let offset = 0; offset < piece.length;) {
      const before = calls;
      const next = decoder.decode(piece, offset, sink);
      check(next > offset && next <= piece.length, `decode went from ${offset} to ${next}`);
      check(calls - before <= 1, "the sink was called more than once");
      offset = next;
    }
  }
  log.add(decoder.isInside ? "inside" : "whole");
}

/** Frames as a peer could send them, of few streams. */
export function randomFrames(random: Random, version: 1 | 2, count: number): Uint8Array {
  const frames = Array.from({ length: count }, () => {
    const stream = random.pick([0, 2, 2, 4, 4, 6, 3, 5, 0x6f67_7374, 0xffff_ffff]);
    const command = random.below(version === 2 ? 5 : 4);
    if (command === CMD_UPD) {
      const window = random.pick([0, 1, 65_536, 0xffff_ffff]);
      return encodeUpdate(stream, random.pick([0, 1, 40, random.next()]), window);
    }
    const payload = command === 2 ? random.bytes(random.pick([0, 1, 20, 300])) : new Uint8Array(0);
    return Buffer.concat([encodeHeader(version, command, stream, payload.length), payload]);
  });
  return Uint8Array.from(Buffer.concat(frames));
}

export const FRAME_WORDS: readonly Uint8Array[] = [
  Uint8Array.of(1, 0, 0, 0, 2, 0, 0, 0),
  Uint8Array.of(1, 2, 3, 0, 2, 0, 0, 0, 97, 98, 99),
  Uint8Array.of(1, 1, 0, 0, 2, 0, 0, 0),
  Uint8Array.of(2, 0, 0, 0, 2, 0, 0, 0),
  Uint8Array.of(2, 2, 1, 0, 2, 0, 0, 0, 97),
  Uint8Array.of(2, 4, 8, 0, 2, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255),
  Uint8Array.of(1, 3, 0, 0, 0x74, 0x73, 0x67, 0x6f),
];

export const smux: Target = {
  name: "smux",
  bytesMax: 8192,
  dictionary: FRAME_WORDS,
  generate(random) {
    const version = random.pick([1, 2] as const);
    const frames = randomFrames(random, version, 1 + random.below(6));
    return Uint8Array.from(Buffer.concat([Uint8Array.of(version), frames]));
  },
  run(input) {
    const version = ((input[0] ?? 0) & 1) === 1 ? 1 : 2;
    const log = sameInEverySplit(input.subarray(1), [SmuxFormatError], (pieces, told) => {
      play(version, pieces, told);
    });
    return `${version} ${log.shape}`;
  },
};
