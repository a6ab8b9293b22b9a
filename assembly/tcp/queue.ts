/**
 * The send queue: space lent to the host, bytes committed by it, bytes freed by ACKs, and the
 * places in blocks that segments point at. Its limit grows with the congestion window (FLOW-8).
 *
 * Space: the rest of the last block first, then chunks while the flow is small, whole slots when it
 * moves bulk. A grant that the host fills doubles the next one; one that it hardly uses halves it.
 */
import {
  CFG_SEND_BUFFER_BYTES,
  CFG_SEND_BUFFER_MAX_BYTES,
  EV_WRITABLE,
  SPAN_MAX,
  TX_SPAN_MAX,
} from "../layout";
import { Block, takeChunk, takeSlot } from "../mem/block";
import { NEVER, now } from "../mem/clock";
import { config } from "../mem/config";
import { putSpan } from "../flow/stream";
import { addSpan } from "../ip/egress";
import { raiseFlow } from "./notify";
import { seqGe, seqGt, seqLe, seqLt } from "./seq";
import { F_WANT_WRITE, Tcb } from "./tcb";
import { mayGrow } from "./window";

const GRANT_MIN: u32 = 8192;
const GRANT_MAX: u32 = 524288;
/** From this need on, a slot is taken. */
const SLOT_NEED: u32 = 16384;
/** Less room than this at the end of a block is not worth a span, unless it is all there is. */
const ROOM_MIN: u32 = 512;
/** Until memory is looked for again. */
const RETRY_US: f64 = 10000.0;

/** Gives a new connection its send queue; the first byte has sequence number `seq`. */
export function openQueue(tcb: Tcb, seq: u32): void {
  tcb.sndEnd = seq;
  tcb.sndGrant = GRANT_MIN;
  tcb.sndLimit = config(CFG_SEND_BUFFER_BYTES);
}

/**
 * Lends space for up to `want` bytes: spans in SPANS_BASE, how many. 0: EV_WRITABLE will follow.
 */
export function reserveSpace(tcb: Tcb, want: u32): u32 {
  endReserve(tcb);
  const room = tcb.sndLimit > tcb.sndBytes ? tcb.sndLimit - tcb.sndBytes : 0;
  const grant = min(min(want, tcb.sndGrant), room);
  let granted: u32 = 0;
  let spans: u32 = 0;
  const tail = tcb.snd.tail;
  if (tail && grant != 0) {
    const rest = tail.size - tail.end;
    if (rest >= min(grant, ROOM_MIN)) {
      tcb.resRoom = min(rest, grant);
      putSpan(0, <usize>tail.data + tail.end, tcb.resRoom);
      granted = tcb.resRoom;
      spans = 1;
    }
  }
  while (granted < grant && spans < SPAN_MAX) {
    const block = takeSpace(grant - granted);
    if (!block) break;
    // Until it is committed, `aux` says how much of it was lent.
    block.aux = min(block.size, grant - granted);
    tcb.reserved.push(block);
    putSpan(spans, block.data, block.aux);
    granted += block.aux;
    spans++;
  }
  if (spans == 0 && want != 0) {
    tcb.set(F_WANT_WRITE);
    tcb.wantAt = room == 0 ? NEVER : now() + RETRY_US;
  }
  return spans;
}

function takeSpace(need: u32): Block | null {
  let block: Block | null = null;
  if (need >= SLOT_NEED) block = takeSlot();
  if (!block) block = takeChunk();
  if (!block) block = takeSlot();
  return block;
}

/** Bytes lent at present. */
export function reservedBytes(tcb: Tcb): u32 {
  let bytes = tcb.resRoom;
  let block = tcb.reserved.head;
  while (block) {
    bytes += block.aux;
    block = block.next;
  }
  return bytes;
}

/** Queues the first `bytes` bytes of what is lent (the caller has checked that it is as much). */
export function commitSpace(tcb: Tcb, bytes: u32): void {
  const lent = reservedBytes(tcb);
  if (bytes == lent && lent >= tcb.sndGrant) tcb.sndGrant = min(tcb.sndGrant << 1, GRANT_MAX);
  else if (bytes < tcb.sndGrant >> 2) tcb.sndGrant = max(tcb.sndGrant >> 1, GRANT_MIN);
  let left = bytes;
  if (tcb.resRoom != 0) {
    const part = min(left, tcb.resRoom);
    changetype<Block>(tcb.snd.tail).end += part;
    tcb.sndBytes += part;
    tcb.sndEnd += part;
    left -= part;
  }
  const list = tcb.reserved;
  while (left != 0) {
    const block = changetype<Block>(list.head);
    list.head = block.next;
    if (!list.head) list.tail = null;
    list.held -= block.size;
    block.end = min(left, block.aux);
    block.seq = tcb.sndEnd;
    tcb.snd.push(block);
    tcb.sndEnd += block.end;
    left -= block.end;
  }
  endReserve(tcb);
}

/** Takes lent space back; what was not committed is lost. */
export function endReserve(tcb: Tcb): void {
  tcb.resRoom = 0;
  if (tcb.resList != 0) tcb.reserved.clear(0);
  if (tcb.sndBytes == 0) emptyQueue(tcb);
}

/** Frees the first `bytes` bytes of the queue; space lent at its end stays. */
export function freeQueue(tcb: Tcb, bytes: u32): void {
  if (bytes == 0) return;
  const una = tcb.sndEnd - tcb.sndBytes + bytes;
  tcb.sndCursor = keepCursor(tcb.sndCursor, una);
  tcb.rtxCursor = keepCursor(tcb.rtxCursor, una);
  if (tcb.resRoom != 0 && bytes == tcb.sndBytes) {
    const tail = changetype<Block>(tcb.snd.tail);
    tcb.snd.drop(bytes - (tail.end - tail.start));
    tail.seq += tail.end - tail.start;
    tail.start = tail.end;
    tcb.sndBytes = 0;
  } else {
    tcb.snd.drop(bytes);
  }
  wakeWriter(tcb);
}

/** A cursor whose block will be freed is forgotten. */
function keepCursor(cursor: u32, una: u32): u32 {
  if (cursor == 0) return 0;
  const block = changetype<Block>(<usize>cursor);
  return seqLe(block.seq + (block.end - block.start), una) ? 0 : cursor;
}

/** Lets the limit follow the congestion window, and wakes a host that was refused (FLOW-8). */
export function wakeWriter(tcb: Tcb): void {
  const most = config(CFG_SEND_BUFFER_MAX_BYTES);
  const wanted = <u32>min((<u64>tcb.cwnd) << 1, <u64>most);
  if (wanted > tcb.sndLimit && mayGrow()) tcb.sndLimit = wanted;
  if (!tcb.has(F_WANT_WRITE)) return;
  if (tcb.sndBytes > tcb.sndLimit >> 1) return;
  tcb.unset(F_WANT_WRITE);
  tcb.wantAt = NEVER;
  raiseFlow(tcb, EV_WRITABLE, 0);
}

/** Gives the queue up, but not the blocks of which space is lent. */
export function clearQueue(tcb: Tcb): void {
  tcb.sndCursor = 0;
  tcb.rtxCursor = 0;
  const tail = tcb.snd.tail;
  if (tcb.resRoom != 0 && tail) {
    tcb.snd.drop(tcb.sndBytes - (tail.end - tail.start));
  } else {
    emptyQueue(tcb);
  }
}

function emptyQueue(tcb: Tcb): void {
  tcb.sndCursor = 0;
  tcb.rtxCursor = 0;
  if (tcb.sndList != 0) tcb.snd.clear(0);
}

/** The block that holds byte `seq` of the queue, looked for from `cursor` on. */
function blockWith(tcb: Tcb, seq: u32, cursor: u32): Block {
  let block = changetype<Block>(tcb.snd.head);
  if (cursor != 0) {
    const hint = changetype<Block>(<usize>cursor);
    if (seqGe(seq, hint.seq)) block = hint;
  }
  while (seqGe(seq, block.seq + (block.end - block.start))) {
    block = changetype<Block>(block.next);
  }
  assert(seqGe(seq, block.seq));
  return block;
}

/**
 * How many of the `len` bytes from `seq` on one packet can carry: TX_SPAN_MAX spans. If spans are
 * the limit, whole segments of `mss` bytes.
 */
export function carriable(tcb: Tcb, seq: u32, len: u32, mss: u32): u32 {
  const cursor = cursorFor(tcb, seq);
  let block: Block | null = blockWith(tcb, seq, cursor);
  setCursor(tcb, seq, changetype<Block>(block));
  let bytes: u32 = 0;
  for (let i: u32 = 0; i < TX_SPAN_MAX && block && bytes < len; i++) {
    const from = i == 0 ? seq - block.seq : 0;
    bytes += block.end - block.start - from;
    block = block.next;
  }
  if (bytes >= len) return len;
  return bytes > mss ? bytes - (bytes % mss) : bytes;
}

/** Names `len` bytes from `seq` on as the open packet's payload; `carriable` has said so. */
export function addPayload(tcb: Tcb, seq: u32, len: u32): void {
  if (len == 0) return;
  let block = blockWith(tcb, seq, cursorFor(tcb, seq));
  let from = seq - block.seq;
  let left = len;
  for (;;) {
    const part = min(left, block.end - block.start - from);
    addSpan(<usize>block.data + block.start + from, part);
    left -= part;
    if (left == 0) return;
    block = changetype<Block>(block.next);
    from = 0;
  }
}

function cursorFor(tcb: Tcb, seq: u32): u32 {
  return seqLt(seq, tcb.sndNxt) ? tcb.rtxCursor : tcb.sndCursor;
}

function setCursor(tcb: Tcb, seq: u32, block: Block): void {
  const cursor = <u32>changetype<usize>(block);
  if (seqLt(seq, tcb.sndNxt)) tcb.rtxCursor = cursor;
  else tcb.sndCursor = cursor;
}

/** Bytes queued and never sent. */
export function unsentBytes(tcb: Tcb): u32 {
  return seqGt(tcb.sndEnd, tcb.sndNxt) ? tcb.sndEnd - tcb.sndNxt : 0;
}

/** Gives back all that a released record still holds. */
export function releaseQueue(tcb: Tcb): void {
  endReserve(tcb);
  emptyQueue(tcb);
}
