/**
 * What is in flight: one record for each run of bytes that were last sent at the same time and
 * share their fate, sorted by sequence number, together covering [SND.UNA, SND.NXT). The
 * transmission times of RFC 8985 §5.1 and the scoreboard of RFC 6675 §3 in one table.
 *
 * One record lies in the flow's own record, which is all that a flow needs that sends now and then.
 * More are kept in a chunk, and a flow with many holes in a large window takes a slot: SENT_MAX
 * records at most. With no room, what is written down gets coarser: new bytes join the last record,
 * a report that would split one is not taken. SACK is advice (RFC 2018 §8), and a time that is too
 * late only delays a repair.
 */
import { CHUNK_BYTES, SLOT_BYTES } from "../layout";
import { Block, giveBlock, takeChunk, takeSlot } from "../mem/block";
import { copy } from "../mem/bytes";
import { now } from "../mem/clock";
import { seqGe, seqGt, seqLe, seqLt, seqMin } from "./seq";
import { F_SACK, Tcb } from "./tcb";

/** The client holds it; it counts as lost and was not repeated since; it was sent more than once. */
export const SENT_SACKED: u32 = 1;
export const SENT_LOST: u32 = 2;
export const SENT_REPEATED: u32 = 4;

/** Bytes [left, right), when they were last sent (microseconds modulo 2^32), and SENT_… marks. */
@unmanaged
export class Sent {
  left: u32;
  right: u32;
  at: u32;
  marks: u32;

  @inline has(mark: u32): bool {
    return (this.marks & mark) != 0;
  }

  @inline get bytes(): u32 {
    return this.right - this.left;
  }
}

const SENT_BYTES: u32 = 16;
const SENT_MAX: u32 = 2048;

if (offsetof<Sent>() != SENT_BYTES) ERROR("Sent must be SENT_BYTES");
if (SENT_MAX * SENT_BYTES > <u32>SLOT_BYTES) ERROR("all records must fit in a slot");
if (SENT_MAX * SENT_BYTES < <u32>CHUNK_BYTES) ERROR("a slot must hold more than a chunk");

/** The clock of transmission times: differences are right for up to 35 minutes. */
export function sendClock(): u32 {
  return <u32>(<u64>now());
}

/** Empties the table. */
export function clearSent(tcb: Tcb): void {
  if (tcb.sentBlock != 0) giveBlock(changetype<Block>(<usize>tcb.sentBlock));
  tcb.sentBlock = 0;
  tcb.sentCount = 0;
  tcb.sentFirst = firstPlace(tcb);
}

/** Record `index`; the answer is good until a record is added. */
export function sentAt(tcb: Tcb, index: u32): Sent {
  return changetype<Sent>(<usize>tcb.sentFirst + <usize>index * SENT_BYTES);
}

/** Where the first record lies when none before it was dropped. */
function firstPlace(tcb: Tcb): u32 {
  if (tcb.sentBlock != 0) return changetype<Block>(<usize>tcb.sentBlock).data;
  return <u32>tcb.sentInline;
}

function capacity(tcb: Tcb): u32 {
  if (tcb.sentBlock == 0) return 1;
  return min(changetype<Block>(<usize>tcb.sentBlock).size / SENT_BYTES, SENT_MAX);
}

/** Whether there is place for one record more; records may have moved then. */
function makePlace(tcb: Tcb): bool {
  const first = firstPlace(tcb);
  const most = capacity(tcb);
  const end = tcb.sentFirst + (tcb.sentCount + 1) * SENT_BYTES;
  if (end <= first + most * SENT_BYTES) return true;
  let to = first;
  if (tcb.sentCount >= most) {
    if (most == SENT_MAX) return false;
    const block = tcb.sentBlock == 0 ? takeChunk() : takeSlot();
    if (!block) return false;
    to = block.data;
    copy(to, tcb.sentFirst, <usize>tcb.sentCount * SENT_BYTES);
    if (tcb.sentBlock != 0) giveBlock(changetype<Block>(<usize>tcb.sentBlock));
    tcb.sentBlock = <u32>changetype<usize>(block);
  } else {
    copy(to, tcb.sentFirst, <usize>tcb.sentCount * SENT_BYTES);
  }
  tcb.sentFirst = to;
  return true;
}

/** [left, right) was sent for the first time, behind all that was sent before. */
export function noteSent(tcb: Tcb, left: u32, right: u32): void {
  const at = sendClock();
  if (tcb.sentCount != 0) {
    const last = sentAt(tcb, tcb.sentCount - 1);
    if (last.at == at && last.marks == 0) {
      last.right = right;
      return;
    }
    if (!makePlace(tcb)) {
      coarsen(tcb, right, at);
      return;
    }
  } else {
    tcb.sentFirst = firstPlace(tcb);
  }
  const sent = sentAt(tcb, tcb.sentCount);
  tcb.sentCount++;
  sent.left = left;
  sent.right = right;
  sent.at = at;
  sent.marks = 0;
}

/** No room: the last record takes new bytes in, with their time and without its marks. */
function coarsen(tcb: Tcb, right: u32, at: u32): void {
  const last = sentAt(tcb, tcb.sentCount - 1);
  if (last.has(SENT_SACKED)) tcb.sackedBytes -= last.bytes;
  if (last.has(SENT_LOST)) tcb.lostBytes -= last.bytes;
  last.marks &= SENT_REPEATED;
  last.right = right;
  last.at = at;
}

/** [left, right), sent before, was sent again: it is in the network once more. */
export function noteRepeated(tcb: Tcb, left: u32, right: u32): void {
  const at = sendClock();
  let index = findSent(tcb, left);
  while (index < tcb.sentCount) {
    let sent = sentAt(tcb, index);
    if (seqGe(sent.left, right)) break;
    // Without place for a split, the whole record counts as repeated: it is found lost again.
    if (seqLt(sent.left, left) && splitSent(tcb, index, left)) {
      index++;
      sent = sentAt(tcb, index);
    }
    if (seqGt(sent.right, right) && splitSent(tcb, index, right)) sent = sentAt(tcb, index);
    if (!sent.has(SENT_SACKED)) {
      if (sent.has(SENT_LOST)) tcb.lostBytes -= sent.bytes;
      sent.marks = SENT_REPEATED;
      sent.at = at;
    }
    index++;
  }
  const first = findSent(tcb, left);
  joinSent(tcb, first > 0 ? first - 1 : 0, right);
}

/** Index of the first record that ends after `seq`. */
export function findSent(tcb: Tcb, seq: u32): u32 {
  let low: u32 = 0;
  let high = tcb.sentCount;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (seqLe(sentAt(tcb, middle).right, seq)) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Makes two records of one, the second beginning at `seq`; false if there is no place. */
export function splitSent(tcb: Tcb, index: u32, seq: u32): bool {
  if (!makePlace(tcb)) return false;
  const sent = sentAt(tcb, index);
  assert(seqLt(sent.left, seq));
  assert(seqLt(seq, sent.right));
  const next = changetype<usize>(sent) + SENT_BYTES;
  copy(next, changetype<usize>(sent), <usize>(tcb.sentCount - index) * SENT_BYTES);
  tcb.sentCount++;
  sent.right = seq;
  changetype<Sent>(next).left = seq;
  return true;
}

/** Joins neighbours that differ in nothing that matters, from record `index` on up to `right`. */
export function joinSent(tcb: Tcb, index: u32, right: u32): void {
  let kept = index;
  let next = index + 1;
  while (next < tcb.sentCount && seqLe(sentAt(tcb, next).left, right)) {
    const one = sentAt(tcb, kept);
    const two = sentAt(tcb, next);
    // When held bytes were sent, and how often, is of no interest any more.
    const areHeld = one.has(SENT_SACKED) && two.has(SENT_SACKED);
    if (areHeld || (one.at == two.at && one.marks == two.marks)) {
      one.right = two.right;
    } else {
      kept++;
      if (kept != next)
        copy(changetype<usize>(sentAt(tcb, kept)), changetype<usize>(two), SENT_BYTES);
    }
    next++;
  }
  const gone = next - kept - 1;
  if (gone == 0) return;
  const rest = <usize>(tcb.sentCount - next) * SENT_BYTES;
  copy(changetype<usize>(sentAt(tcb, kept + 1)), changetype<usize>(sentAt(tcb, next)), rest);
  tcb.sentCount -= gone;
}

/** Forgets the first `count` records. */
export function dropSent(tcb: Tcb, count: u32): void {
  if (count == tcb.sentCount) {
    clearSent(tcb);
    return;
  }
  tcb.sentFirst += count * SENT_BYTES;
  tcb.sentCount -= count;
}

/** A record that was not marked as lost and is not held is now lost. */
export function markLost(tcb: Tcb, sent: Sent): void {
  assert(!sent.has(SENT_LOST | SENT_SACKED));
  if (tcb.lostBytes == 0 || seqLt(sent.left, tcb.lostFrom)) tcb.lostFrom = sent.left;
  sent.marks |= SENT_LOST;
  tcb.lostBytes += sent.bytes;
}

/** Takes marks off all records. */
export function unmarkAll(tcb: Tcb, marks: u32): void {
  for (let i: u32 = 0; i < tcb.sentCount; i++) sentAt(tcb, i).marks &= ~marks;
  if ((marks & SENT_LOST) != 0) tcb.lostBytes = 0;
  if ((marks & SENT_SACKED) != 0) tcb.sackedBytes = 0;
}

/** Marks [SND.UNA, end) as lost, as far as it is neither held nor lost. */
export function markLostTo(tcb: Tcb, end: u32): void {
  for (let i: u32 = 0; i < tcb.sentCount; i++) {
    let sent = sentAt(tcb, i);
    if (seqGe(sent.left, end)) return;
    if (sent.has(SENT_SACKED | SENT_LOST)) continue;
    if (seqGt(sent.right, end) && splitSent(tcb, i, end)) sent = sentAt(tcb, i);
    markLost(tcb, sent);
  }
}

/** The first lost byte that was not sent again since, or SND.NXT. */
export function nextLost(tcb: Tcb): u32 {
  if (tcb.lostBytes == 0) return tcb.sndNxt;
  for (let i = findSent(tcb, tcb.lostFrom); i < tcb.sentCount; i++) {
    const sent = sentAt(tcb, i);
    if (!sent.has(SENT_LOST)) continue;
    tcb.lostFrom = sent.left;
    return sent.left;
  }
  return tcb.sndNxt;
}

/** Where the lost bytes that begin at `seq` end; no later than `limit`. */
export function lostEnd(tcb: Tcb, seq: u32, limit: u32): u32 {
  let end = seq;
  for (let i = findSent(tcb, seq); i < tcb.sentCount && seqLt(end, limit); i++) {
    const sent = sentAt(tcb, i);
    if (!sent.has(SENT_LOST)) break;
    end = sent.right;
  }
  return seqMin(end, limit);
}

/**
 * What must hold of the table whenever a segment was taken or sent; debug builds look. Clients
 * without SACK have `sackedBytes` that are only an estimate.
 */
export function checkSent(tcb: Tcb): void {
  if (ASC_OPTIMIZE_LEVEL != 0) return;
  let at = tcb.sndUna;
  let held: u32 = 0;
  let lost: u32 = 0;
  for (let i: u32 = 0; i < tcb.sentCount; i++) {
    const sent = sentAt(tcb, i);
    assert(sent.left == at);
    assert(seqLt(sent.left, sent.right));
    assert(!(sent.has(SENT_SACKED) && sent.has(SENT_LOST)));
    if (sent.has(SENT_SACKED)) held += sent.bytes;
    if (sent.has(SENT_LOST)) {
      lost += sent.bytes;
      assert(seqGe(sent.left, tcb.lostFrom));
    }
    at = sent.right;
  }
  assert(at == tcb.sndNxt);
  assert(lost == tcb.lostBytes);
  assert(held == tcb.sackedBytes || !tcb.has(F_SACK));
}
