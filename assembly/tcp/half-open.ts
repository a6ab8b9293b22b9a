/**
 * Flows that are not established, oldest first: those that wait for the host (pending: dials in
 * progress) and those that wait for the client's ACK. Over the bounds the oldest gives way without
 * a packet and its dial is called off (DOS-1): to refuse the newcomer instead would let a thousand
 * SYNs to a black hole lock everybody out.
 */
import {
  CFG_DIALS,
  CFG_HALF_OPEN,
  CLOSE_EVICTED,
  GAUGE_HALF_OPEN,
  GAUGE_PENDING,
  STAT_FLOWS_EVICTED,
  TCP_PENDING,
} from "../layout";
import { config } from "../mem/config";
import { count, gauge } from "../mem/stats";
import { closeFlow } from "./close";
import { F_LISTED, Tcb } from "./tcb";

let pendingHead: Tcb | null = null;
let pendingTail: Tcb | null = null;
let halfHead: Tcb | null = null;
let halfTail: Tcb | null = null;

/** Empties both lists. */
export function initHalfOpen(): void {
  pendingHead = null;
  pendingTail = null;
  halfHead = null;
  halfTail = null;
}

/** Adds a flow to the list of its state. */
export function list(tcb: Tcb): void {
  const isPending = <u32>tcb.state == TCP_PENDING;
  const tail = isPending ? pendingTail : halfTail;
  tcb.set(F_LISTED);
  tcb.listNext = 0;
  tcb.listPrev = <u32>changetype<usize>(tail);
  if (tail) tail.listNext = <u32>tcb.ptr;
  if (isPending) {
    if (!tail) pendingHead = tcb;
    pendingTail = tcb;
  } else {
    if (!tail) halfHead = tcb;
    halfTail = tcb;
  }
}

/** Takes a flow off its list. */
export function unlist(tcb: Tcb): void {
  const next = changetype<Tcb | null>(<usize>tcb.listNext);
  const prev = changetype<Tcb | null>(<usize>tcb.listPrev);
  tcb.unset(F_LISTED);
  if (next) next.listPrev = tcb.listPrev;
  if (prev) prev.listNext = tcb.listNext;
  if (pendingHead == tcb) pendingHead = next;
  if (pendingTail == tcb) pendingTail = prev;
  if (halfHead == tcb) halfHead = next;
  if (halfTail == tcb) halfTail = prev;
}

/** Makes room for one more flow that waits for the host. */
export function makeRoom(): void {
  const pending = gauge(GAUGE_PENDING);
  if (pending >= config(CFG_DIALS)) evict(pendingHead);
  if (gauge(GAUGE_PENDING) + gauge(GAUGE_HALF_OPEN) < config(CFG_HALF_OPEN)) return;
  const a = pendingHead;
  const b = halfHead;
  if (!a) evict(b);
  else if (!b) evict(a);
  else evict(a.openedUs <= b.openedUs ? a : b);
}

function evict(tcb: Tcb | null): void {
  if (!tcb) return;
  count(STAT_FLOWS_EVICTED);
  closeFlow(tcb, CLOSE_EVICTED);
}
