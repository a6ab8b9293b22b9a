/** Starts a proxy service: one of the socket listeners with a handler. Called by app.ts. */
import type { Router } from "../chain/types.ts";
import type { Config, ServiceConfig } from "../config/model.ts";
import { configError } from "../errors.ts";
import type { Logger } from "../log.ts";
import type { Authenticator } from "../types.ts";
import type { Accepted, AcceptedDatagrams, Handler } from "./handler.ts";
import { handlerTypes, loadHandler } from "./handlers.ts";
import { listenUdp } from "./listen-udp.ts";
import { listen } from "./listen.ts";

export interface ServerContext {
  readonly log: Logger;
  /** Aborting it closes the service. */
  readonly signal: AbortSignal;
  /** The service's way out; the service closes it. */
  readonly router: Router;
  /** undefined: everybody may. */
  readonly authenticator: Authenticator | undefined;
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
  const { router, authenticator } = context;
  const makeHandler = await loadHandler(handler.type);
  if (makeHandler === undefined) {
    const known = handlerTypes().join(", ");
    throw configError(place, `handler "${handler.type}" is unknown (known: ${known})`);
  }
  const log = context.log.child({ service: service.name, handler: handler.type });
  let handling: Handler | undefined;
  const accept = (accepted: Accepted): void => {
    if (handling === undefined) accepted.transport.reset();
    else handling.handle(accepted);
  };
  const acceptDatagrams = (accepted: AcceptedDatagrams): void => {
    if (handling?.handleDatagrams === undefined) accepted.session.close();
    else handling.handleDatagrams(accepted);
  };
  const isUdp = service.listener.type === "udp";
  const listener = isUdp
    ? await listenUdp(service, { log, accept: acceptDatagrams })
    : await listen(service, config, { log, accept });
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
