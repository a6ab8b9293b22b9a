/**
 * The SACK scoreboard (RFC 2018, RFC 6675 §3): ranges above SND.UNA that the client holds, sorted,
 * in a chunk. It is advice: with no chunk or no room in it, a report is not written down.
 */
import { CHUNK_BYTES } from "../layout";
import { Block, giveBlock, takeChunk } from "../mem/block";
import { be32, copy } from "../mem/bytes";
import { Segment } from "./segment";
import { seqDistance, seqGe, seqGt, seqLe, seqLt, seqMax } from "./seq";
import { Tcb } from "./tcb";

/** {left, right} u32 each. */
const RANGE_BYTES: u32 = 8;
const RANGE_MAX: u32 = 200;
/** RFC 6675 §2: DupThresh. */
const DUP_THRESH: u32 = 3;

if (RANGE_MAX * RANGE_BYTES > <u32>CHUNK_BYTES) ERROR("the scoreboard must fit in a chunk");

function rangeAt(tcb: Tcb, index: u32): usize {
  return <usize>changetype<Block>(<usize>tcb.board).data + <usize>index * RANGE_BYTES;
}

function leftOf(tcb: Tcb, index: u32): u32 {
  return load<u32>(rangeAt(tcb, index));
}

function rightOf(tcb: Tcb, index: u32): u32 {
  return load<u32>(rangeAt(tcb, index), 4);
}

/**
 * Takes a segment's SACK blocks; true if they said anything new. Absurd ones say nothing (TCP-62).
 */
export function takeSacks(tcb: Tcb, seg: Segment): bool {
  const before = tcb.sackedBytes;
  const count = seg.options.sackCount;
  const una = seqMax(seg.ack, tcb.sndUna);
  for (let i: u32 = 0; i < count; i++) {
    const at = seg.options.sackPtr + ((<usize>i) << 3);
    const left = be32(at);
    const right = be32(at + 4);
    // Blocks at or below the ACK are D-SACKs (RFC 2883); they are no part of the scoreboard.
    if (seqGe(left, right) || seqLt(left, una) || seqGt(right, tcb.sndNxt)) continue;
    addRange(tcb, left, right);
  }
  return tcb.sackedBytes != before;
}

/** Adds [left, right), joining it with what it touches. */
function addRange(tcb: Tcb, left: u32, right: u32): void {
  if (tcb.board == 0) {
    const chunk = takeChunk();
    if (!chunk) return;
    tcb.board = <u32>changetype<usize>(chunk);
    tcb.boardCount = 0;
  }
  let first: u32 = 0;
  while (first < tcb.boardCount && seqLt(rightOf(tcb, first), left)) first++;
  let after = first;
  let newLeft = left;
  let newRight = right;
  while (after < tcb.boardCount && seqLe(leftOf(tcb, after), right)) {
    if (seqLt(leftOf(tcb, after), newLeft)) newLeft = leftOf(tcb, after);
    newRight = seqMax(newRight, rightOf(tcb, after));
    tcb.sackedBytes -= rightOf(tcb, after) - leftOf(tcb, after);
    after++;
  }
  if (after == first && tcb.boardCount == RANGE_MAX) return;
  moveRanges(tcb, after, first + 1);
  store<u32>(rangeAt(tcb, first), newLeft);
  store<u32>(rangeAt(tcb, first), newRight, 4);
  tcb.sackedBytes += newRight - newLeft;
}

/** Moves the ranges from index `from` on to index `to`. */
function moveRanges(tcb: Tcb, from: u32, to: u32): void {
  if (from != to) {
    const bytes = <usize>(tcb.boardCount - from) * RANGE_BYTES;
    copy(rangeAt(tcb, to), rangeAt(tcb, from), bytes);
  }
  tcb.boardCount = tcb.boardCount + to - from;
}

/** SND.UNA has moved: forgets what lies below. */
export function pruneBoard(tcb: Tcb): void {
  if (tcb.boardCount == 0) return;
  let gone: u32 = 0;
  while (gone < tcb.boardCount && seqLe(rightOf(tcb, gone), tcb.sndUna)) {
    tcb.sackedBytes -= rightOf(tcb, gone) - leftOf(tcb, gone);
    gone++;
  }
  if (gone == tcb.boardCount) {
    clearBoard(tcb);
    return;
  }
  if (gone != 0) moveRanges(tcb, gone, 0);
  if (seqLt(leftOf(tcb, 0), tcb.sndUna)) {
    tcb.sackedBytes -= tcb.sndUna - leftOf(tcb, 0);
    store<u32>(rangeAt(tcb, 0), tcb.sndUna);
  }
}

/** Forgets everything. */
export function clearBoard(tcb: Tcb): void {
  tcb.boardCount = 0;
  tcb.sackedBytes = 0;
  if (tcb.board == 0) return;
  giveBlock(changetype<Block>(<usize>tcb.board));
  tcb.board = 0;
}

/** Whether the client claims to hold SND.UNA itself but does not acknowledge it (reneging). */
export function isReneging(tcb: Tcb): bool {
  return tcb.boardCount != 0 && seqLe(leftOf(tcb, 0), tcb.sndUna);
}

/**
 * RFC 6675 §4, IsLost: up to where bytes that are not SACKed count as lost, because at least
 * DupThresh ranges or more than DupThresh − 1 segments above them are SACKed. SND.UNA: nowhere.
 */
export function lossEdge(tcb: Tcb): u32 {
  let bytes: u32 = 0;
  let ranges: u32 = 0;
  for (let i = tcb.boardCount; i > 0; i--) {
    bytes += rightOf(tcb, i - 1) - leftOf(tcb, i - 1);
    ranges++;
    if (ranges >= DUP_THRESH || bytes > (DUP_THRESH - 1) * tcb.sndMss) return leftOf(tcb, i - 1);
  }
  return tcb.sndUna;
}

/** Where the range begins that ends at or after `seq`, if `seq` is SACKed; else `otherwise`. */
export function sackedAt(tcb: Tcb, seq: u32, otherwise: u32): u32 {
  for (let i: u32 = 0; i < tcb.boardCount; i++) {
    if (seqLt(seq, leftOf(tcb, i))) break;
    if (seqLe(seq, rightOf(tcb, i))) return leftOf(tcb, i);
  }
  return otherwise;
}

/** The first byte from `seq` on that is not SACKed. */
export function nextUnsacked(tcb: Tcb, seq: u32): u32 {
  let at = seq;
  for (let i: u32 = 0; i < tcb.boardCount; i++) {
    if (seqLt(at, leftOf(tcb, i))) break;
    if (seqLt(at, rightOf(tcb, i))) at = rightOf(tcb, i);
  }
  return at;
}

/** Where the first SACKed range at or after `seq` begins, or `limit` if that comes first. */
export function nextSacked(tcb: Tcb, seq: u32, limit: u32): u32 {
  for (let i: u32 = 0; i < tcb.boardCount; i++) {
    if (seqGe(leftOf(tcb, i), limit)) break;
    if (seqGe(leftOf(tcb, i), seq)) return leftOf(tcb, i);
  }
  return limit;
}

/** Bytes of [from, to) that are not SACKed. */
export function unsackedBytes(tcb: Tcb, from: u32, to: u32): u32 {
  let bytes = seqDistance(from, to);
  for (let i: u32 = 0; i < tcb.boardCount; i++) {
    const left = seqMax(leftOf(tcb, i), from);
    const right = seqLt(rightOf(tcb, i), to) ? rightOf(tcb, i) : to;
    bytes -= seqDistance(left, right);
  }
  return bytes;
}
