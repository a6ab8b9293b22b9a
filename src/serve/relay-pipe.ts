/**
 * Joins two streams: bytes, half-closes and resets go through as they come, and a side is read only
 * as fast as the other takes it. A side that takes no more while the other goes on ends both.
 */
import type { UpStream } from "../chain/types.ts";

/** Bytes handed over and not yet taken, before the source is paused; resumed below half of it. */
const QUEUE_BYTES_MAX = 256 * 1024;

/**
 * Runs until both sides are closed. `firstEnded`: the first side's end was seen before. Attaches
 * to both; they must be detached until now. Without a byte in either direction for `idleMs` both
 * are reset; 0 = never.
 */
export function pipe(
  first: UpStream,
  second: UpStream,
  firstEnded = false,
  idleMs = 0,
): Promise<void> {
  return new Promise<void>((resolve) => {
    let timer: NodeJS.Timeout | undefined;
    if (idleMs > 0) {
      timer = setTimeout(() => {
        first.reset();
        second.reset();
      }, idleMs);
    }
    let open = 2;
    const closed = (): void => {
      if (--open > 0) return;
      clearTimeout(timer);
      resolve();
    };
    const heard = (): void => {
      timer?.refresh();
    };
    oneWay({ from: first, to: second, heard, closed });
    oneWay({ from: second, to: first, heard, closed });
    if (firstEnded) second.end();
  });
}

interface Way {
  readonly from: UpStream;
  readonly to: UpStream;
  readonly heard: () => void;
  readonly closed: () => void;
}

function oneWay({ from, to, heard, closed }: Way): void {
  let queued = 0;
  let isPaused = false;
  let hasEnded = false;
  from.attach({
    data: (chunk) => {
      const bytes = chunk.length;
      heard();
      queued += bytes;
      to.write([chunk], (error) => {
        queued -= bytes;
        if (error !== undefined) {
          // Nobody takes what `from` sends: it must not be read into nothing.
          from.reset();
          to.reset();
          return;
        }
        heard();
        if (!isPaused || queued > QUEUE_BYTES_MAX / 2) return;
        isPaused = false;
        from.resume();
      });
      if (queued <= QUEUE_BYTES_MAX || isPaused) return;
      isPaused = true;
      from.pause();
    },
    end: () => {
      hasEnded = true;
      to.end();
    },
    close: (error) => {
      // Without an end before it, a close cuts the stream off: that must not pass for an end.
      if (error !== undefined || !hasEnded) to.reset();
      closed();
    },
  });
  from.resume();
}
