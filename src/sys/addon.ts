/**
 * Loads the addon, at the first use and never before: what needs no device works without a
 * compiler. Each thread has its own instance, because the addon keeps its state by environment.
 */
import { createRequire } from "node:module";
import { TsgostError, messageOf } from "../errors.ts";
import { addonFiles } from "./build.ts";
import { errnoName, errnoText } from "./errno.ts";
import type { Native, Watch } from "./native.ts";

/** The addon as C made it: watches are tokens there. */
interface RawNative extends Omit<Native, "watch"> {
  watchOpen(fd: number, id: number, events: number): number;
  /** 0 or -errno. */
  watchSet(token: number, events: number): number;
  watchClose(token: number): void;
}

class NativeWatch implements Watch {
  readonly #raw: RawNative;
  readonly #token: number;
  #open = true;

  constructor(raw: RawNative, token: number) {
    this.#raw = raw;
    this.#token = token;
  }

  set(events: number): void {
    if (!this.#open) return;
    const result = this.#raw.watchSet(this.#token, events);
    if (result === 0) return;
    // Somebody else closed the descriptor: nothing will ever happen on it, and that is no harm.
    const name = errnoName(-result);
    if (name === "ENOENT" || name === "EBADF") return;
    throw new TsgostError("TSGOST_ERR_POLL", `cannot watch a descriptor: ${errnoText(-result)}`);
  }

  close(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#raw.watchClose(this.#token);
  }
}

let loaded: Native | undefined;

/**
 * The addon. Throws TsgostError: TSGOST_ERR_PLATFORM, TSGOST_ERR_NO_COMPILER,
 * TSGOST_ERR_ADDON_BUILD, TSGOST_ERR_ADDON_CACHE, or TSGOST_ERR_ADDON if no file can be loaded.
 */
export function loadNative(): Native {
  if (loaded !== undefined) return loaded;
  let failure: unknown;
  for (const file of addonFiles()) {
    try {
      loaded = open(file());
      return loaded;
    } catch (error) {
      failure = error;
    }
  }
  if (failure instanceof TsgostError) throw failure;
  throw new TsgostError("TSGOST_ERR_ADDON", `the addon cannot be loaded: ${messageOf(failure)}`, {
    cause: failure,
  });
}

function open(file: string): Native {
  const raw = createRequire(import.meta.url)(file) as RawNative;
  return Object.assign(raw, {
    watch: (fd: number, id: number, events: number): Watch =>
      new NativeWatch(raw, raw.watchOpen(fd, id, events)),
  });
}
