/** Closing: FINs both ways, TIME-WAIT, orphans, silence (TCP-90 to TCP-113). */
import * as assert from "uvu/assert";
import * as abi from "../../assembly/abi.ts";
import { pattern } from "../kit/bytes.ts";
import { suite } from "../kit/suite.ts";
import { Client, connected, MS, SECOND, SYN_OPTIONS } from "./client.ts";

const test = suite("tcp/close");

/** The host says EOF; the FIN that goes out. */
function shut(c: Client): void {
  c.core.shutdown(c.handle);
  const [fin] = c.flush();
  assert.equal([fin!.flags, fin!.seq], ["FA", c.theirs(0)]);
}

/** We close first; the connection is in TIME-WAIT and the flow released. */
function inTimeWait(core = {}, client = {}): Client {
  const c = connected(core, client);
  shut(c);
  const [ack] = c.send({ flags: "FA", ack: c.theirs(1) });
  assert.equal([ack!.flags, ack!.ack], ["A", c.at(1)]);
  assert.is(c.closed(), abi.CLOSE_DONE);
  return c;
}

test("TCP-90 TCP-92 FLOW-12: a FIN is acknowledged at once; the other direction goes on", () => {
  const c = connected();
  const [ack] = c.send({ flags: "FPA", payload: pattern(10) });
  assert.is(ack!.ack, c.at(11));
  assert.is(c.bits() & (abi.EV_FIN | abi.EV_CLOSED), abi.EV_FIN);
  assert.equal(c.core.read(c.handle), pattern(10));
  c.seq = c.at(11);
  assert.is(c.core.write(c.handle, pattern(5000)), 5000);
  assert.is(
    c.flush().reduce((sum, { payload }) => sum + payload.length, 0),
    5000,
  );
  c.core.shutdown(c.handle);
  assert.equal(
    c.flush().map(({ flags, seq }) => [flags, seq]),
    [["FA", c.theirs(5000)]],
  );
  c.send({ ack: c.theirs(5001) });
  assert.is(c.closed(), abi.CLOSE_DONE);
  assert.is(c.core.gauge("GAUGE_TIME_WAITS"), 0, "the client closed first");
  c.core.tearDown();
});

test("TCP-91 TCP-97: after our FIN the client's data is still taken", () => {
  const c = connected();
  shut(c);
  assert.is(c.core.exports.sendReserve(c.handle, 1), abi.ERR_STATE);
  c.send({ ack: c.theirs(1), payload: pattern(1000) });
  assert.equal(c.core.read(c.handle), pattern(1000));
  c.run(SECOND);
  assert.equal(c.run(3600 * SECOND), [], "no timer while upstream takes data");
  c.send({ seq: c.at(1000), flags: "FA", ack: c.theirs(1) });
  assert.is(c.closed(), abi.CLOSE_DONE);
  assert.is(c.core.gauge("GAUGE_TIME_WAITS"), 1);
  c.core.tearDown();
});

test("TCP-94 TCP-91: the FIN rides on the last data and is repeated like data", () => {
  const c = connected();
  c.core.write(c.handle, pattern(100));
  c.core.shutdown(c.handle);
  const [last, ...more] = c.flush();
  assert.equal([last!.flags, last!.payload.length, more.length], ["FPA", 100, 0]);
  const out = c.run(300 * MS);
  assert.ok(out.length >= 1);
  for (const { flags, end } of out) assert.equal([flags, end], ["FPA", c.theirs(101)]);
  c.core.tearDown();
});

test("TCP-93: both close at once: CLOSING, then TIME-WAIT", () => {
  const c = connected();
  shut(c);
  const [ack] = c.send({ flags: "FA", ack: c.theirs(0) });
  assert.equal([ack!.ack, ack!.seq], [c.at(1), c.theirs(1)]);
  assert.equal(c.send({ seq: c.at(1), ack: c.theirs(1) }), []);
  assert.is(c.closed(), abi.CLOSE_DONE);
  assert.is(c.core.gauge("GAUGE_TIME_WAITS"), 1);
  c.core.tearDown();
});

test("TCP-95: a repeated FIN is acknowledged again, also in TIME-WAIT", () => {
  const c = connected();
  c.send({ flags: "FA" });
  assert.is(c.send({ flags: "FA" })[0]!.ack, c.at(1));
  c.core.tearDown();
  const waiting = inTimeWait();
  const [ack] = waiting.send({ flags: "FA", ack: waiting.theirs(1) });
  assert.equal([ack!.flags, ack!.ack, ack!.seq], ["A", waiting.at(1), waiting.theirs(1)]);
  waiting.core.tearDown();
});

test("TCP-96 MUST-13: TIME-WAIT lasts as long as configured, is bounded, and ignores RSTs", () => {
  const c = inTimeWait({ options: { timeWait: 5000, timeWaits: 2 } });
  assert.equal(c.send({ flags: "R", seq: c.at(1), ack: 0 }), []);
  assert.is(c.core.gauge("GAUGE_TIME_WAITS"), 1);
  c.run(4999 * MS);
  assert.is(c.core.gauge("GAUGE_TIME_WAITS"), 1);
  c.run(1 * MS);
  assert.is(c.core.gauge("GAUGE_TIME_WAITS"), 0);
  for (const sport of [1, 2, 3]) {
    const other = new Client(c.core, { sport }).connect();
    shut(other);
    other.send({ flags: "FA", ack: other.theirs(1) });
    assert.is(other.closed(), abi.CLOSE_DONE);
  }
  assert.is(c.core.gauge("GAUGE_TIME_WAITS"), 2);
  c.core.tearDown();
});

test("DET-4 DET-9: TIME-WAIT is over after weeks of sleep, whatever 2^32 ms make of its end", () => {
  const DAY = 86_400 * SECOND;
  for (const days of [1, 25, 40, 49, 50]) {
    const c = inTimeWait({ options: { timeWait: 5000 } });
    c.core.poll(c.core.nowUs + days * DAY);
    assert.is(c.core.gauge("GAUGE_TIME_WAITS"), 0, `${days} days`);
    c.core.tearDown();
  }
});

test("TCP-95 MUST-13: a repeated FIN begins TIME-WAIT anew, also when the ring is full", () => {
  for (const timeWaits of [1, 3]) {
    const c = inTimeWait({ options: { timeWait: 5000, timeWaits } });
    for (let sport = 1; sport < timeWaits; sport++) {
      const other = new Client(c.core, { sport }).connect();
      shut(other);
      other.send({ flags: "FA", ack: other.theirs(1) });
      assert.is(other.closed(), abi.CLOSE_DONE);
    }
    c.run(3 * SECOND);
    assert.is(c.send({ flags: "FA", ack: c.theirs(1) }).length, 1);
    c.run(4 * SECOND);
    assert.is(c.core.gauge("GAUGE_TIME_WAITS"), 1);
    assert.is(c.send({ flags: "FA", ack: c.theirs(1) }).length, 1);
    c.run(5 * SECOND);
    assert.is(c.core.gauge("GAUGE_TIME_WAITS"), 0);
    c.core.tearDown();
  }
});

test("TCP-96: a newer SYN opens a tuple in TIME-WAIT at once, above the old numbers; an older one not", () => {
  const c = inTimeWait();
  const old = { flags: "S", ack: 0, options: SYN_OPTIONS };
  assert.is(c.send({ ...old, seq: c.at(-100) })[0]!.flags, "A");
  const fresh = new Client(c.core, { iss: c.at(1000) });
  fresh.syn();
  const synAck = fresh.accept();
  assert.is(synAck.ack, c.at(1001));
  assert.ok((synAck.seq - c.theirs(1)) >>> 0 < 2 ** 31, "our number is above the old ones");
  assert.is(c.core.gauge("GAUGE_TIME_WAITS"), 0);
  c.core.tearDown();
});

test("TCP-96: a newer timestamp opens it too", () => {
  const c = inTimeWait({}, { options: { mss: 1460, ts: [1000, 0] } });
  const options = { mss: 1460, ts: [2000, 0] as const };
  const fresh = new Client(c.core, { iss: (c.iss - 5000) >>> 0, options });
  fresh.syn();
  assert.is(fresh.accept().flags, "SA");
  c.core.tearDown();
});

test("TCP-97 TCP-99: an orphan sends what is queued; FIN-WAIT-2 lasts 60 s; data gets a RST", () => {
  const c = connected();
  c.bits();
  c.core.write(c.handle, pattern(3000));
  c.core.release(c.handle);
  assert.is(c.core.exports.recvPeek(c.handle), abi.ERR_STALE);
  assert.is(c.flush().at(-1)!.flags, "FPA");
  c.send({ ack: c.theirs(3001) });
  assert.equal(c.run(59 * SECOND), []);
  assert.is(c.run(2 * SECOND)[0]!.flags, "RA");
  assert.is(c.core.gauge("GAUGE_FLOWS"), 0);
  const other = new Client(c.core, { sport: 2 }).connect();
  other.bits();
  c.core.release(other.handle);
  other.flush();
  assert.is(other.send({ payload: pattern(10) })[0]!.flags, "RA");
  assert.is(c.core.gauge("GAUGE_FLOWS"), 0);
  c.core.tearDown();
});

test("TCP-102: LAST-ACK ends after 60 s", () => {
  const c = connected();
  c.send({ flags: "FA" });
  c.core.shutdown(c.handle);
  const start = c.core.nowUs;
  c.flush();
  while (c.core.deadline() !== Infinity) c.run(c.core.deadline() - c.core.nowUs);
  assert.is(c.core.nowUs - start, 60 * SECOND);
  assert.is(c.closed(), abi.CLOSE_TIMEOUT);
  c.core.tearDown();
});

test("TCP-110 MUST-26 MUST-28 MUST-29: a silent client is probed after two hours; nine unanswered probes end the flow", () => {
  const c = connected({ options: { idleTimeout: 100_000_000 } });
  const start = c.core.nowUs;
  const probes: number[] = [];
  for (let flags = ""; flags !== "RA";) {
    for (const seen of c.run(c.core.deadline() - c.core.nowUs)) {
      flags = seen.flags;
      if (flags === "A") {
        assert.equal([seen.seq, seen.payload.length], [c.theirs(-1), 0]);
        probes.push((c.core.nowUs - start) / SECOND);
      }
    }
  }
  const expected = Array.from({ length: 9 }, (_, i) => 7200 + 75 * i);
  assert.equal(probes, expected);
  assert.is(c.closed(), abi.CLOSE_TIMEOUT);
  c.core.tearDown();
});

test("TCP-110 MUST-26: an answered probe puts the next one off by two hours", () => {
  const c = connected();
  c.run(7200 * SECOND);
  c.send({});
  assert.equal(c.run(7199 * SECOND), []);
  assert.is(c.run(SECOND).length, 1);
  c.core.tearDown();
});

test("TCP-113 TCP-112 MUST-27: without keepalive the idle limit ends a flow with a RST", () => {
  const c = connected({ options: { keepaliveIdle: 0, idleTimeout: 60_000 } });
  assert.equal(c.run(59 * SECOND), []);
  assert.equal(
    c.run(SECOND).map(({ flags }) => flags),
    ["RA"],
  );
  assert.is(c.closed(), abi.CLOSE_IDLE);
  c.core.tearDown();
});

test("TCP-92 MEM-2: events and records of a thousand short flows leave nothing behind", () => {
  const c = connected({ options: { flows: 8, timeWaits: 16 } });
  for (let i = 0; i < 1000; i++) {
    const each = new Client(c.core, { sport: 1000 + i }).connect();
    each.send({ flags: "FA" });
    c.core.shutdown(each.handle);
    each.flush();
    each.send({ seq: each.at(1), ack: each.theirs(1) });
    assert.is(each.closed(), abi.CLOSE_DONE);
  }
  c.flush();
  assert.is(c.core.gauge("GAUGE_FLOWS"), 1);
  c.core.tearDown();
});

test.run();
