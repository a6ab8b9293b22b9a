/**
 * The listener `udp`: one session per client address and port. A session lives as long as it is
 * used (`ttl`); with `keepalive=false`, said explicitly, it ends with the first answer, and with
 * `stateless=true` each datagram is a session of its own.
 *
 * Differences from GOST: sessions survive their first answer by default and 60 s of silence, with
 * timers of their own; datagrams are not cut.
 *
 * Bounds: sessions in all and per client address, sessions that nobody took over yet (`backlog`),
 * datagrams that wait for it (`readQueueSize`), bytes in the socket. Nothing is sent to who has not
 * asked, and nothing to say that something failed.
 */
import { type RemoteInfo, type Socket, createSocket } from "node:dgram";
import { isIP } from "node:net";
import { metaBool, metaDurationMs, metaInt } from "../config/metadata.ts";
import type { ServiceConfig } from "../config/model.ts";
import { joinHostPort, parseHostPort } from "../config/net.ts";
import { TsgostError, codeOf, configError, messageOf } from "../errors.ts";
import type { Logger } from "../log.ts";
import type { Admission } from "../types.ts";
import type { AcceptedDatagrams, ClientDatagrams } from "./handler.ts";

const SESSIONS_MAX = 4096;
const SESSIONS_PER_CLIENT_MAX = 1024;
const BACKLOG = 128;
const QUEUE_COUNT = 128;
const QUEUE_BYTES_MAX = 512 * 1024;
const TTL_MS = 60_000;
const READ_MS = 15_000;
const SWEEP_MS_MAX = 15_000;
const SOCKET_BYTES_MAX = 1024 * 1024;
const RECEIVE_BYTES = 1024 * 1024;
const LOG_PERIOD_MS = 60_000;

const noop = (): void => undefined;

export interface UdpListenContext {
  readonly log: Logger;
  accept(accepted: AcceptedDatagrams): void;
  /** Which clients may send at all; undefined: all. */
  readonly admission?: Admission | undefined;
}

export interface UdpListener {
  /** host:port that is bound. */
  readonly address: string;
  readonly isLoopback: boolean;
  /** Ends all sessions, which stand on this socket. */
  close(): Promise<void>;
}

interface Settings {
  readonly isKept: boolean;
  readonly isStateless: boolean;
  readonly ttlMs: number;
  readonly backlog: number;
  readonly queueCount: number;
}

function settingsOf(service: ServiceConfig): Settings {
  const { metadata } = service.listener;
  const isStateless = metaBool(metadata, "stateless", false);
  const ttlMs = metaDurationMs(metadata, ["ttl", "keepalive.ttl"], TTL_MS);
  const readMs = metaDurationMs(service.handler.metadata, "readTimeout", READ_MS);
  const backlog = metaInt(metadata, "backlog", BACKLOG);
  const queue = metaInt(metadata, ["readQueueSize", "recvQueueSize"], QUEUE_COUNT);
  const lifeMs = isStateless ? readMs : ttlMs;
  return {
    isKept: !isStateless && metaBool(metadata, "keepalive", true),
    isStateless,
    ttlMs: lifeMs > 0 ? lifeMs : TTL_MS,
    backlog: backlog > 0 ? backlog : BACKLOG,
    queueCount: queue > 0 ? queue : QUEUE_COUNT,
  };
}

/** Starts listening; throws a configuration error, or TSGOST_ERR_LISTEN. */
export async function listenUdp(
  service: ServiceConfig,
  context: UdpListenContext,
): Promise<UdpListener> {
  const { addr, place } = service;
  const where = parseHostPort(addr);
  if (where === undefined) throw configError(place, `"${addr}" is not HOST:PORT`);
  try {
    const socket = await bindSocket(where.host, where.port);
    return new SessionListener(socket, service, context);
  } catch (error) {
    const remedy = codeOf(error) === "EACCES" ? " (ports below 1024 need root)" : "";
    const message = `${place}: cannot listen on ${addr}: ${messageOf(error)}${remedy}`;
    throw new TsgostError("TSGOST_ERR_LISTEN", message, { cause: error });
  }
}

/** host given: that address and its family only; "": both families. */
async function bindSocket(host: string, port: number): Promise<Socket> {
  if (host !== "") return bindTo(isIP(host) === 6 ? "udp6" : "udp4", host, port);
  try {
    return await bindTo("udp6", "::", port);
  } catch (error) {
    const code = codeOf(error);
    if (code !== "EAFNOSUPPORT" && code !== "EADDRNOTAVAIL") throw error;
    return bindTo("udp4", "0.0.0.0", port);
  }
}

function bindTo(type: "udp4" | "udp6", address: string, port: number): Promise<Socket> {
  return new Promise<Socket>((resolve, reject) => {
    const socket = createSocket({ type, ipv6Only: type === "udp6" && address !== "::" });
    socket.once("error", (error) => {
      socket.close();
      reject(error);
    });
    socket.bind({ address, port, exclusive: true }, () => {
      socket.removeAllListeners("error");
      resolve(socket);
    });
  });
}

class SessionListener implements UdpListener {
  readonly address: string;
  readonly isLoopback: boolean;
  readonly #socket: Socket;
  readonly #context: UdpListenContext;
  readonly #settings: Settings;
  /** By address and port; stateless ones have keys of their own. */
  readonly #sessions = new Map<string, Session>();
  readonly #perClient = new Map<string, number>();
  readonly #sweeper: NodeJS.Timeout;
  #waiting = 0;
  #stateless = 0;
  #isClosed = false;

  constructor(socket: Socket, service: ServiceConfig, context: UdpListenContext) {
    const bound = socket.address();
    this.address = joinHostPort(bound.address, bound.port);
    this.isLoopback = /^(127\.|::1$)/.test(bound.address);
    this.#socket = socket;
    this.#context = context;
    this.#settings = settingsOf(service);
    try {
      socket.setRecvBufferSize(RECEIVE_BYTES);
    } catch {
      // The default serves as well, with more loss under load.
    }
    socket.on("error", (error) => {
      context.log.once(`udp ${service.name}`, LOG_PERIOD_MS, {
        message: `the socket reports: ${messageOf(error)}`,
      });
    });
    socket.on("message", (data, from) => {
      this.#onDatagram(data, from);
    });
    const sweepMs = Math.min(SWEEP_MS_MAX, Math.max(10, this.#settings.ttlMs / 4));
    this.#sweeper = setInterval(() => this.#sweep(), sweepMs).unref();
  }

  #onDatagram(data: Buffer, from: RemoteInfo): void {
    const key = joinHostPort(from.address, from.port);
    const known = this.#settings.isStateless ? undefined : this.#sessions.get(key);
    const session = known ?? this.#open(key, from);
    session?.take(data);
  }

  #open(peer: string, { address, port }: RemoteInfo): Session | undefined {
    if (this.#context.admission?.admits(address) === false) return undefined;
    const { backlog } = this.#settings;
    const ofClient = this.#perClient.get(address) ?? 0;
    const isFull =
      this.#isClosed ||
      this.#sessions.size >= SESSIONS_MAX ||
      ofClient >= SESSIONS_PER_CLIENT_MAX ||
      this.#waiting >= backlog;
    if (isFull) {
      this.#context.log.once("udp sessions", LOG_PERIOD_MS, {
        message: "too many clients: datagrams of new ones are dropped",
        fields: { sessions: this.#sessions.size, waiting: this.#waiting },
      });
      return undefined;
    }
    const key = this.#settings.isStateless ? `${peer} ${this.#stateless++}` : peer;
    const session = new Session(this.#settings, {
      send: (data) => this.#send(data, address, port),
      attached: () => this.#waiting--,
      closed: (isWaiting) => {
        if (isWaiting) this.#waiting--;
        if (this.#sessions.get(key) === session) this.#sessions.delete(key);
        const left = (this.#perClient.get(address) ?? 1) - 1;
        if (left > 0) this.#perClient.set(address, left);
        else this.#perClient.delete(address);
      },
      dropped: () => {
        this.#context.log.once("udp queue", LOG_PERIOD_MS, {
          message: "data discarded: recv queue is full",
          fields: { client: peer },
        });
      },
    });
    this.#sessions.set(key, session);
    this.#perClient.set(address, ofClient + 1);
    this.#waiting++;
    this.#context.accept({ session, peer: plainPeer(address, port), local: this.address });
    return session;
  }

  #send(data: Uint8Array, address: string, port: number): boolean {
    if (this.#isClosed || this.#socket.getSendQueueSize() > SOCKET_BYTES_MAX) return false;
    this.#socket.send(Buffer.from(data), port, address, noop);
    return true;
  }

  #sweep(): void {
    const beforeMs = performance.now() - this.#settings.ttlMs;
    for (const session of this.#sessions.values()) {
      if (session.usedMs < beforeMs) session.close();
    }
  }

  close(): Promise<void> {
    if (this.#isClosed) return Promise.resolve();
    this.#isClosed = true;
    clearInterval(this.#sweeper);
    for (const session of [...this.#sessions.values()]) session.close();
    return new Promise<void>((resolve) => {
      this.#socket.close(resolve);
    });
  }
}

/** A dual-stack socket shows IPv4 clients as mapped addresses. */
function plainPeer(address: string, port: number): string {
  return joinHostPort(address.replace(/^::ffff:(?=\d+\.)/i, ""), port);
}

interface SessionOwner {
  send(data: Uint8Array): boolean;
  attached(): void;
  closed(isWaiting: boolean): void;
  dropped(): void;
}

class Session implements ClientDatagrams {
  readonly closed: Promise<void>;
  readonly #settings: Settings;
  readonly #owner: SessionOwner;
  #resolve: () => void = noop;
  #handler: ((data: Uint8Array) => void) | undefined;
  #queue: Buffer[] = [];
  #queuedBytes = 0;
  #isClosed = false;
  /** performance.now() of the last datagram, either way. */
  usedMs = performance.now();

  constructor(settings: Settings, owner: SessionOwner) {
    this.#settings = settings;
    this.#owner = owner;
    this.closed = new Promise<void>((resolve) => {
      this.#resolve = resolve;
    });
  }

  /** A datagram of the client. */
  take(data: Buffer): void {
    if (this.#isClosed) return;
    this.usedMs = performance.now();
    if (this.#handler !== undefined) {
      this.#handler(data);
      return;
    }
    const isFull =
      this.#queue.length >= this.#settings.queueCount ||
      this.#queuedBytes + data.length > QUEUE_BYTES_MAX;
    if (isFull) {
      this.#owner.dropped();
      return;
    }
    this.#queue.push(data);
    this.#queuedBytes += data.length;
  }

  attach(handler: (data: Uint8Array) => void): void {
    if (this.#isClosed || this.#handler !== undefined) return;
    this.#handler = handler;
    this.#owner.attached();
    for (const data of this.#queue.splice(0)) handler(data);
    this.#queuedBytes = 0;
  }

  send(data: Uint8Array): boolean {
    if (this.#isClosed) return false;
    this.usedMs = performance.now();
    const isSent = this.#owner.send(data);
    if (!this.#settings.isKept) this.close();
    return isSent;
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#queue = [];
    this.#owner.closed(this.#handler === undefined);
    this.#resolve();
  }
}
