/**
 * Wildcards on their way into an image: tokens (assembly/abi.ts, GLOB_…) and by which literal end
 * of them they are found. Plain ones are made from bytes without strings, as lists may have a
 * million of them.
 */
import * as abi from "../../assembly/abi.ts";
import { LABELS_MAX } from "./rule.ts";

const STAR = 42;
const QUESTION = 63;
const DOT = 46;
const BYTES_MAX = 256;
const ANCHORS = 2 ** 18;
/** What an anchor's hash begins with. */
const TAIL_SEED = hashByte(0x811c9dc5, DOT);
const HEAD_SEED = hashByte(0x811c9dc5, 94);

export interface Pattern {
  /** Tokens; only `length` bytes count. */
  readonly tokens: Uint8Array;
  readonly length: number;
  /** Bytes of literal text in front of the first and behind the last other token. */
  readonly headBytes: number;
  readonly tailBytes: number;
}

/** Tokens of patterns of `*`, `?` and plain bytes; what it answers is good until the next one. */
export class PatternReader implements Pattern {
  readonly tokens = new Uint8Array(BYTES_MAX);
  length = 0;
  headBytes = 0;
  tailBytes = 0;

  /** At most 256 bytes. */
  read(bytes: Uint8Array, from: number, end: number): Pattern {
    const { tokens } = this;
    let length = 0;
    let head = -1;
    let last = -1;
    for (let at = from; at < end; at++) {
      const byte = bytes[at] ?? 0;
      if (byte === STAR || byte === QUESTION) {
        if (head < 0) head = length;
        // Stars in a row are one.
        if (byte === STAR && last === length - 1 && tokens[last] === abi.GLOB_STAR) continue;
        last = length;
        tokens[length++] = byte === STAR ? abi.GLOB_STAR : abi.GLOB_ANY;
      } else {
        tokens[length++] = byte;
      }
    }
    this.length = length;
    this.headBytes = head < 0 ? length : head;
    this.tailBytes = length - last - 1;
    return this;
  }
}

/** Chooses anchors, and counts how many wildcards have each. */
export class Anchors {
  /** By a hash of the anchor: few bytes, and no fewer than there are. */
  readonly #counts = new Uint32Array(ANCHORS);
  /** RULE_ANCHOR_… and bytes of the anchor that was chosen last. */
  kind = abi.RULE_ANCHOR_NONE;
  bytes = 0;

  /**
   * By which literal end a wildcard is found: the one that fewer others have, of two the longer
   * one. Answers how many others have it.
   */
  choose(pattern: Pattern): number {
    const tail = labelsOf(pattern);
    const head = headOf(pattern);
    const tailKey = tail === 0 ? 0 : keyOf(pattern, pattern.length - tail, tail, TAIL_SEED);
    const headKey = head === 0 ? 0 : keyOf(pattern, 0, head, HEAD_SEED);
    const tailCount = this.#counts[tailKey] ?? 0;
    const headCount = this.#counts[headKey] ?? 0;
    const isLessUsed = headCount < tailCount || (headCount === tailCount && head > tail);
    const isHead = head > 0 && (tail === 0 || isLessUsed);
    this.bytes = isHead ? head : tail;
    if (isHead) this.kind = abi.RULE_ANCHOR_HEAD;
    else this.kind = tail > 0 ? abi.RULE_ANCHOR_TAIL : abi.RULE_ANCHOR_NONE;
    const key = isHead ? headKey : tailKey;
    const count = this.#counts[key] ?? 0;
    this.#counts[key] = count + 1;
    return count;
  }
}

/** Bytes of the whole labels at the end. */
function labelsOf({ tokens, length, tailBytes }: Pattern): number {
  let at = length - tailBytes;
  while (at < length && tokens[at] !== DOT) at++;
  const bytes = Math.max(0, length - at - 1);
  let labels = 1;
  for (at++; at < length; at++) if (tokens[at] === DOT) labels++;
  return bytes > 255 || labels > LABELS_MAX ? 0 : bytes;
}

/** ASCII only, as a character must not be cut; a power of two, as each length costs a look-up. */
function headOf({ tokens, headBytes }: Pattern): number {
  const most = Math.min(headBytes, abi.RULE_HEAD_MAX);
  let plain = 0;
  while (plain < most && isPrintable(tokens[plain] ?? 0)) plain++;
  return plain === 0 ? 0 : 2 ** (31 - Math.clz32(plain));
}

function isPrintable(byte: number): boolean {
  return byte >= 0x20 && byte <= 0x7e;
}

/** 1 … ANCHORS - 1; 0 is for those without. Collisions only spread wildcards worse. */
function keyOf({ tokens }: Pattern, from: number, bytes: number, seed: number): number {
  let hash = seed;
  for (let at = from; at < from + bytes; at++) hash = hashByte(hash, tokens[at] ?? 0);
  return 1 + ((hash >>> 0) % (ANCHORS - 1));
}

/** FNV-1a. */
function hashByte(hash: number, byte: number): number {
  return Math.imul(hash ^ byte, 0x01000193);
}
