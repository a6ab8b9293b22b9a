/**
 * Servers that end-to-end tests talk to, one behaviour a port, started by `serve` inside the agent
 * of the internet's namespace. PORT names them; nothing here shares code with tsgost.
 */
import { createCipheriv, createHash, randomBytes } from "node:crypto";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { createServer, type Socket } from "node:net";

export const PORT = {
  /** Sends back what comes, half-closes when the client does. */
  echo: 9001,
  /** Reads to the end, then answers with length and sha256. */
  digest: 9002,
  /** Both directions at once, see `duplex`. */
  duplex: 9003,
  /** Speaks first, then echoes. */
  greeter: 9004,
  /** Accepts and says nothing. */
  silent: 9005,
  /** Resets at the first byte. */
  reset: 9006,
  /** One short line, then the end. */
  short: 9007,
  /** Reads to the end, then ends without a word. */
  sink: 9008,
  /** One line with the address that the connection came from, then the end. */
  whoami: 9009,
  /** UDP: answers from `stranger`, then from here. */
  chatty: 9010,
  stranger: 9011,
  /** Nobody listens. */
  closed: 9099,
  /** On the relay's address: a peer that answers with rubbish, and one that never answers. */
  garbage: 9443,
  mute: 9444,
} as const;

export interface ServerOptions {
  readonly hosts: readonly string[];
  /** Address of the relay server, where the bad peers listen, too. */
  readonly relay: string;
}

/** How many connections are open on each port, asked by tests through `counts`. */
const open = new Map<number, number>();
const total = new Map<number, number>();

export function counts(port: number): Promise<{ open: number; total: number }> {
  return Promise.resolve({ open: open.get(port) ?? 0, total: total.get(port) ?? 0 });
}

/** Random bytes that both ends can make: keystream of the seed. */
export function stream(seed: number): (length: number) => Buffer {
  const key = createHash("sha256").update(`seed ${seed}`).digest();
  const cipher = createCipheriv("aes-256-ctr", key, Buffer.alloc(16));
  return (length) => cipher.update(Buffer.alloc(length));
}

/** What a duplex client sends first: seed, bytes up, bytes down, 4 bytes each. */
export const DUPLEX_HEADER_BYTES = 12;

/** Sends `length` seeded bytes with back-pressure, in pieces of varied size. */
export async function sendSeeded(socket: Socket, seed: number, length: number): Promise<void> {
  const next = stream(seed);
  for (let sent = 0, turn = 0; sent < length && !socket.destroyed; turn++) {
    const size = Math.min(length - sent, [1, 1460, 65536, 300, 16384, 7][turn % 6] ?? 1);
    sent += size;
    if (!socket.write(next(size))) {
      await Promise.race([once(socket, "drain"), once(socket, "close")]).catch(() => undefined);
    }
  }
}

/**
 * The client's header, then its bytes; meanwhile the server sends its own (seed + 1), and at last
 * the sha256 of what it got.
 */
function duplex(socket: Socket): void {
  let head = Buffer.alloc(0);
  let expected = -1;
  let got = 0;
  const hash = createHash("sha256");
  let sending: Promise<void> = Promise.resolve();
  const body = (chunk: Buffer): void => {
    hash.update(chunk);
    got += chunk.length;
    if (got < expected) return;
    void sending.then(() => socket.end(hash.digest()));
  };
  socket.on("data", (chunk) => {
    if (expected >= 0) {
      body(chunk);
      return;
    }
    head = Buffer.concat([head, chunk]);
    if (head.length < DUPLEX_HEADER_BYTES) return;
    expected = head.readUInt32BE(4);
    sending = sendSeeded(socket, head.readUInt32BE(0) + 1, head.readUInt32BE(8));
    body(head.subarray(DUPLEX_HEADER_BYTES));
  });
}

function digest(socket: Socket): void {
  const hash = createHash("sha256");
  let bytes = 0;
  socket.on("data", (chunk) => {
    hash.update(chunk);
    bytes += chunk.length;
  });
  socket.on("end", () => socket.end(JSON.stringify({ bytes, sha256: hash.digest("hex") })));
}

const BEHAVIOURS: readonly [number, (socket: Socket) => void][] = [
  [PORT.echo, (socket) => void socket.pipe(socket)],
  [PORT.digest, digest],
  [PORT.duplex, duplex],
  [
    PORT.greeter,
    (socket) => {
      socket.write("220 welcome\r\n");
      socket.pipe(socket);
    },
  ],
  [PORT.silent, (socket) => void socket.resume()],
  [PORT.reset, (socket) => void socket.once("data", () => socket.resetAndDestroy())],
  [PORT.short, (socket) => void socket.resume().end("done\n")],
  [PORT.whoami, (socket) => void socket.resume().end(`${socket.remoteAddress ?? ""}\n`)],
  [PORT.sink, (socket) => void socket.resume().once("end", () => socket.end())],
];

const BAD_PEERS: readonly [number, (socket: Socket) => void][] = [
  [PORT.garbage, (socket) => void socket.on("data", () => socket.write(randomBytes(300)))],
  [PORT.mute, (socket) => void socket.resume()],
];

async function listen(host: string, port: number, behave: (socket: Socket) => void): Promise<void> {
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    open.set(port, (open.get(port) ?? 0) + 1);
    total.set(port, (total.get(port) ?? 0) + 1);
    socket.on("error", () => undefined);
    socket.on("close", () => open.set(port, (open.get(port) ?? 1) - 1));
    behave(socket);
  });
  server.listen({ host, port, backlog: 2048 });
  await once(server, "listening");
}

async function udpEcho(host: string, port: number): Promise<void> {
  const socket = createSocket({
    type: host.includes(":") ? "udp6" : "udp4",
    recvBufferSize: 4 * 1024 ** 2,
  });
  socket.on("message", (data, from) => socket.send(data, from.port, from.address));
  socket.on("error", () => undefined);
  socket.bind(port, host);
  await once(socket, "listening");
}

async function udpChatty(host: string): Promise<void> {
  const type = host.includes(":") ? "udp6" : "udp4";
  const [own, stranger] = [createSocket(type), createSocket(type)];
  own.on("message", (data, from) => {
    stranger.send(data, from.port, from.address, () => own.send(data, from.port, from.address));
  });
  for (const socket of [own, stranger]) socket.on("error", () => undefined);
  own.bind(PORT.chatty, host);
  stranger.bind(PORT.stranger, host);
  await Promise.all([once(own, "listening"), once(stranger, "listening")]);
}

export async function serve(options: ServerOptions): Promise<void> {
  const all = options.hosts.flatMap((host) => [
    ...BEHAVIOURS.map(([port, behave]) => listen(host, port, behave)),
    udpEcho(host, PORT.echo),
    udpChatty(host),
  ]);
  await Promise.all([...all, ...BAD_PEERS.map(([port, act]) => listen(options.relay, port, act))]);
}
