/**
 * A relay transport that begins with the server's reply. It reads the reply on its own; what
 * follows is the destination's. `reply` settles when it came, so that a connector can wait for it
 * as long as it likes and then go on with the stream all the same (relay protocol, late replies).
 */
import { HeadReader, type RelayReply, STATUS_OK, parseReply } from "../proto/relay.ts";
import { ChainError, asChainError } from "./errors.ts";
import { FilterStream } from "./filter-stream.ts";
import type { Transport } from "./types.ts";

export interface Answer {
  readonly reply: RelayReply;
  /** Nothing came with it: the destination has not spoken yet. */
  readonly isAlone: boolean;
}

export class ReplyStream extends FilterStream {
  /** Rejects with a ChainError; always handled. */
  readonly answer: Promise<Answer>;
  readonly #node: string;
  readonly #reader = new HeadReader();
  readonly #failure: (reply: RelayReply) => ChainError;
  #resolve!: (answer: Answer) => void;
  #reject!: (error: ChainError) => void;
  #isAnswered = false;
  #hasWritten = false;
  #isBelieved = false;

  /** `failure` makes the error of a reply that is not OK. */
  constructor(below: Transport, node: string, failure: (reply: RelayReply) => ChainError) {
    super(below);
    this.#node = node;
    this.#failure = failure;
    this.answer = new Promise<Answer>((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    this.answer.catch(() => undefined);
    this.start();
    below.resume();
  }

  /** Payload went out before the reply came. */
  get hasWritten(): boolean {
    return this.#hasWritten;
  }

  /**
   * From now on an end without a reply is the destination's: a server that keeps its reply until
   * the destination speaks (GOST without nodelay) never sends it when that has nothing to say.
   */
  believe(): void {
    this.#isBelieved = true;
  }

  protected override get mayDecode(): boolean {
    return !this.#isAnswered || this.isOpen;
  }

  protected override decode(chunk: Uint8Array, offset: number): number {
    if (this.#isAnswered) {
      this.deliver(offset === 0 ? chunk : chunk.subarray(offset));
      return chunk.length;
    }
    const next = offset + this.#reader.push(chunk.subarray(offset));
    if (!this.#reader.done) return next;
    const reply = parseReply(this.#reader.bytes);
    if (reply.status !== STATUS_OK) throw this.#failure(reply);
    this.#isAnswered = true;
    this.#resolve({ reply, isAlone: next === chunk.length });
    return next;
  }

  /** After the answer: the transport below, if it can still take over; else this stream. */
  unwrap(): Transport {
    if (!this.#isAnswered || this.belowHasEnded || this.isClosed) return this;
    this.below.detach();
    for (const chunk of [...this.discard()].reverse()) this.below.unshift(chunk);
    this.below.resume();
    return this.below;
  }

  protected override onInputEnd(): void {
    if (this.#isAnswered) {
      this.deliverEnd();
      return;
    }
    const message =
      `${this.#node} closed the connection without a reply` +
      " (is it a relay server? does it speak this transport?)";
    const error = new ChainError(message, { reason: "closed", party: "proxy" });
    if (!this.#isBelieved || this.#reader.taken > 0) {
      this.#fail(error);
      return;
    }
    this.#reject(error);
    this.deliverEnd();
  }

  protected override onFault(error: Error): void {
    if (error instanceof ChainError) {
      this.#fail(error);
      return;
    }
    const message = `${this.#node} does not answer as a relay server: ${error.message}`;
    this.#fail(new ChainError(message, { reason: "protocol", party: "proxy", cause: error }));
  }

  protected override onBelowClose(error?: Error): void {
    if (!this.#isAnswered) {
      const cause = error ?? new Error("closed before the reply");
      this.#reject(asChainError(cause, "proxy", this.#node));
    }
    this.deliverClose(error);
  }

  #fail(error: ChainError): void {
    this.#reject(error);
    // First the cause: the reset's own close would come without one.
    this.deliverClose(error);
    this.below.reset();
  }

  override write(chunks: readonly Uint8Array[], done: (error?: Error) => void): void {
    this.#hasWritten = true;
    this.below.write(chunks, done);
  }

  override end(): void {
    this.below.end();
  }

  override reset(): void {
    this.forsake();
    this.below.reset();
  }

  override destroy(): void {
    this.forsake();
    this.below.destroy();
  }
}
