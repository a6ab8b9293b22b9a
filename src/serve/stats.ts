/**
 * What is counted of a service for metrics and the API: requests, errors, bytes, durations; in
 * all, and by client up to a bound (the rest counts under the client "other").
 */

import type { NodeCounters } from "../chain/types.ts";

/** Upper bounds of the histograms in seconds, as GOST has them. */
export const REQUEST_SECONDS = [
  0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 30, 60,
] as const;
export const CONNECT_SECONDS = [0.01, 0.05, 0.1, 0.25, 0.5, 1, 1.5, 2, 5, 10, 15, 30, 60] as const;

const CLIENTS_MAX = 1000;
export const OTHER_CLIENTS = "other";
const NODES_MAX = 1000;

/** Counts of values not above each bound, and of all. */
export class Histogram {
  readonly bounds: readonly number[];
  readonly counts: number[];
  sum = 0;
  count = 0;

  constructor(bounds: readonly number[]) {
    this.bounds = bounds;
    this.counts = bounds.map(() => 0);
  }

  add(value: number): void {
    this.sum += value;
    this.count++;
    for (let i = this.bounds.length - 1; i >= 0 && value <= (this.bounds[i] ?? 0); i--) {
      this.counts[i] = (this.counts[i] ?? 0) + 1;
    }
  }
}

export interface ClientStats {
  requests: number;
  inFlight: number;
  errors: number;
  /** From clients. */
  inputBytes: number;
  /** To clients. */
  outputBytes: number;
}

/** One connection of a client. */
export interface CountedRequest {
  /** Idempotent. */
  end(bytes: { readonly input: number; readonly output: number }, failed: boolean): void;
}

export class ServiceStats {
  readonly clients = new Map<string, ClientStats>();
  readonly durations = new Histogram(REQUEST_SECONDS);

  begin(clientIp: string): CountedRequest {
    const client = this.#client(clientIp);
    const startMs = performance.now();
    client.requests++;
    client.inFlight++;
    let isOver = false;
    return {
      end: ({ input, output }, failed) => {
        if (isOver) return;
        isOver = true;
        client.inFlight--;
        client.inputBytes += input;
        client.outputBytes += output;
        if (failed) client.errors++;
        this.durations.add((performance.now() - startMs) / 1000);
      },
    };
  }

  /** All clients together. */
  total(): ClientStats {
    const sum = none();
    for (const client of this.clients.values()) {
      sum.requests += client.requests;
      sum.inFlight += client.inFlight;
      sum.errors += client.errors;
      sum.inputBytes += client.inputBytes;
      sum.outputBytes += client.outputBytes;
    }
    return sum;
  }

  #client(ip: string): ClientStats {
    const known = this.clients.get(ip);
    if (known !== undefined) return known;
    if (this.clients.size >= CLIENTS_MAX && ip !== OTHER_CLIENTS) {
      return this.#client(OTHER_CLIENTS);
    }
    const fresh = none();
    this.clients.set(ip, fresh);
    return fresh;
  }
}

function none(): ClientStats {
  return { requests: 0, inFlight: 0, errors: 0, inputBytes: 0, outputBytes: 0 };
}

export interface NodeStats {
  readonly chain: string;
  readonly node: string;
  readonly connects: Histogram;
  errors: number;
}

/** What chains tell of their nodes. */
export class ChainCounters implements NodeCounters {
  readonly nodes = new Map<string, NodeStats>();

  /** The first node answered: socket and handshakes. */
  connected(chain: string, node: string, ms: number): void {
    this.#node(chain, node)?.connects.add(ms / 1000);
  }

  /** A route that begins with this node failed. */
  failed(chain: string, node: string): void {
    const stats = this.#node(chain, node);
    if (stats !== undefined) stats.errors++;
  }

  #node(chain: string, node: string): NodeStats | undefined {
    const key = JSON.stringify([chain, node]);
    const known = this.nodes.get(key);
    if (known !== undefined) return known;
    if (this.nodes.size >= NODES_MAX) return undefined;
    const fresh = { chain, node, connects: new Histogram(CONNECT_SECONDS), errors: 0 };
    this.nodes.set(key, fresh);
    return fresh;
  }
}
