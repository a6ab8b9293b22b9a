/**
 * The handler `socks5` (RFC 1928, RFC 1929, and GOST's TLS methods and UDP tunnel).
 *
 * Differences from GOST, all compatible on the wire: replies tell why a dial failed; what follows a
 * request in the same read is kept; failed tunnels are answered; one bad datagram ends nothing;
 * associations end when idle.
 *
 * A connection: negotiation and request (one deadline) -> CONNECT: dial while the client stays,
 * reply, pipe; ASSOCIATE and tunnel: socks5-udp.ts; BIND: socks5-bind.ts.
 */
import { Deadline } from "../chain/deadline.ts";
import { asChainError } from "../chain/errors.ts";
import { EndedEarly, readMessage } from "../chain/read-message.ts";
import { SocketStream } from "../chain/socket-stream.ts";
import type { Endpoint, Unreachable, UpStream } from "../chain/types.ts";
import type { ServiceConfig } from "../config/model.ts";
import { joinHostPort } from "../config/net.ts";
import {
  CMD_ASSOCIATE,
  CMD_BIND,
  CMD_CONNECT,
  CMD_MUX_BIND,
  CMD_UDP_TUNNEL,
  REP_COMMAND,
  REP_FAILURE,
  REP_HOST_UNREACHABLE,
  REP_NETWORK_UNREACHABLE,
  REP_OK,
  REP_PROHIBITED,
  REP_REFUSED,
  REP_TIMEOUT,
  encodeReply,
  requestReader,
} from "../proto/socks5.ts";
import type { Accepted, HandlerContext } from "./handler.ts";
import { pipe } from "./relay-pipe.ts";
import { ClientGone, SessionHandler, dialWhileOpen, ipOf, sayAndClose } from "./session.ts";
import { serveBind, serveMuxBind } from "./socks5-bind.ts";
import { Unwelcome, greet } from "./socks5-greeting.ts";
import {
  type Socks5Client,
  Socks5Refusal,
  type Socks5Settings,
  plainIp,
  socks5Settings,
} from "./socks5-settings.ts";
import { UdpRooms, serveAssociate, serveTunnel } from "./socks5-udp.ts";
import { InnerTls } from "./tls-inner.ts";

/** The router has deadlines of its own. */
const DIAL_MS = 0x7fff_ffff;
const LOG_PERIOD_MS = 60_000;

const noop = (): void => undefined;

/**
 * What a failed dial is called. There is no code for a timeout: "TTL expired" is what clients take
 * for one. What went wrong inside our own chain says nothing about the destination.
 */
const CODE_OF: Readonly<Partial<Record<Unreachable, number>>> = {
  refused: REP_REFUSED,
  "host-unreachable": REP_HOST_UNREACHABLE,
  "network-unreachable": REP_NETWORK_UNREACHABLE,
  timeout: REP_TIMEOUT,
  prohibited: REP_PROHIBITED,
};

export class Socks5Handler extends SessionHandler {
  readonly #service: ServiceConfig;
  readonly #context: HandlerContext;
  readonly #settings: Socks5Settings;
  readonly #tls: InnerTls;
  readonly #rooms = new UdpRooms();

  /** Throws a configuration error. */
  constructor(service: ServiceConfig, context: HandlerContext) {
    super();
    this.#service = service;
    this.#context = context;
    this.#settings = socks5Settings(service);
    this.#tls = new InnerTls(service, context.tls, context.log);
    if (context.authenticator !== undefined || context.isLoopback) return;
    context.log.warn(
      `${service.addr}: socks5 without authentication: everybody who reaches this address ` +
        "can use it as a proxy; use socks5://USER:PASSWORD@… or auth.file",
    );
  }

  protected override async serve(accepted: Accepted): Promise<void> {
    const client = await this.#introduce(accepted);
    try {
      await this.#obey(client);
    } catch (error) {
      if (error instanceof ClientGone) throw error;
      const code = codeOf(error);
      this.#debug(accepted, error, code);
      sayAndClose(client.transport, encodeReply(code));
    }
  }

  /** Before there was a request. */
  protected override refuse(accepted: Accepted, error: unknown): void {
    this.#debug(accepted, error);
    if (!(error instanceof Unwelcome)) {
      sayAndClose(accepted.transport);
      return;
    }
    if (error.isPassword) {
      this.#context.log.once(`unauthorized ${this.#service.name}`, LOG_PERIOD_MS, {
        message: `wrong user name or password from ${accepted.peer}`,
      });
    }
    sayAndClose(error.transport);
  }

  #debug({ peer }: Accepted, error: unknown, code?: number): void {
    const message = error instanceof Error ? error.message : String(error);
    this.#context.log.debug(`refused: ${message}`, { client: peer, code });
  }

  async #introduce(accepted: Accepted): Promise<Socks5Client> {
    const { authenticator } = this.#context;
    const settings = this.#settings;
    const clientIp = plainIp(ipOf(accepted.peer));
    const limit = new Deadline(settings.readMs, [this.stopped]);
    const { signal } = limit;
    let open = accepted.transport;
    try {
      const host = { settings, authenticator, tls: this.#tls };
      const { transport, user } = await greet(open, clientIp, host, signal);
      open = transport;
      const request = await readMessage(transport, requestReader(), signal);
      const who = user === undefined ? {} : { user };
      const route = { signal: this.stopped, clientIp, ...who };
      return { accepted, transport, request, settings, context: this.#context, route };
    } catch (error) {
      // The stream that was put in place of the accepted one has to be let go, too.
      if (open !== accepted.transport && !(error instanceof Unwelcome)) open.reset();
      if (error instanceof EndedEarly) throw new ClientGone();
      throw error;
    } finally {
      limit.end();
    }
  }

  async #obey(client: Socks5Client): Promise<void> {
    const { command } = client.request;
    switch (command) {
      case CMD_CONNECT:
        return this.#connect(client);
      case CMD_BIND:
        return serveBind(client, this.stopped);
      case CMD_MUX_BIND:
        return serveMuxBind(client, this.stopped);
      case CMD_ASSOCIATE:
        return serveAssociate(client, this.#rooms);
      case CMD_UDP_TUNNEL:
        return serveTunnel(client, this.#rooms);
      default:
        throw new Socks5Refusal(`command ${command}`, REP_COMMAND);
    }
  }

  async #connect({ transport, request, route }: Socks5Client): Promise<void> {
    const { router } = this.#context;
    const { address } = request;
    if (router.refuses("tcp", address) !== undefined) {
      const what = joinHostPort(address.host, address.port);
      throw new Socks5Refusal(`${what} is bypassed`, REP_PROHIBITED);
    }
    const { stream, hasEnded } = await dialWhileOpen(
      transport,
      { ms: DIAL_MS, outer: this.stopped },
      (signal) => router.connect(address, { ...route, signal }),
    );
    transport.write([encodeReply(REP_OK, localOf(stream))], noop);
    await pipe(transport, stream, hasEnded);
  }
}

/** Our end of the first socket of a stream, as GOST tells it, where it is known. */
function localOf(stream: UpStream): Endpoint | undefined {
  const tcp = stream instanceof SocketStream ? stream.below.tcp : undefined;
  if (tcp?.localAddress === undefined) return undefined;
  return { host: plainIp(tcp.localAddress), port: tcp.localPort ?? 0 };
}

function codeOf(error: unknown): number {
  if (error instanceof Socks5Refusal) return error.code;
  const { reason, party } = asChainError(error, "destination", "dial");
  if (party === "proxy" && reason !== "prohibited") return REP_FAILURE;
  return CODE_OF[reason] ?? REP_FAILURE;
}
