/**
 * Watches one connection at the core's edge, in the order of sending, which is what a reordering
 * link hides from the peer: the right edge of the window never moves left (RFC 9293 §3.8.6), nor
 * does the acknowledgement; a window is never more than the receive buffer may hold; and the core
 * sends nothing beyond the window that it was told of.
 */
import { seqAdd, seqDiff } from "../kit/bytes.ts";
import type { TcpSeen } from "../kit/expect.ts";

/** As far as somebody on the path can know it. */
export interface WindowSeen {
  /** What the core expects next, and the right edge that it offers. */
  readonly ack: number;
  readonly edge: number;
  /** End of what the core has sent. */
  readonly sent: number;
  /** Somebody reset it, or the core sent its FIN: it may be gone, and a SYN would open another. */
  readonly isEnding: boolean;
}

export class WindowWatch {
  readonly #windowMax: number;
  #isOn = false;
  #scale = 0;
  #edge = 0;
  #ack = 0;
  #sent = 0;
  #isEnding = false;
  /** Of the client: is there a shift, by how much, and how far the core may send. */
  #wscale: number | undefined;
  #told = 0;
  #synWindow = 0;

  constructor(windowMax: number) {
    this.#windowMax = windowMax;
  }

  get window(): WindowSeen | undefined {
    if (!this.#isOn) return undefined;
    return { ack: this.#ack, edge: this.#edge, sent: this.#sent, isEnding: this.#isEnding };
  }

  /** The core gets a segment of the client that is sound, or damaged where no checksum looks. */
  onTold(seen: TcpSeen): void {
    this.#isEnding ||= seen.flags.includes("R");
    if (seen.flags.includes("R")) return;
    if (seen.flags.includes("S")) {
      // The client's own comes first, and is the same whenever it is repeated.
      if (!this.#isOn) this.#wscale = seen.wscale;
      if (!this.#isOn) this.#synWindow = seen.window;
      return;
    }
    if (!this.#isOn || !seen.flags.includes("A")) return;
    const shift = this.#wscale === undefined ? 0 : Math.min(this.#wscale, 14);
    const edge = seqAdd(seen.ack, seen.window * 2 ** shift);
    if (seqDiff(edge, this.#told) > 0) this.#told = edge;
  }

  /** `finSeq` is the sequence number of the client's FIN: past it a window means nothing. */
  onSent(seen: TcpSeen, finSeq: number | undefined): void {
    this.#isEnding ||= /[RF]/.test(seen.flags);
    if (seen.flags.includes("R")) return;
    if (seen.flags.includes("S")) {
      this.#isOn = true;
      this.#scale = seen.wscale ?? 0;
      this.#ack = seen.ack;
      this.#edge = seqAdd(seen.ack, seen.window);
      this.#sent = seen.end;
      this.#told = seqAdd(seen.end, this.#synWindow);
      return;
    }
    if (!this.#isOn || seqDiff(seen.ack, this.#ack) < -(2 ** 30)) return;
    if (seqDiff(seen.ack, this.#ack) < 0) {
      throw new Error(`acknowledgement ${seen.ack} after ${this.#ack}`);
    }
    this.#ack = seen.ack;
    this.#checkSending(seen);
    if (finSeq !== undefined && seqDiff(seen.ack, finSeq) > 0) return;
    const unit = 2 ** this.#scale;
    const edge = seqAdd(seen.ack, seen.window * unit);
    // What is lost by rounding down to a unit is no shrinking.
    if (seqDiff(edge, this.#edge) <= -unit) {
      throw new Error(`right edge ${edge} after ${this.#edge}, unit ${unit}`);
    }
    if (seen.window * unit > this.#windowMax) {
      throw new Error(`a window of ${seen.window * unit}, at most ${this.#windowMax}`);
    }
    if (seqDiff(edge, this.#edge) > 0) this.#edge = edge;
  }

  #checkSending({ seq, payload, end }: TcpSeen): void {
    if (seqDiff(end, this.#sent) > 0) this.#sent = end;
    if (payload.length === 0) return;
    const beyond = seqDiff(seqAdd(seq, payload.length), this.#told);
    // A probe of a shut window has one byte that nobody asked for (RFC 9293 §3.8.6.1).
    if (beyond > (payload.length === 1 ? 1 : 0)) {
      throw new Error(`${seq}+${payload.length} lies ${beyond} bytes beyond the window`);
    }
  }
}
