/**
 * SEGMENT ARRIVES, RFC 9293 §3.10.7.4 with RFC 5961 (blind attacks), RFC 7323 (timestamps) and
 * RFC 2018: the steps as functions, in the RFC's order. A step answers whether the segment goes on.
 * Nothing is sent here: steps make ACKs due, and `flush` sends after all input of the batch.
 *
 * The fast path takes the two segments that matter in bulk transfer, the next data and an ACK for
 * our data, straight to the functions that the steps would end in; FLAG_NO_FAST_PATH turns it off.
 */
import {
  CLOSE_RESET,
  DROP_TCP_ACK,
  DROP_TCP_FLAGS,
  DROP_TCP_PAWS,
  DROP_TCP_RST,
  DROP_TCP_WINDOW,
  FLAG_NO_FAST_PATH,
  STAT_FAST_PATH,
  TCP_CLOSE_WAIT,
  TCP_CLOSING,
  TCP_ESTABLISHED,
  TCP_FIN_WAIT_1,
  TCP_FIN_WAIT_2,
  TCP_PENDING,
  TCP_SYN_RECEIVED,
} from "../layout";
import { now } from "../mem/clock";
import { hasFlag } from "../mem/config";
import { count } from "../mem/stats";
import { ACK, FIN, RST, SYN, URG } from "../wire/tcp";
import { checkAckRange, isFinAcked, takeAck } from "./ack";
import { challenge } from "./challenge";
import { closeFlow, finishFlow, resetFlow } from "./close";
import { markDirty } from "./dirty";
import { arrivePending, cancelHalfOpen, establish, isRepeatedSyn } from "./listen";
import { answerStray } from "./reset";
import { Segment } from "./segment";
import { seqGe, seqGt, seqLe, seqLt } from "./seq";
import { mayReceive, setState } from "./state";
import { F_ACK_NOW, F_FIN_KNOWN, F_ORPHAN, F_SYN_DUE, F_TS, Tcb } from "./tcb";
import { isAcceptable, noteDuplicate, noteFin, takeFin, takeText, trimSegment } from "./text";
import { windowOf } from "./window";

/** RFC 7323 §5.5: TS.Recent means nothing after 24 days. */
const TS_RECENT_US_MAX: f64 = 24.0 * 86400.0 * 1000000.0;

/** A segment for a flow that exists. */
export function arrive(tcb: Tcb, seg: Segment): void {
  tcb.packetsIn++;
  markDirty(tcb);
  if (<u32>tcb.state == TCP_PENDING) {
    arrivePending(tcb, seg);
    return;
  }
  if (isPredicted(tcb, seg)) {
    count(STAT_FAST_PATH);
    takeTimestamp(tcb, seg);
    noteAlive(tcb);
    if (takeAck(tcb, seg)) takeText(tcb, seg);
    return;
  }
  if (!checkSequence(tcb, seg)) return;
  if (!checkReset(tcb, seg)) return;
  if (!checkSyn(tcb, seg)) return;
  if (!checkAck(tcb, seg)) return;
  receiveText(tcb, seg);
}

/** Whether all steps would let the segment pass untouched and nothing is unusual. */
function isPredicted(tcb: Tcb, seg: Segment): bool {
  if (<u32>tcb.state != TCP_ESTABLISHED || hasFlag(FLAG_NO_FAST_PATH)) return false;
  if ((seg.flags & (FIN | SYN | RST | ACK | URG)) != ACK) return false;
  if (seg.seq != tcb.rcvNxt || tcb.has(F_FIN_KNOWN)) return false;
  if (seg.len > windowOf(tcb)) return false;
  if (tcb.has(F_TS) && seg.hasTimestamps) {
    if (seqLt(seg.options.tsval, tcb.tsRecent)) return false;
  }
  return seqGe(seg.ack, tcb.sndUna) && seqLe(seg.ack, tcb.sndNxt);
}

/** Step 1: timestamps (RFC 7323 §5.3), then the sequence number. */
function checkSequence(tcb: Tcb, seg: Segment): bool {
  if (isRepeatedSyn(tcb, seg) && <u32>tcb.state == TCP_SYN_RECEIVED) {
    tcb.set(F_SYN_DUE);
    return false;
  }
  if (isStale(tcb, seg)) {
    count(DROP_TCP_PAWS);
    if (seg.len != 0) tcb.set(F_ACK_NOW);
    else challenge(tcb);
    return false;
  }
  if (isAcceptable(tcb, seg.seq, seg.seqLen)) {
    takeTimestamp(tcb, seg);
    return true;
  }
  count(DROP_TCP_WINDOW);
  // TCP-72: a RST outside of the window is no news.
  if (seg.has(RST)) return false;
  answerUnacceptable(tcb, seg);
  return false;
}

/** TCP-30, TCP-34, TCP-111: old data and probes are acknowledged at once, wild guesses seldom. */
function answerUnacceptable(tcb: Tcb, seg: Segment): void {
  if (!seg.has(ACK) || seg.has(SYN)) {
    challenge(tcb);
    return;
  }
  const isOld = seqLe(seg.end, tcb.rcvNxt) && seg.seqLen != 0;
  if (isOld) {
    noteAlive(tcb);
    if (seg.len != 0) noteDuplicate(tcb, seg.seq, seg.end);
    tcb.set(F_ACK_NOW);
    return;
  }
  if (seg.seq == tcb.rcvNxt - 1) noteAlive(tcb);
  challenge(tcb);
}

/** RFC 7323 §5.3, R1 (PAWS): an old duplicate by its timestamp; RSTs are exempt (TCP-77). */
function isStale(tcb: Tcb, seg: Segment): bool {
  if (!tcb.has(F_TS) || !seg.hasTimestamps || seg.has(RST)) return false;
  if (!seqLt(seg.options.tsval, tcb.tsRecent)) return false;
  return now() - tcb.tsRecentAt < TS_RECENT_US_MAX;
}

/** RFC 7323 §4.3: TS.Recent comes from the segment that the last ACK waited for (TCP-78). */
function takeTimestamp(tcb: Tcb, seg: Segment): void {
  if (!tcb.has(F_TS) || !seg.hasTimestamps || seg.has(RST)) return;
  if (seqGt(seg.seq, tcb.lastAckSent)) return;
  const isNewer = !seqLt(seg.options.tsval, tcb.tsRecent);
  // Older than 24 days: whatever comes now counts.
  if (!isNewer && now() - tcb.tsRecentAt < TS_RECENT_US_MAX) return;
  tcb.tsRecent = seg.options.tsval;
  tcb.tsRecentAt = now();
}

/** Step 2: RST (RFC 5961 §3.2). */
function checkReset(tcb: Tcb, seg: Segment): bool {
  if (!seg.has(RST)) return true;
  if (<u32>tcb.state == TCP_SYN_RECEIVED) cancelHalfOpen(tcb);
  else if (seg.seq == tcb.rcvNxt) closeFlow(tcb, CLOSE_RESET);
  else {
    count(DROP_TCP_RST);
    challenge(tcb);
  }
  return false;
}

/** Step 4: SYN (RFC 5961 §4.2). */
function checkSyn(tcb: Tcb, seg: Segment): bool {
  if (!seg.has(SYN)) return true;
  count(DROP_TCP_FLAGS);
  challenge(tcb);
  return false;
}

/** Step 5: ACK. */
function checkAck(tcb: Tcb, seg: Segment): bool {
  if (!seg.has(ACK)) {
    count(DROP_TCP_FLAGS);
    return false;
  }
  if (<u32>tcb.state == TCP_SYN_RECEIVED) {
    if (seg.ack != tcb.sndNxt) {
      // TCP-15: not for our SYN; the flow stays.
      count(DROP_TCP_ACK);
      answerStray(seg);
      return false;
    }
    establish(tcb);
  }
  if (!checkAckRange(tcb, seg)) return false;
  noteAlive(tcb);
  return takeAck(tcb, seg);
}

/** The client lives: keepalive and idle limit begin anew. */
function noteAlive(tcb: Tcb): void {
  tcb.lastInUs = now();
  tcb.keepProbes = 0;
}

/** Steps 7 and 8: text and FIN. Step 6 (URG) has nothing to do (RFC 6093). */
function receiveText(tcb: Tcb, seg: Segment): void {
  if (!mayReceive(tcb.state)) {
    // After the client's FIN there is no text; its FIN may come again (TCP-95).
    if (seg.seqLen != 0) tcb.set(F_ACK_NOW);
    return;
  }
  if (tcb.has(F_ORPHAN) && seg.len != 0 && seqGt(seg.end, tcb.rcvNxt)) {
    // TCP-99: nobody is left who could take it.
    resetFlow(tcb, CLOSE_RESET);
    return;
  }
  trimSegment(tcb, seg);
  const wasAhead = seqGt(seg.seq, tcb.rcvNxt);
  takeText(tcb, seg);
  if (wasAhead && seg.has(FIN)) tcb.set(F_ACK_NOW);
  noteFin(tcb, seg);
  if (takeFin(tcb)) onFin(tcb);
}

/** The client's FIN takes effect. */
function onFin(tcb: Tcb): void {
  switch (<u32>tcb.state) {
    case TCP_ESTABLISHED:
      setState(tcb, TCP_CLOSE_WAIT);
      break;
    case TCP_FIN_WAIT_1:
      // If our FIN were acknowledged, this would be FIN-WAIT-2.
      assert(!isFinAcked(tcb));
      setState(tcb, TCP_CLOSING);
      break;
    case TCP_FIN_WAIT_2:
      finishWithAck(tcb);
      break;
    default:
      break;
  }
}

/** FIN-WAIT-2 ends in TIME-WAIT; the last ACK goes out from the record before it is let go. */
function finishWithAck(tcb: Tcb): void {
  finishFlow(tcb, true);
  tcb.set(F_ACK_NOW);
}
