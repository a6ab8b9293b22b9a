/**
 * Metadata keys of GOST's components as its documents and sources have them. A key that stands here
 * and not in keys.ts is no misspelling: it is accepted and has no effect, which a warning says. So
 * are what GOST's buffers (datagrams are not cut here), sniffers, observers and limiters take, and
 * multiplexing of connectors, which serves remote forwards.
 */

type Keys = Readonly<Record<string, readonly string[]>>;

function split(...lines: readonly string[]): readonly string[] {
  return lines.flatMap((line) => line.split(" "));
}

const MUX = split(
  "mux.type mux.version mux.keepaliveDisabled mux.keepaliveInterval mux.keepaliveTimeout",
  "mux.maxFrameSize mux.maxReceiveBuffer mux.maxStreamBuffer mux.maxStreamWindow",
);
const SNIFFING = split(
  "sniffing sniffing.timeout sniffing.responseTimeout sniffing.fallback sniffing.udp",
  "sniffing.websocket sniffing.websocket.sampleRate mitm.certFile mitm.keyFile mitm.caCertFile",
  "mitm.caKeyFile mitm.alpn mitm.bypass",
);
const OBSERVER = split(
  "observer.period observePeriod observer.observePeriod observer.resetTraffic",
  "limiter.refreshInterval limiter.cleanupInterval limiter.scope",
);
const DEVICE = split(
  "name net mtu dns gw route routes router peer guid tun.name tun.net tun.mtu tun.dns tun.gw",
  "tun.route tun.routes tun.router tun.peer tun.guid",
);
const TCP = split("mptcp keepalive keepalive.idle keepalive.interval keepalive.count");
const WS = split(
  "path host header handshakeTimeout readHeaderTimeout readBufferSize writeBufferSize",
  "enableCompression backlog keepalive keepaliveInterval ttl",
).flatMap((key) => [key, `ws.${key}`]);

const WS_TCP = TCP.slice(1).map((key) => `tcp.${key}`);

export const GOST_SERVICE_KEYS: readonly string[] = [...OBSERVER, "labels"];

const SOCKS = split(
  "udp bind notls readTimeout timeout udp.bufferSize udpBufferSize udp.bindRange.min",
  "udp.bindRange.max udp.minPort udp.maxPort udp.resolveDomain socks.publicAddr publicAddr comp",
  "hash tor enableTor socks5.tor skipauth",
);
const HTTP = split(
  "readTimeout idleTimeout udp udp.bufferSize udpBufferSize header http.header proxyAgent",
  "http.proxyAgent authBasicRealm probeResist probe_resist knock keepalive http.keepalive",
  "compression http.compression hash skipauth timeout",
);
const RELAY = split(
  "readTimeout bind nodelay udp.bufferSize udpBufferSize hash connectTimeout skipauth",
);
const FORWARD = split(
  "readTimeout idleTimeout stateless bufferSize readBufferSize udp.bufferSize proxyProtocol",
  "http.keepalive sniffing",
);

export const GOST_HANDLER_KEYS: Keys = {
  auto: [...SOCKS, ...HTTP, ...SNIFFING, ...MUX, ...OBSERVER],
  socks5: [...SOCKS, ...SNIFFING, ...MUX, ...OBSERVER],
  http: [...HTTP, ...SNIFFING, ...OBSERVER],
  relay: [...RELAY, ...SNIFFING, ...MUX, ...OBSERVER],
  tcp: [...FORWARD, ...SNIFFING],
  udp: [...FORWARD, ...SNIFFING],
  forward: [...FORWARD, ...SNIFFING],
  tun: split(
    "keepalive ttl passphrase token p2p bufferSize tun.keepalive tun.ttl tun.token tun.p2p tcp",
  ),
  tap: split("key bufferSize tcp"),
};
export const GOST_LISTENER_KEYS: Keys = {
  tcp: [...TCP, "reuseport"],
  tls: TCP,
  udp: split(
    "backlog keepalive ttl keepalive.ttl readBufferSize udp.bufferSize readQueueSize",
    "recvQueueSize stateless",
  ),
  ws: [...TCP, ...WS],
  wss: [...TCP, ...WS],
  mws: [...TCP, ...WS, ...MUX],
  mwss: [...TCP, ...WS, ...MUX],
  mtls: [...TCP, ...MUX, "backlog"],
  tun: DEVICE,
  tap: [...DEVICE, "componentID"],
};
export const GOST_CONNECTOR_KEYS: Keys = {
  relay: [...RELAY, ...MUX],
  socks5: split("timeout notls relay udp.bufferSize udpBufferSize udp.timeout").concat(MUX),
  http: split("timeout header http.header"),
  direct: split("action"),
  tcp: [],
  forward: [],
};
export const GOST_DIALER_KEYS: Keys = {
  tcp: TCP,
  tls: [...TCP, "handshakeTimeout"],
  udp: [],
  ws: [...TCP, ...WS, ...WS_TCP],
  wss: [...TCP, ...WS, ...WS_TCP],
  mws: [...TCP, ...WS, ...WS_TCP, ...MUX],
  mwss: [...TCP, ...WS, ...WS_TCP, ...MUX],
  mtls: [...TCP, ...MUX, "handshakeTimeout"],
  direct: TCP,
};
