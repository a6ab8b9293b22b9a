/**
 * Networks and ranges of addresses at any port: four sorted lists of disjoint segments. Which of
 * two rules that overlap is named does not matter, so nested ones need no tree: a list is sorted by
 * first address, and each rule gets what the ones before it left over.
 *
 * Sorting is by bytes from the lowest to the highest (radix), between two arrays of record indices
 * in the scratch block; a pass counts all records, then moves them to the other array. IPv4 takes
 * 4 passes, IPv6 16; a byte that is the same everywhere needs no move.
 */
import * as layout from "../layout";
import { LIST_CIDR_4, LIST_CIDR_6, LIST_RANGE_4, LIST_RANGE_6 } from "./rules";
import { PHASE_SWEEP, Rule, RuleSet, SegmentList, listOf, ruleOf, valueOf } from "./rules";

/** Counts of one pass at the front of the scratch block. */
const COUNTS_BYTES: u32 = 1024;
const ALL: u64 = ~(<u64>0);

/** The list that a kind of rule belongs to, or -1. */
export function listFor(kind: u32): i32 {
  switch (kind) {
    case layout.RULE_CIDR_4:
      return <i32>LIST_CIDR_4;
    case layout.RULE_CIDR_6:
      return <i32>LIST_CIDR_6;
    case layout.RULE_RANGE_4:
      return <i32>LIST_RANGE_4;
    case layout.RULE_RANGE_6:
      return <i32>LIST_RANGE_6;
    default:
      return -1;
  }
}

function isFour(list: u32): bool {
  return list == LIST_CIDR_4 || list == LIST_RANGE_4;
}

/** Bytes of an address in the segments of a list. */
export function addressBytes(list: u32): u32 {
  return isFour(list) ? 4 : 16;
}

/** Bytes of scratch that sorting needs if the longest list has `most` records. */
export function scratchBytes(most: u32): u32 {
  return COUNTS_BYTES + most * 8;
}

/** The one or the other array; `set.side` is the one that holds the list. */
function indexArray(set: RuleSet, most: u32, which: u32): usize {
  return set.scratch + COUNTS_BYTES + <usize>(which * most) * 4;
}

function first4(rule: Rule): u32 {
  if (<u32>rule.kind == layout.RULE_RANGE_4) return rule.value;
  if (rule.prefix >= 32) return rule.value;
  return rule.value & ~((<u32>0xffffffff) >> (<u32>rule.prefix));
}

function last4(rule: Rule): u32 {
  if (<u32>rule.kind == layout.RULE_RANGE_4) return rule.link;
  return rule.prefix >= 32 ? rule.value : rule.value | ((<u32>0xffffffff) >> (<u32>rule.prefix));
}

/** Bits of the host part in the upper or lower half of an IPv6 network. */
function hostBits(rule: Rule, isLow: bool): u64 {
  const prefix = <u32>rule.prefix;
  if (isLow) {
    if (prefix >= 128) return 0;
    return prefix <= 64 ? ALL : ALL >> (<u64>(prefix - 64));
  }
  return prefix >= 64 ? 0 : ALL >> (<u64>prefix);
}

function half(ptr: usize): u64 {
  return bswap<u64>(load<u64>(ptr));
}

function first6(set: RuleSet, rule: Rule, isLow: bool): u64 {
  const value = half(valueOf(set, rule) + (isLow ? 8 : 0));
  return <u32>rule.kind == layout.RULE_RANGE_6 ? value : value & ~hostBits(rule, isLow);
}

function last6(set: RuleSet, rule: Rule, isLow: bool): u64 {
  const value = valueOf(set, rule) + (isLow ? 8 : 0);
  if (<u32>rule.kind == layout.RULE_RANGE_6) return half(value + 16);
  return half(value) | hostBits(rule, isLow);
}

/** Byte `pass` of a rule's first address, the lowest first. */
function keyByte(set: RuleSet, list: u32, index: u32, pass: u32): u32 {
  const rule = ruleOf(set, index);
  if (isFour(list)) return (first4(rule) >> (pass << 3)) & 255;
  return (<u32>(first6(set, rule, pass < 8) >> (<u64>((pass & 7) << 3)))) & 255;
}

/** Puts a record into the list that is to be sorted; `at` of `most`. */
export function collect(set: RuleSet, at: u32, index: u32): void {
  store<u32>(set.scratch + COUNTS_BYTES + <usize>at * 4, index);
}

/**
 * Sorts a piece of the list: `set.pass` counts half passes, `set.cursor` records. After the last
 * one the sweep begins.
 */
export function sortStep(set: RuleSet, most: u32, budget: u32): void {
  const list = set.list;
  const count = listOf(set, list).count;
  const passes = addressBytes(list);
  const pass = set.pass >> 1;
  if (count < 2 || pass >= passes) {
    set.phase = PHASE_SWEEP;
    set.cursor = 0;
    set.pass = 0;
    return;
  }
  const from = indexArray(set, most, set.side);
  const to = indexArray(set, most, set.side ^ 1);
  const counts = set.scratch;
  const isCounting = (set.pass & 1) == 0;
  if (isCounting && set.cursor == 0) memory.fill(counts, 0, COUNTS_BYTES);
  const end = count - set.cursor < budget ? count : set.cursor + budget;
  for (let i = set.cursor; i < end; i++) {
    const index = load<u32>(from + <usize>i * 4);
    const slot = counts + <usize>keyByte(set, list, index, pass) * 4;
    const value = load<u32>(slot);
    store<u32>(slot, value + 1);
    if (!isCounting) store<u32>(to + <usize>value * 4, index);
  }
  set.cursor = end;
  if (end < count) return;
  set.cursor = 0;
  set.pass++;
  if (!isCounting) {
    set.side ^= 1;
  } else if (isAllSame(counts, count)) {
    // The move would change nothing.
    set.pass++;
  } else {
    sumUp(counts);
  }
}

/** Did one byte occur in all of `count` records? */
function isAllSame(counts: usize, count: u32): bool {
  for (let i: usize = 0; i < 256; i++) {
    const here = load<u32>(counts + i * 4);
    if (here != 0) return here == count;
  }
  return true;
}

/** Counts become the places where each value begins. */
function sumUp(counts: usize): void {
  let sum: u32 = 0;
  for (let i: usize = 0; i < 256; i++) {
    const count = load<u32>(counts + i * 4);
    store<u32>(counts + i * 4, sum);
    sum += count;
  }
}

/** Makes segments of a piece of the sorted list; true when the list is done. */
export function sweepStep(set: RuleSet, most: u32, budget: u32): bool {
  const list = set.list;
  const segments = listOf(set, list);
  const sorted = indexArray(set, most, set.side);
  const end = segments.count - set.cursor < budget ? segments.count : set.cursor + budget;
  // `pass` counts the segments made so far.
  for (let i = set.cursor; i < end; i++) {
    const index = load<u32>(sorted + <usize>i * 4);
    if (isFour(list)) addSegment4(set, segments, index);
    else addSegment6(set, segments, index);
  }
  set.cursor = end;
  if (end < segments.count) return false;
  segments.count = set.pass;
  return true;
}

function addSegment4(set: RuleSet, segments: SegmentList, index: u32): void {
  const rule = ruleOf(set, index);
  let first = first4(rule);
  const last = last4(rule);
  const made = set.pass;
  if (made > 0) {
    const covered = load<u32>(segments.ends + <usize>(made - 1) * 4);
    if (last <= covered) return;
    if (first <= covered) first = covered + 1;
  }
  store<u32>(segments.starts + <usize>made * 4, first);
  store<u32>(segments.ends + <usize>made * 4, last);
  store<u32>(segments.rules + <usize>made * 4, index);
  set.pass = made + 1;
}

function isAtMost(high: u64, low: u64, otherHigh: u64, otherLow: u64): bool {
  return high == otherHigh ? low <= otherLow : high < otherHigh;
}

function addSegment6(set: RuleSet, segments: SegmentList, index: u32): void {
  const rule = ruleOf(set, index);
  let high = first6(set, rule, false);
  let low = first6(set, rule, true);
  const lastHigh = last6(set, rule, false);
  const lastLow = last6(set, rule, true);
  const made = set.pass;
  if (made > 0) {
    const before = segments.ends + <usize>(made - 1) * 16;
    const endHigh = load<u64>(before);
    const endLow = load<u64>(before, 8);
    if (isAtMost(lastHigh, lastLow, endHigh, endLow)) return;
    if (isAtMost(high, low, endHigh, endLow)) {
      low = endLow + 1;
      high = low == 0 ? endHigh + 1 : endHigh;
    }
  }
  const start = segments.starts + <usize>made * 16;
  const end = segments.ends + <usize>made * 16;
  store<u64>(start, high);
  store<u64>(start, low, 8);
  store<u64>(end, lastHigh);
  store<u64>(end, lastLow, 8);
  store<u32>(segments.rules + <usize>made * 4, index);
  set.pass = made + 1;
}

/** The rule whose segment holds an IPv4 address: index + 1, or 0. */
export function find4(segments: SegmentList, address: u32): u32 {
  let low: u32 = 0;
  let high = segments.count;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (load<u32>(segments.starts + <usize>middle * 4) <= address) low = middle + 1;
    else high = middle;
  }
  if (low == 0) return 0;
  const at = <usize>(low - 1) * 4;
  return address <= load<u32>(segments.ends + at) ? load<u32>(segments.rules + at) + 1 : 0;
}

/** The same for IPv6, whose address is at `address`. */
export function find6(segments: SegmentList, address: usize): u32 {
  const top = half(address);
  const bottom = half(address + 8);
  let low: u32 = 0;
  let high = segments.count;
  while (low < high) {
    const middle = (low + high) >> 1;
    const start = segments.starts + <usize>middle * 16;
    if (isAtMost(load<u64>(start), load<u64>(start, 8), top, bottom)) low = middle + 1;
    else high = middle;
  }
  if (low == 0) return 0;
  const end = segments.ends + <usize>(low - 1) * 16;
  if (!isAtMost(top, bottom, load<u64>(end), load<u64>(end, 8))) return 0;
  return load<u32>(segments.rules + <usize>(low - 1) * 4) + 1;
}
