/**
 * A small HTTP server for `api` and `metrics`: an address or `unix://PATH`, Basic or Bearer
 * credentials, bounded requests. Without credentials it serves this machine alone: an address that
 * others reach needs `auth` (spec: services.md, divergence 9), and no page of a browser may read it
 * (no CORS).
 */
import { type IncomingMessage, type Server, type ServerResponse, createServer } from "node:http";
import { type AddressInfo, isIP } from "node:net";
import { rmSync, statSync } from "node:fs";
import type { EndpointConfig } from "../config/model.ts";
import { joinHostPort, parseHostPort } from "../config/net.ts";
import { TsgostError, codeOf, configError, messageOf } from "../errors.ts";
import type { Logger } from "../log.ts";
import type { Authenticator, Credentials } from "../types.ts";

export interface WebRequest {
  readonly method: string;
  /** Without query. */
  readonly path: string;
  readonly query: URLSearchParams;
  readonly body: string;
}

export interface WebAnswer {
  readonly status: number;
  readonly type?: string;
  readonly body: string;
}

export interface WebOptions {
  readonly what: "api" | "metrics";
  readonly endpoint: EndpointConfig;
  /** undefined: nobody is asked. */
  readonly authenticator: Authenticator | undefined;
  readonly log: Logger;
  answer(request: WebRequest): Promise<WebAnswer>;
}

export interface WebServer {
  /** host:port that is bound, or the path. */
  readonly address: string;
  close(): Promise<void>;
}

const BODY_BYTES_MAX = 4 * 1024 * 1024;
const CONNECTIONS_MAX = 256;
const REQUEST_MS = 15_000;
const UNIX = "unix://";

/** Starts listening; throws a configuration error, or TSGOST_ERR_LISTEN. */
export async function startWeb(options: WebOptions): Promise<WebServer> {
  const { endpoint, what, authenticator } = options;
  const { addr, place } = endpoint;
  const server = createServer({ requestTimeout: REQUEST_MS, headersTimeout: REQUEST_MS });
  server.maxConnections = CONNECTIONS_MAX;
  server.on("request", (request, response) => {
    void serve(request, response, options);
  });
  const isUnix = addr.startsWith(UNIX);
  if (isUnix) {
    const path = addr.slice(UNIX.length);
    removeStale(path);
    await bind(server, { path }, options);
    return { address: path, close: () => close(server) };
  }
  const where = parseHostPort(addr);
  if (where === undefined) throw configError(place, `${what}.addr: "${addr}" is not [HOST]:PORT`);
  await bind(
    server,
    { port: where.port, ...(where.host === "" ? {} : { host: where.host }) },
    options,
  );
  const { address, port } = server.address() as AddressInfo;
  if (authenticator === undefined && !isLoopback(address)) {
    await close(server);
    const remedy = `give user:password@ (-${what} user:password@${addr}), or listen on 127.0.0.1`;
    throw configError(
      place,
      `${what}: ${addr} can be reached by others without a password; ${remedy}`,
    );
  }
  return { address: joinHostPort(address, port), close: () => close(server) };
}

function isLoopback(address: string): boolean {
  return isIP(address) === 4 ? address.startsWith("127.") : address === "::1";
}

/** A socket file that a killed process left. */
function removeStale(path: string): void {
  try {
    if (statSync(path).isSocket()) rmSync(path);
  } catch (error) {
    if (codeOf(error) !== "ENOENT") throw error;
  }
}

function bind(
  server: Server,
  where: { readonly path: string } | { readonly port: number; readonly host?: string },
  { what, endpoint }: WebOptions,
): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", (cause) => {
      const message = `${what}: cannot listen on ${endpoint.addr}: ${messageOf(cause)}`;
      reject(new TsgostError("TSGOST_ERR_LISTEN", message, { cause }));
    });
    server.listen(where, resolve);
  });
}

function close(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve());
    server.closeAllConnections();
  });
}

async function serve(
  request: IncomingMessage,
  response: ServerResponse,
  options: WebOptions,
): Promise<void> {
  const startMs = performance.now();
  const client = request.socket.remoteAddress ?? "";
  const answer = await answerTo(request, client, options);
  response.writeHead(answer.status, {
    "content-type": answer.type ?? "application/json; charset=utf-8",
    "content-length": Buffer.byteLength(answer.body),
    "cache-control": "no-store",
    ...(answer.status === 401 ? { "www-authenticate": `Basic realm="tsgost"` } : {}),
    ...(request.complete ? {} : { connection: "close" }),
  });
  response.end(request.method === "HEAD" ? "" : answer.body);
  if (options.endpoint.accesslog !== true) return;
  options.log.info(`${request.method ?? ""} ${pathOf(request)}`, {
    kind: options.what,
    client,
    status: answer.status,
    duration: Math.round((performance.now() - startMs) * 1e6),
  });
}

async function answerTo(
  request: IncomingMessage,
  client: string,
  options: WebOptions,
): Promise<WebAnswer> {
  try {
    const given = credentialsOf(request.headers.authorization);
    if (options.authenticator?.accepts(given, client) === false) {
      return { status: 401, body: JSON.stringify({ code: 401, msg: "Unauthorized" }) };
    }
    const body = await readBody(request);
    if (body === undefined) {
      return { status: 413, body: JSON.stringify({ code: 413, msg: "the body is too big" }) };
    }
    const url = new URL(request.url ?? "/", "http://localhost");
    const { pathname: path, searchParams: query } = url;
    return await options.answer({ method: request.method ?? "", path, query, body });
  } catch (error) {
    options.log.error(`${options.what}: ${messageOf(error)}`);
    return { status: 500, body: JSON.stringify({ code: 500, msg: messageOf(error) }) };
  }
}

function pathOf(request: IncomingMessage): string {
  return (request.url ?? "").split("?")[0] ?? "";
}

/** Of `Basic BASE64` or `Bearer USER:PASSWORD`-like tokens, where the token is the password. */
function credentialsOf(header: string | undefined): Credentials | undefined {
  const [, scheme = "", value = ""] = /^(basic|bearer)\s+(\S+)$/i.exec(header ?? "") ?? [];
  if (value === "") return undefined;
  if (scheme.toLowerCase() === "bearer") return splitCredentials(value);
  return splitCredentials(Buffer.from(value, "base64").toString("utf8"));
}

function splitCredentials(text: string): Credentials {
  const colon = text.indexOf(":");
  if (colon < 0) return { username: text, password: "" };
  return { username: text.slice(0, colon), password: text.slice(colon + 1) };
}

/** undefined: more than is taken. */
async function readBody(request: IncomingMessage): Promise<string | undefined> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > BODY_BYTES_MAX) return undefined;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}
