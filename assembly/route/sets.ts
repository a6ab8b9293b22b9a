/**
 * The directory of rule sets: handles with generations, so that a handle of a set that was given
 * back never names another one. A reload builds a new set beside the old one; the host changes its
 * handle and frees the old set, whose memory serves the next.
 */
import * as layout from "../layout";
import { giveRegion, regionBytes, takeRegion } from "../mem/region";
import { buildStep } from "./build";
import { PHASE_IMAGE, PHASE_READY, RuleSet, SET_BYTES } from "./rules";

/** For each index: address of the set (0 = free), generation. */
const directory: usize = memory.data(8192, 8);
const ENTRY_BYTES: usize = 8;
const GENERATION_MASK: u32 = 0x1fffff;

if (layout.RULE_SETS_MAX * <u32>ENTRY_BYTES > 8192) ERROR("the directory is too small");

function entryOf(index: u32): usize {
  return directory + <usize>index * ENTRY_BYTES;
}

/** The set, or null for a stale handle. */
export function setOf(handle: u32): RuleSet | null {
  const entry = entryOf(handle & (layout.RULE_SETS_MAX - 1));
  const address = load<u32>(entry);
  if (address == 0) return null;
  if (load<u32>(entry, 4) != handle >> layout.RULE_SET_SHIFT) return null;
  return changetype<RuleSet>(<usize>address);
}

/** A set that is ready for look-ups, or null. */
export function readySetOf(handle: u32): RuleSet | null {
  const set = setOf(handle);
  if (set === null) return null;
  return set.phase == PHASE_READY ? set : null;
}

/** Room for an image of `bytes`: a handle, ERR_FULL, ERR_RANGE, ERR_MEMORY. */
export function reserve(bytes: u32): i32 {
  if (bytes < layout.RULES_HEADER_BYTES) return layout.ERR_RANGE;
  if (bytes > layout.RULES_BYTES_MAX - SET_BYTES) return layout.ERR_RANGE;
  let index: u32 = 0;
  while (index < layout.RULE_SETS_MAX && load<u32>(entryOf(index)) != 0) index++;
  if (index == layout.RULE_SETS_MAX) return layout.ERR_FULL;
  const block = takeRegion(SET_BYTES + bytes);
  if (block == 0) return layout.ERR_MEMORY;
  memory.fill(block, 0, SET_BYTES + layout.RULES_HEADER_BYTES);
  const set = changetype<RuleSet>(block);
  set.image = block + SET_BYTES;
  set.imageBytes = bytes;
  const entry = entryOf(index);
  // Generations begin at 1, so that no handle is 0; they never make a handle negative.
  const generation = (load<u32>(entry, 4) % GENERATION_MASK) + 1;
  store<u32>(entry, <u32>block);
  store<u32>(entry, generation, 4);
  return <i32>((generation << layout.RULE_SET_SHIFT) | index);
}

/** Where the host writes the image; 0 for a stale handle or once building has begun. */
export function imageOf(handle: u32): u32 {
  const set = setOf(handle);
  if (set === null) return 0;
  return set.phase == PHASE_IMAGE ? <u32>set.image : 0;
}

/** buildStep by handle; a set that cannot be built stays until it is freed. */
export function build(handle: u32, budget: u32): i32 {
  const set = setOf(handle);
  if (set === null) return layout.ERR_STALE;
  return budget == 0 ? layout.ERR_RANGE : buildStep(set, budget);
}

/** Gives all memory of a set back: 0 or ERR_STALE. */
export function free(handle: u32): i32 {
  const set = setOf(handle);
  if (set === null) return layout.ERR_STALE;
  if (set.scratch != 0) giveRegion(set.scratch);
  if (set.tables != 0) giveRegion(set.tables);
  store<u32>(entryOf(handle & (layout.RULE_SETS_MAX - 1)), 0);
  giveRegion(changetype<usize>(set));
  return 0;
}

/** Bytes of all sets in memory. */
export function bytesInUse(): u32 {
  return regionBytes();
}
