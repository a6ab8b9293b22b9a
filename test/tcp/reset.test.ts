/** RSTs and blind attacks, segments without flow (TCP-17, TCP-70 to TCP-83, DOS-5). */
import * as assert from "uvu/assert";
import * as abi from "../../assembly/abi.ts";
import { pattern } from "../kit/bytes.ts";
import { suite } from "../kit/suite.ts";
import { Client, connected, makeClient, SECOND } from "./client.ts";

const test = suite("tcp/reset");

test("TCP-70: a RST at RCV.NXT ends the flow without an answer", () => {
  const c = connected();
  c.send({ payload: pattern(10) });
  assert.equal(c.send({ flags: "R", seq: c.at(10), ack: 0 }), []);
  assert.is(c.closed(), abi.CLOSE_RESET);
  assert.is(c.send({ seq: c.at(10) })[0]!.flags, "R", "the flow is unknown now");
  c.core.tearDown();
});

test("TCP-71 TCP-72: a RST elsewhere in the window gets a challenge ACK, outside of it silence", () => {
  const c = connected();
  const [challenge] = c.send({ flags: "R", seq: c.at(100) });
  assert.equal([challenge!.flags, challenge!.seq, challenge!.ack], ["A", c.theirs(0), c.at(0)]);
  assert.equal(c.send({ flags: "R", seq: c.at(1 << 30) }), []);
  c.send({ payload: pattern(10) });
  assert.equal(c.core.read(c.handle), pattern(10));
  c.core.tearDown();
});

test("TCP-73: a SYN in a synchronised state gets a challenge ACK, whatever its number", () => {
  const c = connected();
  for (const seq of [c.at(0), c.at(50), c.at(1 << 30), c.iss]) {
    const [challenge] = c.send({ flags: "S", seq, ack: 0 });
    assert.equal([challenge!.flags, challenge!.ack], ["A", c.at(0)]);
  }
  c.core.tearDown();
});

test("TCP-75: a thousand RSTs in a second get at most ten ACKs, then there is a new share", () => {
  const c = connected();
  let acks = 0;
  for (let i = 0; i < 1000; i++) acks += c.send({ flags: "R", seq: c.at(100 + i) }).length;
  assert.is(acks, 10);
  c.core.nowUs += SECOND;
  assert.is(c.send({ flags: "R", seq: c.at(100) }).length, 1);
  const other = new Client(c.core, { sport: 2 }).connect();
  assert.is(
    other.send({ flags: "R", seq: other.at(100) }).length,
    1,
    "the limit is the flow's own",
  );
  c.core.tearDown();
});

test("TCP-74 TCP-63: data with an ACK far below SND.UNA is not delivered", () => {
  const c = connected();
  c.core.write(c.handle, pattern(100));
  c.flush();
  c.send({ ack: c.theirs(100) });
  const [ack] = c.send({ ack: (c.theirs(0) - 2 ** 30) >>> 0, payload: pattern(10) });
  assert.is(ack!.ack, c.at(0));
  assert.is(c.core.read(c.handle).length, 0);
  c.core.tearDown();
});

test("TCP-17 TCP-22: segments without flow: RST at their ACK; no ACK or a RST, silence", () => {
  const c = makeClient();
  for (const flags of ["A", "PA", "FA", "SA", "FSPAU"]) {
    const [reset, ...more] = c.send({ flags, ack: 4711, payload: pattern(3) });
    assert.equal([reset!.flags, reset!.seq, more.length], ["R", 4711, 0]);
  }
  for (const flags of ["F", "", "P", "R", "RA", "FS", "SR"]) {
    assert.equal(c.send({ flags, ack: 4711 }), [], flags);
  }
  c.core.tearDown();
});

test("DOS-5: stray segments get no more RSTs than the rate allows, per family", () => {
  const c = makeClient({ options: { rstRate: 1000, rstBurst: 200 } });
  let resets = 0;
  for (let i = 0; i < 2000; i++) resets += c.send({ ack: i }).length;
  assert.is(resets, 200);
  assert.is(c.core.stat("DROP_RST_LIMIT"), 1800);
  assert.is(new Client(c.core, { family: 6 }).send({ ack: 1 }).length, 1);
  c.core.nowUs += 50_000;
  for (let i = 0; i < 2000; i++) resets += c.send({ ack: i }).length;
  assert.is(resets, 250);
  c.core.tearDown();
});

test("TCP-82: all flags on an established flow: it lives, unless it is an exact RST or a FIN", () => {
  for (let bits = 0; bits < 256; bits++) {
    if ((bits & 4) !== 0 || (bits & 0x13) === 0x11) continue;
    const c = connected();
    c.send({ flags: bits, payload: pattern(2) });
    c.seq = c.at(c.core.read(c.handle).length);
    c.send({ payload: pattern(100) });
    assert.is(c.core.read(c.handle).length, 100, `flags ${bits}`);
    c.core.tearDown();
  }
});

test("TCP-80 TCP-8: a timestamp that is missing, or was not agreed on, does not matter", () => {
  const agreed = connected({}, { options: { mss: 1460, ts: [5, 0] } });
  agreed.send({ payload: pattern(10) });
  assert.is(agreed.core.read(agreed.handle).length, 10);
  agreed.core.tearDown();
  const plain = connected();
  plain.send({ payload: pattern(10), options: { ts: [5, 0] } });
  assert.is(plain.core.read(plain.handle).length, 10);
  plain.core.tearDown();
});

test("TCP-10: headers that do not fit their segment are dropped", () => {
  const c = connected();
  for (const dataOffset of [0, 4, 6, 15]) {
    assert.equal(c.send({ payload: pattern(2), dataOffset }), []);
  }
  assert.is(c.core.stat("DROP_L4_HEADER"), 4);
  c.core.tearDown();
});

test("TCP-83: reserved bits are ignored", () => {
  const c = connected();
  c.send({ payload: pattern(10), reserved: 7 });
  assert.is(c.core.read(c.handle).length, 10);
  c.core.tearDown();
});

test("TCP-98 TCP-79 FLOW-12: abort sends a RST at SND.NXT, also while data is unacknowledged", () => {
  const c = connected();
  c.core.write(c.handle, pattern(500));
  c.flush();
  c.send({ payload: pattern(70) });
  c.core.abort(c.handle);
  const [reset, ...more] = c.flush();
  assert.equal([reset!.flags, reset!.seq, reset!.ack], ["RA", c.theirs(500), c.at(70)]);
  assert.is(more.length, 0);
  assert.is(c.closed(), abi.CLOSE_HOST);
  c.core.tearDown();
});

test("FLOW-11: what is lent outlives an abort until the flow is released", () => {
  const c = connected();
  c.send({ payload: pattern(1000) });
  const { exports: core } = c.core;
  core.recvPeek(c.handle);
  const [got] = c.core.spans(abi.SPANS_BASE, 1);
  core.sendReserve(c.handle, 100);
  const [room] = c.core.spans(abi.SPANS_BASE, 1);
  room!.fill(9);
  c.core.abort(c.handle);
  c.flush();
  const other = new Client(c.core, { sport: 2 }).connect();
  other.send({ payload: new Uint8Array(1400).fill(1) });
  c.core.write(other.handle, new Uint8Array(5000).fill(2));
  assert.equal(Uint8Array.from(got!), pattern(1000));
  assert.equal(Uint8Array.from(room!), new Uint8Array(100).fill(9));
  assert.is(core.recvConsume(c.handle, 1000, c.core.nowUs), 0);
  assert.is(core.sendCommit(c.handle, 100, c.core.nowUs), 0);
  assert.is(c.closed(), abi.CLOSE_HOST);
  c.core.tearDown();
});

test("FLOW-15: closeAll resets every flow, a pending one is refused", () => {
  const c = connected();
  const pending = new Client(c.core, { sport: 2 });
  pending.syn();
  c.core.exports.closeAll(c.core.nowUs);
  assert.equal(
    c.flush().map(({ flags, dport }) => [flags, dport]),
    [
      ["RA", 40_000],
      ["RA", 2],
    ],
  );
  for (const { code, handle } of c.events.splice(0)) {
    if (code !== 0) c.core.release(handle);
  }
  c.core.tearDown();
});

test.run();
