/**
 * A Transport over a Node socket: TCP, TLS over TCP, or TLS over another Transport. Half-close and
 * reset are what the caller asks for: `end` ends the write side only (the socket must allow half
 * open), `reset` aborts the first socket below.
 *
 * `done` of a write comes when the socket's write callback fired, also when that is after the
 * stream's end: until then libuv may read the memory.
 */
import type { Duplex } from "node:stream";
import { Socket } from "node:net";
import { BaseStream, byteCount, failLater, joined } from "./base-stream.ts";
import { ChainError } from "./errors.ts";
import { wasReset } from "./tcp-state.ts";

/** Up to here, several chunks are worth one copy to save a vector. */
const JOIN_BYTES_MAX = 4096;

/** For a shutdown to go out before a reset gives up on being one. */
const SHUTDOWN_MS = 1000;

/** What a stream stands on. */
export interface Below {
  /** Resets the first socket. */
  reset(): void;
  /** The TCP socket right below, if it is one. */
  readonly tcp: Socket | undefined;
}

/** A TCP socket as what a stream stands on. */
export function belowOf(socket: Duplex): Below {
  const tcp = socket instanceof Socket ? socket : undefined;
  return {
    tcp,
    reset: () => {
      if (tcp === undefined) socket.destroy();
      else tcp.resetAndDestroy();
    },
  };
}

export class SocketStream extends BaseStream {
  readonly socket: Duplex;
  readonly #below: Below;
  #writes = 0;
  #ending = false;
  #error: Error | undefined;
  #destroyed = false;

  /** Without `below`, `socket` itself is the first socket. */
  constructor(socket: Duplex, below?: Below) {
    super();
    this.socket = socket;
    this.#below = below ?? belowOf(socket);
    socket.pause();
    socket.on("data", this.#onData);
    socket.on("end", this.#onEnd);
    socket.on("error", this.#onError);
    socket.on("close", this.#onClose);
  }

  get below(): Below {
    return this.#below;
  }

  /**
   * Takes the socket out, for a layer that wants the socket itself; the stream is dead then. What
   * was given back or held goes back into the socket.
   */
  takeSocket(): Duplex {
    for (const chunk of [...this.takeHeld()].reverse()) this.socket.unshift(chunk);
    this.socket.off("data", this.#onData);
    this.socket.off("end", this.#onEnd);
    this.socket.off("error", this.#onError);
    this.socket.off("close", this.#onClose);
    return this.socket;
  }

  readonly #onData = (chunk: Uint8Array): void => {
    this.deliver(chunk);
  };

  readonly #onEnd = (): void => {
    const { tcp } = this.#below;
    if (tcp !== undefined && !this.#ending && wasReset(tcp)) {
      this.#error ??= Object.assign(new Error("read ECONNRESET"), { code: "ECONNRESET" });
      this.socket.destroy();
      this.#below.reset();
      return;
    }
    this.deliverEnd();
  };

  readonly #onError = (error: Error): void => {
    this.#error ??= error;
  };

  readonly #onClose = (): void => {
    if (this.#error === undefined && !this.#destroyed && !(this.hasEnd && this.#ending)) {
      const message = "the connection was closed";
      this.#error = new ChainError(message, { reason: "closed", party: "proxy" });
    }
    this.deliverClose(this.#error);
  };

  protected override hold(): void {
    this.socket.pause();
  }

  protected override release(): void {
    this.socket.resume();
  }

  override write(chunks: readonly Uint8Array[], done: (error?: Error) => void): void {
    const { socket } = this;
    if (this.#ending || socket.destroyed) {
      failLater(done, this.#error ?? new Error("write after the stream's end"));
      return;
    }
    this.#writes++;
    const taken = (error?: Error | null): void => {
      this.#writes--;
      if (this.#ending && this.#writes === 0 && !socket.destroyed) socket.end();
      done(error ?? (socket.destroyed ? (this.#error ?? new Error("closed")) : undefined));
    };
    const [first = new Uint8Array(0)] = chunks;
    if (chunks.length <= 1) {
      socket.write(first, taken);
      return;
    }
    const bytes = byteCount(chunks);
    if (bytes <= JOIN_BYTES_MAX) {
      socket.write(joined(chunks, bytes), taken);
      return;
    }
    socket.cork();
    const last = chunks.length - 1;
    for (let index = 0; index < last; index++) socket.write(chunks[index] ?? first);
    socket.write(chunks[last] ?? first, taken);
    socket.uncork();
  }

  override end(): void {
    if (this.#ending) return;
    this.#ending = true;
    // Later, a shutdown would wait behind the writes, and a reset could not overtake it.
    if (this.#writes === 0 && !this.socket.destroyed) this.socket.end();
  }

  override reset(): void {
    if (this.#destroyed) return;
    this.#destroyed = true;
    this.forsake();
    const { socket } = this;
    if (!socket.writableEnded || socket.writableFinished) {
      this.#abort();
      return;
    }
    // libuv refuses to reset while a shutdown is under way, and Node would lose the descriptor.
    const abort = (): void => {
      clearTimeout(timer);
      socket.off("finish", abort);
      socket.off("close", abort);
      this.#abort();
    };
    const timer = setTimeout(() => socket.destroy(), SHUTDOWN_MS);
    socket.once("finish", abort);
    socket.once("close", abort);
  }

  #abort(): void {
    this.#below.reset();
    this.socket.destroy();
  }

  override destroy(): void {
    if (this.#destroyed) return;
    this.#destroyed = true;
    this.forsake();
    this.socket.destroy();
  }
}
