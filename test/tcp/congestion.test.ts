/** Congestion control in virtual time: slow start, NewReno, CUBIC, HyStart++ (TCP-60, TCP-68). */
import * as assert from "uvu/assert";
import * as abi from "../../assembly/abi.ts";
import type { TcpFields } from "../kit/packet.ts";
import { suite } from "../kit/suite.ts";
import { Client, makeClient, MS, SECOND } from "./client.ts";

const test = suite("tcp/congestion");
const MSS = 1460;
const RTT = 100 * MS;
const FILL = new Uint8Array(2_000_000);
const { CONGESTION_CUBIC: CUBIC, CONGESTION_NEWRENO: NEWRENO } = abi;

/** A bulk transfer over a link of RTT without a rate; the client acknowledges when told. */
class Bulk {
  readonly c: Client;
  acked = 0;
  /** All before it was sent. */
  sent = 0;

  constructor(congestion: number) {
    const buffers = { sendBuffer: 4 * 1024 ** 2, sendBufferMax: 4 * 1024 ** 2 };
    const options = { ...buffers, bufferCap: 64 * 1024 ** 2, congestion };
    const syn = { mss: MSS, sackOk: true, wscale: 10 };
    this.c = makeClient({ build: "simd", options }, { options: syn, window: 65_535 });
    this.c.syn();
    this.c.accept();
    this.c.core.nowUs += RTT;
    this.take({});
  }

  get flight(): number {
    return (this.sent - this.acked) / MSS;
  }

  get seconds(): number {
    return this.c.core.nowUs / SECOND;
  }

  /** A segment of the client; the queue is kept full. */
  take(fields: TcpFields): number {
    const { c } = this;
    const out = c.send({ ack: c.theirs(this.acked), ...fields });
    c.core.write(c.handle, FILL);
    const all = [...out, ...c.flush()];
    const before = this.sent;
    for (const { seq, payload } of all) {
      this.sent = Math.max(this.sent, ((seq - c.theirs(0)) >>> 0) + payload.length);
    }
    return (this.sent - before) / MSS;
  }

  /** After a round trip, acknowledges all that is in flight, eight segments an ACK. */
  round(rttUs = RTT): void {
    const { c } = this;
    c.core.nowUs += rttUs;
    for (const end = this.sent; this.acked < end;) {
      this.acked = Math.min(end, this.acked + 8 * MSS);
      this.take({});
    }
  }

  /** Grows to more than `segments`, then loses the first segment of the flight; recovery ends. */
  lose(segments: number): number {
    while (this.flight <= segments) this.round();
    const flight = this.flight;
    const { c } = this;
    const held = [c.theirs(this.acked + MSS), c.theirs(this.sent)] as const;
    c.core.nowUs += RTT;
    this.take({ options: { sack: [held] } });
    c.run(RTT / 4 + 1);
    this.acked = this.sent;
    c.core.nowUs += RTT;
    this.take({});
    return flight;
  }
}

test("TCP-60 RFC 6928, RFC 5681 §3.1: ten segments, then twice as many each round trip", () => {
  for (const congestion of [CUBIC, NEWRENO]) {
    const bulk = new Bulk(congestion);
    const flights = [bulk.flight];
    for (let i = 0; i < 4; i++) {
      bulk.round();
      flights.push(bulk.flight);
    }
    assert.equal(flights, [10, 20, 40, 80, 160]);
    bulk.c.core.tearDown();
  }
});

test("TCP-60: a batch of ACKs lets the window grow as one by one does", () => {
  const bulk = new Bulk(CUBIC);
  const { c } = bulk;
  for (const expected of [20, 40, 80]) {
    c.core.nowUs += RTT;
    const acks = [];
    for (const end = bulk.sent; bulk.acked < end; bulk.acked += MSS) {
      acks.push(c.packet({ ack: c.theirs(bulk.acked + MSS) }));
    }
    c.core.send(...acks);
    bulk.take({});
    assert.is(bulk.flight, expected);
  }
  c.core.tearDown();
});

test("TCP-60 RFC 3465: one ACK for the whole flight lets it grow as many do", () => {
  const bulk = new Bulk(NEWRENO);
  for (const expected of [20, 40, 80]) {
    bulk.c.core.nowUs += RTT;
    bulk.acked = bulk.sent;
    bulk.take({});
    assert.is(bulk.flight, expected);
  }
  bulk.c.core.tearDown();
});

test("RFC 7661 §4.3: a window that is not used does not grow", () => {
  const bulk = new Bulk(CUBIC);
  const { c } = bulk;
  bulk.round();
  bulk.acked = bulk.sent;
  // A shut window: what is queued stays, then little is sent at a time.
  for (let i = 0; i < 20; i++) {
    c.core.nowUs += RTT;
    bulk.take({ window: 8 });
    bulk.acked = bulk.sent;
  }
  bulk.take({});
  assert.ok(bulk.flight <= 45, `${bulk.flight}`);
  c.core.tearDown();
});

test("RFC 5681 §3.1: NewReno has half after a loss, then a segment more each round trip", () => {
  const bulk = new Bulk(NEWRENO);
  const before = bulk.lose(150);
  const flights = [bulk.flight];
  for (let i = 0; i < 10; i++) {
    bulk.round();
    flights.push(bulk.flight);
  }
  assert.ok(Math.abs(flights[0]! - before / 2) <= 1, `${flights[0]} after ${before}`);
  assert.ok(Math.abs(flights[10]! - flights[0]! - 10) <= 1, flights.join(" "));
  bulk.c.core.tearDown();
});

test("RFC 9438 §4.2: CUBIC follows its function of time, through a plateau at the old window", () => {
  const bulk = new Bulk(CUBIC);
  const wMax = bulk.lose(100);
  const start = bulk.seconds;
  const left = bulk.flight;
  assert.ok(Math.abs(left - wMax * 0.7) <= 1.5, `${left} of ${wMax}`);
  const k = Math.cbrt((wMax * 0.3) / 0.4);
  for (let i = 0; i < 80; i++) {
    bulk.round();
    const t = bulk.seconds - start;
    const expected = 0.4 * (t - k) ** 3 + wMax;
    const error = Math.abs(bulk.flight - expected) / expected;
    assert.ok(error < 0.05, `${bulk.flight} at ${t.toFixed(1)} s, not ${expected.toFixed(1)}`);
  }
  assert.ok(bulk.seconds - start > k * 1.5, "the plateau was passed");
  assert.ok(bulk.flight > wMax * 1.05);
  bulk.c.core.tearDown();
});

test("RFC 9438 §4.7: who loses before the old window is reached aims lower", () => {
  const bulk = new Bulk(CUBIC);
  const first = bulk.lose(150);
  const second = bulk.lose(0);
  assert.ok(second < first);
  // The plateau is at (1 + 0.7) / 2 of the second window; K from there.
  const wMax = second * 0.85;
  const k = Math.cbrt((wMax - second * 0.7) / 0.4);
  const start = bulk.seconds;
  while (bulk.seconds - start < k) bulk.round();
  assert.ok(Math.abs(bulk.flight - wMax) / wMax < 0.05, `${bulk.flight}, not ${wMax}`);
  bulk.c.core.tearDown();
});

test("RFC 9438 §4.3: on a short path CUBIC is no slower than NewReno", () => {
  const windows = [CUBIC, NEWRENO].map((congestion) => {
    const bulk = new Bulk(congestion);
    while (bulk.flight < 30) bulk.round(2 * MS);
    bulk.lose(30);
    for (let i = 0; i < 200; i++) bulk.round(2 * MS);
    bulk.c.core.tearDown();
    return bulk.flight;
  });
  assert.ok(windows[0]! >= windows[1]! * 0.6, windows.join(" "));
});

test("RFC 9406 §4.2: slow start ends when round trips get longer, before anything is lost", () => {
  const bulk = new Bulk(CUBIC);
  for (let i = 0; i < 3; i++) bulk.round();
  const flights: number[] = [];
  // The queue fills: each round trip is a fifth longer than the first ones.
  for (let i = 0; i < 8; i++) {
    bulk.round(RTT + 20 * MS);
    flights.push(bulk.flight);
  }
  const growth = flights.map((each, i) => (i === 0 ? 1 : each / flights[i - 1]!));
  assert.ok(Math.max(...growth.slice(2)) < 1.4, growth.map((each) => each.toFixed(2)).join(" "));
  assert.ok(growth[7]! < 1.1, "avoidance after five rounds");
  bulk.c.core.tearDown();
});

test("RFC 9406 §4.2: a round trip that gets short again was jitter, slow start goes on", () => {
  const bulk = new Bulk(CUBIC);
  for (let i = 0; i < 3; i++) bulk.round();
  bulk.round(RTT + 20 * MS);
  bulk.round();
  const before = bulk.flight;
  bulk.round();
  bulk.round();
  assert.ok(bulk.flight > before * 2.5, `${before} to ${bulk.flight}`);
  bulk.c.core.tearDown();
});

test("RFC 5681 §4.1: after a silence of more than the timeout, ten segments again", () => {
  const bulk = new Bulk(NEWRENO);
  for (let i = 0; i < 3; i++) bulk.round();
  const { c } = bulk;
  // The client's window holds everything back until all is acknowledged and time has passed.
  c.core.nowUs += RTT;
  bulk.acked = bulk.sent;
  bulk.take({ window: 0 });
  c.core.nowUs += 50 * MS;
  bulk.take({});
  assert.is(bulk.flight, 160, "not after a short one");
  c.core.nowUs += RTT;
  bulk.acked = bulk.sent;
  bulk.take({ window: 0 });
  c.core.nowUs += 10 * SECOND;
  bulk.take({});
  assert.is(bulk.flight, 10);
  c.core.tearDown();
});

test("the option is checked: a congestion control that is not known is refused", () => {
  assert.throws(() => makeClient({ options: { congestion: 2 } }), /configuration word 59/);
});

test.run();
