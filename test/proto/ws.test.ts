/** WebSocket frames: our encoder against an independent one, every split, and what is forbidden. */
import { randomBytes } from "node:crypto";
import * as assert from "uvu/assert";
import * as ws from "ws";
import {
  CLOSE_TOO_BIG,
  FrameDecoder,
  MESSAGE_BYTES_MAX,
  OP_BINARY,
  OP_CLOSE,
  OP_PING,
  WsFormatError,
  closePayload,
  encodeFrame,
  parseClose,
  putHeader,
  turnKey,
  xorMask,
} from "../../src/proto/ws.ts";
import { suite } from "../kit/suite.ts";

const test = suite("proto/ws");

interface Decoded {
  data: string;
  controls: string[];
  spans: number;
}

function decode(parts: readonly Uint8Array[], server: boolean): Decoded {
  const decoder = new FrameDecoder(server);
  const result: Decoded = { data: "", controls: [], spans: 0 };
  const sink = {
    data: (bytes: Uint8Array): void => {
      result.data += Buffer.from(bytes).toString("latin1");
      result.spans++;
    },
    control: (opcode: number, payload: Uint8Array): void => {
      result.controls.push(`${opcode}:${Buffer.from(payload).toString("latin1")}`);
    },
  };
  for (const part of parts) {
    const copy = Buffer.from(part);
    for (let offset = 0; offset < copy.length;) {
      const next = decoder.decode(copy, offset, sink);
      assert.ok(next > offset, "each step must get on");
      offset = next;
    }
  }
  assert.is(decoder.isInside, false);
  return result;
}

function faultOf(hex: string, server: boolean): WsFormatError {
  try {
    const decoder = new FrameDecoder(server);
    const bytes = Buffer.from(hex, "hex");
    for (let offset = 0; offset < bytes.length;) {
      offset = decoder.decode(bytes, offset, { data: () => undefined, control: () => undefined });
    }
  } catch (error) {
    assert.instance(error, WsFormatError);
    return error as WsFormatError;
  }
  throw new Error("it was accepted");
}

test("frames have the bytes of the specification", () => {
  const hello = Buffer.from("hello");
  const key = Buffer.from("11223344", "hex").readUInt32LE();
  const hex = (frame: Uint8Array): string => Buffer.from(frame).toString("hex");
  assert.is(hex(encodeFrame(OP_BINARY, hello, key)), "8285112233447947" + "5f287e");
  assert.is(hex(encodeFrame(OP_BINARY, hello, undefined)), "820568656c6c6f");
  assert.is(hex(encodeFrame(OP_PING, new Uint8Array(0), key)), "898011223344");
});

test("masking is the same for every length, alignment and phase", () => {
  const naive = (bytes: Uint8Array, key: number, phase: number): Uint8Array =>
    bytes.map((byte, index) => byte ^ (key >>> (((phase + index) & 3) * 8)));
  const memory = randomBytes(1024);
  for (let offset = 0; offset < 5; offset++) {
    for (const length of [0, 1, 3, 4, 63, 64, 65, 66, 67, 200, 513]) {
      for (let phase = 0; phase < 4; phase++) {
        const key = 0xdeadbeef;
        const bytes = new Uint8Array(memory.buffer, memory.byteOffset + offset, length).slice();
        const room = new Uint8Array(1024);
        const view = room.subarray(offset, offset + length);
        view.set(bytes);
        xorMask(view, key, phase);
        assert.equal(view, naive(bytes, key, phase), `${offset} ${length} ${phase}`);
        assert.ok(room.subarray(offset + length).every((byte) => byte === 0));
      }
    }
  }
  assert.is(turnKey(0x44332211, 1) >>> 0, 0x11443322);
});

test("an independent implementation writes what we read, at every size of length field", () => {
  const sizes = [0, 1, 125, 126, 65535, 65536, 70_000];
  for (const mask of [true, false]) {
    for (const size of sizes) {
      const payload = randomBytes(size);
      const [header, body] = (
        ws as unknown as {
          Sender: { frame(data: Buffer, options: object): Buffer[] };
        }
      ).Sender.frame(Buffer.from(payload), {
        fin: true,
        opcode: 2,
        mask,
        readOnly: false,
        rsv1: false,
      });
      const wire = Buffer.concat([header ?? Buffer.alloc(0), body ?? Buffer.alloc(0)]);
      assert.is(decode([wire], mask).data, payload.toString("latin1"));
      const ours = Buffer.alloc(14);
      const key = mask ? wire.readUInt32LE((header?.length ?? 0) - 4) : undefined;
      const length = putHeader(ours, OP_BINARY, size, key);
      assert.equal(ours.subarray(0, length), header);
    }
  }
});

test("a stream with fragments and control frames between is the same at every split", () => {
  const wire = Buffer.from(
    "82821122334410230285112233441128314416898411223344614b5d23" +
      "8087112233440233441002c3ff8285112233447947" +
      "5f287e",
    "hex",
  );
  const whole = decode([wire], true);
  assert.equal(whole.controls, [`${OP_PING}:ping`]);
  assert.is(whole.data.slice(-5), "hello");
  for (let one = 1; one < wire.length; one++) {
    for (let two = one; two < wire.length; two++) {
      const parts = [wire.subarray(0, one), wire.subarray(one, two), wire.subarray(two)];
      const { data, controls } = decode(parts, true);
      assert.is(data, whole.data);
      assert.equal(controls, whole.controls);
    }
  }
});

test("text counts as bytes, empty messages say nothing", () => {
  assert.is(decode([Buffer.from("8102fffe8200", "hex")], false).data, "\xff\xfe");
  assert.is(decode([Buffer.from("82008200820161", "hex")], false).spans, 1);
});

test("what RFC 6455 forbids is refused with GOST's words and code 1002", () => {
  const faults: [string, boolean, string][] = [
    ["8205", true, "bad MASK"],
    ["8285", false, "bad MASK"],
    ["c285", true, "RSV1 set"],
    ["f200", false, "RSV1 set, RSV2 set, RSV3 set"],
    ["8385", true, "bad opcode 3"],
    ["8085", true, "continuation after FIN"],
    ["020161" + "8201", false, "data before FIN"],
    ["89fe", true, "len > 125 for control"],
    ["0980", true, "FIN not set on control"],
  ];
  for (const [hex, server, text] of faults) {
    const fault = faultOf(hex, server);
    assert.is(fault.message, text);
    assert.is(fault.closeCode, 1002);
  }
});

test("absurd lengths are refused before anything is kept", () => {
  assert.is(faultOf("827fffffffffffffffff", false).closeCode, CLOSE_TOO_BIG);
  assert.is(faultOf("827f0000000001000001", false).closeCode, CLOSE_TOO_BIG);
  const fragment = Buffer.alloc(10);
  fragment.writeUInt16BE(0x027f);
  fragment.writeUInt32BE(MESSAGE_BYTES_MAX, 6);
  const decoder = new FrameDecoder(false);
  const sink = { data: () => undefined, control: () => undefined };
  decoder.decode(fragment, 0, sink);
  const megabyte = Buffer.alloc(1024 * 1024);
  for (let count = 0; count < 16; count++) decoder.decode(megabyte, 0, sink);
  const more = Buffer.from("000161", "hex");
  assert.throws(
    () => decoder.decode(more, 0, sink),
    (error: unknown) => error instanceof WsFormatError && error.closeCode === CLOSE_TOO_BIG,
  );
});

test("close codes and texts are checked", () => {
  assert.equal(parseClose(new Uint8Array(0)), { code: undefined, text: "" });
  assert.equal(parseClose(closePayload(1000, "bye")), { code: 1000, text: "bye" });
  for (const code of [0, 999, 1004, 1005, 1006, 1014, 2999, 5000]) {
    assert.throws(() => parseClose(closePayload(code, "")), /close code/);
  }
  assert.throws(() => parseClose(Buffer.of(3, 232, 0xff)), /utf8/);
  assert.is(closePayload(1000, "x".repeat(500)).length, 125);
  assert.is(encodeFrame(OP_CLOSE, closePayload(1000, "x".repeat(500)), undefined)[1], 125);
});

test.run();
