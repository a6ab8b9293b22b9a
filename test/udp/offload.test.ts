/** UDP: large datagrams, super-packets in and out, full output, errors from upstream. */
import * as assert from "uvu/assert";
import * as abi from "../../assembly/abi.ts";
import { concat, get16, pattern } from "../kit/bytes.ts";
import { CoreHarness, forBuilds } from "../kit/core.ts";
import {
  CLIENT_4,
  CLIENT_6,
  GSO_UDP_L4,
  SERVER_4,
  SERVER_6,
  VNET_NEEDS_CSUM,
  expectIcmp,
  expectUdp,
  icmpPacket,
  joinFragments,
  parsePacket,
  udpPacket,
  withVnet,
} from "../kit/packet.ts";
import { suite } from "../kit/suite.ts";

const test = suite("udp/offload");
const FAMILIES = [
  { src: CLIENT_4, dst: SERVER_4, header: 20, most: 65507 },
  { src: CLIENT_6, dst: SERVER_6, header: 40, most: 65527 },
] as const;

forBuilds(
  test,
  "FRAG-12 UDP-13 TUN-16: sends datagrams over the MTU as fragments, up to the largest",
  (build) => {
    for (const mtu of [1280, 1500, 9000, 65535]) {
      const core = new CoreHarness({ build, options: { mtu } });
      for (const { src, dst, most } of FAMILIES) {
        const [record] = core.send(udpPacket({ src, dst, dport: 9 }));
        for (const size of [1232, 1233, 1453, 1473, 8000, most]) {
          const payload = pattern(size, size);
          core.stage({ ...record, payload });
          const out = core.flush();
          const whole = out.length === 1 ? out[0]! : joinFragments(out, core.framing);
          const seen = expectUdp(whole, { mtu: 65_575 });
          assert.is(Buffer.compare(seen.payload, payload), 0, `size ${size} at MTU ${mtu}`);
        }
        core.stage({ ...record, payload: pattern(most + 1) });
        assert.equal(core.flush(), []);
      }
      assert.is(core.stat("DROP_TOO_BIG"), 2);
      core.tearDown();
    }
  },
);

test("UDP-13: takes the largest datagrams in one packet, and says how they came", () => {
  const core = new CoreHarness({ options: { mtu: 65535 } });
  for (const { src, dst, most } of FAMILIES) {
    const payload = pattern(most);
    const [record] = core.send(udpPacket({ src, dst, dport: 9, payload, ttl: 3 }));
    assert.is(Buffer.compare(record!.payload, payload), 0);
    const isV4 = src === CLIENT_4;
    assert.equal([record!.hops, record!.flags], [3, isV4 ? abi.DGRAM_FLAG_DF : 0]);
  }
  core.tearDown();
});

test("IP-7: fragments of different datagrams carry different identifications", () => {
  const core = new CoreHarness();
  const [record] = core.send(udpPacket({ dport: 9 }));
  const ids = new Set<number>();
  for (let i = 0; i < 200; i++) {
    core.stage({ ...record, payload: pattern(3000) });
    const out = core.flush().map((bytes) => parsePacket(bytes, core.framing));
    assert.ok(out.every((packet) => packet.id === out[0]!.id && !packet.df));
    ids.add(out[0]!.id);
  }
  assert.is(ids.size, 200);
  core.tearDown();
});

test("IP-20: datagrams, their fragments and echo replies follow the DSCP of the client if told to", () => {
  const core = new CoreHarness({ options: { dscp: abi.DSCP_COPY } });
  for (const { src, dst } of FAMILIES) {
    const [record] = core.send(udpPacket({ src, dst, dport: 9, tos: 0xb9 }));
    core.stage({ ...record }, { ...record, payload: pattern(5000) });
    core.send(icmpPacket({ src, dst, tos: 0xb9 }));
    const out = core.flush().map((bytes) => parsePacket(bytes, core.framing).tos);
    assert.equal(out, new Array<number>(6).fill(0xb8));
  }
  core.tearDown();
});

test("TUN-6 UDP-18: hands a super-packet over as one record with its segment size", () => {
  const core = new CoreHarness({ vnetBytes: 10 });
  for (const { src, dst, header } of FAMILIES) {
    const payload = pattern(12_000);
    const packet = udpPacket({ src, dst, payload, checksum: "partial" });
    const vnet = { flags: VNET_NEEDS_CSUM, gsoType: GSO_UDP_L4, gsoSize: 1200 };
    const whole = withVnet(packet, {
      ...vnet,
      hdrLen: header + 8,
      csumStart: header,
      csumOffset: 6,
    });
    const [record] = core.send(whole);
    assert.ok(record);
    assert.is(record.gso, 1200);
    assert.is(Buffer.compare(record.payload, payload), 0);
  }
  core.tearDown();
});

test("UDP-18: splits staged super-datagrams, or lets the device do it", () => {
  for (const offloads of [0, abi.OFFLOAD_USO | abi.OFFLOAD_CSUM]) {
    const core = new CoreHarness({ vnetBytes: 12, offloads });
    for (const { src, dst } of FAMILIES) {
      const packet = withVnet(udpPacket({ src, dst, dport: 9 }), { bytes: 12 });
      const [record] = core.send(packet);
      const payload = pattern(100 * 1000 + 500).subarray(0, 60_500);
      core.stage({ ...record, payload, gso: 1000 });
      const seen = core.flush().map((bytes) => expectUdp(bytes, core.framing));
      assert.is(seen.length, offloads === 0 ? 61 : 1);
      assert.is(Buffer.compare(concat(...seen.map((udp) => udp.payload)), payload), 0);
      if (offloads !== 0) assert.is(seen[0]!.gsoSize, 1000);
      core.stage({ ...record, payload: payload.subarray(0, 4000), gso: 2000 });
      const large = core.flush();
      assert.is(large.length, 4, "segments over the MTU are fragments");
      core.stage({ ...record, payload: payload.subarray(0, 900), gso: 1000 });
      assert.is(expectUdp(core.flush()[0]!, core.framing).gsoSize, 0);
    }
    core.tearDown();
  }
});

test("stops when TX is full and goes on where it stopped", () => {
  const core = new CoreHarness();
  const [record] = core.send(udpPacket({ dport: 9 }));
  const payload = pattern(65_000);
  let staged = 0;
  for (let i = 0; i < abi.STAGE_MAX; i++) core.putStage(i, { ...record, payload, gso: 1000 });
  const got: Uint8Array[] = [];
  for (let round = 0; round < 10 && staged < abi.STAGE_MAX; round++) {
    staged += core.exports.stageSend(staged, abi.STAGE_MAX - staged, core.nowUs);
    const count = core.gauge("GAUGE_TX_COUNT");
    assert.ok(count <= abi.TX_MAX);
    for (let i = 0; i < count; i++) got.push(expectUdp(core.txPacket(i)).payload);
    core.exports.txDone();
  }
  assert.is(staged, abi.STAGE_MAX);
  assert.is(got.length, 65 * abi.STAGE_MAX);
  got.forEach((part, i) => {
    const at = (i % 65) * 1000;
    assert.is(Buffer.compare(part, payload.subarray(at, at + 1000)), 0);
  });
  core.tearDown();
});

test("UDP-4: a checksum of zero goes out as 0xffff", () => {
  const core = new CoreHarness();
  for (const { src, dst, header } of FAMILIES) {
    const [record] = core.send(udpPacket({ src, dst, dport: 9 }));
    core.stage({ ...record, payload: Uint8Array.of(0, 0) });
    const [plain] = core.flush();
    // The two bytes that bring the sum to zero are the checksum itself.
    const sum = get16(plain!, header + 6);
    core.stage({ ...record, payload: Uint8Array.of(sum >> 8, sum) });
    const [out] = core.flush();
    assert.is(get16(out!, header + 6), 0xffff);
    expectUdp(out!);
  }
  core.tearDown();
});

test("ICMP-7 UDP-15 UDP-17 ICMP-5: an error from upstream reaches the client, quoting its datagram", () => {
  const core = new CoreHarness();
  const codes = [
    [abi.REJECT_PORT_UNREACHABLE, [3, 3], [1, 4]],
    [abi.REJECT_HOST_UNREACHABLE, [3, 1], [1, 3]],
    [abi.REJECT_NET_UNREACHABLE, [3, 0], [1, 0]],
    [abi.REJECT_PROHIBITED, [3, 13], [1, 1]],
    [abi.REJECT_TOO_BIG, [3, 4], [2, 0]],
  ] as const;
  for (const { src, dst, header } of FAMILIES) {
    const packet = udpPacket({
      src,
      dst,
      sport: 4000,
      dport: 9,
      payload: pattern(99),
      id: 0x1234,
      ttl: 61,
      tos: 8,
    });
    const [record] = core.send(packet);
    core.send(udpPacket({ src, dst, sport: 4000, dport: 10 }));
    for (const [kind, four, six] of codes) {
      core.stage({ ...record, kind: abi.DGRAM_ERROR, gso: kind, payload: pattern(1400) });
      const [out] = core.flush();
      const seen = expectIcmp(out!);
      assert.equal([seen.type, seen.code], header === 20 ? four : six);
      assert.equal([seen.src, seen.dst], [dst, src]);
      if (kind === abi.REJECT_TOO_BIG) assert.is(seen.word, 1400);
      assert.equal(Buffer.from(seen.payload), Buffer.from(packet.subarray(0, header + 8)));
    }
  }
  assert.is(core.gauge("GAUGE_MAPPINGS"), 2);
  core.tearDown();
});

test("ICMP-10: too big is told only to who set DF", () => {
  const core = new CoreHarness();
  const [record] = core.send(udpPacket({ fragment: 0 }));
  core.stage({ ...record, kind: abi.DGRAM_ERROR, gso: abi.REJECT_TOO_BIG, payload: pattern(1300) });
  assert.equal(core.flush(), []);
  core.tearDown();
});

test("an error for a destination long forgotten still names it", () => {
  const core = new CoreHarness();
  const [record] = core.send(udpPacket({ sport: 77, dport: 1 }));
  for (let dport = 2; dport < 9; dport++) core.send(udpPacket({ sport: 77, dport }));
  core.stage({ ...record, kind: abi.DGRAM_ERROR, gso: abi.REJECT_PORT_UNREACHABLE });
  const seen = expectIcmp(core.flush()[0]!);
  const quoted = parsePacket(seen.payload);
  assert.equal([quoted.src, quoted.dst], [CLIENT_4, SERVER_4]);
  assert.equal([get16(quoted.l4, 0), get16(quoted.l4, 2)], [77, 1]);
  core.tearDown();
});

test.run();
