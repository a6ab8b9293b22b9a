/** What a simulation is judged by: the levels of pools at each step, and how all ended. */
import * as abi from "../../assembly/abi.ts";
import type { CoreHarness } from "../kit/core.ts";
import { expectTcp } from "../kit/expect.ts";
import type { Client } from "./client.ts";
import type { Ended, Host } from "./host.ts";
import { isQuiet, type Scenario } from "./scenario.ts";

/** Gauges that say whether anybody may hold memory. */
const HOLDERS = [
  "GAUGE_FLOWS",
  "GAUGE_UNRELEASED",
  "GAUGE_MAPPINGS",
  "GAUGE_REASSEMBLIES",
] as const;

export class Pools {
  readonly #core: CoreHarness;
  readonly #limits: readonly (readonly [string, number])[];
  readonly #slots: number;
  readonly #chunks: number;

  constructor(core: CoreHarness) {
    const limit = (option: string): number => core.setup.options?.[option] ?? Infinity;
    this.#core = core;
    this.#slots = core.gauge("GAUGE_SLOTS_FREE");
    this.#chunks = core.gauge("GAUGE_CHUNKS_FREE");
    this.#limits = [
      ["GAUGE_SLOTS_FREE", this.#slots],
      ["GAUGE_CHUNKS_FREE", this.#chunks],
      ["GAUGE_FLOWS", limit("flows")],
      ["GAUGE_HALF_OPEN", limit("halfOpen")],
      ["GAUGE_TIME_WAITS", limit("timeWaits")],
      ["GAUGE_MAPPINGS", limit("udpMappings")],
      ["GAUGE_REASSEMBLIES", limit("reassemblyDatagrams")],
      ["GAUGE_BUFFERED_BYTES", limit("bufferCap")],
    ];
  }

  /** After a step, when all events were taken: `hostFlows` is what the host knows to be open. */
  check(hostFlows: number): void {
    for (const [name, most] of this.#limits) {
      const value = this.#core.gauge(name);
      if (value > most) throw new Error(`${name} is ${value}, more than ${most}`);
    }
    const flows = this.#core.gauge("GAUGE_FLOWS");
    if (flows < hostFlows) throw new Error(`${flows} flows, and the host has ${hostFlows}`);
    if (HOLDERS.some((name) => this.#core.gauge(name) > 0)) return;
    const slots = this.#slots - this.#core.gauge("GAUGE_SLOTS_FREE");
    const chunks = this.#chunks - this.#core.gauge("GAUGE_CHUNKS_FREE");
    const bytes = this.#core.gauge("GAUGE_BUFFERED_BYTES");
    if (slots + chunks + bytes > 0) {
      throw new Error(
        `nobody is there, and holds ${slots} slots, ${chunks} chunks, ${bytes} bytes`,
      );
    }
  }
}

/** Where nobody aborts and pools suffice, everything arrived and both ends know it. */
export function checkOutcome(scenario: Scenario, clients: readonly Client[], host: Host): void {
  if (!scenario.isStrict) return;
  const ended = new Map<Client, Ended[]>(clients.map((client) => [client, []]));
  for (const flow of host.ended) ended.get(flow.client)?.push(flow);
  for (const client of clients.filter(({ plan }) => isQuiet(plan))) {
    const name = `client ${client.plan.peer.sport}`;
    if (!client.hasAll) {
      const { state } = client.peer;
      throw new Error(`${name}: ${state}, got ${client.got} of ${client.expected.length}`);
    }
    const ends = ended.get(client) ?? [];
    const [done, ...more] = ends.filter(({ code }) => code === abi.CLOSE_DONE);
    if (done === undefined || more.length > 0) {
      throw new Error(`${name}: closed with ${ends.map(({ code }) => code).join(" ")}`);
    }
    if (done.got !== client.upStream.length || !done.hasFin) {
      throw new Error(`${name}: the host got ${done.got} of ${client.upStream.length}`);
    }
  }
}

/** Who is not at an end, and how far he came. */
export function openWork(clients: readonly Client[], host: Host): string {
  const peers = clients.filter((client) => !client.isOver);
  const names = peers.map(({ peer, plan }) => {
    const { una, nxt, end, edge } = peer.sender;
    const { finAt } = peer.receiver;
    const sent = `una ${una} nxt ${nxt} end ${end} edge ${edge}`;
    return `${plan.peer.sport} ${peer.state} ${sent} rcv ${peer.receiver.nxt} fin ${finAt}`;
  });
  const flows = [...host.flows.values()].map(
    ({ client, got, sent, hasFin, hasShut }) =>
      `${client.plan.peer.sport} got ${got} sent ${sent} fin ${hasFin} shut ${hasShut}`,
  );
  const strangers = host.strangers.size > 0 ? `, ${host.strangers.size} strangers` : "";
  return `peers [${names.join("; ")}], host [${flows.join("; ")}]${strangers}`;
}

/** A packet as a line of the log. */
export function packetLine(way: string, packet: Uint8Array, core: CoreHarness): string {
  const at = (core.nowUs / 1000).toFixed(3);
  try {
    const seen = expectTcp(packet, core.framing);
    const { src, sport, dst, dport, flags, seq, ack, payload, window, ts, sack, gsoSize } = seen;
    const sacks = sack.length > 0 ? ` sack ${sack.map((range) => range.join("-")).join(" ")}` : "";
    const stamps = ts === undefined ? "" : ` ts ${ts.join("/")}`;
    const gso = gsoSize > 0 ? ` gso ${gsoSize}` : "";
    const ends = `${src}:${sport} ${dst}:${dport}`;
    const numbers = `${seq}+${payload.length} ack ${ack} win ${window}`;
    return `${at} ${way} ${ends} ${flags} ${numbers}${stamps}${sacks}${gso}`;
  } catch (error) {
    return `${at} ${way} ${packet.length} bytes: ${String(error).slice(0, 100)}`;
  }
}
