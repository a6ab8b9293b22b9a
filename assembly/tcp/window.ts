/**
 * The receive window (RFC 9293 §3.8.6). Its right edge is what the host consumed plus the receive
 * buffer's size: only consumption opens it (TCP-45). It never moves left (TCP-42), and moves right
 * in worthwhile steps only (§3.8.6.2.2). The buffer grows with what is consumed in a round trip
 * (TCP-46), so that a fast reader is never limited by it.
 */
import {
  CFG_BUFFER_CAP_BYTES,
  CFG_MTU,
  CFG_RECV_BUFFER_BYTES,
  CFG_RECV_BUFFER_MAX_BYTES,
  FLAG_NO_AUTOTUNE,
  TCP_TIME_WAIT,
} from "../layout";
import { bufferedBytes } from "../mem/block";
import { now } from "../mem/clock";
import { config, hasFlag } from "../mem/config";
import { flowsUsed } from "../flow/flow";
import { seqDistance, seqGt, seqMax } from "./seq";
import { F_ACK_NOW, F_SCALE, F_WINDOW_DUE, Tcb } from "./tcb";

/** Shortest interval over which consumption is measured. */
const TUNE_US: f64 = 1000.0;
const WINDOW_MAX: u32 = 65535;
const SCALE_MAX: u32 = 14;

/** Our MSS option: the device's MTU less both headers (TCP-2). */
export function ownMss(family: u32): u32 {
  return min(config(CFG_MTU) - (family == 4 ? 40 : 60), 65495);
}

/** The shift that the largest receive buffer needs (RFC 7323 §2.3). */
function ownScale(): u32 {
  let scale: u32 = 0;
  while (scale < SCALE_MAX && WINDOW_MAX << scale < config(CFG_RECV_BUFFER_MAX_BYTES)) scale++;
  return scale;
}

/** Whether buffers may grow: not while three quarters of the cap are in use (DOS-12). */
export function mayGrow(): bool {
  const cap = config(CFG_BUFFER_CAP_BYTES);
  return bufferedBytes() < cap - (cap >> 2);
}

/** Whether memory is short: seven eighths of the cap are in use. */
export function isPressed(): bool {
  const cap = config(CFG_BUFFER_CAP_BYTES);
  return bufferedBytes() > cap - (cap >> 3);
}

/** Gives a new connection its receive buffer and the window of its SYN-ACK (TCP-45, TCP-6). */
export function openWindow(tcb: Tcb): void {
  const cap = config(CFG_BUFFER_CAP_BYTES);
  const free = cap - min(bufferedBytes(), cap);
  const share = free / (flowsUsed() << 2);
  const most = tcb.has(F_SCALE) ? config(CFG_RECV_BUFFER_MAX_BYTES) : WINDOW_MAX;
  const wanted = max(min(config(CFG_RECV_BUFFER_BYTES), share), ownMss(tcb.family) << 1);
  tcb.rcvBuf = min(wanted, most);
  tcb.rcvScale = tcb.has(F_SCALE) ? <u8>ownScale() : 0;
  tcb.rcvAdv = tcb.rcvNxt + min(tcb.rcvBuf, WINDOW_MAX);
  tcb.tuneAt = now();
}

/** Bytes that the client may send beyond RCV.NXT. */
export function windowOf(tcb: Tcb): u32 {
  return seqDistance(tcb.rcvNxt, tcb.rcvAdv);
}

/** Where the right edge could be. */
function rightEdge(tcb: Tcb): u32 {
  const taken = tcb.rcvNxt - tcb.rcvBytes;
  return seqMax(tcb.rcvAdv, taken + tcb.rcvBuf);
}

/** The window field of a segment that goes out now; the edge moves if the step is worth it. */
export function takeWindowField(tcb: Tcb): u32 {
  const edge = rightEdge(tcb);
  const step = edge - tcb.rcvAdv;
  const scale = <u32>tcb.rcvScale;
  // In TIME-WAIT the edge is what the record of it says.
  const isOpen = <u32>tcb.state != TCP_TIME_WAIT;
  const isWorth = isOpen && step >= min(ownMss(tcb.family), tcb.rcvBuf >> 1);
  const window = seqDistance(tcb.rcvNxt, isWorth ? edge : tcb.rcvAdv);
  const field = min(window >> scale, WINDOW_MAX);
  const told = tcb.rcvNxt + (field << scale);
  if (seqGt(told, tcb.rcvAdv)) tcb.rcvAdv = told;
  tcb.unset(F_WINDOW_DUE);
  return field;
}

/** After consumption: tunes the buffer, and has the new edge told if it moved enough (TCP-43). */
export function onConsumed(tcb: Tcb, bytes: u32): void {
  tune(tcb, bytes);
  const step = rightEdge(tcb) - tcb.rcvAdv;
  const mss = ownMss(tcb.family);
  const wasShut = windowOf(tcb) < mss;
  const enough = min(wasShut ? mss : mss << 1, tcb.rcvBuf >> 2);
  // A window that cannot be told in units of its scale is no news.
  if (step >= max(enough, (<u32>1) << tcb.rcvScale)) {
    tcb.set(F_WINDOW_DUE);
    if (wasShut) tcb.set(F_ACK_NOW);
  }
}

/** Twice what was consumed in a round trip is what the buffer should hold. */
function tune(tcb: Tcb, bytes: u32): void {
  tcb.tuneBytes += bytes;
  const elapsed = now() - tcb.tuneAt;
  if (elapsed < max(TUNE_US, <f64>tcb.srttUs)) return;
  const wanted = <u32>min((<u64>tcb.tuneBytes) << 1, <u64>config(CFG_RECV_BUFFER_MAX_BYTES));
  tcb.tuneBytes = 0;
  tcb.tuneAt = now();
  if (wanted <= tcb.rcvBuf || hasFlag(FLAG_NO_AUTOTUNE) || !mayGrow()) return;
  tcb.rcvBuf = tcb.has(F_SCALE) ? wanted : min(wanted, WINDOW_MAX);
}
