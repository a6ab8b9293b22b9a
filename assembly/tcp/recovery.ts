/**
 * Congestion control and loss recovery: NewReno by bytes acknowledged (RFC 5681, RFC 6582, RFC 3465
 * without its limit, because one ACK stands for a whole super-packet), window of 10 segments at the
 * start (RFC 6928), SACK-based recovery (RFC 6675).
 *
 * Losses are one number, `lostEdge`: all before it that is not SACKed is lost. `highRxt` says how
 * far these were retransmitted. So what is in the network ("pipe", RFC 6675 §4) is a difference,
 * and the same numbers serve fast recovery (F_RECOVERY), recovery after a timeout (F_LOSS: all that
 * was in flight is lost) and clients without SACK (each duplicate ACK stands for a segment). RACK
 * (RFC 8985 §6) would only compute `lostEdge` in another way.
 */
import {
  CFG_SEND_BUFFER_MAX_BYTES,
  STAT_FAST_RECOVERIES,
  STAT_RTO_FIRED,
  STAT_SPURIOUS,
} from "../layout";
import { config } from "../mem/config";
import { count } from "../mem/stats";
import { clearBoard, isReneging, lossEdge, nextSacked, nextUnsacked, sackedAt } from "./board";
import { unsackedBytes } from "./board";
import { stopRtt } from "./rtt";
import { Segment } from "./segment";
import { seqDistance, seqGe, seqGt, seqLe, seqLt, seqMax } from "./seq";
import { F_LOSS, F_RECOVERY, F_RTX_DUE, F_SACK, F_TLP_SENT, F_TS, Tcb, timestampNow } from "./tcb";

const INITIAL_SEGMENTS: u32 = 10;
/** RFC 5681 §3.2. */
const DUP_ACKS: u32 = 3;
const CWND_MAX: u32 = 1 << 30;

/** A new connection's windows. */
export function initCongestion(tcb: Tcb): void {
  tcb.cwnd = tcb.sndMss * INITIAL_SEGMENTS;
  tcb.ssthresh = CWND_MAX;
  tcb.caAcked = 0;
  tcb.dupAcks = 0;
  settle(tcb);
}

/**
 * No recovery: the numbers stay near SND.UNA, so that comparisons never wrap. A recovery that is
 * just over leaves `recover` at SND.UNA (see `mayTrustDuplicates`).
 */
function settle(tcb: Tcb): void {
  tcb.recover = tcb.sndUna - 1;
  tcb.highRxt = tcb.sndUna;
  tcb.lostEdge = tcb.sndUna;
}

function isRecovering(tcb: Tcb): bool {
  return tcb.has(F_RECOVERY | F_LOSS);
}

/** Bytes that are in the network as far as we know (RFC 6675 §4, SetPipe). */
export function pipeOf(tcb: Tcb): u32 {
  const pipe = tcb.flight - min(tcb.sackedBytes, tcb.flight);
  if (!isRecovering(tcb)) return pipe;
  const lost = unsackedBytes(tcb, seqMax(tcb.highRxt, tcb.sndUna), tcb.lostEdge);
  return pipe - min(lost, pipe);
}

/** SND.UNA moved by `acked`; `flight` is what was in flight before. */
export function onAdvance(tcb: Tcb, acked: u32, flight: u32, seg: Segment): void {
  undoIfSpurious(tcb, seg);
  tcb.unset(F_TLP_SENT);
  if (!isRecovering(tcb)) {
    tcb.dupAcks = 0;
    if (!tcb.has(F_SACK)) tcb.sackedBytes = 0;
    settle(tcb);
    grow(tcb, acked, flight);
    return;
  }
  if (seqGe(tcb.sndUna, tcb.recover)) {
    leaveRecovery(tcb);
    return;
  }
  tcb.highRxt = seqMax(tcb.highRxt, tcb.sndUna);
  tcb.lostEdge = seqMax(tcb.lostEdge, tcb.sndUna);
  if (tcb.has(F_LOSS)) grow(tcb, acked, tcb.cwnd);
  else if (!tcb.has(F_SACK)) onPartialAck(tcb, acked);
}

/** RFC 6582 §3.2, step 3: the next segment is lost too; what was acknowledged left the network. */
function onPartialAck(tcb: Tcb, acked: u32): void {
  const segments = max(acked / tcb.sndMss, 1) - 1;
  tcb.dupAcks -= min(segments, tcb.dupAcks);
  countDuplicates(tcb);
  tcb.highRxt = tcb.sndUna;
  tcb.lostEdge = tcb.sndUna + min(tcb.sndMss, tcb.flight);
  tcb.set(F_RTX_DUE);
}

function leaveRecovery(tcb: Tcb): void {
  if (tcb.has(F_RECOVERY)) tcb.cwnd = tcb.ssthresh;
  tcb.unset(F_RECOVERY | F_LOSS | F_RTX_DUE);
  tcb.dupAcks = 0;
  if (!tcb.has(F_SACK)) tcb.sackedBytes = 0;
  settle(tcb);
  tcb.recover = tcb.sndUna;
}

/**
 * RFC 6582 §3.2, step 1: without SACK, duplicate ACKs right after a recovery may be the answers to
 * what was retransmitted for nothing.
 */
function mayTrustDuplicates(tcb: Tcb): bool {
  return tcb.has(F_SACK) || seqGt(tcb.sndUna, tcb.recover);
}

/** RFC 5681 §3.1, by bytes; only while the window is used (RFC 7661 §4.3 in spirit). */
function grow(tcb: Tcb, acked: u32, flight: u32): void {
  if (flight < tcb.cwnd >> 1) return;
  const most = max(config(CFG_SEND_BUFFER_MAX_BYTES) << 1, tcb.sndMss << 2);
  if (tcb.cwnd >= most) return;
  if (tcb.cwnd < tcb.ssthresh) {
    tcb.cwnd = min(tcb.cwnd + acked, most);
    return;
  }
  tcb.caAcked += acked;
  if (tcb.caAcked < tcb.cwnd) return;
  tcb.caAcked -= tcb.cwnd;
  tcb.cwnd = min(tcb.cwnd + tcb.sndMss, most);
}

/** A duplicate ACK by RFC 5681 §2 arrived from a client, with or without SACK. */
export function onDuplicateAck(tcb: Tcb): void {
  // More duplicates than there were segments in flight when the first came are made up (TCP-68).
  const inFlight = isRecovering(tcb) ? seqDistance(tcb.sndUna, tcb.recover) : tcb.flight;
  const most = inFlight / tcb.sndMss + 1;
  if (tcb.dupAcks < most) tcb.dupAcks++;
  if (!tcb.has(F_SACK)) countDuplicates(tcb);
}

/** Without SACK, each duplicate ACK says that one segment has left the network. */
function countDuplicates(tcb: Tcb): void {
  const most = tcb.flight > tcb.sndMss ? tcb.flight - tcb.sndMss : 0;
  tcb.sackedBytes = min(tcb.dupAcks * tcb.sndMss, most);
}

/** After each ACK: finds out what is lost, and enters recovery if anything is. */
export function detectLoss(tcb: Tcb): void {
  if (tcb.flight == 0) return;
  let edge = tcb.has(F_SACK) ? lossEdge(tcb) : tcb.sndUna;
  if (tcb.dupAcks >= DUP_ACKS && mayTrustDuplicates(tcb)) {
    edge = seqMax(edge, tcb.sndUna + min(tcb.sndMss, tcb.flight));
  }
  // The answer to a tail loss probe says that all before it is lost (RFC 8985 §7.4).
  if (tcb.has(F_TLP_SENT)) edge = seqMax(edge, sackedAt(tcb, tcb.tlpEnd, tcb.sndUna));
  if (seqLe(edge, tcb.sndUna)) return;
  if (isRecovering(tcb)) {
    if (tcb.has(F_SACK)) tcb.lostEdge = seqMax(tcb.lostEdge, edge);
    return;
  }
  count(STAT_FAST_RECOVERIES);
  rememberForUndo(tcb);
  tcb.ssthresh = max(tcb.flight >> 1, tcb.sndMss << 1);
  tcb.cwnd = tcb.ssthresh;
  tcb.caAcked = 0;
  enter(tcb, F_RECOVERY, edge);
}

function enter(tcb: Tcb, flag: u32, edge: u32): void {
  tcb.unset(F_RECOVERY | F_LOSS | F_TLP_SENT);
  tcb.set(flag | F_RTX_DUE);
  tcb.recover = tcb.sndNxt;
  tcb.highRxt = tcb.sndUna;
  tcb.lostEdge = edge;
  stopRtt(tcb);
}

/** The retransmission timer fired (RFC 5681 §3.1, RFC 6675 §5.1): all in flight is lost. */
export function onTimeout(tcb: Tcb): void {
  count(STAT_RTO_FIRED);
  if (tcb.retries == 1) {
    rememberForUndo(tcb);
    tcb.ssthresh = max(tcb.flight >> 1, tcb.sndMss << 1);
  } else {
    tcb.undoTs = 0;
  }
  // RFC 2018 §8: a client may have thrown away what it SACKed.
  if (tcb.retries > 1 || isReneging(tcb)) clearBoard(tcb);
  if (!tcb.has(F_SACK)) tcb.sackedBytes = 0;
  tcb.dupAcks = 0;
  tcb.cwnd = tcb.sndMss;
  tcb.caAcked = 0;
  enter(tcb, F_LOSS, tcb.sndNxt);
}

/** The path takes less than was sent: everything again in smaller pieces, at the same speed. */
export function onSmallerPath(tcb: Tcb): void {
  if (tcb.flight == 0) return;
  tcb.ssthresh = max(tcb.ssthresh, tcb.sndMss << 1);
  enter(tcb, F_RECOVERY, tcb.sndNxt);
  tcb.undoTs = 0;
  tcb.ssthresh = tcb.cwnd;
}

function rememberForUndo(tcb: Tcb): void {
  tcb.undoTs = tcb.has(F_TS) ? timestampNow(tcb) | 1 : 0;
  tcb.priorCwnd = tcb.cwnd;
  tcb.priorSsthresh = tcb.ssthresh;
}

/**
 * Eifel, RFC 3522 §3.2: an ACK for the original transmission says that nothing was lost (TCP-59).
 */
function undoIfSpurious(tcb: Tcb, seg: Segment): void {
  if (tcb.undoTs == 0 || !isRecovering(tcb) || !seg.hasTimestamps) return;
  // The low bit of undoTs only says that there is one; a tie is no proof.
  if (seqLt(seg.options.tsecr, tcb.undoTs & ~1)) {
    count(STAT_SPURIOUS);
    tcb.ssthresh = tcb.priorSsthresh;
    tcb.cwnd = max(tcb.cwnd, tcb.priorCwnd);
    tcb.unset(F_RECOVERY | F_LOSS | F_RTX_DUE);
    tcb.dupAcks = 0;
    settle(tcb);
  }
  tcb.undoTs = 0;
}

/**
 * The next lost byte that was not retransmitted in this recovery (RFC 6675 §4, NextSeg rule 1), or
 * SND.NXT if there is none.
 */
export function nextLost(tcb: Tcb): u32 {
  if (!isRecovering(tcb)) return tcb.sndNxt;
  const seq = nextUnsacked(tcb, seqMax(tcb.highRxt, tcb.sndUna));
  return seqLt(seq, tcb.lostEdge) ? seq : tcb.sndNxt;
}

/** Where the lost bytes that begin at `seq` end. */
export function lostEnd(tcb: Tcb, seq: u32): u32 {
  return nextSacked(tcb, seq, tcb.lostEdge);
}

/** [seq, end) was retransmitted. */
export function onRetransmitted(tcb: Tcb, end: u32): void {
  tcb.unset(F_RTX_DUE);
  if (seqGt(end, tcb.highRxt)) tcb.highRxt = end;
  stopRtt(tcb);
}
