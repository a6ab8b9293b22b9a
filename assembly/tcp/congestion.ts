/**
 * Congestion control: how the congestion window grows, and what becomes of it after a loss. By
 * bytes acknowledged, without the limit of RFC 3465, because one ACK stands for a whole
 * super-packet (TCP-60, TCP-68); initial window of ten segments (RFC 6928). CFG_CONGESTION selects
 *
 *   NewReno   RFC 5681: a segment a round trip, half after a loss
 *   CUBIC     RFC 9438: a cubic function of the time since the last loss, 0.7 after one
 *
 * Both leave the first slow start by HyStart++ (RFC 9406), before the bottleneck's queue is full.
 * When something was lost is recovery.ts's business.
 */
import { CFG_CONGESTION, CFG_SEND_BUFFER_MAX_BYTES, CONGESTION_CUBIC } from "../layout";
import { now } from "../mem/clock";
import { config } from "../mem/config";
import { RTT_NONE } from "./board";
import { rtoNow } from "./rtt";
import { seqLt, seqMax } from "./seq";
import { Tcb } from "./tcb";

const INITIAL_SEGMENTS: u32 = 10;
const CWND_MAX: u32 = 1 << 30;

/** RFC 9438 §4.1, §4.2: C in segments a second cubed, what is kept after a loss, Reno's slope. */
const CUBIC_C: f64 = 0.4;
const CUBIC_BETA: f64 = 0.7;
const CUBIC_ALPHA: f64 = (3.0 * (1.0 - CUBIC_BETA)) / (1.0 + CUBIC_BETA);
const SECOND_US: f64 = 1000000.0;

/** RFC 9406 §4.3. */
const HYSTART_SAMPLES: u32 = 8;
const HYSTART_THRESH_US_MIN: u32 = 4000;
const HYSTART_THRESH_US_MAX: u32 = 16000;
const CSS_GROWTH_DIVISOR: u32 = 4;
const CSS_ROUNDS: u32 = 5;

function isCubic(): bool {
  return config(CFG_CONGESTION) == CONGESTION_CUBIC;
}

/** The window of a new connection, and after a long silence. */
function initialWindow(tcb: Tcb): u32 {
  return tcb.sndMss * INITIAL_SEGMENTS;
}

/** A new connection's windows. */
export function initWindow(tcb: Tcb): void {
  tcb.cwnd = initialWindow(tcb);
  tcb.ssthresh = CWND_MAX;
  tcb.caAcked = 0;
  tcb.cubicMax = 0;
  tcb.cubicAt = 0.0;
  tcb.roundMinUs = RTT_NONE;
  tcb.lastRoundMinUs = RTT_NONE;
  tcb.roundSamples = 0;
  tcb.cssRounds = 0;
  tcb.roundEnd = tcb.sndNxt;
  tcb.limitedTill = tcb.sndUna;
}

/** Least ssthresh and cwnd after a loss, RFC 5681 §3.1. */
function leastWindow(tcb: Tcb): u32 {
  return tcb.sndMss << 1;
}

/**
 * A loss was found: sets ssthresh, and what CUBIC remembers (RFC 5681 §3.1, RFC 9438 §4.6, §4.7).
 * `flight` is what was in the network before.
 */
export function reduceThreshold(tcb: Tcb, flight: u32): void {
  tcb.caAcked = 0;
  tcb.cssRounds = 0;
  if (!isCubic()) {
    tcb.ssthresh = max(flight >> 1, leastWindow(tcb));
    return;
  }
  const window = <f64>flight;
  // Fast convergence: who meets a loss earlier than the last time leaves room for others.
  const isLower = flight < tcb.cubicMax;
  tcb.cubicMax = isLower ? <u32>((window * (1.0 + CUBIC_BETA)) / 2.0) : flight;
  tcb.cubicPrior = flight;
  tcb.cubicAt = 0.0;
  tcb.ssthresh = max(<u32>(window * CUBIC_BETA), leastWindow(tcb));
}

/** A reduction was taken back: CUBIC begins a new curve from where it was. */
export function restartCurve(tcb: Tcb): void {
  tcb.cubicAt = 0.0;
}

/**
 * The window alone kept data from going out: until all that is in flight now is acknowledged, it
 * may grow (RFC 9293 §3.8.2, RFC 7661 §4.3 in spirit). Told apart when sending, because a batch of
 * ACKs empties the network before anything is sent again.
 */
export function noteLimited(tcb: Tcb): void {
  tcb.limitedTill = tcb.sndNxt;
}

/** Whether the window was full when what SEG.ACK has just acknowledged, `acked` bytes, was sent. */
export function wasLimited(tcb: Tcb, acked: u32): bool {
  return seqLt(tcb.sndUna - acked, tcb.limitedTill);
}

/** SND.UNA has moved and was acted upon. */
export function endLimited(tcb: Tcb): void {
  tcb.limitedTill = seqMax(tcb.limitedTill, tcb.sndUna);
}

/** `acked` bytes arrived: grows a window that was used. */
export function growWindow(tcb: Tcb, acked: u32): void {
  const most = max(config(CFG_SEND_BUFFER_MAX_BYTES) << 1, tcb.sndMss << 2);
  if (tcb.cwnd >= most) return;
  let rest = acked;
  if (tcb.cwnd < tcb.ssthresh) {
    const step = tcb.cssRounds != 0 ? acked / CSS_GROWTH_DIVISOR : acked;
    const grown = min(min(tcb.cwnd + step, tcb.ssthresh), most);
    if (grown < tcb.ssthresh) {
      tcb.cwnd = grown;
      return;
    }
    rest = tcb.cwnd + step - grown;
    tcb.cwnd = grown;
  }
  if (isCubic()) growCubic(tcb, rest);
  else growReno(tcb, rest);
  tcb.cwnd = min(tcb.cwnd, most);
}

/** RFC 5681 §3.1: a segment for each window acknowledged. */
function growReno(tcb: Tcb, acked: u32): void {
  tcb.caAcked += acked;
  if (tcb.caAcked < tcb.cwnd) return;
  tcb.caAcked = min(tcb.caAcked - tcb.cwnd, tcb.cwnd);
  tcb.cwnd += tcb.sndMss;
}

/** RFC 9438 §4.2 to §4.5. */
function growCubic(tcb: Tcb, acked: u32): void {
  if (acked == 0) return;
  const mss = <f64>tcb.sndMss;
  const window = <f64>tcb.cwnd;
  if (tcb.cubicAt == 0.0) {
    tcb.cubicAt = now();
    tcb.cubicRenoBytes = window;
    if (tcb.cwnd < tcb.cubicMax) {
      tcb.cubicK = Math.cbrt((<f64>tcb.cubicMax - window) / mss / CUBIC_C);
    } else {
      tcb.cubicK = 0.0;
      tcb.cubicMax = tcb.cwnd;
    }
  }
  // §4.3: what Reno would have by now, its slope made to fit the smaller reduction.
  const slope = tcb.cubicRenoBytes >= <f64>tcb.cubicPrior ? 1.0 : CUBIC_ALPHA;
  tcb.cubicRenoBytes += (slope * <f64>acked * mss) / window;
  const elapsed = now() - tcb.cubicAt;
  const ahead = cubicBytes(tcb, elapsed + <f64>tcb.srttUs);
  let grown = window;
  if (cubicBytes(tcb, elapsed) < tcb.cubicRenoBytes) grown = max(window, tcb.cubicRenoBytes);
  else {
    const target = min(max(ahead, window), window * 1.5);
    grown = window + ((target - window) * <f64>acked) / window;
  }
  // Bytes that make no whole one are kept for the next ACK.
  const exact = min(grown, window * 1.5) + <f64>tcb.caAcked / 65536.0;
  tcb.cwnd = <u32>exact;
  tcb.caAcked = <u32>((exact - <f64>tcb.cwnd) * 65536.0);
}

/** W_cubic of §4.2 after `us` microseconds, in bytes. */
function cubicBytes(tcb: Tcb, us: f64): f64 {
  const t = us / SECOND_US - tcb.cubicK;
  return CUBIC_C * t * t * t * <f64>tcb.sndMss + <f64>tcb.cubicMax;
}

/**
 * HyStart++, RFC 9406 §4.2, after each ACK of the first slow start: when round trips get longer the
 * window grows slower, and if they stay longer for five rounds, slow start is over.
 */
export function watchRounds(tcb: Tcb, rttUs: u32): void {
  if (tcb.cwnd >= tcb.ssthresh || tcb.ssthresh != CWND_MAX) return;
  if (rttUs != RTT_NONE) {
    tcb.roundMinUs = min(tcb.roundMinUs, rttUs);
    if (<u32>tcb.roundSamples < HYSTART_SAMPLES) tcb.roundSamples++;
  }
  const isKnown = <u32>tcb.roundSamples >= HYSTART_SAMPLES;
  if (isKnown && tcb.cssRounds == 0 && tcb.lastRoundMinUs != RTT_NONE) {
    const part = tcb.lastRoundMinUs >> 3;
    const thresh = min(max(part, HYSTART_THRESH_US_MIN), HYSTART_THRESH_US_MAX);
    if (tcb.roundMinUs >= tcb.lastRoundMinUs + thresh) {
      tcb.cssBaseUs = tcb.roundMinUs;
      tcb.cssRounds = 1;
    }
  } else if (isKnown && tcb.cssRounds != 0 && tcb.roundMinUs < tcb.cssBaseUs) {
    // It was jitter: slow start goes on.
    tcb.cssRounds = 0;
  }
  if (seqLt(tcb.sndUna, tcb.roundEnd)) return;
  tcb.roundEnd = tcb.sndNxt;
  tcb.lastRoundMinUs = tcb.roundMinUs;
  tcb.roundMinUs = RTT_NONE;
  tcb.roundSamples = 0;
  if (tcb.cssRounds == 0) return;
  tcb.cssRounds++;
  if (<u32>tcb.cssRounds > CSS_ROUNDS) tcb.ssthresh = tcb.cwnd;
}

/**
 * RFC 5681 §4.1: nothing was sent for longer than the timeout, so that the window says nothing
 * about the path any more. It grows back fast up to three quarters of what it was (RFC 7661
 * §4.4.3).
 */
export function restartAfterIdle(tcb: Tcb): void {
  if (now() - tcb.lastSentUs < rtoNow(tcb)) return;
  const least = initialWindow(tcb);
  if (tcb.cwnd <= least) return;
  tcb.ssthresh = max(tcb.ssthresh, tcb.cwnd - (tcb.cwnd >> 2));
  tcb.cwnd = least;
  tcb.cubicAt = 0.0;
}
