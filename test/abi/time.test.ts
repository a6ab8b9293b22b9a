/** Time and numbers that wrap: deadlines, batching, 2^32 of everything. */
import * as assert from "uvu/assert";
import * as abi from "../../assembly/abi.ts";
import { pattern } from "../kit/bytes.ts";
import { CoreHarness } from "../kit/core.ts";
import { Random } from "../kit/random.ts";
import { suite } from "../kit/suite.ts";
import { Client, connected, makeClient, MS, SECOND } from "../tcp/client.ts";

const test = suite("abi/time");
const IMMEDIATE = { connect: abi.CONNECT_IMMEDIATE };
const DATA = pattern(200_000);

test("DET-3: nothing happens before the deadline that is told, everything due at it", () => {
  const c = connected({ options: { timeWait: 3000 } }, { options: { mss: 1460, wscale: 7 } });
  c.core.write(c.handle, pattern(500));
  c.send({ payload: pattern(100) });
  for (let i = 0; i < 6; i++) {
    const at = c.core.deadline();
    assert.ok(at > c.core.nowUs, "a deadline in the past");
    for (const part of [0.3, 0.9]) {
      c.core.poll(c.core.nowUs + Math.floor((at - c.core.nowUs) * part));
      assert.equal(c.flush(), []);
      assert.is(c.core.deadline(), at, "polling early changed something");
    }
    c.core.poll(at);
    assert.ok(c.flush().length >= 1, `nothing at deadline ${i}`);
    assert.ok(c.core.deadline() > at);
  }
  c.core.tearDown();
});

/** What both ends know after the same segments came in batches of `size`. */
function outcome(size: number): unknown {
  const c = connected({ seed: 9, options: { sendBuffer: 65536 } });
  const random = new Random(3);
  c.core.write(c.handle, DATA.slice(0, 20_000));
  const flight = c.flush();
  const segments = Array.from({ length: 40 }, (_, i) => ({
    seq: c.at(i * 700),
    payload: DATA.slice(i * 700, i * 700 + 1000),
    ack: c.theirs(flight.length > i ? i * 365 : 14_600),
  }));
  segments.sort(() => random.below(3) - 1);
  let sent = flight.reduce((sum, { payload }) => sum + payload.length, 0);
  let ack = 0;
  for (let from = 0; from < segments.length; from += size) {
    for (const seen of c.send(...segments.slice(from, from + size))) {
      sent += seen.payload.length;
      ack = seen.ack;
    }
  }
  const state = { ack, sent, bytes: Buffer.from(c.core.read(c.handle)).toString("base64") };
  c.core.tearDown();
  return state;
}

test("DET-7: packets one by one, or all in one call, come to the same", () => {
  const alone = outcome(1);
  for (const size of [2, 7, 16]) assert.equal(outcome(size), alone, `batches of ${size}`);
});

/** A connection from just before a wrap: times of all that a timer sends, in ms. */
function timesFrom(startUs: number): number[] {
  const core = { startUs, options: { timeWait: 2000 } };
  const c = makeClient(core, { options: { mss: 1460, wscale: 7, ts: [0xffff_fff0, 0] } });
  c.syn();
  c.accept();
  const times: number[] = [];
  const stamp = (): number => times.push((c.core.nowUs - startUs) / MS);
  // The SYN-ACK again, a delayed ACK, a retransmission, the end of TIME-WAIT.
  assert.is(c.run(c.core.deadline() - c.core.nowUs)[0]!.flags, "SA");
  stamp();
  c.send({ options: { ts: [4, 0] } });
  c.send({ payload: pattern(10), options: { ts: [5, 0] } });
  assert.is(c.run(c.core.deadline() - c.core.nowUs)[0]!.ack, c.at(10));
  stamp();
  c.core.write(c.handle, pattern(30));
  c.flush();
  const [again] = c.run(c.core.deadline() - c.core.nowUs);
  assert.is(again!.payload.length, 30);
  stamp();
  c.seq = c.at(10);
  c.send({ ack: c.theirs(30), options: { ts: [6, 0] } });
  c.core.shutdown(c.handle);
  c.flush();
  c.send({ flags: "FA", ack: c.theirs(31), options: { ts: [7, 0] } });
  assert.is(c.core.gauge("GAUGE_TIME_WAITS"), 1);
  c.run(c.core.deadline() - c.core.nowUs);
  assert.is(c.core.gauge("GAUGE_TIME_WAITS"), 0);
  stamp();
  c.core.tearDown();
  return times;
}

test("DET-9: all timers are on time across 2^32 microseconds and milliseconds", () => {
  const usual = timesFrom(1_000_000);
  assert.equal(usual.slice(0, 2), [1000, 1040]);
  for (const wrap of [2 ** 32, 2 ** 32 * 1000]) {
    for (const before of [1 * SECOND, 1.02 * SECOND, 1.1 * SECOND, 2 * SECOND]) {
      assert.equal(timesFrom(wrap - before), usual, `${before} before ${wrap}`);
    }
  }
});

/** The core's initial sequence number if the SYN comes at `startUs`. */
function issAt(startUs: number): number {
  const c = makeClient({ startUs, options: IMMEDIATE });
  return c.syn()[0]!.seq;
}

test("DET-10: sequence numbers and timestamps of both ends wrap within a transfer", () => {
  const early = 1_000_000;
  // The number advances by one in 4 µs: choose the time at which it is just below the wrap.
  const startUs = early + 4 * ((0xffff_f000 - issAt(early)) >>> 0);
  const core = { startUs, options: { ...IMMEDIATE, sendBuffer: 262_144 } };
  const options = { mss: 1460, wscale: 7, ts: [0xffff_fffd, 0] as const };
  const c = makeClient(core, { iss: 0xffff_fff0, options }).connect();
  assert.is(c.peerIss, 0xffff_f000);
  let tsval = 0xffff_fffd;
  for (let i = 0; i < 64; i++) {
    tsval = (tsval + 1) >>> 0;
    const payload = DATA.slice(i * 1000, i * 1000 + 1000);
    c.send({ seq: c.at(i * 1000), payload, options: { ts: [tsval, 0] } });
  }
  c.seq = c.at(64_000);
  assert.equal(c.core.read(c.handle), DATA.slice(0, 64_000));
  c.core.write(c.handle, DATA.slice(0, 100_000));
  let acked = 0;
  for (let out = c.flush(); acked < 100_000;) {
    for (const { seq, payload } of out) {
      assert.is(seq, c.theirs(acked));
      assert.equal(payload, DATA.slice(acked, acked + payload.length));
      acked += payload.length;
    }
    out = c.send({ ack: c.theirs(acked), options: { ts: [(tsval + 1) >>> 0, 0] } });
  }
  assert.is(c.core.stat("STAT_RETRANSMITS"), 0);
  c.core.tearDown();
});

test("DET-5: a clock that jumps back stops time, no more", () => {
  const c = connected();
  c.core.write(c.handle, pattern(10));
  c.flush();
  const { nowUs } = c.core;
  const before = c.core.deadline();
  c.core.poll(nowUs);
  c.core.exports.poll(nowUs - 5 * SECOND, 100);
  assert.equal(c.core.flush(), []);
  assert.is(c.core.deadline(), before);
  c.core.nowUs = nowUs - 5 * SECOND;
  assert.equal(c.send({ ack: c.theirs(10) }), []);
  c.core.nowUs = nowUs;
  assert.equal(c.run(SECOND), [], "the acknowledgement counted");
  c.core.tearDown();
});

test("DET-4: a poll an hour late fires each timer of many flows once", () => {
  const core = new CoreHarness({ options: IMMEDIATE });
  const clients = Array.from({ length: 20 }, (_, i) =>
    new Client(core, { sport: 1000 + i, options: { mss: 1460 } }).connect(),
  );
  for (const { handle } of clients) core.write(handle, pattern(100));
  core.flush();
  core.poll(core.nowUs + 3600 * SECOND);
  assert.is(core.flush().length, 20);
  assert.is(core.stat("STAT_RTO_FIRED"), 20);
  core.tearDown();
});

test.run();
