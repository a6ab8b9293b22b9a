/**
 * DNS over TCP and TLS (RFC 1035 §4.2.2, RFC 7766, RFC 7858): one connection for all questions to a
 * nameserver, several at once and answered in any order, kept for a while when idle.
 *
 *   | length 2 | message |
 *
 * A message that answers no question ends the connection. A connection that the server closed
 * is replaced if it had answered something: servers may close whenever they like.
 */
import { randomInt } from "node:crypto";
import type { Duplex } from "node:stream";
import { Deadline } from "../chain/deadline.ts";
import { withSignal } from "../chain/socket.ts";
import { messageOf } from "../errors.ts";
import type { DnsQuestion } from "../proto/dns.ts";
import {
  type Answer,
  type AskContext,
  type Exchange,
  type Query,
  dnsError,
  expectAnswer,
  makeQuery,
  reasonOfAbort,
} from "./query.ts";

const IDLE_MS = 10_000;
/** Of one connection; more wait for none and fail. */
const PENDING_MAX = 1024;

/** A connection, its handshakes done. */
export type Connect = (signal: AbortSignal) => Promise<Duplex>;

/** `connectMs` bounds the making of a connection. */
export function streamExchange(connect: Connect, connectMs: number): Exchange {
  return new StreamExchange(connect, connectMs);
}

class StreamExchange implements Exchange {
  readonly #connect: Connect;
  readonly #connectMs: number;
  readonly #closed = new AbortController();
  #connection: Promise<Connection> | undefined;

  constructor(connect: Connect, connectMs: number) {
    this.#connect = connect;
    this.#connectMs = connectMs;
  }

  async ask(question: DnsQuestion, context: AskContext): Promise<Answer> {
    for (;;) {
      const connection = await withSignal(this.#open(), context.signal);
      const query = makeQuery(question, context.options, connection.freeId());
      try {
        return await connection.ask(query, context.signal);
      } catch (error) {
        const isStale = connection.isOver && connection.answered > 0;
        if (!isStale || context.signal.aborted || this.#closed.signal.aborted) throw error;
      }
    }
  }

  close(): void {
    this.#closed.abort(dnsError("CLOSED", "the resolver was closed"));
    void this.#connection?.then((connection) => connection.end()).catch(() => undefined);
  }

  /** One connection for all; it outlives the question that it was opened for. */
  #open(): Promise<Connection> {
    if (this.#connection !== undefined) return this.#connection;
    const limit = new Deadline(this.#connectMs, [this.#closed.signal]);
    const forget = (): void => {
      if (this.#connection === made) this.#connection = undefined;
    };
    const made = this.#connect(limit.signal)
      .then((stream) => new Connection(stream, forget))
      .finally(() => limit.end());
    this.#connection = made;
    made.catch(forget);
    return made;
  }
}

interface Pending {
  readonly query: Query;
  take(answer: Answer): void;
  fail(error: Error): void;
}

class Connection {
  readonly #stream: Duplex;
  readonly #onOver: () => void;
  readonly #pending = new Map<number, Pending>();
  /** Given up, their answers may still come. */
  readonly #abandoned = new Set<number>();
  readonly #idle: NodeJS.Timeout;
  #held: Buffer[] = [];
  #heldBytes = 0;
  /** Bytes of what is next, length included; 2 while the length is not known. */
  #wanted = 2;
  #isOver = false;
  #answered = 0;

  constructor(stream: Duplex, onOver: () => void) {
    this.#stream = stream;
    this.#onOver = onOver;
    this.#idle = setTimeout(() => this.#onIdle(), IDLE_MS);
    this.#idle.unref();
    stream.on("data", (chunk: Buffer) => {
      this.#onData(chunk);
    });
    stream.on("error", (error: Error) => {
      this.#finish(error);
    });
    const onEnd = (): void => {
      this.#finish(dnsError("CLOSED", "the nameserver closed the connection"));
    };
    stream.on("end", onEnd);
    stream.on("close", onEnd);
    if (stream.destroyed) onEnd();
  }

  get isOver(): boolean {
    return this.#isOver;
  }

  get answered(): number {
    return this.#answered;
  }

  freeId(): number {
    for (;;) {
      const id = randomInt(0x1_0000);
      if (!this.#pending.has(id) && !this.#abandoned.has(id)) return id;
    }
  }

  ask(query: Query, signal: AbortSignal): Promise<Answer> {
    return new Promise<Answer>((resolve, reject) => {
      if (this.#isOver || this.#pending.size + this.#abandoned.size >= PENDING_MAX) {
        const why = this.#isOver ? "the connection is closed" : "too many questions wait";
        reject(dnsError("CLOSED", why));
        return;
      }
      const leave = (): void => {
        signal.removeEventListener("abort", onAbort);
        this.#pending.delete(query.id);
      };
      const onAbort = (): void => {
        leave();
        if (!this.#isOver) this.#abandoned.add(query.id);
        reject(reasonOfAbort(signal));
      };
      const take = (answer: Answer): void => {
        leave();
        resolve(answer);
      };
      const fail = (error: Error): void => {
        leave();
        reject(error);
      };
      this.#pending.set(query.id, { query, take, fail });
      signal.addEventListener("abort", onAbort);
      if (signal.aborted) {
        onAbort();
        return;
      }
      const head = Buffer.of(query.bytes.length >> 8, query.bytes.length & 255);
      this.#stream.write(Buffer.concat([head, query.bytes]));
    });
  }

  end(): void {
    this.#finish(dnsError("CLOSED", "the resolver was closed"));
  }

  /** A server that leaves questions unanswered is not asked on this connection again. */
  #onIdle(): void {
    if (this.#pending.size > 0) this.#idle.refresh();
    else this.#finish(dnsError("CLOSED", "the connection was idle"));
  }

  #onData(chunk: Buffer): void {
    this.#idle.refresh();
    this.#held.push(chunk);
    this.#heldBytes += chunk.length;
    while (this.#heldBytes >= this.#wanted && !this.#isOver) {
      // Joined when a message is there, or its length: not for each piece of one.
      const held = Buffer.concat(this.#held);
      const end = held.length < 2 ? 2 : 2 + held.readUInt16BE(0);
      this.#wanted = held.length < end ? end : 2;
      const rest = held.length < end ? held : held.subarray(end);
      this.#held = [rest];
      this.#heldBytes = rest.length;
      if (held.length >= end) this.#onMessage(Uint8Array.from(held.subarray(2, end)));
    }
  }

  #onMessage(bytes: Uint8Array): void {
    const id = ((bytes[0] ?? 0) << 8) | (bytes[1] ?? 0);
    if (this.#abandoned.delete(id)) return;
    const pending = this.#pending.get(id);
    try {
      if (pending === undefined) throw dnsError("PROTOCOL", "an answer that nobody asked for");
      const answer = expectAnswer(pending.query, bytes);
      this.#answered++;
      pending.take(answer);
    } catch (error) {
      this.#finish(error instanceof Error ? error : new Error(messageOf(error)));
    }
  }

  #finish(error: Error): void {
    if (this.#isOver) return;
    this.#isOver = true;
    clearTimeout(this.#idle);
    this.#onOver();
    this.#held = [];
    this.#heldBytes = 0;
    this.#stream.destroy();
    for (const pending of [...this.#pending.values()]) pending.fail(error);
  }
}
