/**
 * A link in real time between two ends, each a TUN of this machine or a core in this process: what
 * one end sends passes a seeded `Link` (delay, loss, reordering, a rate with a queue) and reaches
 * the other. The kernels here have no netem; with it, any two stacks can be compared over one path.
 *
 * Delays are as exact as timers of the event loop: good for round trips of some milliseconds.
 */
import * as abi from "../../assembly/abi.ts";
import { loadNative } from "../../src/sys/addon.ts";
import { READABLE, type Native, type Watch } from "../../src/sys/native.ts";
import { Poller } from "../../src/sys/poll.ts";
import type { CoreHarness } from "./core.ts";
import { Link, type LinkSetup } from "./link.ts";
import { Random } from "./random.ts";

/** One end of a link. */
export interface LinkEnd {
  /** Packets that it has sent since the last call. */
  take(nowUs: number): Uint8Array[];
  give(packets: readonly Uint8Array[], nowUs: number): void;
  /** When `take` may have something without anything having been given. */
  deadline(): number;
  /** Calls back when `take` may have something unexpectedly. */
  onReadable(wake: () => void): void;
  close(): void;
}

const BATCH = 64;
const BUFFER_BYTES = 2048;
const RX_OFF = 1024;
const TX_OFF = RX_OFF + BATCH * abi.RX_ENTRY_BYTES;
const BUFFERS_OFF = 65_536;
/** Below this the event loop spins instead of sleeping. */
const SPIN_US = 1500;

/** A TUN without vnet header, whose link may be moved to a namespace by its name. */
export class TunEnd implements LinkEnd {
  readonly name: string;
  readonly #native: Native;
  readonly #poller: Poller;
  readonly #fd: number;
  readonly #bytes: Uint8Array<ArrayBuffer>;
  readonly #view: DataView;
  readonly #region: number;
  #watch: Watch | undefined;

  constructor(name: string) {
    this.#native = loadNative();
    this.#poller = new Poller(this.#native);
    const handle = this.#native.tunOpen({ name, vnet: false });
    this.name = handle.name;
    this.#fd = handle.fd;
    this.#bytes = new Uint8Array(BUFFERS_OFF + 2 * BATCH * BUFFER_BYTES);
    this.#view = new DataView(this.#bytes.buffer);
    this.#region = this.#native.attach(this.#bytes.buffer);
    for (let i = 0; i < BATCH; i++) {
      const at = RX_OFF + i * abi.RX_ENTRY_BYTES;
      this.#view.setUint32(at, BUFFERS_OFF + i * BUFFER_BYTES, true);
    }
  }

  /** IPv4 alone: what the kernel says about its neighbourhood is not of interest. */
  take(): Uint8Array[] {
    const packets: Uint8Array[] = [];
    const count = this.#native.tunRead(this.#region, this.#fd, RX_OFF, BATCH);
    for (let i = 0; i < count; i++) {
      const at = RX_OFF + i * abi.RX_ENTRY_BYTES;
      const ptr = this.#view.getUint32(at, true);
      const packet = this.#bytes.slice(ptr, ptr + this.#view.getUint32(at + 4, true));
      if (packet[0]! >> 4 === 4) packets.push(packet);
    }
    return packets;
  }

  give(packets: readonly Uint8Array[]): void {
    for (let from = 0; from < packets.length; from += BATCH) {
      const batch = packets.slice(from, from + BATCH);
      batch.forEach((packet, i) => this.#putTx(i, packet));
      this.#native.tunWrite(this.#region, this.#fd, TX_OFF, batch.length);
    }
  }

  #putTx(index: number, packet: Uint8Array): void {
    const headerLen = 20;
    const at = TX_OFF + index * abi.TX_BYTES;
    const ptr = BUFFERS_OFF + (BATCH + index) * BUFFER_BYTES;
    this.#bytes.set(packet, ptr);
    this.#view.setUint32(at + abi.TX_HEADER_PTR_OFF, ptr, true);
    this.#view.setUint16(at + abi.TX_HEADER_LEN_OFF, headerLen, true);
    this.#view.setUint16(at + abi.TX_SPAN_COUNT_OFF, 1, true);
    this.#view.setUint32(at + abi.TX_SPANS_OFF, ptr + headerLen, true);
    this.#view.setUint32(at + abi.TX_SPANS_OFF + 4, packet.length - headerLen, true);
  }

  deadline(): number {
    return Infinity;
  }

  onReadable(wake: () => void): void {
    this.#watch?.close();
    this.#watch = this.#poller.watch(this.#fd, READABLE, wake);
  }

  close(): void {
    this.#watch?.close();
    this.#native.close(this.#fd);
    this.#native.detach(this.#region);
  }
}

/** A core, with `serve` as its host: called whenever something may have happened. */
export class CoreEnd implements LinkEnd {
  readonly core: CoreHarness;
  readonly #serve: (core: CoreHarness) => void;

  constructor(core: CoreHarness, serve: (core: CoreHarness) => void) {
    this.core = core;
    this.#serve = serve;
  }

  take(nowUs: number): Uint8Array[] {
    this.core.poll(nowUs);
    this.#serve(this.core);
    return this.core.flush();
  }

  give(packets: readonly Uint8Array[], nowUs: number): void {
    this.core.nowUs = Math.max(this.core.nowUs, nowUs);
    if (packets.length > 0) this.core.send(...packets);
  }

  deadline(): number {
    return this.core.deadline();
  }

  onReadable(): void {
    // It sends in answer to what it is given, or at its deadline.
  }

  close(): void {
    // Nothing to give back.
  }
}

/** The link; runs from the start until it is stopped. Ends are not closed with it. */
export class LinkEmulator {
  readonly #ends: readonly [LinkEnd, LinkEnd];
  /** What end 0 and end 1 send. */
  readonly #links: readonly [Link, Link];
  #timer: NodeJS.Timeout | undefined;
  #spin: NodeJS.Immediate | undefined;
  #isStopped = false;

  constructor(ends: readonly [LinkEnd, LinkEnd], setup: LinkSetup, seed: number) {
    const random = new Random(seed);
    this.#ends = ends;
    this.#links = [new Link(random, setup), new Link(random, setup)];
    for (const end of ends) end.onReadable(this.#turn);
    this.#turn();
  }

  /** Microseconds of the clock that ends are given. */
  static now(): number {
    return Math.floor(performance.now() * 1000);
  }

  readonly #turn = (): void => {
    if (this.#isStopped) return;
    const nowUs = LinkEmulator.now();
    const [first, second] = this.#ends;
    const [forth, back] = this.#links;
    for (const packet of first.take(nowUs)) forth.push(packet, nowUs);
    for (const packet of second.take(nowUs)) back.push(packet, nowUs);
    second.give(bytesOf(forth.pop(nowUs)), nowUs);
    first.give(bytesOf(back.pop(nowUs)), nowUs);
    // A core answers at once.
    for (const packet of second.take(nowUs)) back.push(packet, nowUs);
    this.#sleep();
  };

  #sleep(): void {
    clearTimeout(this.#timer);
    clearImmediate(this.#spin);
    const dues = [...this.#ends, ...this.#links].map((each) => each.deadline());
    const waitUs = Math.min(...dues) - LinkEmulator.now();
    if (waitUs < SPIN_US) this.#spin = setImmediate(this.#turn);
    else if (waitUs !== Infinity) {
      this.#timer = setTimeout(this.#turn, Math.floor((waitUs - SPIN_US / 2) / 1000));
    }
  }

  stop(): void {
    this.#isStopped = true;
    clearTimeout(this.#timer);
    clearImmediate(this.#spin);
    for (const end of this.#ends) end.onReadable(() => undefined);
  }
}

function bytesOf(deliveries: readonly { bytes: Uint8Array }[]): Uint8Array[] {
  return deliveries.map(({ bytes }) => bytes);
}
