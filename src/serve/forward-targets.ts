/**
 * Where a service leads by itself: the nodes of its forwarder, chosen as nodes of a hop are, with
 * marks for those that could not be reached. Matchers and filters see the client and the network;
 * the destination's host they could only learn by a look into the traffic.
 */
import { ChainError } from "../chain/errors.ts";
import { FailMark, Selector, topOf } from "../chain/hop.ts";
import type { Endpoint, Unreachable } from "../chain/types.ts";
import { metaBool, metaDurationMs, metaInt } from "../config/metadata.ts";
import type { ForwardNodeConfig, SelectorConfig, ServiceConfig } from "../config/model.ts";
import { parseHostPort } from "../config/net.ts";
import { configError } from "../errors.ts";
import { type Selection, selectionOf } from "../match/selection.ts";
import type { Network } from "../types.ts";

const MAX_FAILS = 1;
const FAIL_TIMEOUT_MS = 10_000;

export class ForwardTarget extends FailMark {
  readonly endpoint: Endpoint;
  /** undefined: the listener's. */
  readonly network: Network | undefined;
  readonly weight: number;
  readonly isBackup: boolean;
  readonly selection: Selection;

  constructor(node: ForwardNodeConfig, selector: SelectorConfig | undefined, place: string) {
    const metadata = node.metadata ?? {};
    super(
      metaInt(metadata, "maxFails") || (selector?.maxFails ?? MAX_FAILS),
      metaDurationMs(metadata, "failTimeout") || (selector?.failTimeoutMs ?? FAIL_TIMEOUT_MS),
      () => performance.now(),
    );
    const endpoint = parseHostPort(node.addr);
    if (endpoint === undefined) {
      throw configError(place, `forward target "${node.addr}" is not HOST:PORT`);
    }
    this.endpoint = endpoint;
    this.network = networkOf(node, place);
    const weight = metaInt(metadata, "weight");
    this.weight = weight > 0 ? weight : 1;
    this.isBackup = metaBool(metadata, "backup");
    this.selection = selectionOf(node, place);
  }

  /** Marks the target by how reaching it went; what others are to blame for does not count. */
  async watch<T>(act: () => Promise<T>): Promise<T> {
    try {
      const result = await act();
      this.markGood();
      return result;
    } catch (error) {
      if (error instanceof ChainError && FAILURES.has(error.reason)) {
        if (error.party === "destination") this.markFailed();
      }
      throw error;
    }
  }
}

const FAILURES: ReadonlySet<Unreachable> = new Set<Unreachable>([
  "refused",
  "host-unreachable",
  "network-unreachable",
  "timeout",
  "closed",
]);

function networkOf({ network = "", name }: ForwardNodeConfig, place: string): Network | undefined {
  if (network === "") return undefined;
  if (network === "tcp" || network === "udp") return network;
  throw configError(place, `the target ${name} has the network "${network}" (there are tcp, udp)`);
}

export class ForwardTargets {
  readonly #targets: readonly ForwardTarget[];
  readonly #selector: Selector<ForwardTarget>;

  /** Throws a configuration error. */
  constructor(service: ServiceConfig) {
    const { forwarder, place } = service;
    const selector = forwarder?.selector;
    const nodes = forwarder?.nodes ?? [];
    this.#targets = nodes.map((node) => new ForwardTarget(node, selector, place));
    this.#selector = new Selector(selector?.strategy);
  }

  get isEmpty(): boolean {
    return this.#targets.length === 0;
  }

  /**
   * The target of one more client, of whose destination nothing is known. undefined only without
   * any; throws a ChainError where no matcher takes the client.
   */
  next(network: Network, clientIp: string): ForwardTarget | undefined {
    const subject = { network, hosts: [""], clientIp };
    const fitting = this.#targets.filter(({ selection }) => selection.accepts?.(subject) ?? true);
    if (fitting.length === 0 && !this.isEmpty) {
      const message = "no target of the forwarder takes this client";
      throw new ChainError(message, { reason: "prohibited", party: "destination" });
    }
    return this.#selector.select(topOf(fitting), clientIp);
  }
}
