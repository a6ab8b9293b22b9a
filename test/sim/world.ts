/**
 * The simulation: the core between clients on lossy links and a host, in virtual time. Each step
 * delivers what is due, lets everybody act, and asserts the invariants: streams are prefixes of
 * what was sent (client, host), windows hold both ways (peer, watch), pools balance, nothing traps.
 * At the end every flow has ended and every pool is at its level. One seed gives one run, bit for
 * bit.
 */
import { createHash } from "node:crypto";
import { get16 } from "../kit/bytes.ts";
import { CoreHarness, type Build, type CoreSetup } from "../kit/core.ts";
import { expectIcmp, expectTcp, parsePacket, type TcpSeen } from "../kit/expect.ts";
import { Link, type Delivery } from "../kit/link.ts";
import { Random } from "../kit/random.ts";
import { Attacker } from "./attacker.ts";
import { Client } from "./client.ts";
import { Datagrams } from "./datagrams.ts";
import { Due } from "./due.ts";
import { Host } from "./host.ts";
import { checkOutcome, openWork, packetLine, Pools } from "./judge.ts";
import { Path } from "./path.ts";
import { drawScenario, type Profile } from "./profiles.ts";
import { Rude } from "./rude.ts";
import type { Jump, Scenario } from "./scenario.ts";
import { startBeforeWrap } from "./wrap.ts";

export interface SimResult {
  /** sha256 of everything the core put out. */
  readonly digest: string;
  readonly packets: number;
  readonly virtualMs: number;
  readonly stats: Record<string, number>;
}

export interface SimOptions {
  readonly profile?: Profile | undefined;
  /** Most flows of a crowd. */
  readonly crowdMax?: number;
  readonly trace?: ((line: string) => void) | undefined;
}

const LIMIT_US = 3 * 3600 * 1_000_000;
const STEPS_MAX = 2_000_000;
const TCP = 6;
const UDP = 17;
/** Ports of the clients; others are an attacker's inventions. */
const CLIENT_PORT_MIN = 40_000;

export class World {
  readonly scenario: Scenario;
  readonly core: CoreHarness;
  readonly clients: Client[];
  readonly host: Host;
  readonly datagrams: Datagrams;
  readonly #attacker: Attacker;
  readonly #rude: Rude;
  readonly #path: Path;
  readonly #pools: Pools;
  readonly #up: Link;
  readonly #down: Link;
  readonly #hash = createHash("sha256");
  readonly #trace: ((line: string) => void) | undefined;
  readonly #stalls: Random;
  readonly #startUs: number;
  readonly #byPort: Map<number, Client>;
  readonly #due = new Due<Client>();
  /** Clients that are not over, and those that something happened to in this step. */
  readonly #living: Set<Client>;
  readonly #touched = new Set<Client>();
  readonly #jumps: Jump[];
  #limitUs: number;
  #packets = 0;

  constructor(scenario: Scenario, build: Build, trace?: (line: string) => void) {
    this.scenario = scenario;
    const { seed, clients, mtuChanges } = scenario;
    const setup: CoreSetup = { ...scenario.core, build };
    this.core = new CoreHarness(scenario.isWrapping ? startBeforeWrap(setup, clients) : setup);
    this.#startUs = this.core.nowUs;
    this.#limitUs = this.#startUs + LIMIT_US;
    const { recvBuffer = 0, recvBufferMax = 0 } = setup.options ?? {};
    const windowMax = Math.max(recvBuffer, recvBufferMax);
    this.clients = clients.map((plan) => new Client(plan, this.#startUs, windowMax));
    this.#living = new Set(this.clients);
    for (const client of this.clients) this.#due.set(client, client.deadline());
    this.#up = new Link(new Random(seed ^ 0x5555), scenario.up);
    this.#down = new Link(new Random(seed ^ 0xaaaa), scenario.down);
    this.#stalls = new Random(seed ^ 0x3333);
    this.#trace = trace;
    this.#jumps = [...scenario.jumps];
    this.#byPort = new Map(this.clients.map((client) => [client.plan.peer.sport, client]));
    this.#path = new Path(mtuChanges, this.#startUs, this.core.framing);
    this.#pools = new Pools(this.core);
    this.#rude = new Rude(this.core, new Random(seed ^ 0x1111));
    this.datagrams = new Datagrams(scenario.datagrams, new Random(seed ^ 0x2222), this.core);
    const random = new Random(seed ^ 0x4444);
    this.#attacker = new Attacker(scenario.attack, random, this.clients, this.#startUs);
    this.host = new Host(this.core, (port) => this.#clientAt(port), this.datagrams, this.#rude);
  }

  /** Undefined for an attacker's invention. */
  #clientAt(port: number): Client | undefined {
    const client = this.#byPort.get(port);
    const isInvented = this.scenario.attack.count > 0 && port < CLIENT_PORT_MIN;
    if (client === undefined && !isInvented) throw new Error(`port ${port} belongs to nobody`);
    return client;
  }

  run(): SimResult {
    for (let step = 0; step < STEPS_MAX; step++) {
      this.#step();
      const next = this.#next();
      const isOver = this.#living.size === 0 && this.host.openCount === 0;
      if (isOver && next === Math.min(next, this.core.deadline()) && this.#isQuiet) {
        checkOutcome(this.scenario, this.clients, this.host);
        this.core.tearDown();
        return {
          digest: this.#hash.digest("hex"),
          packets: this.#packets,
          virtualMs: Math.round((this.core.nowUs - this.#startUs) / 1000),
          stats: this.core.stats(),
        };
      }
      if (next > this.#limitUs) throw new Error(`not at an end: ${this.#open()}`);
      this.#pass(next);
    }
    throw new Error(`no end after ${STEPS_MAX} steps: ${this.#open()}`);
  }

  #open(): string {
    return openWork(this.clients, this.host);
  }

  /** Nothing is on its way, and nobody will send anything by himself. */
  get #isQuiet(): boolean {
    const isIdle = this.#attacker.deadline() === Infinity && this.datagrams.deadline() === Infinity;
    return isIdle && this.#up.isEmpty && this.#down.isEmpty;
  }

  #next(): number {
    const links = Math.min(this.#up.deadline(), this.#down.deadline());
    const ends = Math.min(this.#due.deadline(), this.host.deadline());
    const others = Math.min(this.#attacker.deadline(), this.datagrams.deadline());
    return Math.min(this.core.deadline(), links, ends, others);
  }

  /** Time goes on to `next`, and further if the machine stands still or was suspended. */
  #pass(next: number): void {
    const isLate = this.scenario.hasStalls && this.#stalls.chance(0.003);
    const lateUs = isLate ? this.#stalls.between(1000, 3_000_000) : 0;
    let nowUs = Math.max(this.core.nowUs, next) + lateUs;
    const [jump] = this.#jumps;
    if (jump !== undefined && nowUs >= this.#startUs + jump.atUs) {
      this.#jumps.shift();
      nowUs += jump.byUs;
      this.#limitUs += jump.byUs;
    }
    this.core.nowUs = nowUs;
  }

  #step(): void {
    const { core } = this;
    this.#arrive(this.#up.pop(core.nowUs));
    core.poll();
    this.host.onEvents();
    this.host.act();
    if (this.#stalls.chance(this.scenario.rudeness)) {
      this.#rude.act([...this.host.flows.keys()], this.datagrams.mappings);
    }
    this.#emit();
    this.host.onEvents();
    this.#emit();
    for (const delivery of this.#down.pop(core.nowUs)) this.#deliver(delivery);
    this.#letClientsAct();
    for (const packet of this.#attacker.act(core.nowUs)) this.#up.push(packet, core.nowUs);
    for (const packet of this.datagrams.act()) this.#up.push(packet, core.nowUs);
    this.#pools.check(this.host.flows.size);
  }

  #arrive(arrived: readonly Delivery[]): void {
    if (arrived.length === 0) return;
    for (const { bytes } of arrived) {
      this.#log(">", bytes);
      this.#tell(bytes);
    }
    const datagrams = this.core.send(...arrived.map(({ bytes }) => bytes));
    for (const datagram of datagrams) {
      this.datagrams.onDatagram(datagram);
      this.#emit();
    }
  }

  /** The core hears of a client's window. */
  #tell(bytes: Uint8Array): void {
    if (this.#protoOf(bytes) !== TCP) return;
    const at = this.core.vnetBytes + (this.#isSix(bytes) ? 40 : 20);
    if (bytes.length < at + 20) return;
    const client = this.#byPort.get(get16(bytes, at));
    let seen: TcpSeen;
    try {
      seen = expectTcp(bytes, { vnetBytes: this.core.vnetBytes });
    } catch {
      // Damaged, or an attacker's: the core has to refuse it.
      return;
    }
    client?.watch.onTold(seen);
  }

  #isSix(bytes: Uint8Array): boolean {
    return (bytes[this.core.vnetBytes] ?? 0) >> 4 === 6;
  }

  #protoOf(bytes: Uint8Array): number {
    return bytes[this.core.vnetBytes + (this.#isSix(bytes) ? 6 : 9)] ?? 0;
  }

  #letClientsAct(): void {
    const { nowUs } = this.core;
    for (const client of this.#due.take(nowUs)) this.#touched.add(client);
    const acting = [...this.#touched].sort((a, b) => a.plan.peer.sport - b.plan.peer.sport);
    this.#touched.clear();
    for (const client of acting) {
      for (const packet of client.act(nowUs)) this.#up.push(packet, nowUs);
      this.#due.set(client, client.deadline());
      if (client.isOver) this.#living.delete(client);
    }
  }

  #emit(): void {
    for (const packet of this.core.flush()) {
      this.#packets++;
      this.#hash.update(packet);
      this.#log("<", packet);
      this.#verify(packet);
      const report = this.#path.refuse(packet, this.core.nowUs);
      if (report === undefined) this.#down.push(packet, this.core.nowUs);
      else this.#up.push(report, this.core.nowUs);
    }
  }

  /** Whatever leaves the core is right, whether it arrives or not. */
  #verify(packet: Uint8Array): void {
    const seen = parsePacket(packet, this.core.framing);
    if (seen.proto !== TCP) {
      this.datagrams.onSent(packet, seen);
      return;
    }
    const tcp = expectTcp(packet, this.core.framing);
    const client = this.#byPort.get(tcp.dport);
    client?.watch.onSent(tcp, client.peer.finSeq);
    client?.trick?.onSent(tcp);
  }

  #deliver({ bytes, isFlipped }: Delivery): void {
    try {
      this.#toClient(bytes);
    } catch (error) {
      if (!isFlipped) throw error;
    }
  }

  #toClient(bytes: Uint8Array): void {
    const seen = parsePacket(bytes, this.core.framing);
    const isTcp = seen.proto === TCP;
    if (seen.proto === UDP || seen.fragOffset > 0) return;
    const quoted = 8 + (seen.family === 4 ? 20 : 40);
    // An error about a packet that was damaged on its way may quote anything.
    if (!isTcp && seen.l4.length < quoted + 2) return;
    const port = isTcp ? get16(seen.l4, 2) : get16(seen.l4, quoted);
    const client = isTcp ? this.#clientAt(port) : this.#byPort.get(port);
    if (client === undefined) return;
    this.#touched.add(client);
    if (isTcp) client.receive(bytes, this.core.nowUs);
    else if (this.#isRefusal(bytes)) client.peer.refuse();
  }

  /** Unreachable; other reports may be about a SYN that was damaged on its way. */
  #isRefusal(bytes: Uint8Array): boolean {
    const { family, type } = expectIcmp(bytes, this.core.framing);
    return type === (family === 4 ? 3 : 1);
  }

  #log(way: string, packet: Uint8Array): void {
    this.#trace?.(packetLine(way, packet, this.core));
  }
}

export function simulate(seed: number, build: Build, options: SimOptions = {}): SimResult {
  const { profile, crowdMax, trace } = options;
  return new World(drawScenario(seed, profile, crowdMax), build, trace).run();
}
