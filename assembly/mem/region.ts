/**
 * The region of rules: blocks of any size behind the pools, for tables that are loaded, replaced
 * and given back while the core lives. Memory grows here and nowhere else after `init`, and only
 * when rules are loaded, never on the way of a packet; without rules it keeps its identity. `init`
 * must come before the first block, as the pools would lie where the region begins.
 *
 * A block has a header of 16 bytes: its size, and the next free block while it is free. Free blocks
 * are kept in the order of their addresses and joined with their neighbours, so what was given back
 * serves again; the smallest that fits is taken. There are few blocks: a handful a set.
 */
import * as layout from "../layout";

const HEADER_BYTES: u32 = 16;
/** Sizes are multiples of this. */
const GRAIN: u64 = 4096;
const PAGE_BYTES: u64 = 65536;
const NEXT_OFF: usize = 4;

/** First address of the region and the one behind it; 0: there is no region yet. */
let from: usize = 0;
let end: usize = 0;
let firstFree: usize = 0;
let usedBytesV: u32 = 0;

/** Was memory ever taken here? Then it is too late for `init`. */
export function hasRegion(): bool {
  return from != 0;
}

/** Bytes of the blocks in use, headers included. */
export function regionBytes(): u32 {
  return usedBytesV;
}

function sizeOf(block: usize): u32 {
  return load<u32>(block);
}

function nextOf(block: usize): usize {
  return <usize>load<u32>(block, NEXT_OFF);
}

function setNext(before: usize, block: usize): void {
  if (before == 0) firstFree = block;
  else store<u32>(before, <u32>block, NEXT_OFF);
}

/** A block of at least `bytes` bytes, with whatever lay there; 0 if there is no room. */
export function takeRegion(bytes: u32): usize {
  const size = (<u64>bytes + HEADER_BYTES + GRAIN - 1) & ~(GRAIN - 1);
  if (<u64>usedBytesV + size > <u64>layout.RULES_BYTES_MAX) return 0;
  let best: usize = 0;
  let beforeBest: usize = 0;
  let before: usize = 0;
  for (let block = firstFree; block != 0; block = nextOf(block)) {
    const fits = <u64>sizeOf(block) >= size;
    if (fits && (best == 0 || sizeOf(block) < sizeOf(best))) {
      best = block;
      beforeBest = before;
    }
    before = block;
  }
  // `before` is the last free block now, which can be made longer.
  if (best == 0) {
    if (!lengthen(before, size)) return 0;
    return takeRegion(bytes);
  }
  const rest = sizeOf(best) - <u32>size;
  const next = nextOf(best);
  if (rest > 0) {
    const tail = best + <usize>size;
    store<u32>(tail, rest);
    store<u32>(tail, <u32>next, NEXT_OFF);
    setNext(beforeBest, tail);
  } else {
    setNext(beforeBest, next);
  }
  store<u32>(best, <u32>size);
  usedBytesV += <u32>size;
  return best + HEADER_BYTES;
}

/** Grows memory so that the last free block, or a new one, has `size` bytes. */
function lengthen(last: usize, size: u64): bool {
  if (from == 0) {
    from = (<usize>memory.size()) << 16;
    end = from;
  }
  const joins = last != 0 && last + <usize>sizeOf(last) == end;
  const missing = joins ? size - <u64>sizeOf(last) : size;
  const pages = (missing + PAGE_BYTES - 1) / PAGE_BYTES;
  // The last page stays out, so that no sum of an address and a length wraps.
  if (<u64>memory.size() + pages >= 65536) return false;
  // Somebody else may have grown memory: then the new block stands alone.
  const grown = (<usize>memory.size()) << 16;
  if (grown != end) return false;
  if (memory.grow(<i32>pages) < 0) return false;
  const more = <u32>(pages * PAGE_BYTES);
  if (joins) {
    store<u32>(last, sizeOf(last) + more);
  } else {
    store<u32>(end, more);
    store<u32>(end, 0, NEXT_OFF);
    setNext(last, end);
  }
  end += more;
  return true;
}

/** Gives a block back; `ptr` must be an answer of `takeRegion` that is in use. */
export function giveRegion(ptr: usize): void {
  const block = ptr - HEADER_BYTES;
  assert(block >= from);
  assert(block < end);
  usedBytesV -= sizeOf(block);
  let before: usize = 0;
  let next = firstFree;
  while (next != 0 && next < block) {
    before = next;
    next = nextOf(next);
  }
  assert(next != block);
  store<u32>(block, <u32>next, NEXT_OFF);
  setNext(before, block);
  if (next != 0) join(block, next);
  if (before != 0) join(before, block);
}

function join(block: usize, next: usize): void {
  if (block + sizeOf(block) != next) return;
  store<u32>(block, sizeOf(block) + sizeOf(next));
  store<u32>(block, <u32>nextOf(next), NEXT_OFF);
}
