/**
 * A set of rules: its record, and the records of its image (abi.ts, RULES_… and RULE_…).
 *
 * Theory of operation. The host parses the text of rules into an image: records of fixed size and a
 * pool of bytes. The core checks the image and builds tables over it, in steps of bounded work
 * (build.ts), and answers look-ups from them (verdict.ts):
 *
 *   names, addresses with ports, networks with ports   one keyed hash table       table.ts
 *   networks and ranges at any port                     four sorted lists of disjoint
 *                                                       segments, searched by halves   cidr.ts
 *   wildcards                                           lists hung up in the hash table
 *                                                       by a literal end of them      glob.ts
 *
 * Ports of hashed rules: the host splits a range of ports into blocks of a power of two, as a range
 * of addresses is split into networks; a rule then has a block's first port and how many of its 16
 * bits count (0 = any port). A look-up asks for each count that occurs in the set, so a name with
 * thousands of ports costs no more than one.
 *
 * Storage: two blocks of the region a set (mem/region.ts), the image with this record in front, and
 * the tables; while building a third one for sorting. Nothing is allocated in a look-up.
 */
import * as layout from "../layout";

/** What a set waits for. */
export const PHASE_IMAGE: u32 = 0;
export const PHASE_CHECK: u32 = 1;
export const PHASE_INSERT: u32 = 2;
export const PHASE_SORT: u32 = 3;
export const PHASE_SWEEP: u32 = 4;
export const PHASE_READY: u32 = 5;

/** The lists of segments: networks and ranges apart, as GOST tells them apart when mapped. */
export const LIST_CIDR_4: u32 = 0;
export const LIST_CIDR_6: u32 = 1;
export const LIST_RANGE_4: u32 = 2;
export const LIST_RANGE_6: u32 = 3;
export const LISTS: u32 = 4;

/** One list of disjoint segments in ascending order: first and last addresses, rules. */
@unmanaged
export class SegmentList {
  /** Records of this kind; afterwards segments. */
  count: u32;
  starts: usize;
  ends: usize;
  rules: usize;
}

@unmanaged
export class RuleSet {
  generation: u32;
  phase: u32;
  /** Where the phase is: the next record, list, pass. */
  cursor: u32;
  list: u32;
  pass: u32;
  side: u32;
  /** The image and the parts of it. */
  image: usize;
  imageBytes: u32;
  records: usize;
  count: u32;
  pool: usize;
  poolBytes: u32;
  flags: u32;
  /** The block of tables, that for sorting; 0 = none. */
  tables: usize;
  scratch: usize;
  /** Slots of the hash table, {hash u32, record index + 1 u32}. */
  slots: usize;
  slotMask: u32;
  hashedCount: u32;
  /** Records of the longest list before sorting. */
  listMost: u32;
  /** Counts of port bits in use, bit n = n of 16 bits count: names, hosts, networks. */
  namePortBits: u32;
  hostPortBits: u32;
  netPortBits: u32;
  /** Prefix lengths of networks with ports: IPv4, IPv6 0 … 63, 64 … 127, 128. */
  prefixes4: u64;
  prefixes6a: u64;
  prefixes6b: u64;
  prefixes6c: u64;
  /** Numbers of labels that names of rules have, 1 … LABELS_MAX; the largest. */
  depths0: u64;
  depths1: u64;
  depths2: u64;
  depths3: u64;
  depthMax: u32;
  /** Lengths of wildcards' anchors at the head, bit n = n bytes. */
  headLengths: u32;
  /** First wildcard without an anchor, index + 1; how many wildcards there are. */
  looseGlobs: u32;
  globCount: u32;
}

export const LABELS_MAX: u32 = 255;
/** Room of the record, and the four lists behind it, in front of the image. */
export const SET_BYTES: u32 = 320;
const LISTS_OFF: usize = 208;
const LIST_BYTES: usize = 16;

if (offsetof<RuleSet>() > LISTS_OFF) ERROR("RuleSet outgrew its room");
if (offsetof<SegmentList>() > LIST_BYTES) ERROR("SegmentList outgrew its room");
if (<u32>LISTS_OFF + LISTS * <u32>LIST_BYTES > SET_BYTES) ERROR("the lists outgrew their room");

export function listOf(set: RuleSet, list: u32): SegmentList {
  return changetype<SegmentList>(changetype<usize>(set) + LISTS_OFF + <usize>list * LIST_BYTES);
}

/** One record of the image; `check` in build.ts has seen every one before any is used. */
@unmanaged
export class Rule {
  text: u32;
  value: u32;
  link: u32;
  textBytes: u16;
  valueBytes: u16;
  portMin: u16;
  portMax: u16;
  kind: u8;
  prefix: u8;
  portBits: u8;
  anchorBytes: u8;
}

if (offsetof<Rule>() != layout.RULE_BYTES) ERROR("Rule and RULE_BYTES differ");
if (offsetof<Rule>("textBytes") != layout.RULE_TEXT_BYTES_OFF) ERROR("Rule.textBytes moved");
if (offsetof<Rule>("kind") != layout.RULE_KIND_OFF) ERROR("Rule.kind moved");

export function ruleOf(set: RuleSet, index: u32): Rule {
  return changetype<Rule>(set.records + <usize>index * layout.RULE_BYTES);
}

/** The bytes that a rule's value points at. */
export function valueOf(set: RuleSet, rule: Rule): usize {
  return set.pool + <usize>rule.value;
}

/** Does a rule with its own bounds of ports (a wildcard) take this one? */
export function takesPort(rule: Rule, port: u32): bool {
  if (port < <u32>rule.portMin) return false;
  return port <= <u32>rule.portMax;
}
