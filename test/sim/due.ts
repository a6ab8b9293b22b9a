/** Who has to act when: a heap of deadlines in which each item has at most one. */

interface Entry<T> {
  readonly atUs: number;
  readonly order: number;
  readonly item: T;
}

export class Due<T> {
  readonly #entries: Entry<T>[] = [];
  readonly #latest = new Map<T, Entry<T>>();
  #order = 0;

  /** The item acts at `atUs`, and no more at what was said before; Infinity: never. */
  set(item: T, atUs: number): void {
    if (this.#latest.get(item)?.atUs === atUs) return;
    if (atUs === Infinity) {
      this.#latest.delete(item);
      return;
    }
    const entry = { atUs, order: this.#order++, item };
    this.#latest.set(item, entry);
    this.#push(entry);
  }

  deadline(): number {
    return this.#first()?.atUs ?? Infinity;
  }

  /** Takes the items whose time has come, the earliest first. */
  take(nowUs: number): T[] {
    const due: T[] = [];
    for (let first = this.#first(); first && first.atUs <= nowUs; first = this.#first()) {
      this.#latest.delete(first.item);
      due.push(first.item);
    }
    return due;
  }

  /** The earliest that still holds. */
  #first(): Entry<T> | undefined {
    let first = this.#entries[0];
    while (first !== undefined && this.#latest.get(first.item) !== first) {
      this.#pop();
      first = this.#entries[0];
    }
    return first;
  }

  #isBefore(a: Entry<T>, b: Entry<T>): boolean {
    return a.atUs < b.atUs || (a.atUs === b.atUs && a.order < b.order);
  }

  #push(entry: Entry<T>): void {
    const heap = this.#entries;
    let at = heap.push(entry) - 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!this.#isBefore(entry, heap[parent]!)) break;
      heap[at] = heap[parent]!;
      at = parent;
    }
    heap[at] = entry;
  }

  #pop(): void {
    const heap = this.#entries;
    const last = heap.pop();
    if (last === undefined || heap.length === 0) return;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && this.#isBefore(heap[child + 1]!, heap[child]!)) child++;
      if (!this.#isBefore(heap[child]!, last)) break;
      heap[at] = heap[child]!;
      at = child;
    }
    heap[at] = last;
  }
}
