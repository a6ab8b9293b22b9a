/**
 * BIND (RFC 1928 §4): listens where the client asks, tells it where, and gives it the first
 * connection that comes. As in GOST the address of the request is the one to listen on, and no
 * chain is used: nothing is dialled.
 *
 * GOST's mux bind (0xF2): the same for any number of connections, each a stream of a smux session
 * over the client's connection, in which the server opens the streams.
 */
import { once } from "node:events";
import { setTimeout as delay } from "node:timers/promises";
import { type AddressInfo, type Server, type Socket, createServer } from "node:net";
import { MuxSession } from "../chain/mux-session.ts";
import { SocketStream } from "../chain/socket-stream.ts";
import type { Transport } from "../chain/types.ts";
import { ATYP_IPV4 } from "../proto/address.ts";
import { REP_FAILURE, REP_OK, REP_PROHIBITED, REP_TIMEOUT, encodeReply } from "../proto/socks5.ts";
import { messageOf } from "../errors.ts";
import { pipe } from "./relay-pipe.ts";
import { ClientGone, ipOf, whileOpen } from "./session.ts";
import { type Socks5Client, Socks5Refusal, plainIp } from "./socks5-settings.ts";

/** For the peer to come. */
const WAIT_MS = 300_000;
/**
 * GOST's client takes up to 262 bytes for a reply and loses what is behind it: no stream begins
 * before it had the time to read the reply, and a stream's own reply has a frame of its own.
 */
const SETTLE_MS = 200;

const noop = (): void => undefined;

/** Runs until the connection is over. Throws Socks5Refusal. */
export async function serveBind(client: Socks5Client, stopped: AbortSignal): Promise<void> {
  const { transport } = client;
  const server = await openServer(client);
  server.maxConnections = 1;
  try {
    const { result: peer, hasEnded } = await whileOpen(
      transport,
      { ms: WAIT_MS, outer: stopped },
      (signal) => nextConnection(server, signal),
      (late) => late.destroy(),
    );
    server.close();
    transport.write([peerReply(peer)], noop);
    await pipe(transport, new SocketStream(peer), hasEnded);
  } catch (error) {
    if (error instanceof ClientGone) throw error;
    const isLate = error instanceof Error && error.name === "TimeoutError";
    throw new Socks5Refusal(`BIND: ${messageOf(error)}`, isLate ? REP_TIMEOUT : REP_FAILURE);
  } finally {
    server.close();
  }
}

/** Runs until the client's connection is over. Throws Socks5Refusal. */
export async function serveMuxBind(client: Socks5Client, stopped: AbortSignal): Promise<void> {
  const { transport, settings } = client;
  const server = await openServer(client);
  server.maxConnections = settings.mux.streamsMax;
  const settled = delay(SETTLE_MS, undefined, { ref: false });
  await new Promise<void>((resolve) => {
    const session = new MuxSession(transport, {
      opener: true,
      settings: settings.mux,
      onClose: () => {
        stopped.removeEventListener("abort", end);
        server.close();
        resolve();
      },
    });
    const end = (): void => session.close();
    stopped.addEventListener("abort", end, { once: true });
    server.on("connection", (socket) => {
      const carry = (stream: Transport): void => void pipe(stream, new SocketStream(socket));
      socket.on("error", noop);
      void settled.then(() => {
        if (socket.destroyed) return;
        if (!session.hasRoom) {
          socket.resetAndDestroy();
          return;
        }
        const stream = session.open();
        if (settings.isPlainMux) carry(stream);
        else {
          stream.write([peerReply(socket)], (error) => {
            if (error === undefined) carry(stream);
            else socket.resetAndDestroy();
          });
        }
      });
    });
    if (stopped.aborted) end();
  });
}

/** Listens as the request says, and answers it. */
async function openServer({
  transport,
  request,
  settings,
  accepted,
}: Socks5Client): Promise<Server> {
  if (!settings.mayBind) throw new Socks5Refusal("BIND is off", REP_PROHIBITED);
  const { host, port } = request.address;
  const isAny = host === "" || host === "0.0.0.0" || host === "::";
  const any = request.addressType === ATYP_IPV4 ? "0.0.0.0" : "::";
  const server = createServer({ allowHalfOpen: true, pauseOnConnect: true, noDelay: true });
  try {
    server.listen({ host: isAny ? any : host, port, exclusive: true });
    await once(server, "listening");
  } catch (error) {
    throw new Socks5Refusal(`BIND: ${messageOf(error)}`);
  }
  server.on("error", noop);
  const bound = settings.publicAddr ?? plainIp(ipOf(accepted.local));
  const reply = encodeReply(REP_OK, { host: bound, port: (server.address() as AddressInfo).port });
  transport.write([reply], noop);
  return server;
}

function peerReply({ remoteAddress = "", remotePort = 0 }: Socket): Uint8Array {
  return encodeReply(REP_OK, { host: plainIp(remoteAddress), port: remotePort });
}

async function nextConnection(server: Server, signal: AbortSignal): Promise<Socket> {
  try {
    const [socket] = (await once(server, "connection", { signal })) as [Socket];
    return socket;
  } catch (error) {
    throw signal.aborted ? signal.reason : error;
  }
}
