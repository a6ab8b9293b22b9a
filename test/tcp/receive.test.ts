/** Received data: order, trimming, SACK, ACK timing, windows (TCP-30 to TCP-49, TUN-5). */
import * as assert from "uvu/assert";
import * as abi from "../../assembly/abi.ts";
import { pattern } from "../kit/bytes.ts";
import { suite } from "../kit/suite.ts";
import { Client, connected, MS, SECOND } from "./client.ts";

const test = suite("tcp/receive");
const DATA = pattern(100_000);

/** Bytes [from, to) of the client's stream as a segment. */
function piece(c: Client, from: number, to: number): { seq: number; payload: Uint8Array } {
  return { seq: c.at(from), payload: DATA.slice(from, to) };
}

test("TCP-30: a segment outside of the window is dropped and answered by an ACK", () => {
  const c = connected();
  const [ack] = c.send({ seq: (c.at(0) + 2 ** 30) >>> 0, payload: pattern(10) });
  assert.equal([ack!.flags, ack!.ack], ["A", c.at(0)]);
  c.send(piece(c, 0, 10));
  assert.equal(c.core.read(c.handle), DATA.slice(0, 10));
  c.core.tearDown();
});

test("TUN-5: a super-packet is one segment with one ACK, and its slot is kept", () => {
  const c = connected({ vnetBytes: 10 });
  const out = c.sendSuper(DATA.slice(0, 60_000), 1448);
  assert.equal(
    out.map(({ flags, ack }) => [flags, ack]),
    [["A", c.at(60_000)]],
  );
  assert.is(c.core.stat("STAT_SLOTS_KEPT"), 1);
  assert.equal(c.core.read(c.handle), DATA.slice(0, 60_000));
  c.core.tearDown();
});

test("TCP-32 TCP-40: shuffled segments are each acknowledged at once, the last one acknowledges all", () => {
  const c = connected();
  for (const i of [3, 1, 4, 2]) {
    const [ack, ...more] = c.send(piece(c, i * 1000, i * 1000 + 1000));
    assert.equal([ack!.ack, more.length], [c.at(0), 0]);
  }
  assert.is(c.send(piece(c, 0, 1000))[0]!.ack, c.at(5000));
  assert.equal(c.core.read(c.handle), DATA.slice(0, 5000));
  c.core.tearDown();
});

test("TCP-33: of two copies of a byte that arrived early the first one stays", () => {
  const c = connected();
  c.send(piece(c, 100, 200));
  c.send({ seq: c.at(50), payload: new Uint8Array(300).fill(255) });
  c.send(piece(c, 0, 50));
  const got = c.core.read(c.handle);
  assert.equal(got.slice(100, 200), DATA.slice(100, 200));
  assert.equal([got.length, got[50], got[349]], [350, 255, 255]);
  c.core.tearDown();
});

test("TCP-36: SACK blocks: the newest range first, exact edges, at most four", () => {
  const c = connected();
  const at = (from: number, to: number): [number, number] => [c.at(from), c.at(to)];
  c.send(piece(c, 1000, 1100));
  c.send(piece(c, 3000, 3100));
  assert.equal(c.send(piece(c, 2000, 2100))[0]!.sack, [
    at(2000, 2100),
    at(3000, 3100),
    at(1000, 1100),
  ]);
  c.send(piece(c, 4000, 4100));
  const [ack] = c.send(piece(c, 1100, 1150));
  assert.equal(ack!.sack, [at(1000, 1150), at(4000, 4100), at(2000, 2100), at(3000, 3100)]);
  c.core.tearDown();
});

test("TCP-36 TCP-7: with timestamps at most three SACK blocks, without SACK none", () => {
  const c = connected({}, { options: { mss: 1460, sackOk: true, ts: [1, 0] } });
  let sack = 0;
  for (const i of [2, 4, 6, 8, 10]) {
    sack = c.send({ ...piece(c, i * 100, i * 100 + 50), options: { ts: [2, 0] } })[0]!.sack.length;
  }
  assert.is(sack, 3);
  c.core.tearDown();
  const plain = connected({}, { options: { mss: 1460 } });
  assert.equal(plain.send(piece(plain, 200, 300))[0]!.sack, []);
  plain.core.tearDown();
});

test("TCP-34 TCP-40: a wholly old segment is reported by a D-SACK, also above a hole", () => {
  const c = connected();
  c.send(piece(c, 0, 100));
  assert.equal(c.send(piece(c, 20, 60))[0]!.sack, [[c.at(20), c.at(60)]]);
  c.send(piece(c, 500, 600));
  const [ack] = c.send(piece(c, 500, 600));
  assert.equal(ack!.sack, [
    [c.at(500), c.at(600)],
    [c.at(500), c.at(600)],
  ]);
  c.core.tearDown();
});

test("TCP-34 RFC 2883 §4: each of some duplicates in one batch is told, by four ACKs at most", () => {
  const c = connected();
  c.send(piece(c, 0, 1000));
  const reports = (...pieces: [number, number][]): unknown[] =>
    c.send(...pieces.map(([from, to]) => piece(c, from, to))).map(({ sack }) => sack);
  const block = (from: number, to: number): unknown => [[c.at(from), c.at(to)]];
  assert.equal(reports([10, 20], [40, 50]), [block(10, 20), block(40, 50)]);
  assert.equal(reports([10, 20], [20, 30]), [block(10, 30)]);
  const many = Array.from({ length: 10 }, (_, i): [number, number] => [i * 20, i * 20 + 10]);
  assert.is(reports(...many).length, 4);
  assert.equal(reports(), []);
  c.core.tearDown();
});

test("TCP-37 TCP-38: a hundred ranges: bounded, what was SACKed is kept, in-order data is taken", () => {
  const c = connected();
  let highest = 0;
  for (let i = 1; i <= 100; i++) {
    const [ack] = c.send(piece(c, i * 20, i * 20 + 10));
    if (ack!.sack[0]![0] === c.at(i * 20)) highest = i;
  }
  assert.ok(highest >= 64, `${highest} ranges`);
  assert.ok(c.core.stat("DROP_TCP_RANGES") > 0);
  const [ack] = c.send(piece(c, 0, highest * 20 + 10));
  assert.is(ack!.ack, c.at(highest * 20 + 10));
  assert.equal(c.core.read(c.handle), DATA.slice(0, highest * 20 + 10));
  c.core.tearDown();
});

test("TCP-35: a segment that overlaps on the left, or on the right, is trimmed", () => {
  const c = connected({ options: { recvBuffer: 4096, recvBufferMax: 4096 } });
  c.send(piece(c, 0, 100));
  c.send(piece(c, 50, 200));
  const [ack] = c.send(piece(c, 200, 9000));
  assert.is(ack!.ack, c.at(4096));
  assert.equal([ack!.window, c.core.read(c.handle)], [0, DATA.slice(0, 4096)]);
  c.core.tearDown();
});

test("TCP-39 MUST-40: one small segment is acknowledged after 40 ms, two full ones at once", () => {
  const c = connected();
  assert.equal(c.send(piece(c, 0, 100)), []);
  assert.equal(c.run(39 * MS), []);
  assert.is(c.run(1 * MS)[0]!.ack, c.at(100));
  assert.is(c.send(piece(c, 100, 1560), piece(c, 1560, 3020))[0]!.ack, c.at(3020));
  c.core.tearDown();
});

test("TCP-41 MUST-58 MUST-59: a batch makes one ACK, and none if data carries it", () => {
  const c = connected();
  const batch = Array.from({ length: 10 }, (_, i) => piece(c, i * 1000, i * 1000 + 1000));
  assert.is(c.send(...batch).length, 1);
  c.core.send(c.packet(piece(c, 10_000, 13_000)));
  c.core.write(c.handle, pattern(5));
  const out = c.flush();
  assert.equal([out.length, out[0]!.ack, out[0]!.payload.length], [1, c.at(13_000), 5]);
  c.core.tearDown();
});

test("TCP-42 TCP-43 TCP-44 TCP-45 FLOW-7 MUST-39: the window shuts when nothing is consumed, and opens with consumption, never leftwards", () => {
  const c = connected({ options: { recvBuffer: 60_000, recvBufferMax: 60_000 } });
  let edge = 0;
  let sent = 0;
  const look = (out: readonly { ack: number; window: number }[]): void => {
    for (const { ack, window } of out) {
      const right = ((ack - c.at(0)) >>> 0) + window;
      assert.ok(right >= edge, `edge ${edge} to ${right}`);
      edge = right;
    }
  };
  for (; sent < 90_000; sent += 1000) look(c.send(piece(c, sent, sent + 1000)));
  assert.is(edge, 60_000);
  const [probe] = c.send(piece(c, 60_000, 60_001));
  assert.equal([probe!.ack, probe!.window], [c.at(60_000), 0]);
  assert.is(c.core.read(c.handle, 100).length, 100);
  assert.equal(c.flush(), [], "100 bytes are no reason for an update");
  assert.is(c.core.read(c.handle, 3000).length, 3000);
  const [update] = c.flush();
  assert.equal([update!.ack, update!.window], [c.at(60_000), 3100]);
  c.core.tearDown();
});

test("TCP-46: the window grows with consumption up to its maximum", () => {
  const c = connected({ vnetBytes: 10, options: { recvBuffer: 65536, recvBufferMax: 1024 ** 2 } });
  let sent = 0;
  let widest = 0;
  for (let round = 0; round < 60; round++) {
    c.core.nowUs += 50;
    const seq = c.at(sent);
    c.core.send(c.packet({ seq, payload: DATA.slice(0, 1400) }));
    const [ack] = c.sendSuper(DATA.slice(0, 32_000), 1448, { seq: c.at(sent + 1400) });
    sent += 33_400;
    c.core.read(c.handle);
    widest = Math.max(widest, (ack?.window ?? 0) << 5, ...c.flush().map((s) => s.window << 5));
  }
  assert.ok(widest >= 900_000, `${widest}`);
  c.core.tearDown();
});

test("without autotuning the window keeps its size", () => {
  const options = { recvBuffer: 65536, recvBufferMax: 1024 ** 2 };
  const c = connected({ vnetBytes: 10, flags: abi.FLAG_NO_AUTOTUNE, options });
  for (let sent = 0; sent < 1_000_000; sent += 32_000) {
    c.core.nowUs += 100;
    c.core.send(c.packet({ seq: c.at(sent), payload: DATA.slice(0, 1000) }));
    const acks = c.sendSuper(DATA.slice(0, 31_000), 1448, { seq: c.at(sent + 1000) });
    c.core.read(c.handle);
    for (const { window } of [...acks, ...c.flush()]) assert.ok(window << 5 <= 65536);
  }
  c.core.tearDown();
});

test("TCP-48: a FIN takes effect when all before it has arrived; data behind it is ignored", () => {
  const c = connected();
  c.send({ ...piece(c, 100, 200), flags: "FA" });
  assert.is(c.bits() & abi.EV_FIN, 0);
  c.send({ seq: c.at(200), payload: pattern(50) });
  const [ack] = c.send(piece(c, 0, 100));
  assert.is(ack!.ack, c.at(201));
  assert.is(c.bits() & abi.EV_FIN, abi.EV_FIN);
  assert.equal(c.core.read(c.handle), DATA.slice(0, 200));
  c.core.tearDown();
});

test("TCP-49 TCP-47: segments without ACK are dropped, urgent data is ordinary", () => {
  const c = connected();
  c.send({ ...piece(c, 0, 10), flags: "" }, { ...piece(c, 0, 10), flags: "F" });
  c.send({ ...piece(c, 0, 10), flags: "PAU", urgent: 9999 });
  assert.equal(c.core.read(c.handle), DATA.slice(0, 10));
  assert.is(c.bits() & abi.EV_FIN, 0);
  c.core.tearDown();
});

test("TCP-111 TCP-40: a keepalive probe is answered at once", () => {
  const c = connected();
  const before = c.at(-1);
  assert.equal(
    c.send({ seq: before }).map(({ ack }) => ack),
    [c.at(0)],
  );
  assert.is(c.send({ seq: before, payload: Uint8Array.of(0) })[0]!.ack, c.at(0));
  c.core.tearDown();
});

test("TCP-81 TUN-4 MUST-3: a wrong checksum has no effect", () => {
  const c = connected();
  assert.equal(c.send({ ...piece(c, 0, 10), checksum: "bad" }), []);
  assert.equal(c.send({ seq: c.at(0), flags: "R", checksum: "bad" }), []);
  assert.is(c.core.stat("DROP_L4_CHECKSUM"), 2);
  assert.is(c.core.read(c.handle).length, 0);
  c.core.tearDown();
});

test("DOS-9: a hundred thousand segments of one byte cost bytes, not packets", () => {
  const c = connected({ options: { recvBuffer: 262_144, recvBufferMax: 262_144 } });
  for (let i = 0; i < 100_000; i += 16) {
    c.send(...Array.from({ length: 16 }, (_, k) => piece(c, i + k, i + k + 1)));
  }
  assert.ok(c.core.gauge("GAUGE_BUFFERED_BYTES") < 250_000);
  assert.equal(c.core.read(c.handle), DATA);
  c.core.tearDown();
});

test("TCP-45 DOS-12 MEM-3: when no memory is left data is dropped, and taken when it comes again", () => {
  const c = connected({ options: { bufferCap: 524_288, connect: abi.CONNECT_IMMEDIATE } });
  const others = [1, 2, 3, 4].map((sport) => new Client(c.core, { sport }).connect());
  for (const other of others) {
    // Each range costs a chunk.
    for (let i = 1; i <= 80; i++) other.send(piece(other, i * 20, i * 20 + 1));
  }
  assert.ok(c.core.stat("DROP_TCP_NO_ROOM") > 0);
  assert.ok(c.core.gauge("GAUGE_BUFFERED_BYTES") <= 524_288);
  assert.equal(c.send(piece(c, 0, 1000)), []);
  assert.equal(c.run(SECOND), []);
  for (const other of others) {
    other.send({ flags: "R", seq: other.at(0) });
    assert.is(other.closed(), abi.CLOSE_RESET);
  }
  c.send(piece(c, 0, 1000));
  assert.equal(c.core.read(c.handle), DATA.slice(0, 1000));
  c.core.tearDown();
});

test("TCP-77: PAWS: an old timestamp is not delivered and answered, a RST is exempt", () => {
  const c = connected({}, { options: { mss: 1460, ts: [1000, 0] } });
  c.send({ ...piece(c, 0, 10), options: { ts: [2000, 0] } });
  const [ack] = c.send({ ...piece(c, 10, 20), options: { ts: [1500, 0] } });
  assert.equal([ack!.ack, ack!.ts![1]], [c.at(10), 2000]);
  assert.is(c.core.stat("DROP_TCP_PAWS"), 1);
  c.send({ ...piece(c, 10, 20), options: { ts: [2000, 0] } });
  assert.equal(c.core.read(c.handle), DATA.slice(0, 20));
  c.send({ flags: "R", seq: c.at(20), options: { ts: [1, 0] } });
  assert.is(c.closed(), abi.CLOSE_RESET);
  c.core.tearDown();
});

test("TCP-78: TSecr is the earliest unacknowledged segment's timestamp", () => {
  const c = connected({}, { options: { mss: 1460, ts: [1000, 0] } });
  c.send({ ...piece(c, 0, 10), options: { ts: [2000, 0] } });
  c.send({ ...piece(c, 10, 20), options: { ts: [3000, 0] } });
  assert.is(c.run(40 * MS)[0]!.ts![1], 2000);
  c.send({ ...piece(c, 30, 40), options: { ts: [4000, 0] } });
  assert.is(c.run(SECOND).length, 0);
  assert.is(c.send({ ...piece(c, 30, 40), options: { ts: [5000, 0] } })[0]!.ts![1], 2000);
  c.core.tearDown();
});

test("the fast path changes nothing but its counter", () => {
  const memories = [0, abi.FLAG_NO_FAST_PATH].map((flags) => {
    const c = connected({ vnetBytes: 10, flags });
    for (let i = 0; i < 20; i++) {
      c.core.nowUs += 300;
      c.send(piece(c, i * 900, i * 900 + 900));
      c.core.read(c.handle);
      c.core.write(c.handle, pattern(1200));
      const last = c.flush().at(-1);
      if (last !== undefined && last.payload.length > 0) c.ack = last.end;
    }
    c.sendSuper(DATA.slice(18_000, 58_000), 1448, { seq: c.at(18_000) });
    assert.is(c.core.stat("STAT_FAST_PATH") > 0, flags === 0);
    const bytes = c.core.bytes.slice();
    const config = abi.CONFIG_BASE + 4 * abi.CFG_FLAGS;
    bytes.fill(0, config, config + 4);
    const stat = abi.STATS_BASE + 8 * abi.STAT_FAST_PATH;
    bytes.fill(0, stat, stat + 8);
    return Buffer.from(bytes);
  });
  assert.ok(memories[0]!.equals(memories[1]!));
});

test("TCP-35 RFC 9293 §3.10.7.4: a FIN is a byte: at the right edge of the window it is outside", () => {
  // Without a shift, so that the window told is the window meant.
  const options = { mss: 1460, sackOk: true };
  const core = { options: { recvBuffer: 32_768 }, flags: abi.FLAG_NO_AUTOTUNE };
  const c = connected(core, { options });
  const edge = 32_768;
  const [answer] = c.send({ seq: c.at(edge), flags: "FA" });
  assert.equal([answer!.ack, answer!.window], [c.at(0), edge]);
  for (let at = 0; at < edge; at += 1024) c.send(piece(c, at, at + 1024));
  c.run(SECOND);
  assert.is(c.bits() & abi.EV_FIN, 0);
  assert.is(c.send({ seq: c.at(edge), flags: "FA" }).at(-1)!.ack, c.at(edge + 1));
  assert.is(c.bits() & abi.EV_FIN, abi.EV_FIN);
  assert.equal(c.core.read(c.handle), DATA.slice(0, edge));
  c.core.tearDown();
});

test.run();
