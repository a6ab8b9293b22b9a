/**
 * What handlers of byte streams have in common: they own their connections, dial while the client
 * stays, and refuse so that the client can read why.
 *
 * A connection: `serve` (a handler's protocol) -> over, or thrown: `refuse` answers and closes.
 */
import { setMaxListeners } from "node:events";
import { Deadline } from "../chain/deadline.ts";
import { ChainError } from "../chain/errors.ts";
import type { Transport, UpDatagrams, UpStream } from "../chain/types.ts";
import { parseHostPort } from "../config/net.ts";
import type { Accepted, Handler } from "./handler.ts";

/** After a refusal: time for the client to read it, and bytes thrown away meanwhile. */
const LINGER_MS = 2_000;
const LINGER_BYTES_MAX = 1024 * 1024;

/** For dials: the router has deadlines of its own. */
export const DIAL_MS = 0x7fff_ffff;
/** For datagrams there may be names to look up first. */
const CARRIER_MS = 30_000;

export abstract class SessionHandler implements Handler {
  readonly #open = new Set<Transport>();
  readonly #stop = new AbortController();

  constructor() {
    // Every session listens to it.
    setMaxListeners(0, this.#stop.signal);
  }

  /** Aborts when the service stops. */
  protected get stopped(): AbortSignal {
    return this.#stop.signal;
  }

  /** Speaks the protocol until the connection is over. */
  protected abstract serve(accepted: Accepted): Promise<void>;
  /** `serve` threw: answer, if there is an answer, and let go of the transport. Must not throw. */
  protected abstract refuse(accepted: Accepted, error: unknown): void;

  handle(accepted: Accepted): void {
    const { transport } = accepted;
    if (this.#stop.signal.aborted) {
      transport.reset();
      return;
    }
    this.#open.add(transport);
    this.serve(accepted)
      .then(
        () => accepted.done?.(),
        (error: unknown) => {
          this.refuse(accepted, error);
          accepted.done?.(error);
        },
      )
      .finally(() => this.#open.delete(transport));
  }

  /** Resets all connections. */
  close(): void {
    this.#stop.abort(new ChainError("the service stops", { reason: "aborted", party: "proxy" }));
    for (const transport of this.#open) transport.reset();
    this.#open.clear();
  }
}

/** The client went away before there was anything to answer. */
export class ClientGone extends Error {
  constructor() {
    super("the client went away");
  }
}

/** IP text of `host:port`. */
export function ipOf(peer: string): string {
  return parseHostPort(peer)?.host ?? "";
}

/**
 * Does something slow while the client stays; what it sends meanwhile waits in the transport, which
 * is left detached. Throws ClientGone, or what `work` throws; its signal aborts after `limitMs`,
 * with `outer`, and when the client is gone. `drop` undoes a result that came too late.
 */
export async function whileOpen<T>(
  transport: Transport,
  limit: { readonly ms: number; readonly outer: AbortSignal },
  work: (signal: AbortSignal) => Promise<T>,
  drop: (result: T) => void,
): Promise<{ result: T; hasEnded: boolean }> {
  const gone = new AbortController();
  let hasEnded = false;
  transport.attach({
    data: (chunk) => {
      transport.pause();
      transport.unshift(chunk);
    },
    end: () => {
      hasEnded = true;
    },
    close: () => {
      gone.abort(new ClientGone());
    },
  });
  transport.resume();
  const deadline = new Deadline(limit.ms, [gone.signal, limit.outer]);
  try {
    const result = await work(deadline.signal);
    transport.detach();
    if (!gone.signal.aborted) return { result, hasEnded };
    drop(result);
    throw new ClientGone();
  } catch (error) {
    transport.detach();
    if (gone.signal.aborted) throw new ClientGone();
    throw error;
  } finally {
    deadline.end();
  }
}

/** `whileOpen` for datagrams, which nobody hears once the client has ended: ClientGone. */
export async function carrierWhileOpen(
  transport: Transport,
  outer: AbortSignal,
  open: (signal: AbortSignal) => Promise<UpDatagrams>,
): Promise<UpDatagrams> {
  const limit = { ms: CARRIER_MS, outer };
  const { result, hasEnded } = await whileOpen(transport, limit, open, (late) => late.close());
  if (!hasEnded) return result;
  result.close();
  throw new ClientGone();
}

/** `whileOpen` for a dial. */
export async function dialWhileOpen(
  transport: Transport,
  limit: { readonly ms: number; readonly outer: AbortSignal },
  dial: (signal: AbortSignal) => Promise<UpStream>,
): Promise<{ stream: UpStream; hasEnded: boolean }> {
  const { result, hasEnded } = await whileOpen(transport, limit, dial, (late) => {
    late.reset();
  });
  return { stream: result, hasEnded };
}

/**
 * Says the last words, if any, ends, and closes once they can have been read: unread bytes would
 * turn the close into a reset that eats the answer, so it reads on for a moment.
 */
export function sayAndClose(transport: Transport, words?: Uint8Array): void {
  let bytes = 0;
  let isSaid = words === undefined;
  let hasEnded = false;
  const timer = setTimeout(() => transport.destroy(), LINGER_MS).unref();
  const finish = (): void => {
    clearTimeout(timer);
    transport.destroy();
  };
  if (words !== undefined) {
    transport.write([words], () => {
      isSaid = true;
      if (hasEnded) finish();
    });
  }
  transport.end();
  transport.attach({
    data: (chunk) => {
      bytes += chunk.length;
      if (bytes > LINGER_BYTES_MAX) finish();
    },
    end: () => {
      hasEnded = true;
      if (isSaid) finish();
    },
    close: () => {
      clearTimeout(timer);
    },
  });
  transport.resume();
}
