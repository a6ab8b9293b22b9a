/**
 * DNS over UDP (RFC 1035 §4.2.1): a random ID and port, random case of letters, the question and
 * source of an answer checked. A truncated answer is asked for again over TCP (RFC 7766 §5), and so
 * is everything where the chain carries no datagrams.
 */
import { codeOf } from "../errors.ts";
import type { DnsQuestion } from "../proto/dns.ts";
import {
  type Answer,
  type AskContext,
  type Exchange,
  expectAnswer,
  makeQuery,
  matchAnswer,
  mixedCase,
} from "./query.ts";
import type { Reach } from "./reach.ts";

export function udpExchange(reach: Reach, stream: Exchange): Exchange {
  return new UdpExchange(reach, stream);
}

class UdpExchange implements Exchange {
  readonly #reach: Reach;
  readonly #stream: Exchange;
  /** The server answers names in its own case. */
  #changesCase = false;

  constructor(reach: Reach, stream: Exchange) {
    this.#reach = reach;
    this.#stream = stream;
  }

  async ask(question: DnsQuestion, context: AskContext): Promise<Answer> {
    let answer: Answer | "other case";
    try {
      answer = await this.#once(question, context);
      // In a new socket with a new ID; whoever guessed the first must guess again.
      if (answer === "other case") answer = await this.#once(question, context);
    } catch (error) {
      // The connector has no datagrams.
      if (codeOf(error) !== "TSGOST_ERR_CHAIN_PROHIBITED") throw error;
      return this.#stream.ask(question, context);
    }
    if (answer === "other case") return this.#stream.ask(question, context);
    return answer.message.tc ? this.#stream.ask(question, context) : answer;
  }

  async #once(question: DnsQuestion, context: AskContext): Promise<Answer | "other case"> {
    const asked = this.#changesCase ? question : mixedCase(question);
    const query = makeQuery(asked, context.options);
    const accept = (bytes: Uint8Array): Answer | "other case" | undefined => {
      const match = matchAnswer(query, bytes);
      if (match === "no") return undefined;
      if (match !== "other case") return match;
      if (this.#changesCase) return expectAnswer(query, bytes);
      this.#changesCase = true;
      return match;
    };
    return this.#reach.datagram(query.bytes, accept, context.signal);
  }

  close(): void {
    this.#stream.close();
    this.#reach.close();
  }
}
