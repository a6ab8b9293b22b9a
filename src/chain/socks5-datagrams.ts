/**
 * Datagrams through a SOCKS5 server, three ways, tried in this order until one is answered; the one
 * that served is remembered for the node:
 *
 *   tunnel     GOST's 0xF3 with an empty name, which makes GOST open a socket for both families
 *   tunnel4    the same with 0.0.0.0, for servers that know no empty names; IPv4 only
 *   associate  UDP ASSOCIATE (RFC 1928 §7), also with `relay=udp`: datagrams go to the server
 *              beside the TCP connection, by the same way (device and mark, or the hops before)
 *
 * Names are sent as names. An association lives as long as its TCP connection.
 */
import { isIP } from "node:net";
import { metaString } from "../config/metadata.ts";
import type { NodeConfig } from "../config/model.ts";
import { parseHostPort } from "../config/net.ts";
import { ipBytes, ipText } from "../proto/address.ts";
import {
  CMD_ASSOCIATE,
  CMD_UDP_TUNNEL,
  REP_ADDRESS_TYPE,
  REP_COMMAND,
  REP_FAILURE,
  REP_PROHIBITED,
  decodeDatagram,
  encodeDatagram,
} from "../proto/socks5.ts";
import { ChainError, asChainError } from "./errors.ts";
import type { NodeMemory } from "./memory.ts";
import { AssociationDatagrams } from "./relay-datagrams.ts";
import { withSignal } from "./socket.ts";
import { SocketStream } from "./socket-stream.ts";
import { NO_REPLY, Socks5ReplyError, askSocks5 } from "./socks5.ts";
import type {
  DatagramHandler,
  Endpoint,
  NodeContext,
  OpenTransport,
  Transport,
  UpDatagrams,
  WayToNode,
} from "./types.ts";

type Way = NonNullable<NodeMemory["socks5Datagrams"]>;

const WAYS: readonly Way[] = ["tunnel", "tunnel4", "associate"];
const NO_UDP_MS = 30_000;
const LOG_PERIOD_MS = 3600_000;
/** Of a UDP datagram over IPv4, header of RFC 1928 included. */
const DATAGRAM_BYTES_MAX = 65507;

/** The connector's `datagrams`. Throws ChainError. */
export async function openSocks5Datagrams(
  open: OpenTransport,
  node: NodeConfig,
  context: NodeContext,
): Promise<UpDatagrams> {
  const { memory } = context;
  if (performance.now() < memory.noAssociationUntilMs) {
    const message = `node ${node.name} refused UDP a moment ago`;
    throw new ChainError(message, { reason: "prohibited", party: "proxy" });
  }
  const isStandard = metaString(node.connector.metadata, "relay", "") === "udp";
  let way: Way | undefined = isStandard ? "associate" : (memory.socks5Datagrams ?? "tunnel");
  let first: unknown;
  while (way !== undefined) {
    try {
      const carrier = await openWay(way, open, node, context);
      if (!isStandard) memory.socks5Datagrams = way;
      return carrier;
    } catch (error) {
      if (!isStandard) memory.socks5Datagrams = undefined;
      first ??= error;
      way = isStandard || context.signal.aborted ? undefined : wayAfter(way, error);
    }
  }
  giveUp(first, node, context);
  throw first;
}

/** What to try when a way was refused; undefined: another way would not help. */
function wayAfter(way: Way, error: unknown): Way | undefined {
  if (!(error instanceof Socks5ReplyError)) return undefined;
  const code = error.replyCode;
  if (code === REP_COMMAND) return way === "associate" ? undefined : "associate";
  const mayBeForm = code === REP_FAILURE || code === REP_ADDRESS_TYPE || code === NO_REPLY;
  return mayBeForm ? WAYS[WAYS.indexOf(way) + 1] : undefined;
}

/** A server without UDP is not asked again at once. GOST's carry none unless told to. */
function giveUp(error: unknown, node: NodeConfig, { log, memory }: NodeContext): void {
  if (!(error instanceof Socks5ReplyError)) return;
  const code = error.replyCode;
  if (code !== REP_PROHIBITED && code !== REP_COMMAND) return;
  memory.noAssociationUntilMs = performance.now() + NO_UDP_MS;
  const advice = code === REP_PROHIBITED ? ": a GOST server needs udp=true" : "";
  log.once(`no-udp ${node.name}`, LOG_PERIOD_MS, {
    message: `node ${node.name} carries no UDP${advice}`,
  });
}

async function openWay(
  way: Way,
  open: OpenTransport,
  node: NodeConfig,
  context: NodeContext,
): Promise<UpDatagrams> {
  const raw = await open(context.signal);
  try {
    if (way === "associate") return await associate(raw, node, context);
    const address = { host: way === "tunnel" ? "" : "0.0.0.0", port: 0 };
    const ask = { command: CMD_UDP_TUNNEL, address, what: "UDP tunnel" };
    const { transport } = await askSocks5(raw, node, ask, context);
    return new AssociationDatagrams(transport);
  } catch (error) {
    raw.reset();
    throw error;
  }
}

async function associate(
  raw: Transport,
  node: NodeConfig,
  context: NodeContext,
): Promise<UpDatagrams> {
  const what = "UDP association";
  const { toNode, signal } = context;
  if (toNode === undefined) throw new Error("no way for datagrams to the node");
  const address = { host: "0.0.0.0", port: 0 };
  const ask = { command: CMD_ASSOCIATE, address, what };
  const { transport, reply } = await askSocks5(raw, node, ask, context);
  if (reply.address.port === 0) {
    const message = `${what}: ${node.name} names no port`;
    throw new ChainError(message, { reason: "protocol", party: "proxy" });
  }
  const own = await withSignal(serverOf(raw, node, toNode, signal), signal);
  const server = { host: hostOf(reply.address.host, own), port: reply.address.port };
  const carrier = await toNode.open(signal);
  return new AssociateDatagrams(transport, carrier, server);
}

/** Where the TCP connection goes: an IP, or a name that only the hops before can resolve. */
async function serverOf(
  raw: Transport,
  node: NodeConfig,
  { isDirect, resolve }: WayToNode,
  signal: AbortSignal,
): Promise<string> {
  const host = parseHostPort(node.addr)?.host ?? "";
  const ip = ipBytes(host);
  if (ip !== undefined) return ipText(ip);
  if (!isDirect) return host;
  const peer = raw instanceof SocketStream ? raw.below.tcp?.remoteAddress : undefined;
  if (peer !== undefined) return peer;
  try {
    return (await resolve(host, signal))[0] ?? host;
  } catch (error) {
    throw asChainError(error, "proxy", host);
  }
}

/**
 * A server that does not know its own address, or only one of its own side (behind NAT or in a
 * container), is where its TCP connection goes.
 */
function hostOf(named: string, own: string): string {
  const isLocal = /^(127\.|::1$)/.test(named) && !/^(127\.|::1$)/.test(own);
  const isNone = named === "" || named === "0.0.0.0" || named === "::";
  return isNone || isLocal ? own : named;
}

class AssociateDatagrams implements UpDatagrams {
  readonly #control: Transport;
  readonly #carrier: UpDatagrams;
  readonly #server: Endpoint;
  #handler: DatagramHandler | undefined;
  #isClosed = false;

  constructor(control: Transport, carrier: UpDatagrams, server: Endpoint) {
    this.#control = control;
    this.#carrier = carrier;
    this.#server = server;
  }

  attach(handler: DatagramHandler): void {
    this.#handler = handler;
    const isByIp = isIP(this.#server.host) !== 0;
    this.#carrier.attach({
      message: (data, source) => {
        // Nobody else may speak for the server.
        if (source.port !== this.#server.port) return;
        if (isByIp && source.host !== this.#server.host) return;
        const datagram = decodeDatagram(data);
        if (datagram === undefined || datagram.fragment !== 0) return;
        handler.message(datagram.payload, datagram.address);
      },
      close: (error) => this.#end(error),
    });
    this.#control.attach({
      // Nothing is to come there.
      data: () => undefined,
      end: () => this.#end(),
      close: (error) => this.#end(error),
    });
    this.#control.resume();
  }

  send(data: Uint8Array, destination: Endpoint): boolean {
    if (this.#isClosed) return false;
    let datagram: Buffer;
    try {
      datagram = encodeDatagram(data, destination);
    } catch {
      // A name above 255 bytes.
      return false;
    }
    if (datagram.length > DATAGRAM_BYTES_MAX) return false;
    return this.#carrier.send(datagram, this.#server);
  }

  close(): void {
    this.#end();
  }

  #end(error?: Error): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#carrier.close();
    this.#control.end();
    this.#control.destroy();
    this.#handler?.close(error);
  }
}
