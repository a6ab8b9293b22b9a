/**
 * Listeners tcp, tls, ws and wss, and with smux inside mtls, mws and mwss: accept, do the
 * handshakes within a deadline, hand over Transports.
 *
 * Bounds: connections in all, connections whose handshake is not done (they count against
 * slow-loris clients), and a deadline for the handshakes together.
 */
import type { Duplex } from "node:stream";
import { type AddressInfo, type Server, Socket, createServer } from "node:net";
import { keepAlive } from "../chain/keep-alive.ts";
import { SocketStream, belowOf } from "../chain/socket-stream.ts";
import type { Transport } from "../chain/types.ts";
import { metaDurationMs, metaInt } from "../config/metadata.ts";
import type { Config, Metadata, ServiceConfig } from "../config/model.ts";
import { joinHostPort, parseHostPort } from "../config/net.ts";
import { TsgostError, codeOf, configError, messageOf } from "../errors.ts";
import type { Logger } from "../log.ts";
import type { Admission } from "../types.ts";
import type { Accepted } from "./handler.ts";
import { TlsAcceptor } from "./tls-accept.ts";
import { MuxAcceptor } from "./listen-mux.ts";
import { WsAcceptor } from "./listen-ws.ts";

export const LISTENER_TYPES = ["tcp", "tls", "ws", "wss", "mtls", "mws", "mwss"] as const;

export interface Listener {
  /** host:port that is bound. */
  readonly address: string;
  /** Only this machine can reach it. */
  readonly isLoopback: boolean;
  /** Stops accepting and drops unfinished handshakes; handed-over transports live on. */
  close(): Promise<void>;
}

export interface ListenContext {
  readonly log: Logger;
  accept(accepted: Accepted): void;
  /** Which clients may connect at all; undefined: all. */
  readonly admission?: Admission | undefined;
}

const BACKLOG = 4096;
const CONNECTIONS_MAX = 65_536;
const HANDSHAKES_MAX = 4096;
const HANDSHAKE_MS = 10_000;
const KEEPALIVE_MS = 60_000;
/** What an honest handshake may take before it can be made to give way. */
const YOUNG_MS = 1000;

/** Starts listening; throws a configuration error or one of the system (address in use …). */
export async function listen(
  service: ServiceConfig,
  config: Config,
  context: ListenContext,
): Promise<Listener> {
  const listener = new SocketListener(service, config, context);
  await listener.start();
  return listener;
}

/** For TLS and upgrade together: the shorter one of GOST's two limits, and never none. */
function handshakeMs(metadata: Metadata): number {
  const whole = metaDurationMs(metadata, ["ws.handshakeTimeout", "handshakeTimeout"], 0);
  const head = metaDurationMs(metadata, ["ws.readHeaderTimeout", "readHeaderTimeout"], 0);
  const given = [whole, head].filter((ms) => ms > 0);
  return given.length === 0 ? HANDSHAKE_MS : Math.min(...given);
}

/** What came in and went out, TLS and framing included. */
function bytesOf(socket: Socket): { readonly input: number; readonly output: number } {
  return { input: socket.bytesRead, output: socket.bytesWritten };
}

class SocketListener implements Listener {
  readonly #service: ServiceConfig;
  readonly #context: ListenContext;
  readonly #server: Server;
  readonly #tls: TlsAcceptor | undefined;
  readonly #ws: WsAcceptor | undefined;
  readonly #mux: MuxAcceptor | undefined;
  readonly #connectionsMax: number;
  readonly #handshakesMax: number;
  readonly #handshakeMs: number;
  /** Unfinished handshakes, the oldest first. */
  readonly #pending = new Map<
    Socket,
    { readonly timer: NodeJS.Timeout; readonly sinceMs: number }
  >();
  #connections = 0;
  #address = "";
  #isLoopback = false;

  constructor(service: ServiceConfig, config: Config, context: ListenContext) {
    this.#service = service;
    this.#context = context;
    const { type, metadata, tls } = service.listener;
    if (!LISTENER_TYPES.some((known) => known === type)) {
      const known = LISTENER_TYPES.join(", ");
      throw configError(service.place, `listener "${type}" is unknown (known: ${known})`);
    }
    this.#connectionsMax = metaInt(metadata, "maxConnections", CONNECTIONS_MAX);
    this.#handshakesMax = metaInt(metadata, ["ws.backlog", "backlog"], HANDSHAKES_MAX);
    this.#handshakeMs = handshakeMs(metadata);
    const base = type.replace(/^m/, "");
    if (base === "tls" || base === "wss") {
      this.#tls = new TlsAcceptor(tls, config, { place: service.place, log: context.log });
    }
    if (base === "ws" || base === "wss") {
      this.#ws = new WsAcceptor(service);
    }
    if (base !== type) this.#mux = new MuxAcceptor(service, context.log, this.#connectionsMax);
    this.#server = createServer({ allowHalfOpen: true, pauseOnConnect: true, noDelay: true });
    this.#server.on("connection", (socket) => {
      this.#onConnection(socket);
    });
  }

  get address(): string {
    return this.#address;
  }

  get isLoopback(): boolean {
    return this.#isLoopback;
  }

  /** host given: that address and its family only; `:port`: both families. */
  async start(): Promise<void> {
    const { addr, place } = this.#service;
    const where = parseHostPort(addr);
    if (where === undefined) throw configError(place, `"${addr}" is not HOST:PORT`);
    const server = this.#server;
    await new Promise<void>((resolve, reject) => {
      const onError = (error: Error): void => {
        const remedy = codeOf(error) === "EACCES" ? " (ports below 1024 need root)" : "";
        const message = `${place}: cannot listen on ${addr}: ${messageOf(error)}${remedy}`;
        reject(new TsgostError("TSGOST_ERR_LISTEN", message, { cause: error }));
      };
      server.once("error", onError);
      const onListening = (): void => {
        server.off("error", onError);
        resolve();
      };
      const { host, port } = where;
      const only = host === "" ? {} : { host, ipv6Only: true };
      server.listen({ port, backlog: BACKLOG, ...only }, onListening);
    });
    server.on("error", (error) => {
      this.#context.log.once(`accept ${this.#service.name}`, 60_000, {
        message: `cannot accept connections: ${messageOf(error)}`,
      });
    });
    const bound = server.address() as AddressInfo;
    this.#address = joinHostPort(bound.address, bound.port);
    this.#isLoopback = /^(127\.|::1$)/.test(bound.address);
  }

  close(): Promise<void> {
    for (const [socket, { timer }] of this.#pending) {
      clearTimeout(timer);
      socket.destroy();
    }
    this.#pending.clear();
    this.#ws?.close();
    this.#mux?.close();
    return new Promise<void>((resolve) => {
      // Its callback waits for all connections, which are not this listener's any more.
      this.#server.close();
      setImmediate(resolve);
    });
  }

  #onConnection(socket: Socket): void {
    const { admission, log } = this.#context;
    const client = socket.remoteAddress ?? "";
    if (admission !== undefined && !admission.admits(client)) {
      log.debug("the admission refuses a client", { client });
      socket.destroy();
      return;
    }
    if (this.#connections >= this.#connectionsMax || !this.#makeRoom()) {
      socket.destroy();
      this.#context.log.once(`full ${this.#service.name}`, 60_000, {
        message: "too many connections: new ones are closed",
        fields: { connections: this.#connections, handshakes: this.#pending.size },
      });
      return;
    }
    this.#connections++;
    const peer = joinHostPort(socket.remoteAddress ?? "", socket.remotePort ?? 0);
    const local = joinHostPort(socket.localAddress ?? "", socket.localPort ?? 0);
    socket.setKeepAlive(true, KEEPALIVE_MS);
    keepAlive(socket, this.#service.listener.metadata);
    const onEarlyError = (): void => undefined;
    socket.on("error", onEarlyError);
    socket.once("close", () => {
      this.#connections--;
      this.#settle(socket);
    });
    const ready = (stream: Transport): void => {
      if (!this.#settle(socket)) return;
      const accept = (transport: Transport, own: Pick<Accepted, "bytes"> = {}): void => {
        this.#context.accept({ transport, peer, local, ...own });
      };
      if (this.#mux !== undefined) this.#mux.accept(stream, peer, accept);
      else accept(stream, { bytes: () => bytesOf(socket) });
    };
    const timer = setTimeout(() => {
      this.#context.log.debug("handshake not done in time", { client: peer });
      socket.destroy();
    }, this.#handshakeMs);
    this.#pending.set(socket, { timer, sinceMs: performance.now() });
    this.#handshake(socket, ready, peer);
  }

  /**
   * Where too many handshakes are unfinished, the oldest gives way, for who is honest is done
   * within moments: idle connections must not keep everybody out. False if it is young itself.
   */
  #makeRoom(): boolean {
    if (this.#pending.size < this.#handshakesMax) return true;
    const [oldest] = this.#pending;
    if (oldest === undefined) return false;
    const [socket, { sinceMs }] = oldest;
    if (performance.now() - sinceMs < YOUNG_MS) return false;
    this.#settle(socket);
    socket.destroy();
    return true;
  }

  #handshake(socket: Socket, ready: (stream: Transport) => void, peer: string): void {
    const fail = (error: Error): void => {
      this.#context.log.debug(`handshake failed: ${messageOf(error)}`, { client: peer });
      socket.destroy();
    };
    const below = belowOf(socket);
    const upgrade = (stream: Duplex): void => {
      if (this.#ws === undefined) ready(new SocketStream(stream, below));
      else this.#ws.accept(stream, below, ready);
    };
    if (this.#tls === undefined) upgrade(socket);
    else this.#tls.accept(socket, upgrade, fail);
  }

  /** The handshake is over; false if it was already. */
  #settle(socket: Socket): boolean {
    clearTimeout(this.#pending.get(socket)?.timer);
    return this.#pending.delete(socket);
  }
}
