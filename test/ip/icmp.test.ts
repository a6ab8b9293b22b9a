/** ICMP in and errors out: types, checksums, limits, whom no error may answer. */
import * as assert from "uvu/assert";
import * as abi from "../../assembly/abi.ts";
import { address, concat, pattern } from "../kit/bytes.ts";
import { CoreHarness, type CoreSetup } from "../kit/core.ts";
import {
  CLIENT_4,
  CLIENT_6,
  SERVER_4,
  SERVER_6,
  expectIcmp,
  icmpPacket,
  ipPacket,
  parsePacket,
  tcpPacket,
  udpPacket,
} from "../kit/packet.ts";
import { suite } from "../kit/suite.ts";

const test = suite("ip/icmp");
const FAMILIES = [
  { src: CLIENT_4, dst: SERVER_4, echo: 8, unreachable: 3 },
  { src: CLIENT_6, dst: SERVER_6, echo: 128, unreachable: 1 },
] as const;

/** Configuration words of an address. */
function addressWords(first: number, name: string): Record<number, number> {
  const bytes = address(name);
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const words: Record<number, number> = {};
  for (let i = 0; i < bytes.length / 4; i++) words[first + i] = view.getUint32(4 * i, true);
  return words;
}

test("ICMP-12: answers echo requests alone, of all types", () => {
  const core = new CoreHarness();
  for (const { src, dst, echo } of FAMILIES) {
    for (let type = 0; type < 256; type++) {
      core.send(icmpPacket({ src, dst, type, payload: pattern(64) }));
      assert.is(core.flush().length, type === echo ? 1 : 0, `type ${type}`);
    }
  }
  core.tearDown();
});

test("ICMP-11 ICMP-13: verifies checksum and length", () => {
  const core = new CoreHarness();
  for (const { src, dst } of FAMILIES) {
    core.send(icmpPacket({ src, dst, checksum: "bad" }));
    for (let length = 0; length < 8; length++) {
      core.send(ipPacket({ src, dst }, src === CLIENT_4 ? 1 : 58, new Uint8Array(length)));
    }
  }
  assert.equal(core.flush(), []);
  assert.is(core.stat("DROP_L4_CHECKSUM"), 2);
  assert.is(core.stat("DROP_L4_HEADER"), 16);
  core.tearDown();
});

test("its own address answers in every mode", () => {
  const own4 = "198.51.100.1";
  const own6 = "2001:db8:1::1";
  const words = { ...addressWords(abi.CFG_OWN_4, own4), ...addressWords(abi.CFG_OWN_6, own6) };
  for (const echo of [abi.ECHO_LOCAL, abi.ECHO_HOST, abi.ECHO_DROP]) {
    const core = new CoreHarness({ words, options: { echo } });
    core.send(icmpPacket({ dst: own4 }), icmpPacket({ src: CLIENT_6, dst: own6 }));
    assert.equal(
      core.flush().map((bytes) => expectIcmp(bytes).src),
      [own4, own6],
    );
    core.tearDown();
  }
});

test("ICMP-3: answers no error, redirect or later fragment with an error", () => {
  const core = new CoreHarness();
  const quoted = udpPacket({ src: SERVER_4, dst: CLIENT_4 });
  for (const type of [3, 4, 5, 11, 12]) {
    core.send(icmpPacket({ type, payload: quoted, proto: 1 }));
  }
  assert.equal(core.flush(), []);
  const extension = { type: 60, rest: Uint8Array.of(0, 0x9e, 0, 1, 2, 0, 0) };
  const six = { src: CLIENT_6, dst: SERVER_6, extensions: [extension], payload: pattern(60) };
  for (const type of [1, 2, 3, 4, 100, 127, 137]) core.send(icmpPacket({ ...six, type }));
  assert.equal(core.flush(), []);
  core.send(icmpPacket({ ...six, type: 128 }));
  assert.is(core.flush().length, 1);
  core.tearDown();
});

test("ICMP-4: limits errors and echo replies by rate, burst and family", () => {
  const options = { icmpRate: 100, icmpBurst: 10, echoRate: 1000, echoBurst: 20 };
  const core = new CoreHarness({ options });
  for (const { src, dst } of FAMILIES) {
    for (let i = 0; i < 40; i++) core.send(ipPacket({ src, dst }, 132, pattern(20)));
    assert.is(core.flush().length, 10);
    for (let i = 0; i < 40; i++) core.send(icmpPacket({ src, dst }));
    assert.is(core.flush().length, 20);
  }
  core.nowUs += 50_000;
  for (let i = 0; i < 40; i++) core.send(ipPacket({}, 132, pattern(20)));
  assert.is(core.flush().length, 5);
  assert.is(core.stat("DROP_ICMP_LIMIT"), 95);
  assert.is(core.stat("DROP_ECHO_LIMIT"), 40);
  core.tearDown();
});

test("a rate of zero sends no error at all", () => {
  const core = new CoreHarness({ options: { icmpRate: 0 } });
  core.send(ipPacket({}, 132, pattern(20)));
  assert.equal(core.flush(), []);
  core.tearDown();
});

test("ICMP-6: unreachable nets come from the gateway, ports from the destination", () => {
  const words = {
    ...addressWords(abi.CFG_GATEWAY_4, "198.51.100.254"),
    ...addressWords(abi.CFG_GATEWAY_6, "2001:db8:1::fe"),
  };
  const setup: CoreSetup = { words };
  const core = new CoreHarness(setup);
  for (const { src, dst } of FAMILIES) {
    const [record] = core.send(udpPacket({ src, dst, dport: 9 }));
    const gateway = src === CLIENT_4 ? "198.51.100.254" : "2001:db8:1::fe";
    for (const [kind, from] of [
      [abi.REJECT_NET_UNREACHABLE, gateway],
      [abi.REJECT_HOST_UNREACHABLE, gateway],
      [abi.REJECT_TOO_BIG, gateway],
      [abi.REJECT_PORT_UNREACHABLE, dst],
    ] as const) {
      core.stage({ ...record, kind: abi.DGRAM_ERROR, gso: kind, payload: pattern(1300) });
      assert.is(expectIcmp(core.flush()[0]!).src, from);
    }
  }
  core.tearDown();
});

test("the host can report errors of echo requests too", () => {
  const core = new CoreHarness({ options: { echo: abi.ECHO_HOST } });
  for (const { src, dst, unreachable } of FAMILIES) {
    const [request] = core.send(icmpPacket({ src, dst, echoId: 3, echoSeq: 4 }));
    const error = { ...request, handle: 0, kind: abi.DGRAM_ERROR };
    core.stage({ ...error, gso: abi.REJECT_HOST_UNREACHABLE });
    const seen = expectIcmp(core.flush()[0]!);
    assert.equal([seen.type, seen.dst], [unreachable, src]);
    const quoted = parsePacket(seen.payload);
    assert.equal([quoted.src, quoted.dst], [src, dst]);
    assert.equal([...quoted.l4.subarray(4, 8)], [0, 3, 0, 4]);
  }
  core.tearDown();
});

test("ICMP-9: survives too-big reports with quotes of every length", () => {
  const core = new CoreHarness();
  for (const { src, dst, unreachable } of FAMILIES) {
    const quote = tcpPacket({ src: dst, dst: src, sport: 80, dport: 40000 });
    const type = src === CLIENT_4 ? unreachable : 2;
    const code = src === CLIENT_4 ? 4 : 0;
    for (let length = 0; length <= quote.length; length++) {
      const payload = quote.subarray(0, length);
      core.send(icmpPacket({ src, dst, type, code, word: 68, payload }));
    }
    core.send(icmpPacket({ src, dst, type, code, payload: concat(Uint8Array.of(0xff), quote) }));
  }
  assert.equal(core.flush(), []);
  core.tearDown();
});

test.run();
