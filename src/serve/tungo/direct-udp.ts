/**
 * Direct upstream of UDP mappings: one unconnected kernel socket a mapping, so that every
 * destination sees the same source port (UDP-6) and anybody may answer (UDP-7). Whole runs of
 * datagrams cross in one system call each way; super-packets stay super-packets (UDP_SEGMENT,
 * UDP_GRO). What the socket's buffer does not take is dropped (UDP-14).
 */
import * as abi from "../../../assembly/abi.ts";
import type { Endpoint } from "../../chain/types.ts";
import { addressText } from "../../core/core.ts";
import type { FlowFacts, MappingCarrier } from "../../core/flow.ts";
import type { Pump } from "../../core/pump.ts";
import { FAILED, READABLE, type Watch } from "../../sys/native.ts";
import { mayEnter, openBy, type DirectContext } from "./direct.ts";
import { datagramError, EAGAIN, EPERM } from "./errno.ts";
import type { Out } from "./outs.ts";

/** recvmmsg calls of one readiness. */
const RECV_ROUNDS = 4;
/** Errors taken from the socket's queue at once. */
const ERROR_ROUNDS = 16;
/** UDP-14: what a blocked upstream may hold. */
const RECV_BUFFER_BYTES = 1_048_576;

export class DirectMapping implements MappingCarrier {
  readonly #context: DirectContext;
  readonly #flow: FlowFacts;
  readonly #handle: number;
  readonly #family: 4 | 6;
  #out: Out | undefined;
  #isTried = false;
  #fd = -1;
  #watch: Watch | undefined;
  /** The last destination that the guard was asked about, and its answer. */
  #checked = new Uint8Array(0);
  #looped = false;

  constructor(context: DirectContext, flow: FlowFacts) {
    this.#context = context;
    this.#handle = flow.handle;
    this.#family = flow.family;
    this.#flow = flow;
  }

  datagrams(first: number, count: number): void {
    let at = abi.DGRAMS_BASE + first * abi.DGRAM_BYTES;
    if (this.#fd < 0 && !this.#open(at)) return;
    const { native, region } = this.#context;
    let left = count;
    while (left > 0) {
      const run = this.#passable(at, left);
      const sent = run > 0 ? native.udpSend(region, this.#fd, at, run) : -EPERM;
      if (sent === -EAGAIN) return;
      if (sent < 0) this.#refused(at, -sent);
      const done = Math.max(1, sent);
      at += done * abi.DGRAM_BYTES;
      left -= done;
    }
  }

  /** Opens the socket with the first datagram's destination; false: there is none to be had. */
  #open(at: number): boolean {
    if (this.#isTried) return false;
    this.#isTried = true;
    const context = this.#context;
    const { native, poller, queueBytes } = context;
    const buffers = { sendBuffer: queueBytes, recvBuffer: RECV_BUFFER_BYTES };
    const opened = openBy(context, this.#farOf(at), (out) =>
      native.socket(this.#family, "dgram", { ...out.options, ...buffers }),
    );
    if (typeof opened === "number") {
      context.dialFailed(this.#flow, opened);
      return false;
    }
    this.#out = opened.out;
    this.#fd = opened.fd;
    this.#watch = poller.watch(this.#fd, READABLE, this.#ready);
    return true;
  }

  #farOf(record: number): Uint8Array {
    const far = record + abi.DGRAM_FAR_OFF;
    return this.#context.pump.core.u8.subarray(far, far + (this.#family === 4 ? 4 : 16));
  }

  /** How many records from `at` on may be sent at once; 0 if the first would come back to us. */
  #passable(at: number, left: number): number {
    const out = this.#out;
    if (out === undefined || out.isBound) return left;
    const far = this.#farOf(at);
    if (!sameBytes(far, this.#checked)) {
      this.#checked = far.slice();
      this.#looped = mayEnter(this.#context, out, this.#checked, addressText(far, this.#family));
    }
    if (this.#looped) return 0;
    let run = 1;
    while (run < left && sameBytes(this.#farOf(at + run * abi.DGRAM_BYTES), far)) run++;
    return run;
  }

  closed(): void {
    this.drop();
    this.#context.pump.core.x.release(this.#handle);
  }

  /** Lets go of the socket; the mapping itself is somebody else's to release. */
  drop(): void {
    this.#isTried = true;
    this.#watch?.close();
    this.#watch = undefined;
    if (this.#fd >= 0) this.#context.native.close(this.#fd);
    this.#fd = -1;
  }

  readonly #ready = (events: number): void => {
    if (this.#fd < 0) return;
    if ((events & FAILED) !== 0) this.#takeErrors();
    if ((events & READABLE) !== 0) this.#receive();
  };

  #receive(): void {
    const { native, region, pump } = this.#context;
    const { u32 } = pump.core;
    for (let round = 0; round < RECV_ROUNDS && this.#fd >= 0; round++) {
      // What others staged must leave first: the block is filled from its start.
      pump.flushNow();
      const got = native.udpRecv(region, this.#fd, abi.STAGE_BASE, abi.STAGE_MAX);
      if (got <= 0) {
        if (got < 0 && got !== -EAGAIN) this.#takeErrors();
        return;
      }
      for (let index = 0; index < got; index++) {
        const at = (abi.STAGE_BASE + index * abi.DGRAM_BYTES) >> 2;
        u32[at] = abi.DGRAM_UDP;
        u32[at + 1] = this.#handle;
      }
      const { mayHear } = this.#context;
      pump.sendStaged(mayHear === undefined ? got : this.#heard(got, mayHear));
      if (got < abi.STAGE_MAX) return;
    }
  }

  /**
   * Of the `got` records in the STAGE block those from sources that may be heard are moved to its
   * front; answers how many there are. Each record keeps its room.
   */
  #heard(got: number, mayHear: (source: Endpoint) => boolean): number {
    const { u8, u16 } = this.#context.pump.core;
    const known = new Map<string, boolean>();
    let kept = 0;
    for (let index = 0; index < got; index++) {
      const record = abi.STAGE_BASE + index * abi.DGRAM_BYTES;
      const far = record + abi.DGRAM_FAR_OFF;
      const host = addressText(u8.subarray(far, far + 16), this.#family);
      const port = u16[(record + abi.DGRAM_PORT_OFF) >> 1] ?? 0;
      const key = `${host} ${port}`;
      const isHeard = known.get(key) ?? mayHear({ host, port });
      known.set(key, isHeard);
      if (!isHeard) continue;
      if (kept < index) swapRecords(u8, abi.STAGE_BASE + kept * abi.DGRAM_BYTES, record);
      kept++;
    }
    return kept;
  }

  /** ICMP errors that came back: the client gets them too; the mapping lives on (UDP-15, UDP-17). */
  #takeErrors(): void {
    const { native, pump } = this.#context;
    const { core } = pump;
    for (let round = 0; round < ERROR_ROUNDS; round++) {
      const error = native.udpError(this.#fd);
      if (error === undefined) break;
      const kind = datagramError(error.errno);
      if (kind < 0) continue;
      const record = pump.stage();
      const at = record >> 2;
      core.u32[at] = abi.DGRAM_ERROR;
      core.u32[at + 1] = this.#handle;
      core.u32[at + 3] = error.info;
      core.u32[at + 4] = kind;
      core.u16[(record + abi.DGRAM_FAMILY_OFF) >> 1] = error.family;
      core.u16[(record + abi.DGRAM_PORT_OFF) >> 1] = error.port;
      core.u8.fill(0, record + abi.DGRAM_FAR_OFF, record + abi.DGRAM_FAR_OFF + 16);
      core.u8.set(error.address.subarray(0, 16), record + abi.DGRAM_FAR_OFF);
    }
    native.socketError(this.#fd);
  }

  /** A datagram that the kernel refused at once. */
  #refused(from: number, errno: number): void {
    const kind = datagramError(errno);
    if (kind >= 0) tellRefused(this.#context.pump, this.#handle, from, kind);
  }
}

/** Answers the datagram record at `from` with an ICMP error (REJECT_…). */
export function tellRefused(pump: Pump, handle: number, from: number, kind: number): void {
  const { core } = pump;
  const record = pump.stage();
  core.u8.copyWithin(record + abi.DGRAM_GSO_OFF, from + abi.DGRAM_GSO_OFF, from + abi.DGRAM_BYTES);
  core.u32[record >> 2] = abi.DGRAM_ERROR;
  core.u32[(record >> 2) + 1] = handle;
  core.u32[(record + abi.DGRAM_LEN_OFF) >> 2] = 0;
  core.u32[(record + abi.DGRAM_GSO_OFF) >> 2] = kind;
}

function swapRecords(u8: Uint8Array, one: number, other: number): void {
  const held = u8.slice(one, one + abi.DGRAM_BYTES);
  u8.copyWithin(one, other, other + abi.DGRAM_BYTES);
  u8.set(held, other);
}

export function sameBytes(one: Uint8Array, other: Uint8Array): boolean {
  if (one.length !== other.length) return false;
  for (let index = 0; index < one.length; index++) if (one[index] !== other[index]) return false;
  return true;
}
