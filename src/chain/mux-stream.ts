/**
 * One stream of a smux session (mux-session.ts) as a Transport.
 *
 * Receiving: bytes go to the handler at once, or wait in a queue that the session counts (version
 * 1) and that the peer may fill up to a window (version 2). Sending: writes wait here until the
 * session asks for the next frame; `done` comes when the session's transport took the last of it.
 *
 * Ends: smux has FIN and nothing else. GOST takes a FIN for both directions, so after one of GOST's
 * nothing can be delivered any more: the user gets an end, then an error if it goes on writing or
 * stays for long. Between two tsgost (`isKin`) a FIN ends one direction and a reset is told apart.
 */
import { INITIAL_WINDOW_BYTES } from "../proto/smux.ts";
import { BaseStream, byteCount, failLater } from "./base-stream.ts";
import { ByteQueue } from "./byte-queue.ts";
import { ChainError } from "./errors.ts";
import type { MuxSettings } from "./mux-settings.ts";

const WINDOW_BYTES_MAX = 0x7fff_ffff;

/** What a stream wants of its session. */
export interface MuxLink {
  readonly settings: MuxSettings;
  /** For the other FIN, where a FIN ends both directions. */
  readonly lingerMs: number;
  /** The peer is a tsgost. */
  readonly isKin: boolean;
  /** More bytes wait in the stream's queue (negative: fewer). */
  queued(stream: MuxStream, bytes: number): void;
  /** There is a frame to fetch. */
  wake(stream: MuxStream): void;
  /** Version 2: tells the peer what was read. */
  update(stream: MuxStream, consumed: number): void;
  /** The stream is over here; `how` says what the peer is told. */
  drop(stream: MuxStream, how: "nothing" | "fin" | "reset"): void;
}

interface Pending {
  readonly chunks: readonly Uint8Array[];
  readonly done: (error?: Error) => void;
  index: number;
  offset: number;
}

/** The payload of a frame, and whom to tell when it was taken. */
export interface MuxFrame {
  readonly parts: readonly Uint8Array[];
  readonly bytes: number;
  readonly dones: readonly ((error?: Error) => void)[];
}

export class MuxStream extends BaseStream {
  readonly id: number;
  /** The session has it in its list of streams with work. */
  isListed = false;
  readonly #link: MuxLink;
  readonly #queue = new ByteQueue();
  #finReceived = false;
  /** Modulo 2^32. */
  #consumed = 0;
  #untold = 0;
  #hasTold = false;
  #pending: Pending[] = [];
  #ending = false;
  #finSent = false;
  #written = 0;
  #peerConsumed = 0;
  #peerWindow = INITIAL_WINDOW_BYTES;
  #linger: NodeJS.Timeout | undefined;
  #isOver = false;

  constructor(id: number, link: MuxLink) {
    super();
    this.id = id;
    this.#link = link;
  }

  /** Unread bytes. */
  get queuedBytes(): number {
    return this.#queue.bytes;
  }

  // From the session.

  /** A part of a PSH frame. */
  onData(bytes: Uint8Array): void {
    if (this.#isOver || this.#finReceived) return;
    if (this.isOpen && this.#queue.bytes === 0) {
      this.deliver(bytes);
      this.#tell(bytes.length);
      return;
    }
    const { version, streamBytes } = this.#link.settings;
    const limit = Math.max(INITIAL_WINDOW_BYTES, streamBytes);
    if (version === 2 && this.#queue.bytes + bytes.length > limit) {
      this.#fault("the peer sent more than the window of a stream");
      return;
    }
    this.#queue.push(bytes);
    this.#link.queued(this, bytes.length);
  }

  onFin(): void {
    if (this.#isOver || this.#finReceived) return;
    this.#finReceived = true;
    if (this.#finSent) this.#link.drop(this, "nothing");
    this.#settle();
  }

  /** A tsgost gave the stream up. */
  onReset(): void {
    const error = Object.assign(new Error("the peer reset the stream"), { code: "ECONNRESET" });
    if (!this.#isOver) this.fail(error, "nothing");
  }

  /** UPD: what the peer has read, and how much more than that it takes. */
  onUpdate(consumed: number, window: number): void {
    if (this.#isOver) return;
    // Both count modulo 2^32: the difference says which is ahead.
    if (((this.#written - consumed) | 0) < 0) {
      this.#fault("the peer acknowledged bytes that were never sent");
      return;
    }
    this.#peerConsumed = consumed;
    this.#peerWindow = Math.min(window, WINDOW_BYTES_MAX);
    if (this.hasFrame()) this.#link.wake(this);
  }

  /** Ends it with an error; the queue's bytes are lost. */
  fail(error: Error, how: "nothing" | "fin" | "reset"): void {
    if (this.#isOver) return;
    this.#close(how, error);
    this.deliverClose(error);
  }

  /** There are bytes, or a FIN, that may be sent. */
  hasFrame(): boolean {
    if (this.#isOver) return false;
    return this.#pending.length > 0 ? this.#window > 0 : this.#ending && !this.#finSent;
  }

  get #window(): number {
    if (this.#link.settings.version === 1) return WINDOW_BYTES_MAX;
    return this.#peerWindow - ((this.#written - this.#peerConsumed) >>> 0);
  }

  /** The next frame's payload; undefined: it is time for the FIN, which counts as sent. */
  takeFrame(): MuxFrame | undefined {
    if (this.#pending.length === 0) {
      this.#finSent = true;
      if (this.#finReceived) this.#link.drop(this, "nothing");
      this.#settle();
      return undefined;
    }
    const limit = Math.min(this.#link.settings.frameBytes, this.#window);
    const parts: Uint8Array[] = [];
    const dones: ((error?: Error) => void)[] = [];
    let bytes = 0;
    for (let first = this.#pending[0]; first !== undefined && bytes < limit;) {
      const chunk = first.chunks[first.index];
      if (chunk === undefined) {
        dones.push(first.done);
        this.#pending.shift();
        first = this.#pending[0];
        continue;
      }
      const part = chunk.subarray(first.offset, first.offset + limit - bytes);
      if (part.length > 0) parts.push(part);
      bytes += part.length;
      first.offset += part.length;
      if (first.offset === chunk.length) {
        first.index++;
        first.offset = 0;
      }
    }
    this.#takeFinished(dones);
    this.#written = (this.#written + bytes) >>> 0;
    return { parts, bytes, dones };
  }

  /** A write whose last byte just left is done with this frame, not with the next. */
  #takeFinished(dones: ((error?: Error) => void)[]): void {
    for (let first = this.#pending[0]; first !== undefined; first = this.#pending[0]) {
      while (first.chunks[first.index]?.length === 0) first.index++;
      if (first.index < first.chunks.length) return;
      dones.push(first.done);
      this.#pending.shift();
    }
  }

  // From the user.

  override write(chunks: readonly Uint8Array[], done: (error?: Error) => void): void {
    if (this.#ending || this.#isOver) {
      failLater(done, new Error("write after the stream's end"));
      return;
    }
    if (this.#finReceived && !this.#link.isKin) {
      this.#writeToNobody(done);
      return;
    }
    if (byteCount(chunks) === 0) {
      process.nextTick(done);
      return;
    }
    this.#pending.push({ chunks, done, index: 0, offset: 0 });
    if (this.hasFrame()) this.#link.wake(this);
  }

  /** As with TCP: a reset, but not before everything that came was read. */
  #writeToNobody(done: (error?: Error) => void): void {
    if (!this.hasEnd || !this.isOpen) {
      process.nextTick(done);
      return;
    }
    const error = closedByPeer();
    failLater(done, error);
    process.nextTick(() => this.fail(error, "fin"));
  }

  override end(): void {
    if (this.#ending || this.#isOver) return;
    this.#ending = true;
    if (this.hasFrame()) this.#link.wake(this);
  }

  override reset(): void {
    this.#giveUp("reset");
  }

  override destroy(): void {
    this.#giveUp("fin");
  }

  #giveUp(how: "fin" | "reset"): void {
    this.forsake();
    if (this.#isOver) return;
    this.#close(how, new Error("the stream was given up"));
    process.nextTick(() => this.deliverClose());
  }

  protected override hold(): void {
    // The session goes on; what comes waits in the queue.
  }

  protected override release(): void {
    while (this.isOpen && !this.#isOver) {
      const chunk = this.#queue.shift();
      if (chunk === undefined) break;
      this.#link.queued(this, -chunk.length);
      this.deliver(chunk);
      this.#tell(chunk.length);
    }
    this.#settle();
  }

  /** Version 2: at the first read, and when half of the window was read. */
  #tell(bytes: number): void {
    const { version, streamBytes } = this.#link.settings;
    if (version === 1) return;
    this.#consumed = (this.#consumed + bytes) >>> 0;
    this.#untold += bytes;
    if (this.#isOver || this.#finReceived) return;
    if (this.#hasTold && this.#untold < streamBytes / 2) return;
    this.#hasTold = true;
    this.#untold = 0;
    this.#link.update(this, this.#consumed);
  }

  /** Tells the end once everything was read, and the close once both directions have ended. */
  #settle(): void {
    if (this.#isOver) return;
    const isRead = this.#finReceived && this.#queue.bytes === 0;
    if (isRead) this.deliverEnd();
    // Whoever was told the end may have given up.
    if (this.#isDone()) return;
    if (isRead && this.#finSent) {
      this.#close("nothing");
      process.nextTick(() => this.deliverClose());
      return;
    }
    const waits = isRead || (this.#finSent && !this.#finReceived);
    if (waits && !this.#link.isKin)
      this.#linger ??= setTimeout(this.#onLinger, this.#link.lingerMs).unref();
  }

  #isDone(): boolean {
    return this.#isOver;
  }

  readonly #onLinger = (): void => {
    this.#linger = undefined;
    if (this.#isOver || this.#link.isKin) return;
    if (!this.#finReceived) {
      // GOST says nothing when only its own user stays; it will send nothing either.
      this.onFin();
    } else if (!this.isOpen) {
      this.#linger = setTimeout(this.#onLinger, this.#link.lingerMs).unref();
    } else {
      this.fail(closedByPeer(), "fin");
    }
  };

  #fault(message: string): void {
    this.fail(new ChainError(message, { reason: "protocol", party: "proxy" }), "fin");
  }

  #close(how: "nothing" | "fin" | "reset", error?: Error): void {
    this.#isOver = true;
    clearTimeout(this.#linger);
    this.#link.queued(this, -this.#queue.clear());
    for (const { done } of this.#pending) failLater(done, error ?? new Error("closed"));
    this.#pending = [];
    this.#link.drop(this, this.#finSent && how === "fin" ? "nothing" : how);
  }
}

function closedByPeer(): ChainError {
  const message = "the peer has closed the stream in both directions";
  return new ChainError(message, { reason: "closed", party: "proxy" });
}
