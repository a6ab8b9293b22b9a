/**
 * Building a set from its image in steps: check every record, make room for the tables, insert,
 * then sort and sweep each list of segments. A step does at most its budget of records and never
 * trusts what it has not checked: an image that makes no sense answers ERR_RANGE.
 */
import * as layout from "../layout";
import { giveRegion, takeRegion } from "../mem/region";
import { addressBytes, collect, listFor, scratchBytes, sortStep, sweepStep } from "./cidr";
import * as rules from "./rules";
import { Rule, RuleSet, listOf, ruleOf, valueOf } from "./rules";
import { countLabels, firstPort, insertRule } from "./table";

const ONE: u64 = 1;

/** A slot of the hash table, and slots for each record: two thirds are in use at most. */
const CELL_BYTES: u32 = 8;

/** Does at most `budget` records of work: 1 = there is more, 0 = ready, ERR_RANGE, ERR_MEMORY. */
export function buildStep(set: RuleSet, budget: u32): i32 {
  switch (set.phase) {
    case rules.PHASE_IMAGE:
      return openImage(set);
    case rules.PHASE_CHECK:
      return checkStep(set, budget);
    case rules.PHASE_INSERT:
      return insertStep(set, budget);
    case rules.PHASE_SORT:
      sortStep(set, set.listMost, budget);
      return 1;
    case rules.PHASE_SWEEP:
      return finishList(set, budget);
    default:
      return 0;
  }
}

/** Takes the header over. */
function openImage(set: RuleSet): i32 {
  const image = set.image;
  if (load<u32>(image, layout.RULES_MAGIC_OFF) != layout.RULES_MAGIC) return layout.ERR_RANGE;
  const count = load<u32>(image, layout.RULES_COUNT_OFF);
  const pool = load<u32>(image, layout.RULES_POOL_PTR_OFF);
  const poolBytes = load<u32>(image, layout.RULES_POOL_BYTES_OFF);
  if (count > layout.RULES_MAX) return layout.ERR_RANGE;
  if (layout.RULES_HEADER_BYTES + count * layout.RULE_BYTES > pool) return layout.ERR_RANGE;
  if (<u64>pool + <u64>poolBytes > <u64>set.imageBytes) return layout.ERR_RANGE;
  set.records = image + layout.RULES_HEADER_BYTES;
  set.count = count;
  set.pool = image + pool;
  set.poolBytes = poolBytes;
  set.flags = load<u32>(image, layout.RULES_FLAGS_OFF);
  set.phase = rules.PHASE_CHECK;
  return 1;
}

function isInPool(set: RuleSet, offset: u32, bytes: u32): bool {
  return <u64>offset + <u64>bytes <= <u64>set.poolBytes;
}

function checkStep(set: RuleSet, budget: u32): i32 {
  const end = set.count - set.cursor < budget ? set.count : set.cursor + budget;
  for (let i = set.cursor; i < end; i++) {
    const rule = ruleOf(set, i);
    if (!isInPool(set, rule.text, rule.textBytes)) return layout.ERR_RANGE;
    if (<u32>rule.portBits > 16 || rule.portMin > rule.portMax) return layout.ERR_RANGE;
    if (!checkKind(set, rule)) return layout.ERR_RANGE;
    const list = listFor(rule.kind);
    if (list >= 0) listOf(set, <u32>list).count++;
  }
  set.cursor = end;
  return end < set.count ? 1 : makeRoom(set);
}

/** Checks what the kind needs, and notes what look-ups have to ask for. */
function checkKind(set: RuleSet, rule: Rule): bool {
  const bit = (<u32>1) << (<u32>rule.portBits);
  const prefix = <u32>rule.prefix;
  const first = firstPort(rule.portBits, rule.portMin);
  switch (<u32>rule.kind) {
    case layout.RULE_NEVER:
      return true;
    case layout.RULE_NAME:
    case layout.RULE_SUFFIX:
    case layout.RULE_BELOW:
      set.namePortBits |= bit;
      // A name with ports stands there twice.
      set.hashedCount += rule.portBits == 0 ? 1 : 2;
      return first == rule.portMin && checkName(set, rule);
    case layout.RULE_GLOB:
      return rule.portBits == 0 && checkGlob(set, rule);
    case layout.RULE_HOST_4:
      set.hostPortBits |= bit;
      set.hashedCount++;
      return first == rule.portMin;
    case layout.RULE_HOST_6:
      set.hostPortBits |= bit;
      set.hashedCount++;
      return first == rule.portMin && isInPool(set, rule.value, 16);
    case layout.RULE_NET_4:
      set.netPortBits |= bit;
      set.hashedCount++;
      if (prefix > 32) return false;
      set.prefixes4 |= (<u64>1) << (<u64>prefix);
      return first == rule.portMin;
    case layout.RULE_NET_6:
      set.netPortBits |= bit;
      set.hashedCount++;
      notePrefix6(set, prefix);
      return prefix <= 128 && first == rule.portMin && isInPool(set, rule.value, 16);
    case layout.RULE_CIDR_4:
      return prefix <= 32;
    case layout.RULE_CIDR_6:
      return prefix <= 128 && isInPool(set, rule.value, 16);
    case layout.RULE_RANGE_4:
      return rule.value <= rule.link;
    case layout.RULE_RANGE_6:
      if (!isInPool(set, rule.value, 32)) return false;
      return memory.compare(valueOf(set, rule), valueOf(set, rule) + 16, 16) <= 0;
    default:
      return false;
  }
}

function notePrefix6(set: RuleSet, prefix: u32): void {
  const shift: u64 = prefix & 63;
  const bit: u64 = ONE << shift;
  if (prefix < 64) set.prefixes6a |= bit;
  else if (prefix < 128) set.prefixes6b |= bit;
  else set.prefixes6c |= 1;
}

function checkName(set: RuleSet, rule: Rule): bool {
  if (<u32>rule.valueBytes > layout.ROUTE_NAME_MAX) return false;
  if (!isInPool(set, rule.value, rule.valueBytes)) return false;
  return noteDepth(set, countLabels(valueOf(set, rule), rule.valueBytes));
}

function noteDepth(set: RuleSet, depth: u32): bool {
  if (depth > rules.LABELS_MAX) return false;
  const shift: u64 = depth & 63;
  const bit: u64 = ONE << shift;
  if (depth < 64) set.depths0 |= bit;
  else if (depth < 128) set.depths1 |= bit;
  else if (depth < 192) set.depths2 |= bit;
  else set.depths3 |= bit;
  if (depth > set.depthMax) set.depthMax = depth;
  return true;
}

function checkGlob(set: RuleSet, rule: Rule): bool {
  if (!isInPool(set, rule.value, rule.valueBytes)) return false;
  const anchor = <u32>rule.anchorBytes;
  if (anchor > <u32>rule.valueBytes) return false;
  set.globCount++;
  rule.link = 0;
  switch (<u32>rule.prefix) {
    case layout.RULE_ANCHOR_NONE:
      return true;
    case layout.RULE_ANCHOR_TAIL: {
      set.hashedCount++;
      set.namePortBits |= 1;
      const tail = valueOf(set, rule) + <usize>(<u32>rule.valueBytes - anchor);
      return noteDepth(set, countLabels(tail, anchor));
    }
    case layout.RULE_ANCHOR_HEAD:
      set.hashedCount++;
      if (anchor == 0 || anchor > layout.RULE_HEAD_MAX) return false;
      set.headLengths |= (<u32>1) << anchor;
      return true;
    default:
      return false;
  }
}

function longestList(set: RuleSet): u32 {
  let most: u32 = 0;
  for (let list: u32 = 0; list < rules.LISTS; list++) {
    const count = listOf(set, list).count;
    if (count > most) most = count;
  }
  return most;
}

function slotsFor(count: u32): u32 {
  let slots: u32 = 16;
  while (<u64>slots * 2 < <u64>count * 3) slots <<= 1;
  return slots;
}

/** Takes the block of tables and lays it out. */
function makeRoom(set: RuleSet): i32 {
  const slots = slotsFor(set.hashedCount);
  let bytes: u64 = <u64>slots * CELL_BYTES;
  for (let list: u32 = 0; list < rules.LISTS; list++) {
    bytes += <u64>listOf(set, list).count * (2 * addressBytes(list) + 4);
  }
  if (bytes > <u64>layout.RULES_BYTES_MAX) return layout.ERR_MEMORY;
  set.tables = takeRegion(<u32>bytes);
  if (set.tables == 0) return layout.ERR_MEMORY;
  set.slots = set.tables;
  set.slotMask = slots - 1;
  memory.fill(set.slots, 0, slots * CELL_BYTES);
  let at = set.tables + slots * CELL_BYTES;
  for (let list: u32 = 0; list < rules.LISTS; list++) {
    const segments = listOf(set, list);
    const width = <usize>segments.count * addressBytes(list);
    segments.starts = at;
    segments.ends = at + width;
    segments.rules = at + 2 * width;
    at = segments.rules + <usize>segments.count * 4;
  }
  const most = longestList(set);
  set.listMost = most;
  if (most > 0) {
    set.scratch = takeRegion(scratchBytes(most));
    if (set.scratch == 0) return layout.ERR_MEMORY;
  }
  set.cursor = 0;
  set.phase = rules.PHASE_INSERT;
  return 1;
}

function insertStep(set: RuleSet, budget: u32): i32 {
  const end = set.count - set.cursor < budget ? set.count : set.cursor + budget;
  for (let i = set.cursor; i < end; i++) {
    const rule = ruleOf(set, i);
    const kind = <u32>rule.kind;
    if (kind == layout.RULE_NEVER || listFor(kind) >= 0) continue;
    if (kind == layout.RULE_GLOB && rule.prefix == <u8>layout.RULE_ANCHOR_NONE) {
      rule.link = set.looseGlobs;
      set.looseGlobs = i + 1;
    } else {
      insertRule(set, i);
    }
  }
  set.cursor = end;
  if (end < set.count) return 1;
  set.list = 0;
  return beginList(set);
}

/** The next list that has something to sort; 0 when all are done. */
function beginList(set: RuleSet): i32 {
  while (set.list < rules.LISTS && listOf(set, set.list).count == 0) set.list++;
  set.cursor = 0;
  set.pass = 0;
  set.side = 0;
  if (set.list < rules.LISTS) {
    collectAll(set);
    set.phase = rules.PHASE_SORT;
    return 1;
  }
  if (set.scratch != 0) giveRegion(set.scratch);
  set.scratch = 0;
  set.phase = rules.PHASE_READY;
  return 0;
}

/** One look at each record: cheap enough to be done in one go. */
function collectAll(set: RuleSet): void {
  let found: u32 = 0;
  for (let i: u32 = 0; i < set.count; i++) {
    if (listFor(ruleOf(set, i).kind) == <i32>set.list) collect(set, found++, i);
  }
  assert(found == listOf(set, set.list).count);
}

function finishList(set: RuleSet, budget: u32): i32 {
  if (!sweepStep(set, set.listMost, budget)) return 1;
  set.list++;
  return beginList(set);
}
