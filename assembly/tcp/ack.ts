/**
 * The ACK field (RFC 9293 §3.10.7.4, step 5; RFC 5961 §5): frees what is acknowledged, measures,
 * feeds recovery, takes the window, and tells when our FIN has arrived.
 */
import { DROP_TCP_ACK, TCP_CLOSING, TCP_FIN_WAIT_1, TCP_FIN_WAIT_2, TCP_LAST_ACK } from "../layout";
import { NEVER } from "../mem/clock";
import { count } from "../mem/stats";
import { FIN } from "../wire/tcp";
import { AckNews, beginNews, pruneSent, RTT_NONE, takeSacks } from "./board";
import { challenge } from "./challenge";
import { finishFlow } from "./close";
import { freeQueue } from "./queue";
import { onAck, pipeOf } from "./recovery";
import { sampleRtt } from "./rtt";
import { Segment } from "./segment";
import { seqDistance, seqGt, seqLe, seqLt, seqMin } from "./seq";
import { setState } from "./state";
import { F_FIN_SENT, F_PERSIST, F_SACK, F_TS, Tcb } from "./tcb";
import { armOrphan, armRetransmit } from "./timers";

/** True if the segment may go on to its text; false if its ACK is unacceptable. */
export function checkAckRange(tcb: Tcb, seg: Segment): bool {
  const tooHigh = seqGt(seg.ack, tcb.sndNxt);
  // RFC 5961 §5.2: an ACK that is older than any window is a blind guess.
  const tooLow = seqLt(seg.ack, tcb.sndUna - tcb.maxSndWnd);
  if (!tooHigh && !tooLow) return true;
  count(DROP_TCP_ACK);
  challenge(tcb);
  return false;
}

/** Takes an acceptable ACK; false if it ended the connection. */
export function takeAck(tcb: Tcb, seg: Segment): bool {
  const isAdvance = seqGt(seg.ack, tcb.sndUna);
  const hasSacks = tcb.has(F_SACK) && seg.options.sackCount != 0;
  tcb.persists = 0;
  // Data of the client while nothing of ours is in flight.
  if (!isAdvance && !hasSacks && tcb.flight == 0) {
    takeWindow(tcb, seg, false);
    return true;
  }
  const news = beginNews(tcb, seg, pipeOf(tcb));
  if (hasSacks) takeSacks(tcb, seg, news);
  const isDuplicate = !isAdvance && !tcb.has(F_SACK) && isDuplicateAck(tcb, seg);
  if (isAdvance) advance(tcb, seg, news);
  takeWindow(tcb, seg, isAdvance);
  onAck(tcb, news, isDuplicate);
  if (isAdvance) armAfterAck(tcb);
  return isAdvance ? afterAck(tcb) : true;
}

/** RFC 5681 §2: says nothing but that something arrived that was not the next. */
function isDuplicateAck(tcb: Tcb, seg: Segment): bool {
  if (seg.ack != tcb.sndUna || tcb.sndNxt == tcb.sndUna) return false;
  if (seg.len != 0 || seg.has(FIN)) return false;
  return seg.wnd << tcb.sndScale == tcb.sndWnd;
}

/** SND.UNA moves to SEG.ACK. */
function advance(tcb: Tcb, seg: Segment, news: AckNews): void {
  const acked = seg.ack - tcb.sndUna;
  freeQueue(tcb, seqDistance(tcb.sndUna, seqMin(seg.ack, tcb.sndEnd)));
  tcb.sndUna = seg.ack;
  tcb.retries = 0;
  pruneSent(tcb, news);
  news.acked = acked;
  // Without timestamps, an ACK for something retransmitted does not end the doubling (Karn).
  if (news.rttUs != RTT_NONE || tcb.has(F_TS)) tcb.backoff = 0;
  if (news.rttUs != RTT_NONE) sampleRtt(tcb, news.rttUs);
}

/** RFC 6298 §5.2, §5.3: the deadline begins anew with each ACK of new data. */
function armAfterAck(tcb: Tcb): void {
  if (tcb.flight != 0) armRetransmit(tcb);
  else tcb.rtxAt = NEVER;
}

/**
 * Takes the window from segments that are newer than the last one it came from (TCP-66). An ACK
 * that advances is newer whatever its sequence number: it may fill a hole, behind segments that
 * arrived before it, and the window that they told would then reach too far from the new SND.UNA.
 */
function takeWindow(tcb: Tcb, seg: Segment, isAdvance: bool): void {
  if (seqLt(seg.ack, tcb.sndUna)) return;
  if (!isAdvance) {
    if (seqLt(seg.seq, tcb.sndWl1)) return;
    if (tcb.sndWl1 == seg.seq && seqLt(seg.ack, tcb.sndWl2)) return;
  }
  tcb.sndWnd = seg.wnd << tcb.sndScale;
  tcb.sndWl1 = seg.seq;
  tcb.sndWl2 = seg.ack;
  if (tcb.sndWnd > tcb.maxSndWnd) tcb.maxSndWnd = tcb.sndWnd;
  // An open window ends the probing; what was probed with is in flight like other data.
  if (tcb.sndWnd == 0 || !tcb.has(F_PERSIST)) return;
  tcb.unset(F_PERSIST);
  tcb.backoff = 0;
  tcb.rtxAt = NEVER;
  if (tcb.flight != 0) armRetransmit(tcb);
}

/** Whether our FIN is acknowledged. */
export function isFinAcked(tcb: Tcb): bool {
  return tcb.has(F_FIN_SENT) && tcb.sndUna == tcb.sndNxt && seqLe(tcb.sndEnd + 1, tcb.sndUna);
}

/** State changes that an ACK of our FIN makes; false if the connection is over. */
function afterAck(tcb: Tcb): bool {
  if (!isFinAcked(tcb)) return true;
  switch (<u32>tcb.state) {
    case TCP_FIN_WAIT_1:
      setState(tcb, TCP_FIN_WAIT_2);
      armOrphan(tcb);
      return true;
    case TCP_CLOSING:
      finishFlow(tcb, true);
      return false;
    case TCP_LAST_ACK:
      finishFlow(tcb, false);
      return false;
    default:
      return true;
  }
}
