/**
 * Server TLS: certificate (cert.ts), client certificates when `caFile` is set, and the choice to
 * refuse unknown server names. Handshakes run over sockets that the listener accepted.
 */
import type { Socket } from "node:net";
import { type SecureContext, type Server, type TLSSocket, createSecureContext } from "node:tls";
import { createServer } from "node:tls";
import { secureOptions } from "../chain/tls.ts";
import type { Config, Place, TlsConfig } from "../config/model.ts";
import { configError, messageOf } from "../errors.ts";
import type { Logger } from "../log.ts";
import { certificateFor } from "./cert.ts";

interface Waiting {
  readonly ready: (stream: TLSSocket) => void;
  readonly fail: (error: Error) => void;
}

export class TlsAcceptor {
  readonly #server: Server;
  /** By the four numbers of a connection, because Node does not tell a TLSSocket's socket. */
  readonly #waiting = new Map<string, Waiting>();

  constructor(
    tls: TlsConfig | undefined,
    config: Config,
    context: { readonly place: Place; readonly log: Logger },
  ) {
    const { place, log } = context;
    const pair = certificateFor(tls, config, place, log);
    const { caFile, rejectUnknownSNI, serverNames } = tls ?? {};
    const options = { ...secureOptions(tls ?? {}, place), ...pair };
    let secure: SecureContext;
    try {
      secure = createSecureContext(options);
    } catch (error) {
      throw configError(place, `certificate or key is not usable: ${messageOf(error)}`, error);
    }
    const isStrict = rejectUnknownSNI === true;
    const names = new Set((serverNames ?? []).map((name) => name.toLowerCase()));
    this.#server = createServer({
      ...options,
      requestCert: caFile !== undefined,
      rejectUnauthorized: caFile !== undefined,
      // The listener has a deadline of its own.
      handshakeTimeout: 120_000,
      allowHalfOpen: true,
      ...(isStrict
        ? {
            SNICallback: (
              name: string,
              done: (error: Error | null, secure?: SecureContext) => void,
            ): void => {
              if (names.size === 0 || names.has(name.toLowerCase())) done(null, secure);
              else done(new Error(`unknown server name ${name}`));
            },
          }
        : {}),
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

  accept(socket: Socket, ready: (stream: TLSSocket) => void, fail: (error: Error) => void): void {
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
