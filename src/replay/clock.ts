/**
 * Virtual time: from the capture's timestamps, beginning at a fixed value, in whole microseconds,
 * never backwards.
 *
 * Timestamps that are a little behind the latest (packets of several interfaces) happen at the
 * latest's time. After a larger step back time goes on from there with the new timestamps; a step
 * forward of more than a day counts as a day, which is more than any timer of the core waits.
 */

/** Far from 0, where some would take a time for none. */
const START_US = 1_000_000_000;
const REORDER_US = 2_000_000;
const STEP_US_MAX = 86_400 * 1e6;

export class VirtualClock {
  /** Virtual time of the last packet. */
  nowUs = START_US;
  #latestUs: number | undefined;

  /** The time of a packet with this timestamp. */
  at(timestampUs: number): number {
    const latest = this.#latestUs ?? timestampUs;
    const step = timestampUs - latest;
    if (step < 0 && step > -REORDER_US) {
      this.#latestUs = latest;
      return this.nowUs;
    }
    this.#latestUs = timestampUs;
    this.nowUs += Math.max(0, Math.min(Math.floor(step), STEP_US_MAX));
    return this.nowUs;
  }
}
