/** Sending: windows, probes, recovery, super-packets (TCP-50 to TCP-68, TUN-8 to TUN-14). */
import * as assert from "uvu/assert";
import * as abi from "../../assembly/abi.ts";
import { concat, pattern } from "../kit/bytes.ts";
import { ipPacket, PROTO_ICMP, type TcpSeen } from "../kit/packet.ts";
import { suite } from "../kit/suite.ts";
import { Client, connected, MS, SECOND, SYN_OPTIONS } from "./client.ts";

const test = suite("tcp/send");
const DATA = pattern(200_000);
const TSO = abi.OFFLOAD_CSUM | abi.OFFLOAD_TSO4 | abi.OFFLOAD_TSO6;
const OFFLOADED = { vnetBytes: 10, offloads: TSO, options: { sendBuffer: 1024 ** 2 } } as const;
const PLAIN_SYN = { mss: 1460, wscale: 7 };
const MSS = 1460;

/** Where in the core's stream each segment begins and how long it is. */
function ranges(c: Client, out: readonly TcpSeen[]): [number, number][] {
  return out
    .filter(({ payload }) => payload.length > 0)
    .map(({ seq, payload }) => [(seq - c.theirs(0)) >>> 0, payload.length]);
}

function total(out: readonly TcpSeen[]): number {
  return out.reduce((sum, { payload }) => sum + payload.length, 0);
}

/** Queues `bytes` and sends what may go. */
function write(c: Client, bytes: number): TcpSeen[] {
  assert.is(c.core.write(c.handle, DATA.slice(0, bytes)), bytes);
  return c.flush();
}

test("TCP-60 MUST-19: the first flight is ten segments; it doubles with each ACK of all", () => {
  const c = connected();
  assert.equal(total(write(c, 100_000)), 10 * MSS);
  assert.is(total(c.send({ ack: c.theirs(10 * MSS) })), 20 * MSS);
  c.core.tearDown();
});

test("TCP-50 MUST-34 MUST-38: no more than the offered window is in flight, a shrunk one is survived", () => {
  const c = connected({}, { options: { mss: 1460 }, window: 1000 });
  assert.is(total(write(c, 5000)), 1000);
  assert.is(total(c.send({ ack: c.theirs(1000), window: 3000 })), 2 * MSS, "whole segments");
  assert.is(total(c.send({ ack: c.theirs(2000), window: 500 })), 0);
  assert.is(total(c.send({ ack: c.theirs(3920), window: 1000 })), 0);
  assert.is(total(c.send({ ack: c.theirs(3920), window: 1080 })), 1080);
  c.core.tearDown();
});

test("TUN-8 TUN-10 TUN-11 TUN-13 TUN-17 TCP-65 MUST-61: super-packets have segments that fit, 64 KiB at most, PSH at the end", () => {
  const c = connected(OFFLOADED, { options: { ...SYN_OPTIONS, ts: [7, 0] } });
  const opts = { options: { ts: [8, 0] as const }, window: 65_535 };
  let acked = 0;
  const sizes: number[] = [];
  let out = write(c, 200_000);
  while (out.length > 0) {
    for (const seen of out) {
      assert.ok(seen.bytes.length <= 65_535);
      if (seen.gsoSize > 0) assert.is(seen.gsoSize, 1448);
      assert.is(seen.flags.includes("P"), seen.end === c.theirs(200_000));
      sizes.push(seen.payload.length);
    }
    acked += total(out);
    out = c.send({ ack: c.theirs(acked), ...opts });
  }
  assert.is(acked, 200_000);
  assert.ok(Math.max(...sizes) > 60_000, `${sizes.join(" ")}`);
  c.core.tearDown();
});

test("TUN-14 TUN-1: without offloads all packets fit the MTU and the bytes are the same", () => {
  const c = connected({ vnetBytes: 10, options: { sendBuffer: 1024 ** 2 } });
  const parts: Uint8Array[] = [];
  let acked = 0;
  for (let out = write(c, 200_000); out.length > 0; out = c.send({ ack: c.theirs(acked) })) {
    for (const { bytes, payload } of out) {
      assert.ok(bytes.length <= 1500);
      parts.push(payload);
    }
    acked += total(out);
  }
  assert.equal(concat(...parts), DATA);
  c.core.tearDown();
});

test("TCP-53 MUST-17 MUST-60: one byte goes out at once, whatever is in flight", () => {
  const c = connected();
  assert.equal(ranges(c, write(c, 1)), [[0, 1]]);
  assert.equal(ranges(c, write(c, 1)), [[1, 1]]);
  c.core.tearDown();
});

test("TCP-54 TCP-64 MUST-19: an unacknowledged segment is repeated at RTO, 2 RTO, 4 RTO, from SND.UNA", () => {
  const c = connected({}, { options: PLAIN_SYN });
  c.core.nowUs += 10;
  const start = c.core.nowUs;
  write(c, 100);
  const times: number[] = [];
  while (times.length < 4) {
    const at = c.core.deadline();
    for (const seen of c.run(at - c.core.nowUs)) {
      assert.equal(ranges(c, [seen]), [[0, 100]]);
      times.push(at - start);
    }
  }
  assert.equal(times, [200 * MS, 600 * MS, 1400 * MS, 3000 * MS]);
  c.core.tearDown();
});

test("DET-4: a late poll counts as one timeout", () => {
  const c = connected({}, { options: PLAIN_SYN });
  write(c, 100);
  c.core.poll(c.core.nowUs + 10 * SECOND);
  assert.is(c.flush().length, 1);
  assert.is(c.core.stat("STAT_RTO_FIRED"), 1);
  assert.is(c.core.deadline(), c.core.nowUs + 400 * MS);
  c.core.tearDown();
});

test("TCP-61 MUST-20 MUST-12: a client that never acknowledges: RST after 15 tries and more than 100 s", () => {
  const c = connected({}, { options: PLAIN_SYN });
  const start = c.core.nowUs;
  write(c, 100);
  let last: TcpSeen | undefined;
  let tries = 0;
  while (last?.flags !== "RA") {
    for (const seen of c.run(c.core.deadline() - c.core.nowUs)) {
      last = seen;
      tries++;
    }
  }
  assert.is(tries, 16);
  assert.ok(c.core.nowUs - start > 100 * SECOND);
  assert.is(c.closed(), abi.CLOSE_TIMEOUT);
  c.core.tearDown();
});

test("TCP-55 MUST-19: after a timeout the congestion window is one segment and all is sent again", () => {
  const c = connected({}, { options: PLAIN_SYN });
  write(c, 10 * MSS);
  assert.equal(ranges(c, c.run(200 * MS)), [[0, MSS]]);
  assert.equal(ranges(c, c.send({ ack: c.theirs(MSS) })), [
    [MSS, MSS],
    [2 * MSS, MSS],
  ]);
  c.core.tearDown();
});

test("TCP-56: with SACK several holes are each repaired once, without a timeout", () => {
  const c = connected();
  write(c, 10 * MSS);
  /** An ACK before segment `ack`, with SACK blocks of segments. */
  const sack = (ack: number, ...blocks: [number, number][]): TcpSeen[] =>
    c.send({
      ack: c.theirs(ack * MSS),
      options: { sack: blocks.map(([l, r]) => [c.theirs(l * MSS), c.theirs(r * MSS)] as const) },
    });
  // Segments 0, 3 and 6 are lost.
  const out = [...sack(0, [1, 2]), ...sack(0, [1, 3]), ...sack(0, [4, 6], [1, 3])];
  out.push(...sack(0, [7, 10], [4, 6], [1, 3]));
  out.push(...sack(3, [7, 10], [4, 6]), ...sack(6, [7, 10]));
  assert.equal(ranges(c, out), [
    [0, MSS],
    [3 * MSS, MSS],
    [6 * MSS, MSS],
  ]);
  assert.is(c.core.stat("STAT_RTO_FIRED"), 0);
  assert.is(c.core.stat("STAT_FAST_RECOVERIES"), 1);
  c.core.tearDown();
});

test("TCP-58: without SACK three duplicate ACKs bring one segment, a partial ACK the next (RFC 6582)", () => {
  const c = connected({}, { options: PLAIN_SYN });
  write(c, 10 * MSS);
  assert.equal(c.send({ ack: c.theirs(0) }), []);
  assert.equal(c.send({ ack: c.theirs(0) }), []);
  assert.equal(ranges(c, c.send({ ack: c.theirs(0) })), [[0, MSS]]);
  assert.equal(ranges(c, c.send({ ack: c.theirs(4 * MSS) })), [[4 * MSS, MSS]]);
  assert.equal(c.send({ ack: c.theirs(10 * MSS) }), []);
  assert.is(c.core.stat("STAT_FAST_RECOVERIES"), 1);
  c.core.tearDown();
});

test("PERF-5: the loss of a whole super-packet is repaired with super-packets", () => {
  const c = connected(OFFLOADED);
  let acked = 0;
  let out = write(c, 200_000);
  while (acked < 60_000) out = c.send({ ack: c.theirs((acked += total(out))) });
  const [lost, next] = ranges(c, out);
  const sack = [[c.theirs(next![0]), c.theirs(next![0] + next![1])]] as [number, number][];
  const [repeat] = ranges(c, c.send({ ack: c.theirs(acked), options: { sack } }));
  assert.is(repeat![0], lost![0]);
  assert.ok(repeat![1] > 30_000, "as much as proportional rate reduction lets out");
  c.core.tearDown();
});

test("TCP-57: a lost tail is probed after two round trips, not after the timeout", () => {
  const c = connected();
  write(c, 5 * MSS);
  const out = c.run(20 * MS);
  assert.equal(ranges(c, out), [[4 * MSS, MSS]]);
  assert.is(c.core.stat("STAT_TLP_PROBES"), 1);
  const sack: [number, number][] = [[c.theirs(4 * MSS), c.theirs(5 * MSS)]];
  const repeats = c.send({ ack: c.theirs(0), options: { sack } });
  assert.equal(ranges(c, repeats)[0]![0], 0);
  assert.is(c.core.stat("STAT_RTO_FIRED"), 0);
  c.core.tearDown();
});

test("TCP-62: absurd SACK blocks are ignored, reneging is survived", () => {
  const c = connected();
  write(c, 4 * MSS);
  const at = (i: number): number => c.theirs(i * MSS);
  const sack = [
    [at(3), at(2)],
    [at(2), at(100)],
    [c.theirs(-5000), at(1)],
  ] as [number, number][];
  assert.equal(c.send({ ack: at(0), options: { sack } }), []);
  c.send({ ack: at(0), options: { sack: [[at(1), at(4)]] } });
  let seen = 0;
  for (let i = 0; i < 40 && seen < 4; i++) {
    const out = c.run(SECOND);
    for (const [from, len] of ranges(c, out)) {
      if (from === seen * MSS && len === MSS) c.send({ ack: at(++seen) });
    }
  }
  assert.is(seen, 4);
  c.core.tearDown();
});

test("TCP-51 MUST-35 MUST-36 MUST-37: a shut window is probed by one byte, at doubling intervals up to 60 s, for ever", () => {
  const c = connected();
  c.send({ window: 0 });
  const start = c.core.nowUs;
  assert.equal(write(c, 3000), []);
  const times: number[] = [];
  while (times.length < 20) {
    const out = c.run(c.core.deadline() - c.core.nowUs);
    for (const seen of out) {
      assert.ok(seen.payload.length <= 1);
      times.push((c.core.nowUs - start) / MS);
    }
    if (out.length > 0) c.send({ ack: c.theirs(0), window: 0 });
  }
  assert.equal(times.slice(0, 4), [200, 600, 1400, 3000]);
  assert.ok(times.at(-1)! - times.at(-2)! <= 60_000);
  assert.is(c.closed(), 0);
  assert.is(total(c.send({ ack: c.theirs(0), window: 65_535 })) >= 2999, true);
  c.core.tearDown();
});

test("DOS-11: when memory is short, the flows whose window is shut for long are reset, not others", () => {
  const bufferCap = 524_288;
  const options = { bufferCap, sendBuffer: 262_144, sendBufferMax: 262_144, connect: 1 };
  const c = connected({ options });
  const busy = new Client(c.core, { sport: 1 }).connect();
  const stalled = [c, ...[2, 3].map((sport) => new Client(c.core, { sport }).connect())];
  for (const each of stalled) {
    each.send({ window: 0 });
    c.core.write(each.handle, DATA);
  }
  assert.ok(c.core.gauge("GAUGE_BUFFERED_BYTES") > bufferCap * 0.875);
  const resets = new Set<number>();
  for (let i = 0; i < 60; i++) {
    for (const { flags, dport } of c.run(SECOND)) if (flags === "RA") resets.add(dport);
    for (const each of stalled) {
      if (!resets.has(each.fields.dport!)) each.send({ ack: each.theirs(0), window: 0 });
    }
  }
  assert.ok(resets.size >= 1);
  assert.not(resets.has(1));
  assert.ok(c.core.gauge("GAUGE_BUFFERED_BYTES") <= bufferCap * 0.875);
  const gone = [...stalled, busy].flatMap((each) => each.events.splice(0));
  for (const { code, handle } of gone) if (code !== 0) c.core.release(handle);
  c.core.tearDown();
});

test("TCP-51: probes that nobody answers end the flow", () => {
  const c = connected();
  c.send({ window: 0 });
  write(c, 10);
  c.run(3600 * SECOND);
  assert.is(c.closed(), abi.CLOSE_TIMEOUT);
  c.core.tearDown();
});

test("TCP-52 TCP-66: a window update is acted upon at once; one from an old segment is ignored", () => {
  const c = connected({}, { options: { mss: 1460 }, window: 1000 });
  write(c, 3000);
  c.send({ seq: c.at(0), payload: pattern(10), ack: c.theirs(1000), window: 0 });
  c.seq = c.at(10);
  assert.equal(total(c.send({ seq: c.at(0), ack: c.theirs(500), window: 3000 })), 0);
  assert.is(total(c.send({ ack: c.theirs(1000), window: 2000 })), 2000);
  c.core.tearDown();
});

test("TCP-63: an ACK of what was never sent is dropped and answered", () => {
  const c = connected();
  write(c, 100);
  const [ack] = c.send({ ack: c.theirs(5000), payload: pattern(10) });
  assert.equal([ack!.flags, ack!.ack], ["A", c.at(0)]);
  assert.is(c.core.read(c.handle).length, 0);
  assert.is(c.core.stat("DROP_TCP_ACK"), 1);
  c.core.tearDown();
});

test("TCP-68: dividing ACKs and making duplicates up gains nothing", () => {
  const c = connected({}, { options: PLAIN_SYN });
  write(c, 100_000);
  let sent = 10 * MSS;
  for (let i = 1; i <= 10 * MSS; i += 146) sent += total(c.send({ ack: c.theirs(i) }));
  assert.ok(sent <= 31 * MSS, `${sent}`);
  let extra = 0;
  for (let i = 0; i < 100; i++) extra += total(c.send({ ack: c.theirs(10 * MSS) }));
  assert.ok(extra <= 22 * MSS, `${extra}`);
  c.core.tearDown();
});

test("FLOW-8: the send buffer is bounded; EV_WRITABLE follows when half is free", () => {
  const c = connected({ options: { sendBuffer: 16_384, sendBufferMax: 16_384 } });
  c.bits();
  assert.is(c.core.write(c.handle, DATA), 16_384);
  c.flush();
  c.send({ ack: c.theirs(1000) });
  assert.is(c.bits() & abi.EV_WRITABLE, 0);
  c.send({ ack: c.theirs(9000) });
  assert.is(c.bits() & abi.EV_WRITABLE, abi.EV_WRITABLE);
  assert.is(c.core.write(c.handle, DATA), 9000);
  c.core.tearDown();
});

test("space that is lent stays the host's while all before it is acknowledged", () => {
  const c = connected();
  write(c, 100);
  const { exports: core } = c.core;
  assert.is(core.sendReserve(c.handle, 50), 1);
  const [span] = c.core.spans(abi.SPANS_BASE, 1);
  c.send({ ack: c.theirs(100) });
  span!.fill(7);
  assert.is(core.sendCommit(c.handle, 50, c.core.nowUs), 0);
  const [seen] = c.flush();
  assert.equal([seen!.seq, seen!.payload], [c.theirs(100), new Uint8Array(50).fill(7)]);
  assert.is(core.sendCommit(c.handle, 1, c.core.nowUs), abi.ERR_RANGE);
  c.core.tearDown();
});

test("TCP-59: a spurious timeout is undone when timestamps show it", () => {
  const c = connected({}, { options: { ...SYN_OPTIONS, sackOk: false, ts: [1, 0] } });
  const out = write(c, 20_000);
  const sentTs = out[0]!.ts![0];
  c.run(250 * MS);
  assert.is(c.core.stat("STAT_RTO_FIRED"), 1);
  c.send({ ack: c.theirs(total(out)), options: { ts: [300, sentTs] } });
  assert.is(c.core.stat("STAT_SPURIOUS"), 1);
  c.core.tearDown();
});

test("ICMP-9 MUST-54: an ICMP report of a smaller path makes segments smaller", () => {
  const c = connected();
  const [first] = write(c, 3000);
  const quote = first!.bytes.slice(0, 28);
  const icmp = concat(Uint8Array.of(3, 4, 0, 0, 0, 0, 1000 >> 8, 1000 & 255), quote);
  let sum = 0;
  for (let i = 0; i < icmp.length; i += 2) sum += (icmp[i]! << 8) | icmp[i + 1]!;
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  icmp[2] = (~sum >> 8) & 255;
  icmp[3] = ~sum & 255;
  c.core.send(ipv4Icmp(icmp));
  const out = ranges(c, c.flush());
  assert.equal(out[0], [0, 960]);
  c.core.tearDown();
});

/** An ICMP message from a router to the stack. */
function ipv4Icmp(icmp: Uint8Array): Uint8Array {
  return ipPacket({ src: "192.0.2.1" }, PROTO_ICMP, icmp);
}

test.run();
