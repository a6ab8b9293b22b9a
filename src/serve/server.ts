/** Starts a proxy service: one of the socket listeners with a handler. Called by app.ts. */
import type { Chain } from "../chain/types.ts";
import type { Config, ServiceConfig } from "../config/model.ts";
import { configError } from "../errors.ts";
import type { Logger } from "../log.ts";
import type { Accepted, Handler } from "./handler.ts";
import { listen } from "./listen.ts";
import { type Refuses, RelayHandler } from "./relay.ts";

export interface ServerContext {
  readonly log: Logger;
  /** Aborting it closes the service. */
  readonly signal: AbortSignal;
  /** The chain of that name; undefined if there is none (a configuration error here). */
  chainFor(name: string): Chain | undefined;
  readonly refuses?: Refuses;
}

export interface RunningServer {
  /** host:port that is bound. */
  readonly address: string;
  /** Stops listening and resets all connections. Idempotent. */
  close(): Promise<void>;
}

export const HANDLER_TYPES = ["relay"] as const;

/** Throws a configuration error, or TSGOST_ERR_LISTEN. */
export async function startServer(
  service: ServiceConfig,
  config: Config,
  context: ServerContext,
): Promise<RunningServer> {
  const { handler, place } = service;
  if (!HANDLER_TYPES.some((known) => known === handler.type)) {
    const known = HANDLER_TYPES.join(", ");
    throw configError(place, `handler "${handler.type}" is unknown (known: ${known})`);
  }
  const log = context.log.child({ service: service.name, handler: handler.type });
  let relay: Handler | undefined;
  const accept = (accepted: Accepted): void => {
    relay?.handle(accepted);
  };
  let chain: Chain | undefined;
  if (handler.chain !== undefined && handler.chain !== "") {
    chain = context.chainFor(handler.chain);
    // Fails closed: a missing chain must not mean "direct".
    if (chain === undefined) throw configError(place, `chain "${handler.chain}" does not exist`);
  }
  const listener = await listen(service, config, { log, accept });
  let serving: RelayHandler;
  try {
    serving = new RelayHandler(service, {
      log,
      chain,
      isLoopback: listener.isLoopback,
      refuses: context.refuses,
    });
    relay = serving;
  } catch (error) {
    await listener.close();
    throw error;
  }
  const close = async (): Promise<void> => {
    context.signal.removeEventListener("abort", onAbort);
    await listener.close();
    serving.close();
    chain?.close();
  };
  const onAbort = (): void => {
    void close();
  };
  context.signal.addEventListener("abort", onAbort, { once: true });
  return { address: listener.address, close };
}
