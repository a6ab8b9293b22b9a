/** What TCP's packets look like on the wire, and what options may look like. */
import * as assert from "uvu/assert";
import * as abi from "../../assembly/abi.ts";
import { concat, get16, onesSum, pattern, pseudoHeader, sameBytes } from "../kit/bytes.ts";
import { CoreHarness } from "../kit/core.ts";
import { TcpPeer } from "../kit/peer.ts";
import { CLIENT_4, icmpPacket, SERVER_4, type TcpSeen } from "../kit/packet.ts";
import { suite } from "../kit/suite.ts";
import { Client, connected, makeClient, MS, SECOND, SYN_OPTIONS } from "./client.ts";

const test = suite("tcp/wire");
const TSO = abi.OFFLOAD_CSUM | abi.OFFLOAD_TSO4 | abi.OFFLOAD_TSO6;
const IMMEDIATE = { connect: abi.CONNECT_IMMEDIATE };
const DATA = pattern(300_000);
const MSS = 1460;

/** A life of every kind of segment: SYN-ACK, data, ACKs, SACKs, a FIN, a RST of a stray. */
function life(c: Client): TcpSeen[] {
  const out = [...c.syn()];
  if (c.ack === 0) out.push(c.accept());
  out.push(...c.send({}));
  c.core.write(c.handle, DATA.slice(0, 50_000));
  let acked = 0;
  for (let sent = c.flush(); sent.length > 0; sent = c.send({ ack: c.theirs(acked) })) {
    out.push(...sent);
    acked += sent.reduce((sum, { payload }) => sum + payload.length, 0);
  }
  c.ack = c.theirs(acked);
  out.push(...c.send({ payload: DATA.slice(0, 1000) }, { seq: c.at(3000), payload: pattern(500) }));
  out.push(...c.send({ flags: "R", seq: c.at(50) }));
  c.core.shutdown(c.handle);
  out.push(...c.flush());
  c.core.abort(c.handle);
  out.push(...c.flush());
  assert.is(c.closed(), abi.CLOSE_HOST);
  out.push(...c.send({ ack: 77 }));
  return out;
}

const SETTINGS = [0, 10, 12].flatMap((vnetBytes) =>
  ([4, 6] as const).flatMap((family) =>
    [1280, 1500, 9000, 65535].map((mtu) => ({ vnetBytes: vnetBytes as 0 | 10 | 12, family, mtu })),
  ),
);

for (const { vnetBytes, family, mtu } of SETTINGS) {
  const name = `IPv${family}, MTU ${mtu}, ${vnetBytes} bytes of vnet header`;
  test(`TUN-1 TUN-9 TUN-12 TUN-15 IP-19 FRAG-13 V6-11 MUST-2 MUST-45: ${name}`, () => {
    // Lengths and checksums are verified by whatever reads the packets.
    const core = { vnetBytes, offloads: vnetBytes === 0 ? 0 : TSO, options: { mtu } };
    const options = { ...SYN_OPTIONS, mss: mtu - 60, ts: [1, 0] as const };
    const c = makeClient(core, { family, options });
    const out = life(c);
    assert.ok(out.length > 5);
    for (const seen of out) {
      assert.equal([seen.src, seen.dst], [c.fields.dst, c.fields.src]);
      assert.equal([seen.sport, seen.dport], [c.fields.dport, c.fields.sport]);
      assert.equal([seen.fragOffset, seen.moreFragments, seen.df], [0, false, true]);
      assert.is(seen.ipHeaderLen, family === 4 ? 20 : 40);
    }
    assert.is(
      out.some(({ gsoSize }) => gsoSize > 0),
      vnetBytes > 0 && mtu < 20_000,
    );
    c.core.tearDown();
  });
}

test("TUN-9: the checksum of a super-packet is the pseudo-header's sum, not complemented", () => {
  for (const family of [4, 6] as const) {
    const c = connected({ vnetBytes: 10, offloads: TSO }, { family });
    c.core.write(c.handle, DATA.slice(0, 10_000));
    const [seen] = c.flush();
    const { vnet, bytes, l4 } = seen!;
    const [at, size] = family === 4 ? [12, 4] : [8, 16];
    const ends = [bytes.subarray(at, at + size), bytes.subarray(at + size, at + 2 * size)] as const;
    assert.is(get16(l4, 16), onesSum(pseudoHeader(...ends, 6, l4.length)));
    const { flags, csumStart, csumOffset, hdrLen } = vnet!;
    const header = family === 4 ? 20 : 40;
    assert.equal([flags, csumStart, csumOffset, hdrLen], [1, header, 16, header + 20]);
    c.core.tearDown();
  }
});

test("IP-6 MUST-49: TTL and hop limit are 64, or what is configured", () => {
  for (const ttl of [64, 1, 255]) {
    for (const family of [4, 6] as const) {
      const c = makeClient(ttl === 64 ? {} : { options: { ttl } }, { family });
      for (const seen of life(c)) assert.is(seen.ttl, ttl);
      c.core.tearDown();
    }
  }
});

test("IP-20 MUST-48: DSCP is 0, or what is configured, or that of the client's SYN", () => {
  for (const family of [4, 6] as const) {
    for (const [dscp, expected] of [
      [0, 0],
      [46, 46 << 2],
      [abi.DSCP_COPY, 10 << 2],
    ] as const) {
      const c = makeClient({ options: { dscp } }, { family });
      c.fields.tos = (10 << 2) | 3;
      const out = life(c).filter(({ ack }) => ack !== 0);
      assert.ok(out.length > 5);
      for (const { tos } of out) assert.is(tos, expected);
      c.core.tearDown();
    }
  }
});

test("IP-21: the flow label is one for a flow, not 0, and another for another flow or seed", () => {
  const labels = new Set<number>();
  for (const [seed, sport] of [
    [1, 1000],
    [1, 1001],
    [2, 1000],
  ] as const) {
    const c = makeClient({ seed }, { family: 6, sport });
    const own = new Set(life(c).map(({ flowLabel }) => flowLabel));
    assert.is(own.size, 1);
    labels.add([...own][0]!);
    c.core.tearDown();
  }
  assert.is(labels.size, 3);
  assert.not(labels.has(0));
});

test("TCP-20: timestamps tick once a millisecond, from an offset of each pair of addresses", () => {
  const options = { ...SYN_OPTIONS, ts: [1, 0] as const };
  const c = connected({}, { options });
  const values: number[] = [];
  for (let i = 0; i < 4; i++) {
    c.core.nowUs += 250 * MS;
    values.push(c.send({ seq: c.at(1000), payload: pattern(1) })[0]!.ts![0]);
  }
  for (let i = 1; i < 4; i++) assert.is((values[i]! - values[i - 1]!) >>> 0, 250);
  const first = makeClient({ options: IMMEDIATE }, { options }).syn()[0]!.ts![0];
  const core = new CoreHarness({ options: IMMEDIATE });
  const other = new Client(core, { options, family: 6 }).syn()[0]!.ts![0];
  assert.ok(Math.abs(first - other) > 10_000, "both clocks began at the same number");
  c.core.tearDown();
});

test("TCP-21 IP-17: an ECN SYN gets a plain SYN-ACK, and what is sent is Not-ECT", () => {
  const c = makeClient({ options: IMMEDIATE });
  const [synAck] = c.syn({ flags: "SEC", tos: 0xff });
  assert.is(synAck!.flags, "SA");
  c.send({ tos: 3 });
  c.core.write(c.handle, pattern(10));
  const [data] = c.send({ flags: "AE", tos: 1 });
  assert.equal([data!.flags, data!.tos], ["PA", 0]);
  c.core.tearDown();
});

test("TCP-1 TCP-26: TTL 1, any port to any port, both families", () => {
  const core = new CoreHarness({ options: IMMEDIATE });
  for (const family of [4, 6] as const) {
    for (const sport of [1, 22, 1024, 32_768, 65_535]) {
      for (const dport of [1, 53, 443, 50_000, 65_535]) {
        const c = new Client(core, { family, sport, dport });
        const synAcks = c.syn({ ttl: 1 }).filter(({ flags }) => flags === "SA");
        assert.equal(
          synAcks.map(({ ack }) => ack),
          [c.at(0)],
        );
        c.send({ payload: pattern(3) });
        assert.equal(core.read(c.handle), pattern(3));
        const opened = c.events.filter(({ flags }) => (flags & abi.EV_OPEN) !== 0);
        assert.is(opened.length, 1);
      }
    }
  }
  assert.is(core.gauge("GAUGE_FLOWS"), 50);
  core.tearDown();
});

/** A list of option kinds, and where the end of the list leaves anything but zeros. */
function optionKinds(seen: TcpSeen): number[] {
  const header = seen.l4.subarray(20, (seen.l4[12]! >> 4) * 4);
  const kinds: number[] = [];
  for (let at = 0; at < header.length;) {
    const kind = header[at]!;
    if (kind === 0) {
      assert.ok(
        header.subarray(at).every((byte) => byte === 0),
        "not padded with zeros",
      );
      break;
    }
    if (kind === 1) {
      at++;
      continue;
    }
    const length = header[at + 1]!;
    assert.ok(length >= 2 && at + length <= header.length, `option ${kind} of ${length} bytes`);
    kinds.push(kind);
    at += length;
  }
  return kinds;
}

test("MUST-65 MUST-68 MUST-69: options out have lengths, padding, and MSS on the SYN alone", () => {
  for (const ts of [[[1, 0] as const], []]) {
    const options = ts.length > 0 ? { ...SYN_OPTIONS, ts: ts[0]! } : SYN_OPTIONS;
    const c = makeClient({}, { options });
    for (const seen of life(c)) {
      assert.is(optionKinds(seen).includes(2), seen.flags === "SA", seen.flags);
    }
    c.core.tearDown();
  }
});

test("MUST-4 MUST-5 MUST-64: options at odd places, on any segment, no-operations between", () => {
  const raw = Uint8Array.of(1, 1, 1, 2, 4, 2, 0, 1, 3, 3, 7, 4, 2, 1, 0, 0);
  const c = makeClient({ options: IMMEDIATE }, { options: { raw } });
  const [synAck] = c.syn();
  assert.equal([synAck!.wscale !== undefined, synAck!.sackOk], [true, true]);
  c.send({ options: { raw: Uint8Array.of(1, 253, 3, 9, 0, 0, 0, 0) } });
  c.core.write(c.handle, DATA.slice(0, 5000));
  assert.is(c.flush()[0]!.payload.length, 512, "the MSS of 512 was found");
  // SACK blocks behind an odd number of other bytes.
  const edges = new DataView(new ArrayBuffer(8));
  edges.setUint32(0, c.theirs(512));
  edges.setUint32(4, c.theirs(5 * 512));
  const blocks = concat(Uint8Array.of(1, 5, 10), new Uint8Array(edges.buffer), Uint8Array.of(0));
  const repeats = c.send({ ack: c.theirs(0), options: { raw: blocks } });
  assert.is(c.run(SECOND).concat(repeats)[0]!.seq, c.theirs(0));
  c.send({ payload: pattern(5), options: { raw: Uint8Array.of(99, 5, 1, 2, 3, 0, 0, 0) } });
  assert.equal(c.core.read(c.handle), pattern(5));
  c.core.tearDown();
});

test("MUST-1: a window above 32767 is not negative", () => {
  const c = connected({}, { options: { mss: 1460 }, window: 60_000 });
  c.core.write(c.handle, DATA.slice(0, 120_000));
  let acked = 0;
  let widest = 0;
  for (let out = c.flush(); out.length > 0; out = c.send({ ack: c.theirs(acked) })) {
    const sent = out.reduce((sum, { payload }) => sum + payload.length, 0);
    widest = Math.max(widest, sent);
    acked += sent;
  }
  assert.is(acked, 120_000);
  assert.ok(widest > 32_767, `${widest} bytes in flight`);
  c.core.tearDown();
});

test("TCP-67: super-packets keep to window and cwnd, and nothing waits for a larger one", () => {
  const c = connected({ vnetBytes: 10, offloads: TSO }, { options: { mss: 1460 } });
  const sizes = (out: readonly TcpSeen[]): number[] => out.map(({ payload }) => payload.length);
  c.send({ window: 10_000 });
  assert.is(c.core.write(c.handle, DATA.slice(0, 100)), 100);
  assert.equal(sizes(c.flush()), [100]);
  c.core.write(c.handle, DATA.slice(0, 50_000));
  const sent = sizes(c.flush());
  assert.equal(sent, [6 * MSS], "whole segments of what the window has left");
  const more = sizes(c.send({ ack: c.theirs(100 + 6 * MSS), window: 65_535 }));
  const cwnd = 10 * MSS + 100 + 6 * MSS;
  const total = more.reduce((sum, size) => sum + size, 0);
  assert.ok(total <= cwnd && total >= 10 * MSS, `${total} bytes`);
  c.core.tearDown();
});

test("TUN-18: whatever the device loses, the streams come to their end intact", () => {
  for (const every of [2, 3, 5]) {
    const core = new CoreHarness({ options: IMMEDIATE });
    const ends = { src: CLIENT_4, dst: SERVER_4, sport: 40_000, dport: 80 };
    const peer = new TcpPeer({ ...ends, mss: MSS, wscale: 7, sack: true, bufferBytes: 65_535 });
    peer.connect(core.nowUs);
    peer.write(DATA.slice(0, 60_000));
    peer.finish();
    let handle = 0;
    let lost = 0;
    let sent = 0;
    const up: Uint8Array[] = [];
    const down: Uint8Array[] = [];
    for (let step = 0; step < 5000 && !peer.isDone; step++) {
      core.send(...peer.take(core.nowUs));
      core.poll();
      for (const { handle: each } of core.events()) handle = each;
      if (handle !== 0) up.push(core.read(handle));
      if (sent < 60_000 && core.exports.sendReserve(handle, 1) > 0) {
        sent += core.write(handle, DATA.slice(sent, 60_000));
        if (sent === 60_000) core.shutdown(handle);
      }
      for (const packet of core.flush()) {
        if (++lost % every !== 0) peer.receive(packet, core.nowUs);
      }
      down.push(peer.read());
      peer.poll(core.nowUs);
      core.nowUs = Math.min(core.deadline(), peer.deadline(), core.nowUs + 10 * MS);
    }
    assert.ok(peer.isDone, `every packet ${every} lost: not at an end`);
    assert.ok(sameBytes(concat(...down), DATA.subarray(0, 60_000)));
    assert.ok(sameBytes(concat(...up), DATA.subarray(0, 60_000)));
    core.tearDown();
  }
});

test("MUST-21: how often data is repeated before the flow is given up can be set", () => {
  for (const dataRetries of [1, 3]) {
    const c = connected({ options: { dataRetries } }, { options: { mss: 1460 } });
    c.core.write(c.handle, pattern(10));
    c.flush();
    const flags = c.run(600 * SECOND).map((seen) => seen.flags);
    assert.equal(flags, [...new Array<string>(dataRetries).fill("PA"), "RA"]);
    assert.is(c.closed(), abi.CLOSE_TIMEOUT);
    c.core.tearDown();
  }
});

test("MUST-66: while the window is shut, ACKs count and an exact RST ends the flow", () => {
  const options = { recvBuffer: 4096, recvBufferMax: 4096, ...IMMEDIATE };
  const c = connected({ options }, { options: { mss: 1460 } });
  c.send({ payload: DATA.slice(0, 4096) });
  c.seq = c.at(4096);
  c.core.write(c.handle, DATA.slice(0, 3000));
  assert.is(c.flush().at(-1)!.window, 0);
  // Text beyond the window is refused, its ACK is not needed; the next ACK is taken.
  c.send({ ack: c.theirs(3000) });
  c.run(SECOND);
  assert.is(c.core.stat("STAT_RTO_FIRED"), 0);
  assert.equal(c.send({ flags: "R" }), []);
  assert.is(c.closed(), abi.CLOSE_RESET);
  c.core.tearDown();
});

test("MUST-55 MUST-56 ICMP-9: source quench and unreachables about a live flow change nothing", () => {
  const c = connected();
  c.core.write(c.handle, DATA.slice(0, 1000));
  const [data] = c.flush();
  const quote = data!.bytes.subarray(0, 48);
  for (const [type, code] of [
    [4, 0],
    [3, 0],
    [3, 1],
    [3, 2],
    [3, 3],
    [3, 5],
    [3, 13],
    [11, 0],
    [12, 0],
  ] as const) {
    const fields = { src: CLIENT_4, dst: SERVER_4, type, code, payload: quote };
    c.core.send(icmpPacket(fields));
    assert.equal(c.flush(), []);
  }
  c.send({ ack: c.theirs(1000), payload: pattern(9) });
  assert.equal(c.core.read(c.handle), pattern(9));
  assert.is(c.closed(), 0);
  c.core.tearDown();
});

test("TCP-100: a RST drops what the host has not taken, and says that it was one", () => {
  const c = connected();
  c.send({ payload: DATA.slice(0, 1000) });
  c.bits();
  assert.equal(c.send({ flags: "R", seq: c.at(1000) }), []);
  const [event] = c.core.events().concat(c.events);
  assert.equal([event!.flags & abi.EV_FIN, event!.code], [0, abi.CLOSE_RESET]);
  assert.is(c.core.exports.recvPeek(c.handle), 0);
  assert.is(c.core.gauge("GAUGE_BUFFERED_BYTES"), 0);
  c.core.release(c.handle);
  c.core.tearDown();
});

test.run();
