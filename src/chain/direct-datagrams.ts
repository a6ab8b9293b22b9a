/**
 * Datagrams without a proxy: one socket a family, made at first use. Bound to a device or mark it
 * is the addon's, handed to Node.
 */
import { type Socket, createSocket } from "node:dgram";
import { isIP } from "node:net";
import { loadNative } from "../sys/addon.ts";
import { asChainError, reasonOf } from "./errors.ts";
import { resolveHost } from "./socket.ts";
import type { DatagramHandler, Endpoint, UpDatagrams } from "./types.ts";

export interface LocalEnd {
  readonly device?: string;
  readonly mark?: number;
}

/** Datagrams that wait for a name or the socket. */
const WAITING_MAX = 256;

export function openDirectDatagrams(local: LocalEnd): UpDatagrams {
  return new DirectDatagrams(local);
}

class DirectDatagrams implements UpDatagrams {
  readonly #local: LocalEnd;
  readonly #sockets = new Map<4 | 6, Promise<Socket>>();
  #handler: DatagramHandler | undefined;
  #waiting = 0;
  #closed = false;

  constructor(local: LocalEnd) {
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
      const [address] = await resolveHost(destination.host);
      if (address === undefined) return;
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
    for (const socket of this.#sockets.values()) {
      socket.then((open) => open.close()).catch(() => undefined);
    }
    this.#handler?.close();
  }
}

/** An unconnected UDP socket, bound as asked; a failing bind fails. */
export async function openUdp(family: 4 | 6, local: LocalEnd): Promise<Socket> {
  const socket = createSocket({ type: family === 6 ? "udp6" : "udp4" });
  return new Promise<Socket>((resolve, reject) => {
    socket.once("error", reject);
    const onBound = (): void => {
      socket.off("error", reject);
      resolve(socket);
    };
    if (local.device === undefined && local.mark === undefined) {
      socket.bind(0, onBound);
      return;
    }
    try {
      const fd = loadNative().socket(family, "dgram", { ...deviceOf(local), localPort: 0 });
      socket.bind({ fd }, onBound);
    } catch (error) {
      socket.close();
      reject(error instanceof Error ? error : new Error(String(error)));
    }
  });
}

/** The first name of the list: a datagram socket has one device. */
function deviceOf(local: LocalEnd): LocalEnd {
  const device = local.device?.split(",")[0]?.trim().replace(/!$/, "");
  return {
    ...(device === undefined || device === "" || isIP(device) !== 0 ? {} : { device }),
    ...(local.mark === undefined ? {} : { mark: local.mark }),
  };
}
