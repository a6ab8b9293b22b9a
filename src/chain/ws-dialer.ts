/**
 * The dialers `ws` and `wss`: the upgrade request of RFC 6455 §4 exactly as GOST sends it, the
 * answer checked, then frames. The answer's head is bounded in bytes and by the dial's deadline.
 * Compression (RFC 7692) is neither offered nor accepted, which every peer takes.
 */
import { createHash, randomBytes } from "node:crypto";
import { metaBool, metaDurationMs, metaMap, metaString } from "../config/metadata.ts";
import type { NodeConfig } from "../config/model.ts";
import { configError } from "../errors.ts";
import { Deadline } from "./deadline.ts";
import { ChainError, abortError, asChainError } from "./errors.ts";
import { keepAliveOf } from "./keep-alive.ts";
import { prepareTls, startTls } from "./tls.ts";
import type { Dialer, NodeContext, Transport } from "./types.ts";
import { WsStream } from "./ws-stream.ts";

const GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const HEAD_BYTES_MAX = 16 * 1024;
const PING_DEFAULT_MS = 15_000;
const FORBIDDEN_HEADER = /^(upgrade|connection|sec-websocket-(key|version|extensions))$/i;

/** Sec-WebSocket-Accept of a key. */
export function acceptOf(key: string): string {
  return createHash("sha1")
    .update(key + GUID)
    .digest("base64");
}

function upgradeRequest(node: NodeConfig, key: string): string {
  const { metadata } = node.dialer;
  const path = metaString(metadata, ["ws.path", "path"], "/ws");
  let host = metaString(metadata, ["ws.host", "host"], "");
  const extra: string[] = [];
  for (const [name, value] of Object.entries(metaMap(metadata, ["ws.header", "header"]))) {
    const text = typeof value === "string" ? value : JSON.stringify(value);
    if (!/^[\w!#$%&'*+.^`|~-]+$/.test(name) || /[\r\n\0]/.test(text)) {
      throw configError(node.place, `header "${name}" is not a valid HTTP header`);
    }
    if (FORBIDDEN_HEADER.test(name)) {
      throw configError(node.place, `header "${name}" is the WebSocket's own`);
    }
    if (name.toLowerCase() === "host") host = text;
    else extra.push(`${name}: ${text}\r\n`);
  }
  if (/[\s\0]/.test(path) || !path.startsWith("/") || /[\s\0]/.test(host)) {
    throw configError(node.place, `path "${path}" or host "${host}" is not valid in a request`);
  }
  return (
    `GET ${path} HTTP/1.1\r\n` +
    `Host: ${host === "" ? node.addr : host}\r\n` +
    "User-Agent: Go-http-client/1.1\r\n" +
    "Connection: Upgrade\r\n" +
    `Sec-WebSocket-Key: ${key}\r\n` +
    "Sec-WebSocket-Version: 13\r\n" +
    "Upgrade: websocket\r\n" +
    extra.join("") +
    "\r\n"
  );
}

/** Reads up to the empty line; what follows goes back to the transport, which is left detached. */
function readHead(transport: Transport, signal: AbortSignal): Promise<string> {
  return new Promise<string>((resolve, reject) => {
    let head = Buffer.alloc(0);
    const onAbort = (): void => {
      finish(abortError(signal, "proxy", "WebSocket handshake"));
    };
    const finish = (error?: Error): void => {
      signal.removeEventListener("abort", onAbort);
      transport.detach();
      if (error !== undefined) reject(error);
    };
    signal.addEventListener("abort", onAbort, { once: true });
    transport.attach({
      data: (chunk) => {
        head = Buffer.concat([head, chunk]);
        const end = head.indexOf("\r\n\r\n");
        if (end >= 0 && end <= HEAD_BYTES_MAX) {
          finish();
          transport.unshift(head.subarray(end + 4));
          resolve(head.toString("latin1", 0, end));
        } else if (head.length > HEAD_BYTES_MAX) {
          finish(new Error("the answer's head is too long"));
        } else if (!"HTTP/".startsWith(head.toString("latin1", 0, 5))) {
          finish(new Error("the answer is not HTTP"));
        }
      },
      end: () => {
        finish(new Error("the server closed the connection during the handshake"));
      },
      close: (error) => {
        finish(error ?? new Error("closed during the handshake"));
      },
    });
    transport.resume();
    if (signal.aborted) onAbort();
  });
}

/** The values of a header, joined; "" if absent. Throws for malformed lines. */
function headerOf(lines: readonly string[], name: string): string {
  const values: string[] = [];
  for (const line of lines) {
    const colon = line.indexOf(":");
    if (colon <= 0 || /^[ \t]/.test(line)) throw new Error("malformed header in the answer");
    if (line.slice(0, colon).toLowerCase() === name) values.push(line.slice(colon + 1).trim());
  }
  return values.join(", ");
}

function checkAnswer(head: string, key: string): void {
  const [status = "", ...lines] = head.split("\r\n");
  const code = /^HTTP\/1\.[01] (\d{3})( |$)/.exec(status)?.[1];
  if (code === undefined) throw new Error("the answer is not HTTP/1");
  if (code !== "101") {
    const advice = code === "404" ? " (check path=)" : "";
    throw new Error(`the server answers HTTP ${code}, not 101${advice}`);
  }
  const hasToken = (name: string, token: string): boolean =>
    headerOf(lines, name)
      .toLowerCase()
      .split(",")
      .some((part) => part.trim() === token);
  if (!hasToken("upgrade", "websocket") || !hasToken("connection", "upgrade")) {
    throw new Error("the answer is no WebSocket upgrade");
  }
  if (headerOf(lines, "sec-websocket-accept") !== acceptOf(key)) {
    throw new Error("the answer's Sec-WebSocket-Accept is wrong");
  }
  if (headerOf(lines, "sec-websocket-extensions") !== "") {
    throw new Error("the server uses an extension that was not offered");
  }
}

async function upgrade(
  transport: Transport,
  node: NodeConfig,
  context: NodeContext,
): Promise<Transport> {
  const { metadata } = node.dialer;
  const key = randomBytes(16).toString("base64");
  try {
    transport.write([Buffer.from(upgradeRequest(node, key), "latin1")], () => undefined);
    checkAnswer(await readHead(transport, context.signal), key);
  } catch (error) {
    transport.reset();
    throw wsError(error, node);
  }
  const isKeptAlive = metaBool(metadata, ["ws.keepalive", "keepalive"], false);
  const periods = ["ttl", "keepalive.interval", "ws.keepaliveInterval", "keepaliveInterval"];
  const pingMs = metaDurationMs(metadata, periods, PING_DEFAULT_MS);
  return new WsStream(transport, {
    server: false,
    mask: context.mask,
    pingMs: isKeptAlive ? Math.max(1000, pingMs) : 0,
  });
}

function wsError(error: unknown, node: NodeConfig): Error {
  if (error instanceof ChainError) return error;
  const { reason, message } = asChainError(error, "proxy", `WebSocket with ${node.addr}`);
  const isSystem = reason !== "closed";
  return new ChainError(message, {
    reason: isSystem ? reason : "protocol",
    party: "proxy",
    cause: error,
  });
}

/** TLS and upgrade together within `handshakeTimeout`, if there is one. */
async function inTime(
  raw: Transport,
  node: NodeConfig,
  context: NodeContext,
  handshake: (context: NodeContext) => Promise<Transport>,
): Promise<Transport> {
  const { metadata } = node.dialer;
  keepAliveOf(raw, metadata, "tcp.");
  const limitMs = metaDurationMs(metadata, ["ws.handshakeTimeout", "handshakeTimeout"], 0);
  if (limitMs <= 0) return handshake(context);
  const limit = new Deadline(limitMs, [context.signal]);
  try {
    return await handshake({ ...context, signal: limit.signal });
  } finally {
    limit.end();
  }
}

/** Path, host and headers make a request; throws a configuration error. */
function prepareWs(node: NodeConfig): void {
  upgradeRequest(node, "");
}

export const wsDialer: Dialer = {
  scheme: "ws",
  prepare: prepareWs,
  handshake: (raw, node, context) =>
    inTime(raw, node, context, (limited) => upgrade(raw, node, limited)),
};

export const wssDialer: Dialer = {
  scheme: "wss",
  prepare: (node, memory) => {
    prepareTls(node, memory);
    prepareWs(node);
  },
  handshake: (raw, node, context) =>
    inTime(raw, node, context, async (limited) =>
      upgrade(await startTls(raw, node, limited), node, limited),
    ),
};
