/**
 * The host of the simulation: answers events by each flow's plan, reads and writes at its pace, and
 * asserts the contract of events: one open, one closed, nothing after it; bytes as the client sent
 * them. An eager flow acts on events alone, so that a wake-up the core forgets stops it for good.
 */
import * as abi from "../../assembly/abi.ts";
import { sameBytes } from "../kit/bytes.ts";
import type { CoreEvent, CoreHarness } from "../kit/core.ts";
import type { Client } from "./client.ts";
import type { Datagrams } from "./datagrams.ts";
import { Due } from "./due.ts";
import type { Rude } from "./rude.ts";

/** A flow that closed, with what the host got of it. */
export interface Ended {
  readonly client: Client;
  readonly code: number;
  readonly got: number;
  readonly sent: number;
  readonly hasFin: boolean;
}

interface HostFlow {
  readonly client: Client;
  readonly openedUs: number;
  isDecided: boolean;
  isReadable: boolean;
  isWritable: boolean;
  hasFin: boolean;
  hasShut: boolean;
  /** Aborted or rejected: nothing is left to do but to hear that it closed. */
  isGivenUp: boolean;
  isLeaving: boolean;
  got: number;
  sent: number;
  readUs: number;
  writeUs: number;
}

export class Host {
  readonly flows = new Map<number, HostFlow>();
  /** Flows of nobody that the simulation knows, open until the core gives them up. */
  readonly strangers = new Set<number>();
  readonly #core: CoreHarness;
  readonly #clientOf: (port: number) => Client | undefined;
  readonly #datagrams: Datagrams;
  readonly #rude: Rude;
  readonly #due = new Due<number>();

  constructor(
    core: CoreHarness,
    clientOf: (port: number) => Client | undefined,
    datagrams: Datagrams,
    rude: Rude,
  ) {
    this.#core = core;
    this.#clientOf = clientOf;
    this.#datagrams = datagrams;
    this.#rude = rude;
  }

  get openCount(): number {
    return this.flows.size + this.strangers.size;
  }

  /** Flows that ended, with what the host got of them; by client port. */
  readonly ended: Ended[] = [];

  onEvents(): void {
    for (const event of this.#core.events()) this.#onEvent(event);
  }

  #onEvent(event: CoreEvent): void {
    const { handle, flags, code } = event;
    if ((handle & abi.HANDLE_MAPPING) !== 0) {
      this.#datagrams.onEvent(event);
      return;
    }
    if ((flags & abi.EV_OPEN) !== 0) this.#onOpen(event);
    if (this.strangers.has(handle)) {
      this.#onStranger(event);
      return;
    }
    const flow = this.flows.get(handle);
    if (flow === undefined) throw new Error(`event ${flags} for the unknown handle ${handle}`);
    if ((flags & abi.EV_READABLE) !== 0) flow.isReadable = true;
    if ((flags & abi.EV_WRITABLE) !== 0) flow.isWritable = true;
    if ((flags & abi.EV_FIN) !== 0) flow.hasFin = true;
    if ((flags & abi.EV_CLOSED) !== 0) {
      this.#read(handle, flow, Infinity);
      this.ended.push({
        client: flow.client,
        code,
        got: flow.got,
        sent: flow.sent,
        hasFin: flow.hasFin,
      });
      this.#core.release(handle);
      this.#forget(handle);
      return;
    }
    this.#act(handle, flow);
    this.#plan(handle, flow);
  }

  #plan(handle: number, flow: HostFlow): void {
    this.#due.set(handle, this.flows.has(handle) ? this.#deadlineOf(flow) : Infinity);
  }

  #forget(handle: number): void {
    this.flows.delete(handle);
    this.#due.set(handle, Infinity);
    this.#rude.forget(handle);
  }

  /** A third is refused, a third vanishes, a third waits for its end. */
  #onStranger({ handle, flags }: CoreEvent): void {
    if ((flags & abi.EV_CLOSED) !== 0) {
      this.#core.release(handle);
      this.strangers.delete(handle);
    } else if ((flags & abi.EV_OPEN) !== 0) {
      if (handle % 3 === 0) this.#core.reject(handle, abi.REJECT_RST);
      else if (handle % 3 === 1) this.#core.reject(handle, abi.REJECT_DROP);
    }
  }

  #onOpen({ handle, ptr }: CoreEvent): void {
    if (this.flows.has(handle)) throw new Error(`a second open of ${handle}`);
    const record = this.#core.record(ptr);
    const client = this.#clientOf(record.remotePort);
    if (client === undefined) {
      this.strangers.add(handle);
      return;
    }
    const { src, dst, dport } = client.plan.peer;
    if (record.remote !== src || record.local !== dst || record.localPort !== dport) {
      throw new Error(`open of ${record.remote} to ${record.local}:${record.localPort}`);
    }
    this.flows.set(handle, {
      client,
      openedUs: this.#core.nowUs,
      isDecided: false,
      isReadable: false,
      isWritable: false,
      hasFin: false,
      hasShut: false,
      isGivenUp: false,
      isLeaving: false,
      got: 0,
      sent: 0,
      readUs: 0,
      writeUs: 0,
    });
  }

  deadline(): number {
    return this.#due.deadline();
  }

  #deadlineOf(flow: HostFlow): number {
    const { plan } = flow.client;
    if (flow.isGivenUp || flow.isLeaving) return Infinity;
    const abortUs = flow.openedUs + plan.hostAbortUs;
    if (!flow.isDecided) {
      return plan.verdict === "never" ? abortUs : Math.min(abortUs, flow.openedUs + plan.dialUs);
    }
    const readUs = plan.hostRead.everyUs > 0 && flow.isReadable ? flow.readUs : Infinity;
    const isWriting =
      plan.hostWrite.everyUs > 0 && flow.isWritable && flow.sent < flow.client.expected.length;
    return Math.min(abortUs, readUs, isWriting ? flow.writeUs : Infinity);
  }

  /** Acts for all flows whose time has come. */
  act(): void {
    for (const handle of this.#due.take(this.#core.nowUs)) {
      const flow = this.flows.get(handle);
      if (flow === undefined) continue;
      this.#act(handle, flow);
      this.#plan(handle, flow);
    }
  }

  #act(handle: number, flow: HostFlow): void {
    const core = this.#core;
    const { plan } = flow.client;
    if (flow.isLeaving) this.#letGo(handle, flow);
    if (flow.isGivenUp || flow.isLeaving) return;
    if (core.nowUs >= flow.openedUs + plan.hostAbortUs) {
      core.abort(handle);
      flow.isGivenUp = true;
      return;
    }
    if (!flow.isDecided) {
      if (plan.verdict === "never" || core.nowUs < flow.openedUs + plan.dialUs) return;
      this.#decide(handle, flow);
      if (plan.verdict !== "accept") return;
    }
    this.#read(handle, flow, plan.hostRead.bytes);
    this.#write(handle, flow);
  }

  #decide(handle: number, flow: HostFlow): void {
    const { verdict } = flow.client.plan;
    flow.isDecided = true;
    if (verdict === "accept") this.#core.accept(handle);
    else {
      const how = { reject: abi.REJECT_RST, unreachable: abi.REJECT_HOST_UNREACHABLE };
      this.#core.reject(handle, verdict === "drop" ? abi.REJECT_DROP : how[verdict as "reject"]);
      flow.isGivenUp = true;
    }
  }

  #read(handle: number, flow: HostFlow, most: number): void {
    const { plan, upStream } = flow.client;
    const isPaced = plan.hostRead.everyUs > 0 && most !== Infinity;
    if (isPaced && this.#core.nowUs < flow.readUs) return;
    flow.readUs = this.#core.nowUs + plan.hostRead.everyUs;
    const bytes = this.#core.read(handle, most);
    if (bytes.length < most) flow.isReadable = false;
    const end = flow.got + bytes.length;
    if (end > upStream.length || !sameBytes(bytes, upStream.subarray(flow.got, end))) {
      throw new Error(`host: bytes ${flow.got}…${end} are not those of client ${plan.peer.sport}`);
    }
    flow.got = end;
  }

  #write(handle: number, flow: HostFlow): void {
    const { plan, expected } = flow.client;
    if (flow.hasShut) return;
    const left = expected.length - flow.sent;
    if (left > 0 && flow.isWritable && this.#core.nowUs >= flow.writeUs) {
      flow.writeUs = this.#core.nowUs + plan.hostWrite.everyUs;
      const count = Math.min(left, plan.hostWrite.bytes);
      const taken = this.#core.write(handle, expected.subarray(flow.sent, flow.sent + count));
      flow.sent += taken;
      if (taken < count) flow.isWritable = false;
    }
    const mayClose = plan.lastToClose !== "host" || flow.hasFin;
    if (flow.sent === expected.length && mayClose) {
      flow.hasShut = true;
      this.#core.shutdown(handle);
      if (plan.hostLetsGo) this.#letGo(handle, flow);
    }
  }

  /** Releases a flow that was shut down; refused while its events wait to be taken. */
  #letGo(handle: number, flow: HostFlow): void {
    flow.isLeaving = true;
    if (this.#core.exports.release(handle) === 0) this.#forget(handle);
  }
}
