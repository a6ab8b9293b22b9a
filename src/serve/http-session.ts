/** One request to the handler `http`, as its parts hand it on. */
import type { RouteContext, Router, Transport } from "../chain/types.ts";
import type { RequestHead } from "../proto/http1.ts";
import type { Accepted } from "./handler.ts";
import type { HttpSettings } from "./http-settings.ts";
import { ipOf } from "./session.ts";

/** One request and who sent it. */
export interface HttpSession {
  readonly transport: Transport;
  readonly accepted: Accepted;
  readonly head: RequestHead;
  readonly settings: HttpSettings;
  readonly router: Router;
  readonly stopped: AbortSignal;
  readonly clientIp: string;
  readonly user: string | undefined;
}

/** What a dial for this client needs to know. */
export function routeContext(session: HttpSession, signal: AbortSignal): RouteContext {
  const { clientIp, user, accepted } = session;
  const who = user === undefined ? {} : { user };
  return { signal, clientIp, localIp: ipOf(accepted.local), ...who };
}
