/**
 * The datagrams of one client, each checked and routed by its destination: some through the chain,
 * some from here, some not at all. Each way has a carrier, opened by the first datagram that needs
 * it; a chain's carrier serves all destinations that its nodes may serve.
 *
 * Bounds: carriers, datagrams and bytes that wait for one, names being looked up; what goes beyond
 * is dropped, as a network would. A carrier that ends is opened again by the next datagram; when it
 * was the only one its end is the client's.
 */
import { joinHostPort } from "../config/net.ts";
import { messageOf } from "../errors.ts";
import type { Logger } from "../log.ts";
import { Deadline } from "./deadline.ts";
import { asChainError } from "./errors.ts";
import type { ServiceRouter, Way } from "./router.ts";
import type { DatagramHandler, Endpoint, RouteContext, UpDatagrams } from "./types.ts";

const CARRIERS_MAX = 16;
const WAITING_COUNT_MAX = 64;
const WAITING_BYTES_MAX = 256 * 1024;
const LOOKUPS_MAX = 64;
const LOOKUP_MS = 15_000;
const LOG_PERIOD_MS = 60_000;

/** One way out and what waits for it. */
interface Path {
  readonly via: Way["via"];
  carrier: UpDatagrams | undefined;
  waiting: { readonly data: Uint8Array; readonly destination: Endpoint }[];
  waitingBytes: number;
}

export class RoutedDatagrams implements UpDatagrams {
  readonly #router: ServiceRouter;
  readonly #context: RouteContext;
  readonly #log: Logger;
  readonly #stop = new AbortController();
  readonly #paths: Path[] = [];
  #handler: DatagramHandler | undefined;
  #lookups = 0;
  #isClosed = false;

  constructor(router: ServiceRouter, context: RouteContext, log: Logger) {
    this.#router = router;
    // The call's signal and time are for opening; this lives until it is closed.
    this.#context = { ...context, signal: this.#stop.signal };
    this.#log = log;
  }

  attach(handler: DatagramHandler): void {
    this.#handler = handler;
  }

  send(data: Uint8Array, destination: Endpoint): boolean {
    if (this.#isClosed) return false;
    try {
      const path = this.#standing(destination);
      if (path !== undefined) return this.#pass(path, data, destination);
      const way = this.#router.wayNow("udp", destination, this.#context);
      if (way !== undefined) return this.#passBy(way, data);
    } catch (error) {
      this.#refused(destination, error);
      return true;
    }
    if (this.#lookups >= LOOKUPS_MAX) return false;
    this.#lookups++;
    void this.#lookUp(Buffer.from(data), destination);
    return true;
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#stop.abort();
    for (const path of this.#paths.splice(0)) path.carrier?.close();
    this.#handler?.close();
  }

  /** A path that is there already and may carry to this destination. */
  #standing(destination: Endpoint): Path | undefined {
    if (this.#paths.length === 0) return undefined;
    return this.#paths.find(({ via }) => this.#router.mayReuse(via, destination, this.#context));
  }

  async #lookUp(data: Uint8Array, destination: Endpoint): Promise<void> {
    const limit = new Deadline(LOOKUP_MS, [this.#stop.signal]);
    try {
      const way = await this.#router.way("udp", destination, this.#context, limit.signal);
      if (!this.#isClosed) this.#passBy(way, data);
    } catch (error) {
      this.#refused(destination, error);
    } finally {
      limit.end();
      this.#lookups--;
    }
  }

  #passBy(way: Way, data: Uint8Array): boolean {
    const { destination, addresses } = way;
    const [address = destination.host] = addresses ?? [];
    const to = { host: address, port: destination.port };
    const same = this.#paths.find(({ via }) => isSame(via, way.via));
    if (same !== undefined) return this.#pass(same, data, to);
    if (this.#paths.length >= CARRIERS_MAX) return false;
    const path: Path = { via: way.via, carrier: undefined, waiting: [], waitingBytes: 0 };
    this.#paths.push(path);
    void this.#open(path);
    return this.#pass(path, data, to);
  }

  #pass(path: Path, data: Uint8Array, destination: Endpoint): boolean {
    if (path.carrier !== undefined) return path.carrier.send(data, destination);
    const isFull =
      path.waiting.length >= WAITING_COUNT_MAX ||
      path.waitingBytes + data.length > WAITING_BYTES_MAX;
    if (isFull) return false;
    path.waiting.push({ data: data.slice(), destination });
    path.waitingBytes += data.length;
    return true;
  }

  async #open(path: Path): Promise<void> {
    try {
      const carrier = await this.#router.openCarrier(path.via, this.#context);
      if (this.#isClosed) {
        carrier.close();
        return;
      }
      path.carrier = carrier;
      carrier.attach({
        message: (data, source) => {
          if (this.#router.mayHear(source)) this.#handler?.message(data, source);
        },
        unreachable: (destination, reason) => this.#handler?.unreachable?.(destination, reason),
        close: (error) => this.#ended(path, error),
      });
      for (const { data, destination } of path.waiting.splice(0)) carrier.send(data, destination);
    } catch (error) {
      this.#remove(path);
      for (const { destination } of path.waiting.splice(0)) this.#refused(destination, error);
    }
  }

  #ended(path: Path, error: Error | undefined): void {
    this.#remove(path);
    if (this.#isClosed || this.#paths.length > 0) return;
    this.#isClosed = true;
    this.#stop.abort();
    this.#handler?.close(error);
  }

  #remove(path: Path): void {
    const index = this.#paths.indexOf(path);
    if (index >= 0) this.#paths.splice(index, 1);
  }

  #refused(destination: Endpoint, error: unknown): void {
    if (this.#isClosed) return;
    const what = joinHostPort(destination.host, destination.port);
    const { reason, party } = asChainError(error, "destination", what);
    if (reason === "aborted") return;
    if (reason !== "prohibited" || party === "proxy") {
      this.#log.once(`udp ${what}`, LOG_PERIOD_MS, {
        level: "debug",
        message: `UDP to ${what}: ${messageOf(error)}`,
      });
    }
    this.#handler?.unreachable?.(destination, reason);
  }
}

function isSame(one: Way["via"], other: Way["via"]): boolean {
  if (one === undefined || other === undefined) return one === other;
  const [legs, others] = [one.route.legs, other.route.legs];
  if (legs.length !== others.length) return false;
  return legs.every((leg, index) => leg.node === others[index]?.node);
}
