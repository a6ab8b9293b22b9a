/**
 * Client TLS (RFC 8446, RFC 5246) over a Transport, and the dialer `tls`. As in GOST, certificates
 * are not verified unless asked for; then one warning a node names the remedies: `secure=true`,
 * `caFile`, or `pin=sha256/BASE64` of the server's public key, which fails closed.
 */
import { createHash, timingSafeEqual } from "node:crypto";
import { readFileSync } from "node:fs";
import { isIP } from "node:net";
import {
  type SecureContextOptions,
  type SecureVersion,
  type TLSSocket,
  checkServerIdentity,
  connect,
  createSecureContext,
} from "node:tls";
import { configError, messageOf } from "../errors.ts";
import type { NodeConfig, TlsConfig } from "../config/model.ts";
import { parseHostPort } from "../config/net.ts";
import { duplexOf } from "./duplex.ts";
import { ChainError, abortError, asChainError } from "./errors.ts";
import type { ClientTls, NodeMemory } from "./memory.ts";
import { SocketStream } from "./socket-stream.ts";
import type { Dialer, NodeContext, Transport } from "./types.ts";

const VERSIONS: Readonly<Record<string, SecureVersion>> = {
  "10": "TLSv1",
  "11": "TLSv1.1",
  "12": "TLSv1.2",
  "13": "TLSv1.3",
};

/** `VersionTLS12`, `TLSv1.2` or `1.2`. */
export function tlsVersion(text: string, place: string): SecureVersion {
  const version = VERSIONS[text.replace(/^(version)?tls(v)?/i, "").replace(".", "")];
  if (version !== undefined) return version;
  throw configError(place, `TLS version "${text}" is unknown (VersionTLS12, VersionTLS13)`);
}

/** Go's names of the TLS 1.2 suites in OpenSSL's spelling; others are passed on. */
export function cipherList(suites: readonly string[]): string {
  return suites
    .map((suite) => {
      const match = /^TLS_(ECDHE)_(RSA|ECDSA)_WITH_(.+)$/.exec(suite);
      if (match === null) return suite.startsWith("TLS_RSA_WITH_") ? rsaSuite(suite) : suite;
      return `${match[1] ?? ""}-${match[2] ?? ""}-${cipherName(match[3] ?? "")}`;
    })
    .join(":");
}

function rsaSuite(suite: string): string {
  return cipherName(suite.slice("TLS_RSA_WITH_".length));
}

function cipherName(name: string): string {
  return name
    .replace(/^CHACHA20_POLY1305.*$/, "CHACHA20-POLY1305")
    .replace(/^AES_(128|256)_CBC_(SHA\d*)$/, "AES$1-$2")
    .replace(/^AES_(128|256)_GCM_(SHA\d*)$/, "AES$1-GCM-$2");
}

/** Reads a file that the configuration names; throws a configuration error. */
export function readPem(file: string, key: string, place: string): Buffer {
  try {
    return readFileSync(file);
  } catch (error) {
    throw configError(place, `${key}: cannot read ${file}: ${messageOf(error)}`, error);
  }
}

/** Versions, suites and files of client or server as Node wants them. */
export function secureOptions(tls: TlsConfig, place: string): SecureContextOptions {
  const { minVersion, maxVersion, cipherSuites } = tls.options ?? {};
  if ((tls.certFile === undefined) !== (tls.keyFile === undefined)) {
    throw configError(place, "certFile and keyFile belong together: one of them is missing");
  }
  return {
    minVersion: minVersion === undefined ? "TLSv1.2" : tlsVersion(minVersion, place),
    maxVersion: maxVersion === undefined ? "TLSv1.3" : tlsVersion(maxVersion, place),
    ...(cipherSuites === undefined || cipherSuites.length === 0
      ? {}
      : { ciphers: cipherList(cipherSuites) }),
    ...(tls.caFile === undefined ? {} : { ca: readPem(tls.caFile, "caFile", place) }),
    ...(tls.certFile === undefined ? {} : { cert: readPem(tls.certFile, "certFile", place) }),
    ...(tls.keyFile === undefined ? {} : { key: readPem(tls.keyFile, "keyFile", place) }),
  };
}

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
  let context: ClientTls["context"];
  const options = secureOptions(tls, place);
  try {
    context = createSecureContext(options);
  } catch (error) {
    throw configError(place, `TLS settings: ${messageOf(error)}`, error);
  }
  return {
    context,
    verifyChain: secure || tls.caFile !== undefined,
    verifyName: secure ? name : undefined,
    serverName: isIP(name) === 0 ? name : "",
    pin: tls.pin === undefined || tls.pin === "" ? undefined : parsePin(tls.pin, place),
    alpn: tls.options?.alpn ?? [],
  };
}

/** Reads and checks the TLS settings once. */
export function prepareTls(node: NodeConfig, memory: NodeMemory): void {
  memory.tls ??= clientTls(node);
}

/** TLS over `raw`, verified as the node asks; throws ChainError. */
export async function startTls(
  raw: Transport,
  node: NodeConfig,
  context: NodeContext,
): Promise<SocketStream> {
  prepareTls(node, context.memory);
  const { tls } = context.memory;
  if (tls === undefined) throw new Error("TLS was not prepared");
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

export const tlsDialer: Dialer = { scheme: "tls", prepare: prepareTls, handshake: startTls };
