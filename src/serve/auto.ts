/**
 * The handler `auto`: the first byte of a connection tells which protocol its client speaks. 5 is
 * SOCKS5; a TLS ClientHello is forwarded to port 443 of the server that it names; everything else
 * is HTTP's. SOCKS4 is not offered.
 *
 * Differences from GOST: the first byte has a deadline (`readTimeout`), and TLS, which cannot carry
 * a user, is not forwarded where one is needed.
 */
import { Deadline } from "../chain/deadline.ts";
import type { Transport } from "../chain/types.ts";
import { metaDurationMs } from "../config/metadata.ts";
import type { ServiceConfig } from "../config/model.ts";
import { joinHostPort } from "../config/net.ts";
import { HELLO_BYTES_MAX, serverNameOf } from "../proto/tls-hello.ts";
import type { Accepted, Handler, HandlerContext, HandlerFactory } from "./handler.ts";
import { pipe } from "./relay-pipe.ts";
import { SessionHandler, dialWhileOpen, ipOf, sayAndClose } from "./session.ts";

const READ_MS = 15_000;
/** The router has deadlines of its own. */
const DIAL_MS = 0x7fff_ffff;
const LOG_PERIOD_MS = 3600_000;
const TLS_PORT = 443;

const SOCKS4 = 4;
const SOCKS5 = 5;
const TLS_HANDSHAKE = 22;

export interface AutoParts {
  readonly socks5: HandlerFactory;
  readonly http: HandlerFactory;
}

export class AutoHandler extends SessionHandler {
  readonly #context: HandlerContext;
  readonly #name: string;
  readonly #readMs: number;
  readonly #socks5: Handler;
  readonly #http: Handler;

  /** Throws a configuration error. */
  constructor(service: ServiceConfig, context: HandlerContext, parts: AutoParts) {
    super();
    this.#context = context;
    this.#name = service.name;
    const readMs = metaDurationMs(service.handler.metadata, "readTimeout", READ_MS);
    this.#readMs = readMs > 0 ? readMs : READ_MS;
    this.#socks5 = parts.socks5(service, context);
    this.#http = parts.http(service, context);
  }

  override close(): void {
    super.close();
    this.#socks5.close();
    this.#http.close();
  }

  protected override async serve(accepted: Accepted): Promise<void> {
    const { transport } = accepted;
    const limit = new Deadline(this.#readMs, [this.stopped]);
    let first: number;
    let name: string;
    try {
      first = await peek(transport, limit.signal, (bytes) => bytes[0]);
      name =
        first === TLS_HANDSHAKE && this.#maySkipUser(accepted)
          ? await peek(transport, limit.signal, helloName)
          : "";
    } finally {
      limit.end();
    }
    if (first === SOCKS5) {
      this.#socks5.handle(accepted);
    } else if (first === SOCKS4) {
      this.#context.log.once(`socks4 ${this.#name}`, LOG_PERIOD_MS, {
        message: `SOCKS4 is not supported; a client at ${accepted.peer} tries it`,
      });
      throw new Error("SOCKS4 is not supported");
    } else if (name !== "") {
      await this.#forward(accepted, name);
    } else {
      this.#http.handle(accepted);
    }
  }

  #maySkipUser({ peer }: Accepted): boolean {
    const { authenticator } = this.#context;
    return authenticator === undefined || authenticator.accepts(undefined, ipOf(peer));
  }

  async #forward({ transport, peer }: Accepted, host: string): Promise<void> {
    const { router } = this.#context;
    const target = { host, port: TLS_PORT };
    if (router.refuses("tcp", target) !== undefined) {
      throw new Error(`${joinHostPort(host, TLS_PORT)} is bypassed`);
    }
    const route = { clientIp: ipOf(peer) };
    const { stream, hasEnded } = await dialWhileOpen(
      transport,
      { ms: DIAL_MS, outer: this.stopped },
      (signal) => router.connect(target, { ...route, signal }),
    );
    await pipe(transport, stream, hasEnded);
  }

  protected override refuse({ transport, peer }: Accepted, error: unknown): void {
    const message = error instanceof Error ? error.message : String(error);
    this.#context.log.debug(`refused: ${message}`, { client: peer });
    sayAndClose(transport);
  }
}

function helloName(bytes: Uint8Array): string | undefined {
  return serverNameOf(bytes) ?? (bytes.length < HELLO_BYTES_MAX ? undefined : "");
}

/**
 * What `look` finds in the bytes that come first, which stay in the transport; it answers undefined
 * as long as it needs more. Throws at the end of the stream and when the signal aborts.
 */
function peek<T>(
  transport: Transport,
  signal: AbortSignal,
  look: (bytes: Uint8Array) => T | undefined,
): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    let bytes = Buffer.alloc(0);
    const finish = (act: () => void): void => {
      signal.removeEventListener("abort", onAbort);
      transport.detach();
      act();
    };
    const fail = (message: string): void => finish(() => reject(new Error(message)));
    const onAbort = (): void => fail("no first bytes in time");
    signal.addEventListener("abort", onAbort, { once: true });
    transport.attach({
      data: (chunk) => {
        bytes = Buffer.concat([bytes, chunk]);
        const found = look(bytes);
        if (found === undefined) return;
        finish(() => {
          transport.unshift(bytes);
          resolve(found);
        });
      },
      end: () => fail("the client ended before it said anything"),
      close: () => fail("the client went away"),
    });
    transport.resume();
    if (signal.aborted) onAbort();
  });
}
