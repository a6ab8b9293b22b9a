/**
 * TIME-WAIT (RFC 9293 §3.6.1, §3.10.7.4) in records of 64 bytes: what is left of a connection that
 * we closed first. A FIN that comes again is acknowledged, a RST is ignored (RFC 1337), and a newer
 * SYN opens the tuple again at once (RFC 6191).
 *
 * All stay equally long, so the records are a ring in the order of their deadlines; one that is
 * over early is marked dead and leaves with its turn. When the ring is full the oldest gives way.
 */
import { CFG_TIME_WAIT_MS, GAUGE_TIME_WAITS, TIME_WAIT_BYTES } from "../layout";
import { copy, equalAddress } from "../mem/bytes";
import { now } from "../mem/clock";
import { config } from "../mem/config";
import { timeWaitBucketMask, timeWaitBuckets, timeWaitsBase, timeWaitsCount } from "../mem/pools";
import { gauge, setGauge } from "../mem/stats";
import { armTimer, cancelTimer, timeWaitTimer } from "../mem/timers";
import { portPair, tupleHash } from "../flow/demux";
import { FIN, RST, SYN } from "../wire/tcp";
import { emitTimeWaitAck } from "./emit";
import { Segment } from "./segment";
import { seqGt, seqLt } from "./seq";
import { F_TS, milliseconds, Tcb } from "./tcb";
import { takeWindowField } from "./window";

const ALIVE: u32 = 1;
const TIMESTAMPS: u32 = 2;
const FAMILY_6: u32 = 4;
const WINDOW_SHIFT: u32 = 16;

@unmanaged
export class TimeWait {
  localLo: u64;
  localHi: u64;
  remoteLo: u64;
  remoteHi: u64;
  ports: u32;
  sndNxt: u32;
  rcvNxt: u32;
  tsRecent: u32;
  tsOffset: u32;
  /** Milliseconds modulo 2^32. */
  expires: u32;
  hashNext: u32;
  /** ALIVE, TIMESTAMPS, FAMILY_6; the last window as it went out, from bit WINDOW_SHIFT on. */
  flags: u32;

  @inline get ptr(): usize {
    return changetype<usize>(this);
  }

  @inline get remote(): usize {
    return changetype<usize>(this) + 16;
  }

  @inline get family(): u32 {
    return this.flags & FAMILY_6 ? 6 : 4;
  }

  @inline get hasTs(): bool {
    return (this.flags & TIMESTAMPS) != 0;
  }

  /** As in a header: the right edge must not move back now either (TCP-42). */
  @inline get window(): u32 {
    return this.flags >> WINDOW_SHIFT;
  }
}

if (offsetof<TimeWait>() != TIME_WAIT_BYTES) ERROR("TimeWait must have TIME_WAIT_BYTES");

const moved: usize = memory.data(64, 8);
let oldest: u32 = 0;
let used: u32 = 0;

/** Empties the ring. */
export function initTimeWait(): void {
  oldest = 0;
  used = 0;
}

function recordAt(index: u32): TimeWait {
  return changetype<TimeWait>(timeWaitsBase() + <usize>index * TIME_WAIT_BYTES);
}

function takeRecord(): TimeWait {
  if (used == timeWaitsCount()) dropOldest();
  let index = oldest + used;
  if (index >= timeWaitsCount()) index -= timeWaitsCount();
  used++;
  return recordAt(index);
}

function dropOldest(): void {
  const record = recordAt(oldest);
  if (record.flags & ALIVE) endTimeWait(record);
  oldest = oldest + 1 == timeWaitsCount() ? 0 : oldest + 1;
  used--;
}

/** Writes down a connection that enters TIME-WAIT. */
export function enterTimeWait(tcb: Tcb): void {
  if (timeWaitsCount() == 0 || config(CFG_TIME_WAIT_MS) == 0) return;
  const record = takeRecord();
  copy(record.ptr, tcb.local, 32);
  record.ports = portPair(tcb.localPort, tcb.remotePort);
  record.sndNxt = tcb.sndNxt;
  record.rcvNxt = tcb.rcvNxt;
  record.tsRecent = tcb.tsRecent;
  record.tsOffset = tcb.tsOffset;
  record.flags = ALIVE | (takeWindowField(tcb) << WINDOW_SHIFT);
  if (tcb.has(F_TS)) record.flags |= TIMESTAMPS;
  if (<u32>tcb.family == 6) record.flags |= FAMILY_6;
  begin(record);
}

/** Puts a filled record in the table and sets its end. */
function begin(record: TimeWait): void {
  record.expires = milliseconds() + config(CFG_TIME_WAIT_MS);
  const bucket = bucketFor(record);
  record.hashNext = load<u32>(bucket);
  store<u32>(bucket, <u32>record.ptr);
  setGauge(GAUGE_TIME_WAITS, gauge(GAUGE_TIME_WAITS) + 1);
  if (used == 1) armOldest();
}

function bucketFor(record: TimeWait): usize {
  return bucketOf(tupleHash(record.family, record.ptr, record.remote, record.ports));
}

function bucketOf(hash: u32): usize {
  return timeWaitBuckets() + ((<usize>(hash & timeWaitBucketMask())) << 2);
}

/** The record of a tuple, or null. */
export function findTimeWait(seg: Segment): TimeWait | null {
  if (gauge(GAUGE_TIME_WAITS) == 0) return null;
  const p = seg.packet;
  const ports = portPair(seg.dstPort, seg.srcPort);
  let record = changetype<TimeWait | null>(
    <usize>load<u32>(bucketOf(tupleHash(p.family, p.dst, p.src, ports))),
  );
  while (record) {
    if (record.ports == ports && record.family == p.family) {
      const isRemote = equalAddress(p.family, record.remote, p.src);
      if (isRemote && equalAddress(p.family, record.ptr, p.dst)) return record;
    }
    record = changetype<TimeWait | null>(<usize>record.hashNext);
  }
  return null;
}

/** Takes a record out of the table; its place in the ring stays until its turn. */
export function endTimeWait(record: TimeWait): void {
  let link = bucketFor(record);
  while (load<u32>(link) != <u32>record.ptr) {
    assert(load<u32>(link) != 0);
    link = <usize>load<u32>(link) + offsetof<TimeWait>("hashNext");
  }
  store<u32>(link, record.hashNext);
  record.flags &= ~ALIVE;
  setGauge(GAUGE_TIME_WAITS, gauge(GAUGE_TIME_WAITS) - 1);
}

/**
 * A segment for a tuple in TIME-WAIT. True if it is a SYN that may open the tuple again: a newer
 * sequence number or timestamp (RFC 6191 §2, TCP-96).
 */
export function arriveTimeWait(record: TimeWait, seg: Segment): bool {
  if (seg.has(RST)) return false;
  if (seg.has(SYN)) {
    if (seqGt(seg.seq, record.rcvNxt)) return true;
    const hasBoth = seg.hasTimestamps && record.hasTs;
    if (hasBoth && seqGt(seg.options.tsval, record.tsRecent)) return true;
  }
  // A bare ACK that says nothing new needs no answer; all else is told where we stand.
  if (seg.seqLen == 0 && seg.seq == record.rcvNxt) return false;
  if (record.hasTs && seg.hasTimestamps && seqLt(record.tsRecent, seg.options.tsval)) {
    record.tsRecent = seg.options.tsval;
  }
  emitTimeWaitAck(seg, record);
  if (seg.has(FIN)) restart(record);
  return false;
}

/**
 * The client did not get our last ACK: 2 MSL begin again (RFC 9293 §3.10.7.4), at the end of the
 * ring. In a full ring the oldest gives way as it does for a new record; it may be this one.
 */
function restart(record: TimeWait): void {
  endTimeWait(record);
  copy(moved, record.ptr, TIME_WAIT_BYTES);
  const fresh = takeRecord();
  copy(fresh.ptr, moved, TIME_WAIT_BYTES);
  fresh.flags |= ALIVE;
  begin(fresh);
}

/** The timer of the ring is due: ends what is over. */
export function expireTimeWaits(): void {
  // No more than there are records; each was paid for by a connection.
  while (used != 0) {
    const record = recordAt(oldest);
    if ((record.flags & ALIVE) != 0 && millisecondsLeft(record) != 0) break;
    dropOldest();
  }
  armOldest();
}

function armOldest(): void {
  if (used == 0) {
    cancelTimer(timeWaitTimer());
    return;
  }
  const left = max(millisecondsLeft(recordAt(oldest)), 1);
  armTimer(timeWaitTimer(), now() + <f64>left * 1000.0);
}

/**
 * 0 when the record's time is over. No record has more left than TIME-WAIT lasts: what says so
 * ended long ago, perhaps more than 2^31 ms, when the machine was asleep.
 */
function millisecondsLeft(record: TimeWait): u32 {
  const left = record.expires - milliseconds();
  return left > config(CFG_TIME_WAIT_MS) ? 0 : left;
}
