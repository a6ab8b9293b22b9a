/** Starts a proxy service: one of the socket listeners with a handler. Called by app.ts. */
import { randomBytes } from "node:crypto";
import { ChainError } from "../chain/errors.ts";
import type { Router } from "../chain/types.ts";
import type { Config, ServiceConfig } from "../config/model.ts";
import { parseHostPort } from "../config/net.ts";
import { configError } from "../errors.ts";
import type { Logger } from "../log.ts";
import type { Admission, Authenticator } from "../types.ts";
import type { Accepted, AcceptedDatagrams, Handler } from "./handler.ts";
import { handlerTypes, loadHandler } from "./handlers.ts";
import { listenUdp } from "./listen-udp.ts";
import { listen } from "./listen.ts";
import { ClientGone } from "./session.ts";
import type { ServiceStats } from "./stats.ts";

export interface ServerContext {
  readonly log: Logger;
  /** Aborting it closes the service. */
  readonly signal: AbortSignal;
  /** The service's way out; the service closes it. */
  readonly router: Router;
  /** undefined: everybody may. */
  readonly authenticator: Authenticator | undefined;
  /** Counts its connections; absent: nobody asks. */
  readonly stats?: ServiceStats;
  /** undefined: everybody may connect. */
  readonly admission?: Admission | undefined;
}

export interface RunningServer {
  /** host:port that is bound. */
  readonly address: string;
  /** Stops listening and resets all connections. Idempotent. */
  close(): Promise<void>;
}

/** Throws a configuration error, or TSGOST_ERR_LISTEN. */
export async function startServer(
  service: ServiceConfig,
  config: Config,
  context: ServerContext,
): Promise<RunningServer> {
  const { handler, place } = service;
  const { router, authenticator, admission } = context;
  const makeHandler = await loadHandler(handler.type);
  if (makeHandler === undefined) {
    const known = handlerTypes().join(", ");
    throw configError(place, `handler "${handler.type}" is unknown (known: ${known})`);
  }
  const log = context.log.child({ service: service.name, handler: handler.type });
  let handling: Handler | undefined;
  const accept = (accepted: Accepted): void => {
    if (handling === undefined) accepted.transport.reset();
    else handling.handle(observed(accepted, log, context.stats));
  };
  const acceptDatagrams = (accepted: AcceptedDatagrams): void => {
    if (handling?.handleDatagrams === undefined) accepted.session.close();
    else handling.handleDatagrams(accepted);
  };
  const isUdp = service.listener.type === "udp";
  const listener = isUdp
    ? await listenUdp(service, { log, accept: acceptDatagrams, admission })
    : await listen(service, config, { log, accept, admission });
  let serving: Handler;
  try {
    const { isLoopback } = listener;
    const { tls } = config;
    serving = makeHandler(service, { log, router, authenticator, tls, isLoopback });
    if (isUdp && serving.handleDatagrams === undefined) {
      throw configError(place, `the handler ${handler.type} needs a stream, and udp is none`);
    }
    handling = serving;
  } catch (error) {
    await listener.close();
    throw error;
  }
  const close = async (): Promise<void> => {
    context.signal.removeEventListener("abort", onAbort);
    await listener.close();
    serving.close();
    router.close();
  };
  const onAbort = (): void => {
    void close();
  };
  context.signal.addEventListener("abort", onAbort, { once: true });
  return { address: listener.address, close };
}

/** Says in the log when a connection begins and ends, and counts it. */
function observed(accepted: Accepted, log: Logger, stats: ServiceStats | undefined): Accepted {
  const isLogged = log.enabled("info");
  if (!isLogged && stats === undefined) return accepted;
  const { peer, local, bytes } = accepted;
  const startMs = performance.now();
  const request = stats?.begin(parseHostPort(peer)?.host ?? "");
  const fields = { kind: "handler", sid: sessionId(), remote: peer, local, client: peer };
  if (isLogged) log.info(`${peer} <> ${local}`, fields);
  return {
    ...accepted,
    done: (error) => {
      const { input, output } = bytes?.() ?? { input: 0, output: 0 };
      request?.end({ input, output }, error !== undefined && !isExpected(error));
      if (!isLogged) return;
      const duration = Math.round((performance.now() - startMs) * 1e6);
      const end = { ...fields, duration, inputBytes: input, outputBytes: output };
      log.info(`${peer} >< ${local}`, end);
    },
  };
}

/** As GOST has it: a client that goes, an aborted dial and a bypass are no errors of the handler. */
function isExpected(error: unknown): boolean {
  if (error instanceof ClientGone) return true;
  return error instanceof ChainError && /^(aborted|prohibited)$/.test(error.reason);
}

let sessions = 0;

/** Of a connection, for the log: the process's start, and a number. */
function sessionId(): string {
  sessions = (sessions + 1) % 36 ** 6;
  return `${SESSION_BASE}${sessions.toString(36).padStart(6, "0")}`;
}

const SESSION_BASE = randomBytes(7).toString("hex");
