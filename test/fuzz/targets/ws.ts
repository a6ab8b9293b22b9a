/** WebSocket frames of either side (src/proto/ws.ts). The first byte says which side reads. */
import {
  FrameDecoder,
  MESSAGE_BYTES_MAX,
  OP_CLOSE,
  WsFormatError,
  closePayload,
  encodeFrame,
  parseClose,
} from "../../../src/proto/ws.ts";
import { type Log, type Target, check, checkEqual, guarded, sameInEverySplit } from "../target.ts";
import { randomText } from "./parts.ts";

const OWN = [WsFormatError];

function play(isServer: boolean, pieces: readonly Uint8Array[], log: Log): void {
  const decoder = new FrameDecoder(isServer);
  let bytes = 0;
  const sink = {
    data(span: Uint8Array): void {
      bytes += span.length;
      check(bytes <= MESSAGE_BYTES_MAX * 16, "more data than frames");
      log.data("data", span);
    },
    control(opcode: number, payload: Uint8Array): void {
      check(payload.length <= 125, "a control frame is too long");
      log.add(`control ${opcode === OP_CLOSE ? "close" : "other"}`, [opcode, [...payload]]);
      if (opcode !== OP_CLOSE) return;
      guarded(log, OWN, () => {
        const { code = 1000, text } = parseClose(payload);
        log.add("close", [code, text]);
        const again = parseClose(closePayload(code, text));
        checkEqual([again.code, again.text], [code, text], "a Close reads otherwise");
      });
    },
  };
  for (const piece of pieces) {
    for (let offset = 0; offset < piece.length;) {
      const next = decoder.decode(piece, offset, sink);
      check(next > offset && next <= piece.length, `decode went from ${offset} to ${next}`);
      offset = next;
    }
  }
  log.add(decoder.isInside ? "inside" : "whole");
}

/** What is sent is received, masked or not. */
function checkRoundTrip(payload: Uint8Array, isServer: boolean): void {
  const key = isServer ? payload.length * 0x9e37_79b1 : undefined;
  const frame = encodeFrame(2, payload, key);
  const parts: Uint8Array[] = [];
  const sink = { data: (span: Uint8Array) => parts.push(span.slice()), control: () => undefined };
  const decoder = new FrameDecoder(isServer);
  for (let at = 0; at < frame.length;) at = decoder.decode(frame, at, sink);
  check(!decoder.isInside && Buffer.concat(parts).equals(payload), "a frame reads otherwise");
}

export const ws: Target = {
  name: "ws",
  bytesMax: 8192,
  dictionary: [
    Uint8Array.of(0x82, 0x80, 1, 2, 3, 4),
    Uint8Array.of(0x82, 126, 1, 0),
    Uint8Array.of(0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0),
    Uint8Array.of(0x02, 0x00),
    Uint8Array.of(0x80, 0x00),
    Uint8Array.of(0x88, 2, 3, 232),
    Uint8Array.of(0x89, 0),
    Uint8Array.of(0x8a, 0x80, 0, 0, 0, 0),
  ],
  generate(random) {
    const isServer = random.chance(0.5);
    const frames = Array.from({ length: 1 + random.below(5) }, () => {
      const opcode = random.pick([0, 1, 2, 2, 8, 9, 10]);
      const body = random.bytes(random.pick([0, 1, 5, 64, 125, 126, 300]));
      const close = closePayload(random.pick([1000, 1001, 1005, 3000]), randomText(random, 60));
      const payload = opcode === 8 ? close : opcode > 8 ? body.subarray(0, 125) : body;
      const frame = encodeFrame(opcode, payload, isServer ? random.next() : undefined);
      if (opcode < 3 && random.chance(0.4)) frame[0]! &= 0x7f;
      return frame;
    });
    return Uint8Array.from(Buffer.concat([Uint8Array.of(isServer ? 1 : 0), ...frames]));
  },
  run(input) {
    const isServer = ((input[0] ?? 0) & 1) === 1;
    const body = input.subarray(1);
    const log = sameInEverySplit(body, OWN, (pieces, told) => play(isServer, pieces, told));
    checkRoundTrip(body, isServer);
    return `${isServer ? "server" : "client"} ${log.shape}`;
  },
};
