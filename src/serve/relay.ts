/**
 * The handler `relay`: reads a request, authenticates, connects, answers, carries.
 *
 * Differences from GOST, all compatible on the wire: OK is answered at once; failures carry the
 * cause; malformed requests are answered; half-closes and resets go through; UDP sockets end when
 * idle, survive refusals and cut nothing.
 *
 * A connection: request (deadline) -> authentication -> dial (deadline; the client's going away
 * ends it) -> OK -> pipe until both ends are closed.
 */
import { asChainError } from "../chain/errors.ts";
import { type MuxSettings, muxSettings } from "../chain/mux-settings.ts";
import type { Endpoint, RouteContext, Transport, Unreachable, UpStream } from "../chain/types.ts";
import { metaBool, metaDurationMs } from "../config/metadata.ts";
import type { ServiceConfig } from "../config/model.ts";
import { joinHostPort } from "../config/net.ts";
import { messageOf } from "../errors.ts";
import {
  CAUSE_HOST_UNREACHABLE,
  CAUSE_NETWORK_UNREACHABLE,
  CAUSE_REFUSED,
  CAUSE_TIMEOUT,
  CMD_BIND,
  CMD_CONNECT,
  HeadReader,
  NETWORK_IP,
  NETWORK_SERIAL,
  NETWORK_UNIX,
  type RelayRequest,
  RelayFormatError,
  type ReplyFields,
  STATUS_BAD_REQUEST,
  STATUS_FORBIDDEN,
  STATUS_HOST_UNREACHABLE,
  STATUS_INTERNAL_ERROR,
  STATUS_NETWORK_UNREACHABLE,
  STATUS_OK,
  STATUS_SERVICE_UNAVAILABLE,
  STATUS_TIMEOUT,
  STATUS_UNAUTHORIZED,
  encodeReply,
  parseRequest,
} from "../proto/relay.ts";
import type { Accepted, HandlerContext } from "./handler.ts";
import { type ForwardTarget, ForwardTargets } from "./forward-targets.ts";
import { serveTcpBind } from "./relay-bind.ts";
import { pipe } from "./relay-pipe.ts";
import { ClientGone, SessionHandler, dialWhileOpen, ipOf, sayAndClose } from "./session.ts";
import { type UdpSettings, serveAssociation, serveUdpConnect } from "./relay-udp.ts";

const READ_MS = 15_000;
/** The router has deadlines of its own. */
const DIAL_MS = 0x7fff_ffff;
const UDP_IDLE_MS = 300_000;

const noop = (): void => undefined;

/** What a failed dial is called on the wire. */
const STATUS_OF: Readonly<Partial<Record<Unreachable, ReplyFields>>> = {
  refused: { status: STATUS_SERVICE_UNAVAILABLE, cause: CAUSE_REFUSED },
  "host-unreachable": { status: STATUS_HOST_UNREACHABLE, cause: CAUSE_HOST_UNREACHABLE },
  "network-unreachable": { status: STATUS_NETWORK_UNREACHABLE, cause: CAUSE_NETWORK_UNREACHABLE },
  timeout: { status: STATUS_TIMEOUT, cause: CAUSE_TIMEOUT },
  prohibited: { status: STATUS_FORBIDDEN },
  closed: { status: STATUS_INTERNAL_ERROR },
};

class Refusal extends Error {
  readonly reply: ReplyFields | undefined;

  /** `reply` undefined: close without a word. */
  constructor(message: string, reply?: ReplyFields) {
    super(message);
    this.reply = reply;
  }
}

/** A client that may use the service, and what it asks for. */
interface Client {
  readonly transport: Transport;
  readonly request: RelayRequest;
  readonly route: RouteContext;
}

export class RelayHandler extends SessionHandler {
  readonly #service: ServiceConfig;
  readonly #context: HandlerContext;
  readonly #readMs: number;
  readonly #hasBind: boolean;
  readonly #mayAssociate: boolean;
  readonly #mux: MuxSettings;
  readonly #targets: ForwardTargets;
  readonly #udp: UdpSettings;

  constructor(service: ServiceConfig, context: HandlerContext) {
    super();
    this.#service = service;
    this.#context = context;
    const { handler } = service;
    const { metadata } = handler;
    const readMs = metaDurationMs(metadata, "readTimeout", READ_MS);
    this.#readMs = readMs > 0 ? readMs : READ_MS;
    this.#hasBind = metaBool(metadata, "bind", false);
    this.#mayAssociate = context.authenticator !== undefined || context.isLoopback;
    this.#mux = muxSettings(metadata, service.place);
    this.#targets = new ForwardTargets(service);
    this.#udp = {
      log: context.log,
      idleMs: metaDurationMs(metadata, ["udp.timeout", "udpTimeout"], UDP_IDLE_MS),
      router: context.router,
      isChained: handler.chain !== undefined || handler.chainGroup !== undefined,
    };
    this.#warnOpen();
  }

  /** An open proxy is nearly always a mistake. */
  #warnOpen(): void {
    if (this.#context.authenticator !== undefined || this.#context.isLoopback) return;
    if (!this.#targets.isEmpty) return;
    this.#context.log.warn(
      `${this.#service.addr}: relay without authentication: everybody who reaches this address ` +
        "can use it as a proxy; use relay://USER:PASSWORD@… or auth.file",
    );
  }

  protected override async serve(accepted: Accepted): Promise<void> {
    const { transport } = accepted;
    const request = await readRequest(transport, this.#readMs);
    const { authenticator } = this.#context;
    const clientIp = ipOf(accepted.peer);
    if (authenticator !== undefined && !authenticator.accepts(request.auth, clientIp)) {
      throw new Refusal("authentication failed", { status: STATUS_UNAUTHORIZED });
    }
    const user = authenticator === undefined ? undefined : request.auth?.username;
    const from: Client = {
      transport,
      request,
      route: {
        signal: this.stopped,
        clientIp,
        localIp: ipOf(accepted.local),
        ...(user === undefined ? {} : { user }),
      },
    };
    const target = this.#targets.next(request.udp ? "udp" : "tcp", clientIp);
    if (target !== undefined) {
      await this.#forward(from, target);
    } else if (request.command === CMD_CONNECT) {
      await this.#connect(from, request.addresses.at(-1));
    } else if (request.command === CMD_BIND) {
      await this.#bind(from);
    } else {
      throw new Refusal(`command ${request.command}`, { status: STATUS_BAD_REQUEST });
    }
  }

  /** Answers and closes, so that the client can read the answer. */
  protected override refuse({ transport, peer }: Accepted, error: unknown): void {
    const { log } = this.#context;
    const reply = replyOf(error);
    const message = error instanceof Error ? error.message : String(error);
    log.debug(`refused: ${message}`, { client: peer, status: reply?.status });
    if (reply?.status === STATUS_UNAUTHORIZED) {
      log.once(`unauthorized ${this.#service.name}`, 60_000, {
        message: `wrong user name or password from ${peer}`,
      });
    }
    sayAndClose(transport, reply === undefined ? undefined : encodeReply(reply));
  }

  /** The service's own target, whatever the client asked for. */
  async #forward(from: Client, target: ForwardTarget): Promise<void> {
    const network = from.request.udp ? "udp" : "tcp";
    if (target.network !== undefined && target.network !== network) {
      throw new Refusal(`the target is of ${target.network}`, { status: STATUS_BAD_REQUEST });
    }
    await this.#connect(from, target.endpoint, target);
  }

  async #connect(from: Client, target: Endpoint | undefined, mark?: ForwardTarget): Promise<void> {
    const { transport, request, route } = from;
    if (target === undefined) {
      throw new Refusal("no address", { status: STATUS_BAD_REQUEST });
    }
    const what = joinHostPort(target.host, target.port);
    const network = request.udp ? "udp" : "tcp";
    const { router } = this.#context;
    if (router.refuses(network, target) !== undefined) {
      throw new Refusal(`${what} is bypassed`, { status: STATUS_FORBIDDEN });
    }
    if (request.udp) {
      await serveUdpConnect(transport, target, this.#udp, route);
      return;
    }
    if (isUnsupported(request.network)) {
      throw new Refusal("unsupported network", { status: STATUS_NETWORK_UNREACHABLE });
    }
    const { stream, hasEnded } = await dialWhileOpen(
      transport,
      { ms: DIAL_MS, outer: this.stopped },
      (signal) => {
        const dial = (): Promise<UpStream> => router.connect(target, { ...route, signal });
        return mark === undefined ? dial() : mark.watch(dial);
      },
    );
    transport.write([encodeReply({ status: STATUS_OK })], noop);
    await pipe(transport, stream, hasEnded);
  }

  async #bind({ transport, request, route }: Client): Promise<void> {
    const isUdp = request.udp;
    if (!isUdp && isUnsupported(request.network)) {
      throw new Refusal("unsupported network", { status: STATUS_BAD_REQUEST });
    }
    const address = request.addresses.at(-1) ?? { host: "", port: 0 };
    // An association needs no port of its own choice; opening one for others must be allowed.
    const isAssociation = isUdp && isUnspecified(address);
    if (!this.#hasBind && !(isAssociation && this.#mayAssociate)) {
      throw new Refusal("BIND is off (bind=true switches it on)", { status: STATUS_FORBIDDEN });
    }
    if (isUdp) {
      await serveAssociation(transport, address, this.#udp, route);
      return;
    }
    await serveTcpBind(transport, address, this.#mux, this.stopped).catch((error: unknown) => {
      throw new Refusal(messageOf(error), { status: STATUS_SERVICE_UNAVAILABLE });
    });
  }
}

function isUnspecified({ host, port }: Endpoint): boolean {
  return port === 0 && (host === "" || host === "0.0.0.0" || host === "::");
}

function isUnsupported(network: number | undefined): boolean {
  return network === NETWORK_IP || network === NETWORK_UNIX || network === NETWORK_SERIAL;
}

function replyOf(error: unknown): ReplyFields | undefined {
  if (error instanceof Refusal) return error.reply;
  if (error instanceof ClientGone) return undefined;
  const { reason } = asChainError(error, "destination", "dial");
  return STATUS_OF[reason] ?? { status: STATUS_NETWORK_UNREACHABLE };
}

/** The request; the rest of what came stays in the transport, which is left detached. */
function readRequest(transport: Transport, limitMs: number): Promise<RelayRequest> {
  return new Promise<RelayRequest>((resolve, reject) => {
    const reader = new HeadReader();
    const finish = (error?: Error): void => {
      clearTimeout(timer);
      transport.detach();
      if (error !== undefined) reject(error);
    };
    const timer = setTimeout(() => finish(new Refusal("no request in time")), limitMs);
    const malformed = (error: unknown): Refusal => {
      const text = error instanceof RelayFormatError ? error.message : "bad request";
      return new Refusal(text, { status: STATUS_BAD_REQUEST });
    };
    transport.attach({
      data: (chunk) => {
        try {
          const used = reader.push(chunk);
          if (!reader.done) return;
          const request = parseRequest(reader.bytes);
          finish();
          transport.unshift(chunk.subarray(used));
          resolve(request);
        } catch (error) {
          finish(malformed(error));
        }
      },
      end: () => finish(new Refusal("the client ended inside its request")),
      close: () => finish(new Refusal("the client went away")),
    });
    transport.resume();
  });
}
