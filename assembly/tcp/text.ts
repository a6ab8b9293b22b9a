/**
 * Received data (RFC 9293 §3.10.7.4, step 7): trims a segment to what is new and inside of the
 * window, keeps it, moves RCV.NXT, and decides when it is acknowledged (RFC 5681 §4.2, §3.8.6.3).
 * ACKs only become due here; `flush` sends at most one a flow (TCP-41).
 */
import {
  CFG_DELAYED_ACK_MS,
  DROP_TCP_NO_ROOM,
  DROP_TCP_WINDOW,
  EV_FIN,
  EV_READABLE,
} from "../layout";
import { now, NEVER } from "../mem/clock";
import { configUs } from "../mem/config";
import { count } from "../mem/stats";
import { FIN } from "../wire/tcp";
import { absorbHoles, firstHole, hasBeyond, isKept, keepAhead, storePiece } from "./holes";
import { raiseFlow } from "./notify";
import { Segment } from "./segment";
import { seqGe, seqGt, seqLe, seqLt, seqMin } from "./seq";
import { DSACK_MAX, F_ACK_NOW, F_DSACK, F_FIN_KNOWN, F_FIN_TAKEN, F_SACK, Tcb } from "./tcb";
import { ownMss } from "./window";

const DELAYED_ACK_US_MAX: f64 = 500000.0;
const RCV_MSS_MIN: u32 = 536;

/** Cuts off what is old and what is past the window or the client's FIN (TCP-35, TCP-48). */
export function trimSegment(tcb: Tcb, seg: Segment): void {
  if (seg.len == 0) {
    if (seg.has(FIN) && seqGt(seg.seq, tcb.rcvAdv)) seg.flags &= ~FIN;
    return;
  }
  if (seqLt(seg.seq, tcb.rcvNxt)) {
    const old = min(tcb.rcvNxt - seg.seq, seg.len);
    noteDuplicate(tcb, seg.seq, seg.seq + old);
    seg.seq += old;
    seg.ptr += old;
    seg.len -= old;
  }
  const edge = tcb.has(F_FIN_KNOWN) ? seqMin(tcb.rcvAdv, tcb.finSeq) : tcb.rcvAdv;
  if (seqGt(seg.end, edge)) {
    // Nothing past the edge is taken, so the sender must learn where it is.
    const over = min(seg.end - edge, seg.len);
    seg.len -= over;
    if (!tcb.has(F_FIN_KNOWN)) {
      seg.flags &= ~FIN;
      count(DROP_TCP_WINDOW);
      tcb.set(F_ACK_NOW);
    }
  }
}

/**
 * Remembers a duplicate for a D-SACK, and has it acknowledged at once (TCP-34, TCP-40). One ACK has
 * room for one, and a sender that repeated several segments for nothing takes its reduction back
 * only when all are told (RFC 3708 §2): a batch of input may make several ACKs for this.
 */
export function noteDuplicate(tcb: Tcb, left: u32, right: u32): void {
  tcb.set(F_ACK_NOW);
  if (!tcb.has(F_SACK)) return;
  if (!tcb.has(F_DSACK)) tcb.dsackCount = 0;
  tcb.set(F_DSACK);
  if (tcb.dsackCount != 0) {
    const last = tcb.dsackAt(tcb.dsackCount - 1);
    if (load<u32>(last, 4) == left) {
      store<u32>(last, right, 4);
      return;
    }
    if (tcb.dsackCount == DSACK_MAX) return;
  }
  const at = tcb.dsackAt(tcb.dsackCount);
  store<u32>(at, left);
  store<u32>(at, right, 4);
  tcb.dsackCount++;
}

/** Takes a trimmed segment's payload. */
export function takeText(tcb: Tcb, seg: Segment): void {
  if (seg.len == 0) return;
  const size = seg.packet.gso != 0 ? seg.packet.gso : seg.len;
  if (size > tcb.rcvMss) tcb.rcvMss = min(size, ownMss(tcb.family));
  if (seg.seq != tcb.rcvNxt) {
    if (isKept(tcb, seg.seq, seg.end)) noteDuplicate(tcb, seg.seq, seg.end);
    else keepAhead(tcb, seg);
    tcb.set(F_ACK_NOW);
    return;
  }
  takeInOrder(tcb, seg);
}

/** The payload begins at RCV.NXT. Ranges that it reaches keep their own bytes. */
function takeInOrder(tcb: Tcb, seg: Segment): void {
  const end = seg.end;
  let filled = false;
  let isRoom = true;
  while (isRoom && seqLt(tcb.rcvNxt, end)) {
    const limit = seqMin(end, firstHole(tcb, end));
    const len = limit - tcb.rcvNxt;
    const stored = storePiece(tcb.rcv, tcb, tcb.rcvNxt, len, seg);
    tcb.rcvNxt += stored;
    tcb.bytesIn += <f64>stored;
    isRoom = stored == len;
    if (absorbHoles(tcb)) filled = true;
  }
  if (!isRoom) {
    count(DROP_TCP_NO_ROOM);
    seg.flags &= ~FIN;
  }
  // A hole was filled, in whole or in part: RFC 5681 §4.2 wants an ACK at once.
  if (filled || tcb.holeCount != 0) tcb.set(F_ACK_NOW);
  if (tcb.rcvBytes != 0) raiseFlow(tcb, EV_READABLE, 0);
  scheduleAck(tcb);
}

/** Two full segments: at once, less: after the delay (TCP-39). */
function scheduleAck(tcb: Tcb): void {
  if (tcb.rcvNxt == tcb.lastAckSent) return;
  if (tcb.rcvNxt - tcb.lastAckSent >= max(tcb.rcvMss, RCV_MSS_MIN) << 1) tcb.set(F_ACK_NOW);
  else if (tcb.ackAt == NEVER) {
    tcb.ackAt = now() + min(configUs(CFG_DELAYED_ACK_MS), DELAYED_ACK_US_MAX);
  }
}

/** Step 8: notes a FIN, which may lie ahead of a hole. */
export function noteFin(tcb: Tcb, seg: Segment): void {
  if (!seg.has(FIN)) return;
  if (tcb.has(F_FIN_KNOWN)) {
    // A repeated FIN is acknowledged again (TCP-95).
    tcb.set(F_ACK_NOW);
    return;
  }
  const finSeq = seg.end;
  // A FIN before bytes that were sent already is a lie.
  if (seqLt(finSeq, tcb.rcvNxt) || hasBeyond(tcb, finSeq)) return;
  tcb.set(F_FIN_KNOWN | F_ACK_NOW);
  tcb.finSeq = finSeq;
}

/** Whether the client's FIN takes effect now: RCV.NXT moves over it. */
export function takeFin(tcb: Tcb): bool {
  if (!tcb.has(F_FIN_KNOWN) || tcb.has(F_FIN_TAKEN)) return false;
  if (seqLt(tcb.rcvNxt, tcb.finSeq)) return false;
  tcb.set(F_FIN_TAKEN | F_ACK_NOW);
  tcb.rcvNxt = tcb.finSeq + 1;
  raiseFlow(tcb, EV_FIN, 0);
  return true;
}

/** Whether a segment of `len` sequence numbers at `seq` touches the window (§3.10.7.4, step 1). */
export function isAcceptable(tcb: Tcb, seq: u32, len: u32): bool {
  if (len == 0) {
    // The right edge itself is where a client stands that has filled the window.
    return seqGe(seq, tcb.rcvNxt) && seqLe(seq, tcb.rcvAdv);
  }
  // With a shut window the ACK of a segment at RCV.NXT still counts; its text is trimmed away.
  if (seq == tcb.rcvNxt) return true;
  return seqLt(seq, tcb.rcvAdv) && seqGt(seq + len, tcb.rcvNxt);
}
