/**
 * What answers in the internet's namespace: a web server (a big file with ranges, uploads, small
 * pages), a UDP echo and a DNS server. `serve` is called by the agent there; the servers live until
 * the agent ends. Each `spoil` makes one of them lie, so that a check can be seen to notice.
 */
import { createHash } from "node:crypto";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { createServer as createTcpServer, type Server } from "node:net";
import { content } from "./content.ts";
import { answerDns } from "./names.ts";

export interface ServeOptions {
  /** Addresses of the web and echo server, both families. */
  readonly addresses: readonly string[];
  readonly webPort: number;
  readonly echoPort: number;
  /** Where the DNS server listens. */
  readonly dnsAddresses: readonly string[];
  readonly dnsPort: number;
  /** name → addresses, both families. */
  readonly names: Readonly<Record<string, readonly string[]>>;
  readonly bigBytes: number;
  readonly spoil?: "corrupt" | "open-port" | "dns";
  /** The port that `open-port` opens. */
  readonly closedPort: number;
}

/** Starts everything; resolves when all of it listens. */
export async function serve(options: ServeOptions): Promise<void> {
  const all: Promise<unknown>[] = [];
  for (const host of options.addresses) {
    const web = createServer((request, response) => {
      handle(request, response, options).catch(() => response.destroy());
    });
    all.push(listen(web, host, options.webPort));
    all.push(echo(host, options.echoPort));
    if (options.spoil === "open-port") {
      all.push(
        listen(
          createTcpServer((socket) => socket.end()),
          host,
          options.closedPort,
        ),
      );
    }
  }
  for (const host of options.dnsAddresses) all.push(names(host, options));
  await Promise.all(all);
}

async function listen(server: Server, host: string, port: number): Promise<void> {
  server.listen({ host, port, backlog: 1024 });
  await once(server, "listening");
}

async function echo(host: string, port: number): Promise<void> {
  const socket = createSocket({ type: host.includes(":") ? "udp6" : "udp4" });
  socket.on("message", (data, from) => socket.send(data, from.port, from.address));
  socket.on("error", () => undefined);
  socket.bind(port, host);
  await once(socket, "listening");
}

async function names(host: string, options: ServeOptions): Promise<void> {
  const socket = createSocket({ type: host.includes(":") ? "udp6" : "udp4" });
  const table =
    options.spoil === "dns"
      ? Object.fromEntries(Object.keys(options.names).map((name) => [name, ["203.0.113.66"]]))
      : options.names;
  socket.on("message", (query, from) => {
    const answer = answerDns(query, table);
    if (answer !== undefined) socket.send(answer, from.port, from.address);
  });
  socket.on("error", () => undefined);
  socket.bind(options.dnsPort, host);
  await once(socket, "listening");
}

async function handle(
  request: IncomingMessage,
  response: ServerResponse,
  options: ServeOptions,
): Promise<void> {
  response.on("error", () => undefined);
  const url = new URL(request.url ?? "/", "http://server.invalid");
  if (request.method === "PUT" || request.method === "POST") return upload(request, response);
  if (url.pathname === "/big") return big(request, response, options);
  if (url.pathname === "/page") {
    const number = url.searchParams.get("n") ?? "0";
    response.end(`page ${number}\n`.padEnd(4096, "."));
    return;
  }
  response.end(`hello from the internet, ${request.socket.remoteAddress ?? "stranger"}\n`);
}

/** `bytes=A-B` of a file of `size` bytes; undefined if it cannot be satisfied. */
export function parseRange(header: string, size: number): [number, number] | undefined {
  const match = /^bytes=(\d*)-(\d*)$/.exec(header);
  if (match === null) return undefined;
  const [, first = "", last = ""] = match;
  if (first === "" && last === "") return undefined;
  if (first === "") return [Math.max(size - Number(last), 0), size];
  const from = Number(first);
  const to = last === "" ? size : Math.min(Number(last) + 1, size);
  return from < to ? [from, to] : undefined;
}

async function big(
  request: IncomingMessage,
  response: ServerResponse,
  options: ServeOptions,
): Promise<void> {
  const size = options.bigBytes;
  const { range } = request.headers;
  const span = range === undefined ? ([0, size] as const) : parseRange(range, size);
  response.setHeader("Accept-Ranges", "bytes");
  if (span === undefined) {
    response.writeHead(416, { "Content-Range": `bytes */${size}` }).end();
    return;
  }
  const [from, to] = span;
  response.setHeader("Content-Length", to - from);
  if (range !== undefined) response.setHeader("Content-Range", `bytes ${from}-${to - 1}/${size}`);
  response.writeHead(range === undefined ? 200 : 206);
  if (request.method === "HEAD") {
    response.end();
    return;
  }
  const spoilAt = options.spoil === "corrupt" ? Math.floor(size / 2) : -1;
  let at = from;
  for (const piece of content(from, to)) {
    const hit = spoilAt >= at && spoilAt < at + piece.length;
    const data = hit ? flipped(piece, spoilAt - at) : piece;
    at += piece.length;
    if (!response.write(data)) await drained(response);
    if (response.destroyed) return;
  }
  response.end();
}

function flipped(piece: Buffer, index: number): Buffer {
  const copy = Buffer.from(piece);
  copy[index] = (copy[index] ?? 0) ^ 1;
  return copy;
}

function drained(response: ServerResponse): Promise<void> {
  return new Promise((done) => {
    const finish = (): void => {
      response.off("drain", finish).off("close", finish);
      done();
    };
    response.on("drain", finish).on("close", finish);
  });
}

async function upload(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const hash = createHash("sha256");
  let bytes = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    hash.update(chunk);
    bytes += chunk.length;
  }
  response.setHeader("Content-Type", "application/json");
  response.end(JSON.stringify({ bytes, sha256: hash.digest("hex") }));
}
