/**
 * Spoils what passes a device, by a seed: loss, duplicates, delay with jitter, reordering, in each
 * direction on its own. For tests, the demo and trying things out; every packet is copied.
 *
 * The inner device works on memory of our own with the same layout, because packets that wait are
 * no longer in the core's. Each packet draws the same number of random values whatever the options,
 * so a seed means the same decisions for the same packets.
 */
import * as abi from "../../assembly/abi.ts";
import { Blocks } from "./blocks.ts";
import type { Device, DeviceMemory } from "./device.ts";

export interface Faults {
  /** Probabilities, 0 … 1. */
  readonly loss?: number;
  readonly duplicate?: number;
  /** Share of packets that are held back by `reorderMs`, so that later ones overtake. */
  readonly reorder?: number;
  /** Default: 5. */
  readonly reorderMs?: number;
  readonly delayMs?: number;
  /** Added to the delay: 0 … jitterMs, evenly. May reorder. */
  readonly jitterMs?: number;
}

export interface FaultClock {
  nowMs(): number;
  /** Calls back once after `ms`; answers how to take that back. */
  after(ms: number, callback: () => void): () => void;
}

export interface FaultsOptions {
  readonly seed: number;
  /** From the device to the stack. */
  readonly in?: Faults;
  readonly out?: Faults;
  /** Native.attach and detach, where the inner device needs the addon. */
  readonly attach?: (buffer: ArrayBuffer) => number;
  readonly detach?: (region: number) => void;
  readonly clock?: FaultClock;
}

export interface FaultCounts {
  passed: number;
  lost: number;
  duplicated: number;
  reordered: number;
  /** Dropped because too many were waiting. */
  overflowed: number;
}

interface Waiting {
  readonly dueMs: number;
  readonly packet: Uint8Array;
}

/** Packets that may wait in one direction. */
const QUEUE_MAX = 4096;
const SLOTS = 16;
const REORDER_MS = 5;
/** Header part of our TX descriptors; the rest of the packet is one span. */
const HEADER_BYTES = 64;

const realClock: FaultClock = {
  nowMs: () => performance.now(),
  after: (ms, callback) => {
    const timer = setTimeout(callback, ms);
    return () => clearTimeout(timer);
  },
};

/** mulberry32: 32 bits of state, good enough to choose packets. Answers 0 … 1. */
function randomOf(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

/** One direction: decides, and keeps packets until they are due. */
class Lane {
  readonly counts: FaultCounts = {
    passed: 0,
    lost: 0,
    duplicated: 0,
    reordered: 0,
    overflowed: 0,
  };
  readonly #faults: Faults;
  readonly #random: () => number;
  /** In the order of their times; equal times keep the order of arrival. */
  readonly #waiting: Waiting[] = [];

  constructor(faults: Faults, seed: number) {
    this.#faults = faults;
    this.#random = randomOf(seed);
  }

  add(packet: Uint8Array, nowMs: number): void {
    const faults = this.#faults;
    const lost = this.#random() < (faults.loss ?? 0);
    const twice = this.#random() < (faults.duplicate ?? 0);
    const late = this.#random() < (faults.reorder ?? 0);
    const jitterMs = this.#random() * (faults.jitterMs ?? 0);
    if (lost) {
      this.counts.lost++;
      return;
    }
    const extraMs = late ? (faults.reorderMs ?? REORDER_MS) : 0;
    const dueMs = nowMs + (faults.delayMs ?? 0) + jitterMs + extraMs;
    if (late) this.counts.reordered++;
    this.#insert({ dueMs, packet });
    if (!twice) return;
    this.counts.duplicated++;
    this.#insert({ dueMs, packet });
  }

  #insert(entry: Waiting): void {
    if (this.#waiting.length >= QUEUE_MAX) {
      this.counts.overflowed++;
      return;
    }
    let at = this.#waiting.length;
    while (at > 0 && (this.#waiting[at - 1]?.dueMs ?? 0) > entry.dueMs) at--;
    this.#waiting.splice(at, 0, entry);
  }

  /** The next packet whose time has come. */
  take(nowMs: number): Uint8Array | undefined {
    if (this.dueMs > nowMs) return undefined;
    this.counts.passed++;
    return this.#waiting.shift()?.packet;
  }

  /** When the next packet is due; Infinity if none waits. */
  get dueMs(): number {
    return this.#waiting[0]?.dueMs ?? Infinity;
  }

  clear(): void {
    this.#waiting.length = 0;
  }
}

export class FaultsDevice implements Device {
  readonly #inner: Device;
  readonly #options: FaultsOptions;
  readonly #clock: FaultClock;
  readonly #in: Lane;
  readonly #out: Lane;
  readonly #memory = new ArrayBuffer(abi.FIXED_END + 2 * SLOTS * abi.SLOT_BYTES);
  readonly #private = new Blocks(this.#memory);
  #region = -1;
  #blocks: Blocks | undefined;
  #readable: (() => void) | undefined;
  #cancel: (() => void) | undefined;
  #timerMs = Infinity;
  #closed = false;

  constructor(inner: Device, options: FaultsOptions) {
    this.#inner = inner;
    this.#options = options;
    this.#clock = options.clock ?? realClock;
    this.#in = new Lane(options.in ?? {}, options.seed);
    this.#out = new Lane(options.out ?? {}, options.seed ^ 0x9e3779b9);
  }

  get name(): string {
    return this.#inner.name;
  }

  get mtu(): number {
    return this.#inner.mtu;
  }

  get vnetBytes(): number {
    return this.#inner.vnetBytes;
  }

  get offloads(): number {
    return this.#inner.offloads;
  }

  get counts(): { readonly in: Readonly<FaultCounts>; readonly out: Readonly<FaultCounts> } {
    return { in: this.#in.counts, out: this.#out.counts };
  }

  attach(memory: DeviceMemory): void {
    this.#blocks = new Blocks(memory.buffer);
    const words = new DataView(this.#memory);
    for (let index = 0; index < SLOTS; index++) {
      const slot = abi.FIXED_END + index * abi.SLOT_BYTES;
      words.setUint32(abi.RX_BASE + index * abi.RX_ENTRY_BYTES, slot, true);
    }
    this.#region = this.#options.attach?.(this.#memory) ?? -1;
    this.#inner.attach({ buffer: this.#memory, region: this.#region });
  }

  read(max: number): number {
    const blocks = this.#blocks;
    if (blocks === undefined || this.#closed) return 0;
    this.#pull();
    const nowMs = this.#clock.nowMs();
    let count = 0;
    while (count < max) {
      const packet = this.#in.take(nowMs);
      if (packet === undefined) break;
      if (blocks.receive(count, packet)) count++;
    }
    this.#arm();
    return count;
  }

  /** Takes what the inner device has. */
  #pull(): void {
    const nowMs = this.#clock.nowMs();
    for (let round = 0; round < SLOTS; round++) {
      const count = this.#inner.read(SLOTS);
      for (let index = 0; index < count; index++) {
        this.#in.add(this.#private.received(index).slice(), nowMs);
      }
      if (count < SLOTS) return;
    }
  }

  /** A packet that is lost on purpose did not fail. */
  write(count: number): number {
    if (this.#blocks === undefined || this.#closed) return count;
    const nowMs = this.#clock.nowMs();
    let failed = 0;
    for (let index = 0; index < count; index++) {
      const packet = this.#blocks.sent(index);
      if (packet === undefined || packet.length > abi.SLOT_BYTES) failed++;
      else this.#out.add(packet, nowMs);
    }
    failed += this.#push(nowMs);
    this.#arm();
    return failed;
  }

  /** Writes the packets out whose time has come; answers how many failed. */
  #push(nowMs: number): number {
    let failed = 0;
    for (;;) {
      let count = 0;
      while (count < SLOTS) {
        const packet = this.#out.take(nowMs);
        if (packet === undefined) break;
        this.#stage(count, packet);
        count++;
      }
      if (count > 0) failed += this.#inner.write(count);
      if (count < SLOTS) return failed;
    }
  }

  /** Makes TX descriptor `index` of our own memory. */
  #stage(index: number, packet: Uint8Array): void {
    const slot = abi.FIXED_END + (SLOTS + index) * abi.SLOT_BYTES;
    const words = new DataView(this.#memory, abi.TX_BASE + index * abi.TX_BYTES, abi.TX_BYTES);
    const header = Math.min(HEADER_BYTES, packet.length);
    const rest = packet.length - header;
    new Uint8Array(this.#memory).set(packet, slot);
    words.setUint32(abi.TX_HEADER_PTR_OFF, slot, true);
    words.setUint16(abi.TX_HEADER_LEN_OFF, header, true);
    words.setUint16(abi.TX_SPAN_COUNT_OFF, rest > 0 ? 1 : 0, true);
    words.setUint32(abi.TX_SPANS_OFF, slot + header, true);
    words.setUint32(abi.TX_SPANS_OFF + 4, rest, true);
  }

  onReadable(handler: () => void): void {
    this.#readable = handler;
    this.#inner.onReadable(() => this.#wake());
    this.#arm();
  }

  /** Sees to both directions: the reader is called only for packets that are due. */
  #wake(): void {
    if (this.#closed) return;
    this.#push(this.#clock.nowMs());
    this.#readable?.();
    this.#arm();
  }

  /** One timer, at the earliest time of both directions. */
  #arm(): void {
    const dueMs = Math.min(this.#in.dueMs, this.#out.dueMs);
    if (dueMs === this.#timerMs) return;
    this.#cancel?.();
    this.#cancel = undefined;
    this.#timerMs = dueMs;
    if (dueMs === Infinity || this.#closed) return;
    const waitMs = Math.max(0, Math.ceil(dueMs - this.#clock.nowMs()));
    this.#cancel = this.#clock.after(waitMs, () => {
      this.#timerMs = Infinity;
      this.#cancel = undefined;
      this.#wake();
    });
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#cancel?.();
    this.#in.clear();
    this.#out.clear();
    this.#inner.close();
    if (this.#region >= 0) this.#options.detach?.(this.#region);
  }
}
