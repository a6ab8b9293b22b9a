/** smux sessions with peers that break the rules: bounds hold and nothing is thrown. */
import { randomBytes } from "node:crypto";
import * as assert from "uvu/assert";
import { CMD_FIN, CMD_NOP, CMD_PSH, CMD_SYN, encodeUpdate } from "../../src/proto/smux.ts";
import { suite } from "../kit/suite.ts";
import { closeOf, firstStream, head, listening, psh, said, sessionPair, tells } from "./mux-kit.ts";
import { Reader, eventually, pauseMs } from "./world.ts";

const test = suite("chain/mux-hostile");

test("frames for unknown streams, second FINs and second SYNs change nothing", async () => {
  const pair = await listening();
  const frames = [head(CMD_SYN, 3), head(CMD_SYN, 3), psh(99, "?"), head(CMD_FIN, 98)];
  pair.far.write(Buffer.concat([...frames, psh(3, "hello"), head(CMD_FIN, 3)]));
  pair.far.write(Buffer.concat([head(CMD_FIN, 3), psh(3, "late"), head(CMD_NOP, 0)]));
  const reader = new Reader(await firstStream(pair));
  await reader.until(() => reader.ended);
  assert.is(reader.text, "hello");
  assert.is(pair.streams.length, 1);
  reader.stream.end();
  await reader.until(() => reader.closed);
  assert.is(reader.error, undefined);
  pair.far.write(Buffer.concat([head(CMD_FIN, 3), psh(3, "later"), head(CMD_SYN, 5)]));
  await eventually(() => pair.streams.length === 2);
  assert.equal(pair.errors, []);
  pair.close();
});

const FATAL: readonly [string, Buffer, RegExp][] = [
  ["another version", head(CMD_SYN, 3, 0, 2), /version 2/],
  ["a SYN with a payload", head(CMD_SYN, 3, 5), /payload/],
  ["an unknown command", Buffer.from("0109000003000000", "hex"), /unknown/],
  ["UPD in version 1", Buffer.from(encodeUpdate(3, 1, 1)).fill(1, 0, 1), /unknown/],
  ["a stream that is ours to open", head(CMD_SYN, 4), /not its to open/],
];

for (const [what, frame, pattern] of FATAL) {
  test(`${what} ends the session and fails its streams at once`, async () => {
    const pair = await listening();
    pair.far.write(head(CMD_SYN, 7));
    const reader = new Reader(await firstStream(pair));
    pair.far.write(frame);
    await reader.until(() => reader.closed);
    assert.match(reader.error?.message ?? "", pattern);
    assert.is(pair.errors.length, 1);
    assert.ok(pair.session.isClosed);
    await eventually(() => pair.far.destroyed || pair.far.readableEnded);
    pair.close();
  });
}

test("a connection that ends, inside a frame or between two, fails the streams at once", async () => {
  for (const rest of [Buffer.alloc(0), Buffer.from("0102ff", "hex"), head(CMD_PSH, 3, 100)]) {
    const pair = await listening();
    pair.far.write(head(CMD_SYN, 3));
    const reader = new Reader(await firstStream(pair));
    pair.far.end(rest);
    await reader.until(() => reader.closed);
    assert.is((reader.error as { reason?: string }).reason, "closed");
    assert.not.ok(reader.ended);
    pair.close();
  }
});

test("streams above the limit are refused, and a flood of SYNs that is not read ends it", async () => {
  const pair = await listening({ keys: { "mux.maxStreams": 10 } });
  const many = Array.from({ length: 30 }, (_, index) => head(CMD_SYN, 3 + 2 * index));
  pair.far.write(Buffer.concat(many));
  await eventually(() => said(pair).includes("FIN 61"));
  assert.is(pair.streams.length, 10);
  pair.far.pause();
  const flood = Buffer.concat(Array.from({ length: 8192 }, (_, at) => head(CMD_SYN, 99 + 2 * at)));
  for (let round = 0; round < 2000 && !pair.session.isClosed; round++) {
    const isFlushed = pair.far.write(flood);
    if (!isFlushed) await pauseMs(1);
  }
  await eventually(() => pair.session.isClosed);
  assert.match(pair.errors[0]?.message ?? "", /does not read/);
  pair.close();
});

test("an opener refuses streams of the peer", async () => {
  const pair = await sessionPair({ opener: true });
  pair.far.write(head(CMD_SYN, 2));
  await eventually(() => pair.peer.got.length >= 16);
  await tells(pair, "FIN 2");
  pair.close();
});

test("version 2: who sends beyond the window, or acknowledges the unsent, loses the stream", async () => {
  const pair = await listening({ version: 2 });
  pair.far.write(Buffer.concat([head(CMD_SYN, 3, 0, 2), head(CMD_SYN, 5, 0, 2)]));
  await eventually(() => pair.streams.length === 2);
  const [over, ahead] = pair.streams.map(closeOf);
  for (let count = 0; count < 9; count++) pair.far.write(psh(3, Buffer.alloc(32_768), 2));
  assert.match((await over)?.message ?? "", /more than the window/);
  pair.far.write(encodeUpdate(5, 1, 65_536));
  assert.match((await ahead)?.message ?? "", /never sent/);
  await eventually(() => pair.session.streamCount === 0);
  assert.not.ok(pair.session.isClosed);
  pair.close();
});

test("random bytes never throw past a session, at any split", async () => {
  for (let round = 0; round < 30; round++) {
    const pair = await listening({
      version: round % 2 === 0 ? 1 : 2,
      keys: { "mux.maxStreams": 50 },
    });
    const noise = randomBytes(2000);
    // Mostly plausible frames: the version right, the commands few, the lengths short.
    for (let at = 0; at + 8 < noise.length; at += 8 + (noise[at + 2] ?? 0)) {
      noise[at] = (round % 2) + 1;
      noise[at + 1] = [CMD_SYN, CMD_PSH, CMD_FIN, CMD_PSH][(noise[at + 1] ?? 0) & 3] ?? 0;
      noise[at + 3] = 0;
      if (noise[at + 1] !== CMD_PSH) noise[at + 2] = 0;
      noise.fill(0, at + 5, at + 8);
      if (noise[at + 1] === CMD_SYN) noise[at + 4] = (noise[at + 4] ?? 0) | 1;
    }
    for (let at = 0; at < noise.length; at += 37) pair.far.write(noise.subarray(at, at + 37));
    pair.far.end();
    await eventually(() => pair.session.isClosed);
    assert.is(pair.session.streamCount, 0);
    pair.close();
  }
});

test.run();
