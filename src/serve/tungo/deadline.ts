/**
 * Ends dials that take too long, with one timer for all of them: they have the same time, so the
 * first to have begun is the first to end.
 */

/** Who is told that its time is over. */
export interface Dialling {
  dialTimedOut(): void;
}

export class DialDeadlines {
  readonly #timeoutMs: number;
  /** In order of beginning: when each has to be done, by performance.now(). */
  readonly #due = new Map<Dialling, number>();
  #timer: NodeJS.Timeout | undefined;

  constructor(timeoutMs: number) {
    this.#timeoutMs = timeoutMs;
  }

  add(dial: Dialling): void {
    this.#due.set(dial, performance.now() + this.#timeoutMs);
    this.#timer ??= setTimeout(this.#expire, this.#timeoutMs);
  }

  remove(dial: Dialling): void {
    this.#due.delete(dial);
  }

  close(): void {
    clearTimeout(this.#timer);
    this.#due.clear();
  }

  readonly #expire = (): void => {
    this.#timer = undefined;
    const now = performance.now();
    for (const [dial, dueMs] of this.#due) {
      if (dueMs > now) {
        this.#timer = setTimeout(this.#expire, Math.ceil(dueMs - now));
        return;
      }
      this.#due.delete(dial);
      dial.dialTimedOut();
    }
  };
}
