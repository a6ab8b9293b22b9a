/**
 * A smux session (proto/smux.ts) over a Transport: many streams, opened by either side. Dialers and
 * relay BIND make sessions in one role, listeners in the other.
 *
 * Theory. Sending is the outbox's (mux-outbox.ts). Receiving: bytes that no user takes are counted;
 * when all streams together hold `receiveBytes`, the session is not read any more. In version 1 one
 * stalled stream can so hold up all: after a while the one with the most is ended, and the others
 * go on.
 *
 * Bounds: streams, unread bytes, control frames that wait, silence (keep-alive). A peer that breaks
 * the protocol, and a transport that ends or fails, end the session; its streams fail at once.
 *
 * Two tsgost know each other by a NOP with a stream id of its own, which everybody else ignores:
 * the opener says it first. Then a FIN ends one direction only, and a NOP with a stream's id resets
 * it.
 */
import { messageOf } from "../errors.ts";
import { CMD_FIN, CMD_NOP, CMD_SYN, SmuxDecoder, type SmuxSink } from "../proto/smux.ts";
import { ChainError } from "./errors.ts";
import type { MuxSettings } from "./mux-settings.ts";
import { MuxOutbox } from "./mux-outbox.ts";
import { type MuxLink, MuxStream } from "./mux-stream.ts";
import type { Transport } from "./types.ts";

export interface MuxOptions {
  /** Opened the connection: its streams have odd ids. */
  readonly opener: boolean;
  readonly settings: MuxSettings;
  /** Until a stream that holds up all others is ended, in version 1. */
  readonly stallMs?: number;
  /** For the other FIN of a peer for whom one ends both directions. */
  readonly lingerMs?: number;
  /** Counts the streams of several sessions. */
  readonly tally?: { streams: number };
  /** Takes a stream that the peer opened, or refuses it. Absent: all are refused. */
  readonly accept?: (stream: Transport) => boolean;
  /** The session is over; with an error if it did not end in order. Called once. */
  readonly onClose?: (error?: Error) => void;
}

const FIRST_ID = { opener: 3, other: 2 } as const;
const ID_MAX = 0xffff_fff0;
/** "tsgo" on the wire. */
const KIN_ID = 0x6f67_7374;
/** All streams wait for one that takes nothing. */
const STALL_MS = 30_000;
const LINGER_MS = 10_000;

export class MuxSession implements MuxLink {
  readonly settings: MuxSettings;
  readonly lingerMs: number;
  readonly #below: Transport;
  readonly #options: MuxOptions;
  readonly #decoder: SmuxDecoder;
  readonly #outbox: MuxOutbox;
  readonly #streams = new Map<number, MuxStream>();
  #nextId: number;
  #isKin = false;
  #isClosed = false;
  #isDraining = false;
  #unread = 0;
  /** Streams with unread bytes, also such that have ended. */
  readonly #holders = new Set<MuxStream>();
  #isHeld = false;
  #heard = true;
  #stall: NodeJS.Timeout | undefined;
  readonly #timers: NodeJS.Timeout[] = [];

  /** Takes `below` over; it must be detached. */
  constructor(below: Transport, options: MuxOptions) {
    this.#below = below;
    this.#options = options;
    this.settings = options.settings;
    this.lingerMs = options.lingerMs ?? LINGER_MS;
    this.#decoder = new SmuxDecoder(options.settings.version);
    this.#nextId = options.opener ? FIRST_ID.opener : FIRST_ID.other;
    this.#outbox = new MuxOutbox(below, {
      version: options.settings.version,
      windowBytes: options.settings.streamBytes,
      onIdle: () => {
        if (this.#isDraining && this.#streams.size === 0) this.#die();
      },
      onError: (error) => this.#onEnd(error),
    });
    if (options.opener) this.#sendControl(CMD_NOP, KIN_ID);
    const { keepaliveMs, timeoutMs } = options.settings;
    if (keepaliveMs > 0) {
      this.#timers.push(setInterval(() => this.#outbox.beat(), keepaliveMs).unref());
      this.#timers.push(setInterval(() => this.#listen(), timeoutMs).unref());
    }
    below.attach({
      data: (chunk) => this.#onData(chunk),
      end: () => this.#onEnd(),
      close: (error) => this.#onEnd(error),
    });
    below.resume();
  }

  get isKin(): boolean {
    return this.#isKin;
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  get streamCount(): number {
    return this.#streams.size;
  }

  /** One more stream can be opened. */
  get hasRoom(): boolean {
    if (this.#isClosed || this.#isDraining) return false;
    return this.#streams.size < this.settings.streamsMax && this.#nextId < ID_MAX;
  }

  /** Opens a stream; nothing is awaited, as in smux. Only while there is room. */
  open(): Transport {
    if (!this.hasRoom) throw new Error("the session has no room for a stream");
    const stream = new MuxStream(this.#nextId, this);
    this.#nextId += 2;
    this.#add(stream);
    this.#sendControl(CMD_SYN, stream.id);
    return stream;
  }

  #add(stream: MuxStream): void {
    this.#streams.set(stream.id, stream);
    if (this.#options.tally !== undefined) this.#options.tally.streams++;
  }

  #remove(stream: MuxStream): void {
    this.#streams.delete(stream.id);
    if (this.#options.tally !== undefined) this.#options.tally.streams--;
  }

  /** Takes no further streams and ends with the last one. */
  drain(): void {
    this.#isDraining = true;
    this.#outbox.schedule();
  }

  /** Ends the session; its streams fail. */
  close(): void {
    this.#die();
  }

  // What streams want.

  queued(stream: MuxStream, bytes: number): void {
    this.#unread += bytes;
    if (stream.queuedBytes > 0) this.#holders.add(stream);
    else this.#holders.delete(stream);
    const isFull = this.#unread >= this.settings.receiveBytes;
    if (bytes < 0) clearTimeout(this.#stall);
    if (this.#isClosed) return;
    if (isFull) this.#stall = this.#newStall();
    if (isFull === this.#isHeld) return;
    this.#isHeld = isFull;
    if (isFull) this.#below.pause();
    else this.#below.resume();
  }

  #newStall(): NodeJS.Timeout {
    clearTimeout(this.#stall);
    return setTimeout(() => {
      let worst: MuxStream | undefined;
      for (const stream of this.#holders) {
        if (stream.queuedBytes > (worst?.queuedBytes ?? 0)) worst = stream;
      }
      const message = "the stream took nothing and held up all others of its session";
      worst?.fail(new ChainError(message, { reason: "timeout", party: "proxy" }), "reset");
    }, this.#options.stallMs ?? STALL_MS).unref();
  }

  wake(stream: MuxStream): void {
    this.#outbox.wake(stream);
  }

  update(stream: MuxStream, consumed: number): void {
    this.#outbox.update(stream.id, consumed);
  }

  drop(stream: MuxStream, how: "nothing" | "fin" | "reset"): void {
    if (this.#streams.get(stream.id) !== stream) return;
    this.#remove(stream);
    this.#outbox.forget(stream.id);
    if (this.#isDraining) this.#outbox.schedule();
    if (how === "nothing") return;
    if (how === "reset" && this.#isKin) this.#sendControl(CMD_NOP, stream.id);
    this.#sendControl(CMD_FIN, stream.id);
  }

  #sendControl(command: number, id: number): void {
    if (this.#outbox.control(command, id)) return;
    this.#fail("protocol", "the peer does not read what it makes us answer");
  }

  // Receiving.

  #onData(chunk: Uint8Array): void {
    this.#heard = true;
    try {
      let offset = 0;
      while (offset < chunk.length && !this.#isClosed) {
        offset = this.#decoder.decode(chunk, offset, this.#sink);
      }
    } catch (error) {
      this.#fail("protocol", messageOf(error), error);
    }
  }

  readonly #sink: SmuxSink = {
    control: (command, id) => {
      if (command === CMD_SYN) this.#onSyn(id);
      else if (command === CMD_FIN) this.#streams.get(id)?.onFin();
      else if (id !== 0) this.#onPrivate(id);
    },
    data: (id, bytes) => this.#streams.get(id)?.onData(bytes),
    update: (id, consumed, window) => this.#streams.get(id)?.onUpdate(consumed, window),
  };

  #onSyn(id: number): void {
    if (this.#streams.has(id)) return;
    const { accept, opener } = this.#options;
    if ((id & 1) === (opener ? 1 : 0)) {
      this.#fail("protocol", `the peer opened stream ${id}, which is not its to open`);
      return;
    }
    const isFull = this.#isDraining || this.#streams.size >= this.settings.streamsMax;
    if (accept === undefined || isFull) {
      this.#sendControl(CMD_FIN, id);
      return;
    }
    const stream = new MuxStream(id, this);
    this.#add(stream);
    if (!accept(stream)) stream.destroy();
  }

  /** A NOP with an id: from a tsgost. */
  #onPrivate(id: number): void {
    if (id === KIN_ID) {
      if (!this.#isKin && !this.#options.opener) this.#sendControl(CMD_NOP, KIN_ID);
      this.#isKin = true;
    } else if (this.#isKin) {
      const stream = this.#streams.get(id);
      stream?.onReset();
    }
  }

  #listen(): void {
    // What is not read cannot be heard.
    if (!this.#heard && !this.#isHeld) this.#fail("closed", "the peer gave no sign of life");
    this.#heard = false;
  }

  // The end.

  #onEnd(error?: Error): void {
    if (error !== undefined) this.#fail("closed", messageOf(error), error);
    else if (this.#decoder.isInside) this.#fail("closed", "the connection ended inside a frame");
    else if (this.#streams.size > 0) this.#fail("closed", "the peer ended the connection");
    else this.#die();
  }

  #fail(reason: "closed" | "protocol", text: string, cause?: unknown): void {
    const message = `mux session: ${text}`;
    this.#die(new ChainError(message, { reason, party: "proxy", cause }));
  }

  #die(error?: Error): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    for (const timer of this.#timers) clearInterval(timer);
    clearTimeout(this.#stall);
    this.#outbox.close();
    const given = new ChainError("the mux session was closed", {
      reason: "closed",
      party: "proxy",
    });
    const hadStreams = this.#streams.size > 0;
    for (const stream of [...this.#streams.values()]) stream.fail(error ?? given, "nothing");
    if (error !== undefined || hadStreams) this.#below.reset();
    else this.#below.destroy();
    this.#options.onClose?.(error);
  }
}
