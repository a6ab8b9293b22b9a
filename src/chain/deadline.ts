/**
 * A limit of time that can also be given up from above: one timer and one listener a parent, both
 * gone after `end`. (AbortSignal.timeout and AbortSignal.any keep theirs until the time is over,
 * which adds up with thousands of short connections.)
 */
import { setMaxListeners } from "node:events";

export class Deadline {
  readonly #controller = new AbortController();
  readonly #timer: NodeJS.Timeout;
  readonly #parents: readonly AbortSignal[];

  /** `ms` from now, or as soon as one of `parents` aborts. */
  constructor(ms: number, parents: readonly AbortSignal[]) {
    this.#parents = parents;
    this.#timer = setTimeout(() => {
      this.#controller.abort(new DOMException("the time is over", "TimeoutError"));
    }, ms);
    for (const parent of parents) {
      // One signal of a service has a listener for each of its dials: that is no leak.
      setMaxListeners(0, parent);
      parent.addEventListener("abort", this.#onAbort);
      if (parent.aborted) this.#controller.abort(parent.reason);
    }
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  readonly #onAbort = (event: Event): void => {
    this.#controller.abort((event.target as AbortSignal).reason);
  };

  /** The work is done: the signal will not abort any more. */
  end(): void {
    clearTimeout(this.#timer);
    for (const parent of this.#parents) parent.removeEventListener("abort", this.#onAbort);
  }
}
