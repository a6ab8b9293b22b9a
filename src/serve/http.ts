/**
 * The handler `http`: CONNECT, GOST's UDP form of it, and plain requests in absolute or origin form
 * (RFC 9110 §7.6, RFC 9112 §3.2). Order, as in GOST: credentials, form, bypass, then the rest.
 *
 * Differences from GOST: the time for a head is bounded; answers to failed dials name the cause;
 * a UDP session is confirmed when it can work; a client may send several plain requests.
 */
import { asChainError } from "../chain/errors.ts";
import type { Endpoint } from "../chain/types.ts";
import type { ServiceConfig } from "../config/model.ts";
import { joinHostPort } from "../config/net.ts";
import { messageOf } from "../errors.ts";
import {
  HttpFormatError,
  type RequestHead,
  encodeHead,
  fieldOf,
  parseAuthority,
  parseBasic,
  parseHttpUrl,
} from "../proto/http1.ts";
import { serveFrames } from "./datagram-session.ts";
import type { Accepted, HandlerContext } from "./handler.ts";
import { forwardRequest } from "./http-plain.ts";
import { answerProbe } from "./http-probe.ts";
import { readRequest } from "./http-read.ts";
import {
  CLOSE,
  EMPTY,
  HttpRefusal,
  badRequest,
  causeFields,
  encodeStatus,
  statusOf,
} from "./http-reply.ts";
import { type HttpSession, routeContext } from "./http-session.ts";
import { type HttpSettings, httpSettings } from "./http-settings.ts";
import { pipe } from "./relay-pipe.ts";
import {
  DIAL_MS,
  ClientGone,
  SessionHandler,
  carrierWhileOpen,
  dialWhileOpen,
  ipOf,
  sayAndClose,
} from "./session.ts";

/** For a request to begin, where no idleTimeout says otherwise. */
const WAIT_MS = 60_000;

const noop = (): void => undefined;

export class HttpHandler extends SessionHandler {
  readonly #context: HandlerContext;
  readonly #service: ServiceConfig;
  readonly #settings: HttpSettings;

  /** Throws a configuration error. */
  constructor(service: ServiceConfig, context: HandlerContext) {
    super();
    this.#service = service;
    this.#context = context;
    this.#settings = httpSettings(service);
    if (context.authenticator !== undefined || context.isLoopback) return;
    context.log.warn(
      `${service.addr}: http without authentication: everybody who reaches this address ` +
        "can use it as a proxy; use http://USER:PASSWORD@… or auth.file",
    );
  }

  protected override async serve(accepted: Accepted): Promise<void> {
    const { transport, peer } = accepted;
    const { idleMs } = this.#settings;
    const clientIp = ipOf(peer);
    for (;;) {
      const head = await readRequest(transport, idleMs > 0 ? idleMs : WAIT_MS);
      if (head === undefined) {
        sayAndClose(transport);
        return;
      }
      const { router } = this.#context;
      const session: HttpSession = {
        transport,
        accepted,
        head,
        settings: this.#settings,
        router,
        stopped: this.stopped,
        clientIp,
        user: undefined,
      };
      const isAgain = await this.#answer(session);
      if (!isAgain) return;
    }
  }

  /** Answers whether the connection may carry one more request. */
  async #answer(session: HttpSession): Promise<boolean> {
    const { transport, head, clientIp } = session;
    const { authenticator } = this.#context;
    const given = parseBasic(fieldOf(head, "proxy-authorization"));
    if (authenticator !== undefined && !authenticator.accepts(given, clientIp)) {
      this.#context.log.once(`unauthorized ${this.#service.name}`, 60_000, {
        message: `no or wrong user name and password from ${session.accepted.peer}`,
      });
      if (this.#showsProbe(head)) await answerProbe(session);
      else sayAndClose(transport, this.#authRequired(head));
      return false;
    }
    const known = authenticator === undefined ? session : { ...session, user: given?.username };
    if (head.method === "CONNECT") {
      await this.#connect(known);
      return false;
    }
    return forwardRequest(known);
  }

  /** With probe resistance, credentials are asked for only at the secret door. */
  #showsProbe(head: RequestHead): boolean {
    const { probe, knock } = this.#settings;
    if (probe === undefined) return false;
    const url = parseHttpUrl(head.target, head.method);
    const host = url?.host ?? parseAuthority(head.target, 80)?.host ?? "";
    return !knock.includes(host.toLowerCase());
  }

  #authRequired(head: RequestHead): Buffer {
    const wants = fieldOf(head, "proxy-connection")?.toLowerCase() === "keep-alive";
    return encodeStatus(407, [
      CLOSE,
      { name: "Proxy-Authenticate", value: `Basic realm="${this.#settings.realm}"` },
      ...(wants ? [{ name: "Proxy-Connection", value: "close" }] : []),
    ]);
  }

  async #connect(session: HttpSession): Promise<void> {
    const { transport, head, settings, router, stopped } = session;
    const target = parseAuthority(head.target, 80);
    if (target === undefined) throw badRequest("a CONNECT without HOST:PORT");
    const what = joinHostPort(target.host, target.port);
    const isUdp = fieldOf(head, "x-gost-protocol")?.toLowerCase() === "udp";
    if (head.target === "" && !isUdp) throw badRequest("a CONNECT without HOST:PORT");
    // The name of a UDP session may be none; each of its datagrams is judged.
    const isNamed = head.target !== "" && (!isUdp || target.port !== 0);
    if (isNamed && router.refuses(isUdp ? "udp" : "tcp", target) !== undefined) {
      throw new HttpRefusal(`${what} is bypassed`, this.#failure(403));
    }
    if (isUdp) {
      await this.#udp(session);
      return;
    }
    const limit = { ms: DIAL_MS, outer: stopped };
    const { stream, hasEnded } = await dialWhileOpen(transport, limit, (signal) =>
      router.connect(target, routeContext(session, signal)),
    ).catch((error: unknown) => {
      throw this.#dialFailure(error, target);
    });
    const start = "HTTP/1.1 200 Connection established";
    transport.write([encodeHead(start, settings.ownFields)], noop);
    await pipe(transport, stream, hasEnded, settings.idleMs);
  }

  async #udp(session: HttpSession): Promise<void> {
    const { transport, settings, router, stopped } = session;
    if (!settings.udp) {
      const reply = encodeStatus(403, [EMPTY]);
      throw new HttpRefusal("UDP is off (udp=true switches it on)", reply);
    }
    const carrier = await carrierWhileOpen(transport, stopped, (signal) =>
      router.datagrams(routeContext(session, signal)),
    ).catch((error: unknown) => {
      throw this.#dialFailure(error, { host: "", port: 0 });
    });
    transport.write([encodeStatus(200, [EMPTY])], noop);
    await serveFrames(transport, carrier, { idleMs: settings.udpIdleMs, signal: stopped });
  }

  #failure(status: number, fields: Parameters<typeof encodeStatus>[1] = []): Buffer {
    return encodeStatus(status, [CLOSE, ...this.#settings.ownFields, ...fields]);
  }

  #dialFailure(error: unknown, target: Endpoint): Error {
    if (error instanceof ClientGone) return error;
    const failure = asChainError(error, "destination", joinHostPort(target.host, target.port));
    const reply = this.#failure(statusOf(failure.reason), causeFields(failure.reason));
    return new HttpRefusal(failure.message, reply);
  }

  protected override refuse({ transport, peer }: Accepted, error: unknown): void {
    this.#context.log.debug(`refused: ${messageOf(error)}`, { client: peer });
    if (error instanceof ClientGone) {
      transport.destroy();
    } else if (error instanceof HttpRefusal) {
      sayAndClose(transport, error.reply);
    } else if (error instanceof HttpFormatError && error.status !== undefined) {
      sayAndClose(transport, encodeStatus(error.status, [CLOSE]));
    } else {
      sayAndClose(transport);
    }
  }
}
