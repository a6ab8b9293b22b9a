/**
 * The explicit list of handlers behind socket listeners: a new one is one file and one line here. A
 * handler's code is loaded when a service wants it.
 */
import type { HandlerFactory } from "./handler.ts";

type Loader = () => Promise<HandlerFactory>;

const forward: Loader = async () => {
  const { ForwardHandler } = await import("./forward.ts");
  return (service, context) => new ForwardHandler(service, context);
};

const HANDLERS: Readonly<Record<string, Loader>> = {
  relay: async () => {
    const { RelayHandler } = await import("./relay.ts");
    return (service, context) => new RelayHandler(service, context);
  },
  http: async () => {
    const { HttpHandler } = await import("./http.ts");
    return (service, context) => new HttpHandler(service, context);
  },
  tcp: forward,
  udp: forward,
  forward,
};

export function handlerTypes(): readonly string[] {
  return Object.keys(HANDLERS);
}

/** undefined: there is no handler of that type. */
export async function loadHandler(type: string): Promise<HandlerFactory | undefined> {
  return Object.hasOwn(HANDLERS, type) ? HANDLERS[type]?.() : undefined;
}
