/**
 * Plain requests of the handler `http`: each goes to its server over a connection of its own, and
 * the client may send another when both messages are complete.
 *
 * Bodies are passed on as they are while their framing is followed, so that nobody's bytes can be
 * taken for another message. Upgrades to WebSocket become a pipe. A request that comes back to
 * this proxy (an origin form naming the proxy itself) is refused.
 */
import { randomBytes } from "node:crypto";
import { asChainError } from "../chain/errors.ts";
import type { Endpoint, StreamHandler, Transport, UpStream } from "../chain/types.ts";
import { joinHostPort, parseHostPort } from "../config/net.ts";
import { BodyReader, requestBody, responseBody } from "../proto/http1-body.ts";
import {
  type HttpField,
  HttpFormatError,
  type RequestHead,
  type ResponseHead,
  ResponseReader,
  encodeHead,
  endToEnd,
  fieldOf,
  isPersistent,
  parseAuthority,
  parseHttpUrl,
  tokensOf,
} from "../proto/http1.ts";
import { type HttpSession, routeContext } from "./http-session.ts";
import {
  CLOSE,
  EMPTY,
  HttpRefusal,
  badRequest,
  causeFields,
  encodeStatus,
  statusOf,
} from "./http-reply.ts";
import { pipe } from "./relay-pipe.ts";
import { DIAL_MS, ClientGone, dialWhileOpen, sayAndClose } from "./session.ts";

/** Handed over and not yet taken, before the source is paused; resumed below half of it. */
const QUEUE_BYTES_MAX = 256 * 1024;
const INTERIM_MAX = 16;
/** Who we are in Via, for this process only: it tells nothing. */
const PSEUDONYM = randomBytes(6).toString("hex");

const noop = (): void => undefined;

interface PlainTarget {
  readonly endpoint: Endpoint;
  /** For the Host field. */
  readonly authority: string;
  readonly path: string;
}

/** Throws HttpRefusal. */
function targetOf(head: RequestHead): PlainTarget {
  const { target, method } = head;
  const url = parseHttpUrl(target, method);
  if (url !== undefined) {
    const endpoint = { host: url.host, port: url.port };
    return { endpoint, authority: url.authority, path: url.path };
  }
  if (!target.startsWith("/") && target !== "*") throw badRequest("neither a path nor http://");
  const hosts = head.fields.filter(({ name }) => name.toLowerCase() === "host");
  const authority = hosts[0]?.value ?? "";
  const endpoint = parseAuthority(authority, 80);
  if (hosts.length !== 1 || endpoint === undefined || endpoint.host === "") {
    throw badRequest("no usable Host");
  }
  return { endpoint, authority, path: target };
}

/** Answers whether the connection may carry one more request. Throws what http.ts refuses with. */
export async function forwardRequest(session: HttpSession): Promise<boolean> {
  const { transport, head, settings, router, stopped } = session;
  const target = targetOf(head);
  const { endpoint } = target;
  const what = joinHostPort(endpoint.host, endpoint.port);
  const framing = requestBody(head);
  if (router.refuses("tcp", endpoint) !== undefined) {
    const reply = encodeStatus(403, [CLOSE, ...settings.ownFields]);
    throw new HttpRefusal(`${what} is bypassed`, reply);
  }
  const request = requestFor(session, target);
  const limit = { ms: DIAL_MS, outer: stopped };
  const { stream, hasEnded } = await dialWhileOpen(transport, limit, (signal) =>
    router.connect(endpoint, routeContext(session, signal)),
  ).catch((error: unknown) => {
    if (error instanceof ClientGone) throw error;
    const { reason, message } = asChainError(error, "destination", what);
    const fields = reason === "prohibited" ? [CLOSE, ...settings.ownFields] : [EMPTY];
    const reply = encodeStatus(statusOf(reason), [...fields, ...causeFields(reason)]);
    throw new HttpRefusal(message, reply);
  });
  const exchange = new Exchange(session, stream, new BodyReader(framing), hasEnded);
  return exchange.run(request);
}

/** The head that goes to the server. Throws HttpRefusal for one that has been here before. */
function requestFor(session: HttpSession, target: PlainTarget): Buffer {
  const { head, accepted } = session;
  const fields = endToEnd(head).filter(({ name }) => name.toLowerCase() !== "host");
  const own: HttpField[] = [{ name: "Host", value: target.authority }];
  const upgrade = upgradeOf(head);
  if (upgrade === undefined) {
    fields.push(CLOSE);
  } else {
    fields.push({ name: "Connection", value: "Upgrade" }, { name: "Upgrade", value: upgrade });
  }
  // Only a request to the port that we listen on ourselves could come back.
  if (target.endpoint.port === parseHostPort(accepted.local)?.port) {
    if (fieldOf(head, "via")?.includes(PSEUDONYM) === true) {
      throw new HttpRefusal("the request came back", encodeStatus(508, [CLOSE, EMPTY]));
    }
    fields.push({ name: "Via", value: `1.1 ${PSEUDONYM}` });
  }
  const start = `${head.method} ${target.path} HTTP/1.${head.minor}`;
  return encodeHead(start, [...own, ...fields]);
}

/** WebSocket is the one upgrade that is passed on. */
function upgradeOf(head: RequestHead): string | undefined {
  const isAsked = tokensOf(head, "connection").includes("upgrade") && head.minor === 1;
  return isAsked && tokensOf(head, "upgrade").includes("websocket") ? "websocket" : undefined;
}

/** Counts what a sink has not taken, and stops the source meanwhile. */
class Lane {
  readonly #from: UpStream;
  readonly #to: UpStream;
  #queued = 0;
  #isPaused = false;

  constructor(from: UpStream, to: UpStream) {
    this.#from = from;
    this.#to = to;
  }

  write(bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    this.#queued += bytes.length;
    this.#to.write([bytes], () => {
      this.#queued -= bytes.length;
      if (!this.#isPaused || this.#queued > QUEUE_BYTES_MAX / 2) return;
      this.#isPaused = false;
      this.#from.resume();
    });
    if (this.#queued <= QUEUE_BYTES_MAX || this.#isPaused) return;
    this.#isPaused = true;
    this.#from.pause();
  }
}

/** One request and its answer. */
class Exchange {
  readonly #session: HttpSession;
  readonly #client: Transport;
  readonly #server: UpStream;
  readonly #requestBody: BodyReader;
  readonly #up: Lane;
  readonly #down: Lane;
  #reader = new ResponseReader();
  #interim = 0;
  /** Of the answer, once its head came. */
  #body: BodyReader | undefined;
  #keepsClient: boolean;
  #clientEnded: boolean;
  #headTimer: NodeJS.Timeout | undefined;
  #idleTimer: NodeJS.Timeout | undefined;
  #resolve: (isAgain: boolean) => void = noop;
  #reject: (error: unknown) => void = noop;
  #isOver = false;

  constructor(session: HttpSession, server: UpStream, body: BodyReader, hasEnded: boolean) {
    this.#session = session;
    this.#client = session.transport;
    this.#server = server;
    this.#requestBody = body;
    this.#up = new Lane(this.#client, server);
    this.#down = new Lane(server, this.#client);
    this.#clientEnded = hasEnded;
    this.#keepsClient = isPersistent(session.head) && !hasEnded;
  }

  run(request: Buffer): Promise<boolean> {
    return new Promise<boolean>((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
      const { idleMs } = this.#session.settings;
      if (idleMs > 0) {
        const late = (): void => this.#fail(new HttpFormatError("idle for too long"));
        this.#idleTimer = setTimeout(late, idleMs);
      }
      this.#server.write([request], noop);
      this.#client.attach(this.#fromClient);
      this.#server.attach(this.#fromServer);
      this.#client.resume();
      this.#server.resume();
      if (this.#requestBody.isOver) this.#awaitHead();
      else if (this.#clientEnded) this.#fail(new ClientGone());
    });
  }

  /** The request is out: the answer's head may take `readTimeout`. */
  #awaitHead(): void {
    const { readMs } = this.#session.settings;
    if (readMs === undefined || this.#body !== undefined || this.#isOver) return;
    this.#headTimer = setTimeout(() => {
      this.#fail(new HttpRefusal("no answer in time", encodeStatus(504, [CLOSE, EMPTY])));
    }, readMs);
  }

  readonly #fromClient: StreamHandler = {
    data: (chunk) => {
      this.#idleTimer?.refresh();
      try {
        const used = this.#requestBody.push(chunk);
        this.#up.write(chunk.subarray(0, used));
        if (used > 0 && this.#requestBody.isOver) this.#awaitHead();
        if (used === chunk.length) return;
        // The next request waits for this one's answer.
        this.#client.pause();
        this.#client.unshift(chunk.subarray(used));
      } catch (error) {
        this.#fail(error);
      }
    },
    end: () => {
      this.#clientEnded = true;
      if (!this.#requestBody.isOver) this.#fail(new ClientGone());
    },
    close: () => this.#fail(new ClientGone()),
  };

  readonly #fromServer: StreamHandler = {
    data: (chunk) => {
      this.#idleTimer?.refresh();
      try {
        this.#takeAnswer(chunk);
      } catch (error) {
        this.#fail(this.#asBadGateway(error));
      }
    },
    end: () => this.#serverEnded(),
    close: (error) => {
      if (error === undefined) this.#serverEnded();
      else this.#fail(this.#asBadGateway(error));
    },
  };

  #takeAnswer(chunk: Uint8Array): void {
    let offset = 0;
    while (offset < chunk.length && !this.#isOver) {
      const rest = chunk.subarray(offset);
      if (this.#body !== undefined) {
        const used = this.#body.push(rest);
        this.#down.write(rest.subarray(0, used));
        if (this.#body.isOver) this.#finish();
        return;
      }
      offset += this.#reader.push(rest);
      const { head } = this.#reader;
      if (head !== undefined) this.#takeHead(head, chunk.subarray(offset));
    }
  }

  /** A complete head; `rest` is what came behind it. */
  #takeHead(head: ResponseHead, rest: Uint8Array): void {
    const request = this.#session.head;
    if (head.status === 101) {
      this.#switch(head, rest);
      return;
    }
    if (head.status < 200) {
      if (++this.#interim > INTERIM_MAX) throw new HttpFormatError("too many 1xx answers");
      this.#reader = new ResponseReader();
      if (request.minor === 1) this.#down.write(answerHead(head, endToEnd(head)));
      return;
    }
    clearTimeout(this.#headTimer);
    const framing = responseBody(head, request.method);
    if (framing.kind === "chunked" && request.minor === 0) {
      throw new HttpFormatError("chunks for a client of HTTP/1.0");
    }
    if (framing.kind === "close") this.#keepsClient = false;
    const fields = endToEnd(head);
    if (!this.#keepsClient) fields.push(CLOSE);
    else if (request.minor === 0) fields.push({ name: "Connection", value: "keep-alive" });
    this.#down.write(answerHead(head, fields));
    this.#body = new BodyReader(framing);
    if (this.#body.isOver) this.#finish();
  }

  /** 101: from here on bytes go both ways as they come. */
  #switch(head: ResponseHead, rest: Uint8Array): void {
    const upgrade = upgradeOf(this.#session.head);
    if (upgrade === undefined || !this.#requestBody.isOver) {
      throw new HttpFormatError("101 without having been asked");
    }
    const fields = [
      { name: "Connection", value: "Upgrade" },
      { name: "Upgrade", value: upgrade },
    ];
    this.#settle();
    this.#client.detach();
    this.#down.write(answerHead(head, [...fields, ...endToEnd(head)]));
    this.#down.write(rest);
    const { idleMs } = this.#session.settings;
    void pipe(this.#client, this.#server, this.#clientEnded, idleMs).then(() => {
      this.#resolve(false);
    });
  }

  #serverEnded(): void {
    if (this.#isOver) return;
    if (this.#body !== undefined && !this.#keepsClient && this.#isUntilClose()) this.#finish();
    else this.#fail(this.#asBadGateway(new HttpFormatError("the server ended too early")));
  }

  /** The end of the connection is the end of such a body. */
  #isUntilClose(): boolean {
    const { head } = this.#reader;
    return head !== undefined && responseBody(head, this.#session.head.method).kind === "close";
  }

  /** The answer is complete. */
  #finish(): void {
    if (this.#isOver) return;
    // An answer before the request was complete: the rest of it cannot be told from a next one.
    const isAgain = this.#keepsClient && this.#requestBody.isOver && !this.#clientEnded;
    this.#settle();
    this.#client.detach();
    this.#server.end();
    this.#server.destroy();
    if (!isAgain) sayAndClose(this.#client);
    this.#resolve(isAgain);
  }

  #settle(): void {
    this.#isOver = true;
    clearTimeout(this.#headTimer);
    clearTimeout(this.#idleTimer);
  }

  /** Before the answer's head a failure can still be told, after it only by breaking off. */
  #fail(error: unknown): void {
    if (this.#isOver) return;
    this.#settle();
    this.#server.reset();
    this.#client.detach();
    if (this.#body === undefined) {
      this.#reject(error);
      return;
    }
    this.#client.reset();
    this.#resolve(false);
  }

  #asBadGateway(error: unknown): HttpRefusal {
    const message = error instanceof Error ? error.message : String(error);
    return new HttpRefusal(message, encodeStatus(502, [CLOSE, EMPTY]));
  }
}

function answerHead(head: ResponseHead, fields: readonly HttpField[]): Buffer {
  return encodeHead(`HTTP/1.1 ${head.status} ${head.reason}`, fields);
}
