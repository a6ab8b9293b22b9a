/**
 * The explicit list of dialers and connectors: a new one is one file and one line here.
 * `direct` is no protocol: a first node of that kind dials the destination itself (chain.ts).
 */
import { forwardConnector, tcpConnector } from "./forward.ts";
import { httpConnector } from "./http.ts";
import { keepAliveOf } from "./keep-alive.ts";
import { mtlsDialer, mwsDialer, mwssDialer } from "./mux-dialer.ts";
import { relayConnector } from "./relay-connector.ts";
import { socks5Connector } from "./socks5-connector.ts";
import { tlsDialer } from "./tls.ts";
import type { Connector, Dialer } from "./types.ts";
import { udpDialer } from "./udp.ts";
import { wsDialer, wssDialer } from "./ws-dialer.ts";

const tcpDialer: Dialer = {
  scheme: "tcp",
  handshake: (raw, node) => {
    keepAliveOf(raw, node.dialer.metadata);
    return Promise.resolve(raw);
  },
};

const DIALERS: readonly Dialer[] = [
  tcpDialer,
  tlsDialer,
  wsDialer,
  wssDialer,
  mtlsDialer,
  mwsDialer,
  mwssDialer,
  udpDialer,
];
const CONNECTORS: readonly Connector[] = [
  relayConnector,
  socks5Connector,
  httpConnector,
  forwardConnector,
  tcpConnector,
];

export const DIRECT = "direct";

export function dialerOf(scheme: string): Dialer | undefined {
  return DIALERS.find((dialer) => dialer.scheme === scheme);
}

export function connectorOf(scheme: string): Connector | undefined {
  return CONNECTORS.find((connector) => connector.scheme === scheme);
}

export function dialerSchemes(): readonly string[] {
  return DIALERS.map((dialer) => dialer.scheme);
}

export function connectorSchemes(): readonly string[] {
  return [...CONNECTORS.map((connector) => connector.scheme), DIRECT];
}
