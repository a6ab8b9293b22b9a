/**
 * The server's side of the WebSocket upgrade (RFC 6455 §4.2), with GOST's answers byte for byte.
 * Node's HTTP parser reads the requests (its limits hold); the frames afterwards are ours, because
 * they must be able to half-close. The handshake's deadline is the listener's.
 */
import {
  type IncomingMessage,
  STATUS_CODES,
  type Server,
  type ServerResponse,
  createServer,
} from "node:http";
import type { Duplex } from "node:stream";
import { type Below, SocketStream } from "../chain/socket-stream.ts";
import type { Transport } from "../chain/types.ts";
import { acceptOf } from "../chain/ws-dialer.ts";
import { WsStream } from "../chain/ws-stream.ts";
import { metaMap, metaString } from "../config/metadata.ts";
import type { ServiceConfig } from "../config/model.ts";
import { configError } from "../errors.ts";

const HEAD_BYTES_MAX = 16 * 1024;
const KEY_BYTES = 16;

interface Waiting {
  readonly below: Below;
  readonly ready: (stream: Transport) => void;
}

export class WsAcceptor {
  readonly #path: string;
  readonly #headers: string;
  readonly #server: Server;
  readonly #waiting = new WeakMap<Duplex, Waiting>();

  constructor(service: ServiceConfig) {
    const { metadata } = service.listener;
    this.#path = metaString(metadata, ["ws.path", "path"], "/ws");
    this.#headers = Object.entries(metaMap(metadata, ["ws.header", "header"]))
      .map(([name, value]) => {
        const line = `${name}: ${typeof value === "string" ? value : JSON.stringify(value)}`;
        if (/[\r\n\0]/.test(line))
          throw configError(service.place, `header "${name}" is not valid`);
        return `${line}\r\n`;
      })
      .join("");
    this.#server = createServer({ maxHeaderSize: HEAD_BYTES_MAX, keepAliveTimeout: 0 });
    this.#server.on("request", (request, response) => {
      this.#onRequest(request, response);
    });
    this.#server.on("upgrade", (request, socket, head) => {
      this.#onUpgrade(request, socket, head);
    });
    this.#server.on("clientError", (_error, socket) => {
      if (socket.writable) {
        socket.end(
          "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n" +
            "Connection: close\r\n\r\n400 Bad Request",
        );
      }
      socket.destroy();
    });
  }

  /** Reads requests from `socket` until one upgrades. */
  accept(socket: Duplex, below: Below, ready: (stream: Transport) => void): void {
    this.#waiting.set(socket, { below, ready });
    socket.on("error", ignore);
    this.#server.emit("connection", socket);
    socket.resume();
  }

  close(): void {
    this.#server.removeAllListeners();
  }

  /** The status that refuses a request, in the order of GOST's checks; 101 accepts. */
  #judge(request: IncomingMessage): number {
    const [path] = (request.url ?? "").split("?");
    if (path !== this.#path) return 404;
    if (!hasToken(request.headers.connection, "upgrade")) return 400;
    if (!hasToken(request.headers.upgrade, "websocket")) return 400;
    if (request.method !== "GET") return 405;
    if (request.headers["sec-websocket-version"] !== "13") return 400;
    const key = request.headers["sec-websocket-key"] ?? "";
    return isKey(key) ? 101 : 400;
  }

  #onRequest(request: IncomingMessage, response: ServerResponse): void {
    const status = this.#judge(request);
    const { head, body } = refusal(status);
    response.sendDate = false;
    response.removeHeader("connection");
    response.writeHead(status, head.flat());
    response.end(request.method === "HEAD" ? "" : body);
  }

  #onUpgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    const waiting = this.#waiting.get(socket);
    if (waiting === undefined) {
      socket.destroy();
      return;
    }
    const status = this.#judge(request);
    if (status !== 101) {
      const { head: lines, body } = refusal(status);
      const text = lines.map(([name, value]) => `${name}: ${value}\r\n`).join("");
      socket.write(`HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ""}\r\n${text}\r\n${body}`);
      // The connection stays, for another request, as long as the listener's deadline lets it.
      if (head.length > 0) socket.unshift(head);
      this.#server.emit("connection", socket);
      return;
    }
    if (head.length > 0) {
      // RFC 6455 §4.1: nothing may be sent before the answer.
      socket.destroy();
      return;
    }
    const accept = acceptOf(request.headers["sec-websocket-key"] ?? "");
    socket.write(
      "HTTP/1.1 101 Switching Protocols\r\n" +
        "Upgrade: websocket\r\n" +
        "Connection: Upgrade\r\n" +
        `Sec-WebSocket-Accept: ${accept}\r\n${this.#headers}\r\n`,
    );
    this.#waiting.delete(socket);
    socket.off("error", ignore);
    const stream = new SocketStream(socket, waiting.below);
    waiting.ready(new WsStream(stream, { server: true }));
  }
}

function ignore(): void {
  // The stream that follows has its own listener; before that, a close says enough.
}

function hasToken(value: string | undefined, token: string): boolean {
  return (value ?? "").split(",").some((part) => part.trim().toLowerCase() === token);
}

function isKey(key: string): boolean {
  return /^[A-Za-z0-9+/]{22}==$/.test(key) && Buffer.from(key, "base64").length === KEY_BYTES;
}

/** Go's http.Error: header lines in its order, and the body. */
function refusal(status: number): { head: [string, string][]; body: string } {
  const body = status === 404 ? "404 page not found\n" : `${STATUS_CODES[status] ?? ""}\n`;
  const head: [string, string][] = [["Content-Type", "text/plain; charset=utf-8"]];
  if (status !== 404) head.push(["Sec-Websocket-Version", "13"]);
  head.push(["X-Content-Type-Options", "nosniff"]);
  head.push(["Date", new Date().toUTCString()]);
  head.push(["Content-Length", String(body.length)]);
  return { head, body };
}
