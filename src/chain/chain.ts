/**
 * A chain: hops of nodes, travelled for each connection. The first node is dialled with a socket of
 * ours (device, mark), each further one through the connector of the node before; the last
 * connector asks for the destination.
 *
 * Fails closed: whatever is missing (a node, an unknown scheme, a device) fails the connection or
 * the start; nothing ever goes direct unless a node says `direct`.
 *
 * Deadlines: `timeoutMs` of the call or 30 s for everything, 15 s for the first node's socket and
 * handshakes. Failures of proxies are logged once per cause and minute with what to do.
 */
import { metaDurationMs, metaInt, metaString } from "../config/metadata.ts";
import type { ChainConfig } from "../config/model.ts";
import { joinHostPort, parseHostPort } from "../config/net.ts";
import { configError } from "../errors.ts";
import type { Logger } from "../log.ts";
import type { MaskFunction } from "../proto/ws.ts";
import { Deadline } from "./deadline.ts";
import { openDirectDatagrams } from "./direct-datagrams.ts";
import { ChainError, abortError, asChainError } from "./errors.ts";
import { Hop, type HopNode } from "./hop.ts";
import { DIRECT, connectorOf, connectorSchemes, dialerOf, dialerSchemes } from "./list.ts";
import { SocketStream } from "./socket-stream.ts";
import { dialTcp, type LoopCheck } from "./socket.ts";
import type {
  Chain,
  Connector,
  DialContext,
  Dialer,
  Endpoint,
  NodeContext,
  Transport,
  UpDatagrams,
  UpStream,
} from "./types.ts";

export interface ChainOptions {
  readonly log: Logger;
  /** Masks WebSocket payload; the default is plain JavaScript. */
  readonly mask?: MaskFunction;
  /** Keeps first sockets out of our own devices. */
  readonly loopTo?: LoopCheck;
}

const TOTAL_MS = 30_000;
const DIAL_MS = 15_000;
const LOG_PERIOD_MS = 60_000;

/** Checks the whole chain and makes it; throws a configuration error. Nothing is dialled yet. */
export function buildChain(config: ChainConfig, options: ChainOptions): Chain {
  return new HopChain(config, options);
}

/** One node of a route, ready to be used. */
interface Leg {
  readonly hop: Hop;
  readonly node: HopNode;
  /** undefined for `direct`. */
  readonly dialer: Dialer | undefined;
  readonly connector: Connector | undefined;
}

class HopChain implements Chain {
  readonly name: string;
  readonly #hops: readonly Hop[];
  readonly #options: ChainOptions;
  readonly #closed = new AbortController();

  constructor(config: ChainConfig, options: ChainOptions) {
    this.name = config.name;
    this.#options = options;
    this.#hops = config.hops.map((hop) => new Hop(hop));
    for (const [index, hop] of this.#hops.entries()) checkHop(hop, index);
  }

  async connect(destination: Endpoint, context: DialContext): Promise<UpStream> {
    const limit = this.#limit(context);
    try {
      return await this.#connect(destination, limit.signal);
    } finally {
      limit.end();
    }
  }

  async #connect(destination: Endpoint, signal: AbortSignal): Promise<UpStream> {
    const legs = this.#route(destination);
    const last = legs[legs.length - 1];
    if (last?.connector === undefined) {
      return this.#dialFirst(last, destination, signal, "destination");
    }
    const transport = await this.#travel(legs, signal);
    try {
      const nodeContext = this.#nodeContext(last, signal, false);
      return await last.connector.connect(transport, last.node.config, destination, nodeContext);
    } catch (error) {
      transport.reset();
      throw this.#failed(error, last);
    }
  }

  async datagrams(context: DialContext): Promise<UpDatagrams> {
    const limit = this.#limit(context);
    try {
      return await this.#datagrams(this.#route({ host: "", port: 0 }), limit.signal);
    } finally {
      limit.end();
    }
  }

  async #datagrams(legs: readonly Leg[], signal: AbortSignal): Promise<UpDatagrams> {
    const last = legs[legs.length - 1];
    if (last?.connector === undefined) {
      return openDirectDatagrams(last === undefined ? {} : localEnd(last));
    }
    if (last.connector.datagrams === undefined) {
      const message = `connector ${last.connector.scheme} of ${last.node.config.name} has no UDP`;
      throw new ChainError(message, { reason: "prohibited", party: "proxy" });
    }
    const open = (inner: AbortSignal): Promise<Transport> => this.#travel(legs, inner);
    const before = legs.slice(0, -1);
    const nodeContext: NodeContext = {
      ...this.#nodeContext(last, signal, false),
      toNode: {
        isDirect: before.length === 0,
        open: (inner) =>
          before.length > 0
            ? this.#datagrams(before, inner)
            : Promise.resolve(openDirectDatagrams(localEnd(last))),
      },
    };
    try {
      return await last.connector.datagrams(open, last.node.config, nodeContext);
    } catch (error) {
      throw this.#failed(error, last);
    }
  }

  describe(): readonly string[] {
    return this.#hops.flatMap((hop) =>
      hop.nodes.map(({ config }) => {
        const { device, mark } = localEnd({ hop, node: { config } });
        const by = device === undefined ? "" : ` interface ${device}`;
        const marked = mark === undefined ? "" : ` mark ${mark}`;
        const scheme = `${config.connector.type}+${config.dialer.type}`;
        return `${hop.config.name}/${config.name}: ${scheme} ${config.addr}${by}${marked}`;
      }),
    );
  }

  close(): void {
    this.#closed.abort(
      new ChainError("the chain was closed", { reason: "aborted", party: "proxy" }),
    );
    for (const hop of this.#hops) for (const { memory } of hop.nodes) memory.close();
  }

  #limit(context: DialContext): Deadline {
    return new Deadline(context.timeoutMs ?? TOTAL_MS, [context.signal, this.#closed.signal]);
  }

  /** One node a hop; throws if a hop has none. */
  #route(destination: Endpoint): readonly Leg[] {
    const key = joinHostPort(destination.host, destination.port);
    return this.#hops.map((hop) => {
      const node = hop.select(key);
      if (node === undefined) {
        const message = `hop ${hop.config.name} of chain ${this.name} has no node`;
        throw new ChainError(message, { reason: "network-unreachable", party: "proxy" });
      }
      const { connector, dialer } = node.config;
      return {
        hop,
        node,
        dialer: dialerOf(dialer.type),
        connector: connector.type === DIRECT ? undefined : connectorOf(connector.type),
      };
    });
  }

  /** A transport to the last node, through all before it. */
  async #travel(legs: readonly Leg[], outer: AbortSignal): Promise<Transport> {
    let transport: Transport | undefined;
    let current: Leg | undefined;
    try {
      // What lies before a multiplexing node is travelled for its session only.
      const start = Math.max(0, legs.map(isMux).lastIndexOf(true));
      let before = legs[start - 1];
      for (const leg of legs.slice(start)) {
        current = leg;
        transport = isMux(leg)
          ? await this.#muxStream(legs.slice(0, start + 1), outer)
          : await this.#step(transport, before, leg, outer);
        before = leg;
      }
    } catch (error) {
      transport?.reset();
      if (outer.aborted && !isTimeout(outer.reason)) {
        throw abortError(outer, "proxy", `chain ${this.name}`);
      }
      current?.node.markFailed();
      throw this.#failed(error, current);
    }
    if (transport === undefined) throw new Error("a route without nodes was travelled");
    return transport;
  }

  /** From the node before (undefined: from here) to `leg`, handshake included. */
  async #step(
    transport: Transport | undefined,
    before: Leg | undefined,
    leg: Leg,
    outer: AbortSignal,
  ): Promise<Transport | undefined> {
    const { dialer, connector, node } = leg;
    if (connector === undefined || dialer === undefined) return transport;
    const dialMs = metaDurationMs(node.config.metadata, "dialTimeout", DIAL_MS);
    const limit = new Deadline(Math.max(1, dialMs), [outer]);
    const { signal } = limit;
    try {
      const raw = await this.#rawTo(transport, before, leg, signal);
      try {
        const nodeContext = this.#nodeContext(leg, signal, true);
        const stream = await dialer.handshake(raw, node.config, nodeContext);
        node.markGood();
        return stream;
      } catch (error) {
        raw.reset();
        throw error;
      }
    } finally {
      limit.end();
    }
  }

  /** The connection to `leg`, through the node before or by a socket of ours. */
  #rawTo(
    transport: Transport | undefined,
    before: Leg | undefined,
    leg: Leg,
    signal: AbortSignal,
  ): Promise<Transport> {
    const address = addressOf(leg);
    if (transport === undefined || before?.connector === undefined) {
      return this.#dialFirst(before ?? leg, address, signal, "proxy", leg);
    }
    const context = this.#nodeContext(before, signal, true);
    return before.connector.connect(transport, before.node.config, address, context);
  }

  /** A stream to the last of `legs`, whose dialer multiplexes. */
  async #muxStream(legs: readonly Leg[], signal: AbortSignal): Promise<Transport | undefined> {
    const [before, leg] = [legs[legs.length - 2], legs[legs.length - 1]];
    const { node, dialer } = leg ?? {};
    if (leg === undefined || node === undefined || dialer?.stream === undefined) return undefined;
    const open = async (own: AbortSignal): Promise<Transport> => {
      const outward = before?.connector === undefined ? [] : legs.slice(0, -1);
      const transport = outward.length === 0 ? undefined : await this.#travel(outward, own);
      return this.#rawTo(transport, before, leg, own).catch((error: unknown) => {
        transport?.reset();
        throw error;
      });
    };
    const stream = await dialer.stream(node.config, this.#nodeContext(leg, signal, true), open);
    node.markGood();
    return stream;
  }

  /** A socket of ours to `address`, by the device and mark of `by`. */
  async #dialFirst(
    by: Leg | undefined,
    address: Endpoint,
    signal: AbortSignal,
    party: "proxy" | "destination",
    to?: Leg,
  ): Promise<SocketStream> {
    const startMs = performance.now();
    const socket = await dialTcp({
      ...address,
      ...(by === undefined ? {} : localEnd(by)),
      loopTo: this.#options.loopTo,
      signal,
      party,
    });
    to?.node.memory.addRtt(performance.now() - startMs);
    return new SocketStream(socket);
  }

  #nodeContext(leg: Leg, signal: AbortSignal, inner: boolean): NodeContext {
    const { log, mask } = this.#options;
    return {
      signal,
      log,
      memory: leg.node.memory,
      inner,
      ...(mask === undefined ? {} : { mask }),
    };
  }

  /** Any failure as a ChainError; what a proxy did wrong is logged, once a cause and minute. */
  #failed(error: unknown, leg: Leg | undefined): ChainError {
    const name = leg?.node.config.name ?? this.name;
    const failure = asChainError(error, "proxy", `node ${name}`);
    if (failure.party === "proxy" && failure.reason !== "aborted") {
      this.#options.log.once(`${this.name} ${name} ${failure.code}`, LOG_PERIOD_MS, {
        level: failure.reason === "auth" || failure.reason === "protocol" ? "error" : "warn",
        message: `chain ${this.name}, node ${name}: ${failure.message}`,
        fields: { chain: this.name, node: name, code: failure.code },
      });
    }
    return failure;
  }
}

function isMux(leg: Leg): boolean {
  return leg.dialer?.stream !== undefined && leg.connector !== undefined;
}

function isTimeout(reason: unknown): boolean {
  return reason instanceof Error && reason.name === "TimeoutError";
}

function addressOf(leg: Leg): Endpoint {
  const address = parseHostPort(leg.node.config.addr);
  if (address !== undefined) return address;
  throw configError(leg.node.config.place, `"${leg.node.config.addr}" is not HOST:PORT`);
}

/** Device and mark: the node's metadata, else its hop's. */
function localEnd(leg: { readonly hop: Hop; readonly node: Pick<HopNode, "config"> }): {
  device?: string;
  mark?: number;
} {
  const { metadata } = leg.node.config;
  const outer = leg.hop.config.metadata;
  const device = metaString(metadata, "interface") || metaString(outer, "interface");
  const mark = metaInt(metadata, "so_mark") || metaInt(outer, "so_mark");
  return { ...(device === "" ? {} : { device }), ...(mark > 0 ? { mark } : {}) };
}

/** Schemes, addresses and options of all nodes of a hop. */
function checkHop(hop: Hop, index: number): void {
  for (const { config, memory } of hop.nodes) {
    const { place } = config;
    if (config.connector.type === DIRECT) {
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
    const address = parseHostPort(config.addr);
    if (address === undefined || address.port === 0) {
      throw configError(place, `"${config.addr}" is not HOST:PORT`);
    }
    dialer.prepare?.(config, memory);
    connector.prepare?.(config, memory);
  }
}
