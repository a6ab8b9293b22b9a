/**
 * Datagrams towards a node that leads to one place by itself, whatever the destination is: each
 * destination has a carrier of its own, so that an answer is known to be from there.
 *
 * Bounds: destinations (the one unused for longest gives way), their idle time, and what waits for
 * a carrier that is being opened.
 */
import { joinHostPort } from "../config/net.ts";
import { Deadline } from "./deadline.ts";
import { asChainError } from "./errors.ts";
import type { DatagramHandler, Endpoint, UpDatagrams } from "./types.ts";

const DESTINATIONS_MAX = 64;
const DESTINATION_IDLE_MS = 120_000;
const OPEN_MS = 15_000;
const WAITING_COUNT_MAX = 64;
const WAITING_BYTES_MAX = 128 * 1024;

interface Lane {
  readonly destination: Endpoint;
  carrier: UpDatagrams | undefined;
  waiting: Buffer[];
  waitingBytes: number;
  usedMs: number;
}

export class LaneDatagrams implements UpDatagrams {
  readonly #open: (signal: AbortSignal) => Promise<UpDatagrams>;
  readonly #lanes = new Map<string, Lane>();
  readonly #stop = new AbortController();
  readonly #sweeper: NodeJS.Timeout;
  #handler: DatagramHandler | undefined;

  constructor(open: (signal: AbortSignal) => Promise<UpDatagrams>) {
    this.#open = open;
    this.#sweeper = setInterval(() => this.#sweep(), DESTINATION_IDLE_MS / 4).unref();
  }

  attach(handler: DatagramHandler): void {
    this.#handler = handler;
  }

  send(data: Uint8Array, destination: Endpoint): boolean {
    if (this.#stop.signal.aborted) return false;
    const key = joinHostPort(destination.host, destination.port);
    const lane = this.#lanes.get(key) ?? this.#newLane(key, destination);
    lane.usedMs = performance.now();
    if (lane.carrier !== undefined) return lane.carrier.send(data, destination);
    const isFull =
      lane.waiting.length >= WAITING_COUNT_MAX ||
      lane.waitingBytes + data.length > WAITING_BYTES_MAX;
    if (isFull) return false;
    lane.waiting.push(Buffer.from(data));
    lane.waitingBytes += data.length;
    return true;
  }

  #newLane(key: string, destination: Endpoint): Lane {
    if (this.#lanes.size >= DESTINATIONS_MAX) this.#dropOldest();
    const lane: Lane = {
      destination,
      carrier: undefined,
      waiting: [],
      waitingBytes: 0,
      usedMs: performance.now(),
    };
    this.#lanes.set(key, lane);
    void this.#start(key, lane);
    return lane;
  }

  async #start(key: string, lane: Lane): Promise<void> {
    const limit = new Deadline(OPEN_MS, [this.#stop.signal]);
    const { destination } = lane;
    try {
      const carrier = await this.#open(limit.signal);
      if (this.#lanes.get(key) !== lane) {
        carrier.close();
        return;
      }
      lane.carrier = carrier;
      carrier.attach({
        message: (data) => {
          lane.usedMs = performance.now();
          this.#handler?.message(data, destination);
        },
        unreachable: (_node, reason) => this.#handler?.unreachable?.(destination, reason),
        close: () => {
          if (this.#lanes.get(key) === lane) this.#lanes.delete(key);
        },
      });
      for (const data of lane.waiting.splice(0)) carrier.send(data, destination);
    } catch (error) {
      if (this.#lanes.get(key) !== lane) return;
      this.#lanes.delete(key);
      const { reason } = asChainError(error, "proxy", "UDP");
      this.#handler?.unreachable?.(destination, reason);
    } finally {
      limit.end();
    }
  }

  #sweep(): void {
    const nowMs = performance.now();
    for (const [key, lane] of this.#lanes) {
      if (nowMs - lane.usedMs >= DESTINATION_IDLE_MS) this.#drop(key, lane);
    }
  }

  #dropOldest(): void {
    let oldest: [string, Lane] | undefined;
    for (const entry of this.#lanes) {
      if (oldest === undefined || entry[1].usedMs < oldest[1].usedMs) oldest = entry;
    }
    if (oldest !== undefined) this.#drop(...oldest);
  }

  #drop(key: string, lane: Lane): void {
    this.#lanes.delete(key);
    lane.carrier?.close();
  }

  close(): void {
    if (this.#stop.signal.aborted) return;
    this.#stop.abort(new Error("closed"));
    clearInterval(this.#sweeper);
    for (const [key, lane] of this.#lanes) this.#drop(key, lane);
    this.#handler?.close();
  }
}
