/**
 * DNS over HTTPS (RFC 8484): POST of application/dns-message with ID 0, over HTTP/2, or HTTP/1.1
 * where the server has no more. Connections are kept for a while when idle; one that was kept and
 * fails is replaced once a question.
 *
 * Bounds: MESSAGE_BYTES_MAX of an answer, SOCKETS_MAX connections of HTTP/1.1, and the asker's
 * signal for the time.
 */
import { Agent, type IncomingMessage, request } from "node:http";
import {
  type ClientHttp2Session,
  type IncomingHttpHeaders,
  connect as connectHttp2,
  constants,
} from "node:http2";
import type { Duplex, Readable } from "node:stream";
import type { TLSSocket } from "node:tls";
import { Deadline } from "../chain/deadline.ts";
import { withSignal } from "../chain/socket.ts";
import { messageOf } from "../errors.ts";
import { type DnsQuestion, MESSAGE_BYTES_MAX } from "../proto/dns.ts";
import {
  type Answer,
  type AskContext,
  type Exchange,
  dnsError,
  expectAnswer,
  makeQuery,
  reasonOfAbort,
} from "./query.ts";

const MEDIA_TYPE = "application/dns-message";
const IDLE_MS = 30_000;
const SOCKETS_MAX = 4;

/** A TLS connection that offers these protocols. */
export type ConnectTls = (alpn: readonly string[], signal: AbortSignal) => Promise<TLSSocket>;

export interface HttpsSettings {
  /** host[:port] of the URL. */
  readonly authority: string;
  /** With query string. */
  readonly path: string;
  /** Bounds the making of a connection. */
  readonly connectMs: number;
}

export function httpsExchange(connect: ConnectTls, settings: HttpsSettings): Exchange {
  return new HttpsExchange(connect, settings);
}

/** Posts a query and answers the body of the response. */
interface Client {
  readonly isOver: boolean;
  /** Questions that were answered. */
  readonly answered: number;
  post(body: Uint8Array, signal: AbortSignal): Promise<Uint8Array>;
  close(): void;
}

class HttpsExchange implements Exchange {
  readonly #connect: ConnectTls;
  readonly #settings: HttpsSettings;
  readonly #closed = new AbortController();
  #client: Promise<Client> | undefined;

  constructor(connect: ConnectTls, settings: HttpsSettings) {
    this.#connect = connect;
    this.#settings = settings;
  }

  async ask(question: DnsQuestion, context: AskContext): Promise<Answer> {
    const query = makeQuery(question, context.options, 0);
    for (let tries = 0; ; tries++) {
      const opened = this.#open();
      const client = await withSignal(opened, context.signal);
      try {
        return expectAnswer(query, await client.post(query.bytes, context.signal));
      } catch (error) {
        const isStale = client.isOver && client.answered > 0;
        if (tries > 0 || !isStale || context.signal.aborted) throw error;
        if (this.#client === opened) this.#client = undefined;
      }
    }
  }

  close(): void {
    this.#closed.abort(dnsError("CLOSED", "the resolver was closed"));
    void this.#client?.then((client) => client.close()).catch(() => undefined);
  }

  #open(): Promise<Client> {
    if (this.#client !== undefined) return this.#client;
    const forget = (): void => {
      if (this.#client === made) this.#client = undefined;
    };
    const made = this.#make(forget);
    this.#client = made;
    made.catch(forget);
    return made;
  }

  async #make(onOver: () => void): Promise<Client> {
    const socket = await this.#dial(["h2", "http/1.1"]);
    if (socket.alpnProtocol === "h2") return new Http2Client(socket, this.#settings, onOver);
    return new Http1Client(socket, this.#settings, () => this.#dial(["http/1.1"]));
  }

  async #dial(alpn: readonly string[]): Promise<TLSSocket> {
    const limit = new Deadline(this.#settings.connectMs, [this.#closed.signal]);
    try {
      return await this.#connect(alpn, limit.signal);
    } finally {
      limit.end();
    }
  }
}

class Http2Client implements Client {
  readonly #session: ClientHttp2Session;
  readonly #settings: HttpsSettings;
  answered = 0;
  #hasGoaway = false;

  constructor(socket: Duplex, settings: HttpsSettings, onOver: () => void) {
    this.#settings = settings;
    this.#session = connectHttp2(`https://${settings.authority}`, {
      createConnection: () => socket,
      settings: { enablePush: false },
    });
    this.#session.on("error", onOver);
    this.#session.on("close", onOver);
    this.#session.on("goaway", () => {
      this.#hasGoaway = true;
      onOver();
    });
    this.#session.setTimeout(IDLE_MS, () => this.#session.close());
  }

  /** Its streams learn of the end before its own events tell it. */
  get isOver(): boolean {
    return this.#hasGoaway || this.#session.closed || this.#session.destroyed;
  }

  post(body: Uint8Array, signal: AbortSignal): Promise<Uint8Array> {
    return new Promise<Uint8Array>((resolve, reject) => {
      const stream = this.#session.request({
        [constants.HTTP2_HEADER_METHOD]: "POST",
        [constants.HTTP2_HEADER_PATH]: this.#settings.path,
        "content-type": MEDIA_TYPE,
        accept: MEDIA_TYPE,
        "content-length": String(body.length),
      });
      const done = settler({ resolve, reject }, signal, () =>
        stream.close(constants.NGHTTP2_CANCEL),
      );
      stream.on("error", done.fail);
      stream.on("close", () => done.fail(dnsError("CLOSED", "the server closed the stream")));
      stream.on("response", (headers) => {
        const wrong = wrongHead(headers[":status"], headers);
        if (wrong === undefined) collect(stream, done);
        else done.fail(wrong);
      });
      stream.end(body);
    }).then((bytes) => {
      this.answered++;
      return bytes;
    });
  }

  close(): void {
    this.#session.destroy();
  }
}

class Http1Client implements Client {
  readonly #agent: Agent;
  readonly #settings: HttpsSettings;
  answered = 0;
  /** The agent makes new connections by itself. */
  readonly isOver = false;

  constructor(first: TLSSocket, settings: HttpsSettings, dial: () => Promise<TLSSocket>) {
    this.#settings = settings;
    let spare: TLSSocket | undefined = first;
    const take = (): Promise<TLSSocket> => {
      const socket = spare;
      spare = undefined;
      return socket === undefined || socket.destroyed ? dial() : Promise.resolve(socket);
    };
    this.#agent = new DialAgent(take);
  }

  async post(body: Uint8Array, signal: AbortSignal): Promise<Uint8Array> {
    for (let tries = 0; ; tries++) {
      const sent = { isReused: false };
      try {
        const bytes = await this.#once(body, signal, sent);
        this.answered++;
        return bytes;
      } catch (error) {
        if (tries > 0 || !sent.isReused || signal.aborted) throw error;
      }
    }
  }

  #once(body: Uint8Array, signal: AbortSignal, sent: { isReused: boolean }): Promise<Uint8Array> {
    return new Promise<Uint8Array>((resolve, reject) => {
      const { authority, path } = this.#settings;
      const post = request({
        agent: this.#agent,
        method: "POST",
        path,
        headers: {
          host: authority,
          "content-type": MEDIA_TYPE,
          accept: MEDIA_TYPE,
          "content-length": body.length,
        },
      });
      const done = settler({ resolve, reject }, signal, () => post.destroy());
      post.on("error", (error) => {
        sent.isReused = post.reusedSocket;
        done.fail(error);
      });
      post.on("response", (response: IncomingMessage) => {
        const wrong = wrongHead(response.statusCode, response.headers);
        response.on("error", done.fail);
        response.on("close", () => done.fail(dnsError("CLOSED", "the answer was cut off")));
        if (wrong === undefined) collect(response, done);
        else done.fail(wrong);
      });
      post.end(body);
    });
  }

  close(): void {
    this.#agent.destroy();
  }
}

/** Connections of HTTP/1.1 over sockets that are TLS already. */
class DialAgent extends Agent {
  readonly #take: () => Promise<TLSSocket>;

  constructor(take: () => Promise<TLSSocket>) {
    super({ keepAlive: true, maxSockets: SOCKETS_MAX, timeout: IDLE_MS });
    this.#take = take;
  }

  override createConnection(
    _options: object,
    callback: (error: Error | null, socket: Duplex) => void,
  ): undefined {
    this.#take().then(
      (socket) => callback(null, socket),
      (error: unknown) => {
        // Node reads the socket only where there is no error.
        const none = undefined as unknown as Duplex;
        callback(error instanceof Error ? error : new Error(messageOf(error)), none);
      },
    );
  }
}

interface Settler {
  readonly done: (bytes: Uint8Array) => void;
  readonly fail: (error: Error) => void;
}

/** Settles once; `cancel` ends what is under way when it failed. */
function settler(
  promise: { resolve(bytes: Uint8Array): void; reject(error: Error): void },
  signal: AbortSignal,
  cancel: () => void,
): Settler {
  let isSettled = false;
  const settle = (act: () => void): void => {
    if (isSettled) return;
    isSettled = true;
    signal.removeEventListener("abort", onAbort);
    act();
  };
  const fail = (error: Error): void => {
    settle(() => {
      promise.reject(error);
      cancel();
    });
  };
  const onAbort = (): void => {
    fail(reasonOfAbort(signal));
  };
  signal.addEventListener("abort", onAbort);
  if (signal.aborted) onAbort();
  return { done: (bytes) => settle(() => promise.resolve(bytes)), fail };
}

function wrongHead(status: number | undefined, headers: IncomingHttpHeaders): Error | undefined {
  if (status !== 200) return dnsError("PROTOCOL", `the server answers HTTP status ${status ?? 0}`);
  const type = headers["content-type"] ?? "";
  if (type.split(";")[0]?.trim().toLowerCase() === MEDIA_TYPE) return undefined;
  return dnsError("PROTOCOL", `the server answers ${JSON.stringify(type)}, not ${MEDIA_TYPE}`);
}

function collect(body: Readable, settle: Settler): void {
  const chunks: Buffer[] = [];
  let length = 0;
  body.on("data", (chunk: Buffer) => {
    length += chunk.length;
    if (length > MESSAGE_BYTES_MAX) settle.fail(dnsError("PROTOCOL", "the answer is too long"));
    else chunks.push(chunk);
  });
  body.on("end", () => settle.done(Uint8Array.from(Buffer.concat(chunks))));
}
