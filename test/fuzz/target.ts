/**
 * What a fuzz target is, and what targets share: a log of what a parser told, the check that every
 * split of the input tells the same, and the errors that are a parser's own.
 *
 * An input is bytes, and all that a target draws (splits, choices) comes from them: so an input
 * alone repeats a finding. A target throws where a promise is broken; what it answers is the shape
 * of what happened, and inputs of a new shape are mutated further.
 */
import { isDeepStrictEqual } from "node:util";
import { Random } from "../kit/random.ts";

export interface Target {
  readonly name: string;
  /** Longest input. */
  readonly bytesMax: number;
  /** Words and byte sequences that mean something. */
  readonly dictionary: readonly (string | Uint8Array)[];
  /** Inputs are lines of text. */
  readonly isText?: boolean;
  /** A well-formed input of the target's own. */
  generate(random: Random): Uint8Array;
  /** Throws where a promise is broken; else the shape of what happened. */
  run(input: Uint8Array): string | Promise<string>;
}

export type ErrorClass = abstract new (...parts: never[]) => Error;

/** FNV-1a: equal inputs, equal choices. */
export function hashOf(input: Uint8Array): number {
  let hash = 0x811c9dc5;
  for (const byte of input) hash = Math.imul(hash ^ byte, 0x01000193);
  return hash >>> 0;
}

export function randomOf(input: Uint8Array): Random {
  return new Random(hashOf(input));
}

export function check(holds: boolean, what: string): asserts holds {
  if (!holds) throw new Error(what);
}

export function checkEqual(got: unknown, wanted: unknown, what: string): void {
  if (isDeepStrictEqual(got, wanted)) return;
  throw new Error(`${what}: ${shown(got)} instead of ${shown(wanted)}`);
}

function shown(value: unknown): string {
  return JSON.stringify(value, (_, part: unknown) =>
    typeof part === "bigint" ? String(part) : part,
  ).slice(0, 300);
}

/** What a parser told, in order. Bytes of one stream that follow each other are one entry. */
export class Log {
  readonly entries: string[] = [];
  #kinds: string[] = [];
  #stream = "";

  add(kind: string, detail: unknown = ""): void {
    this.#stream = "";
    this.#kinds.push(kind);
    this.entries.push(`${kind} ${JSON.stringify(detail) ?? ""}`);
  }

  data(stream: string, bytes: Uint8Array): void {
    const text = Buffer.from(bytes).toString("latin1");
    if (this.#stream === stream) {
      this.entries[this.entries.length - 1] += text;
      return;
    }
    this.#stream = stream;
    this.#kinds.push(stream);
    this.entries.push(`${stream} ${text}`);
  }

  /** Kinds in order, repetitions left out, numbers as #. */
  get shape(): string {
    const kinds = this.#kinds.filter((kind, index) => kind !== this.#kinds[index - 1]);
    return kinds.slice(0, 12).join(" ").replace(/\d+/g, "#");
  }
}

/** Runs `body`; an error that is one of `own` is logged, any other is a finding. */
export function guarded(log: Log, own: readonly ErrorClass[], body: () => void): void {
  try {
    body();
  } catch (error) {
    if (!(error instanceof Error) || !own.some((kind) => error instanceof kind)) throw error;
    log.add(`!${error.name}: ${error.message.slice(0, 80)}`);
  }
}

/** Whole, byte by byte, and cut at random places; each piece is a copy of its own. */
export function splitsOf(input: Uint8Array): Uint8Array[][] {
  const random = randomOf(input);
  const cut = (next: () => number): Uint8Array[] => {
    const pieces: Uint8Array[] = [];
    for (let at = 0; at < input.length;) {
      const end = Math.min(input.length, at + next());
      pieces.push(input.slice(at, end));
      at = end;
    }
    return pieces;
  };
  const splits = [[input.slice()], cut(() => 1 + random.below(9))];
  const most = 1 + random.below(Math.max(1, input.length));
  splits.push(cut(() => 1 + random.below(most)));
  if (input.length <= 512) splits.push(cut(() => 1));
  return splits;
}

/** Plays the input in several splits: each must tell the same. Answers what was told. */
export function sameInEverySplit(
  input: Uint8Array,
  own: readonly ErrorClass[],
  play: (pieces: readonly Uint8Array[], log: Log) => void,
): Log {
  const logs = splitsOf(input).map((pieces) => {
    const log = new Log();
    guarded(log, own, () => play(pieces, log));
    return log;
  });
  const [first = new Log(), ...others] = logs;
  for (const other of others) checkEqual(other.entries, first.entries, "a split tells otherwise");
  return first;
}

/** A reader that collects one message: how much of the piece it used, and what it told then. */
export interface Collector {
  push(piece: Uint8Array): number;
  /** The message is whole; reads it into the log. */
  finish(log: Log): boolean;
}

/**
 * Feeds pieces to one collector after the other. A collector takes no byte beyond its message, and
 * at most `heldMax` bytes without coming to an end.
 */
export function collect(
  pieces: readonly Uint8Array[],
  log: Log,
  make: () => Collector,
  heldMax: number,
): void {
  let collector = make();
  let held = 0;
  for (const piece of pieces) {
    for (let offset = 0; offset < piece.length;) {
      const used = collector.push(piece.subarray(offset));
      check(used >= 0 && used <= piece.length - offset, `used ${used}`);
      offset += used;
      held += used;
      check(held <= heldMax, `${held} bytes were taken for one message`);
      if (collector.finish(log)) {
        collector = make();
        held = 0;
      } else {
        check(offset === piece.length, "a reader that is not done left bytes");
      }
    }
  }
}
