/**
 * What an application does with a local proxy: SOCKS5, HTTP, and forwarded ports, spoken here byte
 * by byte, so that nothing is shared with the programs under test.
 */
import { createHash, randomBytes } from "node:crypto";
import { createSocket, type Socket as UdpSocket } from "node:dgram";
import { once } from "node:events";
import { type Socket, connect } from "node:net";
import * as assert from "uvu/assert";

/** Generous: the machine may be busy. */
export const WAIT_MS = 15_000;
const RESEND_MS = 300;

/** A connection and everything that came by it. */
export class Flow {
  readonly socket: Socket;
  readonly chunks: Buffer[] = [];
  bytes = 0;
  ended = false;
  closed = false;
  #wake: (() => void)[] = [];

  constructor(socket: Socket) {
    this.socket = socket;
    socket.on("data", (chunk: Buffer) => {
      this.chunks.push(chunk);
      this.bytes += chunk.length;
      this.#wakeAll();
    });
    socket.on("end", () => {
      this.ended = true;
      this.#wakeAll();
    });
    socket.on("close", () => {
      this.closed = true;
      this.#wakeAll();
    });
    socket.on("error", () => undefined);
  }

  static async open(port: number): Promise<Flow> {
    const socket = connect({ port, host: "127.0.0.1", allowHalfOpen: true });
    const flow = new Flow(socket);
    await once(socket, "connect");
    return flow;
  }

  get data(): Buffer {
    return Buffer.concat(this.chunks);
  }

  get text(): string {
    return this.data.toString("latin1");
  }

  /** Nothing more will come. */
  get isOver(): boolean {
    return this.ended || this.closed;
  }

  #wakeAll(): void {
    for (const wake of this.#wake.splice(0)) wake();
  }

  async until(condition: () => boolean, limitMs = WAIT_MS): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error(`no more than ${this.#seen()}`)), limitMs);
    });
    try {
      while (!condition()) {
        if (this.isOver && !condition()) throw new Error(`the end came after ${this.#seen()}`);
        await Promise.race([new Promise<void>((resolve) => this.#wake.push(resolve)), late]);
      }
    } finally {
      clearTimeout(timer);
    }
  }

  #seen(): string {
    return `${this.bytes} bytes ${JSON.stringify(this.text.slice(0, 80))}`;
  }

  /** Takes exactly `count` bytes from the front. */
  async take(count: number): Promise<Buffer> {
    await this.until(() => this.bytes >= count);
    const all = this.data;
    this.chunks.splice(0, this.chunks.length, all.subarray(count));
    this.bytes -= count;
    return all.subarray(0, count);
  }

  /** Takes up to and with the empty line. */
  async takeHead(): Promise<string> {
    await this.until(() => this.data.includes("\r\n\r\n"));
    return (await this.take(this.data.indexOf("\r\n\r\n") + 4)).toString("latin1");
  }

  send(data: string | Uint8Array): Promise<void> {
    return new Promise((resolve, reject) => {
      this.socket.write(data, (error) => (error ? reject(error) : resolve()));
    });
  }

  /** Sends a FIN. */
  end(): void {
    this.socket.end();
  }

  destroy(): void {
    this.socket.destroy();
  }
}

function addressOf(host: string, port: number): Buffer {
  const tail = Buffer.of(port >> 8, port & 255);
  if (/^[\d.]+$/.test(host)) {
    return Buffer.concat([Buffer.of(1, ...host.split(".").map(Number)), tail]);
  }
  return Buffer.concat([Buffer.of(3, host.length), Buffer.from(host), tail]);
}

/** A SOCKS5 request at the proxy on `proxy`; the reply's code, and the flow behind it. */
async function socksRequest(
  proxy: number,
  command: number,
  [host, port]: readonly [string, number],
): Promise<{ reply: number; bound: number; flow: Flow }> {
  const flow = await Flow.open(proxy);
  await flow.send(Buffer.of(5, 1, 0));
  const hello = await flow.take(2);
  if (hello[1] !== 0) throw new Error(`SOCKS5 wants method ${hello[1] ?? -1}`);
  await flow.send(Buffer.concat([Buffer.of(5, command, 0), addressOf(host, port)]));
  const head = await flow.take(4);
  const rest = await flow.take(head[3] === 4 ? 18 : 6);
  return { reply: head[1] ?? -1, bound: rest.readUInt16BE(rest.length - 2), flow };
}

/** A flow to the target; throws with the reply's code where it is refused. */
export async function socksConnect(proxy: number, port: number, host = "127.0.0.1"): Promise<Flow> {
  const { reply, flow } = await socksRequest(proxy, 1, [host, port]);
  if (reply === 0) return flow;
  flow.destroy();
  throw new Error(`SOCKS5 reply ${reply}`);
}

/** The reply's code, whatever it is. */
export async function socksReply(proxy: number, port: number, host = "127.0.0.1"): Promise<number> {
  const { reply, flow } = await socksRequest(proxy, 1, [host, port]);
  flow.destroy();
  return reply;
}

/** CONNECT at an HTTP proxy; the status, and the flow behind it. */
export async function httpConnect(
  proxy: number,
  port: number,
): Promise<{ status: number; flow: Flow }> {
  const flow = await Flow.open(proxy);
  await flow.send(`CONNECT 127.0.0.1:${port} HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\n\r\n`);
  const head = await flow.takeHead();
  return { status: Number(head.split(" ")[1]), flow };
}

/** A plain request by an HTTP proxy; status and body. */
export async function httpGet(
  proxy: number,
  port: number,
): Promise<{ status: number; body: string }> {
  const flow = await Flow.open(proxy);
  const host = `127.0.0.1:${port}`;
  await flow.send(`GET http://${host}/x HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`);
  const head = await flow.takeHead();
  const length = Number(/content-length: (\d+)/i.exec(head)?.[1] ?? 0);
  const body = (await flow.take(length)).toString("latin1");
  flow.destroy();
  return { status: Number(head.split(" ")[1]), body };
}

/** A datagram socket of the application; `header` is put in front of what it sends. */
export class Datagrams {
  readonly #socket: UdpSocket;
  readonly #to: number;
  readonly #header: Buffer;
  readonly #control: Flow | undefined;
  readonly #got: Buffer[] = [];

  private constructor(to: number, header: Buffer, control?: Flow) {
    this.#socket = createSocket("udp4");
    this.#to = to;
    this.#header = header;
    this.#control = control;
    this.#socket.on("message", (data) => this.#got.push(data.subarray(header.length)));
    this.#socket.on("error", () => undefined);
  }

  /** To a forwarded port. */
  static forwarded(port: number): Datagrams {
    return new Datagrams(port, Buffer.alloc(0));
  }

  /** By UDP ASSOCIATE of the SOCKS5 proxy. */
  static async associated(proxy: number, port: number): Promise<Datagrams> {
    const { reply, bound, flow } = await socksRequest(proxy, 3, ["0.0.0.0", 0]);
    if (reply !== 0) throw new Error(`SOCKS5 reply ${reply} to UDP ASSOCIATE`);
    const header = Buffer.concat([Buffer.of(0, 0, 0), addressOf("127.0.0.1", port)]);
    return new Datagrams(bound, header, flow);
  }

  /** Sends `data` until it is answered with the same. */
  async echo(data: Buffer, limitMs = WAIT_MS): Promise<void> {
    const packet = Buffer.concat([this.#header, data]);
    const endMs = performance.now() + limitMs;
    let againMs = 0;
    for (;;) {
      if (this.#got.some((got) => got.equals(data))) return;
      const nowMs = performance.now();
      if (nowMs > endMs) {
        const sizes = this.#got.map((got) => got.length).join(", ");
        throw new Error(`no echo of ${data.length} bytes, but of ${sizes || "nothing"}`);
      }
      if (nowMs >= againMs) {
        this.#socket.send(packet, this.#to, "127.0.0.1");
        againMs = nowMs + RESEND_MS;
      }
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }

  /** Some sizes, one after the other; closes. */
  async echoAll(sizes: readonly number[]): Promise<undefined> {
    try {
      for (const size of sizes) await this.echo(randomBytes(size));
    } finally {
      this.close();
    }
  }

  close(): void {
    this.#control?.destroy();
    this.#socket.close();
  }
}
/** Sends random bytes and compares what comes back; gives up where nothing moves. */
export async function echoBytes(flow: Flow, bytes: number): Promise<void> {
  const sent = randomBytes(bytes);
  const hash = (data: Buffer): string => createHash("sha256").update(data).digest("hex");
  try {
    void flow.send(sent).catch(() => undefined);
    await flow.until(() => flow.bytes >= bytes);
    assert.is(hash(flow.data), hash(sent));
  } finally {
    flow.destroy();
  }
}
