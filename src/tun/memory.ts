/**
 * A device in memory: packets are pushed in on the far side and collected there. For tests, replay
 * and stacks without a TUN; uses neither the addon nor anything of Node.
 *
 * Packets on the far side begin with the virtio header if the device has one. Both queues are
 * bounded, as a kernel's are: what does not fit is refused (in) or dropped and counted (out).
 */
import * as abi from "../../assembly/abi.ts";
import { Blocks } from "./blocks.ts";
import type { Device, DeviceMemory } from "./device.ts";

export interface MemoryDeviceOptions {
  readonly name?: string;
  /** Default: 1500. */
  readonly mtu?: number;
  /** 0 (default), 10 or 12. */
  readonly vnetBytes?: number;
  /** OFFLOAD_… bits; default 0. */
  readonly offloads?: number;
  /** Most packets in each queue; default 1024. */
  readonly queue?: number;
}

const DEFAULT_MTU = 1500;
const DEFAULT_QUEUE = 1024;

export class MemoryDevice implements Device {
  readonly name: string;
  readonly mtu: number;
  readonly vnetBytes: number;
  readonly offloads: number;
  /** Packets out that found the queue full. */
  dropped = 0;
  readonly #queue: number;
  readonly #in: Uint8Array[] = [];
  readonly #out: Uint8Array[] = [];
  #blocks: Blocks | undefined;
  #readable: (() => void) | undefined;
  #packet: ((packet: Uint8Array) => void) | undefined;
  #woken = false;
  #closed = false;

  constructor(options: MemoryDeviceOptions = {}) {
    this.name = options.name ?? "memory";
    this.mtu = options.mtu ?? DEFAULT_MTU;
    this.vnetBytes = options.vnetBytes ?? 0;
    this.offloads = options.offloads ?? 0;
    this.#queue = options.queue ?? DEFAULT_QUEUE;
  }

  attach(memory: DeviceMemory): void {
    this.#blocks = new Blocks(memory.buffer);
  }

  read(max: number): number {
    const blocks = this.#blocks;
    if (blocks === undefined || this.#closed) return 0;
    let count = 0;
    while (count < max) {
      const packet = this.#in.shift();
      if (packet === undefined) break;
      if (blocks.receive(count, packet)) count++;
    }
    if (this.#in.length > 0) this.#wakeLater();
    return count;
  }

  write(count: number): number {
    let failed = 0;
    for (let index = 0; index < count; index++) {
      const packet = this.#closed ? undefined : this.#blocks?.sent(index);
      if (packet === undefined) {
        failed++;
        continue;
      }
      this.#emit(packet);
    }
    return failed;
  }

  #emit(packet: Uint8Array): void {
    if (this.#packet !== undefined) this.#packet(packet);
    else if (this.#out.length < this.#queue) this.#out.push(packet);
    else this.dropped++;
  }

  onReadable(handler: () => void): void {
    this.#readable = handler;
    if (this.#in.length > 0) this.#wake();
  }

  close(): void {
    this.#closed = true;
    this.#in.length = 0;
    this.#readable = undefined;
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** Far side: a packet for the stack; false if the device is closed, the queue full, or it is too
   * large for a slot. The bytes are copied. */
  push(packet: Uint8Array): boolean {
    if (this.#closed || this.#in.length >= this.#queue) return false;
    if (packet.length === 0 || packet.length > abi.SLOT_BYTES) return false;
    this.#in.push(packet.slice());
    this.#wake();
    return true;
  }

  /** Far side: the oldest packet that the stack wrote. */
  take(): Uint8Array | undefined {
    return this.#out.shift();
  }

  /** Far side: all packets that the stack wrote. */
  takeAll(): Uint8Array[] {
    return this.#out.splice(0);
  }

  /** Far side: gets packets as they are written, first those that wait. Not within a push. */
  onPacket(handler: (packet: Uint8Array) => void): void {
    this.#packet = handler;
    for (const packet of this.takeAll()) handler(packet);
  }

  /** As a kernel would: never from within push, so that a stack is not entered twice. */
  #wake(): void {
    if (this.#woken || this.#readable === undefined) return;
    this.#woken = true;
    queueMicrotask(() => this.#call());
  }

  /** Readiness is level triggered: what was left is told again, after others had their turn. */
  #wakeLater(): void {
    if (this.#woken || this.#readable === undefined) return;
    this.#woken = true;
    setTimeout(() => this.#call(), 0);
  }

  #call(): void {
    this.#woken = false;
    if (this.#in.length > 0) this.#readable?.();
  }
}

/** Two devices back to back: what one stack writes, the other reads. */
export function memoryPair(options: MemoryDeviceOptions = {}): [MemoryDevice, MemoryDevice] {
  const left = new MemoryDevice({ name: "left", ...options });
  const right = new MemoryDevice({ name: "right", ...options });
  left.onPacket((packet) => {
    if (!right.push(packet)) left.dropped++;
  });
  right.onPacket((packet) => {
    if (!left.push(packet)) right.dropped++;
  });
  return [left, right];
}
