/**
 * Watches what the core sends on one connection, in the order of sending, which is what a
 * reordering link hides from the peer: the right edge of the window never moves left (RFC 9293
 * §3.8.6), nor does the acknowledgement.
 */
import { seqAdd, seqDiff } from "../kit/bytes.ts";
import type { TcpSeen } from "../kit/expect.ts";

export class WindowWatch {
  #isOn = false;
  #scale = 0;
  #edge = 0;
  #ack = 0;

  /** `finSeq` is the sequence number of the client's FIN: past it a window means nothing. */
  onSent(seen: TcpSeen, finSeq: number | undefined): void {
    if (seen.flags.includes("R")) return;
    if (seen.flags.includes("S")) {
      this.#isOn = true;
      this.#scale = seen.wscale ?? 0;
      this.#ack = seen.ack;
      this.#edge = seqAdd(seen.ack, seen.window);
      return;
    }
    if (!this.#isOn || seqDiff(seen.ack, this.#ack) < -(2 ** 30)) return;
    if (seqDiff(seen.ack, this.#ack) < 0) {
      throw new Error(`acknowledgement ${seen.ack} after ${this.#ack}`);
    }
    this.#ack = seen.ack;
    if (finSeq !== undefined && seqDiff(seen.ack, finSeq) > 0) return;
    const unit = 2 ** this.#scale;
    const edge = seqAdd(seen.ack, seen.window * unit);
    // What is lost by rounding down to a unit is no shrinking.
    if (seqDiff(edge, this.#edge) <= -unit) {
      throw new Error(`right edge ${edge} after ${this.#edge}, unit ${unit}`);
    }
    if (seqDiff(edge, this.#edge) > 0) this.#edge = edge;
  }
}
