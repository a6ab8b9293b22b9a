/**
 * Timers of a flow (RFC 6298 §5, RFC 9293 §3.8): one timer for all, set by `flush` to the earliest
 * of the deadlines in the record. When it is due, each deadline that has passed takes effect once,
 * however late the call is (DET-4); what has to be sent is sent by the next `flush`.
 */
import {
  CFG_DATA_RETRIES,
  CFG_FIN_WAIT_2_MS,
  CFG_IDLE_MS,
  CFG_KEEPALIVE_COUNT,
  CFG_KEEPALIVE_INTERVAL_MS,
  CFG_SYN_ACK_RETRIES,
  CLOSE_EVICTED,
  CLOSE_IDLE,
  CLOSE_PENDING,
  CLOSE_TIMEOUT,
  REJECT_HOST_UNREACHABLE,
  STAT_FLOWS_EVICTED,
  STAT_TLP_PROBES,
  TCP_FIN_WAIT_2,
  TCP_PENDING,
  TCP_SYN_RECEIVED,
} from "../layout";
import { NEVER, now } from "../mem/clock";
import { config, configUs } from "../mem/config";
import { count } from "../mem/stats";
import { closeFlow, isAlive, resetFlow } from "./close";
import { markDirty } from "./dirty";
import { rejectFlow } from "./listen";
import { wakeWriter } from "./queue";
import { onReorderTimer, onTimeout } from "./recovery";
import { rtoNow } from "./rtt";
import { aliveDeadline } from "./send";
import { isSynchronised } from "./state";
import {
  F_ACK_NOW,
  F_KEEP_DUE,
  F_LOSS,
  F_ORPHAN,
  F_PERSIST,
  F_PROBE_DUE,
  F_RECOVERY,
  F_SACK,
  F_SYN_DUE,
  F_SYN_REPEATED,
  F_TLP_ARMED,
  F_TLP_DUE,
  F_TLP_SENT,
  F_WANT_WRITE,
  Tcb,
} from "./tcb";
import { isPressed } from "./window";

/** RFC 8985 §7.2: a probe of the tail not before this, and with one segment the client may delay. */
const PROBE_US_MIN: f64 = 10000.0;
const PROBE_DELAYED_US: f64 = 50000.0;
/** TCP-51: first window probe not before this. */
const PERSIST_US_MIN: f64 = 200000.0;
/** DOS-11: a window that stays shut for so long gives way when memory is short. */
const STALL_US_MAX: f64 = 30000000.0;

/** Something is in flight: sets the deadline for its ACK, the tail's probe first if that pays. */
export function armRetransmit(tcb: Tcb): void {
  const rto = rtoNow(tcb);
  tcb.unset(F_TLP_ARMED | F_PERSIST);
  tcb.rtxAt = now() + rto;
  if (!tcb.has(F_SACK) || tcb.srttUs == 0) return;
  if (tcb.has(F_RECOVERY | F_LOSS | F_TLP_SENT) || tcb.backoff != 0) return;
  // RFC 8985 §7.2: with reports of holes, RACK's deadline is nearer.
  if (tcb.sackedBytes != 0) return;
  let wait = max(<f64>tcb.srttUs * 2.0, PROBE_US_MIN);
  if (tcb.flight <= tcb.sndMss) wait += PROBE_DELAYED_US;
  if (wait >= rto) return;
  tcb.set(F_TLP_ARMED);
  tcb.rtxAt = now() + wait;
}

/** Data waits for a window: sets the deadline of the first probe. */
export function armPersist(tcb: Tcb): void {
  tcb.backoff = 0;
  tcb.persists = 0;
  tcb.stalledAt = now();
  tcb.set(F_PERSIST);
  tcb.unset(F_TLP_ARMED);
  tcb.rtxAt = now() + max(rtoNow(tcb), PERSIST_US_MIN);
}

/** A flow's timer is due. */
export function onFlowTimer(tcb: Tcb): void {
  if (!isAlive(tcb)) return;
  markDirty(tcb);
  const at = now();
  if (tcb.closeAt <= at) {
    onCloseDeadline(tcb);
    return;
  }
  if (tcb.reoAt <= at) onReorderTimer(tcb);
  if (tcb.rtxAt <= at) onRetransmitDeadline(tcb);
  if (!isAlive(tcb)) return;
  if (tcb.ackAt <= at) {
    tcb.ackAt = NEVER;
    tcb.set(F_ACK_NOW);
  }
  if (tcb.wantAt <= at) {
    tcb.wantAt = NEVER;
    if (tcb.has(F_WANT_WRITE)) wakeWriter(tcb);
  }
  if (isSynchronised(tcb.state) && aliveDeadline(tcb) <= at) onSilence(tcb);
}

/** The pending deadline, or that of a state that must not last (FLOW-5, TCP-97, TCP-102). */
function onCloseDeadline(tcb: Tcb): void {
  if (<u32>tcb.state == TCP_PENDING) rejectFlow(tcb, REJECT_HOST_UNREACHABLE, CLOSE_PENDING);
  else resetFlow(tcb, CLOSE_TIMEOUT);
}

function onRetransmitDeadline(tcb: Tcb): void {
  tcb.rtxAt = NEVER;
  if (<u32>tcb.state == TCP_SYN_RECEIVED) {
    repeatSynAck(tcb);
    return;
  }
  if (!isSynchronised(tcb.state)) return;
  if (tcb.has(F_PERSIST) || tcb.sndWnd == 0) {
    probeWindow(tcb);
    return;
  }
  if (tcb.flight == 0) return;
  if (tcb.has(F_TLP_ARMED)) {
    count(STAT_TLP_PROBES);
    tcb.unset(F_TLP_ARMED);
    tcb.set(F_TLP_DUE | F_TLP_SENT);
    tcb.tlpEnd = tcb.sndNxt;
    tcb.rtxAt = now() + rtoNow(tcb);
    return;
  }
  tcb.retries++;
  if (<u32>tcb.retries > config(CFG_DATA_RETRIES)) {
    resetFlow(tcb, CLOSE_TIMEOUT);
    return;
  }
  tcb.backoff++;
  onTimeout(tcb);
  tcb.rtxAt = now() + rtoNow(tcb);
}

/** TCP-14: then the client is taken to be gone, and nothing is sent. */
function repeatSynAck(tcb: Tcb): void {
  tcb.retries++;
  if (<u32>tcb.retries > config(CFG_SYN_ACK_RETRIES)) {
    closeFlow(tcb, CLOSE_TIMEOUT);
    return;
  }
  tcb.backoff++;
  tcb.set(F_SYN_DUE | F_SYN_REPEATED);
  tcb.rtxAt = now() + rtoNow(tcb);
}

/** TCP-51: goes on for ever while the client answers and memory is not short (DOS-11). */
function probeWindow(tcb: Tcb): void {
  if (!tcb.has(F_PERSIST)) tcb.stalledAt = now();
  if (isPressed() && now() - tcb.stalledAt >= STALL_US_MAX) {
    count(STAT_FLOWS_EVICTED);
    resetFlow(tcb, CLOSE_EVICTED);
    return;
  }
  tcb.persists++;
  if (<u32>tcb.persists > config(CFG_DATA_RETRIES)) {
    resetFlow(tcb, CLOSE_TIMEOUT);
    return;
  }
  tcb.backoff = min(tcb.backoff + 1, 30);
  tcb.set(F_PERSIST | F_PROBE_DUE);
  tcb.unset(F_TLP_ARMED);
  tcb.rtxAt = now() + max(rtoNow(tcb), PERSIST_US_MIN);
}

/** Nothing was heard from the client for long (TCP-110, TCP-112, TCP-113). */
function onSilence(tcb: Tcb): void {
  const idle = configUs(CFG_IDLE_MS);
  if (idle != 0 && tcb.lastInUs + idle <= now()) {
    resetFlow(tcb, CLOSE_IDLE);
    return;
  }
  if (<u32>tcb.keepProbes >= config(CFG_KEEPALIVE_COUNT)) {
    resetFlow(tcb, CLOSE_TIMEOUT);
    return;
  }
  tcb.keepProbes++;
  tcb.keepAt = now() + configUs(CFG_KEEPALIVE_INTERVAL_MS);
  tcb.set(F_KEEP_DUE);
}

/** FIN-WAIT-2 lasts for as long as upstream can take data, but not without one (TCP-97). */
export function armOrphan(tcb: Tcb): void {
  if (!tcb.has(F_ORPHAN)) return;
  if (<u32>tcb.state == TCP_FIN_WAIT_2) tcb.closeAt = now() + configUs(CFG_FIN_WAIT_2_MS);
}
