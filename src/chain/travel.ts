/**
 * Travels a route: the first node is dialled with a socket of ours (device, mark), each further one
 * through the connector of the node before. A dialer that multiplexes keeps its session and takes
 * the way before it as a route of its own.
 *
 * Fail marks: a node is marked when its address cannot be resolved, dialled or its handshake
 * fails, or the node before refuses to connect to it; a success takes the marks away.
 */
import { metaDurationMs, metaString } from "../config/metadata.ts";
import type { NodeConfig } from "../config/model.ts";
import { joinHostPort, parseHostPort } from "../config/net.ts";
import { configError } from "../errors.ts";
import type { Logger } from "../log.ts";
import type { MaskFunction } from "../proto/ws.ts";
import type { Names } from "../types.ts";
import { openConnected } from "./connected-datagrams.ts";
import { Deadline } from "./deadline.ts";
import { ChainError, type Party, abortError, asChainError, tcpOverUdp } from "./errors.ts";
import type { HopNode } from "./hop.ts";
import { SocketStream } from "./socket-stream.ts";
import { type LocalEnd, type LoopCheck, dialTcp, inOrder } from "./socket.ts";
import type {
  Connector,
  Dialer,
  Endpoint,
  NodeContext,
  NodeCounters,
  Transport,
  UpDatagrams,
} from "./types.ts";

const DIAL_MS = 15_000;
const LOG_PERIOD_MS = 60_000;

/** One node of a route, ready to be used. */
export interface Leg {
  readonly node: HopNode;
  readonly local: LocalEnd;
  /** Both undefined for `direct`, which dials from here. */
  readonly dialer: Dialer | undefined;
  readonly connector: Connector | undefined;
}

export interface TravelOptions {
  readonly chain: string;
  readonly log: Logger;
  readonly mask?: MaskFunction | undefined;
  readonly loopTo?: LoopCheck | undefined;
  readonly counters?: NodeCounters | undefined;
}

export function addressOf(node: NodeConfig): Endpoint {
  const address = parseHostPort(node.addr);
  if (address !== undefined) return address;
  throw configError(node.place, `"${node.addr}" is not HOST:PORT`);
}

/** `direct` with `action=reject` (services.md, divergence 12): nothing goes out by it. */
export function refuseRejected({ node }: Leg): void {
  if (metaString(node.config.connector.metadata, "action") === "") return;
  const message = `node ${node.config.name} rejects everything (action=reject)`;
  throw new ChainError(message, { reason: "prohibited", party: "destination" });
}

/** A name by a table or resolver of ours; undefined: it is left to whoever comes next. */
async function resolved(
  address: Endpoint,
  names: Names | undefined,
  signal: AbortSignal,
): Promise<Endpoint> {
  const [host] = (await names?.resolve(address.host, signal)) ?? [];
  return host === undefined ? address : { host, port: address.port };
}

export class Traveller {
  readonly #options: TravelOptions;
  /** Failures whose node was marked already. */
  readonly #blamed = new WeakSet<Error>();

  constructor(options: TravelOptions) {
    this.#options = options;
  }

  /** A transport to the last of `legs`, handshake included, through all before it. */
  async arrive(legs: readonly Leg[], outer: AbortSignal): Promise<Transport> {
    const [first] = legs;
    if (legs.length > 1 || first === undefined) return this.#arrive(legs, outer);
    const startMs = performance.now();
    const transport = await this.#arrive(legs, outer);
    const { chain, counters } = this.#options;
    counters?.connected(chain, first.node.config.name, performance.now() - startMs);
    return transport;
  }

  async #arrive(legs: readonly Leg[], outer: AbortSignal): Promise<Transport> {
    const leg = legs.at(-1);
    if (leg?.dialer === undefined) throw new Error("a route without nodes was travelled");
    const { dialer, node } = leg;
    if (dialer.isDatagram === true) throw tcpOverUdp(node.config.name);
    if (dialer.stream !== undefined) {
      return this.#step(leg, outer, async (signal) => {
        const open = (own: AbortSignal): Promise<Transport> => this.#raw(legs, own);
        return dialer.stream?.(node.config, this.context(leg, signal, true), open);
      });
    }
    // What goes wrong before this node is not its fault, and has a time of its own.
    const before = await this.#before(legs, outer);
    try {
      return await this.#step(leg, outer, async (signal) => {
        const raw = await this.#reach(legs, before, signal);
        try {
          return await dialer.handshake(raw, node.config, this.context(leg, signal, true));
        } catch (error) {
          raw.reset();
          throw error;
        }
      });
    } catch (error) {
      before?.reset();
      throw error;
    }
  }

  /** A socket of ours. */
  async dial(
    address: Endpoint,
    leg: Leg,
    signal: AbortSignal,
    party: Party,
  ): Promise<SocketStream> {
    if (leg.connector === undefined) refuseRejected(leg);
    const startMs = performance.now();
    const { names, system, memory } = leg.node;
    const socket = await dialTcp({
      ...address,
      ...leg.local,
      names: inOrder(names, system),
      loopTo: this.#options.loopTo,
      signal,
      party,
    });
    if (party === "proxy") memory.addRtt(performance.now() - startMs);
    return new SocketStream(socket);
  }

  /** A UDP socket of ours, connected to the node. */
  dialDatagrams(leg: Leg, outer: AbortSignal): Promise<UpDatagrams> {
    const { config, names, system } = leg.node;
    const { loopTo } = this.#options;
    return this.#step(leg, outer, (signal) =>
      openConnected({
        ...addressOf(config),
        ...leg.local,
        names: inOrder(names, system),
        loopTo,
        signal,
        party: "proxy",
      }),
    );
  }

  context(leg: Leg, signal: AbortSignal, inner: boolean): NodeContext {
    const { log, mask } = this.#options;
    const { memory } = leg.node;
    return { signal, log, memory, inner, ...(mask === undefined ? {} : { mask }) };
  }

  /** Any failure as a ChainError; what a proxy did wrong is logged, once a cause and minute. */
  failed(error: unknown, leg: Leg): ChainError {
    const { chain, log, counters } = this.#options;
    const { name } = leg.node.config;
    const failure = asChainError(error, "proxy", `node ${name}`);
    if (failure.party === "proxy" && failure.reason !== "aborted" && !this.#blamed.has(failure)) {
      this.#blamed.add(failure);
      counters?.failed(chain, name);
      log.once(`${chain} ${name} ${failure.code}`, LOG_PERIOD_MS, {
        level: failure.reason === "auth" || failure.reason === "protocol" ? "error" : "warn",
        message: `chain ${chain}, node ${name}: ${failure.message}`,
        fields: { chain, node: name, code: failure.code },
      });
    }
    return failure;
  }

  /** One node's part, with its deadline and its mark. */
  async #step<T>(
    leg: Leg,
    outer: AbortSignal,
    act: (signal: AbortSignal) => Promise<T | undefined>,
  ): Promise<T> {
    const { node } = leg;
    const dialMs = metaDurationMs(node.config.metadata, "dialTimeout", DIAL_MS);
    const limit = new Deadline(Math.max(1, dialMs), [outer]);
    try {
      const transport = await act(limit.signal);
      if (transport === undefined) throw new Error("the dialer gave no stream");
      node.markGood();
      return transport;
    } catch (error) {
      if (outer.aborted && !isTimeout(outer.reason)) {
        throw abortError(outer, "proxy", `chain ${this.#options.chain}`);
      }
      if (!(error instanceof Error && this.#blamed.has(error))) node.markFailed();
      throw this.failed(error, leg);
    } finally {
      limit.end();
    }
  }

  /** The stream of the node before the last, or undefined where a socket begins. */
  async #before(legs: readonly Leg[], outer: AbortSignal): Promise<Transport | undefined> {
    const before = legs.slice(0, -1);
    return before.at(-1)?.connector === undefined ? undefined : this.arrive(before, outer);
  }

  /** A raw connection to the last node, for the session of a multiplexing dialer. */
  async #raw(legs: readonly Leg[], signal: AbortSignal): Promise<Transport> {
    const before = await this.#before(legs, signal);
    try {
      return await this.#reach(legs, before, signal);
    } catch (error) {
      before?.reset();
      throw error;
    }
  }

  async #reach(
    legs: readonly Leg[],
    before: Transport | undefined,
    signal: AbortSignal,
  ): Promise<Transport> {
    const [leg, previous] = [legs.at(-1), legs.at(-2)];
    if (leg === undefined) throw new Error("a route without nodes was travelled");
    const address = addressOf(leg.node.config);
    if (before === undefined || previous?.connector === undefined) {
      // A `direct` node before it is only the way out of here.
      const by = previous === undefined ? leg : { ...leg, local: previous.local };
      return this.dial(address, by, signal, "proxy");
    }
    const { config, names } = leg.node;
    const to = await resolved(address, names, signal);
    try {
      const context = this.context(previous, signal, true);
      return await previous.connector.connect(before, previous.node.config, to, context);
    } catch (error) {
      const { message, reason, party } = asChainError(
        error,
        "proxy",
        joinHostPort(to.host, to.port),
      );
      // What a node in the middle cannot reach is a proxy, whatever its connector calls it.
      if (party === "proxy") throw error;
      throw new ChainError(`${config.name}: ${message}`, { reason, party: "proxy", cause: error });
    }
  }
}

function isTimeout(reason: unknown): boolean {
  return reason instanceof Error && reason.name === "TimeoutError";
}
