/**
 * The handlers `tcp`, `udp` and `forward`: clients are led to the service's targets, whatever they
 * say. A target may be of another network than the listener: then a chunk of the stream is a
 * datagram, and a datagram's bytes are a part of the stream, as in GOST.
 *
 * Without a forwarder the destination is nothing; that serves connectors that ignore it.
 */
import type { Endpoint, RouteContext, UpDatagrams, UpStream } from "../chain/types.ts";
import { metaDurationMs } from "../config/metadata.ts";
import type { ServiceConfig } from "../config/model.ts";
import { configError, messageOf } from "../errors.ts";
import { ForwardTargets, type ForwardTarget } from "./forward-targets.ts";
import { isFrom } from "./forward-source.ts";
import type {
  Accepted,
  AcceptedDatagrams,
  ClientDatagrams,
  Handler,
  HandlerContext,
} from "./handler.ts";
import { pipe } from "./relay-pipe.ts";
import { ClientGone, DIAL_MS, SessionHandler, dialWhileOpen, ipOf, whileOpen } from "./session.ts";

const NOWHERE: Endpoint = { host: "", port: 0 };
/** What fits into a datagram over IPv4. */
const DATAGRAM_BYTES_MAX = 65507;
/** Towards a stream that does not take it; beyond it datagrams are dropped. */
const QUEUE_BYTES_MAX = 1024 * 1024;

export class ForwardHandler extends SessionHandler implements Handler {
  readonly #context: HandlerContext;
  readonly #service: ServiceConfig;
  readonly #targets: ForwardTargets;
  readonly #idleMs: number;
  readonly #sessions = new Set<ClientDatagrams>();

  /** Throws a configuration error. */
  constructor(service: ServiceConfig, context: HandlerContext) {
    super();
    this.#service = service;
    this.#context = context;
    this.#targets = new ForwardTargets(service);
    this.#idleMs = Math.max(0, metaDurationMs(service.handler.metadata, "idleTimeout", 0));
    const { handler, place } = service;
    const isChained = handler.chain !== undefined || handler.chainGroup !== undefined;
    if (this.#targets.isEmpty && !isChained) {
      throw configError(place, `${handler.type} leads nowhere; write the target: /HOST:PORT`);
    }
  }

  protected override async serve(accepted: Accepted): Promise<void> {
    const { transport } = accepted;
    const limit = { ms: DIAL_MS, outer: this.stopped };
    const target = this.#targets.next("tcp", ipOf(accepted.peer));
    if (target?.network === "udp") {
      const { result, hasEnded } = await whileOpen(
        transport,
        limit,
        (signal) => this.#carrier(accepted, target, signal),
        (late) => late.close(),
      );
      await pipe(transport, datagramStream(result, target.endpoint), hasEnded, this.#idleMs);
      return;
    }
    const { stream, hasEnded } = await dialWhileOpen(transport, limit, (signal) =>
      this.#stream(accepted, target, signal),
    );
    await pipe(transport, stream, hasEnded, this.#idleMs);
  }

  /** There is nobody who would understand an answer: the connection is reset, as if refused. */
  protected override refuse({ transport, peer }: Accepted, error: unknown): void {
    if (!(error instanceof ClientGone)) this.#tell(error, peer);
    transport.reset();
  }

  handleDatagrams(accepted: AcceptedDatagrams): void {
    const { session, peer } = accepted;
    if (this.stopped.aborted) {
      session.close();
      return;
    }
    this.#sessions.add(session);
    this.#serveDatagrams(accepted)
      .catch((error: unknown) => {
        this.#tell(error, peer);
        session.close();
      })
      .finally(() => this.#sessions.delete(session));
  }

  override close(): void {
    super.close();
    for (const session of this.#sessions) session.close();
    this.#sessions.clear();
  }

  async #serveDatagrams(accepted: AcceptedDatagrams): Promise<void> {
    const { session } = accepted;
    const target = this.#targets.next("udp", ipOf(accepted.peer));
    if (target?.network === "tcp") {
      joinStream(session, await this.#stream(accepted, target, this.stopped));
      await session.closed;
      return;
    }
    const carrier = await this.#carrier(accepted, target, this.stopped);
    const endpoint = target?.endpoint ?? NOWHERE;
    carrier.attach({
      message: (data, source) => {
        if (isFrom(source, endpoint)) session.send(data);
      },
      unreachable: () => target?.markFailed(),
      close: () => session.close(),
    });
    session.attach((data) => {
      carrier.send(data, endpoint);
    });
    await session.closed;
    carrier.close();
  }

  async #stream(
    from: { peer: string; local: string },
    target: ForwardTarget | undefined,
    signal: AbortSignal,
  ): Promise<UpStream> {
    const { router } = this.#context;
    const endpoint = target?.endpoint ?? NOWHERE;
    const dial = (): Promise<UpStream> => router.connect(endpoint, routeOf(from, signal));
    return target === undefined ? dial() : target.watch(dial);
  }

  async #carrier(
    from: { peer: string; local: string },
    target: ForwardTarget | undefined,
    signal: AbortSignal,
  ): Promise<UpDatagrams> {
    const { router } = this.#context;
    const open = (): Promise<UpDatagrams> => router.datagrams(routeOf(from, signal));
    return target === undefined ? open() : target.watch(open);
  }

  #tell(error: unknown, peer: string): void {
    this.#context.log.once(`forward ${this.#service.name} ${messageOf(error)}`, 60_000, {
      message: `cannot forward: ${messageOf(error)}`,
      fields: { client: peer },
    });
  }
}

function routeOf(from: { peer: string; local: string }, signal: AbortSignal): RouteContext {
  return { signal, clientIp: ipOf(from.peer), localIp: ipOf(from.local) };
}

/** A carrier as a stream: a chunk is a datagram. It has no end of its own. */
function datagramStream(carrier: UpDatagrams, target: Endpoint): UpStream {
  const close = (): void => carrier.close();
  return {
    attach: (handler) => {
      carrier.attach({
        message: (data, source) => {
          if (isFrom(source, target)) handler.data(Buffer.from(data));
        },
        close: (error) => handler.close(error),
      });
    },
    write: (chunks, done) => {
      for (const chunk of chunks) {
        for (let offset = 0; offset < chunk.length; offset += DATAGRAM_BYTES_MAX) {
          carrier.send(chunk.subarray(offset, offset + DATAGRAM_BYTES_MAX), target);
        }
      }
      process.nextTick(done);
    },
    // Datagrams cannot be held back; what is too much is dropped on the way.
    pause: () => undefined,
    resume: () => undefined,
    end: close,
    reset: close,
    destroy: close,
  };
}

/** A client of datagrams and a stream: a datagram's bytes go out, a chunk comes back as one. */
function joinStream(session: ClientDatagrams, stream: UpStream): void {
  let queued = 0;
  stream.attach({
    data: (chunk) => {
      for (let offset = 0; offset < chunk.length; offset += DATAGRAM_BYTES_MAX) {
        session.send(chunk.subarray(offset, offset + DATAGRAM_BYTES_MAX));
      }
    },
    end: () => session.close(),
    close: () => session.close(),
  });
  stream.resume();
  session.attach((data) => {
    if (queued + data.length > QUEUE_BYTES_MAX) return;
    queued += data.length;
    stream.write([Buffer.from(data)], () => {
      queued -= data.length;
    });
  });
  void session.closed.then(() => {
    stream.end();
    stream.destroy();
  });
}
