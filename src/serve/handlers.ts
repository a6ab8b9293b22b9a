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
  socks5: async () => {
    const { Socks5Handler } = await import("./socks5.ts");
    return (service, context) => new Socks5Handler(service, context);
  },
  auto: async () => {
    const [{ AutoHandler }, socks5, http] = await Promise.all([
      import("./auto.ts"),
      loadHandler("socks5"),
      loadHandler("http"),
    ]);
    if (socks5 === undefined || http === undefined) throw new Error("auto needs both");
    return (service, context) => new AutoHandler(service, context, { socks5, http });
  },
};

export function handlerTypes(): readonly string[] {
  return Object.keys(HANDLERS);
}

/** undefined: there is no handler of that type. */
export async function loadHandler(type: string): Promise<HandlerFactory | undefined> {
  return Object.hasOwn(HANDLERS, type) ? HANDLERS[type]?.() : undefined;
}
