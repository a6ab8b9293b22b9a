/**
 * Data that arrived ahead of a hole (RFC 9293 §3.10.7.4): ranges in a chunk, sorted by sequence
 * number, never touching each other, each with its bytes. Of two copies of a byte the first one
 * stays (TCP-33). Up to HOLE_MAX ranges a flow (TCP-38); what is in them is never given up
 * (RFC 2018 §8) until it is delivered or the flow ends.
 */
import {
  CHUNK_BYTES,
  COPY_MAX_BYTES,
  DROP_TCP_NO_ROOM,
  DROP_TCP_RANGES,
  SLOT_BYTES,
} from "../layout";
import { Block, giveBlock, keepRx, takeChunk } from "../mem/block";
import { copy } from "../mem/bytes";
import { count } from "../mem/stats";
import { BlockList } from "../flow/stream";
import { putSackBlock } from "../wire/tcp-options";
import { Segment } from "./segment";
import { seqGe, seqGt, seqLe, seqLt, seqMin } from "./seq";
import { Tcb } from "./tcb";

/** A range: its bytes (a BlockList), where it begins, and when it last grew. */
@unmanaged
class Hole {
  listHead: u32;
  listTail: u32;
  bytes: u32;
  held: u32;
  start: u32;
  stamp: u32;

  @inline get list(): BlockList {
    return changetype<BlockList>(changetype<usize>(this));
  }

  @inline get end(): u32 {
    return this.start + this.bytes;
  }
}

/** Ranges of one flow; they fill a chunk. */
export const HOLE_MAX: u32 = 80;

if (HOLE_MAX * offsetof<Hole>() > CHUNK_BYTES) ERROR("the ranges must fit in a chunk");

/** Counts arrivals, so that ranges can be told apart by age. */
let stampNow: u32 = 0;

function holeAt(tcb: Tcb, index: u32): Hole {
  const block = changetype<Block>(<usize>tcb.holes);
  return changetype<Hole>(<usize>block.data + <usize>index * offsetof<Hole>());
}

/** Where the first range begins; `otherwise` if there is none. */
export function firstHole(tcb: Tcb, otherwise: u32): u32 {
  return tcb.holeCount == 0 ? otherwise : holeAt(tcb, 0).start;
}

/** Whether any range goes past `seq`. */
export function hasBeyond(tcb: Tcb, seq: u32): bool {
  return tcb.holeCount != 0 && seqGt(holeAt(tcb, tcb.holeCount - 1).end, seq);
}

/** Index of the first range that ends at or after `seq`. */
function search(tcb: Tcb, seq: u32): u32 {
  let low: u32 = 0;
  let high = tcb.holeCount;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (seqLt(holeAt(tcb, middle).end, seq)) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Bytes of memory that all ranges hold. */
function holesHeld(tcb: Tcb): u32 {
  let held: u32 = 0;
  for (let i: u32 = 0; i < tcb.holeCount; i++) held += holeAt(tcb, i).held;
  return held;
}

/** Takes a segment's payload, which lies after RCV.NXT and inside of the window. */
export function keepAhead(tcb: Tcb, seg: Segment): void {
  if (tcb.holes == 0) {
    const chunk = takeChunk();
    if (!chunk) {
      count(DROP_TCP_NO_ROOM);
      return;
    }
    tcb.holes = <u32>changetype<usize>(chunk);
  }
  stampNow++;
  const end = seg.end;
  let at = seg.seq;
  const index = search(tcb, at);
  // Each range costs at most two turns: one through it, one that fills the gap behind it.
  while (seqLt(at, end)) {
    if (index < tcb.holeCount && seqLe(holeAt(tcb, index).start, at)) {
      const hole = holeAt(tcb, index);
      if (hole.end != at) {
        hole.stamp = stampNow;
        at = hole.end;
        continue;
      }
      // The range ends where this piece begins.
      const limit = index + 1 < tcb.holeCount ? seqMin(end, holeAt(tcb, index + 1).start) : end;
      if (!growHole(tcb, index, at, limit, seg)) return;
      at = limit;
      joinNext(tcb, index);
      continue;
    }
    const limit = index < tcb.holeCount ? seqMin(end, holeAt(tcb, index).start) : end;
    if (!insertHole(tcb, index)) return;
    const fresh = holeAt(tcb, index);
    fresh.start = at;
    if (!growHole(tcb, index, at, limit, seg)) return;
    at = limit;
    joinNext(tcb, index);
  }
}

/** Adds [from, to) of a segment to the end of a range; false if not all of it found room. */
function growHole(tcb: Tcb, index: u32, from: u32, to: u32, seg: Segment): bool {
  const hole = holeAt(tcb, index);
  const len = to - from;
  hole.stamp = stampNow;
  const stored = storePiece(hole.list, tcb, from, len, seg);
  if (stored == len) return true;
  count(DROP_TCP_NO_ROOM);
  if (hole.bytes == 0) removeHole(tcb, index);
  return false;
}

/** If a range touches the following one, makes them one. */
function joinNext(tcb: Tcb, index: u32): void {
  if (index + 1 >= tcb.holeCount) return;
  const hole = holeAt(tcb, index);
  const next = holeAt(tcb, index + 1);
  if (hole.end != next.start) return;
  hole.list.join(next.list);
  removeHole(tcb, index + 1);
}

function insertHole(tcb: Tcb, index: u32): bool {
  if (tcb.holeCount == HOLE_MAX) {
    count(DROP_TCP_RANGES);
    return false;
  }
  const at = changetype<usize>(holeAt(tcb, index));
  copy(at + offsetof<Hole>(), at, <usize>(tcb.holeCount - index) * offsetof<Hole>());
  memory.fill(at, 0, offsetof<Hole>());
  tcb.holeCount++;
  return true;
}

function removeHole(tcb: Tcb, index: u32): void {
  tcb.holeCount--;
  const at = changetype<usize>(holeAt(tcb, index));
  copy(at, at + offsetof<Hole>(), <usize>(tcb.holeCount - index) * offsetof<Hole>());
  if (tcb.holeCount == 0) freeTable(tcb);
}

/** Moves ranges that RCV.NXT has reached into the receive list; true if there were any. */
export function absorbHoles(tcb: Tcb): bool {
  let any = false;
  while (tcb.holeCount != 0) {
    const hole = holeAt(tcb, 0);
    if (seqGt(hole.start, tcb.rcvNxt)) break;
    assert(hole.start == tcb.rcvNxt);
    tcb.rcvNxt += hole.bytes;
    tcb.bytesIn += <f64>hole.bytes;
    tcb.rcv.join(hole.list);
    removeHole(tcb, 0);
    any = true;
  }
  return any;
}

/**
 * Stores [seq, seq + len) of a segment at the end of a list: in its slot if it is large, unless the
 * flow holds much more memory than bytes already; else by copying. How many bytes found room.
 */
export function storePiece(list: BlockList, tcb: Tcb, seq: u32, len: u32, seg: Segment): u32 {
  const ptr = seg.ptr + (seq - seg.seq);
  if (len > COPY_MAX_BYTES && seg.packet.rxIndex >= 0) {
    const held = tcb.rcvHeld + holesHeld(tcb);
    if (held + <u32>SLOT_BYTES <= max(tcb.rcvBuf << 1, (<u32>SLOT_BYTES) << 1)) {
      const block = keepRx(seg.packet.rxIndex);
      if (block) {
        seg.packet.rxIndex = -1;
        block.start = <u32>ptr - block.data;
        block.end = block.start + len;
        block.seq = seq;
        list.push(block);
        return len;
      }
    }
  }
  return list.append(ptr, len, seq);
}

/** Gives all ranges up. */
export function clearHoles(tcb: Tcb): void {
  for (let i: u32 = 0; i < tcb.holeCount; i++) holeAt(tcb, i).list.clear(0);
  tcb.holeCount = 0;
  if (tcb.holes != 0) freeTable(tcb);
}

function freeTable(tcb: Tcb): void {
  giveBlock(changetype<Block>(<usize>tcb.holes));
  tcb.holes = 0;
}

/**
 * Writes up to `limit` SACK blocks at `ptr`: the range that grew last, then the ones before it
 * (RFC 2018 §4). How many.
 */
export function putHoles(tcb: Tcb, ptr: usize, limit: u32): u32 {
  let written: u32 = 0;
  let before: u64 = u64.MAX_VALUE;
  while (written < limit) {
    let best: u64 = 0;
    let bestIndex: u32 = 0;
    for (let i: u32 = 0; i < tcb.holeCount; i++) {
      // Ages with the index below them are all different.
      const age = ((<u64>holeAt(tcb, i).stamp + 1) << 8) | i;
      if (age > best && age < before) {
        best = age;
        bestIndex = i;
      }
    }
    if (best == 0) break;
    const hole = holeAt(tcb, bestIndex);
    putSackBlock(ptr + ((<usize>written) << 3), hole.start, hole.end);
    before = best;
    written++;
  }
  return written;
}

/** The range that contains `seq`, for a D-SACK of data ahead of a hole: its index, or -1. */
function holeWith(tcb: Tcb, seq: u32): i32 {
  const index = search(tcb, seq + 1);
  if (index >= tcb.holeCount) return -1;
  const hole = holeAt(tcb, index);
  if (seqGt(hole.start, seq)) return -1;
  return seqGe(seq, hole.end) ? -1 : <i32>index;
}

/** Whether [from, to) lies in one range. */
export function isKept(tcb: Tcb, from: u32, to: u32): bool {
  const index = holeWith(tcb, from);
  return index >= 0 && seqLe(to, holeAt(tcb, <u32>index).end);
}
