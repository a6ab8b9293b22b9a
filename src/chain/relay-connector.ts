/** The connector `relay`: streams by CONNECT, datagrams by association or CONNECT. */
import { openRelayDatagrams } from "./relay-datagrams.ts";
import { relayConnect } from "./relay.ts";
import type { Connector } from "./types.ts";

export const relayConnector: Connector = {
  scheme: "relay",
  connect: (transport, node, destination, context) =>
    relayConnect(transport, node, { destination, udp: false }, context),
  datagrams: openRelayDatagrams,
};
