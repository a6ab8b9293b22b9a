/**
 * Reassembly, RFC 791 §3.2, RFC 8200 §4.5, RFC 5722. Fragments are copied into pieces (chunks of a
 * pool of their own) and put together in the slot of the fragment that completes them.
 *
 * Bounds: datagrams, fragments of one, bytes of all, and time from the first fragment on. What is
 * over a bound goes without a word, oldest first. An overlap spoils a datagram until its time ends,
 * so that no one can slip bytes in by sending them later.
 *
 * Storage: a record a datagram, in a hash by key and in a list by age, one for each family because
 * their times differ; pieces sorted by offset, a fragment's pieces next to each other.
 */
import {
  CFG_REASSEMBLY_FRAGMENTS,
  CFG_REASSEMBLY_MS_4,
  CFG_REASSEMBLY_MS_6,
  DROP_FRAGMENT,
  DROP_FRAGMENT_FULL,
  DROP_FRAGMENT_OVERLAP,
  DROP_FRAGMENT_TIMEOUT,
  GAUGE_REASSEMBLIES,
  STAT_REASSEMBLED,
} from "../layout";
import { clear, equalAddress, putAddress } from "../mem/bytes";
import { now } from "../mem/clock";
import { config, configUs } from "../mem/config";
import {
  REASSEMBLY_BYTES,
  reassembliesBase,
  reassembliesCount,
  reassemblyBucketMask,
  reassemblyBuckets,
} from "../mem/pools";
import { hashTuple } from "../mem/siphash";
import { count, setGauge } from "../mem/stats";
import {
  PIECE_BYTES,
  Piece,
  copyPieces,
  givePieces,
  isSameFragment,
  pieceAt,
  pieceBefore,
  piecesEnd,
  piecesFree,
  putFragment,
} from "./pieces";
import { armTimer, cancelTimer, reassemblyTimer } from "../mem/timers";

const ECN_CE: u32 = 3;
const TOTAL_UNKNOWN: u32 = 0xffffffff;
/** Expired datagrams of one turn of the timer. */
const EXPIRED_MAX: u32 = 64;

/** A fragment's facts. */
@unmanaged
export class Fragment {
  family: u32;
  src: usize;
  dst: usize;
  /** IPv4 only (RFC 791: part of the key); 0 for IPv6. */
  proto: u32;
  id: u32;
  /** Bytes [offset, offset + len) of the datagram lie at `data`. */
  offset: u32;
  len: u32;
  data: usize;
  isLast: bool;
  /** All headers before `data`, kept from the first fragment. */
  headers: usize;
  headersLen: u32;
  /** What the datagram begins with (from the first fragment). */
  next: u32;
  /** ECN field: 0 Not-ECT, 1 and 2 ECT, 3 CE. */
  ecn: u32;
}

/** An incomplete datagram. */
@unmanaged
export class Reassembly {
  srcLow: u64;
  srcHigh: u64;
  dstLow: u64;
  dstHigh: u64;
  family: u32;
  proto: u32;
  id: u32;
  /** Spoilt: takes nothing more until its time ends. */
  isSpoilt: bool;
  /** The first fragment is here. */
  hasFirst: bool;
  hashNext: u32;
  older: u32;
  newer: u32;
  pieces: u32;
  /** Bytes here, and in all once the last fragment told. */
  received: u32;
  total: u32;
  fragments: u32;
  /** A piece with the first fragment's headers. */
  headers: u32;
  headersLen: u32;
  next: u32;
  firstLen: u32;
  /** Which ECN fields came, a bit each. */
  ecnSeen: u32;
  startedUs: f64;

  @inline get src(): usize {
    return changetype<usize>(this);
  }
  @inline get dst(): usize {
    return changetype<usize>(this) + 16;
  }
  /** A fragment met congestion on its way. */
  @inline get isCe(): bool {
    return (this.ecnSeen & (1 << ECN_CE)) != 0;
  }
}

if (offsetof<Reassembly>() > REASSEMBLY_BYTES) ERROR("Reassembly outgrew REASSEMBLY_BYTES");

let freeRecords: u32 = 0;
let liveCount: u32 = 0;
let oldest4: u32 = 0;
let newest4: u32 = 0;
let oldest6: u32 = 0;
let newest6: u32 = 0;

/** Makes all records free. */
export function initReassembly(): void {
  for (let i = reassembliesCount(); i > 0; i--) {
    const record = changetype<Reassembly>(reassembliesBase() + <usize>(i - 1) * REASSEMBLY_BYTES);
    record.hashNext = freeRecords;
    freeRecords = <u32>changetype<usize>(record);
  }
}

/**
 * Takes a fragment. Answers the datagram if that made it complete: the caller then calls
 * `copyDatagram` and `endReassembly`. Null: not yet, or dropped and counted.
 */
export function takeFragment(f: Fragment): Reassembly | null {
  let record = find(f);
  if (!record) record = open(f);
  if (!record) return null;
  if (record.isSpoilt) {
    count(DROP_FRAGMENT_OVERLAP);
    return null;
  }
  if (!fitsLength(record, f)) {
    spoil(record, DROP_FRAGMENT_OVERLAP);
    return null;
  }
  const before = pieceBefore(record.pieces, f.offset);
  const after = before ? before.next : pieceAt(record.pieces);
  if (after && isSameFragment(after, f.offset, f.data, f.len)) {
    count(DROP_FRAGMENT);
    return null;
  }
  const overlapsBefore = before != null && before.offset + before.len > f.offset;
  const overlapsAfter = after != null && after.offset < f.offset + f.len;
  if (overlapsBefore || overlapsAfter) {
    spoil(record, DROP_FRAGMENT_OVERLAP);
    return null;
  }
  if (record.fragments >= config(CFG_REASSEMBLY_FRAGMENTS)) {
    spoil(record, DROP_FRAGMENT_FULL);
    return null;
  }
  if (!keepFragment(record, before, f) || record.received != record.total) return null;
  // RFC 3168 §5.3: fragments of one packet cannot differ in whether they know ECN (FRAG-16).
  if ((record.ecnSeen & 1) != 0 && record.ecnSeen != 1) {
    spoil(record, DROP_FRAGMENT);
    return null;
  }
  return record;
}

/** Spoils the datagram that a malformed fragment belongs to, if there is one. */
export function spoilDatagram(f: Fragment): void {
  const record = find(f);
  if (record && !record.isSpoilt) spoil(record, DROP_FRAGMENT);
}

/** Copies a complete datagram's bytes to `to`, and its first headers to `headersTo`. */
export function copyDatagram(record: Reassembly, headersTo: usize, headersLen: u32): void {
  copyPieces(record.headers, headersTo, headersLen);
  copyPieces(record.pieces, headersTo + headersLen, record.total);
}

/** Forgets a datagram. */
export function endReassembly(record: Reassembly): void {
  count(STAT_REASSEMBLED);
  close(record);
}

/** The oldest datagram whose time is over, or null. The caller answers it and calls `expire`. */
export function nextExpired(): Reassembly | null {
  const old4 = changetype<Reassembly | null>(<usize>oldest4);
  if (old4 && deadline(old4) <= now()) return old4;
  const old6 = changetype<Reassembly | null>(<usize>oldest6);
  if (old6 && deadline(old6) <= now()) return old6;
  return null;
}

/** How many expired datagrams one turn may end. */
export function expiredMax(): u32 {
  return EXPIRED_MAX;
}

/** Ends a datagram whose time is over. */
export function expire(record: Reassembly): void {
  count(DROP_FRAGMENT_TIMEOUT);
  close(record);
}

/**
 * Writes what an ICMP error quotes to `to`: the first fragment's headers and data, at most
 * `most` bytes. 0 if the first fragment never came.
 */
export function quoteFirst(record: Reassembly, to: usize, most: u32): u32 {
  if (!record.hasFirst || record.isSpoilt) return 0;
  const headersLen = min(record.headersLen, most);
  copyPieces(record.headers, to, headersLen);
  const dataLen = min(record.firstLen, most - headersLen);
  copyPieces(record.pieces, to + headersLen, dataLen);
  return headersLen + dataLen;
}

/** Arms the timer for whichever datagram ends first. */
export function armReassembly(): void {
  const old4 = changetype<Reassembly | null>(<usize>oldest4);
  const old6 = changetype<Reassembly | null>(<usize>oldest6);
  if (!old4 && !old6) {
    cancelTimer(reassemblyTimer());
    return;
  }
  let at = f64.MAX_VALUE;
  if (old4) at = min(at, deadline(old4));
  if (old6) at = min(at, deadline(old6));
  armTimer(reassemblyTimer(), at);
}

function deadline(record: Reassembly): f64 {
  return (
    record.startedUs + configUs(record.family == 4 ? CFG_REASSEMBLY_MS_4 : CFG_REASSEMBLY_MS_6)
  );
}

function bucketOf(src: usize, dst: usize, id: u32, family: u32): usize {
  const hash = hashTuple(src, dst, id, family);
  return reassemblyBuckets() + ((<usize>(hash & reassemblyBucketMask())) << 2);
}

function find(f: Fragment): Reassembly | null {
  let ptr = load<u32>(bucketOf(f.src, f.dst, f.id, f.family));
  while (ptr != 0) {
    const record = changetype<Reassembly>(<usize>ptr);
    if (
      record.id == f.id &&
      record.family == f.family &&
      record.proto == f.proto &&
      equalAddress(f.family, record.src, f.src) &&
      equalAddress(f.family, record.dst, f.dst)
    ) {
      return record;
    }
    ptr = record.hashNext;
  }
  return null;
}

function open(f: Fragment): Reassembly | null {
  if (freeRecords == 0) evictOldest(null);
  const record = changetype<Reassembly>(<usize>freeRecords);
  freeRecords = record.hashNext;
  clear(changetype<usize>(record), REASSEMBLY_BYTES);
  putAddress(f.family, record.src, f.src);
  putAddress(f.family, record.dst, f.dst);
  record.family = f.family;
  record.proto = f.proto;
  record.id = f.id;
  record.total = TOTAL_UNKNOWN;
  record.startedUs = now();
  const bucket = bucketOf(f.src, f.dst, f.id, f.family);
  record.hashNext = load<u32>(bucket);
  store<u32>(bucket, <u32>changetype<usize>(record));
  linkNewest(record);
  liveCount++;
  setGauge(GAUGE_REASSEMBLIES, liveCount);
  armReassembly();
  return record;
}

function close(record: Reassembly): void {
  dropPieces(record);
  const bucket = bucketOf(record.src, record.dst, record.id, record.family);
  const self = <u32>changetype<usize>(record);
  if (load<u32>(bucket) == self) {
    store<u32>(bucket, record.hashNext);
  } else {
    let previous = changetype<Reassembly>(<usize>load<u32>(bucket));
    while (previous.hashNext != self) previous = changetype<Reassembly>(<usize>previous.hashNext);
    previous.hashNext = record.hashNext;
  }
  unlink(record);
  record.hashNext = freeRecords;
  freeRecords = self;
  liveCount--;
  setGauge(GAUGE_REASSEMBLIES, liveCount);
  armReassembly();
}

/** Throws a datagram's bytes away but keeps its key, so that later fragments are dropped. */
function spoil(record: Reassembly, reason: u32): void {
  count(reason);
  record.isSpoilt = true;
  dropPieces(record);
}

/**
 * Whether a fragment agrees with the total length as far as it is known; learns it if it is last.
 */
function fitsLength(record: Reassembly, f: Fragment): bool {
  const end = f.offset + f.len;
  if (!f.isLast) return record.total == TOTAL_UNKNOWN || end <= record.total;
  if (record.total != TOTAL_UNKNOWN) return end == record.total;
  if (piecesEnd(record.pieces) > end) return false;
  record.total = end;
  return true;
}

/** Copies a fragment in after `before`. False if there is no room (the datagram is gone). */
function keepFragment(record: Reassembly, before: Piece | null, f: Fragment): bool {
  const isFirst = f.offset == 0;
  const needed = (f.len + PIECE_BYTES - 1) / PIECE_BYTES + (isFirst ? 1 : 0);
  while (piecesFree() < needed) {
    if (evictOldest(record)) continue;
    count(DROP_FRAGMENT_FULL);
    close(record);
    return false;
  }
  record.pieces = putFragment(record.pieces, before, f.offset, f.data, f.len);
  if (isFirst) {
    record.headers = putFragment(0, null, 0, f.headers, f.headersLen);
    record.headersLen = f.headersLen;
    record.next = f.next;
    record.firstLen = f.len;
    record.hasFirst = true;
  }
  record.fragments++;
  record.ecnSeen |= (<u32>1) << f.ecn;
  record.received += f.len;
  return true;
}

function dropPieces(record: Reassembly): void {
  givePieces(record.pieces);
  givePieces(record.headers);
  record.pieces = 0;
  record.headers = 0;
}

/** Evicts the oldest datagram other than `except`; false if there is none. */
function evictOldest(except: Reassembly | null): bool {
  let old4 = changetype<Reassembly | null>(<usize>oldest4);
  let old6 = changetype<Reassembly | null>(<usize>oldest6);
  if (old4 && old4 == except) old4 = changetype<Reassembly | null>(<usize>old4.newer);
  if (old6 && old6 == except) old6 = changetype<Reassembly | null>(<usize>old6.newer);
  let victim = old4;
  if (old6 && (!old4 || old6.startedUs < old4.startedUs)) victim = old6;
  if (!victim) return false;
  count(DROP_FRAGMENT_FULL);
  close(victim);
  return true;
}

function linkNewest(record: Reassembly): void {
  const self = <u32>changetype<usize>(record);
  const newest = record.family == 4 ? newest4 : newest6;
  record.older = newest;
  record.newer = 0;
  if (newest != 0) changetype<Reassembly>(<usize>newest).newer = self;
  else if (record.family == 4) oldest4 = self;
  else oldest6 = self;
  if (record.family == 4) newest4 = self;
  else newest6 = self;
}

function unlink(record: Reassembly): void {
  const isV4 = record.family == 4;
  if (record.older != 0) changetype<Reassembly>(<usize>record.older).newer = record.newer;
  else if (isV4) oldest4 = record.newer;
  else oldest6 = record.newer;
  if (record.newer != 0) changetype<Reassembly>(<usize>record.newer).older = record.older;
  else if (isV4) newest4 = record.older;
  else newest6 = record.older;
}
