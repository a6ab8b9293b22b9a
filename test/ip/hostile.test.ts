/** Mutated packets and senseless host calls: no trap, no leak, no flood, and the same every time. */
import { createHash } from "node:crypto";
import * as assert from "uvu/assert";
import * as abi from "../../assembly/abi.ts";
import { concat } from "../kit/bytes.ts";
import { BUILD_NAMES, CoreHarness, type CoreSetup } from "../kit/core.ts";
import {
  CLIENT_4,
  CLIENT_6,
  SERVER_4,
  SERVER_6,
  expectIcmp,
  fragment4,
  fragment6,
  icmpPacket,
  ipPacket,
  parsePacket,
  tcpPacket,
  udpPacket,
  withVnet,
  type Extension,
} from "../kit/packet.ts";
import { Random } from "../kit/random.ts";
import { suite } from "../kit/suite.ts";

const test = suite("ip/hostile");
test.timeout(60_000);

/** A packet as a client could send it. */
function someCase(random: Random): Uint8Array[] {
  const isV6 = random.chance(0.5);
  const ends = isV6 ? { src: CLIENT_6, dst: SERVER_6 } : { src: CLIENT_4, dst: SERVER_4 };
  const payload = random.bytes(random.pick([0, 1, 7, 64, 500]));
  const ports = { sport: random.below(65536), dport: random.below(65536) };
  const extensions: Extension[] = [];
  while (isV6 && random.chance(0.3)) {
    const type = random.pick([0, 43, 44, 60]);
    extensions.push({ type, rest: concat(Uint8Array.of(0), random.bytes(6)) });
  }
  const fields = { ...ends, ...ports, payload, extensions, fragment: 0 };
  const packets = [
    (): Uint8Array => udpPacket(fields),
    (): Uint8Array => icmpPacket({ ...fields, type: random.below(256) }),
    (): Uint8Array => icmpPacket(fields),
    (): Uint8Array => tcpPacket({ ...fields, flags: random.below(256), seq: random.next() }),
    (): Uint8Array => ipPacket(fields, random.below(256), payload),
  ];
  const packet = random.pick(packets)();
  if (!random.chance(0.3) || extensions.length > 0) return [packet];
  const header = isV6 ? 40 : 20;
  const cuts = [8, 64, 256].filter((at) => at < packet.length - header);
  const id = random.below(8);
  const pieces = isV6 ? fragment6(packet, cuts, id) : fragment4(packet, cuts, id);
  return pieces.filter(() => random.chance(0.8));
}

function mutated(packet: Uint8Array, random: Random): Uint8Array {
  const bytes = Uint8Array.from(packet);
  if (random.chance(0.4)) return bytes;
  for (let i = random.between(1, 3); i > 0; i--) {
    const at = random.chance(0.7)
      ? random.below(Math.min(64, bytes.length))
      : random.below(bytes.length);
    bytes[at] = random.pick([0, 1, 0x7f, 0x80, 0xff, random.below(256)]);
  }
  return random.chance(0.2) ? bytes.subarray(0, random.below(bytes.length + 1)) : bytes;
}

/** A call with arguments that may or may not make sense. */
function someCall(core: CoreHarness, random: Random, handles: readonly number[]): number {
  const { exports } = core;
  const now = random.pick([core.nowUs, 0, -1, NaN, Infinity, core.nowUs - 5e6]);
  const number = random.pick([0, 1, 31, 32, 33, 64, 1000, 65536, 0x7fffffff, 0xffffffff]);
  const handle = random.pick([...handles, number, random.next(), abi.HANDLE_MAPPING]);
  const calls = [
    (): number => exports.accept(handle, now),
    (): number => exports.reject(handle, number, now),
    (): number => exports.recvPeek(handle),
    (): number => exports.recvConsume(handle, number, now),
    (): number => exports.sendReserve(handle, number),
    (): number => exports.sendCommit(handle, number, now),
    (): number => exports.shutdown(handle, now),
    (): number => exports.abort(handle, now),
    (): number => exports.release(handle),
    (): number => exports.stageSend(number, random.below(64), now),
    (): number => exports.udpClose(handle, now),
    (): number => exports.poll(now, random.below(4)),
    (): number => exports.ingest(random.pick([0, 17, number | 64]), now),
  ];
  return random.pick(calls)();
}

/** Runs one seed; answers a digest of all that came out. */
function play(setup: CoreSetup, seed: number, steps: number): string {
  const random = new Random(seed);
  const core = new CoreHarness({ ...setup, seed });
  const digest = createHash("sha256");
  const handles: number[] = [];
  let bytesIn = 0;
  let bytesOut = 0;
  for (let step = 0; step < steps; step++) {
    for (const packet of someCase(random)) {
      const bytes = mutated(packet, random);
      const framed =
        core.vnetBytes === 0 ? bytes : withVnet(bytes, someVnet(random, core.vnetBytes));
      const records = core.send(framed);
      const answers = core.flush();
      assert.ok(answers.length <= 1, "one packet was answered by several");
      // Nobody can make the core send much more than was sent to it.
      bytesIn += framed.length;
      bytesOut += answers.reduce((sum, answer) => sum + answer.length, 0);
      assert.ok(bytesOut <= 2 * bytesIn + 100, "an amplifier");
      for (const answer of answers) digest.update(parsePacket(answer, core.framing).bytes);
      for (const record of records) {
        handles.push(record.handle);
        if (random.chance(0.5)) core.stage({ ...record });
        const gso = random.below(8);
        if (random.chance(0.2)) core.stage({ ...record, kind: abi.DGRAM_ERROR, gso });
      }
    }
    if (random.chance(0.3)) digest.update(String(someCall(core, random, handles.slice(-8))));
    for (const answer of core.flush()) digest.update(parsePacket(answer, core.framing).bytes);
    if (random.chance(0.05)) for (const bytes of core.run(random.below(20e6))) digest.update(bytes);
    // Addresses of records depend on the build, all else does not.
    const events = random.chance(0.2) ? core.releaseClosed() : [];
    digest.update(JSON.stringify(events.map((event) => ({ ...event, ptr: 0 }))));
  }
  core.send(frame(core, icmpPacket({})));
  const alive = core.flush().map((bytes) => parsePacket(bytes, core.framing).proto);
  if (setup.options?.["echo"] !== abi.ECHO_HOST) assert.ok(alive.includes(1), "no echo any more");
  core.tearDown();
  digest.update(JSON.stringify(core.stats()));
  return digest.digest("hex");
}

function someVnet(random: Random, bytes: number): object {
  if (random.chance(0.6)) return { bytes };
  return {
    bytes,
    flags: random.pick([0, 1, 2, 3]),
    gsoType: random.pick([0, 0, 1, 4, 5, 0x81]),
    gsoSize: random.pick([0, 1, 100, 1400, 65535]),
    hdrLen: random.pick([0, 28, 40, 54]),
    csumStart: random.pick([20, 40]),
    csumOffset: random.pick([6, 16, 2]),
  };
}

function frame(core: CoreHarness, packet: Uint8Array): Uint8Array {
  return core.vnetBytes === 0 ? packet : withVnet(packet, { bytes: core.vnetBytes });
}

const SETUPS: readonly CoreSetup[] = [
  {},
  { vnetBytes: 10, offloads: abi.OFFLOAD_CSUM | abi.OFFLOAD_TSO4 | abi.OFFLOAD_TSO6 },
  { vnetBytes: 12, offloads: abi.OFFLOAD_CSUM | abi.OFFLOAD_USO, flags: 15, options: { echo: 1 } },
  { options: { mtu: 1280, connect: abi.CONNECT_IMMEDIATE, reassemblyBytes: 65536 } },
];

SETUPS.forEach((setup, i) => {
  test(`DET-8 DOS-6 DOS-13: survives mutated packets and senseless calls, setting ${i}`, () => {
    for (let seed = 1; seed <= 4; seed++) play({ ...setup, build: "simd" }, 100 * i + seed, 700);
  });
});

test("DET-6: says the same on every build and in every run", () => {
  const digests = [...BUILD_NAMES, "simd" as const].map((build) => play({ build }, 77, 400));
  assert.is(new Set(digests).size, 1);
});

test("DET-5: ignores time that goes backwards or is no time", () => {
  const core = new CoreHarness({ startUs: 2 ** 32 * 1000 });
  core.send(udpPacket({ dport: 9 }));
  const deadline = core.deadline();
  for (const now of [0, -1, NaN, Infinity, core.nowUs - 5e6, 2 ** 60]) {
    assert.is(core.exports.poll(now, 100), 0);
    assert.is(core.deadline(), deadline);
  }
  assert.is(deadline, core.nowUs + 120e6);
  core.tearDown();
});

test("answers before init with ERR_STATE and stays sound", () => {
  const core = new CoreHarness();
  assert.is(core.exports.init(), abi.ERR_STATE);
  core.send(icmpPacket({}));
  assert.is(expectIcmp(core.flush()[0]!).type, 0);
  core.tearDown();
});

test.run();
