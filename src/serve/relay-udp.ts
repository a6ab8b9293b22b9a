/**
 * UDP of the relay handler. CONNECT: one connected socket for one destination. Association: one
 * dual-stack socket for any, frames with addresses. Through a chain, its carrier takes the place of
 * the socket.
 *
 * Bounds: an idle time for both, bytes waiting for the client, names being looked up. Refused
 * destinations (ICMP) end nothing. Datagrams up to 65535 bytes are carried whole.
 */
import { type Socket, createSocket } from "node:dgram";
import { isIP } from "node:net";
import { openConnected } from "../chain/connected-datagrams.ts";
import { Deadline } from "../chain/deadline.ts";
import { openDirectDatagrams } from "../chain/direct-datagrams.ts";
import { ChainError, asChainError } from "../chain/errors.ts";
import { type DirectWay, resolveHost, withSignal } from "../chain/socket.ts";
import type { RouteContext, Router, Endpoint, Transport, UpDatagrams } from "../chain/types.ts";
import { joinHostPort } from "../config/net.ts";
import { messageOf } from "../errors.ts";
import type { Logger } from "../log.ts";
import { DatagramReader, encodeDatagram } from "../proto/relay-udp.ts";
import { STATUS_OK, encodeReply } from "../proto/relay.ts";
import { type SessionLimits, carryDatagrams, serveFrames } from "./datagram-session.ts";
import { isFrom } from "./forward-source.ts";
import { carrierWhileOpen } from "./session.ts";

export interface UdpSettings {
  readonly log: Logger;
  readonly idleMs: number;
  readonly router: Router;
  /** The router has a chain: its carrier takes the place of sockets. */
  readonly isChained: boolean;
}

/** In the socket, not yet sent; beyond it datagrams are dropped. */
const QUEUE_BYTES_MAX = 1024 * 1024;
const LOOKUPS_MAX = 64;
const LOOKUP_MS = 15_000;
const NAMES_MAX = 1024;
const NAME_LIFE_MS = 60_000;
/** Datagram sockets ask for a buffer that holds a burst. */
const RECEIVE_BYTES = 1024 * 1024;

const noop = (): void => undefined;

/** CONNECT for udp. Throws ChainError before the reply. */
export async function serveUdpConnect(
  transport: Transport,
  target: Endpoint,
  settings: UdpSettings,
  route: RouteContext,
): Promise<void> {
  const opened = await carrierWhileOpen(transport, route.signal, (signal) =>
    openConnect(target, settings, { ...route, signal }),
  );
  const carrier = fromOnly(opened, target);
  transport.write([encodeReply({ status: STATUS_OK })], noop);
  const reader = new DatagramReader();
  await carryDatagrams({
    transport,
    carrier,
    limits: limitsOf(settings, route),
    push: (chunk, send) => {
      reader.push(chunk, (payload) => {
        send(payload, target);
      });
    },
    frame: encodeDatagram,
  });
}

/** What others send to our socket is not the target's. */
function fromOnly(carrier: UpDatagrams, target: Endpoint): UpDatagrams {
  return {
    attach: (handler) => {
      carrier.attach({
        message: (data, source) => {
          if (isFrom(source, target)) handler.message(data, source);
        },
        close: (error) => handler.close(error),
      });
    },
    send: (data, to) => carrier.send(data, to),
    close: () => carrier.close(),
  };
}

/** BIND for udp: the association. Throws ChainError before the reply. */
export async function serveAssociation(
  transport: Transport,
  address: Endpoint,
  settings: UdpSettings,
  route: RouteContext,
): Promise<void> {
  const { device, mark } = settings.router.directWay(route);
  const isPlain = device === undefined && mark === undefined;
  let carrier: UpDatagrams;
  let bound: Endpoint = { host: "0.0.0.0", port: 0 };
  const { log } = settings;
  if (settings.isChained) {
    carrier = await carrierWhileOpen(transport, route.signal, (signal) =>
      settings.router.datagrams({ ...route, signal }),
    );
  } else if (isPlain) {
    const opened = await AssociationSocket.open(address, settings.router.directWay(route), log);
    carrier = opened;
    bound = opened.bound;
  } else {
    carrier = openDirectDatagrams(settings.router.directWay(route));
  }
  transport.write([encodeReply({ status: STATUS_OK, address: bound })], noop);
  await serveFrames(transport, carrier, limitsOf(settings, route));
}

/** The router's own carrier applies the service's rules, sockets of ours do not. */
function limitsOf(
  { idleMs, router, isChained }: UdpSettings,
  { signal }: RouteContext,
): SessionLimits {
  const refuses = (network: "tcp" | "udp", host: string, port: number): boolean =>
    router.refuses(network, { host, port }) !== undefined;
  return { idleMs, signal, ...(isChained ? {} : { refuses }) };
}

/** For one destination; names as the service's own connections find them. */
async function openConnect(
  target: Endpoint,
  { router, isChained }: UdpSettings,
  context: RouteContext,
): Promise<UpDatagrams> {
  if (isChained) return router.datagrams(context);
  const way = router.directWay(context);
  const { signal } = context;
  const what = joinHostPort(target.host, target.port);
  try {
    const found = await withSignal(resolveHost(target.host, way.names, signal), signal);
    const [address = target.host] = found;
    if (router.refuses("udp", { host: address, port: target.port }) !== undefined) {
      const message = `${what} is bypassed`;
      throw new ChainError(message, { reason: "prohibited", party: "destination" });
    }
    const names = { resolve: () => Promise.resolve(found) };
    return await openConnected({ ...way, ...target, names, signal, party: "destination" });
  } catch (error) {
    throw asChainError(error, "destination", what);
  }
}

function growBuffer(socket: Socket): void {
  try {
    socket.setRecvBufferSize(RECEIVE_BYTES);
  } catch {
    // The default serves as well, with more loss under load.
  }
}

interface KnownName {
  readonly address: string;
  readonly untilMs: number;
}

/** One socket for all destinations of an association. */
export class AssociationSocket implements UpDatagrams {
  readonly bound: Endpoint;
  readonly #socket: Socket;
  readonly #way: DirectWay;
  readonly #log: Logger;
  readonly #checked = new Map<string, boolean>();
  readonly #stop = new AbortController();
  readonly #isDual: boolean;
  readonly #names = new Map<string, KnownName>();
  #lookups = 0;
  #isClosed = false;

  private constructor(socket: Socket, way: DirectWay, log: Logger) {
    this.#socket = socket;
    this.#way = way;
    this.#log = log;
    const { address, port, family } = socket.address();
    this.bound = { host: address, port };
    this.#isDual = family === "IPv6";
    growBuffer(socket);
  }

  /** Unspecified addresses open a dual-stack socket, or IPv4 where there is no IPv6. */
  static async open(address: Endpoint, way: DirectWay, log: Logger): Promise<AssociationSocket> {
    const { host, port } = address;
    const isAny = host === "" || host === "0.0.0.0" || host === "::";
    const what = `UDP ${joinHostPort(host, port)}`;
    try {
      if (!isAny) {
        const [ip = host] = await resolveHost(host, way.names);
        return new AssociationSocket(await bindUdp(ip, port), way, log);
      }
      return new AssociationSocket(await bindUdp("::", port), way, log);
    } catch (error) {
      const { code } = error as { code?: string };
      if (isAny && (code === "EAFNOSUPPORT" || code === "EADDRNOTAVAIL")) {
        return new AssociationSocket(await bindUdp("0.0.0.0", port), way, log);
      }
      const failure = asChainError(error, "destination", what);
      throw Object.assign(failure, { reason: "refused" });
    }
  }

  attach(handler: Parameters<UpDatagrams["attach"]>[0]): void {
    this.#socket.on("error", noop);
    this.#socket.on("message", (data, source) => {
      handler.message(data, { host: source.address, port: source.port });
    });
  }

  send(data: Uint8Array, destination: Endpoint): boolean {
    if (this.#isClosed || data.length === 0) return true;
    if (this.#socket.getSendQueueSize() > QUEUE_BYTES_MAX) return false;
    const { host, port } = destination;
    if (isIP(host) !== 0) {
      this.#sendTo(data, host, port);
      return true;
    }
    const known = this.#names.get(host);
    if (known !== undefined && performance.now() < known.untilMs) {
      this.#sendTo(data, known.address, port);
      return true;
    }
    if (this.#lookups >= LOOKUPS_MAX) return false;
    this.#lookups++;
    void this.#lookUp(Buffer.from(data), destination);
    return true;
  }

  /** GOST prefers IPv4 here, and drops nothing silently: one line a name and minute. */
  async #lookUp(data: Buffer, destination: Endpoint): Promise<void> {
    const { host, port } = destination;
    try {
      if (host === "") throw new Error("a name of length 0");
      const limit = new Deadline(LOOKUP_MS, [this.#stop.signal]);
      const { signal } = limit;
      const found = await withSignal(resolveHost(host, this.#way.names, signal), signal).finally(
        () => limit.end(),
      );
      const address = found.find((one) => isIP(one) === 4) ?? found[0];
      if (address === undefined) throw new Error("no address");
      if (this.#names.size >= NAMES_MAX) this.#names.clear();
      this.#names.set(host, { address, untilMs: performance.now() + NAME_LIFE_MS });
      this.#sendTo(data, address, port);
    } catch (error) {
      if (this.#isClosed) return;
      const message = `UDP to "${host}" dropped: ${messageOf(error)}`;
      this.#log.once(`udp name ${host}`, 60_000, { message });
    } finally {
      this.#lookups--;
    }
  }

  #sendTo(data: Uint8Array, address: string, port: number): void {
    if (this.#isClosed || port === 0 || this.#loops(address)) return;
    const family = isIP(address);
    if (family === 6 && !this.#isDual) return;
    let to = address;
    // As at GOST, the unspecified address means this machine, by its IPv6 loopback.
    if (this.#isDual && family === 4) to = address === "0.0.0.0" ? "::1" : `::ffff:${address}`;
    this.#socket.send(Buffer.from(data), port, to, noop);
  }

  /** Whether a datagram to `address` would come back through a device of ours. */
  #loops(address: string): boolean {
    const { loopTo, mark } = this.#way;
    if (loopTo === undefined) return false;
    const known = this.#checked.get(address);
    if (known !== undefined) return known;
    const loops = loopTo(address, mark) !== undefined;
    if (this.#checked.size >= NAMES_MAX) this.#checked.clear();
    this.#checked.set(address, loops);
    return loops;
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#stop.abort(new Error("closed"));
    this.#socket.close();
  }
}

function bindUdp(ip: string, port: number): Promise<Socket> {
  return new Promise<Socket>((resolve, reject) => {
    const socket = createSocket({ type: isIP(ip) === 6 ? "udp6" : "udp4" });
    socket.once("error", (error) => {
      socket.close();
      reject(error);
    });
    socket.bind({ address: ip, port, exclusive: true }, () => {
      socket.removeAllListeners("error");
      resolve(socket);
    });
  });
}
