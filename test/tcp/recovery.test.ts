/** Loss recovery in virtual time: RACK-TLP, PRR, timeouts, undo (TCP-54 to TCP-62). */
import * as assert from "uvu/assert";
import * as abi from "../../assembly/abi.ts";
import { pattern } from "../kit/bytes.ts";
import type { TcpFields, TcpSeen } from "../kit/packet.ts";
import { suite } from "../kit/suite.ts";
import { Client, makeClient, MS, SECOND, SYN_OPTIONS, type ClientSetup } from "./client.ts";

const test = suite("tcp/recovery");
const DATA = pattern(2_000_000);
const MSS = 1460;
const RTT = 100 * MS;
const OPTIONS = { sendBuffer: 1024 ** 2, congestion: abi.CONGESTION_NEWRENO };
const STAMPED: ClientSetup = { options: { ...SYN_OPTIONS, ts: [1, 0] }, window: 65_535 };

/** A connection whose handshake took a round trip of RTT. */
function slowLink(client: ClientSetup = {}, options: Record<string, number> = {}): Client {
  const c = makeClient({ options: { ...OPTIONS, ...options } }, client);
  c.syn();
  c.accept();
  c.core.nowUs += RTT;
  c.send({});
  return c;
}

function write(c: Client, bytes: number): TcpSeen[] {
  assert.is(c.core.write(c.handle, DATA.slice(0, bytes)), bytes);
  return c.flush();
}

/** Which segments of `size` bytes went out, by index. */
function segments(c: Client, out: readonly TcpSeen[], size = MSS): number[] {
  return out
    .filter(({ payload }) => payload.length > 0)
    .map(({ seq }) => ((seq - c.theirs(0)) >>> 0) / size);
}

/** An ACK of all before segment `ack`, with SACK blocks of segments. */
function sack(c: Client, ack: number, blocks: [number, number][], more: TcpFields = {}): TcpSeen[] {
  const at = (i: number): number => c.theirs(i * MSS);
  const options = { sack: blocks.map(([l, r]) => [at(l), at(r)] as const), ...more.options };
  return c.send({ ack: at(ack), ...more, options });
}

/** Repeats at `from` and above are new data. */
function repeats(sent: readonly number[], from: number): number[] {
  return sent.filter((segment) => segment < from);
}

test("TCP-59 RFC 8985 §6.2: what is overtaken for a quarter of a round trip is not repeated", () => {
  const c = slowLink();
  write(c, 100_000);
  c.run(RTT);
  const out = sack(c, 0, [[1, 10]]);
  assert.equal(repeats(segments(c, out), 10), []);
  assert.is(c.core.deadline(), c.core.nowUs + RTT / 4);
  assert.equal(segments(c, c.run(RTT / 4 - MS)), []);
  sack(c, 19, []);
  assert.equal(repeats(segments(c, c.run(RTT / 4)), 19), []);
  assert.is(c.core.stat("STAT_FAST_RECOVERIES"), 0);
  c.core.tearDown();
});

test("TCP-56 RFC 8985 §6.2: what is overtaken for longer is lost and repeated once", () => {
  const c = slowLink();
  write(c, 100_000);
  c.run(RTT);
  sack(c, 0, [[1, 10]]);
  assert.equal(repeats(segments(c, c.run(RTT / 4 + 1)), 10), [0]);
  assert.equal(repeats(segments(c, c.run(RTT / 2)), 10), []);
  assert.is(c.core.stat("STAT_FAST_RECOVERIES"), 1);
  assert.is(c.core.stat("STAT_RTO_FIRED"), 0);
  c.core.tearDown();
});

test("TCP-56 RFC 8985 §6.2: a repeat that is lost, too, is found by what was sent after it", () => {
  const c = slowLink();
  write(c, 100_000);
  c.run(RTT);
  sack(c, 0, [[1, 10]]);
  c.run(RTT / 4 + 1);
  c.run(RTT - 1);
  // The answer to new data that was sent after the repeat.
  const fresh = segments(c, sack(c, 0, [[1, 19]]));
  assert.equal([fresh[0], ...repeats(fresh, 19)], [19]);
  c.run(RTT);
  assert.equal(repeats(segments(c, sack(c, 0, [[1, 20]])), 19), [0]);
  assert.is(c.core.stat("STAT_RTO_FIRED"), 0);
  c.core.tearDown();
});

test("TCP-59 RFC 8985 §6.2: reordering that was seen, and D-SACKs, make the window larger", () => {
  const c = slowLink();
  write(c, 400_000);
  c.run(RTT);
  sack(c, 0, [[1, 10]]);
  c.run(RTT / 4 + 1);
  // The original arrived after all, then the repeat: a duplicate.
  sack(c, 10, [[0, 1]]);
  c.run(RTT);
  sack(c, 15, []);
  const before = c.core.stat("STAT_FAST_RECOVERIES");
  sack(c, 15, [[16, 18]]);
  c.run(RTT / 4 + MS);
  assert.is(c.core.stat("STAT_FAST_RECOVERIES"), before, "a quarter is not enough any more");
  c.run(RTT / 4);
  assert.is(c.core.stat("STAT_FAST_RECOVERIES"), before + 1);
  c.core.tearDown();
});

test("TCP-57 RFC 8985 §7.2: the tail is probed after two round trips", () => {
  const c = slowLink();
  write(c, 3 * MSS);
  assert.equal(segments(c, c.run(2 * RTT - MS)), []);
  assert.equal(segments(c, c.run(MS)), [2]);
  assert.is(c.core.stat("STAT_TLP_PROBES"), 1);
  assert.is(c.core.stat("STAT_RTO_FIRED"), 0);
  c.core.tearDown();
});

test("TCP-57 RFC 8985 §7.3: the probe is new data, if there is any and the window has room", () => {
  const c = slowLink();
  write(c, 30 * MSS);
  assert.equal(segments(c, c.run(2 * RTT)), [10]);
  c.core.tearDown();
});

/** Sends three segments, lets the last be probed, and answers `ack` with what it then may send. */
function afterProbe(options: TcpFields["options"]): number {
  const c = slowLink();
  write(c, 3 * MSS);
  c.run(2 * RTT);
  c.core.nowUs += RTT;
  c.send({ ack: c.theirs(3 * MSS), ...(options === undefined ? {} : { options }) });
  assert.is(c.core.stat("STAT_TLP_PROBES"), 1);
  write(c, 100_000);
  c.core.nowUs += RTT;
  const dsack = [[c.theirs(2 * MSS), c.theirs(3 * MSS)]] as [number, number][];
  if (options === undefined) c.send({ ack: c.theirs(3 * MSS), options: { sack: dsack } });
  const out = c.send({ ack: c.theirs(4 * MSS) });
  const { length } = segments(c, out);
  c.core.tearDown();
  return length;
}

test("RFC 8985 §7.4: a probe that repaired the loss of the tail reduces the window", () => {
  assert.is(afterProbe({}), 0, "nine segments are in flight, six are allowed");
});

test("TCP-57 RFC 8985 §7.4: a D-SACK for the probe says that nothing was lost", () => {
  assert.ok(afterProbe(undefined) >= 1);
});

test("RFC 9937 §5: half of what is delivered goes out while NewReno halves the flight", () => {
  const c = slowLink();
  write(c, 400_000);
  c.run(RTT);
  c.send({ ack: c.theirs(10 * MSS) });
  c.run(RTT);
  c.send({ ack: c.theirs(30 * MSS) });
  c.run(RTT);
  // Segments 30 … 69 are in flight, 30 is lost. Before it is known, each SACK lets one out.
  let sent: number[] = [];
  for (let right = 32; right <= 36; right++) sent.push(...segments(c, sack(c, 30, [[31, right]])));
  sent.push(...segments(c, c.run(RTT / 4 + 1)));
  assert.equal(repeats(sent, 70), [30]);
  sent = [];
  for (let right = 37; right <= 70; right++) {
    const out = segments(c, sack(c, 30, [[31, right]]));
    assert.ok(out.length <= 1, "never a burst");
    sent.push(...out);
  }
  assert.ok(sent.length >= 14 && sent.length <= 20, `${sent.length} of 34`);
  assert.equal(repeats(sent, 70), []);
  c.core.tearDown();
});

test("RFC 3042: the first duplicate ACKs let new data out, one segment each", () => {
  const c = slowLink({ options: { mss: 1460, wscale: 7 } });
  write(c, 100_000);
  c.run(RTT);
  assert.equal(segments(c, c.send({ ack: c.theirs(0) })), [10]);
  assert.equal(segments(c, c.send({ ack: c.theirs(0) })), [11]);
  assert.equal(repeats(segments(c, c.send({ ack: c.theirs(0) })), 10), [0]);
  c.core.tearDown();
});

test("TCP-58 RFC 6582: without SACK, each partial ACK brings the next hole", () => {
  const c = slowLink({ options: { mss: 1460, wscale: 7 } });
  write(c, 10 * MSS);
  c.run(RTT);
  for (let i = 0; i < 3; i++) c.send({ ack: c.theirs(0) });
  c.run(RTT);
  assert.equal(segments(c, c.send({ ack: c.theirs(3 * MSS) })), [3]);
  c.run(RTT);
  assert.equal(segments(c, c.send({ ack: c.theirs(7 * MSS) })), [7]);
  assert.is(c.core.stat("STAT_RTO_FIRED"), 0);
  c.core.tearDown();
});

/** Segments in flight after the next ACK, when a recovery was or was not taken back. */
function flightAfter(c: Client, acked: number): number {
  c.run(RTT);
  const out = segments(c, c.send({ ack: c.theirs(acked * MSS) }));
  return Math.max(...out) + 1 - acked;
}

test("TCP-59 RFC 3708: D-SACKs for all that was repeated take the reduction back", () => {
  const windows = [true, false].map((isDuplicate) => {
    const c = slowLink();
    write(c, 900_000);
    c.run(RTT);
    c.send({ ack: c.theirs(10 * MSS) });
    c.run(RTT);
    sack(c, 10, [[12, 30]]);
    assert.equal(repeats(segments(c, c.run(RTT / 4 + 1)), 30), [10, 11].slice(0, 1));
    const out = sack(c, 30, isDuplicate ? [[10, 11]] : []);
    assert.is(c.core.stat("STAT_SPURIOUS"), isDuplicate ? 1 : 0);
    assert.equal(repeats(segments(c, out), 30), []);
    const flight = flightAfter(c, 40);
    c.core.tearDown();
    return flight;
  });
  assert.ok(windows[0]! >= 20, `${windows[0]} segments, as before`);
  assert.ok(windows[1]! < 15, `${windows[1]} segments, half`);
});

test("TCP-59 RFC 3522: an ACK for the original takes a fast recovery back, too", () => {
  const c = slowLink(STAMPED);
  const size = 1448;
  const first = write(c, 100_000)[0]!.ts![0];
  c.run(RTT);
  const at = (i: number): number => c.theirs(i * size);
  c.send({ ack: at(0), options: { ts: [2, first], sack: [[at(1), at(10)]] } });
  c.run(RTT / 4 + MS);
  assert.is(c.core.stat("STAT_FAST_RECOVERIES"), 1);
  c.send({ ack: at(10), options: { ts: [3, first] } });
  assert.is(c.core.stat("STAT_SPURIOUS"), 1);
  c.core.tearDown();
});

test("TCP-54 MUST-18 RFC 6298 §5: the timeout doubles, and an ACK of new data ends the doubling", () => {
  const c = slowLink({ options: { mss: 1460, wscale: 7 } });
  write(c, 4 * MSS);
  const times: number[] = [];
  const start = c.core.nowUs;
  while (times.length < 3) {
    if (c.run(c.core.deadline() - c.core.nowUs).length > 0) times.push(c.core.nowUs - start);
  }
  const rto = times[0]!;
  assert.ok(rto >= 200 * MS && rto <= 4 * RTT, `${rto}`);
  assert.equal(times, [rto, 3 * rto, 7 * rto]);
  // Repeated data measures nothing (Karn); new data does.
  c.send({ ack: c.theirs(4 * MSS) });
  write(c, MSS);
  c.run(RTT);
  c.send({ ack: c.theirs(5 * MSS) });
  write(c, MSS);
  const again = c.core.deadline() - c.core.nowUs;
  assert.ok(again <= 4 * RTT, `${again}`);
  c.core.tearDown();
});

test("TCP-55 RFC 5681 §3.1: one segment after a timeout, slow start up to half of the flight", () => {
  const c = slowLink({ options: { mss: 1460, wscale: 7 } });
  write(c, 100_000);
  let out = c.run(2 * SECOND).slice(0, 1);
  assert.equal(segments(c, out), [0]);
  let acked = 1;
  const windows: number[] = [];
  for (let round = 0; round < 6; round++) {
    c.core.nowUs += RTT;
    out = c.send({ ack: c.theirs(acked * MSS) });
    const sent = segments(c, out);
    windows.push(sent.length);
    acked = Math.max(...sent) + 1;
  }
  assert.equal(windows.slice(0, 2), [2, 4]);
  assert.ok(windows[5]! <= 9, `${windows.join(" ")}: avoidance after five segments`);
  c.core.tearDown();
});

test("TCP-55 RFC 6675 §5.1: a timeout does not repeat what the client holds", () => {
  const c = slowLink();
  write(c, 10 * MSS);
  sack(c, 0, [[5, 8]]);
  const sent: number[] = [];
  let acked = 0;
  for (let i = 0; i < 40 && acked < 10; i++) {
    const out = segments(c, c.run(RTT));
    sent.push(...out);
    for (const segment of out) {
      if (segment !== acked) continue;
      acked++;
      if (acked === 5) acked = 8;
      const held: [number, number][] = acked < 5 ? [[5, 8]] : [];
      sent.push(...segments(c, sack(c, acked, held)));
    }
  }
  assert.equal(
    sent.filter((segment) => segment >= 5 && segment < 8),
    [],
  );
  c.core.tearDown();
});

test("TCP-62 RFC 2018 §8: a client that throws away what it reported gets it again", () => {
  const c = slowLink();
  write(c, 6 * MSS);
  sack(c, 0, [[1, 6]]);
  const sent = new Set<number>();
  for (let i = 0; i < 100 && !sent.has(5); i++) {
    for (const segment of segments(c, c.run(SECOND))) {
      sent.add(segment);
      c.send({ ack: c.theirs((segment + 1) * MSS) });
    }
  }
  assert.equal([...sent], [0, 1, 2, 3, 4, 5]);
  c.core.tearDown();
});

test("TCP-38 RFC 2018 §8: reports of thousands of holes cost bounded memory", () => {
  const size = 100;
  const c = slowLink({ options: { ...SYN_OPTIONS, mss: size } });
  const before = { ...c.core.levels() };
  assert.is(c.core.write(c.handle, DATA.slice(0, 1_000_000)), 1_000_000);
  let acked = 0;
  // Grow the window to thousands of segments, each of them sent at a time of its own.
  for (let i = 0; i < 14; i++) {
    c.core.nowUs += RTT;
    const out = c.send({ ack: c.theirs(acked) });
    acked += out.reduce((sum, { payload }) => sum + payload.length, 0);
  }
  c.core.nowUs += RTT;
  let end = acked;
  for (let at = acked - 60_000; at < acked; at += 4 * size) {
    c.core.nowUs += 10;
    const blocks = [1, 3].map((i) => [c.theirs(at + i * size), c.theirs(at + (i + 1) * size)]);
    const out = c.send({
      ack: c.theirs(acked - 60_000),
      options: { sack: blocks as [number, number][] },
    });
    for (const { seq, payload } of out) {
      end = Math.max(end, ((seq - c.theirs(0)) >>> 0) + payload.length);
    }
  }
  const slots = before["GAUGE_SLOTS_FREE"]! - c.core.gauge("GAUGE_SLOTS_FREE");
  assert.ok(slots <= 1 + 1_000_000 / 65_000 + 3, `${slots} slots`);
  c.send({ ack: c.theirs(end) });
  c.core.tearDown();
});

test.run();
