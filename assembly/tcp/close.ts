/**
 * Ends of flows. A connection that is over leaves the table and its timer at once. EV_CLOSED is
 * raised then, or, after an orderly end, when the host has taken the last bytes. What is lent to
 * the host stays until it releases the record.
 */
import {
  CLOSE_DONE,
  CLOSE_HOST,
  EV_CLOSED,
  GAUGE_UNRELEASED,
  STAT_FLOWS_CLOSED,
  TCP_CLOSED,
  TCP_TIME_WAIT,
} from "../layout";
import { count, gauge, setGauge } from "../mem/stats";
import { cancelTimer, flowTimer } from "../mem/timers";
import { giveFlow } from "../flow/flow";
import { removeFlow } from "../flow/demux";
import { markDirty } from "./dirty";
import { clearHoles } from "./holes";
import { unlist } from "./half-open";
import { raiseFlow } from "./notify";
import { clearQueue, releaseQueue } from "./queue";
import { clearSent } from "./sent";
import { setState } from "./state";
import { enterTimeWait } from "./time-wait";
import { blankDeadlines, F_DRAINING, F_HASHED, F_LISTED, F_ORPHAN, F_RST_DUE, Tcb } from "./tcb";

/** Whether a connection stands behind the record. */
export function isAlive(tcb: Tcb): bool {
  return tcb.has(F_HASHED);
}

/** The connection is over: no packet finds the record any more, and it has nothing to send. */
function detach(tcb: Tcb): void {
  if (tcb.has(F_LISTED)) unlist(tcb);
  removeFlow(tcb);
  tcb.unset(F_HASHED);
  cancelTimer(flowTimer(tcb.index));
  blankDeadlines(tcb);
  clearHoles(tcb);
  clearSent(tcb);
  clearQueue(tcb);
  markDirty(tcb);
}

/** Ends a connection at once, without a packet: `code` is CLOSE_…. */
export function closeFlow(tcb: Tcb, code: u32): void {
  if (!isAlive(tcb)) return;
  detach(tcb);
  setState(tcb, TCP_CLOSED);
  tcb.rcv.clear(tcb.rcvLent);
  announce(tcb, code);
}

/** Ends a connection with a RST to the client (TCP-79, TCP-98). */
export function resetFlow(tcb: Tcb, code: u32): void {
  if (!isAlive(tcb)) return;
  tcb.set(F_RST_DUE);
  closeFlow(tcb, code);
}

/** Both directions are closed and acknowledged; `toTimeWait` if we closed first (RFC 9293 §3.6). */
export function finishFlow(tcb: Tcb, toTimeWait: bool): void {
  if (toTimeWait) enterTimeWait(tcb);
  detach(tcb);
  setState(tcb, toTimeWait ? TCP_TIME_WAIT : TCP_CLOSED);
  if (tcb.rcvBytes != 0 && !tcb.has(F_ORPHAN)) tcb.set(F_DRAINING);
  else announce(tcb, CLOSE_DONE);
}

/** The host took bytes of a flow whose connection is over. */
export function drainFlow(tcb: Tcb): void {
  if (tcb.rcvBytes != 0) return;
  tcb.unset(F_DRAINING);
  announce(tcb, CLOSE_DONE);
}

/** The host gives up a flow whose connection is over, with bytes that it has not taken. */
export function abandonFlow(tcb: Tcb): void {
  if (!tcb.has(F_DRAINING)) return;
  tcb.unset(F_DRAINING);
  tcb.rcv.clear(tcb.rcvLent);
  announce(tcb, CLOSE_HOST);
}

function announce(tcb: Tcb, code: u32): void {
  count(STAT_FLOWS_CLOSED);
  if (tcb.has(F_ORPHAN)) {
    freeBuffers(tcb);
    return;
  }
  setGauge(GAUGE_UNRELEASED, gauge(GAUGE_UNRELEASED) + 1);
  raiseFlow(tcb, EV_CLOSED, code);
}

/** Gives back all buffers, the lent ones too. */
export function freeBuffers(tcb: Tcb): void {
  releaseQueue(tcb);
  tcb.rcv.clear(0);
  tcb.rcvLent = 0;
}

/** Gives the record back. It is not in any list, and its handle is stale. */
export function freeRecord(tcb: Tcb): void {
  assert(!isAlive(tcb));
  assert(tcb.rcvList == 0);
  assert(tcb.sndList == 0);
  giveFlow(tcb);
}
