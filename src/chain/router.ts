/**
 * The router of a service: its bypass, its names, its chain or group of chains, its retries, and
 * the device and mark of what it dials itself.
 *
 * A connection: the service's bypass refuses -> as many attempts as `retries` + 1, each with its
 * own deadline: names of the service -> bypass again, with the address -> chain -> route -> dial.
 * Direct dialling happens without a chain, or where a bypass of the first hop says so; everything
 * else that leaves no way is a failure.
 */
import { isIP } from "node:net";
import { joinHostPort } from "../config/net.ts";
import type { Logger } from "../log.ts";
import type { Bypass, BypassHit, Names, Network } from "../types.ts";
import type { HopView, Route } from "./chain.ts";
import { Deadline } from "./deadline.ts";
import { type DirectWay, openDirectDatagrams } from "./direct-datagrams.ts";
import { ChainError, abortError, asChainError } from "./errors.ts";
import type { ChainGroup, GroupView, Member } from "./group.ts";
import type { RouteRequest } from "./hop.ts";
import { RoutedDatagrams } from "./routed-datagrams.ts";
import { bypassHit, hostsOf } from "./rules.ts";
import { SocketStream } from "./socket-stream.ts";
import { type LocalEnd, type LoopCheck, dialTcp, inOrder, localFor, withSignal } from "./socket.ts";
import type { Endpoint, RouteContext, Router, UpDatagrams, UpStream } from "./types.ts";

export interface RouterOptions {
  readonly log: Logger;
  /** undefined: no chain is configured, everything is dialled from here. */
  readonly chains?: ChainGroup | undefined;
  readonly bypass?: Bypass | undefined;
  readonly names?: Names | undefined;
  /** Asked last, for what is dialled from here; undefined: the system as it comes. */
  readonly system?: Names | undefined;
  /** Further attempts after a failed one. */
  readonly retries?: number;
  /** For each attempt. */
  readonly dialTimeoutMs: number;
  /** What leaves directly leaves by this. */
  readonly local: LocalEnd;
  readonly loopTo?: LoopCheck | undefined;
  /** `hash=host`: selectors by hash look at the destination, not at the client. */
  readonly hashByHost?: boolean;
}

/** What a rule decided, and whose it was. */
export interface RuleHit extends BypassHit {
  readonly level: "service" | "hop" | "node";
}

/** What would become of a destination, for people. */
export interface Explanation {
  readonly network: Network;
  /** host:port as asked for. */
  readonly destination: string;
  /** The address that the service's hosts or resolver gave. */
  readonly address?: string;
  readonly outcome: "refused" | "direct" | "chain" | "failed";
  /** The rule that led to `refused`, `direct`, or to a shorter way through the chain. */
  readonly hit?: RuleHit;
  readonly chain?: string;
  /** Chains of the group that have a rule, and whether it takes the destination. */
  readonly chains?: readonly GroupView[];
  readonly hops: readonly HopView[];
  /** Device and mark of a socket that is dialled directly. */
  readonly local?: LocalEnd;
  /** Why it would fail. */
  readonly error?: string;
}

/** What is known of who asks. */
export type Asking = Pick<RouteContext, "clientIp" | "user" | "names">;

export type Verdict = "refused" | "direct" | "chain";

/** Where an attempt leads. */
export interface Way {
  /** With the address where names of ours gave one. */
  readonly destination: Endpoint;
  /** All addresses that names of ours gave. */
  readonly addresses?: readonly string[] | undefined;
  /** undefined: from here. */
  readonly via?: { readonly member: Member; readonly route: Route };
}

const RETRIES_MAX = 100;

export class ServiceRouter implements Router {
  readonly #options: RouterOptions;
  readonly #closed = new AbortController();

  constructor(options: RouterOptions) {
    this.#options = options;
  }

  /** Nothing is looked up in rules: every destination goes the same way. */
  get isPlain(): boolean {
    const { bypass, chains } = this.#options;
    return bypass === undefined && (chains === undefined || chains.single?.hasRules === false);
  }

  /** Whether there is a chain at all. */
  get hasChain(): boolean {
    return this.#options.chains !== undefined;
  }

  refuses(
    network: Network,
    { host, port }: Endpoint,
    names: readonly string[] = [],
  ): BypassHit | undefined {
    const { bypass } = this.#options;
    return bypassHit(bypass, { network, hosts: hostsOf(host, ...names), port });
  }

  /** Whether the service itself has rules. */
  get hasBypass(): boolean {
    return this.#options.bypass !== undefined;
  }

  /**
   * At once, for a destination whose address is known. Of a group it is "direct" where all chains
   * that may take the destination say so; where they do not agree it is "chain", also if the one
   * that is chosen dials directly in the end.
   */
  verdict(network: Network, destination: Endpoint, asking: Asking = {}): Verdict {
    if (this.refuses(network, destination, asking.names) !== undefined) return "refused";
    const { chains } = this.#options;
    if (chains === undefined) return "direct";
    const request = this.#request(network, destination, undefined, asking);
    return chains.isDirect(request) ? "direct" : "chain";
  }

  /** `first`: what `wayNow` said, for the first attempt. */
  async connect(destination: Endpoint, context: RouteContext, first?: Way): Promise<UpStream> {
    let known = first;
    return this.#attempts(context, "tcp", destination, async (signal) => {
      const way = known ?? (await this.way("tcp", destination, context, signal));
      known = undefined;
      if (way.via === undefined) return this.#dialDirect(way, context, signal);
      const { member, route } = way.via;
      return this.#marked(member, () =>
        member.chain.connectBy(route, way.destination, this.#dialContext(signal)),
      );
    });
  }

  async datagrams(context: RouteContext): Promise<UpDatagrams> {
    const { chains, bypass, names, log } = this.#options;
    if (chains === undefined && bypass === undefined) {
      return openDirectDatagrams(this.directWay(context));
    }
    const single = chains?.single;
    if (single?.hasRules === false && bypass === undefined && names === undefined) {
      const nowhere = { host: "", port: 0 };
      return this.#attempts(context, "udp", nowhere, (signal) => {
        const hashKey = this.#hashKey(nowhere, context);
        const route = single.route({ network: "udp", hosts: [""], port: 0, hashKey });
        return single.datagramsBy(route, this.#dialContext(signal));
      });
    }
    return new RoutedDatagrams(this, context, log);
  }

  /** One carrier for what goes the way of `via`; undefined: from here. */
  openCarrier(via: Way["via"], context: RouteContext): Promise<UpDatagrams> {
    if (via === undefined) return Promise.resolve(openDirectDatagrams(this.directWay(context)));
    const { member, route } = via;
    return this.#attempts(context, "udp", { host: "", port: 0 }, (signal) =>
      this.#marked(member, () => member.chain.datagramsBy(route, this.#dialContext(signal))),
    );
  }

  directWay(context: RouteContext): DirectWay {
    const { local, names, system, loopTo } = this.#options;
    return { ...localFor(local, context.localIp), names: inOrder(names, system), loopTo };
  }

  /** Names, rules and chain for one attempt; throws a ChainError where there is no way. */
  async way(
    network: Network,
    destination: Endpoint,
    context: RouteContext,
    signal: AbortSignal,
  ): Promise<Way> {
    const { names } = this.#options;
    this.#refuse(this.refuses(network, destination, context.names), destination);
    if (names === undefined || isIP(destination.host) !== 0) {
      return this.#wayTo(network, destination, undefined, context);
    }
    const found = names.resolve(destination.host, signal);
    return this.#wayTo(network, destination, await withSignal(found, signal), context);
  }

  /** The same at once, for a destination that is an address, or where the service has no names. */
  wayNow(network: Network, destination: Endpoint, asking: Asking): Way | undefined {
    if (this.#options.names !== undefined && isIP(destination.host) === 0) return undefined;
    this.#refuse(this.refuses(network, destination, asking.names), destination);
    return this.#wayTo(network, destination, undefined, asking);
  }

  /**
   * Whether the carrier of `via` may serve this destination too. Throws as `way` does; a name that
   * has to be looked up first is no.
   */
  mayReuse(via: Way["via"], destination: Endpoint, context: RouteContext): boolean {
    const { names } = this.#options;
    if (names !== undefined && isIP(destination.host) === 0) return false;
    this.#refuse(this.refuses("udp", destination, context.names), destination);
    const request = this.#request("udp", destination, undefined, context);
    if (via === undefined) return this.verdict("udp", destination, context) === "direct";
    const { member, route } = via;
    return (member.accepts?.(request) ?? true) && member.chain.admits(route, request);
  }

  /** Whether a datagram from there may reach the client: rules that name the source refuse it. */
  mayHear({ host, port }: Endpoint): boolean {
    try {
      return (this.#options.bypass?.match("udp", host, port)?.rule ?? "") === "";
    } catch {
      // Fails closed: rules that cannot be asked let nothing pass.
      return false;
    }
  }

  async explain(
    network: Network,
    destination: Endpoint,
    context: RouteContext = { signal: this.#closed.signal },
  ): Promise<Explanation> {
    const known = {
      network,
      destination: joinHostPort(destination.host, destination.port),
      hops: [],
    };
    const refusal = this.refuses(network, destination, context.names);
    if (refusal !== undefined) {
      return { ...known, outcome: "refused", hit: { ...refusal, level: "service" } };
    }
    try {
      return await this.#explain(known, destination, context);
    } catch (error) {
      const { message } = asChainError(error, "destination", known.destination);
      return { ...known, outcome: "failed", error: message };
    }
  }

  close(): void {
    const reason = new ChainError("the service stops", { reason: "aborted", party: "proxy" });
    this.#closed.abort(reason);
  }

  async #explain(
    known: Pick<Explanation, "network" | "destination" | "hops">,
    destination: Endpoint,
    context: RouteContext,
  ): Promise<Explanation> {
    const { names, bypass, chains, local } = this.#options;
    const isName = isIP(destination.host) === 0;
    const found = isName ? await names?.resolve(destination.host, context.signal) : undefined;
    const [address] = found ?? [];
    const request = this.#request(known.network, destination, address, context);
    const all = address === undefined ? known : { ...known, address };
    const refusal = bypassHit(bypass, request);
    if (refusal !== undefined) {
      return { ...all, outcome: "refused", hit: { ...refusal, level: "service" } };
    }
    if (chains === undefined) return { ...all, outcome: "direct", local };
    const ruled = chains.view(request);
    const seen = ruled.length === 0 ? all : { ...all, chains: ruled };
    const member = chains.select(request, true);
    if (member === undefined) {
      return { ...seen, outcome: "failed", error: "no chain of the group accepts it" };
    }
    const { chain } = member;
    const hops = chain.view(request);
    const last = hops.at(-1);
    const skipped = last?.skipped;
    const hit = skipped === undefined ? {} : { hit: { ...skipped.hit, level: skipped.by } };
    const told = { ...seen, chain: chain.name, hops, ...hit };
    if (skipped === undefined && (last?.nodes.length ?? 0) === 0) {
      return { ...told, outcome: "failed", error: `hop ${last?.hop ?? ""} has no node` };
    }
    if (skipped !== undefined && hops.length === 1) return { ...told, outcome: "direct", local };
    return { ...told, outcome: "chain" };
  }

  #refuse(hit: BypassHit | undefined, { host, port }: Endpoint): void {
    if (hit === undefined) return;
    const message = `${joinHostPort(host, port)} is refused by the bypass ${hit.bypass}`;
    throw new ChainError(message, { reason: "prohibited", party: "destination" });
  }

  #wayTo(
    network: Network,
    destination: Endpoint,
    addresses: readonly string[] | undefined,
    asking: Asking,
  ): Way {
    const { bypass, chains } = this.#options;
    const [address] = addresses ?? [];
    const request = this.#request(network, destination, address, asking);
    if (address !== undefined) this.#refuse(bypassHit(bypass, request), destination);
    const to = address === undefined ? destination : { host: address, port: destination.port };
    if (chains === undefined) return { destination, addresses };
    const member = chains.select(request);
    if (member === undefined) {
      const message = `no chain accepts ${joinHostPort(destination.host, destination.port)}`;
      throw new ChainError(message, { reason: "network-unreachable", party: "proxy" });
    }
    const route = member.chain.route(request);
    if (route.legs.length === 0) return { destination, addresses };
    return { destination: to, addresses, via: { member, route } };
  }

  #request(
    network: Network,
    destination: Endpoint,
    address: string | undefined,
    asking: Asking,
  ): RouteRequest {
    const { host, port } = destination;
    const hosts = hostsOf(host, address, ...(asking.names ?? []));
    const hashKey = this.#hashKey(destination, asking);
    return { network, hosts, port, hashKey, clientIp: asking.clientIp };
  }

  #hashKey({ host, port }: Endpoint, asking: Asking): string | undefined {
    if (asking.user !== undefined && asking.user !== "") return asking.user;
    return this.#options.hashByHost === true ? joinHostPort(host, port) : asking.clientIp;
  }

  #dialContext(signal: AbortSignal): { signal: AbortSignal; timeoutMs: number } {
    return { signal, timeoutMs: this.#options.dialTimeoutMs };
  }

  async #dialDirect(way: Way, context: RouteContext, signal: AbortSignal): Promise<UpStream> {
    const { addresses } = way;
    const { local, system, loopTo } = this.#options;
    const names: Names | undefined =
      addresses === undefined ? system : { resolve: () => Promise.resolve(addresses) };
    const { destination } = way;
    const out = { ...localFor(local, context.localIp), loopTo, signal, names };
    return new SocketStream(await dialTcp({ ...destination, ...out, party: "destination" }));
  }

  /** Runs a dial through a group's member and marks it for what its proxies did. */
  async #marked<T>(member: Member, act: () => Promise<T>): Promise<T> {
    try {
      const result = await act();
      member.markGood();
      return result;
    } catch (error) {
      const { party, reason } = asChainError(error, "proxy", member.chain.name);
      if (party === "proxy" && reason !== "aborted") member.markFailed();
      throw error;
    }
  }

  async #attempts<T>(
    context: RouteContext,
    network: Network,
    destination: Endpoint,
    act: (signal: AbortSignal) => Promise<T>,
  ): Promise<T> {
    const { retries = 0, dialTimeoutMs, log } = this.#options;
    const what = `${joinHostPort(destination.host, destination.port)}/${network}`;
    const whole = context.timeoutMs ?? 0x7fff_ffff;
    const total = new Deadline(whole, [context.signal, this.#closed.signal]);
    try {
      for (let attempt = 0; ; attempt++) {
        const limit = new Deadline(dialTimeoutMs, [total.signal]);
        try {
          return await act(limit.signal);
        } catch (error) {
          const isLate = limit.signal.aborted && !(error instanceof ChainError);
          const failure = isLate
            ? abortError(limit.signal, "destination", what)
            : asChainError(error, "destination", what);
          if (total.signal.aborted) throw abortError(total.signal, failure.party, what);
          if (attempt >= Math.min(retries, RETRIES_MAX) || isFinal(failure)) throw failure;
          log.debug(`route(retry=${attempt}) ${failure.message}`);
        } finally {
          limit.end();
        }
      }
    } finally {
      total.end();
    }
  }
}

/** What asking again cannot change. */
function isFinal({ reason, party }: ChainError): boolean {
  return reason === "prohibited" && party === "destination";
}
