/**
 * The pump: the only hot loop. It moves packets between a device and the core, hands events to the
 * carriers of flows, and keeps one timer at the core's deadline.
 *
 * A tick: read a batch -> ingest -> events -> datagrams -> flush -> write, until the device blocks
 * or the round budget is used up (the loop then comes back by itself: readiness is level
 * triggered).
 * Carriers act inside the tick; what they caused leaves with its flush. Carriers that are called
 * from elsewhere (a socket became readable, a promise settled) call `touch`, and one flush follows
 * at the end of the loop's turn.
 *
 * Nothing here allocates per packet. A trap of the core ends this pump (`onTrap`); its owner closes
 * the carriers and starts anew.
 */
import * as abi from "../../assembly/abi.ts";
import type { Device } from "../tun/device.ts";
import type { Core } from "./core.ts";
import { flowFacts, type FlowCarrier, type FlowRouter, type MappingCarrier } from "./flow.ts";
import { nowUs } from "./load.ts";

/** Batches of one wake-up before other work of the loop gets its turn. */
const ROUNDS = 16;
/** Timers that one poll may fire. */
const TIMER_BUDGET = 4096;
/** Super-packets of one batch: enough to amortise a call, few enough to stay in the cache. */
const LARGE_BATCH = 8;
const LARGE_BYTES = 16_384;
/** Event rounds of one tick; carriers raise new events only in answer to old ones. */
const EVENT_ROUNDS = 64;

/** What the pump needs of the readiness dispatcher. */
export interface LoopTurns {
  readonly inTurn: boolean;
  endOfTurn(callback: () => void): () => void;
}

export interface PumpOptions {
  readonly core: Core;
  readonly device: Device;
  /** Makes who carries the flows; called once, with the pump that they act on. */
  makeRouter(pump: Pump): FlowRouter;
  /** The readiness dispatcher: what its callbacks caused leaves at the end of their turn. */
  readonly turns?: LoopTurns;
  /** The core trapped, or the device is lost: the pump has stopped. */
  onFailure(error: unknown): void;
}

interface Carried {
  handle: number;
  flow: FlowCarrier | undefined;
  mapping: MappingCarrier | undefined;
}

export class Pump {
  readonly core: Core;
  readonly #device: Device;
  readonly #router: FlowRouter;
  readonly #onFailure: (error: unknown) => void;
  readonly #turns: LoopTurns | undefined;
  readonly #unhook: (() => void) | undefined;
  readonly #flows: (Carried | undefined)[] = [];
  readonly #mappings: (Carried | undefined)[] = [];
  #batch = abi.RX_MAX;
  #staged = 0;
  #timer: NodeJS.Timeout | undefined;
  #timerUs = Infinity;
  #flushQueued = false;
  #inTick = false;
  /** Something changed since the tick's last flush began. */
  #again = false;
  #stopped = false;
  #hasFailed = false;
  /** Packets that the device refused, for the counters. */
  writeFailures = 0;

  constructor(options: PumpOptions) {
    this.core = options.core;
    this.core.onTrap = (error) => this.#trapped(error);
    this.#device = options.device;
    this.#router = options.makeRouter(this);
    this.#onFailure = (error) => options.onFailure(error);
    this.#turns = options.turns;
    this.#unhook = options.turns?.endOfTurn(() => {
      if (this.#flushQueued) this.#flushLater();
    });
    this.#device.onReadable(() => this.#guard(() => this.#drain()));
  }

  get stopped(): boolean {
    return this.#stopped;
  }

  /** The time of every call into the core. */
  now(): number {
    return nowUs();
  }

  /** Something outside a tick changed a flow: flush at the end of this turn. */
  touch(): void {
    if (this.#inTick) this.#again = true;
    if (this.#flushQueued || this.#inTick || this.#stopped) return;
    this.#flushQueued = true;
    if (this.#turns?.inTurn !== true) setImmediate(this.#flushLater);
  }

  /** Sends what is queued now; for carriers that need their staged datagrams back. */
  flushNow(): void {
    this.#guard(() => this.#flush());
  }

  /**
   * A free record of the STAGE block (its address), with room for a datagram at its ptr. The caller
   * fills kind, handle, len and addresses; it leaves with the next flush.
   */
  stage(): number {
    if (this.#staged === abi.STAGE_MAX) this.flushNow();
    const record = abi.STAGE_BASE + this.#staged * abi.DGRAM_BYTES;
    this.#staged++;
    this.touch();
    return record;
  }

  /** Gives back the record that `stage` answered last. */
  unstage(): void {
    this.#staged--;
  }

  /** Tells the core of `count` records that were filled from the start of an empty STAGE block. */
  sendStaged(count: number): void {
    this.#staged = count;
    this.flushNow();
  }

  /** Resets every flow, sends the RSTs and ends. */
  stop(): void {
    if (this.#stopped) return;
    this.#guard(() => {
      this.core.x.closeAll(this.now());
      this.#flush();
      this.#dispatch();
    });
    this.end();
  }

  /** Ends without a word to anybody: the core may be dead. Carriers are told. */
  end(): void {
    this.#stopped = true;
    // Whatever becomes of the core now is nobody's matter.
    this.#hasFailed = true;
    clearTimeout(this.#timer);
    this.#unhook?.();
    for (const table of [this.#flows, this.#mappings]) {
      for (const carried of table.splice(0)) {
        try {
          carried?.flow?.closed(abi.CLOSE_HOST);
          carried?.mapping?.closed();
        } catch {
          // A trapped core answers no release; what the carrier holds upstream is closed by then.
        }
      }
    }
  }

  readonly #flushLater = (): void => {
    if (!this.#flushQueued) return;
    this.#flushQueued = false;
    this.#guard(() => this.#flush());
  };

  #guard(work: () => void): void {
    if (this.#stopped) return;
    const nested = this.#inTick;
    this.#inTick = true;
    try {
      work();
      if (!nested) this.#arm();
    } catch (error) {
      this.#fail(this.core.trapped ?? error);
    } finally {
      this.#inTick = nested;
    }
    if (nested || !this.#again) return;
    this.#again = false;
    this.touch();
  }

  /** Also outside of a tick, in a carrier's call: who caused it must not be closed meanwhile. */
  #trapped(error: unknown): void {
    this.#stopped = true;
    setImmediate(() => this.#fail(error));
  }

  #fail(error: unknown): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
    if (this.#hasFailed) return;
    this.#hasFailed = true;
    this.#onFailure(error);
  }

  #drain(): void {
    const { core } = this;
    for (let round = 0; round < ROUNDS; round++) {
      const count = this.#device.read(this.#batch);
      if (count === 0) break;
      const now = nowUs();
      const large = (core.u32[(abi.RX_BASE >> 2) + 1] ?? 0) > LARGE_BYTES;
      const datagrams = core.x.ingest(count, now);
      this.#dispatch();
      if (datagrams > 0) this.#datagrams(datagrams);
      this.#flush();
      const blocked = count < this.#batch;
      this.#batch = large ? LARGE_BATCH : abi.RX_MAX;
      if (blocked) break;
    }
  }

  #flush(): void {
    const { x } = this.core;
    const now = nowUs();
    this.#again = false;
    let first = 0;
    do {
      if (first < this.#staged) {
        first += Math.max(1, x.stageSend(first, this.#staged - first, now));
      }
      const count = x.flush(now);
      if (count > 0) {
        this.writeFailures += this.#device.write(count);
        x.txDone();
      }
    } while (first < this.#staged || this.core.gauge(abi.GAUGE_FLUSH_MORE) !== 0);
    this.#staged = 0;
    this.#dispatch();
  }

  #fire(): void {
    this.#timer = undefined;
    this.#timerUs = Infinity;
    const now = nowUs();
    while (this.core.x.poll(now, TIMER_BUDGET) > 0) this.#dispatch();
    this.#dispatch();
    this.#flush();
  }

  #arm(): void {
    const deadline = this.core.x.deadline();
    if (deadline >= this.#timerUs) return;
    clearTimeout(this.#timer);
    this.#timerUs = deadline;
    const ms = Math.max(1, Math.ceil((deadline - nowUs()) / 1000));
    this.#timer = setTimeout(() => this.#guard(() => this.#fire()), Math.min(ms, 2 ** 31 - 1));
  }

  #dispatch(): void {
    const { core } = this;
    for (let round = 0; round < EVENT_ROUNDS; round++) {
      const count = core.x.events();
      if (count === 0) return;
      for (let index = 0; index < count; index++) {
        const at = (abi.EVENTS_BASE + index * abi.EVENT_BYTES) >> 2;
        this.#event(
          core.u32[at] ?? 0,
          core.u32[at + 1] ?? 0,
          core.u32[at + 2] ?? 0,
          core.u32[at + 3] ?? 0,
        );
      }
    }
    this.touch();
  }

  #event(handle: number, flags: number, ptr: number, code: number): void {
    const index = handle & abi.HANDLE_INDEX_MASK;
    if ((flags & (abi.EV_MAPPING_OPEN | abi.EV_MAPPING_CLOSED)) !== 0) {
      this.#mappingEvent(handle, index, flags, ptr);
      return;
    }
    if ((flags & abi.EV_OPEN) !== 0) {
      const flow = this.#router.open(flowFacts(this.core, handle, ptr));
      this.#flows[index] = { handle, flow, mapping: undefined };
    }
    const carried = this.#flows[index];
    if (carried?.handle !== handle || carried.flow === undefined) return;
    const { flow } = carried;
    if ((flags & abi.EV_READABLE) !== 0) flow.readable();
    if ((flags & abi.EV_WRITABLE) !== 0) flow.writable();
    if ((flags & abi.EV_FIN) !== 0) flow.fin();
    if ((flags & abi.EV_CLOSED) !== 0) {
      this.#flows[index] = undefined;
      flow.closed(code);
    }
  }

  #mappingEvent(handle: number, index: number, flags: number, ptr: number): void {
    if ((flags & abi.EV_MAPPING_OPEN) !== 0) {
      const mapping = this.#router.mapping(flowFacts(this.core, handle, ptr));
      this.#mappings[index] = { handle, flow: undefined, mapping };
    }
    if ((flags & abi.EV_MAPPING_CLOSED) === 0) return;
    const carried = this.#mappings[index];
    if (carried?.handle !== handle) return;
    this.#mappings[index] = undefined;
    carried.mapping?.closed();
  }

  #datagrams(count: number): void {
    const { u32 } = this.core;
    const step = abi.DGRAM_BYTES >> 2;
    let at = abi.DGRAMS_BASE >> 2;
    for (let index = 0; index < count;) {
      if (u32[at] !== abi.DGRAM_UDP) {
        this.#router.echo(index);
        index++;
        at += step;
        continue;
      }
      const handle = u32[at + 1] ?? 0;
      const first = index;
      do {
        index++;
        at += step;
      } while (index < count && u32[at] === abi.DGRAM_UDP && u32[at + 1] === handle);
      const carried = this.#mappings[handle & abi.HANDLE_INDEX_MASK];
      if (carried?.handle === handle) carried.mapping?.datagrams(first, index - first);
    }
  }
}
