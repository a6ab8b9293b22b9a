/**
 * A byte stream inside WebSocket frames (RFC 6455), either role. One batch of chunks is one binary
 * message; payload is not copied, a client masks it in place.
 *
 * Ends: `end` ends the transport's write side without a Close frame, because a Close would end both
 * directions at GOST. Who ends second sends Close 1000 before. A received Close is answered and
 * ends the stream. A protocol error is answered with its code and resets the transport.
 *
 * A peer that was killed ends its connections with FIN as if they were half-closed. Two tsgost tell
 * each other who they are with an unsolicited Pong, which everybody else ignores (RFC 6455 §5.5.3),
 * and announce each half-close with another one: an end without it is an abort.
 */
import { randomFillSync } from "node:crypto";
import {
  CLOSE_NORMAL,
  FrameDecoder,
  HEADER_BYTES_MAX,
  MESSAGE_BYTES_MAX,
  type MaskFunction,
  OP_BINARY,
  OP_CLOSE,
  OP_PING,
  OP_PONG,
  WsFormatError,
  closePayload,
  encodeFrame,
  parseClose,
  putHeader,
  xorMask,
} from "../proto/ws.ts";
import { byteCount, failLater, joined } from "./base-stream.ts";
import { ChainError } from "./errors.ts";
import { FilterStream } from "./filter-stream.ts";
import type { Transport } from "./types.ts";

export interface WsStreamOptions {
  readonly server: boolean;
  readonly mask?: MaskFunction | undefined;
  /** Empty pings every so often; 0 = none. */
  readonly pingMs?: number;
}

/** Up to here header and payload go into one buffer. */
const JOIN_BYTES_MAX = 4096;
/** Pongs that wait for the transport; more pings are left unanswered. */
const PONGS_MAX = 16;
/** For the peer to close after the Close handshake or a fault. */
const LINGER_MS = 5_000;
const KEY_POOL_BYTES = 4096;

const keyPool = new Uint32Array(KEY_POOL_BYTES / 4);
let keyNext = keyPool.length;

/** Unpredictable, as RFC 6455 §5.3 demands. */
function newKey(): number {
  if (keyNext === keyPool.length) {
    randomFillSync(keyPool);
    keyNext = 0;
  }
  return keyPool[keyNext++] ?? 0;
}

const KIN = Buffer.from("tsgost", "latin1");
const KIN_END = Buffer.from("tsgost end", "latin1");

const nothing = (): void => undefined;

export class WsStream extends FilterStream {
  readonly #server: boolean;
  readonly #mask: MaskFunction;
  readonly #decoder: FrameDecoder;
  readonly #sink = {
    data: (bytes: Uint8Array): void => {
      this.deliver(bytes);
    },
    control: (opcode: number, payload: Uint8Array): void => {
      this.#onControl(opcode, payload);
    },
  };
  #ended = false;
  /** A Close went out: no frame may follow. */
  #closeSent = false;
  #closeReceived = false;
  #pongs = 0;
  #linger: NodeJS.Timeout | undefined;
  #pinger: NodeJS.Timeout | undefined;
  #heard = true;
  /** To be told who we are, in front of the next write. */
  #owesHello: boolean;
  #isKin = false;
  #endAnnounced = false;

  constructor(below: Transport, options: WsStreamOptions) {
    super(below);
    this.#server = options.server;
    this.#owesHello = !options.server;
    this.#mask = options.mask ?? xorMask;
    this.#decoder = new FrameDecoder(options.server, this.#mask);
    this.start();
    const pingMs = options.pingMs ?? 0;
    if (pingMs > 0) this.#pinger = setInterval(() => this.#ping(), pingMs);
  }

  protected override decode(chunk: Uint8Array, offset: number): number {
    this.#heard = true;
    if (this.#closeReceived) return chunk.length;
    return this.#decoder.decode(chunk, offset, this.#sink);
  }

  protected override onInputEnd(): void {
    if (this.#closeReceived) return;
    if (this.#decoder.isInside) {
      this.#fail("closed", "the connection ended inside a WebSocket frame");
      return;
    }
    if (this.#isKin && !this.#endAnnounced) {
      this.#fail("closed", "the peer's connection was cut off");
      return;
    }
    this.deliverEnd();
    // Its own end came first: both directions are over now.
    if (this.#ended) this.#lingerThenDestroy();
  }

  protected override onFault(error: Error): void {
    this.#stopTimers();
    const message = `WebSocket: ${error.message}`;
    const details = { reason: "protocol", party: "proxy", cause: error } as const;
    this.deliverClose(new ChainError(message, details));
    if (!(error instanceof WsFormatError) || this.#closeSent) {
      this.below.reset();
      return;
    }
    this.#closeSent = true;
    this.#control(OP_CLOSE, closePayload(error.closeCode, error.message), nothing);
    this.below.end();
    this.#lingerThenDestroy();
  }

  protected override onBelowClose(error?: Error): void {
    this.#stopTimers();
    clearTimeout(this.#linger);
    this.deliverClose(error);
  }

  override write(chunks: readonly Uint8Array[], done: (error?: Error) => void): void {
    if (this.#ended || this.#closeSent) {
      failLater(done, new Error("write after the stream's end"));
      return;
    }
    const bytes = byteCount(chunks);
    if (bytes === 0) {
      process.nextTick(done);
      return;
    }
    if (bytes > MESSAGE_BYTES_MAX) {
      this.#writeParts(chunks, done);
      return;
    }
    const key = this.#server ? undefined : newKey();
    if (bytes <= JOIN_BYTES_MAX) {
      const payload = chunks.length === 1 ? chunks[0] : joined(chunks, bytes);
      const frame = encodeFrame(OP_BINARY, payload ?? new Uint8Array(0), key);
      const hello = this.#hello();
      this.below.write([hello === undefined ? frame : Buffer.concat([hello, frame])], done);
      return;
    }
    const hello = this.#hello();
    if (hello !== undefined) this.below.write([hello], nothing);
    const header = new Uint8Array(HEADER_BYTES_MAX);
    const headerBytes = putHeader(header, OP_BINARY, bytes, key);
    if (key !== undefined) {
      let phase = 0;
      for (const chunk of chunks) {
        this.#mask(chunk, key, phase & 3);
        phase += chunk.length;
      }
    }
    this.below.write([header.subarray(0, headerBytes), ...chunks], done);
  }

  #hello(): Uint8Array | undefined {
    if (!this.#owesHello) return undefined;
    this.#owesHello = false;
    return encodeFrame(OP_PONG, KIN, this.#server ? undefined : newKey());
  }

  /** More than one message can hold: one message a chunk, or a part of it. */
  #writeParts(chunks: readonly Uint8Array[], done: (error?: Error) => void): void {
    const parts: Uint8Array[] = [];
    for (const chunk of chunks) {
      for (let offset = 0; offset < chunk.length; offset += MESSAGE_BYTES_MAX) {
        parts.push(chunk.subarray(offset, offset + MESSAGE_BYTES_MAX));
      }
    }
    parts.forEach((part, index) => {
      this.write([part], index === parts.length - 1 ? done : nothing);
    });
  }

  override end(): void {
    if (this.#ended) return;
    this.#ended = true;
    if (this.hasEnd && !this.#closeSent) {
      this.#closeSent = true;
      this.#control(OP_CLOSE, closePayload(CLOSE_NORMAL, ""), nothing);
      this.#lingerThenDestroy();
    } else if (this.#isKin && !this.#closeSent) {
      this.#control(OP_PONG, KIN_END, nothing);
    }
    this.below.end();
  }

  override reset(): void {
    this.#stopTimers();
    clearTimeout(this.#linger);
    this.forsake();
    this.below.reset();
  }

  override destroy(): void {
    this.#stopTimers();
    clearTimeout(this.#linger);
    this.forsake();
    this.below.destroy();
  }

  #control(opcode: number, payload: Uint8Array, done: (error?: Error) => void): void {
    const key = this.#server ? undefined : newKey();
    this.below.write([encodeFrame(opcode, payload, key)], done);
  }

  #onControl(opcode: number, payload: Uint8Array): void {
    if (opcode === OP_PING && !this.#ended && !this.#closeSent && this.#pongs < PONGS_MAX) {
      this.#pongs++;
      this.#control(OP_PONG, payload, () => {
        this.#pongs--;
      });
    }
    if (opcode === OP_PONG) this.#onPong(payload);
    if (opcode === OP_CLOSE) this.#onClose(payload);
  }

  #onPong(payload: Uint8Array): void {
    if (KIN_END.equals(payload)) this.#endAnnounced = true;
    if (!KIN.equals(payload) || this.#isKin) return;
    this.#isKin = true;
    this.#owesHello = this.#server;
  }

  #onClose(payload: Uint8Array): void {
    const { code } = parseClose(payload);
    this.#closeReceived = true;
    this.discard();
    if (!this.#ended && !this.#closeSent) {
      this.#closeSent = true;
      this.#control(OP_CLOSE, payload.subarray(0, 2), nothing);
    }
    const wasOpen = !this.#ended;
    this.#ended = true;
    this.below.end();
    this.#lingerThenDestroy();
    if (code === undefined || code === CLOSE_NORMAL || code === 1001) {
      this.deliverEnd();
      // Nothing that is sent now would be read.
      if (wasOpen) this.#stopTimers();
    } else {
      this.#fail("protocol", `the peer closed the WebSocket with code ${code}`);
    }
  }

  #fail(reason: "closed" | "protocol", message: string): void {
    this.#stopTimers();
    // First the cause: the reset's own close would come without one.
    this.deliverClose(new ChainError(message, { reason, party: "proxy" }));
    this.below.reset();
  }

  #lingerThenDestroy(): void {
    this.#linger ??= setTimeout(() => this.below.destroy(), LINGER_MS).unref();
    // Nobody may be reading; the peer's end must still be seen.
    this.below.resume();
  }

  #ping(): void {
    if (!this.#heard) {
      this.#fail("closed", "the peer did not answer pings");
      return;
    }
    this.#heard = false;
    if (!this.#ended && !this.#closeSent) this.#control(OP_PING, new Uint8Array(0), nothing);
  }

  #stopTimers(): void {
    clearInterval(this.#pinger);
  }
}
