/**
 * The core under a test's hand: loads a build, writes configuration and entropy, passes packets in
 * and takes packets, events and datagrams out, in virtual time. Knows `assembly/abi.ts` and the
 * option table, nothing else of the sources.
 *
 * Order of a tick as in abi.ts: `send` ingests, `events` tells, host calls act, `flush` emits.
 * `tearDown` ends everything and asserts that each pool is back at its level.
 */
import * as abi from "../../assembly/abi.ts";
import { concat } from "./bytes.ts";
import { CoreMemory, type CoreEvent, type Datagram } from "./core-memory.ts";
import { makeInstance, RX_ENTRIES, type CoreExports, type CoreSetup } from "./core-setup.ts";

export * from "./core-memory.ts";
export * from "./core-setup.ts";

const POLL_BUDGET = 1000;
/** More rounds than any legal chain of work in one instant. */
const ROUNDS_MAX = 100_000;

export class CoreHarness extends CoreMemory {
  readonly setup: CoreSetup;
  readonly exports: CoreExports;
  readonly vnetBytes: number;
  readonly mtu: number;
  nowUs: number;
  readonly #level: Readonly<Record<string, number>>;

  constructor(setup: CoreSetup = {}) {
    const { exports, mtu } = makeInstance(setup);
    const code = exports.init();
    super(exports.memory.buffer);
    if (code !== 0) {
      const word = this.gauge("GAUGE_CONFIG_ERROR");
      throw new Error(`init answered ${code}, configuration word ${word}`);
    }
    this.setup = setup;
    this.exports = exports;
    this.mtu = mtu;
    this.vnetBytes = setup.vnetBytes ?? 0;
    this.nowUs = setup.startUs ?? 1_000_000;
    this.poisonTx();
    this.#level = this.levels();
  }

  get framing(): { vnetBytes: number; mtu: number } {
    return { vnetBytes: this.vnetBytes, mtu: this.mtu };
  }

  /* ---- packets ---- */

  /** Ingests packets (with vnet header, if so configured); answers the datagrams for the host. */
  send(...packets: readonly Uint8Array[]): Datagram[] {
    const datagrams: Datagram[] = [];
    for (let from = 0; from < packets.length; from += RX_ENTRIES) {
      const batch = packets.slice(from, from + RX_ENTRIES);
      batch.forEach((packet, i) => this.putRx(i, packet));
      const count = this.exports.ingest(batch.length, this.nowUs);
      if (count < 0) throw new Error(`ingest answered ${count}`);
      for (let i = 0; i < count; i++) datagrams.push(this.datagram(i));
    }
    return datagrams;
  }

  /** Everything the core has to send now, each packet joined to one array. */
  flush(): Uint8Array[] {
    const out: Uint8Array[] = [];
    for (let round = 0; round < ROUNDS_MAX; round++) {
      const count = this.exports.flush(this.nowUs);
      if (count < 0 || count > abi.TX_MAX) throw new Error(`flush answered ${count}`);
      for (let i = 0; i < count; i++) out.push(this.txPacket(i));
      this.exports.txDone();
      this.poisonTx();
      if (this.gauge("GAUGE_FLUSH_MORE") === 0) return out;
    }
    throw new Error("flush does not come to an end");
  }

  /* ---- time ---- */

  deadline(): number {
    return this.exports.deadline();
  }

  /** Polls at `atUs` until nothing is left to do there. */
  poll(atUs = this.nowUs): void {
    this.nowUs = Math.max(this.nowUs, atUs);
    for (let round = 0; round < ROUNDS_MAX; round++) {
      if (this.exports.poll(atUs, POLL_BUDGET) === 0) return;
    }
    throw new Error("poll does not come to an end");
  }

  /** Lets time pass, stopping at every deadline; answers all packets sent on the way. */
  run(forUs: number): Uint8Array[] {
    const end = this.nowUs + forUs;
    const out = this.flush();
    for (let round = 0; round < ROUNDS_MAX; round++) {
      const next = this.deadline();
      if (next > end) {
        this.poll(end);
        out.push(...this.flush());
        return out;
      }
      this.poll(Math.max(next, this.nowUs));
      out.push(...this.flush());
    }
    throw new Error("time does not pass: a deadline is never cleared");
  }

  /* ---- events and records ---- */

  events(): CoreEvent[] {
    const found: CoreEvent[] = [];
    for (let round = 0; round < ROUNDS_MAX; round++) {
      const count = this.exports.events();
      if (count < 0 || count > abi.EVENT_MAX) throw new Error(`events answered ${count}`);
      for (let i = 0; i < count; i++) found.push(this.event(i));
      if (count < abi.EVENT_MAX) return found;
    }
    throw new Error("events do not come to an end");
  }

  /* ---- what the host does with a flow ---- */

  accept(handle: number): void {
    checked("accept", this.exports.accept(handle, this.nowUs));
  }

  reject(handle: number, how: number = abi.REJECT_RST): void {
    checked("reject", this.exports.reject(handle, how, this.nowUs));
  }

  /** Takes at most `max` received bytes. */
  read(handle: number, max = Infinity): Uint8Array {
    const parts: Uint8Array[] = [];
    let left = max;
    while (left > 0) {
      const count = checked("recvPeek", this.exports.recvPeek(handle));
      if (count === 0) break;
      const spans = this.spans(abi.SPANS_BASE, count);
      const all = concat(...spans);
      const taken = all.slice(0, Math.min(all.length, left));
      checked("recvConsume", this.exports.recvConsume(handle, taken.length, this.nowUs));
      parts.push(taken);
      left -= taken.length;
    }
    return concat(...parts);
  }

  /** Received bytes without taking them. */
  peek(handle: number): Uint8Array {
    const count = checked("recvPeek", this.exports.recvPeek(handle));
    return concat(...this.spans(abi.SPANS_BASE, count));
  }

  /** Puts in as much of `data` as the core takes; answers how much. */
  write(handle: number, data: Uint8Array): number {
    let done = 0;
    while (done < data.length) {
      const left = data.length - done;
      const count = checked("sendReserve", this.exports.sendReserve(handle, left));
      if (count === 0) break;
      let filled = 0;
      for (const span of this.spans(abi.SPANS_BASE, count)) {
        const piece = data.subarray(done + filled, done + filled + span.length);
        span.set(piece);
        filled += piece.length;
      }
      if (filled === 0) throw new Error("sendReserve gave empty spans");
      checked("sendCommit", this.exports.sendCommit(handle, filled, this.nowUs));
      done += filled;
    }
    return done;
  }

  shutdown(handle: number): void {
    checked("shutdown", this.exports.shutdown(handle, this.nowUs));
  }

  abort(handle: number): void {
    checked("abort", this.exports.abort(handle, this.nowUs));
  }

  release(handle: number): void {
    checked("release", this.exports.release(handle));
  }

  udpClose(handle: number): void {
    checked("udpClose", this.exports.udpClose(handle, this.nowUs));
  }

  /** Stages datagrams for the client; answers how many were processed. */
  stage(...datagrams: readonly Partial<Datagram>[]): number {
    let processed = 0;
    for (let from = 0; from < datagrams.length; from += abi.STAGE_MAX) {
      const batch = datagrams.slice(from, from + abi.STAGE_MAX);
      batch.forEach((datagram, i) => this.putStage(i, datagram));
      const done = this.exports.stageSend(0, batch.length, this.nowUs);
      processed += checked("stageSend", done);
    }
    return processed;
  }

  /* ---- the end ---- */

  /** Pools that are not at the level of the start, as "NAME 3, was 4"; empty if all are. */
  leaks(): string[] {
    const now = this.levels();
    return Object.keys(now)
      .filter((name) => now[name] !== this.#level[name])
      .map((name) => `${name} ${now[name]}, was ${this.#level[name]}`);
  }

  /** Releases every record whose last event came; answers the events. */
  releaseClosed(): CoreEvent[] {
    const events = this.events();
    for (const { flags, handle } of events) {
      if ((flags & (abi.EV_CLOSED | abi.EV_MAPPING_CLOSED)) !== 0) this.release(handle);
    }
    return events;
  }

  /** Ends all flows, lets TIME-WAIT and reassembly pass, and throws if anything leaked. */
  tearDown(): void {
    checked("closeAll", this.exports.closeAll(this.nowUs));
    this.flush();
    this.releaseClosed();
    this.run(20 * 60 * 1_000_000);
    this.releaseClosed();
    const leaks = this.leaks();
    if (leaks.length > 0) throw new Error(`leaked: ${leaks.join("; ")}`);
    if (this.exports.memory.buffer !== this.buffer) throw new Error("memory grew after init");
  }
}

function checked(call: string, answer: number): number {
  if (answer < 0) throw new Error(`${call} answered ${answer}`);
  return answer;
}
