/**
 * The simulation: the core between clients on lossy links and a host, in virtual time. Each step
 * delivers what is due, lets everybody act, and asserts the invariants: streams are prefixes of
 * what was sent (client, host), windows hold (peer), pools balance, nothing traps. At the end every
 * flow has ended and every pool is at its level. One seed gives one run, bit for bit.
 */
import { createHash } from "node:crypto";
import * as abi from "../../assembly/abi.ts";
import { get16 } from "../kit/bytes.ts";
import { CoreHarness, type Build } from "../kit/core.ts";
import { expectTcp, parsePacket } from "../kit/expect.ts";
import { Link, type Delivery } from "../kit/link.ts";
import { Random } from "../kit/random.ts";
import { Client } from "./client.ts";
import { Host } from "./host.ts";
import { drawScenario, isQuiet, type Scenario } from "./scenario.ts";

export interface SimResult {
  /** sha256 of everything the core put out. */
  readonly digest: string;
  readonly packets: number;
  readonly virtualMs: number;
  readonly stats: Record<string, number>;
}

const LIMIT_US = 3 * 3600 * 1_000_000;
const STEPS_MAX = 300_000;

export class World {
  readonly scenario: Scenario;
  readonly core: CoreHarness;
  readonly clients: Client[];
  readonly host: Host;
  readonly #up: Link;
  readonly #down: Link;
  readonly #hash = createHash("sha256");
  readonly #trace: ((line: string) => void) | undefined;
  readonly #stalls: Random;
  #packets = 0;

  constructor(scenario: Scenario, build: Build, trace?: (line: string) => void) {
    this.scenario = scenario;
    this.core = new CoreHarness({ ...scenario.core, build });
    this.clients = scenario.clients.map((plan) => new Client(plan, this.core.nowUs));
    this.#up = new Link(new Random(scenario.seed ^ 0x5555), scenario.up);
    this.#down = new Link(new Random(scenario.seed ^ 0xaaaa), scenario.down);
    this.#stalls = new Random(scenario.seed ^ 0x3333);
    this.#trace = trace;
    const byPort = new Map(this.clients.map((client) => [client.plan.peer.sport, client]));
    this.host = new Host(this.core, (port) => {
      const client = byPort.get(port);
      if (client === undefined) throw new Error(`a flow from port ${port}, which nobody has`);
      return client;
    });
  }

  run(): SimResult {
    const startUs = this.core.nowUs;
    for (let step = 0; step < STEPS_MAX; step++) {
      this.#step();
      const next = this.#next();
      const isOver = this.clients.every((client) => client.isOver) && this.host.openCount === 0;
      if (isOver && this.#up.isEmpty && this.#down.isEmpty) {
        this.#checkOutcome();
        this.core.tearDown();
        return {
          digest: this.#hash.digest("hex"),
          packets: this.#packets,
          virtualMs: Math.round((this.core.nowUs - startUs) / 1000),
          stats: this.core.stats(),
        };
      }
      if (next - startUs > LIMIT_US) throw new Error(`not at an end: ${this.#open()}`);
      const isLate = this.scenario.hasStalls && this.#stalls.chance(0.003);
      const lateUs = isLate ? this.#stalls.between(1000, 3_000_000) : 0;
      this.core.nowUs = Math.max(this.core.nowUs, next) + lateUs;
    }
    throw new Error(`no end after ${STEPS_MAX} steps: ${this.#open()}`);
  }

  #open(): string {
    const peers = this.clients.filter((client) => !client.isOver);
    const names = peers.map(({ peer, plan }) => {
      const { una, nxt, end, edge } = peer.sender;
      const { finAt } = peer.receiver;
      const sent = `una ${una} nxt ${nxt} end ${end} edge ${edge}`;
      return `${plan.peer.sport} ${peer.state} ${sent} rcv ${peer.receiver.nxt} fin ${finAt}`;
    });
    const flows = [...this.host.flows.values()].map(
      ({ client, got, sent, hasFin, hasShut }) =>
        `${client.plan.peer.sport} got ${got} sent ${sent} fin ${hasFin} shut ${hasShut}`,
    );
    return `peers [${names.join("; ")}], host [${flows.join("; ")}]`;
  }

  #next(): number {
    const clients = this.clients.map((client) => client.deadline());
    const links = [this.#up.deadline(), this.#down.deadline()];
    return Math.min(this.core.deadline(), this.host.deadline(), ...links, ...clients);
  }

  #step(): void {
    const { core } = this;
    const arrived = this.#up.pop(core.nowUs);
    for (const { bytes } of arrived) this.#log(">", bytes);
    if (arrived.length > 0) core.send(...arrived.map(({ bytes }) => bytes));
    core.poll();
    this.host.onEvents();
    this.host.act();
    this.#emit();
    this.host.onEvents();
    this.#emit();
    for (const delivery of this.#down.pop(core.nowUs)) this.#deliver(delivery);
    for (const client of this.clients) {
      for (const packet of client.act(core.nowUs)) this.#up.push(packet, core.nowUs);
    }
    this.#checkPools();
  }

  #emit(): void {
    for (const packet of this.core.flush()) {
      this.#packets++;
      this.#hash.update(packet);
      this.#log("<", packet);
      this.#verify(packet);
      this.#down.push(packet, this.core.nowUs);
    }
  }

  /** Whatever leaves the core is right, whether it arrives or not. */
  #verify(packet: Uint8Array): void {
    const seen = parsePacket(packet, this.core.framing);
    if (seen.proto !== 6) return;
    const tcp = expectTcp(packet, this.core.framing);
    const client = this.clients.find(({ plan }) => plan.peer.sport === tcp.dport);
    client?.watch.onSent(tcp, client.peer.finSeq);
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
    const isTcp = seen.proto === 6;
    const quoted = 8 + (seen.family === 4 ? 20 : 40);
    // An error about a packet that was damaged on its way may quote anything.
    if (!isTcp && seen.l4.length < quoted + 2) return;
    const port = isTcp ? get16(seen.l4, 2) : get16(seen.l4, quoted);
    const client = this.clients.find(({ plan }) => plan.peer.sport === port);
    if (client === undefined && isTcp) throw new Error(`a packet to port ${port}, of nobody`);
    if (client === undefined) return;
    if (isTcp) client.peer.receive(bytes, this.core.nowUs);
    else client.peer.refuse();
  }

  #checkPools(): void {
    const { core } = this;
    const pairs = [
      ["GAUGE_SLOTS_FREE", core.gauge("GAUGE_SLOTS")],
      ["GAUGE_CHUNKS_FREE", core.gauge("GAUGE_CHUNKS")],
      ["GAUGE_FLOWS", core.setup.options?.["flows"] ?? Infinity],
      ["GAUGE_HALF_OPEN", core.setup.options?.["halfOpen"] ?? Infinity],
      ["GAUGE_TIME_WAITS", core.setup.options?.["timeWaits"] ?? Infinity],
      ["GAUGE_BUFFERED_BYTES", core.setup.options?.["bufferCap"] ?? Infinity],
    ] as const;
    for (const [name, most] of pairs) {
      const value = core.gauge(name);
      if (value > most) throw new Error(`${name} is ${value}, more than ${most}`);
    }
  }

  /** Where nobody aborts and pools suffice, everything arrived and both ends know it. */
  #checkOutcome(): void {
    if (this.scenario.isTiny) return;
    for (const client of this.clients.filter(({ plan }) => isQuiet(plan))) {
      const name = `client ${client.plan.peer.sport}`;
      if (!client.hasAll) {
        throw new Error(
          `${name}: ${client.peer.state}, got ${client.got} of ${client.expected.length}`,
        );
      }
      const ends = this.host.ended.filter((flow) => flow.client === client);
      const done = ends.filter(({ code }) => code === abi.CLOSE_DONE);
      if (done.length !== 1) {
        throw new Error(`${name}: closed with ${ends.map(({ code }) => code).join(" ")}`);
      }
      if (done[0]!.got !== client.upStream.length || !done[0]!.hasFin) {
        throw new Error(`${name}: the host got ${done[0]!.got} of ${client.upStream.length}`);
      }
    }
  }

  #log(way: string, packet: Uint8Array): void {
    if (this.#trace === undefined) return;
    const at = (this.core.nowUs / 1000).toFixed(3);
    try {
      const { src, sport, dst, dport, flags, seq, ack, payload, window, ts, sack, gsoSize } =
        expectTcp(packet, this.core.framing);
      const sacks =
        sack.length > 0 ? ` sack ${sack.map((range) => range.join("-")).join(" ")}` : "";
      const stamps = ts === undefined ? "" : ` ts ${ts.join("/")}`;
      const gso = gsoSize > 0 ? ` gso ${gsoSize}` : "";
      const ends = `${src}:${sport} ${dst}:${dport}`;
      this.#trace(
        `${at} ${way} ${ends} ${flags} ${seq}+${payload.length} ack ${ack} win ${window}${stamps}${sacks}${gso}`,
      );
    } catch (error) {
      this.#trace(`${at} ${way} ${packet.length} bytes: ${String(error).slice(0, 100)}`);
    }
  }
}

export function simulate(seed: number, build: Build, trace?: (line: string) => void): SimResult {
  return new World(drawScenario(seed), build, trace).run();
}
