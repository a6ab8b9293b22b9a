/** The packet kit against bytes that others published, and against its own mistakes. */
import * as assert from "uvu/assert";
import { address, addressText, hex, onesSum, pattern, text } from "./bytes.ts";
import {
  expectIcmp,
  expectTcp,
  expectUdp,
  flagBits,
  flagText,
  fragment4,
  fragment6,
  icmpPacket,
  joinFragments,
  offloadedTcp,
  tcpPacket,
  udpPacket,
} from "./packet.ts";
import { suite } from "./suite.ts";

const test = suite("kit/packet");

test("writes addresses and reads them back", () => {
  assert.is(hex(address("192.0.2.1")), "c0000201");
  assert.is(hex(address("2001:db8::1")), "20010db8000000000000000000000001");
  for (const written of [
    "192.0.2.255",
    "2001:db8::1",
    "::",
    "::1",
    "2001:db8:0:1::",
    "fe80::1:0:0:2",
  ]) {
    assert.is(addressText(address(written)), written);
  }
});

test("sums like the example of RFC 1071 §3, also at odd lengths", () => {
  assert.is(onesSum(Uint8Array.of(0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7)), 0xddf2);
  assert.is(onesSum(Uint8Array.of(0x12)), 0x1200);
});

test("builds a UDP packet that Linux sent for the same fields", () => {
  const packet = udpPacket({
    src: "127.0.0.1",
    dst: "127.0.0.1",
    id: 0x1234,
    sport: 1000,
    dport: 2000,
    payload: text("hello"),
  });
  assert.is(hex(packet.subarray(0, 20)), "450000211234400040112a967f0000017f000001");
});

test("reads what it builds, both families", () => {
  for (const [src, dst] of [
    ["192.0.2.1", "192.0.2.2"],
    ["2001:db8::1", "2001:db8::2"],
  ] as const) {
    const options = { mss: 1460, wscale: 7, sackOk: true, ts: [1, 2], sack: [[5, 9]] } as const;
    const payload = pattern(101);
    const tcp = expectTcp(
      tcpPacket({ src, dst, seq: 7, ack: 8, flags: "PA", options, payload, window: 9 }),
    );
    assert.is(tcp.flags, "PA");
    assert.equal([tcp.mss, tcp.wscale, tcp.sackOk], [1460, 7, true]);
    assert.equal([tcp.ts, tcp.sack], [[1, 2], [[5, 9]]]);
    assert.equal([tcp.seq, tcp.ack, tcp.window, tcp.end], [7, 8, 9, 108]);
    assert.equal(tcp.payload, payload);
    assert.equal(expectUdp(udpPacket({ src, dst, payload })).payload, payload);
    assert.equal(expectIcmp(icmpPacket({ src, dst, payload })).payload, payload);
  }
});

test("notices a bad checksum, a wrong length and a lying vnet header", () => {
  const payload = pattern(40);
  assert.throws(() => expectTcp(tcpPacket({ payload, checksum: "bad" })), "L4 checksum");
  assert.throws(() => expectUdp(udpPacket({ payload, checksum: "bad" })), "L4 checksum");
  assert.throws(() => expectIcmp(icmpPacket({ payload, checksum: "bad" })), "L4 checksum");
  assert.throws(() => expectTcp(tcpPacket({ payload, totalLength: 50 })), "total length");
  assert.throws(() => expectTcp(tcpPacket({ headerChecksum: 1 })), "header checksum");
  const good = offloadedTcp({ payload: pattern(3000), seq: 1 }, 1000);
  assert.is(expectTcp(good, { vnetBytes: 10 }).gsoSize, 1000);
  const spoilt = Uint8Array.from(good);
  spoilt[6] = 21;
  assert.throws(() => expectTcp(spoilt, { vnetBytes: 10 }), "csum_start");
  const small = offloadedTcp({ payload: pattern(1000), seq: 1 }, 1000);
  assert.throws(() => expectTcp(small, { vnetBytes: 10 }), "one segment");
  assert.throws(() => expectTcp(good, { vnetBytes: 10, mtu: 1000 }), "over the MTU");
});

test("cuts packets into fragments that join again", () => {
  const payload = pattern(3000);
  const four = fragment4(udpPacket({ payload, fragment: 0 }), [1000, 2000]);
  assert.is(four.length, 3);
  assert.equal(expectUdp(joinFragments([four[2]!, four[0]!, four[1]!])).payload, payload);
  const six = fragment6(udpPacket({ src: "2001:db8::1", dst: "2001:db8::2", payload }), [1024]);
  assert.equal(expectUdp(joinFragments(six)).payload, payload);
});

test("names flags by letters", () => {
  assert.is(flagBits("SA"), 18);
  assert.is(flagText(18), "SA");
  assert.throws(() => flagBits("X"));
});

test.run();
