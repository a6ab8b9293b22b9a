/** Hostile input is normal input: whatever packets and calls come, nothing traps, nothing leaks. */
import { CoreHarness, type Build } from "../kit/core.ts";
import * as abi from "../../assembly/abi.ts";
import { pattern } from "../kit/bytes.ts";
import * as kit from "../kit/packet.ts";
import { Random } from "../kit/random.ts";
import { suite } from "../kit/suite.ts";

const test = suite("abi/garbage");
test.timeout(120_000);

const ROUNDS = 3000;

/** One fragment of a good datagram; the others come by chance, in any order. */
function drawFragment(random: Random): Uint8Array {
  const six = random.chance(0.5);
  const ends = six ? { src: "2001:db8::1", dst: "2001:db8::2" } : {};
  const payload = pattern(2000, 7);
  const fields = { ...ends, sport: 9, dport: 9, fragment: 0, payload };
  const whole = random.chance(0.5) ? kit.udpPacket(fields) : kit.icmpPacket({ ...fields });
  const cuts = random.pick([[1000], [8, 1024], [800, 808, 1600]]);
  const id = random.below(3);
  return random.pick(six ? kit.fragment6(whole, cuts, id) : kit.fragment4(whole, cuts, id));
}

/** A packet that is right but for a few bytes, or not at all a packet. */
function draw(random: Random): Uint8Array {
  if (random.chance(0.15)) return drawFragment(random);
  const six = random.chance(0.5);
  const ends = six ? { src: "2001:db8::1", dst: "2001:db8::2" } : {};
  const payload = pattern(random.pick([0, 1, 8, 100, 1400, 4000]), random.next());
  const ports = { sport: random.between(1, 5), dport: random.between(1, 3) };
  const common = { ...ends, ...ports, payload };
  const packets = [
    () => random.bytes(random.below(200)),
    () =>
      kit.tcpPacket({
        ...common,
        flags: random.below(256),
        seq: random.pick([0, 1, 100, random.next()]),
        ack: random.next(),
        window: random.below(65536),
        options: random.chance(0.5)
          ? { mss: random.below(65536), wscale: random.below(256), sackOk: true }
          : { raw: random.bytes(random.below(40)) },
      }),
    () => kit.tcpPacket({ ...ends, ...ports, flags: "S", seq: random.next() }),
    () => kit.udpPacket(common),
    () => kit.icmpPacket({ ...ends, payload, type: random.below(256), code: random.below(8) }),
    () =>
      kit.ipPacket({ ...ends, id: random.below(4), fragment: random.below(65536) }, 17, payload),
    () =>
      kit.ipPacket(
        {
          src: "2001:db8::1",
          dst: "2001:db8::2",
          extensions: [
            { type: random.pick([0, 43, 44, 60, 51, 135]), rest: random.bytes(7) },
            { type: random.pick([0, 43, 44, 60]), rest: random.bytes(random.pick([7, 15])) },
          ],
        },
        random.pick([6, 17, 58]),
        payload,
      ),
  ];
  const packet = random.pick(packets)();
  for (let i = random.pick([0, 0, 1, 3]); i > 0 && packet.length > 0; i--) {
    packet[random.below(Math.min(packet.length, 80))] = random.below(256);
  }
  return random.chance(0.1) ? packet.subarray(0, random.below(packet.length + 1)) : packet;
}

function withHeader(random: Random, packet: Uint8Array, vnetBytes: number): Uint8Array {
  if (vnetBytes === 0) return packet;
  if (random.chance(0.5)) return kit.withVnet(packet, { bytes: vnetBytes });
  return kit.withVnet(packet, {
    bytes: vnetBytes,
    flags: random.below(4),
    gsoType: random.pick([0, 1, 3, 4, 5, 0x81, random.below(256)]),
    gsoSize: random.pick([0, 1, 100, 1448, random.below(65536)]),
    hdrLen: random.pick([0, 40, 54, random.below(65536)]),
    csumStart: random.pick([20, 40, random.below(65536)]),
    csumOffset: random.pick([2, 6, 16, random.below(65536)]),
  });
}

/** Whatever leaves the core is right in every length and checksum. */
function verify(core: CoreHarness, bytes: Uint8Array): void {
  const packet = kit.parsePacket(bytes, core.framing);
  if (packet.moreFragments || packet.fragOffset > 0) return;
  if (packet.proto === kit.PROTO_TCP) kit.expectTcp(bytes, core.framing);
  else if (packet.proto === kit.PROTO_UDP) kit.expectUdp(bytes, core.framing);
  else kit.expectIcmp(bytes, core.framing);
}

/** One call with arguments that a confused host might give. */
function call(random: Random, core: CoreHarness, handles: readonly number[]): void {
  const { exports: e, nowUs } = core;
  const handle = handles.length > 0 && random.chance(0.9) ? random.pick(handles) : random.next();
  const number = random.pick([0, 1, 1000, 65536, random.next()]);
  const calls = [
    () => e.accept(handle, nowUs),
    () => e.reject(handle, random.pick([0, 1, 2, 3, 4, 5, number]), nowUs),
    () => e.recvPeek(handle),
    () => e.recvConsume(handle, number, nowUs),
    () => e.sendReserve(handle, number),
    () => e.sendCommit(handle, number, nowUs),
    () => e.shutdown(handle, nowUs),
    () => e.abort(handle, nowUs),
    () => e.release(handle),
    () => e.udpClose(handle, nowUs),
    () => e.stageSend(random.below(40), random.below(40), nowUs),
    () => {
      const base = abi.STAGE_BASE + abi.DGRAM_BYTES * random.below(abi.STAGE_MAX);
      const ptr = core.view.getUint32(base + abi.DGRAM_PTR_OFF, true);
      core.bytes.set(random.bytes(abi.DGRAM_BYTES), base);
      core.view.setUint32(base + abi.DGRAM_KIND_OFF, random.below(5), true);
      core.view.setUint32(base + abi.DGRAM_HANDLE_OFF, handle, true);
      core.view.setUint32(base + abi.DGRAM_PTR_OFF, ptr, true);
      core.view.setUint32(base + abi.DGRAM_LEN_OFF, random.below(3000), true);
      core.view.setUint16(base + abi.DGRAM_FAMILY_OFF, random.pick([4, 6]), true);
      e.stageSend(0, abi.STAGE_MAX, nowUs);
    },
  ];
  random.pick(calls)();
}

function torment(seed: number, build: Build): void {
  const random = new Random(seed);
  const vnetBytes = random.pick([0, 10, 12] as const);
  const core = new CoreHarness({
    build,
    seed,
    vnetBytes,
    offloads: vnetBytes === 0 ? 0 : random.pick([0, 8, 11, 12, 15]),
    options: {
      connect: random.below(2),
      echo: random.below(3),
      flows: 16,
      halfOpen: 8,
      dials: 4,
      timeWaits: 4,
      udpMappings: 16,
      udpMappingsPerClient: 4,
      bufferCap: 4 * 1024 ** 2,
    },
  });
  const handles: number[] = [];
  const known = new Set<number>();
  for (let round = 0; round < ROUNDS; round++) {
    const batch = Array.from({ length: random.between(1, 4) }, () =>
      withHeader(random, draw(random), vnetBytes),
    );
    for (const { handle } of core.send(...batch)) handles.push(handle);
    for (const { handle, flags } of core.events()) {
      handles.push(handle);
      const isEnd = (flags & (abi.EV_CLOSED | abi.EV_MAPPING_CLOSED)) !== 0;
      if (isEnd && random.chance(0.8)) core.exports.release(handle);
    }
    for (let i = random.below(4); i > 0; i--) call(random, core, handles);
    for (const packet of core.flush()) verify(core, packet);
    if (random.chance(0.2)) core.poll(core.nowUs + random.pick([1, 1000, 300_000, 40_000_000]));
    for (const handle of handles) known.add(handle);
    if (handles.length > 60) handles.splice(0, 30);
  }
  // Whatever was forgotten is released now: a closed record answers 0, others an error.
  core.exports.closeAll(core.nowUs);
  core.run(30 * 60 * 1_000_000);
  for (const { handle } of core.events()) known.add(handle);
  for (const handle of known) core.exports.release(handle);
  core.tearDown();
}

for (const build of ["debug", "simd"] as const) {
  for (const seed of [1, 2, 3]) {
    test(`DET-8 DOS-6: random packets and calls trap nothing and leak nothing, seed ${seed} [${build}]`, () => {
      torment(seed, build);
    });
  }
}

test.run();
