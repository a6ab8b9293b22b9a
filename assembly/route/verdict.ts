/**
 * Look-ups: which rule of a set matches a target, and what follows from it. The target lies in the
 * ROUTE block; an address may come with its text, which wildcards (and, as GOST has it, names) are
 * compared with. Order: ranges, addresses with ports, networks, names, wildcards; any hit will do.
 *
 * Work: a search by halves for each list of segments, a probe for each length of prefix that
 * networks with ports have, for each label of the name and for each length of a wildcard's head,
 * times the counts of port bits in use; then the wildcards that share an anchor with the target or
 * have none.
 */
import * as layout from "../layout";
import { find4, find6 } from "./cidr";
import { LIST_CIDR_4, LIST_CIDR_6, LIST_RANGE_4, LIST_RANGE_6, RuleSet, listOf } from "./rules";
import { readySetOf } from "./sets";
import { Target, findAddress, findHead, findHost, findInList, findName } from "./table";
import { hashLabel, labelStart } from "./table";

const ONE: u64 = 1;

const target = changetype<Target>(memory.data(16, 4));
if (offsetof<Target>() > 16) ERROR("Target outgrew its room");

/** Is the 16-byte address ::ffff:0:0/96? */
function isMapped(address: usize): bool {
  return load<u64>(address) == 0 && load<u32>(address, 8) == 0xffff0000;
}

/** The rule that matches: index + 1, 0 = none, ERR_STALE, ERR_RANGE. */
export function find(handle: u32, what: u32, port: u32, nameBytes: u32): i32 {
  const set = readySetOf(handle);
  if (set === null) return layout.ERR_STALE;
  const family = what >> layout.TARGET_FAMILY_SHIFT;
  if (port > 65535 || nameBytes > layout.ROUTE_NAME_MAX) return layout.ERR_RANGE;
  if (family != 0 && family != 4 && family != 6) return layout.ERR_RANGE;
  target.name = layout.ROUTE_BASE + layout.ROUTE_NAME_OFF;
  target.bytes = nameBytes;
  target.port = port;
  const isCompat = (set.flags & layout.RULES_COMPAT) != 0;
  let found: u32 = 0;
  if (family != 0) found = findIp(set, family, isCompat);
  if (found == 0 && nameBytes > 0) {
    if (family == 0 || isCompat) found = findByLabels(set, 0);
    else if (set.globCount > 0) found = findByLabels(set, layout.RULE_GLOB);
    if (found == 0 && set.globCount > 0) found = findByHead(set);
  }
  return <i32>found;
}

/**
 * 0: not bypassed; index + 1 of the rule because of which the target is bypassed;
 * VERDICT_UNMATCHED: bypassed as no rule of a whitelist, or an empty set, says otherwise; ERR_….
 */
export function verdict(handle: u32, what: u32, port: u32, nameBytes: u32): i32 {
  const set = readySetOf(handle);
  if (set === null) return layout.ERR_STALE;
  const networks = set.flags & (layout.RULES_TCP | layout.RULES_UDP);
  const asked = (what & (layout.TARGET_TCP | layout.TARGET_UDP)) << 1;
  if (networks != 0 && (networks & asked) == 0) return 0;
  if (set.count == 0) {
    return set.flags & layout.RULES_EMPTY_BYPASSES ? layout.VERDICT_UNMATCHED : 0;
  }
  const found = find(handle, what, port, nameBytes);
  if (found < 0) return found;
  if (!(set.flags & layout.RULES_WHITELIST)) return found;
  return found == 0 ? layout.VERDICT_UNMATCHED : 0;
}

function findIp(set: RuleSet, family: u32, isCompat: bool): u32 {
  const address = layout.ROUTE_BASE + layout.ROUTE_ADDRESS_OFF;
  if (family == 4) return findFour(set, address);
  const isInFour = isMapped(address);
  if (isInFour && !isCompat) {
    store<u32>(address, load<u32>(address, 12));
    return findFour(set, address);
  }
  let found = find6(listOf(set, LIST_RANGE_6), address);
  if (found == 0) found = findHost(set, address, 6, target.port);
  if (found != 0) return found;
  if (isInFour) return find4(listOf(set, LIST_CIDR_4), bswap<u32>(load<u32>(address, 12)));
  found = find6(listOf(set, LIST_CIDR_6), address);
  return found == 0 ? findNet6(set, address) : found;
}

function findFour(set: RuleSet, address: usize): u32 {
  const value = bswap<u32>(load<u32>(address));
  let found = find4(listOf(set, LIST_RANGE_4), value);
  if (found == 0) found = findHost(set, address, 4, target.port);
  if (found == 0) found = find4(listOf(set, LIST_CIDR_4), value);
  let left = set.prefixes4;
  while (found == 0 && left != 0) {
    found = findAddress(set, address, <u32>ctz<u64>(left), 4, target.port);
    left &= left - 1;
  }
  return found;
}

function findNet6(set: RuleSet, address: usize): u32 {
  let found = findInPrefixes(set, address, set.prefixes6a, 0);
  if (found == 0) found = findInPrefixes(set, address, set.prefixes6b, 64);
  return found == 0 ? findInPrefixes(set, address, set.prefixes6c, 128) : found;
}

function findInPrefixes(set: RuleSet, address: usize, prefixes: u64, base: u32): u32 {
  let left = prefixes;
  while (left != 0) {
    const found = findAddress(set, address, base + <u32>ctz<u64>(left), 6, target.port);
    if (found != 0) return found;
    left &= left - 1;
  }
  return 0;
}

function hasDepth(set: RuleSet, depth: u32): bool {
  const shift: u64 = depth & 63;
  const bit: u64 = ONE << shift;
  if (depth < 64) return (set.depths0 & bit) != 0;
  if (depth < 128) return (set.depths1 & bit) != 0;
  if (depth < 192) return (set.depths2 & bit) != 0;
  return (set.depths3 & bit) != 0;
}

/** Walks over the labels from the right; `only` = wildcards alone, for texts of addresses. */
function findByLabels(set: RuleSet, only: u32): u32 {
  const most = set.depthMax;
  let hash: u64 = 0;
  let end = target.bytes;
  for (let depth: u32 = 1; depth <= most; depth++) {
    const start = labelStart(target.name, end);
    hash = hashLabel(hash, target.name + start, end - start);
    if (hasDepth(set, depth)) {
      const found = findName(set, target, start, hash, only);
      if (found != 0) return found;
    }
    if (start == 0) return 0;
    end = start - 1;
  }
  return 0;
}

/** Wildcards with an anchor at the head, then those without any. */
function findByHead(set: RuleSet): u32 {
  let left = set.headLengths;
  while (left != 0) {
    const length = <u32>ctz<u32>(left);
    left &= left - 1;
    if (length > target.bytes) break;
    const found = findHead(set, target, length);
    if (found != 0) return found;
  }
  return findInList(set, target, set.looseGlobs);
}
