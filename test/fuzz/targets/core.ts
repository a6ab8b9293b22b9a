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
import {
  expectTcp,
  expectUdp,
  fragment4,
  fragment6,
  icmpPacket,
  offloadedTcp,
  parsePacket,
  tcpPacket,
  type TcpOptions,
  udpPacket,
  withVnet,
} from "../../kit/packet.ts";
import type { Random } from "../../kit/random.ts";
import { countedCore, Edges } from "../edges.ts";
import { type Target, check } from "../target.ts";
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
const FLAGS = [
  "S",
  "A",
  "A",
  "A",
  "PA",
  "FA",
  "FPA",
  "R",
  "RA",
  "SA",
  "SF",
  "",
  "UA",
  "PUA",
  "SEC",
];
const MTUS = [1280, 1420, 1500, 9000, 65_535];
const STEPS_US = [0, 1, 1000, 40_000, 200_000, 1_000_000, 5_000_000, 60_000_000];
const EVENT_NAMES = abi.EV_CLOSED | abi.EV_MAPPING_CLOSED;

/** Arguments; zeros behind the end. */
class Program {
  readonly #bytes: Uint8Array;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  get isOver(): boolean {
    return this.#at >= this.#bytes.length;
  }

  u8(): number {
    return this.#bytes[this.#at++] ?? 0;
  }

  u16(): number {
    return this.u8() * 256 + this.u8();
  }

  u32(): number {
    return this.u16() * 65_536 + this.u16();
  }

  bytes(count: number): Uint8Array {
    const part = this.#bytes.slice(this.#at, this.#at + count);
    this.#at += count;
    return part;
  }
}

/** What a client knows of a connection, from what the core sent. */
interface Peer {
  nxt: number;
  coreNxt: number;
}

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
  readonly #peers = new Map<number, Peer>();
  readonly #handles: number[] = [0, 1, abi.HANDLE_MAPPING, 0xffff_ffff];
  readonly #closed = new Set<number>();
  readonly #config: string;

  constructor(program: Program, module: object | undefined) {
    this.core = new CoreHarness(setupOf(program, module));
    this.#program = program;
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
    switch (op) {
      case "tcp":
        return this.#send(this.#framed(this.#segment()));
      case "udp":
        return this.#send(this.#framed(this.#datagram()));
      case "icmp":
        return this.#send(this.#framed(this.#icmp()));
      case "fragments":
        return this.#fragments();
      case "raw":
        return this.#send(program.bytes(program.u8()));
      case "repaired":
        return this.#send(this.#framed(repaired(program.bytes(program.u8()))));
      case "super":
        return this.#super();
      case "call":
        return this.#call();
      case "accept":
        this.#answer(this.core.exports.accept(this.#handle(), this.core.nowUs));
        return;
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

  #framed(packet: Uint8Array): Uint8Array {
    const { vnetBytes } = this.core;
    if (vnetBytes === 0) return packet;
    const kind = this.#program.u8();
    if (kind < 160) return withVnet(packet, { bytes: vnetBytes });
    // The header as it comes, on top of one that makes sense.
    const header = this.#program.bytes(vnetBytes);
    return Uint8Array.from(
      Buffer.concat([header, new Uint8Array(vnetBytes - header.length), packet]),
    );
  }

  /** Addresses and ports of one of eight connections. */
  #ends(index: number): { src: string; dst: string; sport: number; dport: number } {
    const isSix = (index & 1) === 1;
    const src = isSix ? "2001:db8::10" : "192.0.2.10";
    const dst = isSix ? "2001:db8::200" : "192.0.2.200";
    return { src, dst, sport: 40_000 + index, dport: [80, 53][(index >> 1) & 1]! };
  }

  #peer(index: number): Peer {
    let peer = this.#peers.get(index);
    if (peer === undefined) {
      peer = { nxt: (0xffff_ff00 + index) >>> 0, coreNxt: 0 };
      this.#peers.set(index, peer);
    }
    return peer;
  }

  #segmentFields() {
    const program = this.#program;
    const choice = program.u8();
    const index = choice & 7;
    const peer = this.#peer(index);
    const flags = FLAGS[program.u8() % FLAGS.length]!;
    const delta = program.u8();
    const ackDelta = program.u8();
    // Mostly in order; else near, or far away.
    const near = (byte: number): number =>
      byte < 160
        ? 0
        : byte < 200
          ? byte - 180
          : byte < 240
            ? (byte - 220) * 1400
            : byte * 0x0100_0001;
    const size = [0, 1, 10, 536, 1200, 1400][program.u8() % 6]!;
    const payload = new Uint8Array(flags.includes("S") ? size >> 4 : size).fill(0x61);
    const seq = (peer.nxt + near(delta)) >>> 0;
    const ack = (peer.coreNxt + near(ackDelta)) >>> 0;
    const optionKind = program.u8();
    const ts = [program.u8() * 1000, (optionKind & 64) === 0 ? 0 : program.u32()] as const;
    const options = {
      ...(flags.includes("S") ? { mss: program.u16() } : {}),
      ...((optionKind & 1) === 0 ? {} : { wscale: program.u8() & 15 }),
      ...((optionKind & 2) === 0 ? {} : { sackOk: true }),
      ...((optionKind & 4) === 0 ? {} : { ts }),
      ...((optionKind & 8) === 0 ? {} : { sack: [[ack + 10, ack + 10 + program.u16()]] as const }),
      ...((optionKind & 16) === 0 ? {} : { raw: program.bytes(program.u8() & 15) }),
    };
    if (delta < 160) {
      const more = payload.length + (/S/.test(flags) ? 1 : 0) + (/F/.test(flags) ? 1 : 0);
      peer.nxt = (peer.nxt + more) >>> 0;
    }
    const window = (choice & 8) === 0 ? 65_535 : program.u16();
    const checksum = (choice & 0xf0) === 0xf0 ? ("bad" as const) : undefined;
    const fields = { ...this.#ends(index), seq, ack, flags, window, payload, options };
    return checksum === undefined ? fields : { ...fields, checksum };
  }

  #segment(): Uint8Array {
    const fields = this.#segmentFields();
    // Options of at most 40 bytes; what is more makes no header.
    const { sack, raw, ...few } = fields.options as TcpOptions;
    const rest = sack === undefined ? (raw === undefined ? {} : { raw }) : { sack };
    return tcpPacket({ ...fields, options: { ...few, ...rest } });
  }

  #datagram(): Uint8Array {
    const program = this.#program;
    const index = program.u8();
    const dport = [53, 443, 5000, 0][(index >> 4) & 3]!;
    return udpPacket({
      ...this.#ends(index & 7),
      dport,
      payload: new Uint8Array(program.u8() * ((index & 64) === 0 ? 1 : 5)),
      ...((index & 128) === 0 ? {} : { udpLength: program.u16() }),
    });
  }

  #icmp(): Uint8Array {
    const program = this.#program;
    const { src, dst } = this.#ends(program.u8() & 7);
    const kind = program.u8();
    if (kind < 100) return icmpPacket({ src, dst, payload: new Uint8Array(program.u8()) });
    // An error that quotes something: a segment of ours, or whatever comes.
    const quote = kind < 200 ? this.#segment().subarray(0, 48) : program.bytes(program.u8());
    const six = src.includes(":");
    const type = kind < 220 ? (six ? 2 : 3) : program.u8();
    const code = six ? 0 : 4;
    return icmpPacket({ src, dst, type, code, word: program.u16(), payload: quote });
  }

  #fragments(): void {
    const program = this.#program;
    const whole = (program.u8() & 1) === 0 ? this.#datagram() : this.#segment();
    const isSix = whole[0]! >> 4 === 6;
    const size = whole.length - (isSix ? 40 : 20);
    const cuts = [program.u8() * 8, program.u16() & 0x7f8]
      .filter((cut) => cut > 0 && cut < size)
      .sort((a, b) => a - b);
    const id = program.u8() & 3;
    const pieces = isSix ? fragment6(whole, cuts, id) : fragment4(whole, cuts, id);
    const order = program.u8();
    for (let at = 0; at < pieces.length; at++) {
      const piece = pieces[(at + order) % pieces.length]!;
      if ((order & (8 << at)) === 0) this.#send(this.#framed(repaired(piece)));
    }
  }

  /** As a kernel with offloads hands a large segment over. */
  #super(): void {
    const { vnetBytes } = this.core;
    const fields = this.#segmentFields();
    const payload = new Uint8Array(1 + (this.#program.u16() & 0x3fff));
    const gso = this.#program.u16() & 0x7ff;
    if (vnetBytes === 0) return;
    this.#send(offloadedTcp({ ...fields, options: {}, payload }, gso, vnetBytes));
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
      const peer = this.#peers.get(tcp.dport - 40_000);
      if (peer !== undefined && !tcp.flags.includes("R")) peer.coreNxt = tcp.end;
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
