/**
 * Mutations of inputs: of bits, bytes and numbers, of spans (away, twice, moved, repeated), by the
 * target's dictionary, by a piece of another input, and of lines where the input is text.
 */
import type { Random } from "../kit/random.ts";
import type { Target } from "./target.ts";

const NUMBERS = [0, 1, 2, 3, 4, 7, 8, 16, 31, 32, 63, 64, 100, 127, 128, 192, 254, 255];
const WORDS = [0, 1, 127, 128, 255, 256, 1023, 1024, 4096, 32_767, 32_768, 65_534, 65_535];

type Mutation = (bytes: Uint8Array, random: Random) => Uint8Array;

function joined(...parts: readonly Uint8Array[]): Uint8Array {
  return Uint8Array.from(Buffer.concat(parts));
}

/** A span, mostly a short one. */
function spanOf(bytes: Uint8Array, random: Random): [number, number] {
  const from = random.below(bytes.length + 1);
  const most = random.chance(0.8) ? 8 : bytes.length;
  return [from, Math.min(bytes.length, from + random.below(most + 1))];
}

function insert(bytes: Uint8Array, random: Random, piece: Uint8Array): Uint8Array {
  const at = random.below(bytes.length + 1);
  return joined(bytes.subarray(0, at), piece, bytes.subarray(at));
}

const setWord: Mutation = (bytes, random) => {
  const size = random.pick([2, 2, 4]);
  if (bytes.length < size) return bytes;
  const copy = Buffer.from(bytes);
  const at = random.below(bytes.length - size + 1);
  const isBig = random.chance(0.5);
  const old = size === 2 ? copy.readUInt16BE(at) : copy.readUInt32BE(at);
  const near = old + random.between(-3, 3);
  const value = random.chance(0.3) ? near : random.chance(0.8) ? random.pick(WORDS) : random.next();
  const limit = size === 2 ? 0xffff : 0xffff_ffff;
  const word = size === 2 ? value & limit : value >>> 0;
  const view = new DataView(copy.buffer, copy.byteOffset);
  if (size === 2) view.setUint16(at, word, !isBig);
  else view.setUint32(at, word, !isBig);
  return copy;
};

const COMMON: readonly Mutation[] = [
  (bytes, random) => {
    const copy = bytes.slice();
    const at = random.below(bytes.length);
    if (bytes.length > 0) copy[at]! ^= 1 << random.below(8);
    return copy;
  },
  (bytes, random) => {
    const copy = bytes.slice();
    const value = random.chance(0.5) ? random.pick(NUMBERS) : random.below(256);
    if (bytes.length > 0) copy[random.below(bytes.length)] = value;
    return copy;
  },
  setWord,
  setWord,
  (bytes, random) => bytes.slice(0, random.below(bytes.length + 1)),
  (bytes, random) => {
    const [from, to] = spanOf(bytes, random);
    return joined(bytes.subarray(0, from), bytes.subarray(to));
  },
  (bytes, random) => insert(bytes, random, bytes.subarray(...spanOf(bytes, random))),
  (bytes, random) => insert(bytes, random, random.bytes(1 + random.below(8))),
  (bytes, random) => {
    const [from, to] = spanOf(bytes, random);
    const copy = bytes.slice();
    copy.copyWithin(random.below(bytes.length + 1), from, to);
    return copy;
  },
  (bytes, random) => {
    const piece = bytes.subarray(...spanOf(bytes, random));
    const times = 1 + random.below(random.chance(0.9) ? 20 : 400);
    return insert(bytes, random, joined(...Array.from({ length: times }, () => piece)));
  },
];

const LINES: readonly Mutation[] = [
  (bytes, random) => ofLines(bytes, (lines) => void lines.splice(random.below(lines.length), 1)),
  (bytes, random) =>
    ofLines(bytes, (lines) => {
      lines.splice(random.below(lines.length + 1), 0, random.pick(lines));
    }),
  (bytes, random) =>
    ofLines(bytes, (lines) => {
      const at = random.below(lines.length);
      const blanks = " ".repeat(random.below(7));
      lines[at] = blanks + (lines[at] ?? "").trimStart();
    }),
  (bytes, random) =>
    ofLines(bytes, (lines) => {
      const words = (lines[random.below(lines.length)] ?? "").split(/([:\s]+)/);
      const at = random.below(lines.length);
      lines[at] = (lines[at] ?? "").replace(/\S+$/, random.pick(words));
    }),
];

function ofLines(bytes: Uint8Array, change: (lines: string[]) => void): Uint8Array {
  const lines = Buffer.from(bytes).toString("utf8").split("\n");
  change(lines);
  return Uint8Array.from(Buffer.from(lines.join("\n"), "utf8"));
}

/** A changed copy of `bytes`; `others` are inputs to take pieces from. */
export function mutate(
  target: Target,
  bytes: Uint8Array,
  random: Random,
  others: readonly Uint8Array[],
): Uint8Array {
  const words = target.dictionary;
  const kinds: Mutation[] = [...COMMON];
  if (target.isText === true) kinds.push(...LINES, ...LINES);
  const word: Mutation = (from, dice) => {
    const piece = Buffer.from(dice.pick(words));
    if (dice.chance(0.5)) return insert(from, dice, piece);
    const at = dice.below(from.length + 1);
    return joined(from.subarray(0, at), piece, from.subarray(at + piece.length));
  };
  if (words.length > 0) kinds.push(word, word, word);
  if (others.length > 0) {
    kinds.push((from, dice) => {
      const other = dice.pick(others);
      return insert(from, dice, other.subarray(...spanOf(other, dice)));
    });
    kinds.push((from, dice) => {
      const other = dice.pick(others);
      const head = from.subarray(0, dice.below(from.length + 1));
      return joined(head, other.subarray(dice.below(other.length + 1)));
    });
  }
  let changed = bytes;
  const times = random.pick([1, 1, 1, 2, 3, 6]);
  for (let round = 0; round < times; round++) changed = random.pick(kinds)(changed, random);
  // A plain copy: the slices of a Buffer would be views.
  return Uint8Array.from(changed.subarray(0, target.bytesMax));
}
