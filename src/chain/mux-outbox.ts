/**
 * The sending half of a smux session (mux-session.ts). Streams that have something stand in a ring;
 * each turn gives one frame, so that a big transfer leaves room for the others. Only a little is
 * handed to the transport at a time: what waits, waits in the streams, and their users feel it.
 * SYN, UPD and NOP go first; what is written in one go leaves together.
 *
 * Bounds: control frames that wait because the peer does not read (one UPD a stream, one NOP).
 */
import {
  CMD_FIN,
  CMD_NOP,
  CMD_PSH,
  type SmuxVersion,
  encodeHeader,
  encodeUpdate,
} from "../proto/smux.ts";
import { joined } from "./base-stream.ts";
import type { MuxFrame, MuxStream } from "./mux-stream.ts";
import type { Transport } from "./types.ts";

/** Handed to the transport and not yet taken. */
const FLIGHT_BYTES_MAX = 256 * 1024;
const BATCH_BYTES = 64 * 1024;
const BATCH_PARTS = 64;
/** Up to here header and payload are put into one buffer. */
const JOIN_BYTES_MAX = 2048;
const CONTROL_MAX = 16_384;

export interface OutboxOptions {
  readonly version: SmuxVersion;
  /** What UPD frames grant. */
  readonly windowBytes: number;
  /** The transport took everything, and nothing waits. */
  readonly onIdle: () => void;
  readonly onError: (error: Error) => void;
}

interface Batch {
  readonly parts: Uint8Array[];
  readonly dones: ((error?: Error) => void)[];
  bytes: number;
}

export class MuxOutbox {
  readonly #below: Transport;
  readonly #options: OutboxOptions;
  #control: Uint8Array[] = [];
  /** Bytes consumed, by stream. */
  readonly #updates = new Map<number, number>();
  #ring: MuxStream[] = [];
  #flightBytes = 0;
  #isScheduled = false;
  #hasNop = false;
  #isClosed = false;

  constructor(below: Transport, options: OutboxOptions) {
    this.#below = below;
    this.#options = options;
  }

  /** A frame without payload; false if too many wait already. */
  control(command: number, id: number): boolean {
    if (this.#control.length >= CONTROL_MAX) return false;
    if (this.#isClosed) return true;
    this.#control.push(encodeHeader(this.#options.version, command, id));
    this.schedule();
    return true;
  }

  /** A sign of life. */
  beat(): void {
    this.#hasNop = true;
    this.schedule();
  }

  update(id: number, consumed: number): void {
    this.#updates.set(id, consumed);
    this.schedule();
  }

  forget(id: number): void {
    this.#updates.delete(id);
  }

  /** The stream has a frame. */
  wake(stream: MuxStream): void {
    if (stream.isListed) return;
    stream.isListed = true;
    this.#ring.push(stream);
    this.schedule();
  }

  /** Nothing is sent any more. */
  close(): void {
    this.#isClosed = true;
    this.#control = [];
    this.#updates.clear();
    this.#ring = [];
  }

  schedule(): void {
    if (this.#isScheduled || this.#isClosed) return;
    this.#isScheduled = true;
    process.nextTick(() => {
      this.#isScheduled = false;
      this.#pump();
    });
  }

  #pump(): void {
    while (!this.#isClosed && this.#flightBytes < FLIGHT_BYTES_MAX) {
      const batch = this.#nextBatch();
      if (batch.bytes === 0) {
        if (this.#flightBytes === 0) this.#options.onIdle();
        return;
      }
      this.#flightBytes += batch.bytes;
      this.#below.write(batch.parts, (error) => {
        this.#flightBytes -= batch.bytes;
        for (const done of batch.dones) done(error);
        if (error !== undefined) this.#options.onError(error);
        else this.schedule();
      });
    }
  }

  #nextBatch(): Batch {
    const batch: Batch = { parts: [], dones: [], bytes: 0 };
    this.#addControl(batch);
    while (batch.bytes < BATCH_BYTES && batch.parts.length < BATCH_PARTS) {
      const stream = this.#ring.shift();
      if (stream === undefined) break;
      stream.isListed = false;
      if (!stream.hasFrame()) continue;
      this.#addFrame(batch, stream.id, stream.takeFrame());
      if (stream.hasFrame()) this.wake(stream);
    }
    return batch;
  }

  #addControl(batch: Batch): void {
    const { version, windowBytes } = this.#options;
    if (this.#hasNop) this.#control.push(encodeHeader(version, CMD_NOP, 0));
    this.#hasNop = false;
    for (const [id, consumed] of this.#updates) {
      this.#control.push(encodeUpdate(id, consumed, windowBytes));
    }
    this.#updates.clear();
    if (this.#control.length === 0) return;
    const bytes = this.#control.reduce((sum, frame) => sum + frame.length, 0);
    batch.parts.push(joined(this.#control, bytes));
    batch.bytes += bytes;
    this.#control = [];
  }

  /** Without a frame it is the FIN's turn. */
  #addFrame(batch: Batch, id: number, frame: MuxFrame | undefined): void {
    const { version } = this.#options;
    if (frame === undefined) {
      batch.parts.push(encodeHeader(version, CMD_FIN, id));
      batch.bytes += batch.parts.at(-1)?.length ?? 0;
      return;
    }
    const header = encodeHeader(version, CMD_PSH, id, frame.bytes);
    const bytes = header.length + frame.bytes;
    batch.bytes += bytes;
    batch.dones.push(...frame.dones);
    if (frame.bytes > JOIN_BYTES_MAX) batch.parts.push(header, ...frame.parts);
    else batch.parts.push(joined([header, ...frame.parts], bytes));
  }
}
