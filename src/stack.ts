/**
 * `tsgost/stack`: the userspace TCP/IP stack as a library, without any Node import. Packets and
 * time come in, packets and flows come out; who dials, and where the packets go, is the caller's
 * business.
 *
 *     const stack = new Stack({ wasm, entropy, handler: {
 *       open(flow) { flow.accept(); },                    // answer the SYN (or flow.reject("rst"))
 *       data(flow) { flow.write(flow.read()); },          // echo
 *       end(flow) { flow.end(); },
 *     } });
 *     const replies = stack.input([packet], nowUs);
 *     // and stack.tick(nowUs) at stack.deadline()
 */
import * as abi from "../assembly/abi.ts";
import { Core, type CoreWords } from "./core/core.ts";
import { flowFacts, type FlowFacts } from "./core/flow.ts";
import { CORE_OPTIONS } from "./core/options.ts";
import { TsgostError } from "./errors.ts";

export { STAT_NAMES } from "./core/core.ts";
export { CORE_OPTIONS, type CoreOption } from "./core/options.ts";
export { TsgostError } from "./errors.ts";

/** How a flow is turned down. */
export type RejectHow = "rst" | "drop" | "net-unreachable" | "host-unreachable" | "prohibited";

const REJECTS: Readonly<Record<RejectHow, number>> = {
  rst: abi.REJECT_RST,
  drop: abi.REJECT_DROP,
  "net-unreachable": abi.REJECT_NET_UNREACHABLE,
  "host-unreachable": abi.REJECT_HOST_UNREACHABLE,
  prohibited: abi.REJECT_PROHIBITED,
};

/** Why a flow ended. */
export type CloseReason =
  "done" | "reset" | "timeout" | "host" | "pending" | "evicted" | "idle" | "cancelled";

const CLOSES: Readonly<Record<number, CloseReason>> = {
  [abi.CLOSE_DONE]: "done",
  [abi.CLOSE_RESET]: "reset",
  [abi.CLOSE_TIMEOUT]: "timeout",
  [abi.CLOSE_HOST]: "host",
  [abi.CLOSE_PENDING]: "pending",
  [abi.CLOSE_EVICTED]: "evicted",
  [abi.CLOSE_IDLE]: "idle",
  [abi.CLOSE_CANCELLED]: "cancelled",
};

export interface StackHandler {
  /** A SYN: call accept or reject, now or later (before the pending deadline). */
  open?(flow: StackFlow): void;
  /** flow.read() has bytes. */
  data?(flow: StackFlow): void;
  /** flow.write() takes bytes again. */
  writable?(flow: StackFlow): void;
  /** The client half-closed; what it sent before was given to data. */
  end?(flow: StackFlow): void;
  /** The flow is over; nothing follows. */
  close?(flow: StackFlow, reason: CloseReason): void;
  /** A datagram from a client; answer with stack.sendDatagram. Data is a copy. */
  datagram?(datagram: StackDatagram): void;
}

export interface StackDatagram {
  /** Names the mapping (the client's socket); use it to answer. */
  readonly mapping: number;
  readonly family: 4 | 6;
  /** 4 or 16 bytes: where the client sent it to. */
  readonly address: Uint8Array;
  readonly port: number;
  readonly data: Uint8Array;
}

export interface StackOptions {
  /** `core.wasm` (or `core-plain.wasm` without SIMD): its bytes, or the compiled module. */
  readonly wasm: BufferSource | WebAssembly.Module;
  /** 16 to 64 random bytes; the same entropy and calls give the same packets. */
  readonly entropy: Uint8Array;
  readonly handler: StackHandler;
  /** Settings by key of CORE_OPTIONS, in the unit of the table (ms, bytes, counts). */
  readonly settings?: Readonly<Record<string, number>>;
}

/** One TCP flow. Its methods answer false (or 0) once it is over. */
export class StackFlow {
  readonly facts: FlowFacts;
  readonly #core: Core;
  readonly #now: () => number;

  constructor(core: Core, facts: FlowFacts, now: () => number) {
    this.#core = core;
    this.facts = facts;
    this.#now = now;
  }

  accept(): boolean {
    return this.#core.x.accept(this.facts.handle, this.#now()) >= 0;
  }

  reject(how: RejectHow = "rst"): boolean {
    return this.#core.x.reject(this.facts.handle, REJECTS[how], this.#now()) >= 0;
  }

  /** All bytes received, as a copy; the client's window opens by them. */
  read(): Uint8Array {
    const count = this.#core.x.recvPeek(this.facts.handle);
    if (count <= 0) return new Uint8Array(0);
    const spans = this.#core.spans(count);
    const bytes = new Uint8Array(spans.reduce((sum, span) => sum + span.length, 0));
    let at = 0;
    for (const span of spans) {
      bytes.set(span, at);
      at += span.length;
    }
    this.#core.x.recvConsume(this.facts.handle, bytes.length, this.#now());
    return bytes;
  }

  /** Bytes taken: fewer than given when the send buffer is full (writable follows). */
  write(data: Uint8Array): number {
    return Math.max(0, this.#core.write(this.facts.handle, data, this.#now()));
  }

  /** Half-closes towards the client after what was written. */
  end(): boolean {
    return this.#core.x.shutdown(this.facts.handle, this.#now()) >= 0;
  }

  /** Resets the flow. */
  abort(): boolean {
    return this.#core.x.abort(this.facts.handle, this.#now()) >= 0;
  }
}

export class Stack {
  readonly core: Core;
  readonly #handler: StackHandler;
  readonly #flows = new Map<number, StackFlow>();
  #nowUs = 0;

  constructor(options: StackOptions) {
    const { wasm } = options;
    const module = wasm instanceof WebAssembly.Module ? wasm : new WebAssembly.Module(wasm);
    this.core = Core.create(module, settingWords(options.settings ?? {}), options.entropy);
    this.#handler = options.handler;
  }

  /** When tick has to be called next, in µs of the caller's clock; Infinity = not before input. */
  deadline(): number {
    return this.core.x.deadline();
  }

  /** Takes IP packets, calls the handler, answers the packets to send. */
  input(packets: readonly Uint8Array[], nowUs: number): Uint8Array[] {
    this.#nowUs = nowUs;
    const out: Uint8Array[] = [];
    const { core } = this;
    for (let first = 0; first < packets.length; first += abi.RX_MAX) {
      const batch = packets.slice(first, first + abi.RX_MAX);
      batch.forEach((packet, index) => {
        const at = (abi.RX_BASE >> 2) + 2 * index;
        const length = Math.min(packet.length, abi.SLOT_BYTES);
        core.u8.set(packet.subarray(0, length), core.u32[at] ?? 0);
        core.u32[at + 1] = length;
      });
      const datagrams = core.x.ingest(batch.length, nowUs);
      this.#dispatch();
      this.#datagrams(datagrams);
      this.#collect(out);
    }
    return out;
  }

  /** Fires due timers and sends what the caller wrote meanwhile. */
  tick(nowUs: number): Uint8Array[] {
    this.#nowUs = nowUs;
    const out: Uint8Array[] = [];
    while (this.core.x.poll(nowUs, 1024) > 0) this.#dispatch();
    this.#dispatch();
    this.#collect(out);
    return out;
  }

  /** A datagram to a client; false if it is too big or the mapping has ended. */
  sendDatagram(answer: StackDatagram): boolean {
    const { core } = this;
    const { address, data } = answer;
    if (data.length > 65_535 || address.length !== (answer.family === 4 ? 4 : 16)) return false;
    const record = abi.STAGE_BASE;
    core.u32[record >> 2] = abi.DGRAM_UDP;
    core.u32[(record + abi.DGRAM_HANDLE_OFF) >> 2] = answer.mapping;
    core.u8.set(data, core.u32[(record + abi.DGRAM_PTR_OFF) >> 2] ?? 0);
    core.u32[(record + abi.DGRAM_LEN_OFF) >> 2] = data.length;
    core.u32[(record + abi.DGRAM_GSO_OFF) >> 2] = 0;
    core.u16[(record + abi.DGRAM_FAMILY_OFF) >> 1] = answer.family;
    core.u16[(record + abi.DGRAM_PORT_OFF) >> 1] = answer.port;
    core.u8.set(address, record + abi.DGRAM_FAR_OFF);
    const dropped = core.stat(abi.DROP_STALE);
    core.x.stageSend(0, 1, this.#nowUs);
    this.#pending.push(...this.#take());
    return core.stat(abi.DROP_STALE) === dropped;
  }

  /** Datagrams leave with the next input or tick: the stage is reused at once. */
  readonly #pending: Uint8Array[] = [];

  #collect(out: Uint8Array[]): void {
    out.push(...this.#pending.splice(0));
    do {
      this.core.x.flush(this.#nowUs);
      out.push(...this.#take());
    } while (this.core.gauge(abi.GAUGE_FLUSH_MORE) !== 0);
    this.#dispatch();
  }

  /** The TX descriptors as packets, each joined into one array. */
  #take(): Uint8Array[] {
    const { core } = this;
    const packets: Uint8Array[] = [];
    const count = core.gauge(abi.GAUGE_TX_COUNT);
    for (let index = 0; index < count; index++) {
      const at = abi.TX_BASE + index * abi.TX_BYTES;
      const spans = [[core.u32[at >> 2] ?? 0, core.u16[(at + abi.TX_HEADER_LEN_OFF) >> 1] ?? 0]];
      const spanCount = core.u16[(at + abi.TX_SPAN_COUNT_OFF) >> 1] ?? 0;
      for (let span = 0; span < spanCount; span++) {
        const from = (at + abi.TX_SPANS_OFF + span * abi.SPAN_BYTES) >> 2;
        spans.push([core.u32[from] ?? 0, core.u32[from + 1] ?? 0]);
      }
      const packet = new Uint8Array(spans.reduce((sum, [, length]) => sum + (length ?? 0), 0));
      let offset = 0;
      for (const [ptr = 0, length = 0] of spans) {
        packet.set(core.u8.subarray(ptr, ptr + length), offset);
        offset += length;
      }
      packets.push(packet);
    }
    core.x.txDone();
    return packets;
  }

  #dispatch(): void {
    const { core } = this;
    for (let count = core.x.events(); count > 0; count = core.x.events()) {
      for (let index = 0; index < count; index++) {
        const at = (abi.EVENTS_BASE + index * abi.EVENT_BYTES) >> 2;
        const [handle = 0, flags = 0, ptr = 0, code = 0] = core.u32.subarray(at, at + 4);
        if ((flags & abi.EV_MAPPING_CLOSED) !== 0) core.x.release(handle);
        if ((flags & (abi.EV_MAPPING_OPEN | abi.EV_MAPPING_CLOSED)) === 0) {
          this.#event(handle, flags, ptr, code);
        }
      }
    }
  }

  #event(handle: number, flags: number, ptr: number, code: number): void {
    const handler = this.#handler;
    if ((flags & abi.EV_OPEN) !== 0) {
      const flow = new StackFlow(this.core, flowFacts(this.core, handle, ptr), () => this.#nowUs);
      this.#flows.set(handle, flow);
      if (handler.open === undefined) flow.reject();
      else handler.open(flow);
    }
    const flow = this.#flows.get(handle);
    if (flow === undefined) return;
    if ((flags & abi.EV_READABLE) !== 0) handler.data?.(flow);
    if ((flags & abi.EV_WRITABLE) !== 0) handler.writable?.(flow);
    if ((flags & abi.EV_FIN) !== 0) handler.end?.(flow);
    if ((flags & abi.EV_CLOSED) === 0) return;
    this.#flows.delete(handle);
    handler.close?.(flow, CLOSES[code] ?? "host");
    this.core.x.release(handle);
  }

  #datagrams(count: number): void {
    const { core } = this;
    for (let index = 0; index < count; index++) {
      const record = abi.DGRAMS_BASE + index * abi.DGRAM_BYTES;
      if (core.u32[record >> 2] !== abi.DGRAM_UDP) continue;
      const family = core.u16[(record + abi.DGRAM_FAMILY_OFF) >> 1] === 6 ? 6 : 4;
      const ptr = core.u32[(record + abi.DGRAM_PTR_OFF) >> 2] ?? 0;
      const length = core.u32[(record + abi.DGRAM_LEN_OFF) >> 2] ?? 0;
      const step = (core.u32[(record + abi.DGRAM_GSO_OFF) >> 2] ?? 0) || Math.max(1, length);
      const far = record + abi.DGRAM_FAR_OFF;
      for (let at = 0; at < length || at === 0; at += step) {
        this.#handler.datagram?.({
          mapping: core.u32[(record + abi.DGRAM_HANDLE_OFF) >> 2] ?? 0,
          family,
          address: core.u8.slice(far, far + (family === 4 ? 4 : 16)),
          port: core.u16[(record + abi.DGRAM_PORT_OFF) >> 1] ?? 0,
          data: core.u8.slice(ptr + at, ptr + Math.min(at + step, length)),
        });
      }
    }
  }
}

function settingWords(settings: Readonly<Record<string, number>>): CoreWords {
  const words = new Map<number, number>([[abi.CFG_RX_ENTRIES, abi.RX_MAX]]);
  for (const [key, value] of Object.entries(settings)) {
    const option = CORE_OPTIONS.find((candidate) => candidate.key === key);
    if (option === undefined) {
      throw new TsgostError("TSGOST_ERR_CORE", `stack: there is no setting ${key}`);
    }
    if (!Number.isInteger(value) || value < option.min || value > option.max) {
      throw new TsgostError(
        "TSGOST_ERR_CORE",
        `stack: ${key} must be ${option.min} … ${option.max}, not ${value}`,
      );
    }
    words.set(option.word, value);
  }
  return words;
}
