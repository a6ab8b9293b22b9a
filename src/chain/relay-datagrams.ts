/**
 * Datagrams through a relay server. One association (0x82) carries a whole mapping, so that it
 * stays endpoint-independent. A server that does not offer associations (GOST without `bind=true`)
 * gets one CONNECT per destination; that is remembered for a while and logged once.
 *
 * Bounds: what waits for a transport, bytes and counts, and the number of destinations; what goes
 * beyond is dropped, as a network would.
 */
import { metaString } from "../config/metadata.ts";
import type { NodeConfig } from "../config/model.ts";
import { joinHostPort } from "../config/net.ts";
import { encodeAddress } from "../proto/address.ts";
import {
  AssociatedReader,
  DATAGRAM_BYTES_MAX,
  DatagramReader,
  encodeAssociatedTo,
  encodeDatagram,
} from "../proto/relay-udp.ts";
import { CMD_BIND, NETWORK_UDP, encodeRequest } from "../proto/relay.ts";
import { Deadline } from "./deadline.ts";
import { ChainError, abortError, asChainError } from "./errors.ts";
import { nodeAuth, relayConnect, replyError } from "./relay.ts";
import { ReplyStream } from "./reply-stream.ts";
import { withSignal } from "./socket.ts";
import type {
  DatagramHandler,
  Endpoint,
  NodeContext,
  OpenTransport,
  Transport,
  UpDatagrams,
} from "./types.ts";

/** Bytes handed to a transport that it has not taken yet. */
const QUEUE_BYTES_MAX = 1024 * 1024;
const DESTINATIONS_MAX = 256;
/** For a destination whose CONNECT is under way. */
const WAITING_COUNT_MAX = 64;
const WAITING_BYTES_MAX = 128 * 1024;
const DESTINATION_IDLE_MS = 120_000;
const DESTINATION_DIAL_MS = 15_000;
const NO_ASSOCIATION_MS = 10 * 60_000;
const ADDRESS_CACHE_MAX = 1024;

const noop = (): void => undefined;

/** The connector's `datagrams`: an association, or the fallback. Throws ChainError. */
export async function openRelayDatagrams(
  open: OpenTransport,
  node: NodeConfig,
  context: NodeContext,
): Promise<UpDatagrams> {
  const mode = metaString(node.connector.metadata, "relay.udp", "auto");
  const isRefused = performance.now() < context.memory.noAssociationUntilMs;
  if (mode === "connect" || (mode !== "association" && isRefused)) {
    return new ConnectDatagrams(open, node, context);
  }
  const transport = await open(context.signal);
  try {
    return await associate(transport, node, context);
  } catch (error) {
    transport.reset();
    const isOff =
      error instanceof ChainError && (error.reason === "prohibited" || error.reason === "protocol");
    if (!isOff || mode === "association") throw error;
    context.memory.noAssociationUntilMs = performance.now() + NO_ASSOCIATION_MS;
    context.log.once(`no-association ${node.name}`, 24 * 3600_000, {
      level: "info",
      message:
        `node ${node.name} offers no UDP association (bind=true at the server): ` +
        "UDP uses one connection per destination",
    });
    return new ConnectDatagrams(open, node, context);
  }
}

async function associate(
  transport: Transport,
  node: NodeConfig,
  context: NodeContext,
): Promise<UpDatagrams> {
  const auth = nodeAuth(node);
  const request = encodeRequest({
    command: CMD_BIND,
    udp: true,
    network: NETWORK_UDP,
    address: { host: "0.0.0.0", port: 0 },
    ...(auth === undefined ? {} : { auth }),
  });
  transport.write([request], noop);
  const what = "UDP association";
  const stream = new ReplyStream(transport, node.addr, (reply) => replyError(reply, node, what));
  try {
    const { reply } = await withSignal(stream.answer, context.signal);
    if (reply.addresses.length === 0) {
      const message = `${what}: ${node.name} names no bound address`;
      throw new ChainError(message, { reason: "protocol", party: "proxy" });
    }
  } catch (error) {
    if (context.signal.aborted) throw abortError(context.signal, "proxy", what);
    throw error;
  }
  return new AssociationDatagrams(stream.unwrap());
}

/** Datagrams with addresses as frames of one stream; SOCKS5's tunnel (0xF3) has the same form. */
export class AssociationDatagrams implements UpDatagrams {
  readonly #transport: Transport;
  readonly #reader = new AssociatedReader();
  /** Encoded destinations; names and addresses repeat. */
  readonly #addresses = new Map<string, Uint8Array>();
  #queuedBytes = 0;
  #closed = false;

  constructor(transport: Transport) {
    this.#transport = transport;
  }

  attach(handler: DatagramHandler): void {
    this.#transport.attach({
      data: (chunk) => {
        try {
          this.#reader.push(chunk, (payload, address) => {
            if (!this.#closed) handler.message(payload, address);
          });
        } catch (error) {
          this.#transport.reset();
          this.#end(handler, asChainError(error, "proxy", "UDP association"));
        }
      },
      end: () => {
        this.#transport.destroy();
      },
      close: (error) => {
        this.#end(handler, error);
      },
    });
    this.#transport.resume();
  }

  #end(handler: DatagramHandler, error?: Error): void {
    if (this.#closed) return;
    this.#closed = true;
    handler.close(error);
  }

  send(data: Uint8Array, destination: Endpoint): boolean {
    if (this.#closed || data.length > DATAGRAM_BYTES_MAX) return false;
    // An empty datagram would put GOST's reader out of step.
    if (data.length === 0) return true;
    if (this.#queuedBytes + data.length > QUEUE_BYTES_MAX) return false;
    const address = this.#addressOf(destination);
    if (address === undefined) return false;
    const frame = encodeAssociatedTo(data, address);
    this.#queuedBytes += frame.length;
    this.#transport.write([frame], () => {
      this.#queuedBytes -= frame.length;
    });
    return true;
  }

  /** undefined for what cannot be asked for: a name above 255 bytes. */
  #addressOf(destination: Endpoint): Uint8Array | undefined {
    const key = joinHostPort(destination.host, destination.port);
    const known = this.#addresses.get(key);
    if (known !== undefined) return known;
    if (this.#addresses.size >= ADDRESS_CACHE_MAX) this.#addresses.clear();
    const address = encodable(destination);
    if (address !== undefined) this.#addresses.set(key, address);
    return address;
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#transport.end();
    this.#transport.destroy();
  }
}

function encodable(destination: Endpoint): Uint8Array | undefined {
  try {
    return encodeAddress(destination);
  } catch {
    return undefined;
  }
}

/** One destination of the fallback. */
interface Lane {
  readonly destination: Endpoint;
  transport: Transport | undefined;
  waiting: Buffer[];
  waitingBytes: number;
  queuedBytes: number;
  usedMs: number;
}

class ConnectDatagrams implements UpDatagrams {
  readonly #open: OpenTransport;
  readonly #node: NodeConfig;
  readonly #context: NodeContext;
  readonly #lanes = new Map<string, Lane>();
  readonly #stop = new AbortController();
  #handler: DatagramHandler | undefined;
  #sweeper: NodeJS.Timeout | undefined;

  constructor(open: OpenTransport, node: NodeConfig, context: NodeContext) {
    this.#open = open;
    this.#node = node;
    this.#context = context;
  }

  attach(handler: DatagramHandler): void {
    this.#handler = handler;
  }

  send(data: Uint8Array, destination: Endpoint): boolean {
    if (this.#stop.signal.aborted || data.length > DATAGRAM_BYTES_MAX) return false;
    const key = joinHostPort(destination.host, destination.port);
    const lane = this.#lanes.get(key) ?? this.#newLane(key, destination);
    lane.usedMs = performance.now();
    const { transport } = lane;
    if (transport !== undefined) return this.#write(lane, transport, encodeDatagram(data));
    const isFull =
      lane.waiting.length >= WAITING_COUNT_MAX ||
      lane.waitingBytes + data.length > WAITING_BYTES_MAX;
    if (isFull) return false;
    lane.waiting.push(encodeDatagram(data));
    lane.waitingBytes += data.length;
    return true;
  }

  #write(lane: Lane, transport: Transport, frame: Buffer): boolean {
    if (lane.queuedBytes + frame.length > QUEUE_BYTES_MAX) return false;
    lane.queuedBytes += frame.length;
    transport.write([frame], () => {
      lane.queuedBytes -= frame.length;
    });
    return true;
  }

  #newLane(key: string, destination: Endpoint): Lane {
    if (this.#lanes.size >= DESTINATIONS_MAX) this.#dropOldest();
    const lane: Lane = {
      destination,
      transport: undefined,
      waiting: [],
      waitingBytes: 0,
      queuedBytes: 0,
      usedMs: performance.now(),
    };
    this.#lanes.set(key, lane);
    this.#sweeper ??= setInterval(() => this.#sweep(), DESTINATION_IDLE_MS / 4).unref();
    void this.#dial(key, lane);
    return lane;
  }

  async #dial(key: string, lane: Lane): Promise<void> {
    const limit = new Deadline(DESTINATION_DIAL_MS, [this.#stop.signal]);
    const { signal } = limit;
    const { destination } = lane;
    try {
      const raw = await this.#open(signal);
      // The reply is read when it comes: datagrams need not wait for it.
      const context = { ...this.#context, signal, inner: true };
      const target = { destination, udp: true };
      const transport = await relayConnect(raw, this.#node, target, context);
      if (this.#lanes.get(key) !== lane) {
        transport.reset();
        return;
      }
      this.#start(key, lane, transport);
    } catch (error) {
      if (this.#lanes.get(key) !== lane) return;
      this.#lanes.delete(key);
      this.#tell(lane, error);
    } finally {
      limit.end();
    }
  }

  #start(key: string, lane: Lane, transport: Transport): void {
    const reader = new DatagramReader();
    lane.transport = transport;
    transport.attach({
      data: (chunk) => {
        lane.usedMs = performance.now();
        reader.push(chunk, (payload) => this.#handler?.message(payload, lane.destination));
      },
      end: () => {
        transport.destroy();
      },
      close: (error) => {
        if (this.#lanes.get(key) === lane) this.#lanes.delete(key);
        if (error !== undefined) this.#tell(lane, error);
      },
    });
    transport.resume();
    for (const frame of lane.waiting) this.#write(lane, transport, frame);
    lane.waiting = [];
    lane.waitingBytes = 0;
  }

  #tell(lane: Lane, error: unknown): void {
    if (this.#stop.signal.aborted) return;
    const { reason } = asChainError(error, "destination", "UDP");
    this.#handler?.unreachable?.(lane.destination, reason);
  }

  #sweep(): void {
    const nowMs = performance.now();
    for (const [key, lane] of this.#lanes) {
      if (nowMs - lane.usedMs < DESTINATION_IDLE_MS) continue;
      this.#drop(key, lane);
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
    lane.transport?.destroy();
  }

  close(): void {
    if (this.#stop.signal.aborted) return;
    this.#stop.abort(new Error("closed"));
    clearInterval(this.#sweeper);
    for (const [key, lane] of this.#lanes) this.#drop(key, lane);
    this.#handler?.close();
  }
}
