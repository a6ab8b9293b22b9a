/**
 * The dialers `mtls`, `mws` and `mwss`: tls, ws and wss with smux inside. A node has one session
 * that all connections share; a further one is opened only when it is full, and one that died is
 * replaced at the next dial. Who waits for a session waits for the same one.
 */
import { metaDurationMs } from "../config/metadata.ts";
import type { NodeConfig } from "../config/model.ts";
import { messageOf } from "../errors.ts";
import { Deadline } from "./deadline.ts";
import { ChainError, abortError } from "./errors.ts";
import { MuxSession } from "./mux-session.ts";
import { type MuxSettings, muxSettings } from "./mux-settings.ts";
import { withSignal } from "./socket.ts";
import { tlsDialer } from "./tls.ts";
import type { Dialer, NodeContext, OpenTransport, Transport } from "./types.ts";
import { wsDialer, wssDialer } from "./ws-dialer.ts";

const OPEN_MS = 15_000;
/** A node's sessions; each takes some thousand streams. */
const SESSIONS_MAX = 16;
/** A new session's room may be gone before this dial's turn comes. */
const ATTEMPTS_MAX = 4;

/** The sessions with one node. */
class SessionPool {
  readonly #node: NodeConfig;
  readonly #base: Dialer;
  readonly #settings: MuxSettings;
  readonly #sessions = new Set<MuxSession>();
  readonly #closed = new AbortController();
  #opening: Promise<void> | undefined;

  constructor(node: NodeConfig, base: Dialer) {
    this.#node = node;
    this.#base = base;
    this.#settings = muxSettings(node.dialer.metadata, node.place);
  }

  async stream(context: NodeContext, open: OpenTransport): Promise<Transport> {
    for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
      for (const session of this.#sessions) if (session.hasRoom) return session.open();
      if (this.#sessions.size >= SESSIONS_MAX) break;
      this.#opening ??= this.#openSession(context, open).finally(() => {
        this.#opening = undefined;
      });
      await this.#wait(this.#opening, context.signal);
    }
    const message = `${this.#node.addr}: all mux sessions are full`;
    throw new ChainError(message, { reason: "closed", party: "proxy" });
  }

  async #wait(opening: Promise<void>, signal: AbortSignal): Promise<void> {
    try {
      await withSignal(opening, signal);
    } catch (error) {
      if (!signal.aborted) throw error;
      throw abortError(signal, "proxy", `mux session with ${this.#node.addr}`);
    }
  }

  /** For all who wait: it has a deadline of its own. */
  async #openSession(context: NodeContext, open: OpenTransport): Promise<void> {
    const node = this.#node;
    const limitMs = metaDurationMs(node.metadata, "dialTimeout", OPEN_MS);
    const limit = new Deadline(Math.max(1, limitMs), [this.#closed.signal]);
    try {
      const raw = await open(limit.signal);
      try {
        const below = await this.#base.handshake(raw, node, { ...context, signal: limit.signal });
        this.#add(below, context);
      } catch (error) {
        raw.reset();
        throw error;
      }
    } finally {
      limit.end();
    }
  }

  #add(below: Transport, context: NodeContext): void {
    const session = new MuxSession(below, {
      opener: true,
      settings: this.#settings,
      onClose: (error) => {
        this.#sessions.delete(session);
        if (error === undefined) return;
        context.log.debug(`session with ${this.#node.addr} ended: ${messageOf(error)}`, {
          node: this.#node.name,
        });
      },
    });
    this.#sessions.add(session);
  }

  close(): void {
    const message = "the chain was closed";
    this.#closed.abort(new ChainError(message, { reason: "aborted", party: "proxy" }));
    for (const session of this.#sessions) session.close();
  }
}

/** The dialer `scheme`: streams of sessions over what `base` makes. */
function muxOver(scheme: string, base: Dialer): Dialer {
  return {
    scheme,
    prepare: (node, memory) => {
      base.prepare?.(node, memory);
      memory.sessions ??= new SessionPool(node, base);
    },
    // Of a session's transport; streams come from `stream`.
    handshake: (raw, node, context) => base.handshake(raw, node, context),
    stream: (node, context, open) => {
      const { memory } = context;
      const pool =
        memory.sessions instanceof SessionPool ? memory.sessions : new SessionPool(node, base);
      memory.sessions = pool;
      return pool.stream(context, open);
    },
  };
}

export const mtlsDialer = muxOver("mtls", tlsDialer);
export const mwsDialer = muxOver("mws", wsDialer);
export const mwssDialer = muxOver("mwss", wssDialer);
