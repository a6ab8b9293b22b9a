/**
 * The dialer `udp`: datagrams to the node, for connectors that hand out the node's own connection
 * (forward.ts). It is the only node of its chain (config/start.ts), and there is no TCP over it:
 * that is refused before anything is dialled (travel.ts).
 */
import { tcpOverUdp } from "./errors.ts";
import type { Dialer } from "./types.ts";

export const udpDialer: Dialer = {
  scheme: "udp",
  isDatagram: true,
  handshake: (_raw, node) => Promise.reject(tcpOverUdp(node.name)),
};
