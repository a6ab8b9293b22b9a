/**
 * What a flow may send, and when next. `nextAction` answers both, so they cannot disagree: either
 * there is something to send now, or a deadline. `serveFlow` does what it says until there is
 * nothing left. Nothing is ever held back to build larger packets (TCP-53, TCP-67).
 */
import {
  CFG_IDLE_MS,
  CFG_KEEPALIVE_IDLE_MS,
  REJECT_DROP,
  REJECT_RST,
  STAT_RETRANSMITS,
  TCP_LAST_ACK,
  TCP_CLOSING,
  TCP_SYN_RECEIVED,
} from "../layout";
import { NEVER, now } from "../mem/clock";
import { configUs } from "../mem/config";
import { count } from "../mem/stats";
import { armTimer, cancelTimer, flowTimer, timerDeadline } from "../mem/timers";
import { emitIcmpError } from "../ip/errors";
import { emitAck, emitData, emitRefusal, emitReset, emitSynAck, mostPayload } from "./emit";
import { carriable, unsentBytes } from "./queue";
import { noteLimited, restartAfterIdle } from "./congestion";
import { onSent, pipeOf } from "./recovery";
import { lostEnd, nextLost } from "./sent";
import { seqDistance, seqGe, seqGt, seqLt, seqMin } from "./seq";
import { isSynchronised } from "./state";
import {
  F_ACK_NOW,
  F_FIN_SENT,
  F_HASHED,
  F_KEEP_DUE,
  F_PERSIST,
  F_PROBE_DUE,
  F_REJECT_DUE,
  F_RST_DUE,
  F_RTX_DUE,
  F_SHUT,
  F_SYN_DUE,
  F_TLP_ARMED,
  F_TLP_DUE,
  F_WINDOW_DUE,
  Tcb,
} from "./tcb";
import { armPersist, armRetransmit } from "./timers";

const ACT_NONE: u32 = 0;
const ACT_SYN_ACK: u32 = 1;
const ACT_RESET: u32 = 2;
const ACT_REJECT: u32 = 3;
/** Bytes and FIN that were never sent; that were; a probe of the window or of the tail. */
const ACT_NEW: u32 = 4;
const ACT_RETRANSMIT: u32 = 5;
const ACT_PROBE: u32 = 6;
const ACT_KEEPALIVE: u32 = 7;
const ACT_ACK: u32 = 8;

/** CLOSING and LAST-ACK end after this at most (TCP-102). */
const CLOSING_US: f64 = 60000000.0;
/** Packets of one flow in a row, before others have their turn (FLOW-14). */
const TURN: u32 = 32;

/** Answers of `serveFlow`: nothing left; others' turn; TX is full. */
export const SERVED: u32 = 0;
const TURN_OVER: u32 = 1;
export const TX_FULL: u32 = 2;

/** What to send (ACT_…): payload [seq, seq + len), a FIN behind it. If nothing: the next deadline. */
@unmanaged
export class Action {
  kind: u32;
  seq: u32;
  len: u32;
  hasFin: bool;
  deadline: f64;
}

const scratch = changetype<Action>(memory.data(24, 8));
if (offsetof<Action>() > 24) ERROR("Action outgrew its room");

/** Fills `a` with what comes next for a flow. */
function nextAction(tcb: Tcb, a: Action): void {
  a.kind = ACT_NONE;
  a.seq = tcb.sndNxt;
  a.len = 0;
  a.hasFin = false;
  a.deadline = NEVER;
  if (tcb.has(F_REJECT_DUE)) a.kind = ACT_REJECT;
  else if (tcb.has(F_RST_DUE)) a.kind = ACT_RESET;
  else if (!tcb.has(F_HASHED)) return;
  else if (<u32>tcb.state == TCP_SYN_RECEIVED) planHandshake(tcb, a);
  else if (isSynchronised(tcb.state)) planSynchronised(tcb, a);
  if (a.kind == ACT_NONE) a.deadline = nextDeadlineOf(tcb);
}

function planHandshake(tcb: Tcb, a: Action): void {
  if (tcb.has(F_SYN_DUE)) a.kind = ACT_SYN_ACK;
  else if (tcb.has(F_ACK_NOW)) a.kind = ACT_ACK;
}

function planSynchronised(tcb: Tcb, a: Action): void {
  if (tcb.has(F_PROBE_DUE)) planProbe(tcb, a);
  else if (tcb.has(F_TLP_DUE)) planTail(tcb, a);
  else if (planRetransmit(tcb, a) || planNew(tcb, a)) return;
  else if (tcb.has(F_KEEP_DUE)) a.kind = ACT_KEEPALIVE;
  else if (tcb.has(F_ACK_NOW | F_WINDOW_DUE)) a.kind = ACT_ACK;
}

/** The client's window is shut or too small to be used: the next bytes, one at least (TCP-51). */
function planProbe(tcb: Tcb, a: Action): void {
  a.kind = ACT_PROBE;
  a.seq = tcb.sndUna;
  const left = seqDistance(tcb.sndUna, tcb.sndEnd);
  a.len = min(left, max(1, min(tcb.sndWnd, tcb.sndMss)));
  if (a.len != 0) a.len = carriable(tcb, a.seq, a.len, tcb.sndMss);
  a.hasFin = left == 0 && tcb.has(F_SHUT);
}

/** Tail loss probe (RFC 8985 §7.3): new data if the window has room, else the last segment again. */
function planTail(tcb: Tcb, a: Action): void {
  a.kind = ACT_PROBE;
  const room = seqDistance(tcb.sndNxt, tcb.sndUna + tcb.sndWnd);
  const fresh = min(unsentBytes(tcb), min(room, tcb.sndMss));
  if (fresh != 0) {
    a.len = carriable(tcb, a.seq, fresh, tcb.sndMss);
    return;
  }
  const dataEnd = tcb.has(F_FIN_SENT) ? tcb.sndEnd : tcb.sndNxt;
  a.hasFin = tcb.has(F_FIN_SENT);
  const most = seqDistance(tcb.sndUna, dataEnd);
  const len = min(most, tcb.sndMss);
  a.seq = dataEnd - len;
  a.len = len == 0 ? 0 : carriable(tcb, a.seq, len, tcb.sndMss);
  if (a.len != len) a.hasFin = false;
}

/** What is lost, as far as the congestion window allows (RFC 6675 §5, step C; RFC 8985 §6). */
function planRetransmit(tcb: Tcb, a: Action): bool {
  const seq = nextLost(tcb);
  if (seqGe(seq, tcb.sndNxt)) return false;
  const pipe = pipeOf(tcb);
  let room = tcb.cwnd > pipe ? tcb.cwnd - pipe : 0;
  if (room < tcb.sndMss) {
    if (!tcb.has(F_RTX_DUE)) return false;
    room = tcb.sndMss;
  }
  const end = lostEnd(tcb, seq, seq + mostPayload(tcb) + 1);
  const wanted = seqDistance(seq, seqMin(end, tcb.sndEnd));
  // A window that has shrunk is kept to; if it is shut, the timer probes it (TCP-50).
  const window = seqDistance(seq, tcb.sndUna + tcb.sndWnd);
  if (window == 0 && wanted != 0) return false;
  let len = min(min(wanted, window), mostPayload(tcb));
  if (len > room) len = room - (room % tcb.sndMss);
  if (len != 0) len = carriable(tcb, seq, len, tcb.sndMss);
  a.kind = ACT_RETRANSMIT;
  a.seq = seq;
  a.len = len;
  a.hasFin = seqGt(end, tcb.sndEnd) && seq + len == tcb.sndEnd;
  return true;
}

/** New data and FIN, as far as windows allow (RFC 9293 §3.8.6.2.1 without Nagle). */
function planNew(tcb: Tcb, a: Action): bool {
  const unsent = unsentBytes(tcb);
  const wantsFin = tcb.has(F_SHUT) && !tcb.has(F_FIN_SENT);
  if (unsent == 0) {
    if (!wantsFin) return false;
    a.kind = ACT_NEW;
    a.hasFin = true;
    return true;
  }
  const mss = tcb.sndMss;
  const window = seqDistance(tcb.sndNxt, tcb.sndUna + tcb.sndWnd);
  const pipe = pipeOf(tcb);
  const room = tcb.cwnd > pipe ? tcb.cwnd - pipe : 0;
  if (room < min(unsent, window)) noteLimited(tcb);
  let len = min(unsent, min(window, room));
  if (len < unsent) {
    // Whole segments; a smaller piece only if it is half of the largest window ever seen.
    if (len >= mss) len -= len % mss;
    else if (len != window || len == 0 || len < tcb.maxSndWnd >> 1) return false;
  }
  len = carriable(tcb, tcb.sndNxt, min(len, mostPayload(tcb)), mss);
  a.kind = ACT_NEW;
  a.len = len;
  a.hasFin = wantsFin && len == unsent;
  return true;
}

/** The earliest of a flow's deadlines. */
function nextDeadlineOf(tcb: Tcb): f64 {
  let at = min(min(min(tcb.rtxAt, tcb.reoAt), tcb.ackAt), min(tcb.closeAt, tcb.wantAt));
  if (isSynchronised(tcb.state)) at = min(at, aliveDeadline(tcb));
  return at;
}

/** When silence of the client is next acted upon: keepalive probe or idle limit (TCP-110, 112). */
export function aliveDeadline(tcb: Tcb): f64 {
  const idle = configUs(CFG_IDLE_MS);
  const keep = configUs(CFG_KEEPALIVE_IDLE_MS);
  let at = idle == 0 ? NEVER : tcb.lastInUs + idle;
  if (keep != 0 && tcb.flight == 0) {
    at = min(at, tcb.keepProbes == 0 ? tcb.lastInUs + keep : tcb.keepAt);
  }
  return at;
}

/** Sends for a flow until there is nothing left or its turn is over, then sets its timer. */
export function serveFlow(tcb: Tcb): u32 {
  const a = scratch;
  if (tcb.flight == 0 && isSynchronised(tcb.state)) restartAfterIdle(tcb);
  for (let sent: u32 = 0; sent < TURN; sent++) {
    nextAction(tcb, a);
    if (a.kind == ACT_NONE) {
      if (tcb.has(F_HASHED)) {
        armPersistIfStuck(tcb, a);
        setTimer(tcb, a.deadline);
      }
      return SERVED;
    }
    if (!act(tcb, a)) return TX_FULL;
  }
  return TURN_OVER;
}

/** Data waits and nothing is in flight whose ACK could start it: the window has to be probed. */
function armPersistIfStuck(tcb: Tcb, a: Action): void {
  if (!isSynchronised(tcb.state)) return;
  if (tcb.flight != 0 || unsentBytes(tcb) == 0 || tcb.rtxAt != NEVER) return;
  armPersist(tcb);
  a.deadline = min(a.deadline, tcb.rtxAt);
}

function setTimer(tcb: Tcb, deadline: f64): void {
  const id = flowTimer(tcb.index);
  if (deadline == NEVER) cancelTimer(id);
  else if (timerDeadline(id) != deadline) armTimer(id, deadline);
}

/** Does what `nextAction` said; false if TX is full. */
function act(tcb: Tcb, a: Action): bool {
  switch (a.kind) {
    case ACT_SYN_ACK: {
      if (!emitSynAck(tcb)) return false;
      tcb.unset(F_SYN_DUE | F_ACK_NOW);
      return true;
    }
    case ACT_RESET: {
      if (!emitReset(tcb)) return false;
      tcb.unset(F_RST_DUE);
      return true;
    }
    case ACT_REJECT:
      return emitReject(tcb);
    case ACT_KEEPALIVE: {
      if (!emitAck(tcb, tcb.sndNxt - 1)) return false;
      tcb.unset(F_KEEP_DUE);
      return true;
    }
    case ACT_ACK: {
      if (!emitAck(tcb, tcb.sndNxt)) return false;
      tcb.unset(F_WINDOW_DUE);
      return true;
    }
    default:
      return actData(tcb, a);
  }
}

function emitReject(tcb: Tcb): bool {
  const how = <u32>tcb.rejectHow;
  if (how == REJECT_RST) {
    if (!emitRefusal(tcb)) return false;
  } else if (how != REJECT_DROP) {
    // Not sent because of its rate or the SYN's source: then it is silence.
    emitIcmpError(tcb.family, how, 0, tcb.synCopy, tcb.quoteLen);
  }
  tcb.unset(F_REJECT_DUE);
  return true;
}

function actData(tcb: Tcb, a: Action): bool {
  if (!emitData(tcb, a.seq, a.len, a.hasFin)) return false;
  const end = a.seq + a.len + (a.hasFin ? 1 : 0);
  const before = tcb.sndNxt;
  const isRepeat = seqLt(a.seq, before);
  if (tcb.has(F_TLP_DUE)) tcb.tlpIsRepeat = isRepeat ? 1 : 0;
  tcb.unset(F_PROBE_DUE | F_TLP_DUE);
  if (seqGt(end, tcb.sndNxt)) {
    tcb.bytesOut += <f64>seqDistance(tcb.sndNxt, seqMin(end, tcb.sndEnd));
    tcb.sndNxt = end;
  }
  if (a.hasFin) onFinSent(tcb);
  if (end != a.seq) onSent(tcb, a.seq, end, before);
  tcb.lastSentUs = now();
  if (isRepeat) {
    tcb.retransmits++;
    count(STAT_RETRANSMITS);
  }
  if (a.kind == ACT_NEW && tcb.has(F_PERSIST)) {
    tcb.unset(F_PERSIST);
    tcb.rtxAt = NEVER;
  }
  // The probe of the tail waits for the last of the data (RFC 8985 §7.2).
  const isTail = a.kind == ACT_NEW && tcb.has(F_TLP_ARMED);
  // What everything waits for was sent again: it has a timeout of its own.
  const isHead = a.kind == ACT_RETRANSMIT && a.seq == tcb.sndUna;
  if (tcb.rtxAt == NEVER || isTail || isHead) armRetransmit(tcb);
  return true;
}

function onFinSent(tcb: Tcb): void {
  tcb.set(F_FIN_SENT);
  const state = <u32>tcb.state;
  if (tcb.closeAt != NEVER) return;
  if (state == TCP_LAST_ACK || state == TCP_CLOSING) tcb.closeAt = now() + CLOSING_US;
}
