/**
 * Server TLS inside a stream that a handler has already read from (SOCKS5's methods 0x80 and 0x82).
 * The certificate is the listener's, or found as the listener would find it (cert.ts), at first use
 * unless files are named.
 */
import { type SecureContext, TLSSocket, createSecureContext } from "node:tls";
import { duplexOf } from "../chain/duplex.ts";
import { SocketStream } from "../chain/socket-stream.ts";
import { secureOptions } from "../chain/tls-options.ts";
import type { Transport } from "../chain/types.ts";
import type { ServiceConfig, TlsConfig } from "../config/model.ts";
import { configError, messageOf } from "../errors.ts";
import type { Logger } from "../log.ts";
import { CertificateWatch, certificateFor } from "./cert.ts";

export class InnerTls {
  readonly #service: ServiceConfig;
  /** The `tls` section of the configuration. */
  readonly #section: TlsConfig | undefined;
  readonly #log: Logger;
  #context: SecureContext | undefined;
  #watch: CertificateWatch | undefined;

  /** Throws a configuration error where files are named and not usable. */
  constructor(service: ServiceConfig, section: TlsConfig | undefined, log: Logger) {
    this.#service = service;
    this.#section = section;
    this.#log = log;
    if (service.listener.tls?.certFile !== undefined) this.#read();
  }

  /** What was replaced or has expired counts for the handshakes to come. */
  #secure(): SecureContext {
    if (this.#context === undefined) return this.#read();
    if (this.#watch?.isStale() !== true) return this.#context;
    try {
      const context = this.#read();
      this.#log.info("the certificate was read again");
      return context;
    } catch (error) {
      this.#log.warn(`${messageOf(error)}; going on with what was read before`);
      return this.#context;
    }
  }

  #read(): SecureContext {
    const { listener, place } = this.#service;
    const { tls = {} } = listener;
    const section = this.#section === undefined ? {} : { tls: this.#section };
    const pair = certificateFor(tls, section, place, this.#log);
    const { cert, key } = pair;
    const watch = new CertificateWatch(pair);
    try {
      this.#context = createSecureContext({ ...secureOptions(tls, place), cert, key });
    } catch (error) {
      throw configError(place, `certificate or key is not usable: ${messageOf(error)}`, error);
    }
    this.#watch = watch;
    return this.#context;
  }

  /** The handshake. Throws what went wrong, or the reason of the signal; closes `raw` then. */
  async accept(raw: Transport, signal: AbortSignal): Promise<Transport> {
    const secureContext = this.#secure();
    const below = raw instanceof SocketStream ? raw.takeSocket() : duplexOf(raw);
    const socket = new TLSSocket(below, { isServer: true, secureContext });
    // Errors that come when nobody waits any more must not become uncaught.
    socket.on("error", () => undefined);
    try {
      await secured(socket, signal);
    } catch (error) {
      socket.destroy();
      below.destroy();
      throw error;
    }
    return new SocketStream(socket, {
      tcp: raw instanceof SocketStream ? raw.below.tcp : undefined,
      reset: () => {
        raw.reset();
      },
    });
  }
}

function secured(socket: TLSSocket, signal: AbortSignal): Promise<void> {
  return new Promise<void>((resolve, reject) => {
    const finish = (error?: Error): void => {
      signal.removeEventListener("abort", onAbort);
      socket.off("error", finish);
      socket.off("close", onClose);
      if (error === undefined) resolve();
      else reject(error);
    };
    const onAbort = (): void => {
      finish(signal.reason instanceof Error ? signal.reason : new Error("aborted"));
    };
    const onClose = (): void => finish(new Error("the client left during the TLS handshake"));
    socket.once("error", finish);
    socket.once("close", onClose);
    socket.once("secure", () => finish());
    signal.addEventListener("abort", onAbort, { once: true });
    if (signal.aborted) onAbort();
  });
}
