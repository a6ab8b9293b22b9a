/**
 * Why a chain could not connect: the reason that the client is told, and whether it was the proxy
 * or the destination that failed.
 */
import { TsgostError, codeOf, messageOf } from "../errors.ts";
import type { Unreachable } from "./types.ts";

/** `proxy`: a node could not be reached or used. `destination`: the last node said so. */
export type Party = "proxy" | "destination";

export interface ChainErrorDetails {
  readonly reason: Unreachable;
  readonly party: Party;
  readonly cause?: unknown;
}

export class ChainError extends TsgostError {
  readonly reason: Unreachable;
  readonly party: Party;

  constructor(message: string, details: ChainErrorDetails) {
    const code = `TSGOST_ERR_CHAIN_${details.reason.toUpperCase().replaceAll("-", "_")}`;
    super(code, message, details.cause === undefined ? {} : { cause: details.cause });
    this.name = "ChainError";
    this.reason = details.reason;
    this.party = details.party;
  }
}

const REASONS: Readonly<Record<string, Unreachable>> = {
  ECONNREFUSED: "refused",
  EHOSTUNREACH: "host-unreachable",
  EHOSTDOWN: "host-unreachable",
  ENOTFOUND: "host-unreachable",
  EAI_AGAIN: "host-unreachable",
  EAI_NONAME: "host-unreachable",
  EAI_NODATA: "host-unreachable",
  TSGOST_ERR_DNS_NOT_FOUND: "host-unreachable",
  TSGOST_ERR_DNS_FAILED: "host-unreachable",
  TSGOST_ERR_DNS_NAME: "host-unreachable",
  ENETUNREACH: "network-unreachable",
  ENETDOWN: "network-unreachable",
  EADDRNOTAVAIL: "network-unreachable",
  ENODEV: "network-unreachable",
  EAFNOSUPPORT: "network-unreachable",
  ETIMEDOUT: "timeout",
  EACCES: "prohibited",
  EPERM: "prohibited",
  ABORT_ERR: "aborted",
};

/** The class of a system error; `closed` for what is none of the known ones. */
export function reasonOf(error: unknown): Unreachable {
  if (error instanceof ChainError) return error.reason;
  return REASONS[codeOf(error)] ?? "closed";
}

/** Any failure as a ChainError; one that is already is passed on. */
export function asChainError(error: unknown, party: Party, what: string): ChainError {
  if (error instanceof ChainError) return error;
  const message = `${what}: ${messageOf(error)}`;
  return new ChainError(message, { reason: reasonOf(error), party, cause: error });
}

/** A connection, asked of a node to which there are only datagrams. */
export function tcpOverUdp(node: string): ChainError {
  const message = `tcp over udp: node ${node} carries datagrams only`;
  return new ChainError(message, { reason: "prohibited", party: "destination" });
}

/** What the reason of an aborted signal means: a deadline, or somebody who gave up. */
export function abortError(signal: AbortSignal, party: Party, what: string): ChainError {
  const cause: unknown = signal.reason;
  if (cause instanceof ChainError) return cause;
  const isTimeout = cause instanceof Error && cause.name === "TimeoutError";
  const reason: Unreachable = isTimeout ? "timeout" : "aborted";
  const message = isTimeout ? `${what}: no answer in time` : `${what}: given up`;
  return new ChainError(message, { reason, party, cause });
}
