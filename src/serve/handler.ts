/**
 * What a handler is to its service: it takes accepted connections and speaks its protocol on them.
 * handlers.ts is the list of them.
 */
import type { Router, Transport } from "../chain/types.ts";
import type { ServiceConfig, TlsConfig } from "../config/model.ts";
import type { Logger } from "../log.ts";
import type { Authenticator } from "../types.ts";

export interface Accepted {
  readonly transport: Transport;
  /** host:port of the peer. */
  readonly peer: string;
  /** host:port of our end that the peer reached. */
  readonly local: string;
  /** Bytes of the connection until now; absent where several share one. */
  readonly bytes?: () => { readonly input: number; readonly output: number };
  /** The handler is done with it, well or not; called once. */
  readonly done?: (error?: unknown) => void;
}

/** What comes from one client of a datagram socket, and goes to it. */
export interface ClientDatagrams {
  /** Takes the session over, once; datagrams are valid during the call. */
  attach(handler: (data: Uint8Array) => void): void;
  /** False: dropped. Data is copied. */
  send(data: Uint8Array): boolean;
  close(): void;
  /** Fulfilled when the session is over, whoever ended it. */
  readonly closed: Promise<void>;
}

export interface AcceptedDatagrams {
  readonly session: ClientDatagrams;
  /** host:port of the client. */
  readonly peer: string;
  /** host:port that is bound. */
  readonly local: string;
}

export interface HandlerContext {
  readonly log: Logger;
  /** The way out, with the service's rules applied. */
  readonly router: Router;
  /** undefined: everybody may. */
  readonly authenticator: Authenticator | undefined;
  /** The `tls` section: certificates for who has none of their own. */
  readonly tls?: TlsConfig | undefined;
  /** Only this machine reaches the listener. */
  readonly isLoopback: boolean;
}

export interface Handler {
  /** Takes over the connection; never throws. */
  handle(accepted: Accepted): void;
  /** The same for a client of datagrams; absent: the protocol needs a stream. */
  handleDatagrams?(accepted: AcceptedDatagrams): void;
  /** Ends what is still open. Idempotent. */
  close(): void;
}

/** Checks the service's options; throws a configuration error with the place. */
export type HandlerFactory = (service: ServiceConfig, context: HandlerContext) => Handler;
