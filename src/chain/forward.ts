/**
 * The connectors `forward` and `tcp`: the node's connection is handed out unchanged, whatever the
 * destination is. For nodes that lead to one place by themselves.
 */
import type { Connector } from "./types.ts";

export const forwardConnector: Connector = {
  scheme: "forward",
  connect: (transport) => Promise.resolve(transport),
};

export const tcpConnector: Connector = { ...forwardConnector, scheme: "tcp" };
