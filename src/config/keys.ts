/**
 * The metadata keys that each type of component understands here. A key that none of a service's
 * (or node's) components knows is a warning with a suggestion, see key-check.ts; types without a
 * table are not checked. What GOST has besides is in gost-keys.ts, what values are in key-kinds.ts.
 */
import { HOOK_KEYS } from "./hooks.ts";
import { TUNGO_KEYS, TUNGO_KEYS_WITHOUT_EFFECT } from "./tungo.ts";

const TCP_KEYS = split("keepalive keepalive.idle keepalive.interval keepalive.count mptcp");
const LISTEN_KEYS = [...TCP_KEYS, ...split("maxConnections backlog")];
const WS_KEYS = split(
  "path host header handshakeTimeout readHeaderTimeout readBufferSize writeBufferSize",
  "enableCompression backlog keepalive keepaliveInterval ttl",
).flatMap((key) => [key, `ws.${key}`]);
/** TCP keep-alive below a WebSocket, whose own keys take the short names. */
const WS_TCP_KEYS = TCP_KEYS.filter((key) => key !== "mptcp").map((key) => `tcp.${key}`);
const MUX_KEYS = split(
  "mux.version mux.keepaliveInterval mux.keepaliveDisabled mux.keepaliveTimeout",
  "mux.maxFrameSize mux.maxReceiveBuffer mux.maxStreamBuffer mux.type mux.maxStreams",
);
/** Without effect: datagrams are not cut. */
const UDP_BUFFER_KEYS = split("udp.bufferSize udpBufferSize");
const SNIFFING_KEYS = split(
  "sniffing sniffing.timeout sniffing.responseTimeout sniffing.fallback sniffing.udp",
  "sniffing.websocket sniffing.websocket.sampleRate",
);

export const SERVICE_KEYS = split(
  "interface so_mark soMark proxyProtocol ignoreChain enableStats",
  "observer.period observePeriod observer.resetTraffic netns netns.out dialTimeout labels",
  HOOK_KEYS.join(" "),
  "limiter.refreshInterval limiter.cleanupInterval limiter.scope",
  // A URL leaves these behind after their objects were made.
  "bypass admission resolver prefer hosts limiter.in limiter.out limiter.conn.in",
  "limiter.conn.out climiter rlimiter retries",
);
export const HOP_KEYS = split("interface so_mark proxyProtocol netns");
export const NODE_KEYS = [...HOP_KEYS, ...split("weight backup maxFails failTimeout dialTimeout")];

/** Those of buffers and keepalive are without effect. */
const FORWARD_KEYS = [
  ...split("readTimeout idleTimeout bufferSize readBufferSize udp.bufferSize http.keepalive"),
  ...split("stateless"),
  ...SNIFFING_KEYS,
];

const SOCKS5_KEYS = [
  ...split("udp bind notls readTimeout udp.timeout udpTimeout udp.resolveDomain comp"),
  ...split("udp.bindRange.min udp.bindRange.max udp.minPort udp.maxPort"),
  ...split("socks.publicAddr publicAddr hash auth.anyPassword skipauth"),
  ...UDP_BUFFER_KEYS,
  ...MUX_KEYS,
  ...SNIFFING_KEYS,
];

const HTTP_KEYS = [
  ...split("readTimeout idleTimeout udp udp.timeout udpTimeout header http.header proxyAgent"),
  ...split("http.proxyAgent authBasicRealm probeResist probe_resist knock auth.anyPassword"),
  // Without effect: every plain request has a connection of its own, bodies are not touched.
  ...split("keepalive http.keepalive compression http.compression hash"),
  ...UDP_BUFFER_KEYS,
  ...SNIFFING_KEYS,
];

export const HANDLER_KEYS: Readonly<Record<string, readonly string[]>> = {
  tungo: [...TUNGO_KEYS, ...TUNGO_KEYS_WITHOUT_EFFECT],
  relay: [
    ...split("readTimeout bind nodelay udp.bufferSize udpBufferSize udp.timeout udpTimeout hash"),
    ...split("auth.anyPassword"),
    ...MUX_KEYS,
    ...SNIFFING_KEYS,
  ],
  http: HTTP_KEYS,
  tcp: FORWARD_KEYS,
  udp: FORWARD_KEYS,
  forward: FORWARD_KEYS,
  socks5: SOCKS5_KEYS,
  auto: [...SOCKS5_KEYS, ...HTTP_KEYS],
};
export const LISTENER_KEYS: Readonly<Record<string, readonly string[]>> = {
  tungo: [...TUNGO_KEYS, ...TUNGO_KEYS_WITHOUT_EFFECT],
  tcp: [...LISTEN_KEYS, "reuseport"],
  tls: [...LISTEN_KEYS, "handshakeTimeout"],
  ws: [...LISTEN_KEYS, ...WS_KEYS],
  wss: [...LISTEN_KEYS, ...WS_KEYS],
  mtls: [...LISTEN_KEYS, "handshakeTimeout", ...MUX_KEYS],
  mws: [...LISTEN_KEYS, ...WS_KEYS, ...MUX_KEYS],
  mwss: [...LISTEN_KEYS, ...WS_KEYS, ...MUX_KEYS],
  udp: split(
    "backlog keepalive ttl keepalive.ttl readBufferSize udp.bufferSize readQueueSize",
    "recvQueueSize stateless readTimeout",
  ),
};
export const CONNECTOR_KEYS: Readonly<Record<string, readonly string[]>> = {
  relay: [...split("connectTimeout nodelay relay.network relay.grace relay.udp"), ...MUX_KEYS],
  socks5: [...split("timeout notls relay"), ...UDP_BUFFER_KEYS, "udp.timeout", ...MUX_KEYS],
  http: split("timeout header http.header"),
  forward: [],
  tcp: [],
  direct: split("action connectTimeout"),
};
export const DIALER_KEYS: Readonly<Record<string, readonly string[]>> = {
  tcp: TCP_KEYS,
  tls: [...TCP_KEYS, "handshakeTimeout"],
  ws: [...TCP_KEYS, ...WS_KEYS, ...WS_TCP_KEYS],
  wss: [...TCP_KEYS, ...WS_KEYS, ...WS_TCP_KEYS],
  mtls: [...TCP_KEYS, "handshakeTimeout", ...MUX_KEYS],
  mws: [...TCP_KEYS, ...WS_KEYS, ...WS_TCP_KEYS, ...MUX_KEYS],
  mwss: [...TCP_KEYS, ...WS_KEYS, ...WS_TCP_KEYS, ...MUX_KEYS],
  direct: TCP_KEYS,
  udp: [],
};

/** TLS and authentication keys of URLs, which are taken out before metadata is made of the rest. */
export const URL_KEYS = split(
  "auth authFile authEnv auth.file auth.env cert certFile key keyFile ca caFile secure serverName",
  "pin strategy maxFails max_fails failTimeout fail_timeout",
).flatMap((key) => [key, `tls.${key}`]);

function split(...lines: readonly string[]): readonly string[] {
  return lines.flatMap((line) => line.split(" "));
}
