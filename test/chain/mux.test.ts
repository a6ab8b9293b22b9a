/** smux sessions: settings, ends, back-pressure, fairness, keep-alive. */
import { randomBytes } from "node:crypto";
import * as assert from "uvu/assert";
import { ByteQueue } from "../../src/chain/byte-queue.ts";
import { muxSettings } from "../../src/chain/mux-settings.ts";
import type { Transport } from "../../src/chain/types.ts";
import { CMD_FIN, CMD_SYN, encodeUpdate } from "../../src/proto/smux.ts";
import { suite } from "../kit/suite.ts";
import {
  closeOf,
  firstStream,
  framesOf,
  head,
  listening,
  psh,
  said,
  sessionPair,
  tells,
} from "./mux-kit.ts";
import { Reader, eventually, pauseMs, send } from "./world.ts";

const test = suite("chain/mux");

test("settings: defaults, GOST's zero, and what smux could not work with", () => {
  assert.equal(muxSettings({}, ""), {
    version: 1,
    keepaliveMs: 10_000,
    timeoutMs: 30_000,
    frameBytes: 32_768,
    receiveBytes: 4 * 1024 * 1024,
    streamBytes: 65_536,
    streamsMax: 8192,
  });
  const given = { "mux.version": "2", "mux.keepaliveInterval": 5, "mux.maxFrameSize": 0 };
  const settings = muxSettings({ ...given, "MUX.keepaliveTimeout": "7s" }, "");
  assert.is(settings.version, 2);
  assert.is(settings.keepaliveMs, 5000);
  assert.is(settings.timeoutMs, 7000);
  assert.is(settings.frameBytes, 32_768);
  assert.is(muxSettings({ "mux.keepaliveDisabled": true }, "").keepaliveMs, 0);
  const bad: [string, string | number][] = [
    ["mux.version", 3],
    ["mux.version", "two"],
    ["mux.type", "yamux"],
    ["mux.maxFrameSize", 65_536],
    ["mux.maxFrameSize", -1],
    ["mux.maxReceiveBuffer", "1e3"],
    ["mux.maxStreamBuffer", 5_000_000],
    ["mux.keepaliveInterval", "soon"],
    ["mux.keepaliveTimeout", "1s"],
  ];
  for (const [key, value] of bad) {
    const isTold = (error: unknown): boolean => String(error).includes(`here: ${key}`);
    assert.throws(() => muxSettings({ [key]: value }, "here"), isTold, `${key}=${value}`);
  }
});

test("a FIN of GOST ends both directions: an end, then a reset for who goes on writing", async () => {
  const pair = await listening();
  pair.far.write(Buffer.concat([head(CMD_SYN, 3), psh(3, "bye"), head(CMD_FIN, 3)]));
  const stream = await firstStream(pair);
  // Not yet read: nothing of it may be lost by a write.
  await pauseMs(20);
  await send(stream, "swallowed");
  const reader = new Reader(stream);
  await reader.until(() => reader.ended);
  assert.is(reader.text, "bye");
  await assertRejects(send(stream, "nobody"));
  await reader.until(() => reader.closed);
  assert.match(reader.error?.message ?? "", /closed the stream in both directions/);
  await tells(pair, "FIN 3");
  assert.is(pair.session.streamCount, 0);
  pair.close();
});

async function assertRejects(promise: Promise<unknown>): Promise<void> {
  const isRejected = await promise.then(
    () => false,
    () => true,
  );
  assert.ok(isRejected);
}

test("a FIN of GOST that is not answered by its user does not hold the stream for ever", async () => {
  const pair = await listening({ lingerMs: 60 });
  pair.far.write(Buffer.concat([head(CMD_SYN, 3), head(CMD_FIN, 3)]));
  const reader = new Reader(await firstStream(pair));
  await reader.until(() => reader.closed);
  assert.ok(reader.ended);
  assert.ok(reader.error !== undefined);
  assert.is(pair.session.streamCount, 0);
  pair.close();
});

test("our FIN that GOST does not answer ends the stream cleanly after a while", async () => {
  const pair = await listening({ lingerMs: 60 });
  pair.far.write(Buffer.concat([head(CMD_SYN, 3), psh(3, "one")]));
  const reader = new Reader(await firstStream(pair));
  reader.stream.end();
  pair.far.write(psh(3, "two"));
  await reader.until(() => reader.closed);
  assert.is(reader.text, "onetwo");
  assert.ok(reader.ended);
  assert.is(reader.error, undefined);
  await tells(pair, "FIN 3");
  pair.close();
});

test("version 1: unread streams hold the session at its bound, and reading lets it go on", async () => {
  const keys = { "mux.maxReceiveBuffer": 100_000, "mux.maxStreamBuffer": 50_000 };
  const pair = await listening({ keys });
  const payload = Buffer.alloc(32_768, "x");
  const total = 400 * payload.length;
  pair.far.write(head(CMD_SYN, 3));
  for (let count = 0; count < 400; count++) pair.far.write(psh(3, payload));
  const stream = await firstStream(pair);
  await pauseMs(100);
  assert.ok(pair.far.writableLength > total / 4, "the peer must feel it");
  const reader = new Reader(stream);
  await reader.until(() => reader.bytes === total);
  pair.close();
});

test("version 1: a stream that takes nothing is ended when it holds up the others", async () => {
  const keys = { "mux.maxReceiveBuffer": 65_536, "mux.maxStreamBuffer": 65_536 };
  const pair = await listening({ keys, stallMs: 80 });
  pair.far.write(Buffer.concat([head(CMD_SYN, 3), head(CMD_SYN, 5)]));
  for (let count = 0; count < 40; count++) pair.far.write(psh(3, Buffer.alloc(32_768)));
  pair.far.write(psh(5, "through"));
  await eventually(() => pair.streams.length === 2);
  const [stuck, other] = pair.streams;
  const closed = stuck === undefined ? undefined : closeOf(stuck);
  if (other === undefined) throw new Error("no stream");
  const reader = new Reader(other);
  await reader.until(() => reader.text === "through");
  assert.match((await closed)?.message ?? "", /took nothing/);
  await tells(pair, "FIN 3");
  pair.close();
});

test("version 2: a slow stream stops at its window while another one goes on", async () => {
  const near = await sessionPair({ version: 2, opener: true });
  const slow = near.session.open();
  const fast = near.session.open();
  let taken = 0;
  for (let count = 0; count < 20; count++) {
    slow.write([Buffer.alloc(32_768)], () => taken++);
  }
  await send(fast, "fast");
  await eventually(() => said(near, 2).includes("5 fast"));
  await pauseMs(50);
  assert.is(taken, 8, "262144 bytes before the peer has told a window");
  near.far.write(encodeUpdate(3, 32_768, 65_536));
  await pauseMs(50);
  assert.is(taken, 8, "a smaller window takes nothing back, and gives nothing");
  near.far.write(encodeUpdate(3, 262_144, 65_536));
  await eventually(() => taken === 10);
  near.far.write(encodeUpdate(3, 262_144 + 65_536, 0xffff_ffff));
  await eventually(() => taken === 20);
  near.close();
});

test("version 2: the reader grants a window at the first read and after half of it", async () => {
  const pair = await listening({ version: 2, keys: { "mux.maxStreamBuffer": 1000 } });
  pair.far.write(Buffer.concat([head(CMD_SYN, 3, 0, 2), psh(3, "abc", 2)]));
  const reader = new Reader(await firstStream(pair));
  await reader.until(() => reader.text === "abc");
  await pauseMs(20);
  assert.equal(said(pair, 2), ["UPD 3 3 1000"]);
  pair.far.write(psh(3, Buffer.alloc(499), 2));
  await reader.until(() => reader.bytes === 502);
  await pauseMs(20);
  assert.equal(said(pair, 2), []);
  pair.far.write(psh(3, "x", 2));
  await reader.until(() => reader.bytes === 503);
  await eventually(() => pair.peer.got.length > 0);
  assert.equal(said(pair, 2), ["UPD 3 503 1000"]);
  pair.close();
});

test("a big transfer leaves room for small ones, and every byte arrives in order", async () => {
  for (const version of [1, 2] as const) {
    const streams: Transport[] = [];
    const far = await listening({ version });
    const near = await sessionPair({ version, opener: true });
    // The two scripted ends become a wire.
    near.far.pipe(far.far);
    far.far.pipe(near.far);
    const big = near.session.open();
    const bytes = randomBytes(8 * 1024 * 1024);
    let isTaken = false;
    const sent = Buffer.from(bytes);
    big.write([sent.subarray(0, 5), sent.subarray(5)], () => (isTaken = true));
    for (let count = 0; count < 50; count++) streams.push(near.session.open());
    const small = Promise.all(streams.map((stream, index) => send(stream, `small ${index}`)));
    await eventually(() => far.streams.length === 51);
    const readers = far.streams.map((stream) => new Reader(stream));
    await small;
    assert.not.ok(isTaken, "the small ones must not wait for the big one");
    await Promise.all(
      readers.slice(1).map((one, index) => one.until(() => one.text === `small ${index}`)),
    );
    const first = readers[0];
    await first?.until(() => first.bytes === bytes.length, 20_000);
    assert.ok(Buffer.concat(first?.chunks ?? []).equals(bytes));
    near.close();
    far.close();
  }
});

test("between two tsgost a FIN ends one direction, and a reset is told from an end", async () => {
  const far = await listening({ lingerMs: 50 });
  const near = await sessionPair({ opener: true, lingerMs: 50 });
  near.far.pipe(far.far);
  far.far.pipe(near.far);
  const asking = new Reader(near.session.open());
  await send(asking.stream, "question");
  asking.stream.end();
  const answering = new Reader(await firstStream(far));
  await answering.until(() => answering.ended);
  await pauseMs(150);
  await send(answering.stream, "answer");
  answering.stream.end();
  await asking.until(() => asking.closed);
  assert.is(asking.text, "answer");
  assert.is(asking.error, undefined);
  const dropped = new Reader(near.session.open());
  await send(dropped.stream, "x");
  await eventually(() => far.streams.length === 2);
  const [, second] = far.streams;
  if (second === undefined) throw new Error("no stream");
  const reader = new Reader(second);
  await reader.until(() => reader.text === "x");
  dropped.stream.reset();
  await reader.until(() => reader.closed);
  assert.is((reader.error as { code?: string }).code, "ECONNRESET");
  near.close();
  far.close();
});

test("writes of a stream that was given up are answered, also those that never left", async () => {
  const pair = await sessionPair({ opener: true, version: 2 });
  const stream = pair.session.open();
  const outcomes: string[] = [];
  for (let count = 0; count < 12; count++) {
    stream.write([Buffer.alloc(32_768)], (error) => outcomes.push(error?.message ?? "taken"));
  }
  await eventually(() => outcomes.length === 8);
  stream.reset();
  await eventually(() => outcomes.length === 12);
  assert.is(outcomes.filter((text) => text === "taken").length, 8);
  pair.close();
});

test("keep-alive: NOPs go out, silence ends the session, a held-up one is not silent", async () => {
  const times = { "mux.keepaliveInterval": "30ms", "mux.keepaliveTimeout": "120ms" };
  const silent = await listening({ keys: times });
  silent.far.write(head(CMD_SYN, 3));
  await eventually(() => framesOf(1, silent.peer.got).filter((one) => one === "NOP 0").length > 1);
  await eventually(() => silent.errors.length === 1, 2000);
  assert.match(silent.errors[0]?.message ?? "", /no sign of life/);
  silent.close();
  const held = await listening({
    keys: { ...times, "mux.maxReceiveBuffer": 1000, "mux.maxStreamBuffer": 1000 },
  });
  held.far.write(Buffer.concat([head(CMD_SYN, 3), psh(3, Buffer.alloc(2000))]));
  await pauseMs(400);
  assert.not.ok(held.session.isClosed);
  held.close();
});

test("a queue of small pieces weighs little more than its bytes", () => {
  const queue = new ByteQueue();
  const block = randomBytes(65_536);
  for (let at = 0; at < 10_000; at++) queue.push(block.subarray(at, at + 1));
  queue.push(block);
  assert.is(queue.bytes, 75_536);
  const pieces: Uint8Array[] = [];
  for (let piece = queue.shift(); piece !== undefined; piece = queue.shift()) pieces.push(piece);
  assert.ok(pieces.length < 4);
  assert.ok(Buffer.concat(pieces).equals(Buffer.concat([block.subarray(0, 10_000), block])));
  const held = pieces.reduce((sum, piece) => sum + piece.buffer.byteLength, 0);
  assert.ok(held < 75_536 + 32_768, `${held} bytes are held`);
  assert.is(queue.bytes, 0);
});

test.run();
