/**
 * A Transport over another one that changes the bytes on their way: WebSocket frames, a reply in
 * front. Subclasses decode in steps that deliver at most one span each, so that a pause takes hold
 * between two spans of one chunk; what is undecoded stays here, and the transport below is stopped.
 */
import { BaseStream } from "./base-stream.ts";
import type { StreamHandler, Transport } from "./types.ts";

export abstract class FilterStream extends BaseStream {
  protected readonly below: Transport;
  #input: Uint8Array[] = [];
  #offset = 0;
  #running = false;
  #belowEnded = false;
  #endSeen = false;

  constructor(below: Transport) {
    super();
    this.below = below;
  }

  /**
   * Uses `chunk` from `offset` on, delivers at most one span, and answers the new offset, which is
   * greater. What it throws ends the stream through `onFault`.
   */
  protected abstract decode(chunk: Uint8Array, offset: number): number;
  /** All input was decoded and the transport below has ended. */
  protected abstract onInputEnd(): void;
  protected abstract onFault(error: Error): void;
  /** The transport below closed; the default passes it on. */
  protected onBelowClose(error?: Error): void {
    this.deliverClose(error);
  }

  /** Subclasses call this at the end of their constructors. */
  protected start(): void {
    const handler: StreamHandler = {
      data: (chunk) => {
        this.#input.push(chunk);
        this.#run();
        if (this.#input.length > 0) this.below.pause();
      },
      end: () => {
        this.#belowEnded = true;
        this.#run();
      },
      close: (error) => {
        this.onBelowClose(error);
      },
    };
    this.below.pause();
    this.below.attach(handler);
  }

  /** Drops what was not decoded and answers it. */
  protected discard(): readonly Uint8Array[] {
    const rest = this.#input.map((chunk, at) => (at === 0 ? chunk.subarray(this.#offset) : chunk));
    this.#input = [];
    this.#offset = 0;
    return rest;
  }

  protected get belowHasEnded(): boolean {
    return this.#belowEnded;
  }

  protected override hold(): void {
    this.below.pause();
  }

  protected override release(): void {
    this.#run();
    if (this.isOpen && this.#input.length === 0 && !this.isClosed) this.below.resume();
  }

  /** True while decoding may go on without a user: a handshake's reply, control frames. */
  protected get mayDecode(): boolean {
    return this.isOpen;
  }

  #run(): void {
    if (this.#running) return;
    this.#running = true;
    try {
      while (this.mayDecode && !this.isClosed) {
        const chunk = this.#input[0];
        if (chunk === undefined) break;
        this.#offset = this.decode(chunk, this.#offset);
        if (this.#offset < chunk.length) continue;
        this.#input.shift();
        this.#offset = 0;
      }
    } catch (error) {
      this.discard();
      this.onFault(error instanceof Error ? error : new Error(String(error)));
    }
    this.#running = false;
    if (this.#belowEnded && this.#input.length === 0 && !this.#endSeen && !this.isClosed) {
      this.#endSeen = true;
      this.onInputEnd();
    }
  }
}
