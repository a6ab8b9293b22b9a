/**
 * Server TLS: certificate (cert.ts), client certificates when `caFile` is set, and the choice to
 * refuse unknown server names. Handshakes run over sockets that the listener accepted.
 */
import type { Socket } from "node:net";
import {
  type SecureContext,
  type Server,
  type TLSSocket,
  type TlsOptions,
  createSecureContext,
  createServer,
} from "node:tls";
import { secureOptions } from "../chain/tls-options.ts";
import type { Config, Place, TlsConfig } from "../config/model.ts";
import { configError, messageOf } from "../errors.ts";
import type { Logger } from "../log.ts";
import { CertificateWatch, certificateFor } from "./cert.ts";

export interface TlsContext {
  readonly place: Place;
  readonly log: Logger;
}

interface Waiting {
  readonly ready: (stream: TLSSocket) => void;
  readonly fail: (error: Error) => void;
}

export class TlsAcceptor {
  readonly #tls: TlsConfig;
  readonly #config: Config;
  readonly #context: TlsContext;
  readonly #server: Server;
  #secure: SecureContext;
  #watch: CertificateWatch;
  /** By the four numbers of a connection, because Node does not tell a TLSSocket's socket. */
  readonly #waiting = new Map<string, Waiting>();

  /** Throws a configuration error. */
  constructor(tls: TlsConfig | undefined, config: Config, context: TlsContext) {
    this.#tls = tls ?? {};
    this.#config = config;
    this.#context = context;
    const { options, secure, watch } = this.#read();
    this.#secure = secure;
    this.#watch = watch;
    const { rejectUnknownSNI, serverNames, options: more } = this.#tls;
    const isStrict = rejectUnknownSNI === true;
    const names = new Set((serverNames ?? []).map((name) => name.toLowerCase()));
    const alpn = more?.alpn ?? [];
    this.#server = createServer({
      ...options,
      ...(alpn.length === 0 ? {} : { ALPNProtocols: [...alpn] }),
      // The listener has a deadline of its own.
      handshakeTimeout: 120_000,
      allowHalfOpen: true,
      ...(isStrict ? { SNICallback: this.#chooseBy(names) } : {}),
    });
    this.#server.on("secureConnection", (stream) => {
      const key = keyOf(stream);
      const waiting = this.#waiting.get(key);
      this.#waiting.delete(key);
      if (waiting === undefined) {
        stream.destroy();
      } else if (isStrict && !hasServerName(stream)) {
        waiting.fail(new Error("no server name"));
      } else {
        waiting.ready(stream);
      }
    });
    this.#server.on("tlsClientError", (error, stream) => {
      const key = keyOf(stream);
      const waiting = this.#waiting.get(key);
      this.#waiting.delete(key);
      waiting?.fail(error);
    });
  }

  /** Reads the certificate and all settings; throws a configuration error. */
  #read(): { options: TlsOptions; secure: SecureContext; watch: CertificateWatch } {
    const { place, log } = this.#context;
    const needsClient = (this.#tls.caFile ?? "") !== "";
    const pair = certificateFor(this.#tls, this.#config, place, log);
    const watch = new CertificateWatch(pair, this.#tls.caFile);
    const { cert, key } = pair;
    const options = { ...secureOptions(this.#tls, place), cert, key };
    try {
      const secure = createSecureContext(options);
      const clients = { requestCert: needsClient, rejectUnauthorized: needsClient };
      return { options: { ...options, ...clients }, secure, watch };
    } catch (error) {
      throw configError(place, `certificate or key is not usable: ${messageOf(error)}`, error);
    }
  }

  /** What was replaced or has expired counts for the connections to come. */
  #refresh(): void {
    if (!this.#watch.isStale()) return;
    const { log } = this.#context;
    try {
      const { options, secure, watch } = this.#read();
      this.#server.setSecureContext(options);
      this.#secure = secure;
      this.#watch = watch;
      log.info("the certificate was read again");
    } catch (error) {
      log.warn(`${messageOf(error)}; going on with what was read before`);
    }
  }

  #chooseBy(names: ReadonlySet<string>): NonNullable<TlsOptions["SNICallback"]> {
    return (name, done) => {
      const isKnown = names.size === 0 || names.has(name.toLowerCase());
      if (isKnown) done(null, this.#secure);
      else done(new Error(`unknown server name ${name}`));
    };
  }

  accept(socket: Socket, ready: (stream: TLSSocket) => void, fail: (error: Error) => void): void {
    this.#refresh();
    const key = keyOf(socket);
    this.#waiting.set(key, { ready, fail });
    socket.once("close", () => this.#waiting.delete(key));
    this.#server.emit("connection", socket);
  }
}

function keyOf(socket: Socket): string {
  const { remoteAddress, remotePort, localAddress, localPort } = socket;
  return `${remoteAddress ?? ""} ${remotePort ?? 0} ${localAddress ?? ""} ${localPort ?? 0}`;
}

function hasServerName(stream: TLSSocket): boolean {
  const { servername } = stream as { servername?: unknown };
  return typeof servername === "string" && servername !== "";
}
