/**
 * The metadata keys that take effect here, by type of component. Others of GOST's are in
 * gost-keys.ts: those are accepted, and a warning says that they have no effect; a key that is in
 * neither is a warning with a suggestion (key-check.ts). What values are is in key-kinds.ts.
 */
import { HOOK_KEYS } from "./hooks.ts";
import { TUNGO_KEYS, TUNGO_KEYS_WITHOUT_EFFECT } from "./tungo.ts";

type Keys = readonly string[];
type Tables = Readonly<Record<string, Keys>>;

const KEEPALIVE_KEYS = split("keepalive keepalive.idle keepalive.interval keepalive.count");
const LISTEN_KEYS = [...KEEPALIVE_KEYS, ...split("maxConnections backlog")];
/** What both ends of a WebSocket have. */
const WS_KEYS = withPrefix("path header handshakeTimeout");
const WS_LISTEN_KEYS = [...LISTEN_KEYS, ...WS_KEYS, ...withPrefix("readHeaderTimeout backlog")];
/** The short names of keep-alive are the WebSocket's own, TCP's below it have a prefix. */
const WS_DIAL_KEYS = [
  ...WS_KEYS,
  ...withPrefix("host keepalive keepaliveInterval"),
  ...split("ttl keepalive.interval"),
  ...KEEPALIVE_KEYS.map((key) => `tcp.${key}`),
];
const MUX_KEYS = split(
  "mux.version mux.keepaliveInterval mux.keepaliveDisabled mux.keepaliveTimeout",
  "mux.maxFrameSize mux.maxReceiveBuffer mux.maxStreamBuffer mux.type mux.maxStreams",
);

export const SERVICE_KEYS = split(
  "interface so_mark soMark proxyProtocol ignoreChain enableStats netns netns.out dialTimeout",
  HOOK_KEYS.join(" "),
  // A URL leaves these behind after their objects were made.
  "bypass admission resolver prefer hosts limiter.in limiter.out limiter.conn.in",
  "limiter.conn.out climiter rlimiter retries",
);
export const HOP_KEYS = split("interface so_mark soMark proxyProtocol netns");
export const NODE_KEYS = [...HOP_KEYS, ...split("weight backup maxFails failTimeout dialTimeout")];

const AUTH_KEYS = split("auth.anyPassword skipauth");
const SOCKS5_KEYS = [
  ...split("udp bind notls readTimeout udp.timeout udpTimeout udp.resolveDomain comp"),
  ...split("udp.bindRange.min udp.bindRange.max udp.minPort udp.maxPort"),
  ...split("socks.publicAddr publicAddr hash"),
  ...AUTH_KEYS,
  ...MUX_KEYS,
];
const HTTP_KEYS = [
  ...split("readTimeout idleTimeout udp udp.timeout udpTimeout header http.header proxyAgent"),
  ...split("http.proxyAgent authBasicRealm probeResist probe_resist knock hash"),
  ...AUTH_KEYS,
];

export const HANDLER_KEYS: Tables = {
  tungo: [...TUNGO_KEYS, ...TUNGO_KEYS_WITHOUT_EFFECT],
  relay: [
    ...split("readTimeout bind nodelay udp.timeout udpTimeout hash"),
    ...AUTH_KEYS,
    ...MUX_KEYS,
  ],
  http: HTTP_KEYS,
  tcp: split("idleTimeout hash"),
  // The time for the answer to a datagram without a session.
  udp: split("readTimeout idleTimeout hash"),
  forward: split("readTimeout idleTimeout hash"),
  socks5: SOCKS5_KEYS,
  auto: [...SOCKS5_KEYS, ...HTTP_KEYS],
};
export const LISTENER_KEYS: Tables = {
  tungo: [...TUNGO_KEYS, ...TUNGO_KEYS_WITHOUT_EFFECT],
  tcp: LISTEN_KEYS,
  tls: [...LISTEN_KEYS, "handshakeTimeout"],
  ws: WS_LISTEN_KEYS,
  wss: WS_LISTEN_KEYS,
  mtls: [...LISTEN_KEYS, "handshakeTimeout", ...MUX_KEYS],
  mws: [...WS_LISTEN_KEYS, ...MUX_KEYS],
  mwss: [...WS_LISTEN_KEYS, ...MUX_KEYS],
  udp: split("backlog keepalive ttl keepalive.ttl readQueueSize recvQueueSize stateless"),
};
export const CONNECTOR_KEYS: Tables = {
  relay: split("connectTimeout nodelay relay.network relay.grace relay.udp"),
  socks5: split("timeout notls relay"),
  http: split("timeout header http.header"),
  forward: [],
  tcp: [],
  direct: split("action"),
};
export const DIALER_KEYS: Tables = {
  tcp: KEEPALIVE_KEYS,
  tls: [...KEEPALIVE_KEYS, "handshakeTimeout"],
  ws: WS_DIAL_KEYS,
  wss: WS_DIAL_KEYS,
  mtls: [...KEEPALIVE_KEYS, "handshakeTimeout", ...MUX_KEYS],
  mws: [...WS_DIAL_KEYS, ...MUX_KEYS],
  mwss: [...WS_DIAL_KEYS, ...MUX_KEYS],
  udp: [],
  direct: [],
};

/** TLS and authentication keys of URLs, which are taken out before metadata is made of the rest. */
export const URL_KEYS = split(
  "auth authFile authEnv auth.file auth.env cert certFile key keyFile ca caFile secure serverName",
  "pin strategy maxFails max_fails failTimeout fail_timeout",
).flatMap((key) => [key, `tls.${key}`]);

function split(...lines: readonly string[]): readonly string[] {
  return lines.flatMap((line) => line.split(" "));
}

/** Each with and without GOST's prefix. */
function withPrefix(names: string): readonly string[] {
  return split(names).flatMap((key) => [key, `ws.${key}`]);
}
