/**
 * What a chain remembers of a node while it runs: how far away it is, what its server is able to
 * do, and the TLS settings made from its configuration. One object a node, made with the chain.
 */
import type { SecureContext } from "node:tls";
import type { FileWatch } from "./tls-options.ts";

const RTT_WEIGHT = 0.125;

/** Client TLS, prepared once: reading certificates at each connection would be costly. */
export interface ClientTls {
  readonly context: SecureContext;
  /** Demand a chain to `ca` or the system's roots. */
  readonly verifyChain: boolean;
  /** The name the certificate must be for; undefined = any. */
  readonly verifyName: string | undefined;
  /** Server name indication; "" for addresses. */
  readonly serverName: string;
  /** SHA-256 of the server's public key. */
  readonly pin: Buffer | undefined;
  readonly alpn: readonly string[];
  /** Where it was read from. */
  readonly files: FileWatch;
}

export class NodeMemory {
  tls: ClientTls | undefined;
  /** The warning about unverified certificates was given. */
  warnedUnverified = false;
  /** It is a relay server, for it said OK at least once. */
  hasAnswered = false;
  /** The server answered OK before the target sent anything: its silence means "still dialling". */
  answersEarly = false;
  /** Until when (performance.now()) UDP associations are known to be refused. */
  noAssociationUntilMs = 0;
  /** A SOCKS5 server that tells refused, unreachable and timed out apart. */
  tellsReasons = false;
  /** How a SOCKS5 server was seen to carry datagrams. */
  socks5Datagrams: "tunnel" | "tunnel4" | "associate" | undefined;
  /** The sessions of a multiplexing dialer, which makes them. */
  sessions: { close(): void } | undefined;
  #rttMs: number | undefined;

  /** Ends what is kept for the node beyond single connections; its chain calls it once. */
  close(): void {
    this.sessions?.close();
  }

  /** Smoothed time of a TCP handshake with the node. */
  get rttMs(): number | undefined {
    return this.#rttMs;
  }

  addRtt(ms: number): void {
    this.#rttMs = this.#rttMs === undefined ? ms : this.#rttMs + RTT_WEIGHT * (ms - this.#rttMs);
  }
}
