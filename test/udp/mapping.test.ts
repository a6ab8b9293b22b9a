/** UDP: datagrams both ways, mappings, their bounds and times. */
import * as assert from "uvu/assert";
import * as abi from "../../assembly/abi.ts";
import { pattern } from "../kit/bytes.ts";
import { CoreHarness, forBuilds, type CoreEvent } from "../kit/core.ts";
import { CLIENT_4, CLIENT_6, SERVER_4, SERVER_6, expectUdp, udpPacket } from "../kit/packet.ts";
import { suite } from "../kit/suite.ts";

const test = suite("udp/mapping");
const SECOND = 1_000_000;
const FAMILIES = [
  { src: CLIENT_4, dst: SERVER_4 },
  { src: CLIENT_6, dst: SERVER_6 },
] as const;

function codesOf(events: readonly CoreEvent[], flag: number): number[] {
  return events.filter((event) => (event.flags & flag) !== 0).map((event) => event.code);
}

forBuilds(
  test,
  "UDP-5 UDP-8 UDP-13: carries datagrams of all small sizes both ways, empty ones too",
  (build) => {
    const core = new CoreHarness({ build });
    for (const { src, dst } of FAMILIES) {
      for (const size of [0, 1, 8, 1400, 1452]) {
        const payload = pattern(size);
        const [record] = core.send(udpPacket({ src, dst, sport: 5000, dport: 7, payload }));
        assert.ok(record);
        assert.equal([record.kind, record.far, record.port], [abi.DGRAM_UDP, dst, 7]);
        assert.equal(Buffer.from(record.payload), Buffer.from(payload));
        assert.is(core.stage({ ...record }), 1);
        const [out, ...more] = core.flush();
        assert.is(more.length, 0);
        const seen = expectUdp(out!, core.framing);
        assert.equal([seen.src, seen.sport, seen.dst, seen.dport], [dst, 7, src, 5000]);
        assert.equal(Buffer.from(seen.payload), Buffer.from(payload));
      }
    }
    const events = core.events();
    assert.equal(
      events.map((event) => event.flags),
      [abi.EV_MAPPING_OPEN, abi.EV_MAPPING_OPEN],
    );
    assert.equal(core.record(events[0]!.ptr).remote, CLIENT_4);
    core.tearDown();
  },
);

test("UDP-6 UDP-16: uses one mapping towards all destinations, and one for each client address and port", () => {
  const core = new CoreHarness();
  const records = core.send(
    udpPacket({ sport: 1, dst: "192.0.2.201", dport: 5 }),
    udpPacket({ sport: 1, dst: "192.0.2.202", dport: 6 }),
    udpPacket({ sport: 2, dst: "192.0.2.201", dport: 5 }),
    udpPacket({ sport: 1, src: "192.0.2.11", dst: "192.0.2.201", dport: 5 }),
  );
  const handles = records.map((record) => record.handle);
  assert.is(handles[0], handles[1]);
  assert.is(new Set(handles).size, 3);
  assert.is(core.gauge("GAUGE_MAPPINGS"), 3);
  core.tearDown();
});

test("UDP-7: delivers from an address that the client never wrote to, unless the filter is on", () => {
  for (const flags of [0, abi.FLAG_UDP_ADDRESS_FILTER]) {
    const core = new CoreHarness({ flags });
    const [record] = core.send(udpPacket({ dport: 9 }));
    core.stage({ ...record, far: "192.0.2.77", port: 99 }, { ...record, port: 77 });
    const seen = core.flush().map((bytes) => expectUdp(bytes));
    const far = seen.map((packet) => `${packet.src}:${packet.sport}`);
    const own = `${SERVER_4}:77`;
    assert.equal(far, flags === 0 ? ["192.0.2.77:99", own] : [own]);
    assert.is(core.stat("DROP_UDP_FILTER"), flags === 0 ? 0 : 1);
    core.tearDown();
  }
});

test("the filter forgets the address not written to for longest beyond 64", () => {
  const core = new CoreHarness({ flags: abi.FLAG_UDP_ADDRESS_FILTER });
  let handle = 0;
  const far = (i: number): string => `198.51.100.${i}`;
  for (let i = 1; i <= 80; i++) handle = core.send(udpPacket({ dst: far(i) }))[0]!.handle;
  const reply = { kind: abi.DGRAM_UDP, handle, port: 53, payload: pattern(4) };
  for (let i = 1; i <= 80; i++) core.stage({ ...reply, far: far(i) });
  const seen = core.flush().map((bytes) => expectUdp(bytes).src);
  assert.is(seen.length, 64);
  assert.is(seen[0], far(17));
  core.tearDown();
});

test("UDP-7: the filter knows who was written to, however often and in whatever order", () => {
  const core = new CoreHarness({ flags: abi.FLAG_UDP_ADDRESS_FILTER });
  const far = (i: number): string => `198.51.100.${i}`;
  let handle = 0;
  for (const i of [1, 1, 2, 3, 1, 1, 3, 3, 2]) {
    handle = core.send(udpPacket({ dst: far(i) }))[0]!.handle;
  }
  const reply = { kind: abi.DGRAM_UDP, handle, port: 53, payload: pattern(4) };
  for (const i of [4, 3, 2, 1, 5]) core.stage({ ...reply, far: far(i) });
  const seen = core.flush().map((bytes) => expectUdp(bytes).src);
  assert.equal(seen, [far(3), far(2), far(1)]);
  assert.is(core.stat("DROP_UDP_FILTER"), 2);
  core.tearDown();
});

test("UDP-9: ends idle mappings at their time: both ways, one way, DNS answered and not", () => {
  const cases = [
    { dport: 9, answered: true, seconds: 300 },
    { dport: 9, answered: false, seconds: 120 },
    { dport: 53, answered: true, seconds: 10 },
    { dport: 53, answered: false, seconds: 30 },
  ];
  for (const { dport, answered, seconds } of cases) {
    const core = new CoreHarness();
    const [record] = core.send(udpPacket({ dport }));
    if (answered) core.stage({ ...record });
    core.flush();
    core.run(seconds * SECOND - 1);
    assert.is(core.gauge("GAUGE_MAPPINGS"), 1, `port ${dport} ended early`);
    core.run(1);
    assert.equal(codesOf(core.events(), abi.EV_MAPPING_CLOSED), [abi.CLOSE_IDLE]);
    assert.is(core.gauge("GAUGE_MAPPINGS"), 0);
    assert.is(core.deadline(), Infinity);
    core.release(record!.handle);
    core.tearDown();
  }
});

test("UDP-9: an explicit time wins over all, however short", () => {
  const core = new CoreHarness({ options: { udpTimeout: 700 } });
  const [record] = core.send(udpPacket({ dport: 9 }));
  core.stage({ ...record });
  core.run(0.69 * SECOND);
  assert.is(core.gauge("GAUGE_MAPPINGS"), 1);
  core.run(0.01 * SECOND);
  assert.is(core.gauge("GAUGE_MAPPINGS"), 0);
  core.tearDown();
});

test("UDP-10: traffic refreshes a mapping: outbound always, inbound unless switched off", () => {
  for (const flags of [0, abi.FLAG_UDP_NO_INBOUND_REFRESH]) {
    const core = new CoreHarness({ flags, options: { udpTimeout: 1000 } });
    const [record] = core.send(udpPacket({ dport: 9 }));
    core.run(0.9 * SECOND);
    core.send(udpPacket({ dport: 9 }));
    core.run(0.9 * SECOND);
    assert.is(core.gauge("GAUGE_MAPPINGS"), 1);
    core.stage({ ...record });
    core.run(0.5 * SECOND);
    assert.is(core.gauge("GAUGE_MAPPINGS"), flags === 0 ? 1 : 0);
    core.run(0.5 * SECOND);
    assert.is(core.gauge("GAUGE_MAPPINGS"), 0);
    core.tearDown();
  }
});

test("UDP-11: the least recently used mapping gives way, of the client first", () => {
  const core = new CoreHarness({ options: { udpMappings: 16, udpMappingsPerClient: 4 } });
  const open = (client: number, sport: number): number =>
    core.send(udpPacket({ src: `192.0.2.${client}`, sport }))[0]!.handle;
  const first = open(1, 1);
  const second = open(1, 2);
  open(1, 3);
  open(1, 4);
  assert.is(open(1, 1), first);
  open(1, 5);
  let closed = core.events().filter((event) => (event.flags & abi.EV_MAPPING_CLOSED) !== 0);
  assert.equal(
    closed.map((event) => [event.handle, event.code]),
    [[second, abi.CLOSE_EVICTED]],
  );
  core.release(second);
  for (let client = 2; client <= 4; client++) {
    for (let sport = 1; sport <= 4; sport++) open(client, sport);
  }
  assert.is(core.gauge("GAUGE_MAPPINGS"), 16);
  open(5, 1);
  closed = core.events().filter((event) => (event.flags & abi.EV_MAPPING_CLOSED) !== 0);
  assert.is(closed.length, 1);
  assert.is(core.gauge("GAUGE_MAPPINGS"), 16);
  assert.is(core.exports.release(closed[0]!.handle), 0);
  core.tearDown();
});

test("UDP-11: a flood of sources keeps the bound, and a fresh echo works after it", () => {
  const core = new CoreHarness();
  for (let i = 0; i < 2000; i++) {
    core.send(udpPacket({ src: `198.51.${i >> 8}.${i & 255 || 1}`, sport: 1000 + i }));
    if (i % 100 === 0) core.releaseClosed();
  }
  assert.ok(core.gauge("GAUGE_MAPPINGS") <= 64);
  core.releaseClosed();
  const [record] = core.send(udpPacket({ dport: 7, payload: pattern(3) }));
  assert.ok(record);
  core.stage({ ...record });
  assert.is(core.flush().length, 1);
  core.tearDown();
});

test("a host that never releases loses new mappings, nothing else", () => {
  const core = new CoreHarness();
  for (let i = 0; i < 700; i++) core.send(udpPacket({ sport: 1000 + i }));
  assert.ok(core.stat("DROP_UDP_FULL") > 0);
  assert.ok(core.gauge("GAUGE_MAPPINGS") > 0);
  core.releaseClosed();
  assert.is(core.send(udpPacket({ sport: 7 })).length, 1);
  core.tearDown();
});

test("FLOW-10: stale handles answer ERR_STALE, closed ones ERR_STATE, and never name another mapping", () => {
  const core = new CoreHarness();
  const [record] = core.send(udpPacket({}));
  const handle = record!.handle;
  assert.is(core.exports.release(handle), abi.ERR_STATE);
  core.udpClose(handle);
  assert.is(core.exports.udpClose(handle, core.nowUs), abi.ERR_STATE);
  assert.is(core.exports.release(handle), abi.ERR_STATE, "its events were not taken");
  assert.equal(codesOf(core.events(), abi.EV_MAPPING_CLOSED), [abi.CLOSE_HOST]);
  core.release(handle);
  assert.is(core.exports.release(handle), abi.ERR_STALE);
  assert.is(core.exports.udpClose(handle, core.nowUs), abi.ERR_STALE);
  const [next] = core.send(udpPacket({}));
  assert.is.not(next!.handle, handle);
  assert.is(core.stage({ ...record }), 1);
  assert.equal(core.flush(), []);
  assert.is(core.stat("DROP_STALE"), 1);
  core.tearDown();
});

test("UDP-1 UDP-2 UDP-3 UDP-12: drops what RFC 768 forbids, and accepts what it allows", () => {
  const core = new CoreHarness();
  const dropped = (name: string, packet: Uint8Array): void => {
    const before = core.stat(name);
    assert.equal(core.send(packet), []);
    assert.is(core.stat(name), before + 1, name);
  };
  const payload = pattern(20);
  dropped("DROP_L4_HEADER", udpPacket({ payload, udpLength: 7 }));
  dropped("DROP_L4_HEADER", udpPacket({ payload, udpLength: 29 }));
  dropped("DROP_L4_CHECKSUM", udpPacket({ payload, checksum: "bad" }));
  dropped("DROP_L4_CHECKSUM", udpPacket({ src: CLIENT_6, dst: SERVER_6, payload, checksum: 0 }));
  dropped("DROP_UDP_PORT", udpPacket({ payload, dport: 0 }));
  assert.is(core.send(udpPacket({ payload, checksum: 0 })).length, 1);
  const [cut] = core.send(udpPacket({ payload, udpLength: 18 }));
  assert.equal(Buffer.from(cut!.payload), Buffer.from(payload.subarray(0, 10)));
  const [portless] = core.send(udpPacket({ payload, sport: 0 }));
  assert.ok(portless);
  core.stage({ ...portless });
  assert.equal(core.flush(), []);
  core.tearDown();
});

test.run();
