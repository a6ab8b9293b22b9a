/**
 * The user calls of RFC 9293 §3.10 as the host makes them: CLOSE of our direction, ABORT, and the
 * end of its interest.
 */
import { CLOSE_HOST, ERR_STATE, TCP_CLOSE_WAIT, TCP_ESTABLISHED, TCP_FIN_WAIT_1 } from "../layout";
import {
  GAUGE_UNRELEASED,
  REJECT_RST,
  STAT_FLOWS_CLOSED,
  TCP_LAST_ACK,
  TCP_PENDING,
} from "../layout";
import { count, gauge, setGauge } from "../mem/stats";
import { isQueued } from "../flow/events";
import { retireHandle } from "../flow/flow";
import { abandonFlow, freeBuffers, isAlive, resetFlow } from "./close";
import { markDirty } from "./dirty";
import { rejectFlow } from "./listen";
import { endReserve } from "./queue";
import { setState } from "./state";
import { F_DRAINING, F_ORPHAN, F_RELEASED, F_SHUT, Tcb } from "./tcb";
import { armOrphan } from "./timers";

/** No more bytes of ours: the FIN follows what is queued (RFC 9293 §3.10.4). */
export function shutFlow(tcb: Tcb): void {
  tcb.set(F_SHUT);
  endReserve(tcb);
  beginClose(tcb);
  markDirty(tcb);
}

/** The state that a queued FIN leads to. In SYN-RECEIVED it waits for ESTABLISHED. */
export function beginClose(tcb: Tcb): void {
  if (<u32>tcb.state == TCP_ESTABLISHED) setState(tcb, TCP_FIN_WAIT_1);
  else if (<u32>tcb.state == TCP_CLOSE_WAIT) setState(tcb, TCP_LAST_ACK);
}

/**
 * The host gives the flow up: a RST, or the refusal of a SYN that was not answered. A flow whose
 * connection is over already loses the bytes that the host has not taken.
 */
export function abortFlow(tcb: Tcb): void {
  if (!isAlive(tcb)) abandonFlow(tcb);
  else if (<u32>tcb.state == TCP_PENDING) rejectFlow(tcb, REJECT_RST, CLOSE_HOST);
  else resetFlow(tcb, CLOSE_HOST);
}

/**
 * The host lets go of the record. Of a connection that lives, it says that upstream is gone for
 * good: what is queued and a FIN still go out, unless bytes of the client are lost by it (RFC 9293
 * §3.6.1), and no event follows. ERR_STATE: it has to decide on the SYN, or to take events first.
 */
export function releaseFlow(tcb: Tcb): i32 {
  if (<u32>tcb.state == TCP_PENDING || isQueued(tcb.ptr)) return ERR_STATE;
  if (isAlive(tcb)) {
    orphan(tcb);
  } else {
    if (tcb.has(F_DRAINING)) count(STAT_FLOWS_CLOSED);
    else setGauge(GAUGE_UNRELEASED, gauge(GAUGE_UNRELEASED) - 1);
    tcb.unset(F_DRAINING);
    freeBuffers(tcb);
  }
  tcb.set(F_RELEASED);
  retireHandle(tcb);
  markDirty(tcb);
  return 0;
}

function orphan(tcb: Tcb): void {
  tcb.set(F_ORPHAN);
  if (tcb.rcvBytes != 0) {
    resetFlow(tcb, CLOSE_HOST);
    return;
  }
  if (!tcb.has(F_SHUT)) shutFlow(tcb);
  armOrphan(tcb);
}
