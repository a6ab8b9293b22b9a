/** SYN to ESTABLISHED: options, both connect modes, repeated and odd SYNs (TCP-1 to TCP-26). */
import * as assert from "uvu/assert";
import * as abi from "../../assembly/abi.ts";
import { pattern } from "../kit/bytes.ts";
import { expectIcmp } from "../kit/packet.ts";
import { suite } from "../kit/suite.ts";
import { Client, connected, makeClient, MS, SECOND, SYN_OPTIONS } from "./client.ts";

const test = suite("tcp/handshake");
const IMMEDIATE = { options: { connect: abi.CONNECT_IMMEDIATE } };

test("FLOW-2 FLOW-1: faithful: the SYN is held until the host accepts", () => {
  const c = makeClient();
  assert.equal(c.syn(), []);
  assert.is(c.bits(), abi.EV_OPEN);
  assert.equal(c.run(SECOND), []);
  const synAck = c.accept();
  assert.is(synAck.flags, "SA");
  assert.is(synAck.ack, 0xffff_ff01);
  assert.equal(c.send({}), []);
  assert.is(c.bits(), abi.EV_WRITABLE);
  c.core.tearDown();
});

test("FLOW-3: immediate: the SYN is answered at once and early data can be peeked", () => {
  const c = makeClient(IMMEDIATE);
  assert.is(c.syn()[0]!.flags, "SA");
  c.send({ payload: pattern(100) });
  assert.is(c.bits() & abi.EV_READABLE, abi.EV_READABLE);
  assert.equal(c.core.peek(c.handle), pattern(100));
  assert.equal(c.core.read(c.handle), pattern(100));
  assert.is(c.core.exports.accept(c.handle, c.core.nowUs), 0, "accept is a no-op");
  c.core.tearDown();
});

for (const mtu of [1280, 1500, 9000, 65535]) {
  for (const family of [4, 6] as const) {
    test(`TCP-2 TUN-16 MUST-14 MUST-67: MTU ${mtu}, IPv${family}: the MSS option is the MTU less both headers`, () => {
      const c = makeClient({ options: { ...IMMEDIATE.options, mtu } }, { family });
      assert.is(c.syn()[0]!.mss, mtu - (family === 4 ? 40 : 60));
      c.core.tearDown();
    });
  }
}

test("TCP-6 TCP-7 TCP-8: window scale, SACK and timestamps are answered only if offered", () => {
  for (const bits of [0, 1, 2, 3, 4, 5, 6, 7]) {
    const options = {
      mss: 1460,
      ...(bits & 1 ? { wscale: 7 } : {}),
      ...(bits & 2 ? { sackOk: true } : {}),
      ...(bits & 4 ? { ts: [1234, 0] as const } : {}),
    };
    const c = makeClient(IMMEDIATE, { options });
    const synAck = c.syn()[0]!;
    assert.is(synAck.wscale !== undefined, (bits & 1) !== 0);
    assert.is(synAck.sackOk, (bits & 2) !== 0);
    assert.is(synAck.ts?.[1], bits & 4 ? 1234 : undefined);
    c.core.tearDown();
  }
});

test("TCP-6: the window of the SYN-ACK is not scaled", () => {
  const c = makeClient({ options: { ...IMMEDIATE.options, recvBuffer: 1024 ** 2 } });
  assert.is(c.syn()[0]!.window, 65_535);
  c.core.tearDown();
});

/** Bytes of the first data segments to a client with these SYN options. */
function segmentSizes(family: 4 | 6, options: object): number[] {
  const c = connected(IMMEDIATE, { family, options });
  c.core.write(c.handle, pattern(5000));
  const sizes = c.flush().map(({ payload }) => payload.length);
  c.core.tearDown();
  return sizes;
}

test("TCP-3 MUST-15: without an MSS option segments have 536 bytes on IPv4, 1220 on IPv6", () => {
  assert.is(Math.max(...segmentSizes(4, {})), 536);
  assert.is(Math.max(...segmentSizes(6, {})), 1220);
});

test("TCP-4 TCP-5 MUST-16: an MSS of 1 is taken as 48, timestamps leave room for themselves", () => {
  assert.is(Math.max(...segmentSizes(4, { mss: 1 })), 48);
  assert.is(Math.max(...segmentSizes(4, { mss: 1000, ts: [5, 0] })), 988);
});

test("TCP-6: a window scale above 14 is taken as 14", () => {
  const c = connected(IMMEDIATE, { options: { mss: 1460, wscale: 15 }, window: 1 });
  c.send({ window: 1 });
  assert.is(c.core.write(c.handle, pattern(20_000)), 20_000);
  const sent = c.flush().reduce((sum, { payload }) => sum + payload.length, 0);
  assert.is(sent, 14_600, "ten segments: 1 << 14 is more than that");
  c.core.tearDown();
});

test("TCP-9 MUST-6 MUST-7: unknown options, and a length of 0, do not hurt what came before", () => {
  const raw = Uint8Array.of(253, 4, 0, 0, 30, 3, 0, 34, 2, 99, 0, 1);
  const c = makeClient(IMMEDIATE, { options: { mss: 1000, raw } });
  assert.is(c.syn()[0]!.flags, "SA");
  c.core.tearDown();
});

test("TCP-11: data in a SYN is neither acknowledged nor delivered, and taken when it comes again", () => {
  const c = makeClient(IMMEDIATE);
  const synAck = c.syn({ payload: pattern(10) })[0]!;
  assert.is(synAck.ack, c.at(0));
  c.send({ payload: pattern(10) });
  assert.equal(c.core.read(c.handle), pattern(10));
  c.core.tearDown();
});

test("TCP-12: repeated SYNs make one flow, and equal SYN-ACKs", () => {
  const c = makeClient();
  c.syn();
  c.syn();
  assert.is(c.events.filter(({ flags }) => flags & abi.EV_OPEN).length, 1);
  const first = c.accept();
  const again = c.send({ flags: "S", seq: c.iss, ack: 0, options: SYN_OPTIONS });
  assert.is(again.length, 1);
  assert.equal([again[0]!.flags, again[0]!.seq], ["SA", first.seq]);
  c.core.tearDown();
});

test("TCP-13: a SYN with another sequence number begins a pending flow anew", () => {
  const c = makeClient();
  c.syn();
  c.syn({ seq: 5000 });
  assert.is(c.events.filter(({ flags }) => flags & abi.EV_OPEN).length, 1);
  assert.is(c.accept().ack, 5001);
  c.core.tearDown();
});

test("TCP-13: a SYN with another sequence number in SYN-RECEIVED gets an ACK, whose RST ends the flow", () => {
  const c = makeClient(IMMEDIATE);
  c.syn();
  const [challenge] = c.send({ flags: "S", seq: 5000, ack: 0, options: SYN_OPTIONS });
  assert.equal([challenge!.flags, challenge!.ack], ["A", c.at(0)]);
  assert.equal(c.send({ flags: "R", seq: challenge!.ack, ack: 0 }), []);
  assert.is(c.closed(), abi.CLOSE_RESET);
  const fresh = new Client(c.core, { iss: 5000 });
  assert.is(fresh.syn()[0]!.ack, 5001);
  c.core.tearDown();
});

test("TCP-14 MUST-22: the SYN-ACK is repeated after 1, 3, 7, 15 and 31 s, then the flow is over", () => {
  const c = makeClient(IMMEDIATE);
  const { nowUs } = c.core;
  const first = c.syn()[0]!;
  const times: number[] = [];
  while (times.length < 9 && c.core.deadline() !== Infinity) {
    const at = c.core.deadline();
    const out = c.run(at - c.core.nowUs);
    for (const { seq, flags } of out) {
      assert.equal([seq, flags], [first.seq, "SA"]);
      times.push((at - nowUs) / SECOND);
    }
  }
  assert.equal(times, [1, 3, 7, 15, 31]);
  assert.is(c.closed(), abi.CLOSE_TIMEOUT);
  c.core.tearDown();
});

test("TCP-15: a wrong ACK in SYN-RECEIVED gets a RST and leaves the flow", () => {
  const c = makeClient(IMMEDIATE);
  c.syn();
  const [reset] = c.send({ ack: 77 });
  assert.equal([reset!.flags, reset!.seq], ["R", 77]);
  assert.equal(c.send({}), []);
  assert.is(c.bits() & abi.EV_WRITABLE, abi.EV_WRITABLE);
  c.core.tearDown();
});

test("TCP-16 TCP-82: only a SYN without FIN, RST and ACK makes a flow", () => {
  for (let bits = 0; bits < 256; bits++) {
    const c = makeClient(IMMEDIATE);
    c.send({ flags: bits, ack: 1 });
    const isSyn = (bits & 0x17) === 2;
    assert.is(c.core.gauge("GAUGE_FLOWS"), isSyn ? 1 : 0, `flags ${bits}`);
    c.core.tearDown();
  }
});

test("TCP-18: port 0 makes no flow", () => {
  const c = makeClient(IMMEDIATE, { dport: 0 });
  assert.equal(c.syn(), []);
  assert.is(c.core.stat("DROP_TCP_PORT"), 1);
  c.core.tearDown();
});

test("TCP-19 MUST-8: the initial sequence number advances by 250 a millisecond", () => {
  const c = makeClient(IMMEDIATE);
  const first = c.syn()[0]!.seq;
  c.send({ flags: "R", seq: c.at(0) });
  c.closed();
  c.core.nowUs += 1000 * MS;
  const second = new Client(c.core).syn()[0]!.seq;
  assert.is((second - first) >>> 0, 250_000);
  c.core.tearDown();
});

test("TCP-23: data and FIN on the ACK that completes the handshake are taken", () => {
  const c = makeClient(IMMEDIATE);
  c.syn();
  const [ack] = c.send({ flags: "FPA", payload: pattern(50) });
  assert.is(ack!.ack, c.at(51));
  assert.equal(c.core.read(c.handle), pattern(50));
  assert.is(c.bits() & abi.EV_FIN, abi.EV_FIN);
  c.core.tearDown();
});

test("TCP-25: if the third packet is lost, data with its ACK establishes", () => {
  const c = makeClient(IMMEDIATE);
  c.syn();
  c.send({ flags: "PA", payload: pattern(5) });
  assert.equal(c.core.read(c.handle), pattern(5));
  c.core.tearDown();
});

test("TCP-24: while pending, all but SYN and RST is dropped silently", () => {
  const c = makeClient();
  c.syn();
  const seq = c.at(0);
  for (const flags of ["A", "PA", "FA", "F", ""]) {
    assert.equal(c.send({ flags, seq, ack: 9, payload: pattern(4) }), []);
  }
  assert.is(c.core.stat("DROP_TCP_PENDING"), 5);
  c.core.tearDown();
});

test("TCP-76 TCP-101 FLOW-6: a RST while pending calls the dial off, one far from the SYN does not", () => {
  const c = makeClient();
  c.syn();
  assert.equal(c.send({ flags: "R", seq: c.at(1_000_000) }), []);
  assert.is(c.closed(), 0);
  assert.equal(c.send({ flags: "R", seq: c.at(0) }), []);
  assert.is(c.closed(), abi.CLOSE_CANCELLED);
  c.core.tearDown();
});

test("FLOW-4 ICMP-8: reject answers with a RST, an ICMP error that quotes the SYN, or nothing", () => {
  const c = makeClient();
  c.syn();
  c.core.reject(c.handle, abi.REJECT_RST);
  const [reset] = c.flush();
  assert.equal([reset!.flags, reset!.seq, reset!.ack], ["RA", 0, c.at(0)]);
  assert.is(c.closed(), abi.CLOSE_HOST);
  const codes = { [abi.REJECT_NET_UNREACHABLE]: 0, [abi.REJECT_HOST_UNREACHABLE]: 1 };
  for (const [how, code] of Object.entries(codes)) {
    const other = new Client(c.core, { sport: 50_000 + code });
    other.syn();
    c.core.reject(other.handle, Number(how));
    const packets = c.core.flush();
    const icmp = expectIcmp(packets[0]!);
    assert.equal([icmp.type, icmp.code], [3, code]);
    assert.equal(icmp.payload, other.packet({ flags: "S", ack: 0, options: SYN_OPTIONS }));
    assert.is(other.closed(), abi.CLOSE_HOST);
  }
  const last = new Client(c.core, { sport: 60_000 });
  last.syn();
  c.core.reject(last.handle, abi.REJECT_DROP);
  assert.equal(last.flush(), []);
  assert.is(last.closed(), abi.CLOSE_HOST);
  c.core.tearDown();
});

test("reject after the SYN-ACK is a RST", () => {
  const c = makeClient(IMMEDIATE);
  c.syn();
  c.core.reject(c.handle, abi.REJECT_HOST_UNREACHABLE);
  const [reset] = c.flush();
  assert.equal([reset!.flags, reset!.seq], ["RA", c.ack]);
  assert.is(c.closed(), abi.CLOSE_HOST);
  c.core.tearDown();
});

test("FLOW-5 FLOW-6: the pending deadline ends in an ICMP error; repeated SYNs do not put it off", () => {
  const c = makeClient({ options: { pendingTimeout: 5000 } });
  c.syn();
  assert.equal(c.run(4 * SECOND), []);
  c.syn();
  const packets = c.core.run(SECOND);
  assert.equal(
    packets.map((bytes) => expectIcmp(bytes).code),
    [1],
  );
  assert.is(c.closed(), abi.CLOSE_PENDING);
  c.core.tearDown();
});

test("DOS-1: over the bound of dials the oldest pending flow gives way without a packet", () => {
  const c = makeClient({ options: { dials: 2 } });
  c.syn();
  c.core.nowUs += 10;
  new Client(c.core, { sport: 2 }).syn();
  c.core.nowUs += 10;
  assert.equal(new Client(c.core, { sport: 3 }).syn(), []);
  assert.is(c.core.gauge("GAUGE_PENDING"), 2);
  assert.is(c.core.stat("STAT_FLOWS_EVICTED"), 1);
  assert.equal(c.core.flush(), []);
  assert.is(c.core.exports.accept(c.handle, c.core.nowUs), abi.ERR_STATE);
  c.core.release(c.handle);
  c.core.tearDown();
});

test("MEM-3: when all records are in use a SYN is dropped", () => {
  const c = makeClient({ options: { flows: 2 } });
  for (const sport of [1, 2, 3]) new Client(c.core, { sport }).syn();
  assert.is(c.core.gauge("GAUGE_FLOWS"), 2);
  assert.is(c.core.stat("DROP_FLOWS_FULL"), 1);
  c.core.tearDown();
});

test.run();
