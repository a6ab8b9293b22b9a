/**
 * One UDP socket connected to one address: the kernel keeps out what comes from elsewhere and tells
 * of refusals (ICMP), which end nothing. By device, mark and local address as first sockets of TCP
 * (socket.ts), and never into a device of our own.
 *
 * Bound: what waits in the socket.
 */
import type { Socket } from "node:dgram";
import { isIP } from "node:net";
import { joinHostPort } from "../config/net.ts";
import { openUdpBy } from "./direct-datagrams.ts";
import { abortError, asChainError, reasonOf } from "./errors.ts";
import {
  type DialOptions,
  type Way,
  refuseLoop,
  resolveHost,
  waysTo,
  withSignal,
} from "./socket.ts";
import type { DatagramHandler, Endpoint, UpDatagrams } from "./types.ts";

/** In the socket, not yet sent; beyond it datagrams are dropped. */
const QUEUE_BYTES_MAX = 1024 * 1024;
/** Asked for, to hold a burst. */
const RECEIVE_BYTES = 1024 * 1024;

/** To the first address and way that the system accepts. Throws ChainError. */
export async function openConnected(options: DialOptions): Promise<UpDatagrams> {
  const { host, port, names, signal, party } = options;
  const what = `UDP ${joinHostPort(host, port)}`;
  try {
    signal.throwIfAborted();
    const addresses = await withSignal(resolveHost(host, names, signal), signal);
    let failure: unknown = Object.assign(new Error("the name has no address"), {
      code: "ENOTFOUND",
    });
    let hasFailed = false;
    for (const way of addresses.length === 0 ? [] : waysTo(addresses, options)) {
      try {
        refuseLoop(way, options);
        return new ConnectedDatagrams(await connectBy(way), { host, port });
      } catch (error) {
        if (!hasFailed) failure = error;
        hasFailed = true;
      }
    }
    throw failure;
  } catch (error) {
    if (signal.aborted) throw abortError(signal, party, what);
    throw asChainError(error, party, what);
  }
}

async function connectBy({ address, port, device, local, mark }: Way): Promise<Socket> {
  const socket = await openUdpBy(isIP(address) === 6 ? 6 : 4, device ?? local, mark);
  try {
    await new Promise<void>((resolve, reject) => {
      socket.once("error", reject);
      socket.connect(port, address, () => {
        socket.off("error", reject);
        resolve();
      });
    });
  } catch (error) {
    socket.close();
    throw error;
  }
  try {
    socket.setRecvBufferSize(RECEIVE_BYTES);
  } catch {
    // The default serves as well, with more loss under load.
  }
  return socket;
}

class ConnectedDatagrams implements UpDatagrams {
  readonly #socket: Socket;
  readonly #target: Endpoint;
  #handler: DatagramHandler | undefined;
  #isClosed = false;

  /** `target` as it was asked for: what comes is said to be from there. */
  constructor(socket: Socket, target: Endpoint) {
    this.#socket = socket;
    this.#target = target;
    socket.on("error", (error) => this.#failed(error));
    socket.on("message", (data) => this.#handler?.message(data, this.#target));
  }

  attach(handler: DatagramHandler): void {
    this.#handler = handler;
  }

  send(data: Uint8Array): boolean {
    if (this.#isClosed || this.#socket.getSendQueueSize() > QUEUE_BYTES_MAX) return false;
    this.#socket.send(Buffer.from(data), (error) => {
      if (error !== null) this.#failed(error);
    });
    return true;
  }

  #failed(error: Error): void {
    if (!this.#isClosed) this.#handler?.unreachable?.(this.#target, reasonOf(error));
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#socket.close();
    this.#handler?.close();
  }
}
