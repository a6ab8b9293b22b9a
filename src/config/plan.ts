/** What a configuration would make, line by line, for --dry-run. Passwords are left out. */
import type { ChainConfig, Config, HopConfig, Metadata, ServiceConfig } from "./model.ts";
import { metaInt, metaString } from "./metadata.ts";
import {
  covers,
  formatCidr,
  formatIp,
  parseCidr,
  parseHostPort,
  parseNetwork,
  subtractNet,
} from "./net.ts";
import type { Cidr } from "./net.ts";
import { tungoOptions } from "./tungo.ts";
import type { Route, TungoOptions } from "./tungo.ts";

const LOOPBACK = ["127.0.0.0/8", "::1/128"].flatMap((text) => parseCidr(text) ?? []);

/** The routes into the device after the excluded networks were cut out. */
export function effectiveRoutes(options: TungoOptions): Route[] {
  return options.routes.flatMap((route) =>
    subtractNet(route.dst, options.excludes).map((dst) => ({ ...route, dst })),
  );
}

/**
 * Whether flows could breed flows: routes lead into the device, and sockets of our own that nothing
 * keeps out of it (`interface`, `so_mark`) go to addresses that the routes cover.
 */
export function mayLoop(options: TungoOptions, chains: readonly ChainConfig[]): boolean {
  const routes = effectiveRoutes(options).map(({ dst }) => dst);
  if (routes.length === 0) return false;
  if (chains.length === 0) return options.interface === undefined && options.soMark === undefined;
  return chains.some((chain) => mayEnter(chain, routes));
}

/** Whether the first sockets of a chain could be routed into the device. */
function mayEnter({ hops }: ChainConfig, routes: readonly Cidr[]): boolean {
  const [first] = hops;
  if (first === undefined) return false;
  return first.nodes.some((node) => {
    if (isBound(first.metadata) || isBound(node.metadata)) return false;
    const server = parseNetwork(parseHostPort(node.addr)?.host ?? "");
    // The kernel keeps a table of its own for these, before all routes.
    if (server !== undefined && LOOPBACK.some((net) => covers(net, server))) return false;
    return server === undefined || routes.some((route) => covers(route, server));
  });
}

function isBound(metadata: Metadata): boolean {
  return metaString(metadata, "interface") !== "" || metaInt(metadata, "so_mark") > 0;
}

/** One line for each device, address, route, socket and hop. */
export function planOf(config: Config): string[] {
  const used = new Set<string>();
  const lines = config.services.flatMap((service) => {
    for (const name of chainsOf(service)) used.add(name);
    return service.handler.type === "tungo" ? devicePlan(service) : socketPlan(service);
  });
  for (const chain of config.chains) {
    if (!used.has(chain.name)) continue;
    const hops = chain.hops.map(hopText);
    lines.push(`chain ${chain.name}: ${hops.join(" -> ")}`);
  }
  return lines;
}

/** The chain of a service and those of its group. */
export function serviceChains(service: ServiceConfig, config: Config): ChainConfig[] {
  const names = chainsOf(service);
  return config.chains.filter(({ name }) => names.includes(name));
}

function chainsOf({ handler, listener }: ServiceConfig): string[] {
  const group = handler.chainGroup?.chains.map(({ chain }) => chain) ?? [];
  const own = handler.chain ?? listener.chain;
  return own === undefined ? group : [own, ...group];
}

function devicePlan(service: ServiceConfig): string[] {
  const { options } = tungoOptions(service);
  const { name, mtu, vnet, nets, dns } = options;
  const chains = chainsOf(service);
  const routes = effectiveRoutes(options);
  const source = options.tunFd === undefined ? "" : ` from descriptor ${options.tunFd}`;
  const bare = nets.length === 0 && routes.length === 0;
  return [
    `service ${service.name}: device ${name}${source}, mtu ${mtu}, vnet ${vnet ? "on" : "off"}`,
    ...nets.map((net) => `  address ${formatCidr(net)} dev ${name}`),
    `  link ${name} up${bare ? " (addresses and routes are yours to set)" : ""}`,
    ...routes.map((route) => `  route ${routeText(route.dst, route)} dev ${name}`),
    ...options.excludes.map((net) => `  not routed: ${formatCidr(net)}`),
    ...dns.map((address) => `  dns ${formatIp(address)}`),
    `  flows go ${chains.length === 0 ? directText(options) : `through ${chains.join(" or ")}`}`,
  ];
}

function routeText(dst: Cidr, route: Route): string {
  const via = route.gw === undefined ? "" : ` via ${formatIp(route.gw)}`;
  return formatCidr(dst) + via;
}

function directText(options: TungoOptions): string {
  return `direct${outText(options.interface, options.soMark)}`;
}

function outText(device: string | undefined, mark: number | undefined): string {
  const by = device === undefined || device === "" ? "" : ` by ${device}`;
  return by + (mark === undefined ? "" : ` with mark ${mark}`);
}

function socketPlan(service: ServiceConfig): string[] {
  const { handler, listener, name, addr, metadata } = service;
  const auth = handler.auths === undefined ? "no authentication" : "with authentication";
  const chains = chainsOf(service);
  const isDirect = chains.length === 0;
  const way = isDirect ? "direct" : `through ${chains.join(" or ")}`;
  const by = outText(metaString(metadata, "interface"), undefined);
  return [
    `service ${name}: ${handler.type} on ${listener.type} ${addr}, ${auth}`,
    `  flows go ${way}${isDirect ? by : ""}`,
  ];
}

function hopText(hop: HopConfig): string {
  const by = outText(metaString(hop.metadata, "interface"), undefined);
  const nodes = hop.nodes.map(
    (node) => `${node.connector.type}+${node.dialer.type}://${node.addr}`,
  );
  const { bypasses = [] } = hop;
  const bypass = bypasses.length === 0 ? "" : ` unless ${bypasses.join(", ")} bypasses`;
  return `${nodes.join(" or ")}${by}${bypass}`;
}
