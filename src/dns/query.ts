/**
 * Queries as they are sent, and whether a message answers one: ID, QR, opcode and question must be
 * those of the query (RFC 5452 §9.1). Over datagrams the letters of the name have random case,
 * which the answer must repeat ("0x20"): one more thing to guess.
 */
import { randomBytes, randomInt } from "node:crypto";
import { TsgostError } from "../errors.ts";
import {
  type DnsMessage,
  type DnsOption,
  type DnsQuestion,
  type Edns,
  RCODE,
  decodeMessage,
  encodeMessage,
  queryOf,
} from "../proto/dns.ts";
import { sameName } from "../proto/dns-name.ts";

/** Fits into every path's MTU (DNS flag day 2020). */
const UDP_BYTES = 1232;

export interface Query {
  readonly id: number;
  readonly question: DnsQuestion;
  readonly bytes: Uint8Array;
}

export interface Answer {
  readonly message: DnsMessage;
  readonly bytes: Uint8Array;
}

export interface AskContext {
  /** Gives up with its reason. */
  readonly signal: AbortSignal;
  /** Options of the OPT record; undefined: without EDNS. */
  readonly options: readonly DnsOption[] | undefined;
}

/** One way of speaking with one nameserver. */
export interface Exchange {
  /** Rejects with whatever went wrong; its message is for the log. */
  ask(question: DnsQuestion, context: AskContext): Promise<Answer>;
  close(): void;
}

/** Throws a DNS error for what is no name. */
export function makeQuery(
  question: DnsQuestion,
  options: readonly DnsOption[] | undefined,
  id = randomInt(0x1_0000),
): Query {
  const edns: Edns | undefined =
    options === undefined
      ? undefined
      : { udpBytes: UDP_BYTES, version: 0, dnssecOk: false, options };
  return { id, question, bytes: encodeMessage(queryOf(id, question, { edns })) };
}

/** The question with letters of random case. */
export function mixedCase(question: DnsQuestion): DnsQuestion {
  const { name } = question;
  const bits = randomBytes(Math.ceil(name.length / 8));
  const letters = Array.from(name, (letter, index) => {
    const isUpper = ((bits[index >> 3] ?? 0) >> (index & 7)) & 1;
    return isUpper === 1 ? letter.toUpperCase() : letter.toLowerCase();
  });
  return { ...question, name: letters.join("") };
}

export type Match = "no" | "other case" | Answer;

/** Does `bytes` answer the query? */
export function matchAnswer(query: Query, bytes: Uint8Array): Match {
  const message = decodeMessage(bytes);
  if (message?.id !== query.id || !message.qr || message.opcode !== 0) return "no";
  const [asked, ...others] = message.questions;
  if (asked === undefined) {
    // Who cannot read a query may leave its question out.
    const isRefusal = message.rcode === RCODE.FORMERR || message.rcode === RCODE.NOTIMP;
    return isRefusal ? { message, bytes } : "no";
  }
  const { name, type, class: kind } = query.question;
  if (others.length > 0 || asked.type !== type || asked.class !== kind) return "no";
  if (!sameName(asked.name, name)) return "no";
  return asked.name === name ? { message, bytes } : "other case";
}

/** What streams do with an answer: anything that does not fit is an error. */
export function expectAnswer(query: Query, bytes: Uint8Array): Answer {
  const match = matchAnswer(query, bytes);
  if (match === "no") throw dnsError("PROTOCOL", "the answer does not belong to the query");
  if (match !== "other case") return match;
  const message = decodeMessage(bytes);
  if (message === undefined) throw dnsError("PROTOCOL", "the answer is malformed");
  return { message, bytes };
}

const CODES = {
  NAME: "TSGOST_ERR_DNS_NAME",
  NOT_FOUND: "TSGOST_ERR_DNS_NOT_FOUND",
  FAILED: "TSGOST_ERR_DNS_FAILED",
  TIMEOUT: "TSGOST_ERR_DNS_TIMEOUT",
  PROTOCOL: "TSGOST_ERR_DNS_PROTOCOL",
  CLOSED: "TSGOST_ERR_DNS_CLOSED",
} as const;

export type DnsErrorKind = keyof typeof CODES;

/**
 * NAME: the text is no domain name. NOT_FOUND: a nameserver says that there is no address. FAILED:
 * no nameserver could be asked; the message says which and why. The others are causes of FAILED.
 */
export function dnsError(kind: DnsErrorKind, message: string, cause?: unknown): TsgostError {
  return new TsgostError(CODES[kind], message, { cause });
}

/** What an aborted signal says. */
export function reasonOfAbort(signal: AbortSignal): Error {
  return signal.reason instanceof Error ? signal.reason : dnsError("CLOSED", "given up");
}
