/**
 * The connectors `forward` and `tcp`: the node's connection is handed out unchanged, whatever the
 * destination is. For nodes that lead to one place by themselves. Over the dialer `udp` they carry
 * datagrams, over all others streams.
 */
import { ChainError } from "./errors.ts";
import { LaneDatagrams } from "./lane-datagrams.ts";
import type { Connector } from "./types.ts";

export const forwardConnector: Connector = {
  scheme: "forward",
  connect: (transport) => Promise.resolve(transport),
  datagrams: (_open, { name, connector, dialer }, { toNode }) => {
    if (dialer.type === "udp" && toNode?.connect !== undefined) {
      return Promise.resolve(new LaneDatagrams(toNode.connect));
    }
    const why = `connector ${connector.type} of ${name} has no UDP over the dialer ${dialer.type}`;
    return Promise.reject(new ChainError(why, { reason: "prohibited", party: "proxy" }));
  },
};

export const tcpConnector: Connector = { ...forwardConnector, scheme: "tcp" };
