/**
 * Client TLS (RFC 8446, RFC 5246) over a Transport, and the dialer `tls`. As in GOST, certificates
 * are not verified unless asked for; then one warning a node names the remedies: `secure=true`,
 * `caFile`, or `pin=sha256/BASE64` of the server's public key, which fails closed.
 */
import { createHash, timingSafeEqual } from "node:crypto";
import { isIP } from "node:net";
import { type TLSSocket, checkServerIdentity, connect, createSecureContext } from "node:tls";
import { metaDurationMs } from "../config/metadata.ts";
import { configError, messageOf } from "../errors.ts";
import type { NodeConfig } from "../config/model.ts";
import { parseHostPort } from "../config/net.ts";
import { Deadline } from "./deadline.ts";
import { duplexOf } from "./duplex.ts";
import { ChainError, abortError, asChainError } from "./errors.ts";
import type { ClientTls, NodeMemory } from "./memory.ts";
import { keepAliveOf } from "./keep-alive.ts";
import { SocketStream } from "./socket-stream.ts";
import { FileWatch, secureOptions, tlsFiles } from "./tls-options.ts";
import type { Dialer, NodeContext, Transport } from "./types.ts";

const PIN_BYTES = 32;

function parsePin(text: string, place: string): Buffer {
  const match = /^sha256\/([A-Za-z0-9+/_-]{43}=?)$/.exec(text);
  const bytes = Buffer.from(match?.[1] ?? "", "base64");
  if (bytes.length === PIN_BYTES) return bytes;
  throw configError(place, `pin "${text}" is not sha256/ and 44 characters of Base64`);
}

/** Client TLS of a node from its configuration; throws a configuration error. */
export function clientTls(node: NodeConfig): ClientTls {
  const tls = node.dialer.tls ?? {};
  const { place } = node;
  const host = parseHostPort(node.addr)?.host ?? node.addr;
  const name = tls.serverName === undefined || tls.serverName === "" ? host : tls.serverName;
  const secure = tls.secure === true;
  // Before they are read: what changes meanwhile is seen the next time.
  const files = new FileWatch(tlsFiles(tls));
  let context: ClientTls["context"];
  const options = secureOptions(tls, place);
  try {
    context = createSecureContext(options);
  } catch (error) {
    throw configError(place, `TLS settings: ${messageOf(error)}`, error);
  }
  return {
    context,
    verifyChain: secure || (tls.caFile ?? "") !== "",
    verifyName: secure ? name : undefined,
    serverName: isIP(name) === 0 ? name : "",
    pin: tls.pin === undefined || tls.pin === "" ? undefined : parsePin(tls.pin, place),
    alpn: tls.options?.alpn ?? [],
    files,
  };
}

/** Reads and checks the TLS settings once. */
export function prepareTls(node: NodeConfig, memory: NodeMemory): void {
  memory.tls ??= clientTls(node);
}

/** The settings for one more connection: files that were replaced are read again. */
function currentTls(node: NodeConfig, { memory, log }: NodeContext): ClientTls {
  memory.tls ??= clientTls(node);
  if (!memory.tls.files.hasChanged()) return memory.tls;
  try {
    memory.tls = clientTls(node);
  } catch (error) {
    log.warn(`${messageOf(error)}; going on with what was read before`, { node: node.name });
  }
  return memory.tls;
}

/** TLS over `raw`, verified as the node asks; throws ChainError. */
export async function startTls(
  raw: Transport,
  node: NodeConfig,
  context: NodeContext,
): Promise<SocketStream> {
  const tls = currentTls(node, context);
  warnUnverified(tls, node, context);
  const below = raw instanceof SocketStream ? raw.takeSocket() : duplexOf(raw);
  const socket = connect({
    socket: below,
    secureContext: tls.context,
    rejectUnauthorized: tls.verifyChain,
    servername: tls.serverName,
    checkServerIdentity: (_host, certificate) =>
      tls.verifyName === undefined ? undefined : checkServerIdentity(tls.verifyName, certificate),
    ...(tls.alpn.length === 0 ? {} : { ALPNProtocols: [...tls.alpn] }),
  });
  // Errors that come when nobody waits any more must not become uncaught.
  socket.on("error", () => undefined);
  const stands = {
    tcp: raw instanceof SocketStream ? raw.below.tcp : undefined,
    reset: (): void => {
      raw.reset();
    },
  };
  try {
    await secured(socket, context.signal, node);
    checkPin(socket, tls, node);
  } catch (error) {
    socket.destroy();
    below.destroy();
    throw tlsError(error, node, context);
  }
  return new SocketStream(socket, stands);
}

function secured(socket: TLSSocket, signal: AbortSignal, node: NodeConfig): Promise<void> {
  return new Promise<void>((resolve, reject) => {
    const onAbort = (): void => {
      finish(abortError(signal, "proxy", `TLS with ${node.addr}`));
    };
    const onClose = (): void => {
      finish(new Error("the server closed the connection during the TLS handshake"));
    };
    const finish = (error?: Error): void => {
      signal.removeEventListener("abort", onAbort);
      socket.off("error", finish);
      socket.off("close", onClose);
      socket.off("end", onClose);
      if (error === undefined) resolve();
      else reject(error);
    };
    socket.once("error", finish);
    socket.once("close", onClose);
    socket.once("end", onClose);
    socket.once("secureConnect", () => {
      finish();
    });
    signal.addEventListener("abort", onAbort, { once: true });
    if (signal.aborted) onAbort();
  });
}

function checkPin(socket: TLSSocket, tls: ClientTls, node: NodeConfig): void {
  if (tls.pin === undefined) return;
  const key = socket.getPeerX509Certificate()?.publicKey.export({ type: "spki", format: "der" });
  const hash = createHash("sha256")
    .update(key ?? "")
    .digest();
  if (key !== undefined && timingSafeEqual(hash, tls.pin)) return;
  const seen = `sha256/${hash.toString("base64")}`;
  const message = `${node.addr}: the server's public key is not the pinned one; it is ${seen}`;
  throw new ChainError(message, { reason: "protocol", party: "proxy" });
}

function warnUnverified(tls: ClientTls, node: NodeConfig, context: NodeContext): void {
  if (tls.verifyChain || tls.pin !== undefined || context.memory.warnedUnverified) return;
  context.memory.warnedUnverified = true;
  context.log.warn(
    `node ${node.name} (${node.addr}): the server's certificate is not verified; ` +
      "use secure=true, caFile=FILE, or pin=sha256/BASE64 of its public key",
    { node: node.name },
  );
}

const WRONG_VERSION = /WRONG_VERSION_NUMBER|wrong version number|packet length too long/i;

/** What went wrong, with what to do about it. */
function tlsError(error: unknown, node: NodeConfig, context: NodeContext): ChainError {
  if (error instanceof ChainError) return error;
  if (context.signal.aborted) return abortError(context.signal, "proxy", `TLS with ${node.addr}`);
  const text = messageOf(error);
  const code = (error as { code?: unknown }).code;
  let advice = "";
  if (WRONG_VERSION.test(text)) {
    advice = " (no TLS there: a plain port? try the dialer tcp or ws)";
  } else if (
    context.memory.tls?.verifyChain === true &&
    /CERT|SELF_SIGNED|ALTNAME/.test(String(code))
  ) {
    advice = " (the certificate is not trusted: check caFile, serverName, or use pin=sha256/…)";
  } else if (/alert/i.test(text)) {
    advice = " (the server refused the handshake: check versions, serverName, client certificate)";
  }
  return new ChainError(`TLS with ${node.addr}: ${text}${advice}`, {
    reason: asChainError(error, "proxy", "").reason === "refused" ? "refused" : "protocol",
    party: "proxy",
    cause: error,
  });
}

/** TLS within `handshakeTimeout`, if there is one. */
async function handshake(
  raw: Transport,
  node: NodeConfig,
  context: NodeContext,
): Promise<Transport> {
  const { metadata } = node.dialer;
  keepAliveOf(raw, metadata);
  const limitMs = metaDurationMs(metadata, "handshakeTimeout", 0);
  if (limitMs <= 0) return startTls(raw, node, context);
  const limit = new Deadline(limitMs, [context.signal]);
  try {
    return await startTls(raw, node, { ...context, signal: limit.signal });
  } finally {
    limit.end();
  }
}

export const tlsDialer: Dialer = { scheme: "tls", prepare: prepareTls, handshake };
