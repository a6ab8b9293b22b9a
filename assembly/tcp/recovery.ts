/**
 * Loss recovery: when something counts as lost, how fast it is repaired, and when a reduction was
 * made for nothing.
 *
 *   found by     RACK (rack.ts) for clients with SACK; three duplicate ACKs and partial ACKs for
 *                others (RFC 5681 §3.2, RFC 6582); the retransmission timeout (RFC 6298)
 *   repaired     at the rate of proportional rate reduction (RFC 9937) in fast recovery
 *                (F_RECOVERY), by slow start after a timeout (F_LOSS)
 *   the tail     is probed before the timeout (RFC 8985 §7)
 *   taken back   if timestamps (Eifel, RFC 3522) or D-SACKs (RFC 3708) show that all repeats
 *                were for nothing (TCP-59)
 *
 * What is lost, held or repeated is written in the table of sent.ts; what is in the network
 * ("pipe", RFC 6675 §4) is a difference of three numbers. Limited transmit (RFC 3042) needs no
 * code: what left the network makes room for new data before anything counts as lost.
 */
import { STAT_FAST_RECOVERIES, STAT_RTO_FIRED, STAT_SPURIOUS } from "../layout";
import { count } from "../mem/stats";
import { AckNews, forgetSacks, isReneging } from "./board";
import { endLimited, growWindow, initWindow, reduceThreshold, restartCurve } from "./congestion";
import { wasLimited, watchRounds } from "./congestion";
import { detectByTime, followUna, initRack, isOverdue, onRecoveryEnd, widenWindow } from "./rack";
import { checkSent, clearSent, markLost, markLostTo, noteRepeated, noteSent } from "./sent";
import { sentAt, SENT_LOST, SENT_SACKED, unmarkAll } from "./sent";
import { seqGe, seqGt, seqLe, seqLt } from "./seq";
import { F_LOSS, F_RECOVERY, F_RTX_DUE, F_SACK, F_TLP_SENT, F_TS, F_UNDO } from "./tcb";
import { Tcb, timestampNow } from "./tcb";
import { NEVER } from "../mem/clock";

/** RFC 5681 §3.2. */
const DUP_ACKS: u32 = 3;

/** A new connection: nothing in flight, nothing lost. */
export function initRecovery(tcb: Tcb): void {
  clearSent(tcb);
  initWindow(tcb);
  initRack(tcb);
  settle(tcb);
}

/** No recovery: positions stay near SND.UNA, so that comparisons never wrap. */
function settle(tcb: Tcb): void {
  tcb.recover = tcb.sndUna - 1;
}

function isRecovering(tcb: Tcb): bool {
  return tcb.has(F_RECOVERY | F_LOSS);
}

/** Bytes that are in the network as far as we know (RFC 6675 §4, SetPipe). */
export function pipeOf(tcb: Tcb): u32 {
  const gone = tcb.sackedBytes + tcb.lostBytes;
  return tcb.flight - min(gone, tcb.flight);
}

/**
 * An ACK was taken; `isDuplicate` is one by RFC 5681 §2, from a client without SACK. Everything
 * that follows from it for recovery and for the window.
 */
export function onAck(tcb: Tcb, news: AckNews, isDuplicate: bool): void {
  if (news.acked != 0) {
    followUna(tcb);
    if (!tcb.has(F_SACK)) forgetDuplicates(tcb, news.acked);
    if (tcb.has(F_UNDO)) undoByTime(tcb, news);
  } else if (isDuplicate) {
    countDuplicate(tcb);
  }
  const gained = news.acked + tcb.sackedBytes - news.sackedBefore;
  news.delivered = <i32>gained > 0 ? gained : 0;
  const wasRecovering = isRecovering(tcb);
  if (news.hasDsack) onDsack(tcb, news);
  if (tcb.has(F_TLP_SENT)) endProbe(tcb, news);
  if (isRecovering(tcb) && seqGe(tcb.sndUna, tcb.recover)) leaveRecovery(tcb);
  detectLoss(tcb, news);
  if (tcb.has(F_RECOVERY)) reduceProportionally(tcb, news);
  else if (tcb.has(F_LOSS)) growWindow(tcb, news.delivered);
  else if (news.acked != 0 && !wasRecovering) {
    settle(tcb);
    watchRounds(tcb, news.rttUs);
    if (wasLimited(tcb, news.acked)) growWindow(tcb, news.acked);
  }
  if (news.acked != 0) endLimited(tcb);
  checkSent(tcb);
}

/* ---- what is lost ---- */

function detectLoss(tcb: Tcb, news: AckNews): void {
  if (tcb.flight == 0) {
    tcb.reoAt = NEVER;
    return;
  }
  if (tcb.has(F_SACK)) {
    // Without holes above SND.UNA all that was sent before is acknowledged.
    if (tcb.sackedBytes == 0 && !isRecovering(tcb)) {
      tcb.reoAt = NEVER;
      return;
    }
    news.hasLoss = detectByTime(tcb);
  } else {
    news.hasLoss = detectByCount(tcb, news);
  }
  if (isRecovering(tcb)) return;
  // What was found lost late in a recovery that is over is the loss of another round trip.
  if (news.hasLoss || tcb.lostBytes != 0) enterRecovery(tcb, news.delivered);
}

/** Without SACK: the third duplicate ACK, then each partial one (RFC 6582 §3.2). */
function detectByCount(tcb: Tcb, news: AckNews): bool {
  const isPartial = tcb.has(F_RECOVERY) && news.acked != 0;
  if (!isPartial) {
    if (isRecovering(tcb) || tcb.dupAcks < DUP_ACKS) return false;
    // Step 1: right after a recovery they may be the answers to what was repeated for nothing.
    if (!seqGt(tcb.sndUna, tcb.recover)) return false;
  }
  // Step 3: the hole that a partial ACK shows is filled at once.
  if (isPartial) tcb.set(F_RTX_DUE);
  const lost = tcb.lostBytes;
  markLostTo(tcb, tcb.sndUna + min(tcb.sndMss, tcb.flight));
  return tcb.lostBytes != lost;
}

/** RACK's deadline has passed. */
export function onReorderTimer(tcb: Tcb): void {
  tcb.reoAt = NEVER;
  if (tcb.flight == 0 || !detectByTime(tcb)) return;
  if (!isRecovering(tcb)) enterRecovery(tcb, 0);
}

/** A duplicate ACK from a client without SACK says that one segment has left the network. */
function countDuplicate(tcb: Tcb): void {
  // More duplicates than there were segments in flight when the first came are made up (TCP-68).
  const inFlight = isRecovering(tcb) ? tcb.recover - tcb.sndUna : tcb.flight;
  if (tcb.dupAcks < inFlight / tcb.sndMss + 1) tcb.dupAcks++;
  believeDuplicates(tcb);
}

function believeDuplicates(tcb: Tcb): void {
  const held = tcb.lostBytes + tcb.sndMss;
  const most = tcb.flight > held ? tcb.flight - held : 0;
  tcb.sackedBytes = min(tcb.dupAcks * tcb.sndMss, most);
}

/** Of `acked` bytes, one segment was the hole; the others had made duplicate ACKs. */
function forgetDuplicates(tcb: Tcb, acked: u32): void {
  if (!isRecovering(tcb)) tcb.dupAcks = 0;
  else tcb.dupAcks -= min(max(acked / tcb.sndMss, 1) - 1, tcb.dupAcks);
  believeDuplicates(tcb);
}

/* ---- fast recovery ---- */

function enterRecovery(tcb: Tcb, delivered: u32): void {
  count(STAT_FAST_RECOVERIES);
  rememberForUndo(tcb);
  // What limited transmit sent beyond the window is no reason for a larger one.
  reduceThreshold(tcb, min(tcb.flight, tcb.cwnd));
  beginRecovery(tcb, delivered);
}

/** RFC 9937 §5; `delivered` bytes are the news that began it. */
function beginRecovery(tcb: Tcb, delivered: u32): void {
  tcb.unset(F_TLP_SENT);
  tcb.set(F_RECOVERY | F_RTX_DUE);
  tcb.recover = tcb.sndNxt;
  tcb.prrDelivered = 0;
  tcb.prrOut = 0;
  tcb.prrFlight = max(tcb.flight + delivered - min(tcb.sackedBytes, tcb.flight), tcb.sndMss);
  tcb.cwnd = pipeOf(tcb) + tcb.sndMss;
}

/** RFC 9937 §5: the window that lets as much out as it should for what arrived. */
function reduceProportionally(tcb: Tcb, news: AckNews): void {
  if (news.delivered == 0) return;
  tcb.prrDelivered += news.delivered;
  const pipe = pipeOf(tcb);
  const mss = tcb.sndMss;
  let send: u32 = 0;
  if (pipe > tcb.ssthresh) {
    const share = <u64>tcb.prrDelivered * <u64>tcb.ssthresh + <u64>tcb.prrFlight - 1;
    const due = <u32>(share / <u64>tcb.prrFlight);
    send = due > tcb.prrOut ? due - tcb.prrOut : 0;
  } else {
    const owed = tcb.prrDelivered > tcb.prrOut ? tcb.prrDelivered - tcb.prrOut : 0;
    send = max(owed, news.delivered);
    // Recovery makes progress and nothing more is lost: catch up as slow start would.
    if (news.acked != 0 && !news.hasLoss) send += mss;
    send = min(send, tcb.ssthresh - pipe);
  }
  // The first repeat goes out whatever the numbers say.
  if (tcb.prrOut == 0) send = max(send, mss);
  tcb.cwnd = max(pipe + send, mss);
}

function leaveRecovery(tcb: Tcb): void {
  const wasFast = tcb.has(F_RECOVERY);
  if (wasFast) tcb.cwnd = tcb.ssthresh;
  tcb.unset(F_RECOVERY | F_LOSS | F_RTX_DUE);
  tcb.dupAcks = 0;
  if (!tcb.has(F_SACK)) tcb.sackedBytes = 0;
  // Bytes sent since may be lost for good reasons, but those are found out anew.
  if (tcb.lostBytes != 0 && !tcb.has(F_SACK)) unmarkAll(tcb, SENT_LOST);
  onRecoveryEnd(tcb);
  tcb.recover = tcb.sndUna;
  tcb.undoEnd = tcb.sndNxt;
}

/* ---- timeout ---- */

/** The retransmission timer fired (RFC 5681 §3.1, RFC 6675 §5.1, RFC 8985 §6.3, TCP-55). */
export function onTimeout(tcb: Tcb): void {
  count(STAT_RTO_FIRED);
  if (tcb.retries == 1) {
    // Within a recovery the window was reduced already for what was in flight then.
    if (!tcb.has(F_RECOVERY)) {
      rememberForUndo(tcb);
      reduceThreshold(tcb, tcb.flight);
    }
  } else {
    tcb.unset(F_UNDO);
  }
  // RFC 2018 §8: a client may have thrown away what it SACKed.
  const isSuspect = tcb.retries > 1 || isReneging(tcb) || !tcb.has(F_SACK);
  if (isSuspect) forgetSacks(tcb);
  tcb.dupAcks = 0;
  tcb.cwnd = tcb.sndMss;
  tcb.caAcked = 0;
  for (let i: u32 = 0; i < tcb.sentCount; i++) {
    const sent = sentAt(tcb, i);
    if (sent.has(SENT_SACKED | SENT_LOST)) continue;
    if (i == 0 || isSuspect || isOverdue(tcb, sent)) markLost(tcb, sent);
  }
  tcb.unset(F_RECOVERY | F_TLP_SENT);
  tcb.set(F_LOSS | F_RTX_DUE);
  tcb.recover = tcb.sndNxt;
  tcb.reoAt = NEVER;
}

/** The path takes less than was sent: everything again in smaller pieces, at the same speed. */
export function onSmallerPath(tcb: Tcb): void {
  if (tcb.flight == 0) return;
  const window = tcb.cwnd;
  tcb.unset(F_LOSS | F_UNDO);
  markLostTo(tcb, tcb.sndNxt);
  beginRecovery(tcb, 0);
  tcb.ssthresh = max(window, tcb.sndMss << 1);
  tcb.cwnd = tcb.ssthresh;
}

/* ---- tail loss probe, RFC 8985 §7.4 ---- */

/** An answer to the probe: if it repaired a loss, the window is reduced for it. */
function endProbe(tcb: Tcb, news: AckNews): void {
  if (seqLt(tcb.sndUna, tcb.tlpEnd)) return;
  if (tcb.tlpIsRepeat != 0 && !news.hasDsack) {
    if (seqGt(tcb.sndUna, tcb.tlpEnd)) {
      reduceThreshold(tcb, min(tcb.cwnd, max(news.pipeBefore, tcb.cwnd >> 1)));
      tcb.cwnd = min(tcb.cwnd, tcb.ssthresh);
    } else if (news.acked != 0 || news.hasSacked) {
      // Both transmissions may still be answered: the next ACK tells.
      return;
    }
  }
  tcb.unset(F_TLP_SENT);
}

/* ---- taking a reduction back ---- */

function rememberForUndo(tcb: Tcb): void {
  tcb.set(F_UNDO);
  tcb.undoFrom = tcb.sndUna;
  tcb.undoEnd = tcb.sndNxt;
  tcb.undoBytes = 0;
  tcb.undoTs = 0;
  tcb.priorCwnd = tcb.cwnd;
  tcb.priorSsthresh = tcb.ssthresh;
  tcb.priorCubicMax = tcb.cubicMax;
}

/** RFC 3522 §3.2: an ACK for the original transmission says that nothing was lost. */
function undoByTime(tcb: Tcb, news: AckNews): void {
  if (!isRecovering(tcb)) {
    // D-SACKs for what was repeated come within a round trip after the recovery.
    if (seqGe(tcb.sndUna, tcb.undoEnd)) tcb.unset(F_UNDO);
    return;
  }
  if (!tcb.has(F_TS) || tcb.undoTs == 0 || !news.hasTsecr) return;
  // The low bit of undoTs only says that there is one; a tie is no proof.
  if (seqLt(news.tsecr, tcb.undoTs & ~1)) {
    widenWindow(tcb);
    undo(tcb);
  }
  tcb.undoTs = 0;
}

/**
 * RFC 3708 §2, RFC 8985 §6.2: bytes were repeated for nothing. When that is true of all that were
 * repeated in this recovery, there was no loss.
 */
function onDsack(tcb: Tcb, news: AckNews): void {
  const isProbe = tcb.has(F_TLP_SENT) && news.dsackRight == tcb.tlpEnd;
  if (isProbe) return;
  widenWindow(tcb);
  if (!tcb.has(F_UNDO) || tcb.undoBytes == 0 || seqLt(news.dsackLeft, tcb.undoFrom)) return;
  tcb.undoBytes -= min(news.dsackRight - news.dsackLeft, tcb.undoBytes);
  if (tcb.undoBytes == 0) undo(tcb);
}

function undo(tcb: Tcb): void {
  count(STAT_SPURIOUS);
  tcb.ssthresh = max(tcb.ssthresh, tcb.priorSsthresh);
  tcb.cwnd = max(tcb.cwnd, tcb.priorCwnd);
  tcb.cubicMax = max(tcb.cubicMax, tcb.priorCubicMax);
  restartCurve(tcb);
  if (isRecovering(tcb)) {
    tcb.dupAcks = 0;
    unmarkAll(tcb, SENT_LOST);
    tcb.recover = tcb.sndUna;
  }
  tcb.unset(F_RECOVERY | F_LOSS | F_RTX_DUE | F_UNDO);
}

/* ---- what was sent ---- */

/** [seq, end) went out; what of it was in flight already was repeated. */
export function onSent(tcb: Tcb, seq: u32, end: u32, before: u32): void {
  if (seqLt(seq, before)) {
    const right = seqLe(end, before) ? end : before;
    noteRepeated(tcb, seq, right);
    if (tcb.has(F_UNDO)) {
      tcb.undoBytes += right - seq;
      if (tcb.undoTs == 0 && tcb.undoBytes == right - seq && tcb.has(F_TS)) {
        tcb.undoTs = timestampNow(tcb) | 1;
      }
    }
  }
  if (seqGt(end, before)) noteSent(tcb, seqLt(seq, before) ? before : seq, end);
  checkSent(tcb);
  if (!isRecovering(tcb)) return;
  tcb.prrOut += end - seq;
  if (seqLt(seq, before)) tcb.unset(F_RTX_DUE);
}
