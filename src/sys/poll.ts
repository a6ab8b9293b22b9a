/**
 * The one owner of the addon's readiness list: maps ids to callbacks, and tells who asked when all
 * callbacks of a loop turn have run (the pump flushes there, once for all flows).
 *
 * All pollers of one addon instance share one dispatcher, because the addon has one handler.
 * Events are level triggered: a callback that leaves something unread or a failure unhandled is
 * called again in the next turn. A watch that was closed is never called again, not even for what
 * was already in this turn's list; its id is free again after the turn.
 */
import type { Native, Watch } from "./native.ts";

export type ReadyCallback = (events: number) => void;

/** Most descriptors of one turn; the rest comes in the next. */
const READY_MAX = 256;

class Dispatcher {
  readonly #list = new Int32Array(2 * READY_MAX);
  /** By id; undefined is a free or a closed one. */
  readonly #callbacks: (ReadyCallback | undefined)[] = [];
  readonly #free: number[] = [];
  /** Ids closed in this turn. */
  readonly #ended: number[] = [];
  readonly #hooks = new Set<() => void>();
  readonly #native: Native;
  #error: unknown;
  #failed = false;

  constructor(native: Native) {
    this.#native = native;
    native.onReady(this.#list, this.#dispatch);
  }

  watch(fd: number, events: number, callback: ReadyCallback): Watch {
    const id = this.#free.pop() ?? this.#callbacks.length;
    this.#callbacks[id] = callback;
    let watch: Watch;
    try {
      watch = this.#native.watch(fd, id, events);
    } catch (error) {
      this.#callbacks[id] = undefined;
      this.#free.push(id);
      throw error;
    }
    let open = true;
    return {
      set: (wanted) => watch.set(wanted),
      close: () => {
        if (!open) return;
        open = false;
        watch.close();
        this.#callbacks[id] = undefined;
        this.#ended.push(id);
        // Outside of a turn nothing in the list can name it any more.
        if (!this.inTurn) this.#reuse();
      },
    };
  }

  hook(callback: () => void): () => void {
    this.#hooks.add(callback);
    return () => {
      this.#hooks.delete(callback);
    };
  }

  /** Callbacks of a turn are running; `endOfTurn` follows. */
  inTurn = false;

  readonly #dispatch = (count: number): void => {
    const list = this.#list;
    this.inTurn = true;
    for (let index = 0; index < count; index++) {
      const id = list[2 * index] ?? -1;
      const callback = this.#callbacks[id];
      if (callback === undefined) continue;
      try {
        callback(list[2 * index + 1] ?? 0);
      } catch (error) {
        this.#keep(error);
      }
    }
    for (const hook of this.#hooks) {
      try {
        hook();
      } catch (error) {
        this.#keep(error);
      }
    }
    this.inTurn = false;
    this.#reuse();
    this.#rethrow();
  };

  #reuse(): void {
    this.#free.push(...this.#ended);
    this.#ended.length = 0;
  }

  /** One callback's error must not keep the others from running. */
  #keep(error: unknown): void {
    if (!this.#failed) this.#error = error;
    this.#failed = true;
  }

  #rethrow(): void {
    if (!this.#failed) return;
    const error = this.#error;
    this.#failed = false;
    this.#error = undefined;
    throw error;
  }
}

const dispatchers = new WeakMap<Native, Dispatcher>();

export class Poller {
  readonly #dispatcher: Dispatcher;

  constructor(native: Native) {
    let dispatcher = dispatchers.get(native);
    if (dispatcher === undefined) {
      dispatcher = new Dispatcher(native);
      dispatchers.set(native, dispatcher);
    }
    this.#dispatcher = dispatcher;
  }

  /** Calls back with READABLE, WRITABLE and FAILED bits; `events` are the first two. */
  watch(fd: number, events: number, callback: ReadyCallback): Watch {
    return this.#dispatcher.watch(fd, events, callback);
  }

  /** Whether callbacks of a turn are running, so that endOfTurn will follow. */
  get inTurn(): boolean {
    return this.#dispatcher.inTurn;
  }

  /** Calls back after each turn in which anything was ready; answers how to end that. */
  endOfTurn(callback: () => void): () => void {
    return this.#dispatcher.hook(callback);
  }
}
