/**
 * The client of SOCKS5 (RFC 1928, RFC 1929) with GOST's TLS methods: negotiation, request, reply.
 * Each step waits for the answer to the one before, because GOST's server loses bytes that come in
 * one read with the request.
 *
 * TLS inside: offered unless `notls=true`, or the dialer encrypts already (then `notls=false`
 * brings it back). A node whose TLS options ask for a verified server (secure, caFile, pin) gets
 * nothing in the clear: only the TLS methods are offered, a server without them is refused.
 */
import { metaBool, metaDurationMs, metaHas } from "../config/metadata.ts";
import type { NodeConfig } from "../config/model.ts";
import { joinHostPort } from "../config/net.ts";
import { configError } from "../errors.ts";
import {
  CMD_CONNECT,
  METHOD_NONE,
  METHOD_PASSWORD,
  METHOD_REFUSED,
  METHOD_TLS,
  METHOD_TLS_PASSWORD,
  type MessageReader,
  REP_ADDRESS_TYPE,
  REP_COMMAND,
  REP_HOST_UNREACHABLE,
  REP_NETWORK_UNREACHABLE,
  REP_OK,
  REP_PROHIBITED,
  REP_REFUSED,
  REP_TIMEOUT,
  Socks5FormatError,
  type Socks5Reply,
  encodeGreeting,
  encodePassword,
  encodeRequest,
  methodReader,
  passwordStatusReader,
  replyReader,
  replyText,
} from "../proto/socks5.ts";
import { Deadline } from "./deadline.ts";
import { ChainError, type Party, abortError, asChainError } from "./errors.ts";
import type { NodeMemory } from "./memory.ts";
import { EndedEarly, readMessage } from "./read-message.ts";
import { prepareTls, startTls } from "./tls.ts";
import type { Endpoint, NodeContext, Transport, Unreachable } from "./types.ts";

/** Dialers that encrypt: TLS inside them would do the work twice. */
const ENCRYPTED = new Set(["tls", "mtls", "wss", "mwss"]);

const REASONS: Readonly<Record<number, Unreachable>> = {
  [REP_PROHIBITED]: "prohibited",
  [REP_NETWORK_UNREACHABLE]: "network-unreachable",
  [REP_HOST_UNREACHABLE]: "host-unreachable",
  [REP_REFUSED]: "refused",
  [REP_TIMEOUT]: "timeout",
  [REP_COMMAND]: "protocol",
  [REP_ADDRESS_TYPE]: "network-unreachable",
};

const noop = (): void => undefined;

/** Instead of a code: the server closed the connection. */
export const NO_REPLY = -1;

/** A reply that is no success. */
export class Socks5ReplyError extends ChainError {
  readonly replyCode: number;

  constructor(message: string, replyCode: number, reason: Unreachable, party: Party) {
    super(message, { reason, party });
    this.replyCode = replyCode;
  }
}

export interface Socks5Ask {
  readonly command: number;
  readonly address: Endpoint;
  /** For messages. */
  readonly what: string;
}

export interface Socks5Answer {
  readonly transport: Transport;
  readonly reply: Socks5Reply;
}

function demandsTls(node: NodeConfig): boolean {
  if (ENCRYPTED.has(node.dialer.type)) return false;
  const { secure, caFile, pin } = node.dialer.tls ?? {};
  return secure === true || caFile !== undefined || (pin ?? "") !== "";
}

function offersTls(node: NodeConfig): boolean {
  const { metadata } = node.connector;
  if (metaHas(metadata, "notls")) return !metaBool(metadata, "notls", false);
  return !ENCRYPTED.has(node.dialer.type);
}

/** Checks the options of a node; throws a configuration error. */
export function prepareSocks5(node: NodeConfig, memory: NodeMemory): void {
  const { auth } = node.connector;
  for (const text of [auth?.username ?? "", auth?.password ?? ""]) {
    if (Buffer.byteLength(text) <= 255) continue;
    throw configError(node.place, "SOCKS5 has no user names and passwords above 255 bytes");
  }
  if (offersTls(node)) {
    prepareTls(node, memory);
  } else if (demandsTls(node)) {
    const remedy = "leave notls out, or use a dialer that encrypts";
    throw configError(node.place, `secure, caFile and pin need TLS: ${remedy}`);
  }
}

/** The methods offered to a node, in GOST's order. */
function methodsFor(node: NodeConfig): readonly number[] {
  const hasUser = (node.connector.auth?.username ?? "") !== "";
  const plain = hasUser ? [METHOD_NONE, METHOD_PASSWORD] : [METHOD_NONE];
  if (!offersTls(node)) return plain;
  const tls = hasUser ? [METHOD_TLS, METHOD_TLS_PASSWORD] : [METHOD_TLS];
  return demandsTls(node) ? tls : [...plain, ...tls];
}

/** Opens a command at the server and waits for its reply. Throws ChainError; resets nothing. */
export async function askSocks5(
  transport: Transport,
  node: NodeConfig,
  ask: Socks5Ask,
  context: NodeContext,
): Promise<Socks5Answer> {
  const limitMs = metaDurationMs(node.connector.metadata, "timeout", 0);
  if (limitMs <= 0) return exchange(transport, node, ask, context);
  const limit = new Deadline(limitMs, [context.signal]);
  try {
    return await exchange(transport, node, ask, { ...context, signal: limit.signal });
  } finally {
    limit.end();
  }
}

async function exchange(
  transport: Transport,
  node: NodeConfig,
  ask: Socks5Ask,
  context: NodeContext,
): Promise<Socks5Answer> {
  const inner = await negotiate(transport, node, context);
  try {
    inner.write([encodeRequest(ask.command, ask.address)], noop);
  } catch (error) {
    // A name of more than 255 bytes.
    throw asChainError(error, "destination", ask.what);
  }
  const reply = await readReply(inner, node, context.signal);
  if (reply.code !== REP_OK) throw replyError(reply.code, node, ask, context);
  return { transport: inner, reply };
}

async function readReply(
  transport: Transport,
  node: NodeConfig,
  signal: AbortSignal,
): Promise<Socks5Reply> {
  try {
    return await read(transport, replyReader(), node, signal);
  } catch (error) {
    if (!(error instanceof ChainError) || error.reason !== "closed") throw error;
    throw new Socks5ReplyError(error.message, NO_REPLY, "closed", "proxy");
  }
}

/** Method, TLS and password; answers the transport on which requests go. */
async function negotiate(
  transport: Transport,
  node: NodeConfig,
  context: NodeContext,
): Promise<Transport> {
  const { signal } = context;
  const methods = methodsFor(node);
  transport.write([encodeGreeting(methods)], noop);
  const method = await read(transport, methodReader(), node, signal);
  const isTls = method === METHOD_TLS || method === METHOD_TLS_PASSWORD;
  checkMethod(method, methods, node);
  const inner = isTls ? await startTls(transport, node, context) : transport;
  if (method !== METHOD_PASSWORD && method !== METHOD_TLS_PASSWORD) return inner;
  const { username = "", password = "" } = node.connector.auth ?? {};
  inner.write([encodePassword({ username, password })], noop);
  if (await read(inner, passwordStatusReader(), node, signal)) return inner;
  const message = `${node.addr} does not accept user name and password of the node`;
  throw new ChainError(message, { reason: "auth", party: "proxy" });
}

function checkMethod(method: number, offered: readonly number[], node: NodeConfig): void {
  if (offered.includes(method)) return;
  const proxy = { party: "proxy" } as const;
  if (method !== METHOD_REFUSED) {
    const message = `${node.addr} chose the method ${method}, which was not offered`;
    throw new ChainError(message, { ...proxy, reason: "protocol" });
  }
  if (demandsTls(node)) {
    const message = `${node.addr} offers no TLS inside SOCKS5, which secure, caFile or pin demand`;
    throw new ChainError(message, { ...proxy, reason: "protocol" });
  }
  const hasUser = offered.includes(METHOD_PASSWORD);
  const advice = hasUser ? "" : " (it may want a user name and password)";
  const message = `${node.addr} accepts no way to authenticate${advice}`;
  throw new ChainError(message, { ...proxy, reason: "auth" });
}

/**
 * The error of a reply. GOST says "network unreachable" for every failed dial, and a closed port is
 * the likeliest; a server that was seen to tell reasons apart is believed.
 */
function replyError(
  code: number,
  node: NodeConfig,
  ask: Socks5Ask,
  context: NodeContext,
): Socks5ReplyError {
  const { memory } = context;
  const isReason = code === REP_HOST_UNREACHABLE || code === REP_REFUSED || code === REP_TIMEOUT;
  if (isReason) memory.tellsReasons = true;
  const known = REASONS[code] ?? "closed";
  const isVague = known === "network-unreachable" && code !== REP_ADDRESS_TYPE;
  const reason = isVague && !memory.tellsReasons ? "refused" : known;
  // What an inner node cannot reach is the next node.
  const isConnect = ask.command === CMD_CONNECT && code !== REP_COMMAND;
  const isProxy = context.inner === true || !isConnect;
  const message = `${ask.what}: ${node.name} answers ${code} ${replyText(code)}`;
  return new Socks5ReplyError(message, code, reason, isProxy ? "proxy" : "destination");
}

/** One message of the server. Throws ChainError. */
async function read<Message>(
  transport: Transport,
  reader: MessageReader<Message>,
  node: NodeConfig,
  signal: AbortSignal,
): Promise<Message> {
  const what = `SOCKS5 with ${node.addr}`;
  try {
    return await readMessage(transport, reader, signal);
  } catch (error) {
    if (signal.aborted) throw abortError(signal, "proxy", what);
    if (!(error instanceof Socks5FormatError)) {
      const cause = error instanceof EndedEarly ? (error.cause ?? error) : error;
      throw asChainError(cause, "proxy", what);
    }
    const message = `${node.addr} does not answer as a SOCKS5 server: ${error.message}`;
    throw new ChainError(message, { reason: "protocol", party: "proxy", cause: error });
  }
}

/** CONNECT; the connector's `connect`. No host means the server's own, as in GOST. */
export async function socks5Connect(
  transport: Transport,
  node: NodeConfig,
  destination: Endpoint,
  context: NodeContext,
): Promise<Transport> {
  const { host, port } = destination;
  const address = { host: host === "" ? "127.0.0.1" : host, port };
  const ask = { command: CMD_CONNECT, address, what: joinHostPort(host, port) };
  return (await askSocks5(transport, node, ask, context)).transport;
}
