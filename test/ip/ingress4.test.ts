/** What IPv4 input takes and what it drops, each with its counter. */
import * as assert from "uvu/assert";
import * as abi from "../../assembly/abi.ts";
import { pattern } from "../kit/bytes.ts";
import { CoreHarness } from "../kit/core.ts";
import {
  SERVER_4,
  expectIcmp,
  icmpPacket,
  ipPacket,
  tcpPacket,
  udpPacket,
  type IpFields,
} from "../kit/packet.ts";
import { suite } from "../kit/suite.ts";

const test = suite("ip/ingress4");
const payload = pattern(12);

/** Sends packets that must vanish under one counter. */
function expectDropped(core: CoreHarness, name: string, ...packets: Uint8Array[]): void {
  for (const packet of packets) {
    const before = core.stat(name);
    assert.equal(core.send(packet), [], name);
    assert.equal(core.flush(), [], name);
    assert.is(core.stat(name), before + 1, `${name}: ${JSON.stringify(core.stats())}`);
  }
}

function taken(core: CoreHarness, fields: IpFields): boolean {
  return core.send(udpPacket({ ...fields, dport: 9, payload })).length === 1;
}

test("IP-1 IP-2: drops what is too short, at every length", () => {
  const core = new CoreHarness();
  const packet = udpPacket({ payload, dport: 9 });
  for (let length = 0; length < packet.length; length++) {
    assert.equal(core.send(packet.subarray(0, length)), [], `length ${length}`);
  }
  assert.is(core.stat("DROP_SHORT"), 20);
  assert.is(core.stat("DROP_LENGTH"), packet.length - 20);
  assert.is(core.send(packet).length, 1);
  core.tearDown();
});

test("IP-1: drops versions other than 4 and 6", () => {
  const core = new CoreHarness();
  for (let version = 0; version < 16; version++) {
    if (version === 4 || version === 6) continue;
    expectDropped(core, "DROP_VERSION", udpPacket({ version, payload }));
  }
  core.tearDown();
});

test("IP-2: takes the stated length: the rest is padding, and less is a lie", () => {
  const core = new CoreHarness();
  const [record] = core.send(udpPacket({ payload, dport: 9, trailer: pattern(7) }));
  assert.equal(Buffer.from(record!.payload), Buffer.from(payload));
  expectDropped(core, "DROP_LENGTH", udpPacket({ payload, totalLength: 41 }));
  expectDropped(core, "DROP_IP_HEADER", udpPacket({ payload, totalLength: 19 }));
  expectDropped(core, "DROP_IP_HEADER", udpPacket({ payload, totalLength: 0 }));
  core.tearDown();
});

test("IP-3 IP-4 IP-22: drops impossible header lengths and wrong header checksums", () => {
  const core = new CoreHarness();
  for (const ihl of [0, 1, 4]) expectDropped(core, "DROP_IP_HEADER", udpPacket({ payload, ihl }));
  expectDropped(core, "DROP_IP_HEADER", udpPacket({ payload, ihl: 15 }));
  expectDropped(core, "DROP_IP_CHECKSUM", udpPacket({ payload, headerChecksum: 0x1234 }));
  core.tearDown();
});

test("IP-5 IP-17: takes any TTL, type of service and the reserved bit", () => {
  const core = new CoreHarness();
  for (const fields of [{ ttl: 1 }, { ttl: 255 }, { tos: 0xff }, { fragment: 0xc000 }]) {
    assert.ok(taken(core, fields), JSON.stringify(fields));
  }
  core.tearDown();
});

test("IP-8 IP-9 IP-10 MUST-50: skips options, drops source routes and malformed lists", () => {
  const core = new CoreHarness();
  const fine = [
    [1, 1, 1, 1],
    [7, 7, 4, 0, 0, 0, 0, 0],
    [148, 4, 0, 0],
    [68, 12, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    [130, 11, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    [0, 131, 3, 4],
    [...new Array<number>(40).fill(1)],
  ];
  for (const bytes of fine) {
    assert.ok(taken(core, { ipOptions: Uint8Array.from(bytes) }), bytes.join());
  }
  const bad = [
    [131, 7, 4, 192, 0, 2, 1, 0],
    [137, 7, 4, 192, 0, 2, 1, 0],
    [1, 131, 3, 4],
    [7, 0, 0, 0],
    [7, 1, 0, 0],
    [7, 5, 0, 0],
    [1, 1, 1, 7],
  ];
  for (const bytes of bad) {
    expectDropped(core, "DROP_IP_OPTION", udpPacket({ ipOptions: Uint8Array.from(bytes) }));
  }
  core.tearDown();
});

test("IP-11 ICMP-2 MUST-63: drops sources that no answer can reach, for every protocol", () => {
  const core = new CoreHarness();
  for (const src of [
    "0.0.0.0",
    "0.1.2.3",
    "127.0.0.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
  ]) {
    expectDropped(core, "DROP_SOURCE", udpPacket({ src }), icmpPacket({ src }));
    expectDropped(core, "DROP_SOURCE", tcpPacket({ src, flags: "S" }));
    expectDropped(core, "DROP_SOURCE", ipPacket({ src }, 132, pattern(20)));
  }
  core.tearDown();
});

test("IP-12 IP-13 IP-14 IP-15 ICMP-2 MUST-57: drops destinations that must not be dialled, groups, and packets from themselves", () => {
  const core = new CoreHarness();
  for (const dst of ["0.0.0.0", "127.0.0.1", "240.0.0.1", "255.255.255.255"]) {
    expectDropped(core, "DROP_DESTINATION", udpPacket({ dst }), tcpPacket({ dst, flags: "S" }));
    expectDropped(core, "DROP_DESTINATION", icmpPacket({ dst }));
  }
  for (const dst of ["224.0.0.1", "224.0.0.251", "239.255.255.255"]) {
    expectDropped(core, "DROP_MULTICAST", udpPacket({ dst }), tcpPacket({ dst, flags: "S" }));
    expectDropped(core, "DROP_MULTICAST", icmpPacket({ dst }), ipPacket({ dst }, 132, payload));
  }
  const same = { src: SERVER_4, dst: SERVER_4 };
  expectDropped(core, "DROP_LAND", udpPacket(same), icmpPacket(same));
  core.tearDown();
});

test("IP-14: takes UDP to groups where configured, and only UDP", () => {
  const core = new CoreHarness({ flags: abi.FLAG_UDP_MULTICAST });
  assert.ok(taken(core, { dst: "224.0.0.251" }));
  expectDropped(core, "DROP_MULTICAST", tcpPacket({ dst: "224.0.0.251", flags: "S" }));
  core.tearDown();
});

test("IP-16 ICMP-5 UDP-19: answers unknown protocols with protocol unreachable, quoting at most 576 bytes in all", () => {
  const core = new CoreHarness();
  for (const size of [8, 100, 548, 1400]) {
    const packet = ipPacket({}, 132, pattern(size));
    core.send(packet);
    const [out] = core.flush();
    const seen = expectIcmp(out!);
    assert.equal([seen.type, seen.code, seen.src], [3, 2, SERVER_4]);
    const quoted = packet.subarray(0, 548);
    assert.equal(Buffer.from(seen.payload), Buffer.from(quoted));
  }
  core.tearDown();
});

test("skips lengths that make no sense, and refuses counts out of range", () => {
  const core = new CoreHarness();
  core.putRx(0, udpPacket({ payload }));
  core.view.setUint32(abi.RX_BASE + 4, 0xffffffff, true);
  assert.is(core.exports.ingest(1, core.nowUs), 0);
  core.view.setUint32(abi.RX_BASE + 4, abi.SLOT_BYTES + 1, true);
  assert.is(core.exports.ingest(1, core.nowUs), 0);
  assert.is(core.stat("DROP_LENGTH"), 2);
  assert.is(core.exports.ingest(65, core.nowUs), abi.ERR_RANGE);
  assert.is(core.exports.ingest(0xffffffff, core.nowUs), abi.ERR_RANGE);
  core.tearDown();
});

test.run();
