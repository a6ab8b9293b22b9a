/**
 * BIND of the relay handler for TCP (relay protocol, "TCP bind"): a port is opened here, and each
 * connection to it becomes a stream of a smux session inside the client's connection. We open the
 * streams; each begins with a reply that names the peer.
 *
 * Bounds: connections (the session's streams). Everything ends with the client's connection.
 */
import { type AddressInfo, type Server, type Socket, createServer } from "node:net";
import { MuxSession } from "../chain/mux-session.ts";
import type { MuxSettings } from "../chain/mux-settings.ts";
import { SocketStream } from "../chain/socket-stream.ts";
import type { Endpoint, Transport } from "../chain/types.ts";
import { STATUS_OK, encodeReply } from "../proto/relay.ts";
import { pipe } from "./relay-pipe.ts";

const BACKLOG = 128;
const KEEPALIVE_MS = 60_000;

const noop = (): void => undefined;

/** Rejects with a system error where the address cannot be had, before anything was said. */
export async function serveTcpBind(
  transport: Transport,
  address: Endpoint,
  settings: MuxSettings,
  signal: AbortSignal,
): Promise<void> {
  const server = await listenAt(address);
  const bound = server.address() as AddressInfo;
  const reply = { status: STATUS_OK, address: { host: bound.address, port: bound.port } };
  transport.write([encodeReply(reply)], noop);
  try {
    await new Promise<void>((resolve) => {
      const session = new MuxSession(transport, {
        opener: true,
        settings,
        onClose: () => resolve(),
      });
      const stop = (): void => {
        transport.reset();
        resolve();
      };
      signal.addEventListener("abort", stop, { once: true });
      transport.resume();
      server.on("connection", (socket) => {
        if (session.hasRoom) carry(session, socket);
        else socket.resetAndDestroy();
      });
    });
  } finally {
    server.close();
  }
}

function carry(session: MuxSession, socket: Socket): void {
  socket.setKeepAlive(true, KEEPALIVE_MS);
  const peer = { host: socket.remoteAddress ?? "", port: socket.remotePort ?? 0 };
  const stream = session.open();
  stream.write([encodeReply({ status: STATUS_OK, address: peer })], noop);
  void pipe(stream, new SocketStream(socket));
}

/** An empty or unspecified host: both families, or IPv4 where there is no IPv6. */
async function listenAt({ host, port }: Endpoint): Promise<Server> {
  const isAny = host === "" || host === "::" || host === "0.0.0.0";
  if (!isAny) return listenOn(host, port);
  try {
    return await listenOn("::", port);
  } catch (error) {
    const { code } = error as { code?: string };
    if (code !== "EAFNOSUPPORT" && code !== "EADDRNOTAVAIL") throw error;
    return listenOn("0.0.0.0", port);
  }
}

function listenOn(host: string, port: number): Promise<Server> {
  return new Promise<Server>((resolve, reject) => {
    const server = createServer({ allowHalfOpen: true, pauseOnConnect: true, noDelay: true });
    server.once("error", reject);
    server.listen({ host, port, backlog: BACKLOG, exclusive: true }, () => {
      server.off("error", reject);
      server.on("error", noop);
      resolve(server);
    });
  });
}
