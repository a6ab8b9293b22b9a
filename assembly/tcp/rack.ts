/**
 * RACK, RFC 8985: a segment is lost if one that was sent later has arrived, and the time for which
 * the network may reorder has passed since. Works on the table of sent.ts; needs SACK.
 *
 * DEVIATION: §6.2 step 4 lets the reordering window be zero as soon as three segments are SACKED.
 * Here it is zero only within a recovery: one super-packet that overtook another one is as many
 * segments as one likes, and reordering of up to a quarter of a round trip must not cost anything
 * (TCP-59). New data goes out meanwhile for what left the network, so that waiting costs no rate.
 */
import { NEVER, now } from "../mem/clock";
import { AckNews, RTT_NONE, ticksSince } from "./board";
import { markLost, sendClock, Sent, sentAt, SENT_LOST, SENT_REPEATED, SENT_SACKED } from "./sent";
import { seqGt, seqLt, seqMax } from "./seq";
import { F_LOSS, F_RECOVERY, Tcb, timestampNow } from "./tcb";

/** §6.2 step 4: quarters of the window; recoveries for which a larger window is kept. */
const REO_STEPS_MAX: u32 = 255;
const REO_PERSIST: u32 = 16;
/** A minimum of the round trip is believed for so long. */
const MIN_RTT_US: f64 = 300000000.0;

/** A new connection. */
export function initRack(tcb: Tcb): void {
  tcb.rackRttUs = RTT_NONE;
  tcb.minRttUs = RTT_NONE;
  tcb.reoSteps = 1;
  tcb.rackFack = tcb.sndUna;
  tcb.reoAt = NEVER;
}

/** §6.2 step 1: the shortest round trip of late. */
export function takeMinRtt(tcb: Tcb, us: u32): void {
  if (us > tcb.minRttUs && now() - tcb.minRttAt < MIN_RTT_US) return;
  tcb.minRttUs = us;
  tcb.minRttAt = now();
}

/**
 * Whether the segment of rackAt was sent after another one. At the same time, repeats and first
 * transmissions go in the order of their bytes each, but a repeat is not compared with a first one.
 */
function isBeforeRack(tcb: Tcb, at: u32, end: u32, isRepeat: bool): bool {
  if (at != tcb.rackAt) return seqGt(tcb.rackAt, at);
  return isRepeat == (tcb.rackIsRepeat != 0) && seqGt(tcb.rackEnd, end);
}

/** §6.2 steps 2 and 3: what lies before `end` in a record has just been reported as arrived. */
export function onDelivered(tcb: Tcb, sent: Sent, end: u32, news: AckNews): void {
  const rtt = sendClock() - sent.at;
  if (sent.has(SENT_REPEATED)) {
    // Which of the transmissions arrived? Not this one, if that would be too fast.
    if (rtt < tcb.minRttUs && tcb.minRttUs != RTT_NONE) return;
    if (news.hasTsecr && seqLt(news.tsecr, timestampNow(tcb) - ticksSince(rtt))) return;
  } else {
    if (rtt < news.rttUs) news.rttUs = rtt;
    if (seqLt(end, tcb.rackFack)) tcb.isReordered = 1;
  }
  tcb.rackFack = seqMax(tcb.rackFack, end);
  const isRepeat = sent.has(SENT_REPEATED);
  if (tcb.rackRttUs != RTT_NONE) {
    const isLater = sent.at == tcb.rackAt ? seqGt(end, tcb.rackEnd) : seqGt(sent.at, tcb.rackAt);
    if (!isLater) return;
  }
  tcb.rackIsRepeat = isRepeat ? 1 : 0;
  tcb.rackAt = sent.at;
  tcb.rackEnd = end;
  tcb.rackRttUs = rtt;
}

/** §6.2 step 4: how much later than others a segment may arrive. */
function reorderingWindow(tcb: Tcb): u32 {
  if (tcb.isReordered == 0 && tcb.has(F_RECOVERY | F_LOSS)) return 0;
  if (tcb.minRttUs == RTT_NONE) return 0;
  const us = (<u64>tcb.minRttUs * <u64>tcb.reoSteps) >> 2;
  return <u32>min(us, <u64>tcb.srttUs);
}

/** §6.2 step 5: marks what is lost by now; true if anything is. Sets the deadline for the rest. */
export function detectByTime(tcb: Tcb): bool {
  tcb.reoAt = NEVER;
  if (tcb.rackRttUs == RTT_NONE) return false;
  const clock = sendClock();
  const wait = tcb.rackRttUs + reorderingWindow(tcb);
  let later: u32 = 0;
  let isAny = false;
  for (let i: u32 = 0; i < tcb.sentCount; i++) {
    const sent = sentAt(tcb, i);
    if (sent.has(SENT_SACKED | SENT_LOST)) continue;
    if (!isBeforeRack(tcb, sent.at, sent.right, sent.has(SENT_REPEATED))) {
      // What was sent once lies in the order of sending: all that follows was sent later still.
      if (!sent.has(SENT_REPEATED)) break;
      continue;
    }
    const age = clock - sent.at;
    if (age >= wait) {
      markLost(tcb, sent);
      isAny = true;
    } else {
      later = max(later, wait - age);
    }
  }
  if (later != 0) tcb.reoAt = now() + <f64>later;
  return isAny;
}

/** §6.3: at a timeout, what has not been in the network for longer than a round trip is not lost. */
export function isOverdue(tcb: Tcb, sent: Sent): bool {
  if (tcb.rackRttUs == RTT_NONE) return true;
  return sendClock() - sent.at >= tcb.rackRttUs;
}

/**
 * §6.2 step 4: a D-SACK says that something was repeated for nothing: once a round trip, the window
 * grows by a quarter of the shortest round trip, and is kept for some recoveries.
 */
export function widenWindow(tcb: Tcb): void {
  tcb.reoPersist = <u8>REO_PERSIST;
  tcb.isReordered = 1;
  if (tcb.reoIsWide != 0 && seqLt(tcb.sndUna, tcb.reoRound)) return;
  tcb.reoIsWide = 1;
  tcb.reoRound = tcb.sndNxt;
  if (<u32>tcb.reoSteps < REO_STEPS_MAX) tcb.reoSteps++;
}

/** SND.UNA has moved: the positions that are remembered stay near it. */
export function followUna(tcb: Tcb): void {
  tcb.rackFack = seqMax(tcb.rackFack, tcb.sndUna);
  if (tcb.reoIsWide != 0 && !seqLt(tcb.sndUna, tcb.reoRound)) tcb.reoIsWide = 0;
}

/** A recovery is over. */
export function onRecoveryEnd(tcb: Tcb): void {
  if (tcb.reoPersist == 0) return;
  tcb.reoPersist--;
  if (tcb.reoPersist == 0) tcb.reoSteps = 1;
}
