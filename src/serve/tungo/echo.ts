/**
 * Echo mode `host`: a client's ping becomes a real one to its destination, and only a real answer
 * is passed on, so that a dead address stays silent (ICMP-1). One ICMP socket a family; requests in
 * flight are a bounded table keyed by our own sequence number.
 */
import * as abi from "../../../assembly/abi.ts";
import { addressText } from "../../core/core.ts";
import { READABLE, type Watch } from "../../sys/native.ts";
import { sameBytes } from "./direct-udp.ts";
import { mayEnter, openBy, type DirectContext } from "./direct.ts";
import { EAGAIN } from "./errno.ts";
import type { Out } from "./outs.ts";

/** Pings in flight, and how long an answer is waited for. */
const IN_FLIGHT_MAX = 4096;
const WAIT_US = 10_000_000;
const RECV_ROUNDS = 64;

interface Ping {
  readonly client: Uint8Array;
  readonly far: Uint8Array;
  readonly id: number;
  readonly seq: number;
  readonly sentUs: number;
}

interface Line {
  readonly fd: number;
  readonly out: Out;
  readonly watch: Watch;
  readonly family: 4 | 6;
  readonly id: number;
  readonly pings: Map<number, Ping>;
  nextSeq: number;
}

export class EchoHost {
  readonly #context: DirectContext;
  readonly #lines = new Map<4 | 6, Line | undefined>();

  constructor(context: DirectContext) {
    this.#context = context;
  }

  /** Sends the echo request of a record in the DGRAMS block on. */
  request(index: number): void {
    const { native, region, pump } = this.#context;
    const { core } = pump;
    const record = abi.DGRAMS_BASE + index * abi.DGRAM_BYTES;
    const family = core.u16[(record + abi.DGRAM_FAMILY_OFF) >> 1] === 6 ? 6 : 4;
    const far = record + abi.DGRAM_FAR_OFF;
    const target = core.u8.slice(far, far + (family === 4 ? 4 : 16));
    const line = this.#line(family, target);
    if (line === undefined) return;
    if (mayEnter(this.#context, line.out, target, addressText(target, family))) return;
    this.#expire(line);
    if (line.pings.size >= IN_FLIGHT_MAX) return;
    const seqAt = (record + abi.DGRAM_SEQ_OFF) >> 1;
    const seq = core.u16[seqAt] ?? 0;
    const own = line.nextSeq;
    line.nextSeq = (own + 1) & 0xffff;
    line.pings.delete(own);
    line.pings.set(own, {
      client: core.u8.slice(record + abi.DGRAM_CLIENT_OFF, record + abi.DGRAM_CLIENT_OFF + 16),
      far: target,
      id: core.u16[(record + abi.DGRAM_ID_OFF) >> 1] ?? 0,
      seq,
      sentUs: pump.now(),
    });
    core.u16[seqAt] = own;
    const answer = native.pingSend(region, line.fd, record, line.id);
    core.u16[seqAt] = seq;
    if (answer < 0) line.pings.delete(own);
  }

  close(): void {
    for (const line of this.#lines.values()) {
      if (line === undefined) continue;
      line.watch.close();
      this.#context.native.close(line.fd);
    }
    this.#lines.clear();
  }

  #line(family: 4 | 6, target: Uint8Array): Line | undefined {
    if (this.#lines.has(family)) return this.#lines.get(family);
    const opened = openBy(this.#context, target, (out) => openPing(this.#context, family, out));
    let line: Line | undefined;
    if (typeof opened !== "number") {
      const { fd, out } = opened;
      const watch = this.#context.poller.watch(fd, READABLE, () => this.#receive(family));
      const id = (process.pid ^ (family << 12)) & 0xffff;
      line = { fd, out, watch, family, id, pings: new Map(), nextSeq: 1 };
    }
    this.#lines.set(family, line);
    return line;
  }

  #receive(family: 4 | 6): void {
    const line = this.#lines.get(family);
    if (line === undefined) return;
    const { native, region, pump } = this.#context;
    const { core } = pump;
    for (let round = 0; round < RECV_ROUNDS; round++) {
      const record = pump.stage();
      const got = native.pingRecv(region, line.fd, record);
      if (got <= 0) {
        pump.unstage();
        if (got < 0 && got !== -EAGAIN) native.socketError(line.fd);
        return;
      }
      const own = core.u16[(record + abi.DGRAM_SEQ_OFF) >> 1] ?? 0;
      const ping = line.pings.get(own);
      const at = record + abi.DGRAM_FAR_OFF;
      const far = core.u8.subarray(at, at + (family === 4 ? 4 : 16));
      if (ping === undefined || !sameBytes(ping.far, far)) {
        pump.unstage();
        continue;
      }
      line.pings.delete(own);
      core.u32[record >> 2] = abi.DGRAM_ECHO;
      core.u32[(record >> 2) + 1] = 0;
      core.u16[(record + abi.DGRAM_FAMILY_OFF) >> 1] = family;
      core.u8.set(ping.client, record + abi.DGRAM_CLIENT_OFF);
      core.u16[(record + abi.DGRAM_ID_OFF) >> 1] = ping.id;
      core.u16[(record + abi.DGRAM_SEQ_OFF) >> 1] = ping.seq;
    }
  }

  #expire(line: Line): void {
    const now = this.#context.pump.now();
    for (const [seq, ping] of line.pings) {
      if (now - ping.sentUs < WAIT_US) return;
      line.pings.delete(seq);
    }
  }
}

/** The kind that is allowed; throws where none is: then nothing is answered, as for a dead host. */
function openPing({ native }: DirectContext, family: 4 | 6, { options }: Out): number {
  try {
    return native.socket(family, "raw-icmp", options);
  } catch {
    return native.socket(family, "ping", options);
  }
}
