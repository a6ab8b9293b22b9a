/**
 * Drives a core in virtual time: packets one at a time, every deadline on its own, events to a
 * sink, everything that the core puts out to the sink as well. The same calls give the same bytes.
 */
import * as abi from "../../assembly/abi.ts";
import type { Core } from "../core/core.ts";
import { defect } from "../errors.ts";
import { Blocks } from "../tun/blocks.ts";

export interface DriverSink {
  /** A flow's event: EV_… bits. */
  flowEvent(handle: number, flags: number, ptr: number, code: number): void;
  mappingEvent(handle: number, flags: number, ptr: number): void;
  /** A datagram record (its address) out of the core; valid until the next stage. */
  datagram(record: number): void;
  /** A packet out of the core, a view. */
  sent(packet: Uint8Array): void;
}

/** Settings for replays: room for whatever a capture holds; all else has its default. */
export const REPLAY_SETTINGS: Readonly<Record<string, number>> = {
  mtu: 65_535,
  recvBuffer: 8 * 1024 ** 2,
  sendBuffer: 1024 ** 2,
  halfOpen: 16_384,
  dials: 16_384,
};

const TIMER_BUDGET = 4096;
/** More than any legal chain of work in one instant. */
const ROUNDS_MAX = 1_000_000;

const LEVELS: readonly (readonly [string, number])[] = [
  ["flows", abi.GAUGE_FLOWS],
  ["pending", abi.GAUGE_PENDING],
  ["half-open flows", abi.GAUGE_HALF_OPEN],
  ["TIME-WAIT records", abi.GAUGE_TIME_WAITS],
  ["mappings", abi.GAUGE_MAPPINGS],
  ["slots", abi.GAUGE_SLOTS_FREE],
  ["chunks", abi.GAUGE_CHUNKS_FREE],
  ["reassemblies", abi.GAUGE_REASSEMBLIES],
  ["buffered bytes", abi.GAUGE_BUFFERED_BYTES],
  ["unreleased records", abi.GAUGE_UNRELEASED],
];

export class Driver {
  readonly core: Core;
  readonly #sink: DriverSink;
  readonly #blocks: Blocks;
  readonly #scratch = new Uint8Array(abi.SLOT_BYTES);
  readonly #levels: readonly number[];
  nowUs = 0;

  constructor(core: Core, sink: DriverSink) {
    this.core = core;
    this.#sink = sink;
    this.#blocks = new Blocks(core.buffer);
    this.#levels = LEVELS.map(([, gauge]) => core.gauge(gauge));
  }

  /** Lets time pass up to `toUs`, stopping at every deadline. */
  advance(toUs: number): void {
    const { x } = this.core;
    for (let round = 0; round < ROUNDS_MAX; round++) {
      const next = x.deadline();
      if (next > toUs) {
        this.nowUs = Math.max(this.nowUs, toUs);
        return;
      }
      this.nowUs = Math.max(this.nowUs, Math.ceil(next));
      while (x.poll(this.nowUs, TIMER_BUDGET) > 0) this.#events();
      this.settle();
    }
    throw defect("replay: time does not pass, a deadline is never cleared");
  }

  /** Feeds one packet; false if it is larger than a receive slot. */
  feed(packet: Uint8Array): boolean {
    if (!this.#blocks.receive(0, packet)) return false;
    const datagrams = this.core.x.ingest(1, this.nowUs);
    this.#events();
    for (let index = 0; index < datagrams; index++) {
      this.#sink.datagram(abi.DGRAMS_BASE + index * abi.DGRAM_BYTES);
    }
    this.settle();
    return true;
  }

  /** Takes out all that the core has to send now, and hands its events on. */
  settle(): void {
    const { core } = this;
    for (let round = 0; round < ROUNDS_MAX; round++) {
      const isIdle = this.#events() === 0;
      const count = core.x.flush(this.nowUs);
      this.#take(count);
      if (isIdle && count === 0 && core.gauge(abi.GAUGE_FLUSH_MORE) === 0) return;
    }
    throw defect("replay: the core does not come to rest");
  }

  /** Sends the one record that was staged (the first of the STAGE block). */
  stage(): void {
    this.core.x.stageSend(0, 1, this.nowUs);
    this.#take(this.core.gauge(abi.GAUGE_TX_COUNT));
    this.settle();
  }

  /** Ends all flows, lets the last timers pass; answers the pools that are not at their level. */
  leaks(): string[] {
    this.core.x.closeAll(this.nowUs);
    this.settle();
    this.advance(this.nowUs + 86_400 * 1e6);
    return LEVELS.flatMap(([name, gauge], index) => {
      const [now, was] = [this.core.gauge(gauge), this.#levels[index] ?? 0];
      return now === was ? [] : [`${name}: ${now}, were ${was}`];
    });
  }

  #events(): number {
    const { core } = this;
    let total = 0;
    for (let count = core.x.events(); count > 0; count = core.x.events()) {
      total += count;
      for (let index = 0; index < count; index++) {
        const at = (abi.EVENTS_BASE + index * abi.EVENT_BYTES) >> 2;
        const [handle = 0, flags = 0, ptr = 0, code = 0] = core.u32.subarray(at, at + 4);
        if ((flags & (abi.EV_MAPPING_OPEN | abi.EV_MAPPING_CLOSED)) !== 0) {
          this.#sink.mappingEvent(handle, flags, ptr);
        } else {
          this.#sink.flowEvent(handle, flags, ptr, code);
        }
        const closed = abi.EV_CLOSED | abi.EV_MAPPING_CLOSED;
        if ((flags & closed) !== 0) core.x.release(handle);
      }
    }
    return total;
  }

  #take(count: number): void {
    for (let index = 0; index < count; index++) {
      const length = this.#blocks.sentLength(index);
      if (length < 0 || length > this.#scratch.length) {
        throw defect(`replay: TX descriptor ${index} points outside of the core's memory`);
      }
      this.#blocks.gather(index, this.#scratch, 0, 0);
      this.#sink.sent(this.#scratch.subarray(0, length));
    }
    this.core.x.txDone();
  }
}
