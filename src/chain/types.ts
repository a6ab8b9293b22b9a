/**
 * What a chain gives its users: byte streams and datagram carriers towards a destination, with the
 * truth about failures. Dialers and connectors implement the lower two interfaces; see list.ts.
 */
import type { NodeConfig } from "../config/model.ts";
import type { Logger } from "../log.ts";
import type { BypassHit, Network } from "../types.ts";
import type { MaskFunction } from "../proto/ws.ts";
import type { NodeMemory } from "./memory.ts";
import type { DirectWay } from "./socket.ts";

/** Why a destination (or the way to it) could not be reached; maps to what the client is told. */
export type Unreachable =
  | "refused"
  | "host-unreachable"
  | "network-unreachable"
  | "timeout"
  | "prohibited"
  | "auth"
  | "protocol"
  | "closed"
  | "aborted";

export interface StreamHandler {
  /** Bytes from the far end; valid only during the call (copy what is kept). */
  data(chunk: Uint8Array): void;
  /** The far end half-closed; no more data. */
  end(): void;
  /** The stream is over; with an error when it ended badly (reset, protocol). Called once, last. */
  close(error?: Error): void;
}

/** A byte stream to a destination, through all hops. */
export interface UpStream {
  /** Sets the handler; data is held back until then. */
  attach(handler: StreamHandler): void;
  /**
   * Sends bytes in order. The chunks belong to the stream until `done` and may be overwritten
   * (masking). `done` comes when they were taken by the transport's socket: back-pressure is exact.
   */
  write(chunks: readonly Uint8Array[], done: (error?: Error) => void): void;
  /** Stops and restarts `data`. */
  pause(): void;
  resume(): void;
  /** Half-close: what was written goes out, then the transport's write side ends. */
  end(): void;
  /** Aborts: the first socket is reset. Idempotent. */
  reset(): void;
  /** Closes after both directions ended, or gives up quietly. Idempotent. */
  destroy(): void;
}

export interface DatagramHandler {
  /** A datagram and where it came from; valid during the call. */
  message(data: Uint8Array, source: Endpoint): void;
  /** A destination failed; the carrier lives on. */
  unreachable?(destination: Endpoint, reason: Unreachable): void;
  close(error?: Error): void;
}

export interface Endpoint {
  /** IP text, or a name. */
  readonly host: string;
  readonly port: number;
}

/** Carries datagrams of one UDP mapping. */
export interface UpDatagrams {
  attach(handler: DatagramHandler): void;
  /**
   * False if the carrier's queue is full and the datagram was dropped. Data is copied or sent at
   * once.
   */
  send(data: Uint8Array, destination: Endpoint): boolean;
  close(): void;
}

export interface DialContext {
  readonly signal: AbortSignal;
  /** Whole milliseconds for everything; the chain's own deadlines apply too. */
  readonly timeoutMs?: number;
}

/** One way out: a list of hops (empty = none configured, never a chain that lost its nodes). */
export interface Chain {
  readonly name: string;
  /**
   * Resolves when the destination is truly connected, or its grace time passed (relay.md, 11).
   * Where a bypass of the first hop says so, it is dialled from here, by the system's choice of
   * device: who has a device of its own uses a Router.
   */
  connect(destination: Endpoint, context: DialContext): Promise<UpStream>;
  /**
   * A carrier for one UDP mapping, endpoint-independent where the last node can do it. Rules that
   * look at destinations need a Router.
   */
  datagrams(context: DialContext): Promise<UpDatagrams>;
  /** One line a node, for --dry-run. */
  describe(): readonly string[];
  close(): void;
}

export interface RouteContext extends DialContext {
  /** IP text of the client's end, for selectors by hash. */
  readonly clientIp?: string;
  /** IP text of our end that the client reached, for `interface=auto`. */
  readonly localIp?: string;
  /** The user that the client gave, once accepted. */
  readonly user?: string;
  /** Names that are known for a destination given as IP; rules see them too. */
  readonly names?: readonly string[];
}

/** Hears how nodes do, for metrics. */
export interface NodeCounters {
  /** The first node of a route answered: socket and handshakes. */
  connected(chain: string, node: string, ms: number): void;
  failed(chain: string, node: string): void;
}

/**
 * A service's way out: its bypass, names (hosts, resolver), chain or chain group, retries, and the
 * device and mark of what it dials itself. Fails closed: only a bypass of the first hop, or having
 * no chain at all, leads to direct dialling.
 */
export interface Router {
  /** Rejects with a ChainError; reason "prohibited" when the service's bypass matches. */
  connect(destination: Endpoint, context: RouteContext): Promise<UpStream>;
  /** One carrier for all destinations of a client; every datagram is checked and routed. */
  datagrams(context: RouteContext): Promise<UpDatagrams>;
  /** What the service's own bypass says; handlers that answer refusals themselves ask it first. */
  refuses(
    network: Network,
    destination: Endpoint,
    names?: readonly string[],
  ): BypassHit | undefined;
  /** How datagrams leave that are sent from here, for sockets that a handler makes itself. */
  directWay(context: RouteContext): DirectWay;
  close(): void;
}

/**
 * What dialers and connectors hand to each other: a stream whose handler can be replaced, so that a
 * layer reads its handshake and leaves the rest to the next. Chunks that it delivers are not used
 * again by the stream: a handler may keep them.
 */
export interface Transport extends UpStream {
  /** Takes the handler off and holds everything back until the next `attach`. */
  detach(): void;
  /** Gives bytes back, to be delivered before all others; only while detached or paused. */
  unshift(bytes: Uint8Array): void;
}

/** What is known of a node beyond its configuration; lives as long as its chain. */
export interface NodeContext extends DialContext {
  readonly log: Logger;
  readonly memory: NodeMemory;
  /** Masks WebSocket payload; the default is plain JavaScript. */
  readonly mask?: MaskFunction;
  /** The way to the node's own UDP ports; only for `datagrams`. */
  readonly toNode?: WayToNode;
  /** A further hop follows: a success that was not yet reported need not be waited for. */
  readonly inner?: boolean;
}

/** How datagrams reach a node itself: as its TCP connections do. */
export interface WayToNode {
  /** By sockets of ours (the node's device and mark), else through the hops before. */
  readonly isDirect: boolean;
  open(signal: AbortSignal): Promise<UpDatagrams>;
  /** A socket of ours, connected to the node's address; absent where others are before it. */
  readonly connect?: (signal: AbortSignal) => Promise<UpDatagrams>;
  /** Addresses of a name, as a socket of ours would find them. */
  readonly resolve: (host: string, signal: AbortSignal) => Promise<readonly string[]>;
}

/** The transport to one node: the first dials, the later ones run inside the stream before them. */
export interface Dialer {
  readonly scheme: string;
  /** There are only datagrams to the node: streams are refused, and no handshake is asked for. */
  readonly isDatagram?: boolean;
  /** Checks the node's options once, before anything is dialled; throws a configuration error. */
  prepare?(node: NodeConfig, memory: NodeMemory): void;
  /** Turns a raw connection to the node into this dialer's stream (TLS, WebSocket …). */
  handshake(raw: Transport, node: NodeConfig, context: NodeContext): Promise<Transport>;
  /**
   * Of a dialer that multiplexes, and called instead of `handshake`: one more stream to the node,
   * in a session that is there, or in a new one over the raw connection that `open` makes through
   * all nodes before this one. A session is shared: it outlives `context.signal`, so `open` gets a
   * signal of its own, and `context.memory.close()` ends it.
   */
  stream?(node: NodeConfig, context: NodeContext, open: OpenTransport): Promise<Transport>;
}

/** Opens one more transport to a node, through all hops before it. */
export type OpenTransport = (signal: AbortSignal) => Promise<Transport>;

/** The protocol spoken to a node over its transport. */
export interface Connector {
  readonly scheme: string;
  prepare?(node: NodeConfig, memory: NodeMemory): void;
  connect(
    transport: Transport,
    node: NodeConfig,
    destination: Endpoint,
    context: NodeContext,
  ): Promise<Transport>;
  /** A carrier of datagrams; absent if the protocol has none. */
  datagrams?(open: OpenTransport, node: NodeConfig, context: NodeContext): Promise<UpDatagrams>;
}
