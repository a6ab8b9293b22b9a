/**
 * Flows that `flush` has to look at, in the order in which something happened to them. A flow is in
 * the list once. Everything that changes a flow marks it: `flush` also sets its timer.
 */
import { F_DIRTY, Tcb } from "./tcb";

let head: Tcb | null = null;
let tail: Tcb | null = null;

/** Empties the list. */
export function initDirty(): void {
  head = null;
  tail = null;
}

/** Puts a flow at the end of the list, if it is not in it. */
export function markDirty(tcb: Tcb): void {
  if (tcb.has(F_DIRTY)) return;
  tcb.set(F_DIRTY);
  tcb.dirtyNext = 0;
  const last = tail;
  if (last) last.dirtyNext = <u32>tcb.ptr;
  else head = tcb;
  tail = tcb;
}

/** Takes the first flow off the list, or null. */
export function takeDirty(): Tcb | null {
  const tcb = head;
  if (!tcb) return null;
  head = changetype<Tcb | null>(<usize>tcb.dirtyNext);
  if (!head) tail = null;
  tcb.unset(F_DIRTY);
  return tcb;
}

/** Puts a flow back to the front: its turn was cut short. */
export function returnDirty(tcb: Tcb): void {
  if (tcb.has(F_DIRTY)) return;
  tcb.set(F_DIRTY);
  tcb.dirtyNext = <u32>changetype<usize>(head);
  head = tcb;
  if (!tail) tail = tcb;
}
