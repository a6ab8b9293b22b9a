/**
 * The core (build/core-debug.wasm, guards on, with counters: edges.ts). An input is a program: a
 * byte that says what to do, and its arguments. Packets come raw, raw with repaired checksums, or
 * as segments of connections that follow what the core said; host calls take living, stale and
 * random handles in any order.
 *
 * Promises: no trap, every answer of a call is one of abi.ts, whatever leaves is a right packet,
 * nothing vanishes uncounted, memory and configuration stay, and after the end no pool has lost
 * anything.
 */
import * as abi from "../../../assembly/abi.ts";
import { CoreHarness, type CoreEvent, type CoreSetup } from "../../kit/core.ts";
import { expectTcp, expectUdp, parsePacket } from "../../kit/packet.ts";
import type { Random } from "../../kit/random.ts";
import { countedCore, Edges } from "../edges.ts";
import { type Target, check } from "../target.ts";
import { FLAGS, PacketMaker, Program } from "./core-packets.ts";
import { repaired } from "./repair.ts";

/** Operations by their number; more of what matters more. */
const OPS = [
  "tcp",
  "tcp",
  "tcp",
  "tcp",
  "tcp",
  "udp",
  "udp",
  "icmp",
  "fragments",
  "raw",
  "repaired",
  "repaired",
  "super",
  "call",
  "call",
  "call",
  "call",
  "accept",
  "read",
  "write",
  "stage",
  "time",
  "time",
  "length",
] as const;
const MTUS = [1280, 1420, 1500, 9000, 65_535];
const STEPS_US = [0, 1, 1000, 40_000, 200_000, 1_000_000, 5_000_000, 60_000_000];
const EVENT_NAMES = abi.EV_CLOSED | abi.EV_MAPPING_CLOSED;

function setupOf(program: Program, module: object | undefined): CoreSetup {
  const kind = program.u8();
  const mode = program.u8();
  const vnetBytes = ([0, 10, 12, 0] as const)[kind & 3] ?? 0;
  const offloads = vnetBytes === 0 ? 0 : [0, abi.OFFLOAD_CSUM, 15, 15][(kind >> 2) & 3]!;
  return {
    ...(module === undefined ? {} : { module }),
    vnetBytes,
    offloads,
    seed: 1 + (mode >> 6),
    startUs: (mode & 32) === 0 ? 1_000_000 : 2 ** 32 - 3_000_000,
    flags: mode & 31,
    options: {
      mtu: MTUS[(kind >> 4) % MTUS.length]!,
      connect: kind >> 7,
      echo: (kind >> 5) % 3,
      flows: 8,
      halfOpen: 4,
      dials: 4,
      timeWaits: 2,
      udpMappings: 4,
      udpMappingsPerClient: 3,
      bufferCap: 2 * 1024 ** 2,
      recvBuffer: 32 * 1024,
      recvBufferMax: 128 * 1024,
      sendBuffer: 16 * 1024,
      sendBufferMax: 64 * 1024,
      reassemblyDatagrams: 3,
      reassemblyBytes: 128 * 1024,
    },
  };
}

class Run {
  readonly core: CoreHarness;
  readonly #program: Program;
  readonly #packets: PacketMaker;
  readonly #handles: number[] = [0, 1, abi.HANDLE_MAPPING, 0xffff_ffff];
  readonly #closed = new Set<number>();
  readonly #config: string;

  constructor(program: Program, module: object | undefined) {
    this.core = new CoreHarness(setupOf(program, module));
    this.#program = program;
    this.#packets = new PacketMaker(program, this.core.vnetBytes);
    this.#config = this.#fixed();
  }

  /** Blocks that the core only reads. */
  #fixed(): string {
    const { bytes } = this.core;
    const end = abi.CONFIG_BASE + abi.CONFIG_BYTES + abi.ENTROPY_BYTES;
    return Buffer.from(bytes.subarray(abi.CONFIG_BASE, end)).toString("latin1");
  }

  play(): void {
    for (let op = 0; op < 200 && !this.#program.isOver; op++) {
      this.#step(OPS[this.#program.u8() % OPS.length]!);
      this.#takeEvents();
      this.#flush();
    }
    this.#end();
  }

  #end(): void {
    const { core } = this;
    core.exports.closeAll(core.nowUs);
    this.#flush();
    this.#takeEvents();
    for (const handle of this.#closed) core.exports.release(handle);
    core.tearDown();
    check(this.#fixed() === this.#config, "the configuration was changed");
  }

  #step(op: (typeof OPS)[number]): void {
    const program = this.#program;
    const packets = this.#packets;
    switch (op) {
      case "tcp":
        return this.#send(packets.framed(packets.segment()));
      case "udp":
        return this.#send(packets.framed(packets.datagram()));
      case "icmp":
        return this.#send(packets.framed(packets.icmp()));
      case "fragments":
        return packets.fragments().forEach((packet) => this.#send(packet));
      case "raw":
        return this.#send(program.bytes(program.u8()));
      case "repaired":
        return this.#send(packets.framed(repaired(program.bytes(program.u8()))));
      case "super":
        return packets.super().forEach((packet) => this.#send(packet));
      case "call":
        return this.#call();
      case "accept":
        return void this.#answer(this.core.exports.accept(this.#handle(), this.core.nowUs));
      case "read":
        return this.#read();
      case "write":
        return this.#write();
      case "stage":
        return this.#stage();
      case "time":
        this.core.poll(this.core.nowUs + STEPS_US[program.u8() % STEPS_US.length]!);
        return;
      case "length":
        return this.#length();
    }
  }

  #handle(): number {
    const choice = this.#program.u8();
    if (choice === 255) return this.#program.u32();
    // The youngest are the likeliest to live.
    return this.#handles[this.#handles.length - 1 - (choice % this.#handles.length)] ?? 0;
  }

  #answer(answer: number): number {
    check(answer >= abi.ERR_MEMORY, `a call answered ${answer}`);
    return answer;
  }

  /** All counters together, but for those of what came in. */
  #told(): number {
    let sum = 0;
    for (let index = abi.STAT_PACKETS_OUT; index < abi.STAT_COUNT; index++) {
      sum += this.core.view.getFloat64(abi.STATS_BASE + 8 * index, true);
    }
    return sum;
  }

  #send(packet: Uint8Array): void {
    const { core } = this;
    const before = this.#told();
    const reassemblies = core.gauge("GAUGE_REASSEMBLIES");
    const datagrams = core.send(packet);
    for (const { handle } of datagrams) this.#know(handle);
    const told = this.#told() !== before;
    const isSeen = told || datagrams.length > 0;
    if (isSeen || core.gauge("GAUGE_REASSEMBLIES") !== reassemblies) return;
    this.#mayBeSilent(packet.subarray(core.vnetBytes));
  }

  /** Segments change their flow, fragments their datagram, errors what is sent later. */
  #mayBeSilent(packet: Uint8Array): void {
    const isFour = packet[0]! >> 4 === 4;
    const proto = isFour ? packet[9] : packet[6];
    const isFragment = isFour && ((packet[6]! & 0x3f) !== 0 || packet[7] !== 0);
    const mayBe = isFragment || [6, 44, 0, 43, 60].includes(proto ?? -1);
    const isError = (isFour && proto === 1) || proto === 58;
    check(mayBe || isError, `a packet of protocol ${proto ?? -1} vanished`);
  }

  #know(handle: number): void {
    if (!this.#handles.includes(handle)) this.#handles.push(handle);
  }

  #takeEvents(): void {
    for (const event of this.core.events()) this.#onEvent(event);
  }

  #onEvent({ handle, flags }: CoreEvent): void {
    check(!this.#closed.has(handle), "an event after the last one");
    this.#know(handle);
    if ((flags & EVENT_NAMES) !== 0) this.#closed.add(handle);
  }

  #packetsOut(): Uint8Array[] {
    const { core } = this;
    const out: Uint8Array[] = [];
    for (let round = 0; round < 1000; round++) {
      const count = core.exports.flush(core.nowUs);
      check(count >= 0 && count <= abi.TX_MAX, `flush answered ${count}`);
      for (let index = 0; index < count; index++) out.push(core.txPacket(index));
      core.exports.txDone();
      // Rubbish where the next headers go.
      const { TX_HEADERS_BASE: from, TX_HEADER_BYTES: size } = abi;
      core.bytes.fill(0xa5, from, from + count * size);
      if (core.gauge("GAUGE_FLUSH_MORE") === 0) return out;
    }
    throw new Error("flush does not come to an end");
  }

  #flush(): void {
    const { core } = this;
    for (const bytes of this.#packetsOut()) {
      const seen = parsePacket(bytes, core.framing);
      if (seen.proto === 17) expectUdp(bytes, core.framing);
      if (seen.proto !== 6) continue;
      const tcp = expectTcp(bytes, core.framing);
      this.#packets.heard(tcp);
    }
  }

  #release(handle: number): void {
    if (this.#answer(this.core.exports.release(handle)) === 0) this.#closed.delete(handle);
  }

  #call(): void {
    const { exports: x, nowUs } = this.core;
    const which = this.#program.u8() % 10;
    const handle = this.#handle();
    const number = this.#program.u8();
    const size = number === 255 ? this.#program.u32() : number * 16;
    switch (which) {
      case 0:
        return void this.#answer(x.accept(handle, nowUs));
      case 1:
        return void this.#answer(x.reject(handle, number % 8, nowUs));
      case 2:
        return void this.#answer(x.recvConsume(handle, size, nowUs));
      case 3:
        return void this.#answer(x.sendReserve(handle, size));
      case 4:
        return void this.#answer(x.sendCommit(handle, size, nowUs));
      case 5:
        return void this.#answer(x.shutdown(handle, nowUs));
      case 6:
        return void this.#answer(x.abort(handle, nowUs));
      case 7:
        return this.#release(handle);
      case 8:
        return void this.#answer(x.udpClose(handle, nowUs));
      case 9:
        return void this.#answer(x.stageSend(number, size, nowUs));
    }
  }

  #read(): void {
    const { core } = this;
    const handle = this.#handle();
    const count = this.#answer(core.exports.recvPeek(handle));
    if (count <= 0) return;
    const bytes = core.spans(abi.SPANS_BASE, count).reduce((sum, span) => sum + span.length, 0);
    const part = this.#program.u8();
    const taken = part > 128 ? bytes : Math.floor((bytes * part) / 128);
    this.#answer(core.exports.recvConsume(handle, taken, core.nowUs));
  }

  #write(): void {
    const { core } = this;
    const handle = this.#handle();
    const count = this.#answer(core.exports.sendReserve(handle, this.#program.u16()));
    if (count <= 0) return;
    let filled = 0;
    for (const span of core.spans(abi.SPANS_BASE, count)) {
      span.fill(0x62);
      filled += span.length;
    }
    this.#answer(core.exports.sendCommit(handle, filled, core.nowUs));
  }

  #stage(): void {
    const program = this.#program;
    const kind = program.u8();
    const isSix = (kind & 1) === 1;
    this.core.putStage(0, {
      kind: (kind >> 1) & 3,
      handle: this.#handle(),
      payload: new Uint8Array(program.u8() * ((kind & 8) === 0 ? 1 : 250)),
      gso: (kind & 16) === 0 ? 0 : program.u16(),
      far: isSix ? "2001:db8::200" : "192.0.2.200",
      client: isSix ? "2001:db8::10" : "192.0.2.10",
      port: [53, 443, 5000][program.u8() % 3]!,
      flags: kind >> 7,
      hops: program.u8(),
    });
    if ((kind & 32) !== 0) {
      const at = abi.STAGE_BASE + abi.DGRAM_LEN_OFF;
      this.core.view.setUint32(at, program.u32(), true);
    }
    this.#answer(this.core.exports.stageSend(0, 1, this.core.nowUs));
  }

  /** A length that the slot does not have, and numbers of packets that there are not. */
  #length(): void {
    const { core } = this;
    const kind = this.#program.u8();
    const length = this.#program.u32();
    core.view.setUint32(abi.RX_BASE + 4, length, true);
    this.#answer(core.exports.ingest((kind & 1) === 0 ? 1 : length, core.nowUs));
    for (let at = 0; at < 16; at++) {
      core.view.setUint32(abi.RX_BASE + abi.RX_ENTRY_BYTES * at + 4, 0, true);
    }
  }
}

const edges = new Edges();

/** Code that was run in any input of this process. */
export function edgesHit(): { readonly hit: number; readonly of: number } {
  return { hit: edges.hit, of: countedCore().counters };
}

const OP = (name: (typeof OPS)[number]): number => OPS.indexOf(name);

/** A handshake, and what may follow. */
function generate(random: Random): Uint8Array {
  const bytes: number[] = [random.below(256), random.pick([0, 0, random.below(256)])];
  const isPlain = (bytes[0]! & 3) === 0 || (bytes[0]! & 3) === 3;
  const frame = isPlain ? [] : [0];
  const index = random.below(8);
  const tcp = (flags: number, size: number, kind = 0, more: number[] = []): number[] => {
    return [OP("tcp"), index, flags, 0, 0, size, kind, 1, ...more, ...frame];
  };
  bytes.push(...tcp(0, 0, random.pick([0, 0]), [5, 180]), OP("accept"), 0, ...tcp(1, 0));
  const count = random.below(20);
  for (let at = 0; at < count; at++) {
    const choice = random.below(8);
    if (choice === 0) bytes.push(...tcp(random.below(FLAGS.length), random.below(6)));
    else if (choice === 1) bytes.push(OP("read"), 0, random.below(256));
    else if (choice === 2) bytes.push(OP("write"), 0, random.below(60), 0);
    else if (choice === 3) bytes.push(OP("time"), random.below(8));
    else if (choice === 4) bytes.push(OP("call"), random.below(10), random.below(3), 5);
    else if (choice === 5) bytes.push(OP("udp"), random.below(128), random.below(256), ...frame);
    else bytes.push(...tcp(random.pick([3, 4, 5]), random.below(6)));
  }
  return Uint8Array.from([...bytes, ...random.bytes(random.below(8))]);
}

export const core: Target = {
  name: "core",
  bytesMax: 1200,
  dictionary: [
    ...OPS.map((_, op) => Uint8Array.of(op)),
    ...[0, 3, 5, 6, 7].map((call) => Uint8Array.of(OP("call"), call, 0, 5)),
    Uint8Array.of(OP("accept"), 0),
    Uint8Array.of(OP("read"), 0, 255),
    Uint8Array.of(OP("write"), 0, 20, 0),
    Uint8Array.of(OP("time"), 7),
    Uint8Array.of(OP("time"), 4),
    Uint8Array.of(OP("tcp"), 0, 7, 0, 0, 0, 0, 0),
    Uint8Array.of(OP("tcp"), 0, 5, 0, 0, 0, 0, 0),
    Uint8Array.of(OP("udp"), 0, 20),
    // IPv4 and IPv6 headers, UDP and TCP behind, extension headers.
    Uint8Array.of(OP("repaired"), 28, 0x45, 0, 0, 28, 0, 1, 0, 0, 64, 17, 0, 0, 192, 0, 2, 10),
    Uint8Array.of(OP("repaired"), 48, 0x60, 0, 0, 0, 0, 8, 0, 64, 0x20, 1, 13, 184, 0, 0, 0, 0),
    Uint8Array.of(44, 0, 0, 1, 0, 0, 0, 1),
    Uint8Array.of(60, 0, 1, 4, 0, 0, 0, 0),
    Uint8Array.of(0, 0, 5, 2, 0, 0, 1, 0),
    Uint8Array.of(0x83, 7, 4, 192, 0, 2, 1, 0),
  ],
  generate,
  run(input) {
    const { module, counters } = countedCore();
    const run = new Run(new Program(input), module);
    run.play();
    return edges.add(run.core.buffer, counters);
  },
};
