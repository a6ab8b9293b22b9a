/**
 * Events of flows. An orphan has nobody to tell; when it is over, its record is free.
 */
import { raise } from "../flow/events";
import { F_ORPHAN, Tcb } from "./tcb";

/** Raises EV_… bits for the host that stands behind a flow. */
export function raiseFlow(tcb: Tcb, bits: u32, code: u32): void {
  if (!tcb.has(F_ORPHAN)) raise(tcb.ptr, bits, code);
}
