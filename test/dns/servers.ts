/** Nameservers on loopback for the tests: UDP, TCP, TLS and HTTPS with answers that tests choose. */
import { type Socket as UdpSocket, createSocket } from "node:dgram";
import { once } from "node:events";
import { createServer as createHttps } from "node:https";
import { createSecureServer } from "node:http2";
import { type AddressInfo, type Socket, createServer } from "node:net";
import { createServer as createTls } from "node:tls";
import type { Duplex } from "node:stream";
import {
  CLASS_IN,
  type DnsMessage,
  type DnsQuestion,
  type DnsRecord,
  RCODE,
  TYPE,
  decodeMessage,
  encodeMessage,
} from "../../src/proto/dns.ts";
import { ipBytes } from "../../src/proto/address.ts";
import { encodeName } from "../../src/proto/dns-name.ts";
import { type KeyPair, generateCertificate } from "../../src/serve/cert.ts";

/** Its name is gost.run, and it is its own authority. */
export const pair: KeyPair = generateCertificate();

export interface Asked {
  readonly question: DnsQuestion;
  readonly query: DnsMessage;
  readonly via: "udp" | "tcp" | "tls" | "h2" | "http/1.1";
}

/** Messages as bytes or parts of the ordinary answer; nothing: silence. */
export type Reply = Uint8Array | Partial<DnsMessage>;
export type Respond = (asked: Asked) => readonly Reply[] | Promise<readonly Reply[]>;

export function a(name: string, ip: string, ttl = 300): DnsRecord {
  const data = ipBytes(ip) ?? new Uint8Array(0);
  return { name, type: data.length === 16 ? TYPE.AAAA : TYPE.A, class: CLASS_IN, ttl, data };
}

export function cname(name: string, target: string, ttl = 300): DnsRecord {
  return { name, type: TYPE.CNAME, class: CLASS_IN, ttl, data: encodeName(target) };
}

export function soa(zone: string, ttl: number, minimum: number): DnsRecord {
  const tail = Buffer.alloc(20);
  tail.writeUInt32BE(minimum, 16);
  const data = Buffer.concat([encodeName("ns"), encodeName("root"), tail]);
  return { name: zone, type: TYPE.SOA, class: CLASS_IN, ttl, data };
}

/** The ordinary answer to a query, changed as told. */
export function answerTo(query: DnsMessage, changes: Partial<DnsMessage>): Uint8Array {
  return encodeMessage({ ...query, qr: true, ra: true, edns: undefined, ...changes });
}

/** Answers A and AAAA from a table, anything else with NXDOMAIN. */
export function table(entries: Readonly<Record<string, readonly string[]>>, ttl = 300): Respond {
  return ({ question }) => {
    const addresses = entries[question.name.toLowerCase()];
    if (addresses === undefined) return [{ rcode: RCODE.NXDOMAIN }];
    const answers = addresses.map((ip) => a(question.name, ip, ttl));
    return [{ answers: answers.filter(({ type }) => type === question.type) }];
  };
}

export class TestNameserver {
  /** What was asked, in order: `udp A name`. */
  readonly asked: string[] = [];
  readonly queries: DnsMessage[] = [];
  /** Connections of TCP and TLS that were made. */
  connections = 0;
  port = 0;
  respond: Respond;
  readonly #closers: (() => void)[] = [];
  readonly #sockets = new Set<Socket>();

  constructor(respond: Respond) {
    this.respond = respond;
  }

  async udp(host = "127.0.0.1", port = 0): Promise<this> {
    const socket = createSocket(host.includes(":") ? "udp6" : "udp4");
    socket.on("message", (bytes, from) => {
      void this.replies(bytes, "udp").then((all) => {
        for (const reply of all) this.sendUdp(socket, reply, from.port, from.address);
      });
    });
    socket.bind(port, host);
    await once(socket, "listening");
    this.port = socket.address().port;
    this.#closers.push(() => socket.close());
    return this;
  }

  sendUdp(socket: UdpSocket, bytes: Uint8Array, port: number, address: string): void {
    socket.send(bytes, port, address);
  }

  async tcp(port = 0): Promise<this> {
    return this.#listen(
      createServer((socket) => this.#serve(socket, "tcp")),
      port,
    );
  }

  async tls(): Promise<this> {
    const { cert, key } = pair;
    return this.#listen(
      createTls({ cert, key }, (socket) => this.#serve(socket, "tls")),
      0,
    );
  }

  async https(protocol: "h2" | "http/1.1", status = 200, type = "application/dns-message") {
    const { cert, key } = pair;
    const server =
      protocol === "http/1.1"
        ? createHttps({ cert, key })
        : (createSecureServer({ cert, key }) as unknown as ReturnType<typeof createHttps>);
    server.on("request", (request, response) => {
      const chunks: Buffer[] = [];
      request.on("data", (chunk: Buffer) => chunks.push(chunk));
      request.on("end", () => {
        void this.replies(Buffer.concat(chunks), protocol).then(([reply]) => {
          if (reply === undefined) return;
          response.writeHead(status, { "content-type": type });
          response.end(reply);
        });
      });
    });
    return this.#listen(server, 0);
  }

  async #listen(server: ReturnType<typeof createServer>, port: number): Promise<this> {
    server.on("connection", (socket: Socket) => {
      this.connections++;
      this.#sockets.add(socket);
      socket.on("error", () => undefined);
    });
    server.listen(port, "127.0.0.1");
    await once(server, "listening");
    this.port = (server.address() as AddressInfo).port;
    this.#closers.push(() => server.close());
    return this;
  }

  #serve(socket: Duplex, via: "tcp" | "tls"): void {
    let held = Buffer.alloc(0);
    socket.on("error", () => undefined);
    socket.on("data", (chunk: Buffer) => {
      held = Buffer.concat([held, chunk]);
      while (held.length >= 2 && held.length >= 2 + held.readUInt16BE(0)) {
        const end = 2 + held.readUInt16BE(0);
        void this.replies(held.subarray(2, end), via).then((all) => {
          for (const reply of all) {
            socket.write(Buffer.concat([Buffer.of(reply.length >> 8, reply.length & 255), reply]));
          }
        });
        held = held.subarray(end);
      }
    });
  }

  async replies(bytes: Uint8Array, via: Asked["via"]): Promise<Uint8Array[]> {
    const query = decodeMessage(bytes);
    const question = query?.questions[0];
    if (query === undefined || question === undefined) return [];
    const type = Object.entries(TYPE).find(([, value]) => value === question.type)?.[0] ?? "?";
    this.asked.push(`${via} ${type} ${question.name.toLowerCase()}`);
    this.queries.push(query);
    const all = await this.respond({ question, query, via });
    return all.map((reply) => (reply instanceof Uint8Array ? reply : answerTo(query, reply)));
  }

  /** Ends all connections, and goes on listening. */
  dropConnections(): void {
    for (const socket of this.#sockets) socket.destroy();
    this.#sockets.clear();
  }

  close(): void {
    this.dropConnections();
    for (const close of this.#closers) close();
  }
}
