/**
 * TLS to nameservers (RFC 7858, RFC 8484): verified against the system's authorities and the name
 * of the server, or `hostname` of the configuration; never without, but as GOST does with --compat.
 */
import { isIP } from "node:net";
import type { Duplex } from "node:stream";
import { type TLSSocket, connect } from "node:tls";
import { messageOf } from "../errors.ts";
import { dnsError, reasonOfAbort } from "./query.ts";

export interface TlsSettings {
  /** Of the certificate: a name or an address. */
  readonly hostname: string;
  readonly verify: boolean;
  readonly alpn: readonly string[];
  /** Authorities instead of the system's. */
  readonly ca?: string | Buffer | undefined;
}

/** The handshake over `below`, which is destroyed if it fails. */
export function startTls(
  below: Duplex,
  settings: TlsSettings,
  signal: AbortSignal,
): Promise<TLSSocket> {
  const { hostname, verify, alpn, ca } = settings;
  // What the server ended is over; HTTP/2 would not notice before its deadline.
  below.allowHalfOpen = false;
  const socket = connect({
    socket: below,
    host: hostname,
    servername: isIP(hostname) === 0 ? hostname : "",
    rejectUnauthorized: verify,
    minVersion: "TLSv1.2",
    ...(alpn.length === 0 ? {} : { ALPNProtocols: [...alpn] }),
    ...(ca === undefined ? {} : { ca }),
  });
  // Errors that come when nobody waits any more must not become uncaught.
  socket.on("error", () => undefined);
  return new Promise<TLSSocket>((resolve, reject) => {
    const finish = (error?: Error): void => {
      signal.removeEventListener("abort", onAbort);
      socket.off("error", finish);
      socket.off("close", onClose);
      if (error === undefined) {
        resolve(socket);
        return;
      }
      socket.destroy();
      below.destroy();
      reject(
        signal.aborted
          ? reasonOfAbort(signal)
          : dnsError("PROTOCOL", `TLS: ${messageOf(error)}`, error),
      );
    };
    const onAbort = (): void => {
      finish(reasonOfAbort(signal));
    };
    const onClose = (): void => {
      finish(new Error("the connection was closed during the handshake"));
    };
    socket.once("error", finish);
    socket.once("close", onClose);
    socket.once("secureConnect", () => {
      finish();
    });
    signal.addEventListener("abort", onAbort);
    if (signal.aborted) onAbort();
  });
}
