/**
 * One nameserver: how it is asked, its deadline, and what of its answers is kept. Equal questions
 * that come while one is under way share its answer. SERVFAIL, REFUSED and the like are failures of
 * the nameserver, not answers.
 */
import { Deadline } from "../chain/deadline.ts";
import { withSignal } from "../chain/socket.ts";
import {
  CLASS_IN,
  type DnsMessage,
  type DnsOption,
  RCODE,
  decodeMessage,
  negativeTtl,
} from "../proto/dns.ts";
import { type NameserverAddress, nameserverText } from "./address.ts";
import type { DnsCache } from "./cache.ts";
import { httpsExchange } from "./https.ts";
import { type Answer, type Exchange, dnsError } from "./query.ts";
import type { Reach } from "./reach.ts";
import { streamExchange } from "./stream.ts";
import { startTls } from "./tls.ts";
import { udpExchange } from "./udp.ts";

export interface NameserverOptions {
  readonly address: NameserverAddress;
  readonly reach: Reach;
  readonly cache: DnsCache;
  readonly timeoutMs: number;
  /** > 0: instead of the answer's; < 0: nothing is kept. */
  readonly ttlMs: number;
  /** What ran out is used while it is asked for again. */
  readonly isAsync: boolean;
  /** Name or address of the certificate, instead of the host. */
  readonly hostname: string;
  readonly verify: boolean;
  readonly ca?: string | Buffer | undefined;
  /** The client subnet, where one is told. */
  readonly options: readonly DnsOption[];
}

const TTL_MS_MAX = 24 * 3600 * 1000;
const NEGATIVE_TTL_MS_MAX = 60_000;
/** Different questions under way at one nameserver. */
const SHARED_MAX = 1024;

interface Shared {
  readonly promise: Promise<DnsMessage>;
  readonly stop: AbortController;
  waiting: number;
}

export class Nameserver {
  /** For messages. */
  readonly text: string;
  readonly #options: NameserverOptions;
  readonly #exchange: Exchange;
  readonly #shared = new Map<string, Shared>();
  readonly #closed = new AbortController();
  #hasEdns = true;

  constructor(options: NameserverOptions) {
    this.#options = options;
    this.text = nameserverText(options.address);
    this.#exchange = exchangeOf(options);
  }

  /** NOERROR or NXDOMAIN; TTLs are those of the time when it was asked. */
  async ask(name: string, type: number, signal: AbortSignal): Promise<DnsMessage> {
    const key = `${this.text} ${type} ${name.toLowerCase()}`;
    const cached = this.#options.cache.get(key);
    const known = cached === undefined ? undefined : decodeMessage(cached.bytes);
    if (known !== undefined && cached?.isFresh === true) return known;
    if (known !== undefined) {
      // Nobody waits for this one; it ends by its deadline.
      this.#share(key, name, type).promise.catch(() => undefined);
      return known;
    }
    return this.#wait(this.#share(key, name, type), signal);
  }

  close(): void {
    this.#closed.abort(dnsError("CLOSED", "the resolver was closed"));
    this.#exchange.close();
  }

  /** The last of those who wait takes the question back. */
  async #wait(shared: Shared, signal: AbortSignal): Promise<DnsMessage> {
    shared.waiting++;
    try {
      return await withSignal(shared.promise, signal);
    } finally {
      shared.waiting--;
      if (shared.waiting === 0) shared.stop.abort(dnsError("CLOSED", "nobody waits any more"));
    }
  }

  #share(key: string, name: string, type: number): Shared {
    const known = this.#shared.get(key);
    if (known !== undefined) return known;
    if (this.#shared.size >= SHARED_MAX) throw dnsError("FAILED", "too many questions wait");
    const stop = new AbortController();
    const promise = this.#fetch(key, name, type, stop.signal).finally(() => {
      this.#shared.delete(key);
    });
    promise.catch(() => undefined);
    const shared: Shared = { promise, stop, waiting: 0 };
    this.#shared.set(key, shared);
    return shared;
  }

  async #fetch(key: string, name: string, type: number, signal: AbortSignal): Promise<DnsMessage> {
    const { timeoutMs, cache, isAsync } = this.#options;
    const limit = new Deadline(timeoutMs, [signal, this.#closed.signal]);
    try {
      const { message, bytes } = await this.#ask(name, type, limit.signal);
      if (message.rcode !== RCODE.NOERROR && message.rcode !== RCODE.NXDOMAIN) {
        throw dnsError("FAILED", `the answer is ${rcodeText(message.rcode)}`);
      }
      cache.set(key, bytes, this.#ttlMs(message, type), isAsync);
      return message;
    } catch (error) {
      if (!isTimeout(limit.signal)) throw error;
      throw dnsError("TIMEOUT", `no answer within ${timeoutMs} ms`, error);
    } finally {
      limit.end();
    }
  }

  /** Without EDNS where the server does not know it (RFC 6891 §7). */
  async #ask(name: string, type: number, signal: AbortSignal): Promise<Answer> {
    const question = { name, type, class: CLASS_IN };
    const options = this.#hasEdns ? this.#options.options : undefined;
    const answer = await this.#exchange.ask(question, { signal, options });
    const { rcode, edns } = answer.message;
    const isUnknown = (rcode === RCODE.FORMERR || rcode === RCODE.NOTIMP) && edns === undefined;
    if (!this.#hasEdns || !isUnknown) return answer;
    const plain = await this.#exchange.ask(question, { signal, options: undefined });
    if (plain.message.rcode === RCODE.NOERROR) this.#hasEdns = false;
    return plain;
  }

  #ttlMs(message: DnsMessage, asked: number): number {
    const { ttlMs } = this.#options;
    if (ttlMs < 0) return 0;
    if (!message.answers.some(({ type }) => type === asked)) {
      return Math.min((negativeTtl(message) ?? 0) * 1000, NEGATIVE_TTL_MS_MAX);
    }
    if (ttlMs > 0) return ttlMs;
    let least = Infinity;
    for (const { ttl } of message.answers) least = Math.min(least, ttl * 1000);
    return Math.min(least, TTL_MS_MAX);
  }
}

function isTimeout(signal: AbortSignal): boolean {
  return signal.reason instanceof Error && signal.reason.name === "TimeoutError";
}

function rcodeText(rcode: number): string {
  const known = Object.entries(RCODE).find(([, value]) => value === rcode);
  return known?.[0] ?? `RCODE ${rcode}`;
}

function exchangeOf(options: NameserverOptions): Exchange {
  const { address, reach, timeoutMs, hostname, verify, ca } = options;
  const { scheme, authority, path, host } = address;
  const tcp = (signal: AbortSignal): ReturnType<Reach["stream"]> => reach.stream(signal);
  if (scheme === "udp") return udpExchange(reach, streamExchange(tcp, timeoutMs));
  if (scheme === "tcp") return streamExchange(tcp, timeoutMs);
  const name = hostname === "" ? host : hostname;
  const tls = async (alpn: readonly string[], signal: AbortSignal): ReturnType<typeof startTls> =>
    startTls(await reach.stream(signal), { hostname: name, verify, alpn, ca }, signal);
  // Without ALPN: servers that have one and not "dot" would refuse.
  if (scheme === "tls") return streamExchange((signal) => tls([], signal), timeoutMs);
  return httpsExchange(tls, { authority, path, connectMs: timeoutMs });
}
