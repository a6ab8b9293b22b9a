/**
 * Datagrams of one client inside its stream: frames come in and go to a carrier, what the carrier
 * brings goes out as frames. Relay, SOCKS5's tunnel and the UDP form of HTTP are of this kind.
 *
 * Bounds: what waits for the client's transport, and the time without a datagram.
 */
import type { Endpoint, Transport, UpDatagrams } from "../chain/types.ts";
import { AssociatedReader, encodeAssociated } from "../proto/relay-udp.ts";

/** For the client, not yet taken by its transport; beyond it datagrams are dropped. */
const QUEUE_BYTES_MAX = 1024 * 1024;

/** Writes frames to the client as long as they do not pile up. */
class FrameWriter {
  readonly #transport: Transport;
  #queued = 0;

  constructor(transport: Transport) {
    this.#transport = transport;
  }

  write(frame: Buffer): void {
    if (this.#queued + frame.length > QUEUE_BYTES_MAX) return;
    this.#queued += frame.length;
    this.#transport.write([frame], () => {
      this.#queued -= frame.length;
    });
  }
}

/** Calls `expire` when nothing was heard for a while. */
class IdleTimer {
  #heard = false;
  readonly #timer: NodeJS.Timeout;

  constructor(idleMs: number, expire: () => void) {
    this.#timer = setInterval(() => {
      if (!this.#heard) expire();
      this.#heard = false;
    }, idleMs);
  }

  touch(): void {
    this.#heard = true;
  }

  stop(): void {
    clearInterval(this.#timer);
  }
}

export interface SessionLimits {
  /** Without a datagram in either direction the session ends. */
  readonly idleMs: number;
  /** The service stops. */
  readonly signal: AbortSignal;
  /** Rules of the service, where the carrier does not apply them itself. */
  readonly refuses?: ((network: "tcp" | "udp", host: string, port: number) => boolean) | undefined;
}

/** What carries the datagrams of one client, and what its frames look like. */
export interface DatagramSession {
  readonly transport: Transport;
  readonly carrier: UpDatagrams;
  readonly limits: SessionLimits;
  readonly push: (chunk: Uint8Array, send: (data: Uint8Array, to: Endpoint) => void) => void;
  readonly frame: (data: Uint8Array, from: Endpoint) => Buffer | undefined;
}

/** Runs until the client leaves, the carrier fails, or nothing was heard for `idleMs`. */
export function carryDatagrams(session: DatagramSession): Promise<void> {
  const { transport, carrier, limits } = session;
  const { signal } = limits;
  return new Promise<void>((resolve) => {
    const writer = new FrameWriter(transport);
    let isOver = false;
    const finish = (): void => {
      if (isOver) return;
      isOver = true;
      idle.stop();
      signal.removeEventListener("abort", finish);
      carrier.close();
      transport.end();
      transport.destroy();
      resolve();
    };
    const idle = new IdleTimer(limits.idleMs, finish);
    signal.addEventListener("abort", finish, { once: true });
    carrier.attach({
      message: (data, source) => {
        if (limits.refuses?.("udp", source.host, source.port) === true) return;
        idle.touch();
        const frame = session.frame(data, source);
        if (frame !== undefined) writer.write(frame);
      },
      close: finish,
    });
    const send = (data: Uint8Array, to: Endpoint): void => {
      idle.touch();
      if (limits.refuses?.("udp", to.host, to.port) === true) return;
      carrier.send(data, to);
    };
    transport.attach({
      data: (chunk) => {
        try {
          session.push(chunk, send);
        } catch {
          // Out of step: nothing that follows can be understood.
          finish();
        }
      },
      end: finish,
      close: finish,
    });
    transport.resume();
  });
}

/** A session whose frames carry addresses (relay association, SOCKS5's 0xF3, HTTP). */
export function serveFrames(
  transport: Transport,
  carrier: UpDatagrams,
  limits: SessionLimits,
): Promise<void> {
  const reader = new AssociatedReader();
  return carryDatagrams({
    transport,
    carrier,
    limits,
    push: (chunk, send) => {
      reader.push(chunk, (data, to) => {
        // GOST sends empty ones; they say nothing.
        if (data.length > 0) send(data, to);
      });
    },
    // Empty datagrams would put GOST's reader out of step.
    frame: (data, from) => (data.length === 0 ? undefined : encodeAssociated(data, from)),
  });
}
