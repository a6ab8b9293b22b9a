/**
 * A chain: hops of nodes, of which each connection takes one a hop (hop.ts), and travels them
 * (travel.ts); the last connector asks for the destination.
 *
 * Fails closed: whatever is missing (a node, an unknown scheme, a device, an answer) fails the
 * connection or the start. Only a bypass leaves hops out: the hop that it matches and all behind
 * it, so that the node before reaches the destination itself; at the first hop, this machine does.
 *
 * Deadlines: `timeoutMs` of the call or 30 s for everything, 15 s for each node's handshakes.
 */
import { metaString } from "../config/metadata.ts";
import type { ChainConfig } from "../config/model.ts";
import { configError } from "../errors.ts";
import type { Logger } from "../log.ts";
import type { MaskFunction } from "../proto/ws.ts";
import type { BypassHit } from "../types.ts";
import { Deadline } from "./deadline.ts";
import { openDirectDatagrams } from "./direct-datagrams.ts";
import { ChainError, asChainError } from "./errors.ts";
import { Hop, type HopNode, type HopParts, type MatcherView } from "./hop.ts";
import { type RouteRequest, topOf } from "./hop.ts";
import { DIRECT, connectorOf, connectorSchemes, dialerOf, dialerSchemes } from "./list.ts";
import { type Target, hostsOf } from "./rules.ts";
import { SocketStream } from "./socket-stream.ts";
import { type LoopCheck, dialTcp, inOrder, resolveHost } from "./socket.ts";
import { type Leg, Traveller, addressOf, refuseRejected } from "./travel.ts";
import type {
  Chain,
  DialContext,
  Endpoint,
  NodeContext,
  NodeCounters,
  Transport,
  UpDatagrams,
  UpStream,
} from "./types.ts";

export interface ChainOptions extends HopParts {
  readonly log: Logger;
  /** Masks WebSocket payload; the default is plain JavaScript. */
  readonly mask?: MaskFunction;
  /** Keeps first sockets out of our own devices. */
  readonly loopTo?: LoopCheck;
  readonly counters?: NodeCounters;
}

/** The nodes of one connection. */
export interface Route {
  readonly legs: readonly Leg[];
  /** Set: a bypass left this hop and all behind it out; without legs the way is direct. */
  readonly skipped?: Skip;
}

export interface Skip {
  /** Index of the hop. */
  readonly hop: number;
  readonly by: "hop" | "node";
  readonly hit: BypassHit;
}

/** What a hop would do with a destination, for people. */
export interface HopView {
  readonly hop: string;
  /** The nodes that may be used, the one whose turn it is first. */
  readonly nodes: readonly string[];
  /** What matchers and filters of its nodes say, if there are any. */
  readonly matchers?: readonly MatcherView[];
  readonly skipped?: { readonly by: "hop" | "node"; readonly hit: BypassHit };
}

const TOTAL_MS = 30_000;

/** Checks the whole chain and makes it; throws a configuration error. Nothing is dialled yet. */
export function buildChain(config: ChainConfig, options: ChainOptions): HopChain {
  return new HopChain(config, options);
}

export class HopChain implements Chain {
  readonly name: string;
  /** Whether the way may depend on the destination. */
  readonly hasRules: boolean;
  readonly #hops: readonly Hop[];
  readonly #options: ChainOptions;
  readonly #traveller: Traveller;
  readonly #closed = new AbortController();

  constructor(config: ChainConfig, options: ChainOptions) {
    this.name = config.name;
    this.#options = options;
    const { log, mask, loopTo, counters } = options;
    this.#traveller = new Traveller({ chain: config.name, log, mask, loopTo, counters });
    this.#hops = config.hops.map((hop) => new Hop(hop, options));
    this.hasRules = this.#hops.some((hop) => hop.hasRules);
    for (const [index, hop] of this.#hops.entries()) checkHop(hop, index);
  }

  async connect(destination: Endpoint, context: DialContext): Promise<UpStream> {
    const route = this.route(requestOf("tcp", destination));
    if (route.legs.length > 0) return this.connectBy(route, destination, context);
    const limit = this.#limit(context);
    const { loopTo } = this.#options;
    const { signal } = limit;
    try {
      const socket = await dialTcp({ ...destination, loopTo, signal, party: "destination" });
      return new SocketStream(socket);
    } finally {
      limit.end();
    }
  }

  async datagrams(context: DialContext): Promise<UpDatagrams> {
    const route = this.route(requestOf("udp", { host: "", port: 0 }));
    if (route.legs.length > 0) return this.datagramsBy(route, context);
    const { loopTo } = this.#options;
    return openDirectDatagrams({ loopTo });
  }

  /** One node a hop; throws a ChainError where a hop has none and no bypass says so. */
  route(request: RouteRequest): Route {
    const legs: Leg[] = [];
    for (const [index, hop] of this.#hops.entries()) {
      const { nodes, skipped } = hop.candidates(request);
      if (skipped !== undefined) return { legs, skipped: { ...skipped, hop: index } };
      const node = hop.choose(nodes, request);
      if (node === undefined) throw this.#noNode(hop);
      legs.push(legOf(node));
    }
    if (legs.length === 0) throw this.#noNode(undefined);
    return { legs };
  }

  /** Why the first hop is left out for this target, so that the way is direct. */
  directHit(target: Target): BypassHit | undefined {
    return this.#hops[0]?.candidates(target).skipped?.hit;
  }

  /** Whether a route that stands may serve this target too. */
  admits(route: Route, target: Target): boolean {
    for (const [index, hop] of this.#hops.entries()) {
      const { nodes, skipped } = hop.candidates(target);
      const leg = route.legs[index];
      if (skipped !== undefined || leg === undefined) {
        return skipped !== undefined && leg === undefined;
      }
      if (!topOf(nodes).includes(leg.node)) return false;
    }
    return true;
  }

  async connectBy(route: Route, destination: Endpoint, context: DialContext): Promise<UpStream> {
    const { legs } = route;
    const last = lastOf(legs);
    const limit = this.#limit(context);
    const { signal } = limit;
    try {
      if (last.connector === undefined) {
        return await this.#traveller.dial(destination, last, signal, "destination");
      }
      const transport = await this.#traveller.arrive(legs, signal);
      try {
        const nodeContext = this.#traveller.context(last, signal, false);
        return await last.connector.connect(transport, last.node.config, destination, nodeContext);
      } catch (error) {
        transport.reset();
        throw this.#traveller.failed(error, last);
      }
    } finally {
      limit.end();
    }
  }

  async datagramsBy(route: Route, context: DialContext): Promise<UpDatagrams> {
    const limit = this.#limit(context);
    try {
      return await this.#datagrams(route.legs, limit.signal);
    } finally {
      limit.end();
    }
  }

  async #datagrams(legs: readonly Leg[], signal: AbortSignal): Promise<UpDatagrams> {
    const last = lastOf(legs);
    if (last.connector === undefined) {
      refuseRejected(last);
      return this.#directDatagrams(last);
    }
    if (last.connector.datagrams === undefined) {
      const message = `connector ${last.connector.scheme} of ${last.node.config.name} has no UDP`;
      throw new ChainError(message, { reason: "prohibited", party: "proxy" });
    }
    const before = legs.slice(0, -1);
    const open = (inner: AbortSignal): Promise<Transport> => this.#traveller.arrive(legs, inner);
    const nodeContext: NodeContext = {
      ...this.#traveller.context(last, signal, false),
      toNode: {
        isDirect: before.length === 0,
        ...(before.length > 0
          ? {}
          : { connect: (inner) => this.#traveller.dialDatagrams(last, inner) }),
        resolve: (host, inner) =>
          resolveHost(host, inOrder(last.node.names, last.node.system), inner),
        open: async (inner) =>
          before.length > 0 ? this.#datagrams(before, inner) : this.#directDatagrams(last),
      },
    };
    try {
      return await last.connector.datagrams(open, last.node.config, nodeContext);
    } catch (error) {
      throw this.#traveller.failed(error, last);
    }
  }

  #directDatagrams({ local, node }: Leg): UpDatagrams {
    const { loopTo } = this.#options;
    const names = inOrder(node.names, node.system);
    return openDirectDatagrams({ ...local, names, loopTo });
  }

  /** What each hop would do with a target; no counter moves. */
  view(request: RouteRequest): readonly HopView[] {
    const views: HopView[] = [];
    for (const hop of this.#hops) {
      const { nodes, skipped } = hop.candidates(request);
      const first = hop.choose(nodes, request, true);
      const ordered = [...nodes].sort((one, two) => Number(two === first) - Number(one === first));
      const names = ordered.map((node) => nodeText(hop, node));
      const matchers = hop.matchers(request);
      const told = matchers.length === 0 || skipped?.by === "hop" ? {} : { matchers };
      const view = { hop: hop.config.name, nodes: names, ...told };
      views.push(skipped === undefined ? view : { ...view, skipped });
      if (names.length === 0) break;
    }
    return views;
  }

  describe(): readonly string[] {
    return this.#hops.flatMap((hop) => hop.nodes.map((node) => nodeText(hop, node)));
  }

  close(): void {
    this.#closed.abort(
      new ChainError("the chain was closed", { reason: "aborted", party: "proxy" }),
    );
    for (const hop of this.#hops) for (const node of hop.nodes) node.memory.close();
  }

  #limit(context: DialContext): Deadline {
    return new Deadline(context.timeoutMs ?? TOTAL_MS, [context.signal, this.#closed.signal]);
  }

  #noNode(hop: Hop | undefined): ChainError {
    const message =
      hop === undefined
        ? `chain ${this.name} has no hops`
        : `hop ${hop.config.name} of chain ${this.name} has no node`;
    return new ChainError(message, { reason: "network-unreachable", party: "proxy" });
  }
}

/** A request about which nothing is known but the destination itself. */
function requestOf(network: "tcp" | "udp", { host, port }: Endpoint): RouteRequest {
  return { network, hosts: hostsOf(host), port };
}

function lastOf(legs: readonly Leg[]): Leg {
  const last = legs.at(-1);
  if (last === undefined) throw asChainError(new Error("no node"), "proxy", "chain");
  return last;
}

function legOf(node: HopNode): Leg {
  const { connector, dialer } = node.config;
  const isDirect = connector.type === DIRECT;
  return {
    node,
    local: node.local,
    dialer: isDirect ? undefined : dialerOf(dialer.type),
    connector: isDirect ? undefined : connectorOf(connector.type),
  };
}

function nodeText(hop: Hop, { config, local }: HopNode): string {
  const { device, mark } = local;
  const by = device === undefined ? "" : ` interface ${device}`;
  const marked = mark === undefined ? "" : ` mark ${mark}`;
  const scheme = `${config.connector.type}+${config.dialer.type}`;
  return `${hop.config.name}/${config.name}: ${scheme} ${config.addr}${by}${marked}`;
}

/** Schemes, addresses and options of all nodes of a hop. */
function checkHop(hop: Hop, index: number): void {
  for (const { config, memory } of hop.nodes) {
    const { place } = config;
    if (config.connector.type === DIRECT) {
      const action = metaString(config.connector.metadata, "action");
      if (action !== "" && action.toLowerCase() !== "reject") {
        throw configError(place, `action: ${JSON.stringify(action)} is unknown (there is reject)`);
      }
      if (index === 0) continue;
      throw configError(place, "direct is possible in the first hop only");
    }
    const dialer = dialerOf(config.dialer.type);
    if (dialer === undefined) {
      const known = dialerSchemes().join(", ");
      throw configError(place, `dialer "${config.dialer.type}" is unknown (known: ${known})`);
    }
    const connector = connectorOf(config.connector.type);
    if (connector === undefined) {
      const known = connectorSchemes().join(", ");
      throw configError(place, `connector "${config.connector.type}" is unknown (known: ${known})`);
    }
    if (addressOf(config).port === 0) throw configError(place, `"${config.addr}" has no port`);
    dialer.prepare?.(config, memory);
    connector.prepare?.(config, memory);
  }
}
