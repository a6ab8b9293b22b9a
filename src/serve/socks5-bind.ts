/**
 * BIND (RFC 1928 §4): listens where the client asks, tells it where, and gives it the first
 * connection that comes. As in GOST the address of the request is the one to listen on, and no
 * chain is used: nothing is dialled.
 */
import { once } from "node:events";
import { type AddressInfo, type Server, type Socket, createServer } from "node:net";
import { SocketStream } from "../chain/socket-stream.ts";
import { ATYP_IPV4 } from "../proto/address.ts";
import { REP_FAILURE, REP_OK, REP_PROHIBITED, REP_TIMEOUT, encodeReply } from "../proto/socks5.ts";
import { messageOf } from "../errors.ts";
import { pipe } from "./relay-pipe.ts";
import { ClientGone, ipOf, whileOpen } from "./session.ts";
import { type Socks5Client, Socks5Refusal, plainIp } from "./socks5-settings.ts";

/** For the peer to come. */
const WAIT_MS = 300_000;

const noop = (): void => undefined;

/** Runs until the connection is over. Throws Socks5Refusal. */
export async function serveBind(client: Socks5Client, stopped: AbortSignal): Promise<void> {
  const { transport, settings, accepted } = client;
  if (!settings.mayBind) throw new Socks5Refusal("BIND is off", REP_PROHIBITED);
  const server = createServer({ allowHalfOpen: true, pauseOnConnect: true, noDelay: true });
  server.maxConnections = 1;
  server.on("error", noop);
  try {
    await bind(server, client);
    const { port } = server.address() as AddressInfo;
    const host = settings.publicAddr ?? plainIp(ipOf(accepted.local));
    transport.write([encodeReply(REP_OK, { host, port })], noop);
    const limit = { ms: WAIT_MS, outer: stopped };
    const { result: peer, hasEnded } = await whileOpen(
      transport,
      limit,
      (signal) => nextConnection(server, signal),
      (late) => late.destroy(),
    );
    const from = { host: plainIp(peer.remoteAddress ?? ""), port: peer.remotePort ?? 0 };
    transport.write([encodeReply(REP_OK, from)], noop);
    server.close();
    await pipe(transport, new SocketStream(peer), hasEnded);
  } catch (error) {
    if (error instanceof ClientGone || error instanceof Socks5Refusal) throw error;
    const isLate = error instanceof Error && error.name === "TimeoutError";
    throw new Socks5Refusal(`BIND: ${messageOf(error)}`, isLate ? REP_TIMEOUT : REP_FAILURE);
  } finally {
    server.close();
  }
}

async function bind(server: Server, { request }: Socks5Client): Promise<void> {
  const { host, port } = request.address;
  const isAny = host === "" || host === "0.0.0.0" || host === "::";
  const any = request.addressType === ATYP_IPV4 ? "0.0.0.0" : "::";
  server.listen({ host: isAny ? any : host, port, backlog: 1, exclusive: true });
  await once(server, "listening");
}

async function nextConnection(server: Server, signal: AbortSignal): Promise<Socket> {
  try {
    const [socket] = (await once(server, "connection", { signal })) as [Socket];
    return socket;
  } catch (error) {
    throw signal.aborted ? signal.reason : error;
  }
}
