/** What IPv6 input takes and what it drops: addresses, extension headers, options. */
import * as assert from "uvu/assert";
import * as abi from "../../assembly/abi.ts";
import { address, pattern } from "../kit/bytes.ts";
import { CoreHarness } from "../kit/core.ts";
import {
  CLIENT_6,
  SERVER_6,
  expectIcmp,
  fragmentHeader,
  icmpPacket,
  ipPacket,
  tcpPacket,
  udpPacket,
  type Extension,
} from "../kit/packet.ts";
import { suite } from "../kit/suite.ts";

const test = suite("ip/ingress6");
const ENDS = { src: CLIENT_6, dst: SERVER_6 };
const payload = pattern(12);

const HOP_BY_HOP = 0;
const ROUTING = 43;
const DESTINATION = 60;

/** A header of options, padded with PadN to a multiple of 8. */
function options(type: number, ...bytes: number[]): Extension {
  const used = 2 + bytes.length;
  const pad = (8 - (used % 8)) % 8;
  const padding =
    pad === 0 ? [] : pad === 1 ? [0] : [1, pad - 2, ...new Array<number>(pad - 2).fill(0)];
  return { type, rest: Uint8Array.from([(used + pad) / 8 - 1, ...bytes, ...padding]) };
}

function routing(type: number, segmentsLeft: number): Extension {
  return { type: ROUTING, rest: Uint8Array.of(0, type, segmentsLeft, 0, 0, 0, 0) };
}

function udp(extensions: readonly Extension[], dst = SERVER_6): Uint8Array {
  return udpPacket({ ...ENDS, dst, dport: 9, payload, extensions });
}

function expectProblem(core: CoreHarness, packet: Uint8Array, code: number, pointer: number): void {
  assert.equal(core.send(packet), []);
  const out = core.flush();
  assert.is(out.length, 1);
  const seen = expectIcmp(out[0]!);
  assert.equal([seen.type, seen.code, seen.word], [4, code, pointer]);
  assert.equal([seen.src, seen.dst], [SERVER_6, CLIENT_6]);
  assert.equal(Buffer.from(seen.payload), Buffer.from(packet.subarray(0, 1232)));
}

function expectSilence(core: CoreHarness, ...packets: Uint8Array[]): void {
  for (const packet of packets) {
    assert.equal(core.send(packet), []);
    assert.equal(core.flush(), []);
  }
}

test("IP-18 V6-6: takes the stated length, and drops at every truncation", () => {
  const core = new CoreHarness();
  const packet = udp([options(DESTINATION)]);
  for (let length = 0; length < packet.length; length++) {
    expectSilence(core, packet.subarray(0, length));
  }
  const [record] = core.send(udpPacket({ ...ENDS, dport: 9, payload, trailer: pattern(7) }));
  assert.equal(Buffer.from(record!.payload), Buffer.from(payload));
  core.tearDown();
});

test("IP-18 IP-11 IP-12 IP-13 IP-14 IP-15: drops jumbograms, impossible sources and destinations, and packets from themselves", () => {
  const core = new CoreHarness();
  const jumbo = options(HOP_BY_HOP, 0xc2, 4, 0, 1, 0, 0);
  expectSilence(core, udpPacket({ ...ENDS, payloadLength: 0, extensions: [jumbo], payload }));
  for (const src of ["::", "::1", "ff02::1", "::ffff:c000:201"]) {
    expectSilence(core, udpPacket({ ...ENDS, src }), tcpPacket({ ...ENDS, src, flags: "S" }));
  }
  assert.is(core.stat("DROP_SOURCE"), 8);
  for (const dst of ["::", "::1", "::ffff:c000:201", "fe80::1", "febf::1"]) {
    expectSilence(core, udpPacket({ ...ENDS, dst }), icmpPacket({ ...ENDS, dst }));
  }
  assert.is(core.stat("DROP_DESTINATION"), 10);
  expectSilence(core, udpPacket({ src: SERVER_6, dst: SERVER_6 }));
  assert.is(core.stat("DROP_LAND"), 1);
  for (const dst of ["ff02::1", "ff02::fb", "ff05::2"]) {
    expectSilence(core, udpPacket({ ...ENDS, dst }), tcpPacket({ ...ENDS, dst, flags: "S" }));
    expectSilence(core, icmpPacket({ ...ENDS, dst }));
  }
  assert.is(core.stat("DROP_MULTICAST"), 9);
  core.tearDown();
});

test("V6-10: is silent on neighbour discovery and multicast listener reports", () => {
  const core = new CoreHarness();
  for (const type of [133, 134, 135, 136, 137, 130, 131, 132, 143]) {
    const alert = options(HOP_BY_HOP, 5, 2, 0, 0);
    const fields = { src: "fe80::1", dst: "ff02::16", type, payload: pattern(24) };
    expectSilence(core, icmpPacket(fields), icmpPacket({ ...fields, extensions: [alert] }));
    expectSilence(core, icmpPacket({ ...fields, ...ENDS }));
  }
  core.tearDown();
});

test("V6-1 V6-4: walks headers in any order", () => {
  const core = new CoreHarness();
  const chains: Extension[][] = [
    [options(HOP_BY_HOP), options(DESTINATION), routing(0, 0), options(DESTINATION)],
    [routing(2, 0), routing(4, 0)],
    [options(DESTINATION), fragmentHeader(0, false, 9), options(DESTINATION)],
    [fragmentHeader(0, false, 9)],
    new Array<Extension>(8).fill(options(DESTINATION)),
  ];
  for (const chain of chains) {
    const [record] = core.send(udp(chain));
    assert.equal(Buffer.from(record!.payload), Buffer.from(payload));
  }
  core.tearDown();
});

test("V6-7: bounds headers, options and bytes", () => {
  const core = new CoreHarness();
  expectSilence(core, udp(new Array<Extension>(9).fill(options(DESTINATION))));
  const pads = (count: number): Extension =>
    options(DESTINATION, ...new Array<number>(count).fill(0));
  assert.is(core.send(udp([pads(14)])).length, 1);
  expectSilence(core, udp([pads(22)]));
  const long = { type: DESTINATION, rest: new Uint8Array(1031) };
  long.rest.set([128, 1, 255]);
  expectSilence(core, udp([long]));
  core.tearDown();
});

test("V6-3: unknown options: skip, drop, report, report unless to a group", () => {
  const core = new CoreHarness();
  assert.is(core.send(udp([options(DESTINATION, 0x1e, 0)])).length, 1);
  expectSilence(core, udp([options(DESTINATION, 0x5e, 0)]));
  expectProblem(core, udp([options(DESTINATION, 0x9e, 0)]), 2, 42);
  expectProblem(core, udp([options(HOP_BY_HOP), options(DESTINATION, 1, 0, 0xde, 0)]), 2, 52);
  expectSilence(core, udp([options(DESTINATION, 0xde, 0)], "ff05::2"));
  expectSilence(core, udp([options(DESTINATION, 0x9e, 0)], "ff05::2"));
  core.tearDown();
});

test("an error about a packet to a group comes from the device's own address", () => {
  const own = address("2001:db8::1");
  const view = new DataView(own.buffer, own.byteOffset);
  const words = [0, 1, 2, 3].map((i) => [abi.CFG_OWN_6 + i, view.getUint32(4 * i, true)]);
  const core = new CoreHarness({ words: Object.fromEntries(words) as Record<number, number> });
  core.send(udp([options(DESTINATION, 0x9e, 0)], "ff05::2"));
  const seen = expectIcmp(core.flush()[0]!);
  assert.equal([seen.src, seen.dst, seen.type, seen.code], ["2001:db8::1", CLIENT_6, 4, 2]);
  core.tearDown();
});

test("V6-6: malformed options are dropped", () => {
  const core = new CoreHarness();
  const raw = (...bytes: number[]): Extension => ({
    type: DESTINATION,
    rest: Uint8Array.from(bytes),
  });
  expectSilence(core, udp([raw(0, 30, 5, 0, 0, 0, 0)]), udp([raw(0, 0, 0, 0, 0, 0, 30)]));
  expectSilence(core, udp([raw(255, 1, 4, 0, 0, 0, 0)]));
  core.tearDown();
});

test("V6-2 V6-4 V6-5 V6-9 IP-16: reports misplaced hop-by-hop, segments left, and unknown next headers", () => {
  const core = new CoreHarness();
  expectProblem(core, udp([options(DESTINATION), options(HOP_BY_HOP)]), 1, 40);
  expectProblem(core, udp([options(HOP_BY_HOP), options(HOP_BY_HOP)]), 1, 40);
  expectProblem(core, udp([routing(0, 1)]), 0, 42);
  expectProblem(core, udp([options(DESTINATION), routing(4, 255)]), 0, 50);
  for (const proto of [50, 51, 132, 1, 135]) {
    expectProblem(core, ipPacket(ENDS, proto, pattern(64)), 1, 6);
    expectProblem(
      core,
      ipPacket({ ...ENDS, extensions: [options(DESTINATION)] }, proto, pattern(64)),
      1,
      40,
    );
  }
  expectSilence(core, ipPacket(ENDS, 59, pattern(8)));
  core.tearDown();
});

test("ICMP-5: an error quotes as much as fits into 1280 bytes", () => {
  const core = new CoreHarness();
  expectProblem(core, ipPacket(ENDS, 132, pattern(1400)), 1, 6);
  core.tearDown();
});

test("TUN-4: checksums are verified whatever the traffic class is", () => {
  for (let tos = 0; tos < 4; tos++) {
    const core = new CoreHarness();
    const udp = { ...ENDS, tos, sport: 5, dport: 7, payload };
    assert.equal(core.send(udpPacket({ ...udp, checksum: "bad" })), []);
    assert.is(core.stat("DROP_L4_CHECKSUM"), 1);
    assert.is(core.send(udpPacket(udp)).length, 1);
    core.tearDown();
  }
});

test.run();
