/**
 * The hash table of a set: names by their labels from the right, addresses and networks with ports,
 * and the anchors of wildcards. Open addressing, at most two thirds full; a slot is the upper half
 * of a 64-bit hash and the index + 1 of a record. The hash is keyed (mem/siphash.ts), so nobody who
 * writes rules or asks for names can make them collide.
 *
 * A name's hash is a chain: the hash of its last label, then that of the hash before and the next
 * label to the left. One walk over a target's labels meets all rules that are a suffix of it.
 */
import * as layout from "../layout";
import { hashBytes, hashEndpoint } from "../mem/siphash";
import { Rule, RuleSet, ruleOf, takesPort, valueOf } from "./rules";
import { globMatches } from "./glob";

/** One label behind the hash so far. */
const labelRoom: usize = memory.data(528, 8);
/** A masked address. */
const addressRoom: usize = memory.data(16, 8);

const CELL_BYTES: usize = 8;
/** Other hashes than those of names. */
const HEAD_SEED: u64 = 0x9e3779b97f4a7c15;
const HOST_NUMBER: u32 = 256;

/** A bijection of 64 bits: keys that differ give hashes that differ. */
function mix(hash: u64, portBits: u32, port: u32): u64 {
  let h = hash ^ (((<u64>(portBits + 1)) << 32) | (<u64>firstPort(portBits, port)));
  h ^= h >> 33;
  h *= 0xff51afd7ed558ccd;
  h ^= h >> 33;
  h *= 0xc4ceb9fe1a85ec53;
  return h ^ (h >> 33);
}

/** The first port of the block of `portBits` significant bits that holds `port`. */
export function firstPort(portBits: u32, port: u32): u32 {
  return port & (0xffff0000 >> portBits) & 0xffff;
}

/** The hash with one more label to the left. */
export function hashLabel(hash: u64, label: usize, bytes: u32): u64 {
  store<u64>(labelRoom, hash);
  memory.copy(labelRoom + 8, label, bytes);
  return hashBytes(labelRoom, bytes + 8);
}

/** Where the label that ends at `end` begins. */
export function labelStart(name: usize, end: u32): u32 {
  let start = end;
  while (start > 0 && load<u8>(name + start - 1) != 0x2e) start--;
  return start;
}

/** Labels of a name; one more than it has dots. */
export function countLabels(name: usize, bytes: u32): u32 {
  let labels: u32 = 1;
  for (let i: u32 = 0; i < bytes; i++) if (load<u8>(name + i) == 0x2e) labels++;
  return labels;
}

/** The hash of a whole name. */
export function hashName(name: usize, bytes: u32): u64 {
  let start = labelStart(name, bytes);
  let hash = hashLabel(0, name + start, bytes - start);
  while (start > 0) {
    const end = start - 1;
    start = labelStart(name, end);
    hash = hashLabel(hash, name + start, end - start);
  }
  return hash;
}

/** The hash of the first bytes of a name. */
export function hashHead(name: usize, bytes: u32): u64 {
  return hashLabel(HEAD_SEED, name, bytes);
}

/** The hash of an address's first `prefix` bits, or of a host (prefix HOST_NUMBER). */
export function hashAddress(address: usize, prefix: u32, family: u32): u64 {
  maskAddress(address, prefix, family);
  return (<u64>hashEndpoint(addressRoom, prefix, family)) | ((<u64>family) << 32);
}

/** Copies an address into the room without the bits behind its prefix. */
function maskAddress(address: usize, prefix: u32, family: u32): void {
  if (family == 4) {
    const kept = prefix >= 32 ? 0xffffffff : ~((<u32>0xffffffff) >> prefix);
    store<u32>(addressRoom, load<u32>(address) & bswap<u32>(kept));
    return;
  }
  const high = prefix >= 64 ? ~(<u64>0) : ~(~(<u64>0) >> (<u64>prefix));
  const low = prefix >= 128 ? ~(<u64>0) : prefix <= 64 ? 0 : ~(~(<u64>0) >> (<u64>(prefix - 64)));
  store<u64>(addressRoom, load<u64>(address) & bswap<u64>(high));
  store<u64>(addressRoom, load<u64>(address, 8) & bswap<u64>(low), 8);
}

/** An address as the rest of the core has it: a host's IPv4 value is a number in the record. */
const ownRoom: usize = memory.data(16, 8);

export function addressOf(set: RuleSet, rule: Rule): usize {
  if (rule.kind != <u8>layout.RULE_HOST_4 && rule.kind != <u8>layout.RULE_NET_4) {
    return valueOf(set, rule);
  }
  store<u32>(ownRoom, bswap<u32>(rule.value));
  return ownRoom;
}

/** The prefix under which an address of this kind is hashed. */
function numberOf(rule: Rule): u32 {
  const kind = <u32>rule.kind;
  return kind == layout.RULE_HOST_4 || kind == layout.RULE_HOST_6 ? HOST_NUMBER : rule.prefix;
}

/**
 * Puts a hashed rule into the table, unless one with the same meaning is there. A wildcard is hung
 * up behind the first one of its anchor. A name with ports goes in twice: where it is found, and
 * under its bare name, to tell look-ups that asking for ports is worth it.
 */
export function insertRule(set: RuleSet, index: u32): void {
  const rule = ruleOf(set, index);
  const kind = <u32>rule.kind;
  if (kind == layout.RULE_GLOB) {
    const value = valueOf(set, rule);
    const anchor = <u32>rule.anchorBytes;
    const isHead = rule.prefix == <u8>layout.RULE_ANCHOR_HEAD;
    const base = isHead ? hashHead(value, anchor) : hashName(anchorOf(set, rule), anchor);
    const held = putInto(set, mix(base, 0, 0), index, false);
    if (held == 0) return;
    const first = ruleOf(set, held - 1);
    rule.link = first.link;
    first.link = index + 1;
  } else if (kind <= layout.RULE_BELOW) {
    const base = hashName(valueOf(set, rule), rule.valueBytes);
    putInto(set, mix(base, rule.portBits, rule.portMin), index, false);
    if (rule.portBits != 0) putInto(set, mix(base, 0, 0), index, true);
  } else {
    const isFour = kind == layout.RULE_HOST_4 || kind == layout.RULE_NET_4;
    const base = hashAddress(addressOf(set, rule), numberOf(rule), isFour ? 4 : 6);
    putInto(set, mix(base, rule.portBits, rule.portMin), index, false);
  }
}

/**
 * Fills an empty slot: 0; or answers what is there already and means the same (index + 1).
 * `isSign`: any rule with ports for the same name does.
 */
function putInto(set: RuleSet, hash: u64, index: u32, isSign: bool): u32 {
  const rule = ruleOf(set, index);
  let at = (<u32>hash) & set.slotMask;
  let slot = set.slots + <usize>at * CELL_BYTES;
  let held = load<u32>(slot, 4);
  while (held != 0) {
    if (load<u32>(slot) == <u32>(hash >> 32)) {
      const other = ruleOf(set, held - 1);
      const isThere = isSign
        ? hasPorts(set, other, valueOf(set, rule), rule.valueBytes)
        : isSameRule(set, other, rule);
      if (isThere) return held;
    }
    at = (at + 1) & set.slotMask;
    slot = set.slots + <usize>at * CELL_BYTES;
    held = load<u32>(slot, 4);
  }
  store<u32>(slot, <u32>(hash >> 32));
  store<u32>(slot, index + 1, 4);
  return 0;
}

/** Is this a name with ports that stands under its bare name? */
function hasPorts(set: RuleSet, rule: Rule, name: usize, bytes: u32): bool {
  if (rule.portBits == 0 || <u32>rule.valueBytes != bytes) return false;
  if (<u32>rule.kind - layout.RULE_NAME > layout.RULE_BELOW - layout.RULE_NAME) return false;
  return sameBytes(valueOf(set, rule), name, bytes);
}

/** The literal end of a wildcard. */
function anchorOf(set: RuleSet, rule: Rule): usize {
  const value = valueOf(set, rule);
  if (rule.prefix == <u8>layout.RULE_ANCHOR_HEAD) return value;
  return value + <usize>(<u32>rule.valueBytes - <u32>rule.anchorBytes);
}

function sameBytes(one: usize, other: usize, bytes: u32): bool {
  return memory.compare(one, other, bytes) == 0;
}

function isSameRule(set: RuleSet, one: Rule, other: Rule): bool {
  const kind = <u32>one.kind;
  if (kind != <u32>other.kind || one.portBits != other.portBits) return false;
  if (kind == layout.RULE_GLOB) {
    if (one.prefix != other.prefix || one.anchorBytes != other.anchorBytes) return false;
    return sameBytes(anchorOf(set, one), anchorOf(set, other), one.anchorBytes);
  }
  if (firstPort(one.portBits, one.portMin) != firstPort(one.portBits, other.portMin)) return false;
  if (kind <= layout.RULE_BELOW) {
    if (one.valueBytes != other.valueBytes) return false;
    return sameBytes(valueOf(set, one), valueOf(set, other), one.valueBytes);
  }
  if (numberOf(one) != numberOf(other)) return false;
  return isInNet(set, one, addressOf(set, other));
}

/** Does the address share the first bits that the rule speaks of? */
function isInNet(set: RuleSet, rule: Rule, address: usize): bool {
  const kind = <u32>rule.kind;
  const isFour = kind == layout.RULE_HOST_4 || kind == layout.RULE_NET_4;
  const family: u32 = isFour ? 4 : 6;
  maskAddress(address, numberOf(rule), family);
  const first = load<u64>(addressRoom);
  const second = load<u64>(addressRoom, 8);
  maskAddress(addressOf(set, rule), numberOf(rule), family);
  if (isFour) return <u32>first == load<u32>(addressRoom);
  return (first ^ load<u64>(addressRoom)) == 0 && (second ^ load<u64>(addressRoom, 8)) == 0;
}

/** The rule of `family` and prefix (or a host) at this port that holds the address: index + 1. */
export function findAddress(set: RuleSet, address: usize, prefix: u32, key: u32, port: u32): u32 {
  const family = key & 0xff;
  const isHost = prefix == HOST_NUMBER;
  const four = isHost ? layout.RULE_HOST_4 : layout.RULE_NET_4;
  const kind = family == 4 ? four : four + 1;
  const base = hashAddress(address, prefix, family);
  let left = isHost ? set.hostPortBits : set.netPortBits;
  while (left != 0) {
    const bits = <u32>ctz<u32>(left);
    left &= left - 1;
    const hash = mix(base, bits, port);
    for (let at = (<u32>hash) & set.slotMask; ; at = (at + 1) & set.slotMask) {
      const slot = set.slots + <usize>at * CELL_BYTES;
      const held = load<u32>(slot, 4);
      if (held == 0) break;
      if (load<u32>(slot) != <u32>(hash >> 32)) continue;
      const rule = ruleOf(set, held - 1);
      if (<u32>rule.kind != kind || <u32>rule.portBits != bits) continue;
      if (<u32>rule.portMin != firstPort(bits, port)) continue;
      if (isHost ? isInNet(set, rule, address) : isSameNet(set, rule, prefix, address)) return held;
    }
  }
  return 0;
}

function isSameNet(set: RuleSet, rule: Rule, prefix: u32, address: usize): bool {
  return <u32>rule.prefix == prefix && isInNet(set, rule, address);
}

/** The host rule for this address and port: index + 1, or 0. */
export function findHost(set: RuleSet, address: usize, family: u32, port: u32): u32 {
  return set.hostPortBits == 0 ? 0 : findAddress(set, address, HOST_NUMBER, family, port);
}

/**
 * The name rule for the suffix `name[start, bytes)` with hash `base`: index + 1, or 0.
 * Wildcards whose tail is this suffix are tried on the whole target. `only`: a kind, or 0.
 */
export function findName(set: RuleSet, target: Target, start: u32, base: u64, only: u32): u32 {
  const suffix = target.name + start;
  const bytes = target.bytes - start;
  let left: u32 = 1;
  while (left != 0) {
    const bits = <u32>ctz<u32>(left);
    left &= left - 1;
    const hash = mix(base, bits, target.port);
    for (let at = (<u32>hash) & set.slotMask; ; at = (at + 1) & set.slotMask) {
      const slot = set.slots + <usize>at * CELL_BYTES;
      const held = load<u32>(slot, 4);
      if (held == 0) break;
      if (load<u32>(slot) != <u32>(hash >> 32)) continue;
      if (bits == 0 && hasPorts(set, ruleOf(set, held - 1), suffix, bytes)) {
        left = set.namePortBits & ~1;
      } else {
        const found = judgeName(set, target, start, held, only);
        if (found != 0) return found;
      }
    }
  }
  return 0;
}

/** What is asked about: filled by verdict.ts. */
@unmanaged
export class Target {
  name: usize;
  bytes: u32;
  port: u32;
}

function judgeName(set: RuleSet, target: Target, start: u32, held: u32, only: u32): u32 {
  const rule = ruleOf(set, held - 1);
  const kind = <u32>rule.kind;
  const suffix = target.name + start;
  const bytes = target.bytes - start;
  if (kind == layout.RULE_GLOB) {
    if (rule.prefix != <u8>layout.RULE_ANCHOR_TAIL || <u32>rule.anchorBytes != bytes) return 0;
    if (!sameBytes(anchorOf(set, rule), suffix, bytes)) return 0;
    return findInList(set, target, held);
  }
  if (kind == layout.RULE_NEVER || kind > layout.RULE_BELOW) return 0;
  if (only != 0 && kind != only) return 0;
  if (kind == layout.RULE_NAME && start != 0) return 0;
  if (kind == layout.RULE_BELOW && start == 0) return 0;
  if (<u32>rule.valueBytes != bytes) return 0;
  if (<u32>rule.portMin != firstPort(rule.portBits, target.port)) return 0;
  return sameBytes(valueOf(set, rule), suffix, bytes) ? held : 0;
}

/** The first wildcard of a list (index + 1) that matches: index + 1, or 0. */
export function findInList(set: RuleSet, target: Target, first: u32): u32 {
  for (let held = first; held != 0; held = ruleOf(set, held - 1).link) {
    const rule = ruleOf(set, held - 1);
    if (!takesPort(rule, target.port)) continue;
    const value = valueOf(set, rule);
    if (globMatches(value, rule.valueBytes, target.name, target.bytes)) return held;
  }
  return 0;
}

/** The wildcard that is anchored at the first `length` bytes of the target: index + 1, or 0. */
export function findHead(set: RuleSet, target: Target, length: u32): u32 {
  const hash = mix(hashHead(target.name, length), 0, 0);
  let at = (<u32>hash) & set.slotMask;
  let found: u32 = 0;
  while (found == 0) {
    const slot = set.slots + <usize>at * CELL_BYTES;
    const held = load<u32>(slot, 4);
    if (held == 0) break;
    at = (at + 1) & set.slotMask;
    if (load<u32>(slot) != <u32>(hash >> 32)) continue;
    const rule = ruleOf(set, held - 1);
    if (rule.kind != <u8>layout.RULE_GLOB) continue;
    if (rule.prefix != <u8>layout.RULE_ANCHOR_HEAD || <u32>rule.anchorBytes != length) continue;
    if (!sameBytes(valueOf(set, rule), target.name, length)) continue;
    found = findInList(set, target, held);
  }
  return found;
}
