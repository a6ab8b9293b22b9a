/**
 * Sockets that leave by a device or carry a mark (SO_BINDTODEVICE, SO_MARK), which Node cannot set:
 * the addon makes them, Node connects and owns them. A failing bind fails the dial; the socket is
 * never used unbound.
 */
import { Socket, isIP } from "node:net";
import { ipBytes } from "../proto/address.ts";
import { loadNative } from "../sys/addon.ts";

export interface BoundWay {
  readonly address: string;
  readonly port: number;
  readonly local: string | undefined;
  readonly device: string | undefined;
  readonly mark: number | undefined;
}

/** Connects to `address`, which is IP text. The socket allows half-open. */
export function openBoundSocket(way: BoundWay, signal: AbortSignal): Promise<Socket> {
  return new Promise<Socket>((resolve, reject) => {
    const family = isIP(way.address) === 6 ? 6 : 4;
    const local = way.local === undefined ? undefined : ipBytes(way.local);
    const fd = loadNative().socket(family, "stream", {
      ...(way.device === undefined ? {} : { device: way.device }),
      ...(way.mark === undefined ? {} : { mark: way.mark }),
      ...(local === undefined ? {} : { localAddress: local }),
    });
    const socket = adopt(fd);
    const onAbort = (): void => {
      socket.destroy(signal.reason instanceof Error ? signal.reason : new Error("aborted"));
    };
    const onError = (error: Error): void => {
      signal.removeEventListener("abort", onAbort);
      reject(error);
    };
    signal.addEventListener("abort", onAbort, { once: true });
    socket.once("error", onError);
    socket.connect({ host: way.address, port: way.port }, () => {
      signal.removeEventListener("abort", onAbort);
      socket.off("error", onError);
      resolve(socket);
    });
  });
}

/** A Node socket around an unconnected descriptor, which it owns from here on. */
function adopt(fd: number): Socket {
  // Reading starts with the connection, not now; test/chain/bound.test.ts holds Node to it.
  const options = { fd, allowHalfOpen: true, manualStart: true };
  try {
    return new Socket(options);
  } catch (error) {
    loadNative().close(fd);
    throw error;
  }
}
