/**
 * Datagrams of SOCKS5 clients.
 *
 * ASSOCIATE (RFC 1928 §7): a UDP socket beside the TCP connection, on the address that the client
 * reached. Only the client's IP is heard, and answers go to where it sent from last. It ends with
 * the TCP connection, when the service stops, or idle; nothing that a datagram holds ends it.
 *
 * Tunnel (GOST's 0xF3): frames inside the stream, to a carrier of the router, or with a port in the
 * request from a UDP socket of that address (GOST's rudp).
 *
 * Bounds: associations and tunnels of the handler, what waits in the socket for the client; the
 * carriers have bounds of their own. Datagrams are dropped and counted: malformed, fragments, from
 * strangers, too many.
 */
import { randomInt } from "node:crypto";
import { type Socket, createSocket } from "node:dgram";
import { isIP } from "node:net";
import { resolveHost } from "../chain/socket.ts";
import type { Endpoint, UpDatagrams } from "../chain/types.ts";
import { messageOf } from "../errors.ts";
import { ATYP_IPV4 } from "../proto/address.ts";
import {
  REP_OK,
  REP_PROHIBITED,
  decodeDatagram,
  encodeDatagram,
  encodeReply,
} from "../proto/socks5.ts";
import { type SessionLimits, serveFrames } from "./datagram-session.ts";
import { AssociationSocket } from "./relay-udp.ts";
import { carrierWhileOpen, ipOf } from "./session.ts";
import { type Socks5Client, Socks5Refusal, plainIp } from "./socks5-settings.ts";

const ROOMS_MAX = 4096;
const BIND_TRIES_MAX = 64;
const SEND_QUEUE_BYTES_MAX = 1024 * 1024;
/** A buffer that holds a burst. */
const RECEIVE_BYTES = 1024 * 1024;
const NAMES_MAX = 256;

const noop = (): void => undefined;

/** How many clients of a handler may have UDP at once. */
export class UdpRooms {
  #taken = 0;

  /** Throws Socks5Refusal when all are taken. */
  async use(act: () => Promise<void>): Promise<void> {
    if (this.#taken >= ROOMS_MAX) throw new Socks5Refusal("too many UDP associations");
    this.#taken++;
    try {
      await act();
    } finally {
      this.#taken--;
    }
  }
}

/** Throws Socks5Refusal or ChainError before the reply. */
export function serveAssociate(client: Socks5Client, rooms: UdpRooms): Promise<void> {
  if (!client.settings.mayUdp) throw new Socks5Refusal("UDP is off", REP_PROHIBITED);
  return rooms.use(async () => {
    const socket = await openSocket(client);
    let carrier: UpDatagrams;
    try {
      carrier = await openCarrier(client);
    } catch (error) {
      socket.close();
      throw error;
    }
    const { address, port } = socket.address();
    const host = client.settings.publicAddr ?? plainIp(address);
    client.transport.write([encodeReply(REP_OK, { host, port })], noop);
    await new Association(client, socket, carrier).run();
  });
}

/** Throws Socks5Refusal or ChainError before the reply. */
export function serveTunnel(client: Socks5Client, rooms: UdpRooms): Promise<void> {
  const { request, settings, context, transport, route } = client;
  const isBind = request.address.port !== 0;
  if (isBind ? !settings.mayBind : !settings.mayUdp) {
    throw new Socks5Refusal(isBind ? "BIND is off" : "UDP is off", REP_PROHIBITED);
  }
  return rooms.use(async () => {
    const { carrier, bound } = isBind ? await openBound(client) : await openRouted(client);
    transport.write([encodeReply(REP_OK, bound)], noop);
    const limits: SessionLimits = {
      idleMs: settings.udpIdleMs,
      signal: route.signal,
      // The router's carrier asks by itself.
      ...(isBind
        ? {
            refuses: (network, host, port): boolean =>
              context.router.refuses(network, { host, port }) !== undefined,
          }
        : {}),
    };
    await serveFrames(transport, carrier, limits);
  });
}

interface Tunnel {
  readonly carrier: UpDatagrams;
  readonly bound: Endpoint;
}

/** The socket's own address is not known; its family is what the client asked for. */
async function openRouted(client: Socks5Client): Promise<Tunnel> {
  const isIp4 = client.request.addressType === ATYP_IPV4;
  return {
    carrier: await openCarrier(client),
    bound: { host: isIp4 ? "0.0.0.0" : "::", port: 0 },
  };
}

async function openBound({ request, context, route }: Socks5Client): Promise<Tunnel> {
  const { host, port } = request.address;
  // 0.0.0.0 would be taken for both families.
  const way = context.router.directWay(route);
  const socket = await AssociationSocket.open({ host, port }, way, context.log).catch(
    (error: unknown) => {
      throw new Socks5Refusal(`UDP: ${messageOf(error)}`);
    },
  );
  return { carrier: socket, bound: socket.bound };
}

function openCarrier({ transport, context, route }: Socks5Client): Promise<UpDatagrams> {
  return carrierWhileOpen(transport, route.signal, (signal) =>
    context.router.datagrams({ ...route, signal }),
  );
}

/** On the address that the client reached, in the range of ports if there is one. */
async function openSocket({ accepted, settings }: Socks5Client): Promise<Socket> {
  const ip = ipOf(accepted.local).replace(/^::ffff:(?=\d+\.)/, "");
  const { ports } = settings;
  const count = ports === undefined ? 1 : ports.max - ports.min + 1;
  const first = ports === undefined ? 0 : randomInt(count);
  let failure: unknown;
  for (let attempt = 0; attempt < Math.min(count, BIND_TRIES_MAX); attempt++) {
    const port = ports === undefined ? 0 : ports.min + ((first + attempt) % count);
    try {
      return await bindSocket(ip, port);
    } catch (error) {
      failure = error;
    }
  }
  throw new Socks5Refusal(`UDP: ${messageOf(failure)}`);
}

function bindSocket(ip: string, port: number): Promise<Socket> {
  return new Promise<Socket>((resolve, reject) => {
    const socket = createSocket({
      type: ip.includes(":") ? "udp6" : "udp4",
      recvBufferSize: RECEIVE_BYTES,
    });
    socket.once("error", (error) => {
      socket.close();
      reject(error);
    });
    socket.bind({ address: ip, port, exclusive: true }, () => {
      socket.removeAllListeners("error");
      socket.on("error", noop);
      resolve(socket);
    });
  });
}

class Association {
  readonly #client: Socks5Client;
  readonly #socket: Socket;
  readonly #carrier: UpDatagrams;
  readonly #clientIp: string;
  readonly #names = new Map<string, string>();
  readonly #dropped = { malformed: 0, fragment: 0, stranger: 0, full: 0 };
  #port = 0;
  #heard = false;
  #isOver = false;

  constructor(client: Socks5Client, socket: Socket, carrier: UpDatagrams) {
    this.#client = client;
    this.#socket = socket;
    this.#carrier = carrier;
    this.#clientIp = ipOf(client.accepted.peer).replace(/^::ffff:(?=\d+\.)/, "");
  }

  run(): Promise<void> {
    const { transport, settings, route, context, accepted } = this.#client;
    return new Promise<void>((resolve) => {
      const finish = (): void => {
        if (this.#isOver) return;
        this.#isOver = true;
        clearInterval(timer);
        route.signal.removeEventListener("abort", finish);
        this.#socket.close();
        this.#carrier.close();
        transport.end();
        transport.destroy();
        context.log.debug("UDP association ended", {
          client: accepted.peer,
          dropped: this.#dropped,
        });
        resolve();
      };
      const timer = setInterval(() => {
        if (!this.#heard) finish();
        this.#heard = false;
      }, settings.udpIdleMs);
      route.signal.addEventListener("abort", finish, { once: true });
      this.#socket.on("message", (data, { address, port }) => {
        this.#fromClient(data, address, port);
      });
      this.#carrier.attach({
        message: (data, source) => this.#toClient(data, source),
        close: finish,
      });
      // Nothing is to come there but the end.
      transport.attach({ data: noop, end: finish, close: finish });
      transport.resume();
      if (route.signal.aborted) finish();
    });
  }

  #fromClient(data: Uint8Array, address: string, port: number): void {
    if (address !== this.#clientIp) {
      this.#dropped.stranger++;
      return;
    }
    const datagram = decodeDatagram(data);
    if (datagram === undefined || datagram.address.port === 0) {
      this.#dropped.malformed++;
      return;
    }
    if (datagram.fragment !== 0) {
      this.#dropped.fragment++;
      return;
    }
    this.#heard = true;
    this.#port = port;
    try {
      if (!this.#carrier.send(datagram.payload, datagram.address)) this.#dropped.full++;
    } catch {
      // A name that is no text can be too long for the next hop.
      this.#dropped.malformed++;
    }
  }

  #toClient(data: Uint8Array, source: Endpoint): void {
    // Before the client sent anything there is nowhere to send to.
    if (this.#isOver || this.#port === 0) return;
    if (this.#socket.getSendQueueSize() > SEND_QUEUE_BYTES_MAX) {
      this.#dropped.full++;
      return;
    }
    this.#heard = true;
    const host = this.#named(plainIp(source.host));
    const datagram = encodeDatagram(data, { host, port: source.port });
    this.#socket.send(datagram, this.#port, this.#clientIp, noop);
  }

  /** With `udp.resolveDomain`: the address of a name, from its second datagram on. */
  #named(host: string): string {
    if (!this.#client.settings.resolveDomain || isIP(host) !== 0) return host;
    const known = this.#names.get(host);
    if (known !== undefined) return known;
    if (this.#names.size >= NAMES_MAX) this.#names.clear();
    this.#names.set(host, host);
    const { context, route } = this.#client;
    const { names } = context.router.directWay(route);
    resolveHost(host, names, route.signal).then(
      ([ip]) => this.#names.set(host, ip ?? host),
      () => undefined,
    );
    return host;
  }
}
