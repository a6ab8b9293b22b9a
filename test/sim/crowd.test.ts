/** Many flows at once: all come to their end intact, none slows the others, a flood hurts nobody. */
import * as assert from "uvu/assert";
import * as abi from "../../assembly/abi.ts";
import { pattern } from "../kit/bytes.ts";
import { CoreHarness } from "../kit/core.ts";
import { Link } from "../kit/link.ts";
import { TcpPeer } from "../kit/peer.ts";
import { expectTcp, tcpPacket } from "../kit/packet.ts";
import { Random } from "../kit/random.ts";
import { suite } from "../kit/suite.ts";
import { Client, MS, SECOND } from "../tcp/client.ts";
import type { ClientPlan, Pace, Scenario } from "./scenario.ts";
import { World } from "./world.ts";

const test = suite("sim/crowd");
test.timeout(120_000);
const IMMEDIATE = { connect: abi.CONNECT_IMMEDIATE };
const EAGER: Pace = { bytes: Infinity, everyUs: 0 };

function plan(random: Random, index: number): ClientPlan {
  const isSix = index % 2 === 1;
  return {
    peer: {
      src: isSix ? "2001:db8::10" : "192.0.2.10",
      dst: isSix ? "2001:db8::200" : "192.0.2.200",
      sport: 10_000 + index,
      dport: 80,
      iss: random.next(),
      mss: 1400,
      wscale: 4,
      sack: true,
      timestamps: index % 3 === 0,
      mtu: 1500,
      bufferBytes: 65_535,
      delayedAckUs: 10_000,
      keepaliveUs: 3_000_000,
    },
    startUs: random.below(100_000),
    upBytes: random.below(6000),
    downBytes: random.below(6000),
    verdict: "accept",
    dialUs: random.below(5000),
    clientWrite: EAGER,
    clientRead: EAGER,
    hostWrite: EAGER,
    hostRead: EAGER,
    lastToClose: "none",
    clientResetUs: Infinity,
    hostAbortUs: Infinity,
    hostLetsGo: false,
    vanishUs: Infinity,
  };
}

test("FLOW-13 FLOW-1 TCP-31 TCP-92: a thousand flows at once, both ways, over a lossy link", () => {
  const random = new Random(13);
  const link = { delayUs: 5000, jitterUs: 200, loss: 0.005 };
  const pools = { flows: 1024, halfOpen: 1024, dials: 1024, timeWaits: 1024 };
  const options = { mtu: 1500, ...pools, recvBuffer: 131_072, recvBufferMax: 131_072 };
  const scenario: Scenario = {
    seed: 13,
    isStrict: true,
    isTiny: false,
    hasStalls: false,
    attack: { kinds: ["stray"], count: 0, everyUs: 1 },
    datagrams: { clients: 1, count: 0, everyUs: 1 },
    mtuChanges: [],
    jumps: [],
    rudeness: 0,
    isWrapping: false,
    core: { seed: 13, options: { ...options, bufferCap: 128 * 1024 ** 2, timeWait: 1000 } },
    up: link,
    down: link,
    clients: Array.from({ length: 1000 }, (_, i) => plan(random, i)),
  };
  const world = new World(scenario, "simd");
  world.run();
  assert.is(world.host.ended.length, 1000);
  assert.ok(world.host.ended.every(({ code }) => code === abi.CLOSE_DONE));
});

/** Bulk downloads of `count` clients behind one slow link for a while: bytes of each. */
function downloads(count: number, stalled: number, forUs: number): number[] {
  const options = { ...IMMEDIATE, sendBufferMax: 262_144, bufferCap: 64 * 1024 ** 2 };
  const core = new CoreHarness({ build: "simd", options });
  const ends = { src: "192.0.2.10", dst: "192.0.2.200", dport: 80, mss: 1460, wscale: 4 };
  const peers = Array.from({ length: count + stalled }, (_, i) => {
    const peer = new TcpPeer({ ...ends, sport: 1000 + i, sack: true, bufferBytes: 262_144 });
    peer.connect(core.nowUs);
    return peer;
  });
  const down = new Link(new Random(1), { delayUs: 2000, rate: 5_000_000, queueBytes: 4_000_000 });
  const data = pattern(262_144);
  const open = new Map<number, boolean>();
  const got = new Array<number>(count).fill(0);
  const end = core.nowUs + forUs;
  while (core.nowUs < end) {
    core.send(...peers.flatMap((peer) => peer.take(core.nowUs)));
    core.poll();
    for (const { handle, flags } of core.events()) {
      if ((flags & abi.EV_WRITABLE) !== 0) open.set(handle, true);
    }
    for (const [handle, isOpen] of open) {
      if (isOpen) open.set(handle, core.write(handle, data) === data.length);
    }
    for (const packet of core.flush()) down.push(packet, core.nowUs);
    for (const { bytes } of down.pop(core.nowUs)) {
      peers[expectTcp(bytes).dport - 1000]!.receive(bytes, core.nowUs);
    }
    peers.forEach((peer, i) => {
      peer.poll(core.nowUs);
      if (i < count) got[i]! += peer.read().length;
    });
    const timers = peers.map((peer) => peer.deadline());
    const next = Math.min(core.deadline(), down.deadline(), ...timers);
    core.nowUs = Math.max(core.nowUs + 1, Math.min(next, core.nowUs + MS));
  }
  return got;
}

test("FLOW-14: of eight bulk flows none gets less than a quarter of its share", () => {
  const got = downloads(8, 0, 3 * SECOND);
  const share = got.reduce((sum, bytes) => sum + bytes, 0) / 8;
  assert.ok(share > 1_000_000, `${share} bytes each`);
  assert.ok(Math.min(...got) >= share / 4, got.join(" "));
});

test("FLOW-9: flows whose clients read nothing take no rate from one that reads", () => {
  const [alone] = downloads(1, 0, 2 * SECOND);
  const [beside] = downloads(1, 5, 2 * SECOND);
  assert.ok(beside! >= 0.8 * alone!, `${beside} of ${alone} bytes`);
});

/** Sends SYNs of `count` strangers in batches, `between` each two batches. */
function flood(core: CoreHarness, count: number, between: (batch: number) => void): void {
  for (let from = 0; from < count; from += 16) {
    const syns = Array.from({ length: 16 }, (_, i) => {
      const n = from + i;
      const src = `10.${n >> 16}.${(n >> 8) & 255}.${n & 255}`;
      return tcpPacket({ src, sport: 1024 + (n % 60_000), seq: n, flags: "S", options: {} });
    });
    core.send(...syns);
    core.nowUs += 200;
    between(from / 16);
  }
}

test("DOS-1 DOS-2 DOS-3: ten thousand SYNs to a black hole leave a running flow in motion", () => {
  const core = new CoreHarness({ build: "simd", options: { dials: 32, halfOpen: 48 } });
  const c = new Client(core).connect();
  core.events();
  const levels = core.levels();
  const data = pattern(1000);
  let taken = 0;
  flood(core, 10_000, () => {
    c.send({ seq: c.at(taken), payload: data });
    taken += core.read(c.handle).length;
    for (const { handle, flags } of c.events.splice(0)) {
      if ((flags & abi.EV_CLOSED) !== 0) core.release(handle);
    }
    assert.ok(core.gauge("GAUGE_PENDING") <= 32);
  });
  assert.is(taken, 625_000);
  assert.is(core.stat("STAT_FLOWS_EVICTED"), 10_000 - 32);
  assert.is(core.gauge("GAUGE_BUFFERED_BYTES"), levels["GAUGE_BUFFERED_BYTES"]);
  const fresh = new Client(core, { sport: 2 });
  fresh.syn();
  assert.is(fresh.accept().flags, "SA");
  core.run(60 * SECOND);
  for (const { handle, flags } of [...core.events(), ...fresh.events]) {
    if ((flags & abi.EV_CLOSED) !== 0) core.release(handle);
  }
  core.tearDown();
});

test("DOS-1: in immediate mode the oldest half-open flow gives way, established ones stay", () => {
  const core = new CoreHarness({ build: "simd", options: { ...IMMEDIATE, halfOpen: 16 } });
  const c = new Client(core).connect();
  flood(core, 2000, () => {
    core.releaseClosed();
    core.flush();
    assert.ok(core.gauge("GAUGE_HALF_OPEN") <= 16);
  });
  c.send({ payload: pattern(10) });
  assert.equal(core.read(c.handle), pattern(10));
  core.releaseClosed();
  core.tearDown();
});

test("DOS-4: five thousand SYNs to closed ports are each refused, and leave nothing", () => {
  const core = new CoreHarness({ build: "simd" });
  const before = core.levels();
  let resets = 0;
  for (let port = 1; port <= 5000; port++) {
    core.send(tcpPacket({ dport: port, sport: 7, seq: port, flags: "S" }));
    for (const { handle } of core.events()) core.reject(handle);
    for (const packet of core.flush()) if (expectTcp(packet).flags === "RA") resets++;
    core.releaseClosed();
  }
  assert.is(resets, 5000);
  core.flush();
  assert.equal(core.levels(), before);
  core.tearDown();
});

/** Least time, in ms, that the core took for 4,800 segments to `count` flows in turns. */
function costWith(count: number): number {
  const options = { ...IMMEDIATE, flows: 10_240, halfOpen: 64, bufferCap: 64 * 1024 ** 2 };
  const core = new CoreHarness({ build: "simd", options });
  const ack = new Map<number, number>();
  for (let i = 0; i < count; i++) {
    core.send(tcpPacket({ sport: 1000 + i, seq: 0, flags: "S", options: { mss: 1460 } }));
    ack.set(i, (expectTcp(core.flush()[0]!).seq + 1) >>> 0);
    core.send(tcpPacket({ sport: 1000 + i, seq: 1, ack: ack.get(i)!, flags: "A" }));
    core.events();
  }
  let least = Infinity;
  for (let round = 0; round < 5; round++) {
    let took = 0;
    for (let from = 0; from < 4800; from += 16) {
      for (let k = 0; k < 16; k++) {
        const i = ((from + k) * 7919) % count;
        // An ACK that says nothing new, to a flow that was not the last one.
        const fields = {
          sport: 1000 + i,
          seq: 1,
          ack: ack.get(i)!,
          flags: "A",
          window: 1000 + round,
        };
        core.putRx(k, tcpPacket(fields));
      }
      const before = performance.now();
      core.exports.ingest(16, core.nowUs);
      core.exports.flush(core.nowUs);
      took += performance.now() - before;
      core.exports.txDone();
    }
    least = Math.min(least, took);
  }
  return least;
}

test("DOS-10: a segment to one of ten thousand flows costs no more than a few of ten", () => {
  // Five times the bound of three: what is looked for is work that grows with the flows.
  const [few, many] = [costWith(10), costWith(10_000)];
  assert.ok(many <= 15 * few, `${many} ms for 10,000 flows, ${few} ms for 10`);
});

test.run();
