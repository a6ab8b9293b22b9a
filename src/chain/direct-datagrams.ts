/**
 * Datagrams without a proxy: one socket a family, made at first use. Bound to a device or mark it
 * is the addon's, handed to Node. Destinations whose route leads into a device of ours are refused.
 *
 * Bounds: datagrams that wait, destinations remembered as checked.
 */
import { type Socket, createSocket } from "node:dgram";
import { isIP } from "node:net";
import { ipBytes } from "../proto/address.ts";
import { loadNative } from "../sys/addon.ts";
import { asChainError, reasonOf } from "./errors.ts";
import { type DirectWay, type LocalEnd, demandDevice, localsOf, resolveHost } from "./socket.ts";
import type { DatagramHandler, Endpoint, UpDatagrams } from "./types.ts";

export type { DirectWay, LocalEnd } from "./socket.ts";

/** Addresses that were found not to lead into our own devices, or to. */
const CHECKED_MAX = 256;

/** Datagrams that wait for a name or the socket. */
const WAITING_MAX = 256;

export function openDirectDatagrams(local: DirectWay): UpDatagrams {
  return new DirectDatagrams(local);
}

class DirectDatagrams implements UpDatagrams {
  readonly #local: DirectWay;
  readonly #checked = new Map<string, boolean>();
  readonly #stop = new AbortController();
  readonly #sockets = new Map<4 | 6, Promise<Socket>>();
  #handler: DatagramHandler | undefined;
  #waiting = 0;
  #closed = false;

  constructor(local: DirectWay) {
    this.#local = local;
  }

  attach(handler: DatagramHandler): void {
    this.#handler = handler;
  }

  send(data: Uint8Array, destination: Endpoint): boolean {
    if (this.#closed || this.#waiting >= WAITING_MAX) return false;
    this.#waiting++;
    void this.#send(Buffer.from(data), destination);
    return true;
  }

  async #send(data: Buffer, destination: Endpoint): Promise<void> {
    try {
      const { names } = this.#local;
      const [address] = await resolveHost(destination.host, names, this.#stop.signal);
      if (address === undefined) return;
      if (this.#loops(address)) {
        this.#handler?.unreachable?.(destination, "prohibited");
        return;
      }
      const socket = await this.#socketOf(isIP(address) === 6 ? 6 : 4);
      if (this.#closed) return;
      socket.send(data, destination.port, address, (error) => {
        if (error !== null) this.#handler?.unreachable?.(destination, reasonOf(error));
      });
    } catch (error) {
      this.#handler?.unreachable?.(destination, asChainError(error, "destination", "UDP").reason);
    } finally {
      this.#waiting--;
    }
  }

  /** Whether a datagram to `address` would come back through a device of ours. */
  #loops(address: string): boolean {
    const { device, mark, loopTo } = this.#local;
    if (loopTo === undefined || device !== undefined) return false;
    const known = this.#checked.get(address);
    if (known !== undefined) return known;
    const loops = loopTo(address, mark) !== undefined;
    if (this.#checked.size >= CHECKED_MAX) this.#checked.clear();
    this.#checked.set(address, loops);
    return loops;
  }

  #socketOf(family: 4 | 6): Promise<Socket> {
    const known = this.#sockets.get(family);
    if (known !== undefined) return known;
    const made = openUdp(family, this.#local).then((socket) => {
      socket.on("message", (data, source) => {
        this.#handler?.message(data, { host: source.address, port: source.port });
      });
      // A refused datagram concerns one destination only.
      socket.on("error", () => undefined);
      if (this.#closed) socket.close();
      return socket;
    });
    this.#sockets.set(family, made);
    made.catch(() => this.#sockets.delete(family));
    return made;
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#stop.abort();
    for (const socket of this.#sockets.values()) {
      socket.then((open) => open.close()).catch(() => undefined);
    }
    this.#handler?.close();
  }
}

/** An unconnected UDP socket by the first entry of the list that can be had; throws if none can. */
export async function openUdp(family: 4 | 6, local: LocalEnd): Promise<Socket> {
  let failure: unknown;
  for (const by of localsOf(local.device)) {
    try {
      return await openUdpBy(family, by, local.mark);
    } catch (error) {
      failure ??= error;
    }
  }
  throw failure;
}

/** The same by one device or local address; undefined: the system chooses. */
export function openUdpBy(
  family: 4 | 6,
  by: string | undefined,
  mark: number | undefined,
): Promise<Socket> {
  const localFamily = by === undefined ? 0 : isIP(by);
  if (by !== undefined && localFamily === 0) demandDevice(by);
  if (localFamily !== 0 && localFamily !== family) {
    const error = new Error(`${by ?? ""} is no IPv${family} address`);
    return Promise.reject(Object.assign(error, { code: "EADDRNOTAVAIL" }));
  }
  const socket = createSocket({ type: family === 6 ? "udp6" : "udp4" });
  return new Promise<Socket>((resolve, reject) => {
    const fail = (error: unknown): void => {
      socket.close();
      reject(error instanceof Error ? error : new Error(String(error)));
    };
    socket.once("error", fail);
    const onBound = (): void => {
      socket.off("error", fail);
      resolve(socket);
    };
    if (by === undefined && mark === undefined) {
      socket.bind(0, onBound);
      return;
    }
    try {
      const address = localFamily === 0 ? undefined : ipBytes(by ?? "");
      const fd = loadNative().socket(family, "dgram", {
        ...(by === undefined || localFamily !== 0 ? {} : { device: by }),
        ...(mark === undefined ? {} : { mark }),
        ...(address === undefined ? {} : { localAddress: address }),
        localPort: 0,
      });
      socket.bind({ fd }, onBound);
    } catch (error) {
      fail(error);
    }
  });
}
