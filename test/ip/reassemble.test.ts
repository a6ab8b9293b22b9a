/** Reassembly: order, keys, overlaps, bounds, times. */
import * as assert from "uvu/assert";
import * as abi from "../../assembly/abi.ts";
import { onesSum, pattern, put16 } from "../kit/bytes.ts";
import { CoreHarness, forBuilds } from "../kit/core.ts";
import {
  CLIENT_4,
  CLIENT_6,
  SERVER_4,
  SERVER_6,
  expectIcmp,
  expectTcp,
  fragment4,
  fragment6,
  fragmentHeader,
  ipPacket,
  tcpPacket,
  udpPacket,
  withVnet,
  type Extension,
} from "../kit/packet.ts";
import { Random } from "../kit/random.ts";
import { suite } from "../kit/suite.ts";

const test = suite("ip/reassemble");
const SECOND = 1_000_000;
const FAMILIES = [
  { family: 4, src: CLIENT_4, dst: SERVER_4, seconds: 30, most: 65507 },
  { family: 6, src: CLIENT_6, dst: SERVER_6, seconds: 60, most: 65527 },
] as const;
type Family = (typeof FAMILIES)[number];

function cut(at: Family, payload: Uint8Array, cuts: readonly number[], id = 7): Uint8Array[] {
  const { src, dst } = at;
  const packet = udpPacket({ src, dst, dport: 9, payload });
  return at.family === 4 ? fragment4(packet, cuts, id) : fragment6(packet, cuts, id);
}

function every(step: number, end: number): number[] {
  const cuts = [];
  for (let at = step; at < end; at += step) cuts.push(at);
  return cuts;
}

/** A lone fragment of UDP, with its place and bytes as told. */
function piece(at: Family, offset: number, more: boolean, bytes: Uint8Array, id = 7): Uint8Array {
  const { src, dst } = at;
  if (at.family === 4) {
    return ipPacket({ src, dst, id, fragment: (more ? 0x2000 : 0) | (offset / 8) }, 17, bytes);
  }
  return ipPacket({ src, dst, extensions: [fragmentHeader(offset, more, id)] }, 17, bytes);
}

forBuilds(test, "FRAG-1 FRAG-2: joins fragments in any order and of any size", (build) => {
  const random = new Random(3);
  const core = new CoreHarness({ build });
  for (const at of FAMILIES) {
    for (const [size, step] of [
      [4000, 1480],
      [4000, 8],
      [1016, 8],
      [9000, 2032],
      [9000, 2040],
    ] as const) {
      if (size / step > 126) continue;
      for (const order of ["forward", "reversed", "shuffled"]) {
        const payload = pattern(size, random.next());
        const pieces = cut(at, payload, every(step, size + 8), random.below(65536));
        if (order === "reversed") pieces.reverse();
        if (order === "shuffled") pieces.sort(() => random.below(3) - 1);
        const records = core.send(...pieces);
        assert.is(records.length, 1, `${size} by ${step} ${order}`);
        assert.is(Buffer.compare(records[0]!.payload, payload), 0);
      }
    }
  }
  core.tearDown();
});

test("FRAG-1 FRAG-2: joins the largest datagrams, from small and from large fragments", () => {
  const core = new CoreHarness();
  for (const at of FAMILIES) {
    for (const step of [1232, 8192, 65496]) {
      const payload = pattern(at.most);
      const records = core.send(...cut(at, payload, every(step, at.most + 8)));
      assert.is(records.length, 1);
      assert.is(Buffer.compare(records[0]!.payload, payload), 0);
    }
  }
  core.tearDown();
});

test("FRAG-3: tells datagrams apart by every part of the key", () => {
  const core = new CoreHarness();
  const base = { src: CLIENT_4, dst: SERVER_4, dport: 9 };
  const one = fragment4(udpPacket({ ...base, payload: pattern(100, 1) }), [48]);
  const others = [
    fragment4(udpPacket({ ...base, payload: pattern(100, 2) }), [48], 8),
    fragment4(udpPacket({ ...base, src: "192.0.2.11", payload: pattern(100, 3) }), [48]),
    fragment4(udpPacket({ ...base, dst: "192.0.2.201", payload: pattern(100, 4) }), [48]),
  ];
  const all = [one, ...others];
  assert.is(core.send(...all.map((pieces) => pieces[0]!)).length, 0);
  const records = core.send(...all.map((pieces) => pieces[1]!));
  assert.is(records.length, 4);
  records.forEach((record, i) => {
    assert.is(Buffer.compare(record.payload, pattern(100, i + 1)), 0);
  });
  core.tearDown();
});

test("FRAG-4: an overlap spoils the datagram, also for fragments that come later", () => {
  for (const at of FAMILIES) {
    for (const [offset, length] of [
      [8, 16],
      [0, 8],
      [40, 32],
      [16, 8],
      [0, 96],
    ] as const) {
      const core = new CoreHarness();
      const pieces = cut(at, pattern(88), [48]);
      core.send(pieces[0]!, piece(at, offset, true, pattern(length, 5)));
      assert.equal(core.send(pieces[1]!), [], `overlap at ${offset}`);
      assert.equal(core.send(...pieces), []);
      assert.ok(core.stat("DROP_FRAGMENT_OVERLAP") > 0);
      core.run(61 * SECOND);
      assert.is(core.send(...pieces).length, 1, "a new start after its time");
      core.tearDown();
    }
  }
});

test("FRAG-5: an exact duplicate is ignored, one with other bytes is an overlap", () => {
  for (const at of FAMILIES) {
    const core = new CoreHarness();
    const payload = pattern(5000);
    const [first, middle, last] = cut(at, payload, [2400, 4800]);
    assert.is(core.send(first!, first!, last!, last!, first!, middle!).length, 1);
    const changed = Uint8Array.from(first!);
    changed[changed.length - 1]! ^= 1;
    assert.is(core.send(first!, changed, middle!, last!).length, 0);
    core.run(61 * SECOND);
    core.tearDown();
  }
});

test("FRAG-6 FRAG-7 FRAG-11 FRAG-14: drops odd lengths, too large sums, empty fragments, disagreeing ends", () => {
  for (const at of FAMILIES) {
    const core = new CoreHarness();
    const reports = (packet: Uint8Array): number[] => {
      assert.equal(core.send(packet), []);
      return core.flush().map((bytes) => {
        const seen = expectIcmp(bytes);
        assert.equal([seen.type, seen.code], [4, 0]);
        return seen.word;
      });
    };
    const isV6 = at.family === 6;
    assert.equal(reports(piece(at, 0, true, pattern(100))), isV6 ? [4] : []);
    assert.equal(reports(piece(at, 65528, false, pattern(100), 8)), isV6 ? [42] : []);
    assert.equal(reports(piece(at, 0, true, new Uint8Array(0), 9)), []);
    assert.equal(reports(piece(at, 8, false, new Uint8Array(0), 10)), []);
    assert.equal(reports(piece(at, 64, false, pattern(10), 11)), []);
    assert.equal(reports(piece(at, 72, false, pattern(10), 11)), []);
    assert.equal(reports(piece(at, 64, false, pattern(10), 12)), []);
    assert.equal(reports(piece(at, 80, true, pattern(8), 12)), []);
    assert.equal(reports(piece(at, 80, true, pattern(8), 13)), []);
    assert.equal(reports(piece(at, 64, false, pattern(10), 13)), []);
    assert.is(core.stat("DROP_FRAGMENT_OVERLAP"), 3);
    core.run(61 * SECOND);
    core.flush();
    core.tearDown();
  }
});

test("FRAG-9: reports time exceeded at the exact time if the first fragment came, else nothing", () => {
  for (const at of FAMILIES) {
    const core = new CoreHarness();
    const pieces = cut(at, pattern(4000), [1232, 2464]);
    core.send(pieces[0]!);
    core.run(10 * SECOND);
    core.send(pieces[2]!);
    core.run((at.seconds - 10) * SECOND - 1);
    assert.is(core.gauge("GAUGE_REASSEMBLIES"), 1);
    const out = core.run(1);
    assert.is(out.length, 1);
    const seen = expectIcmp(out[0]!);
    assert.equal([seen.type, seen.code], at.family === 4 ? [11, 1] : [3, 1]);
    assert.equal([seen.src, seen.dst], [at.dst, at.src]);
    const most = at.family === 4 ? 548 : 1232;
    assert.equal(Buffer.from(seen.payload), Buffer.from(pieces[0]!.subarray(0, most)));
    assert.is(core.gauge("GAUGE_REASSEMBLIES"), 0);
    core.send(pieces[1]!);
    assert.equal(core.run(at.seconds * SECOND), []);
    assert.is(core.stat("DROP_FRAGMENT_TIMEOUT"), 2);
    core.tearDown();
  }
});

test("FRAG-10: stays bounded under first fragments without end, and still joins new datagrams", () => {
  const core = new CoreHarness();
  for (const at of FAMILIES) {
    for (let id = 100; id < 3100; id++) core.send(piece(at, 0, true, pattern(1024), id));
    assert.ok(core.gauge("GAUGE_REASSEMBLIES") <= 16);
    const payload = pattern(4000);
    assert.is(core.send(...cut(at, payload, [1480, 2960])).length, 1);
  }
  core.run(61 * SECOND);
  core.flush();
  core.tearDown();
});

test("FRAG-10: stays within its bytes, and a datagram of too many fragments is given up", () => {
  const core = new CoreHarness({ options: { reassemblyBytes: 65536, reassemblyFragments: 16 } });
  const [at] = FAMILIES;
  for (let id = 0; id < 16; id++) core.send(piece(at, 0, true, pattern(8000), id));
  assert.ok(core.stat("DROP_FRAGMENT_FULL") > 0);
  const payload = pattern(3000);
  assert.is(core.send(...cut(at, payload, [1480], 99)).length, 1);
  assert.is(core.send(...cut(at, payload, every(160, 3008), 98)).length, 0);
  core.run(61 * SECOND);
  core.flush();
  core.tearDown();
});

test("FRAG-8: IPv6 atomic fragments are whole, whatever waits under their key", () => {
  const core = new CoreHarness();
  const [, at] = FAMILIES;
  const pieces = cut(at, pattern(100), [48]);
  core.send(pieces[0]!);
  const extensions = [fragmentHeader(0, false, 7)];
  const fields = { src: at.src, dst: at.dst, dport: 9 };
  assert.is(core.send(udpPacket({ ...fields, extensions, payload: pattern(5) })).length, 1);
  assert.is(core.send(pieces[1]!).length, 1);
  core.tearDown();
});

test("FRAG-15: a SYN in pieces of 8 bytes makes a flow with its last piece, not before", () => {
  const core = new CoreHarness({ options: { connect: abi.CONNECT_IMMEDIATE } });
  const syn = tcpPacket({ flags: "S", seq: 9, options: { mss: 1460 } });
  const pieces = fragment4(syn, [8, 16]);
  for (const piece of [pieces[1]!, pieces[0]!]) {
    core.send(piece);
    assert.equal([core.gauge("GAUGE_FLOWS"), core.flush().length], [0, 0]);
  }
  core.send(pieces[2]!);
  assert.is(core.gauge("GAUGE_FLOWS"), 1);
  const [synAck] = core.flush();
  assert.equal([expectTcp(synAck!).flags, expectTcp(synAck!).ack], ["SA", 10]);
  core.tearDown();
});

test("FRAG-16: fragments with and without ECN make no datagram, all others do", () => {
  for (const at of FAMILIES) {
    for (const [marks, isFine] of [
      [[0, 0, 0], true],
      [[1, 2, 1], true],
      [[2, 3, 2], true],
      [[0, 3, 0], false],
      [[1, 1, 0], false],
    ] as const) {
      const core = new CoreHarness();
      const pieces = cut(at, pattern(3000), [1000, 2000]).map((bytes, i) =>
        marked(bytes, marks[i]!),
      );
      assert.is(core.send(...pieces).length, isFine ? 1 : 0, marks.join());
      core.run(61 * SECOND);
      core.flush();
      core.tearDown();
    }
  }
});

/** The packet with this ECN field. */
function marked(bytes: Uint8Array, ecn: number): Uint8Array {
  const copy = Uint8Array.from(bytes);
  if (copy[0]! >> 4 === 6) {
    copy[1]! |= ecn << 4;
    return copy;
  }
  copy[1]! |= ecn;
  put16(copy, 10, 0);
  put16(copy, 10, 0xffff - onesSum(copy.subarray(0, 20)));
  return copy;
}

test("FRAG-2: IPv6 fragments behind other headers, and headers behind the fragment header", () => {
  const core = new CoreHarness();
  const pad: Extension = { type: 60, rest: Uint8Array.of(0, 1, 4, 0, 0, 0, 0) };
  const whole = udpPacket({
    src: CLIENT_6,
    dst: SERVER_6,
    dport: 9,
    payload: pattern(100),
    extensions: [pad],
  });
  const body = whole.subarray(40);
  const ends = { src: CLIENT_6, dst: SERVER_6 };
  const first = ipPacket(
    { ...ends, extensions: [pad, fragmentHeader(0, true, 5)] },
    60,
    body.subarray(0, 64),
  );
  const last = ipPacket(
    { ...ends, extensions: [fragmentHeader(64, false, 5)] },
    60,
    body.subarray(64),
  );
  const [record] = core.send(last, first);
  assert.is(Buffer.compare(record!.payload, pattern(100)), 0);
  core.tearDown();
});

test("V6-8: a first fragment without the whole header chain is reported", () => {
  const core = new CoreHarness();
  const syn = tcpPacket({ src: CLIENT_6, dst: SERVER_6, flags: "S" });
  core.send(fragment6(syn, [8])[0]!);
  const seen = expectIcmp(core.flush()[0]!);
  assert.equal([seen.type, seen.code], [4, 3]);
  core.tearDown();
});

test("fragments with a vnet header that wants work done are dropped", () => {
  const core = new CoreHarness({ vnetBytes: 10 });
  const [at] = FAMILIES;
  const pieces = cut(at, pattern(100), [48]);
  const partial = pieces.map((bytes) =>
    withVnet(bytes, { flags: 1, csumStart: 20, csumOffset: 6 }),
  );
  assert.equal(core.send(...partial), []);
  assert.is(core.stat("DROP_VNET"), 2);
  assert.is(core.send(...pieces.map((bytes) => withVnet(bytes))).length, 1);
  core.tearDown();
});

test.run();
