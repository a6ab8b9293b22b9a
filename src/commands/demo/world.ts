/**
 * The little world of the demo and of the end-to-end tests, three namespaces:
 *
 *   client 10.77.1.2 ──── lan0 gateway wan0 ──── internet
 *   eth0  fd77:1::2       TUN, tsgost            relay server 198.51.100.1
 *                                                web, echo    203.0.113.10, 2001:db8:113::10
 *                                                DNS          203.0.113.53, 2001:db8:113::53
 *                                                unreachable  203.0.113.200
 *                                                dead silent  203.0.113.99, 2001:db8:113::99
 *
 * The gateway forwards what the client sends into the TUN, by the routes that `--route default`
 * sets; tsgost's own sockets leave by wan0. The internet's default route leads nowhere.
 */
import { Lab, type Namespace } from "./namespace.ts";

export const PLACES = {
  client4: "10.77.1.2",
  client6: "fd77:1::2",
  relay: "198.51.100.1",
  web4: "203.0.113.10",
  web6: "2001:db8:113::10",
  dns4: "203.0.113.53",
  dns6: "2001:db8:113::53",
  unreachable4: "203.0.113.200",
  unreachable6: "2001:db8:113::200",
  dead4: "203.0.113.99",
  dead6: "2001:db8:113::99",
  tunNet: "192.168.123.1/24,fd7b:123::1/64",
} as const;

export const PORTS = { web: 80, echo: 7, dns: 53, closed: 81, relay: 443 } as const;

/** A gateway behind a TUN has to look at packets as they are, not at where answers would go. */
const SYSCTLS = [
  "for each in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 0 > $each; done",
  "echo 0 > /proc/sys/net/ipv6/conf/all/accept_dad",
  "echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad",
].join(" && ");

const FORWARD = [
  "echo 1 > /proc/sys/net/ipv4/ip_forward",
  "echo 1 > /proc/sys/net/ipv6/conf/all/forwarding",
].join(" && ");

export interface World {
  readonly client: Namespace;
  readonly gateway: Namespace;
  readonly internet: Namespace;
  close(): Promise<void>;
}

/** Makes the namespaces, links, addresses and routes; on an error nothing is left. */
export async function buildWorld(kind: "root" | "user"): Promise<World> {
  const lab = new Lab(kind);
  try {
    const client = await lab.namespace("client");
    const [gateway, internet] = await Promise.all([
      lab.namespace("gateway"),
      lab.namespace("internet"),
    ]);
    for (const one of [client, gateway, internet]) await one.must("sh", "-c", SYSCTLS);
    for (const one of [gateway, internet]) await one.must("sh", "-c", FORWARD);
    await linkClient(client, gateway);
    await linkInternet(gateway, internet);
    await furnish(internet);
    return { client, gateway, internet, close: () => lab.close() };
  } catch (error) {
    await lab.close();
    throw error;
  }
}

async function linkClient(client: Namespace, gateway: Namespace): Promise<void> {
  await client.ip(
    `link add name eth0 type veth peer name lan0 netns ${gateway.pid}`,
    "link set eth0 mtu 1420 up",
    `addr add ${PLACES.client4}/24 dev eth0`,
    `addr add ${PLACES.client6}/64 dev eth0 nodad`,
  );
  await gateway.ip(
    "link set lan0 mtu 1420 up",
    "addr add 10.77.1.1/24 dev lan0",
    "addr add fd77:1::1/64 dev lan0 nodad",
  );
  await client.ip("route add default via 10.77.1.1", "route add default via fd77:1::1");
}

async function linkInternet(gateway: Namespace, internet: Namespace): Promise<void> {
  await gateway.ip(
    `link add name wan0 type veth peer name eth0 netns ${internet.pid}`,
    "link set wan0 up",
    "addr add 10.77.2.2/24 dev wan0",
    "addr add fd77:2::2/64 dev wan0 nodad",
  );
  await internet.ip(
    "link set eth0 up",
    "addr add 10.77.2.1/24 dev eth0",
    "addr add fd77:2::1/64 dev eth0 nodad",
  );
  await gateway.ip("route add default via 10.77.2.1", "route add default via fd77:2::1");
}

async function furnish(internet: Namespace): Promise<void> {
  const own = [PLACES.relay, PLACES.web4, PLACES.dns4].map((ip) => `addr add ${ip}/32 dev lo`);
  const own6 = [PLACES.web6, PLACES.dns6].map((ip) => `addr add ${ip}/128 dev lo nodad`);
  await internet.ip(
    ...own,
    ...own6,
    `route add unreachable ${PLACES.unreachable4}/32`,
    `route add unreachable ${PLACES.unreachable6}/128`,
    // A host that swallows everything: frames to a station that the other end of the cable is not.
    "link add name void0 type veth peer name void1",
    "link set void0 up",
    "link set void1 up",
    `route add ${PLACES.dead4}/32 dev void0`,
    `route add ${PLACES.dead6}/128 dev void0`,
    `neigh add ${PLACES.dead4} lladdr 02:00:00:00:00:99 dev void0 nud permanent`,
    `neigh add ${PLACES.dead6} lladdr 02:00:00:00:00:99 dev void0 nud permanent`,
  );
}

/**
 * Devices, routes and rules of a namespace, one a line: equal before and after, or something
 * stays.
 */
export async function inventory(namespace: Namespace): Promise<string[]> {
  const texts = await Promise.all([
    namespace.must("ip", "-brief", "link"),
    namespace.must("ip", "-4", "route", "show", "table", "all"),
    namespace.must("ip", "-6", "route", "show", "table", "all"),
    namespace.must("ip", "-4", "rule"),
    namespace.must("ip", "-6", "rule"),
  ]);
  return texts
    .join("\n")
    .split("\n")
    .map((line) =>
      line
        .replace(/ expires \d+sec/, "")
        .replace(/\s+/g, " ")
        .trim(),
    )
    .filter((line) => line !== "" && !line.startsWith("multicast "))
    .sort();
}
