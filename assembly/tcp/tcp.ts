/**
 * TCP's entrance for the stack. No TCP is here: segments are dropped and counted, and no handle
 * names a flow.
 */
import { DROP_TCP_NO_FLOW, ERR_STALE } from "../layout";
import { QuotedSegment } from "../ip/icmp";
import { Packet } from "../ip/packet";
import { count } from "../mem/stats";

export function tcpInit(): void {}
export function tcpInput(p: Packet): void {
  count(DROP_TCP_NO_FLOW);
}
export function tcpTimer(flowIndex: u32): void {}
export function tcpTimeWaitTimer(): void {}
export function tcpFlush(): bool {
  return false;
}
export function tcpTooBig(quoted: QuotedSegment): void {}
export function tcpAccept(handle: u32): i32 {
  return ERR_STALE;
}
export function tcpReject(handle: u32, how: u32): i32 {
  return ERR_STALE;
}
export function tcpRecvPeek(handle: u32): i32 {
  return ERR_STALE;
}
export function tcpRecvConsume(handle: u32, bytes: u32): i32 {
  return ERR_STALE;
}
export function tcpSendReserve(handle: u32, want: u32): i32 {
  return ERR_STALE;
}
export function tcpSendCommit(handle: u32, bytes: u32): i32 {
  return ERR_STALE;
}
export function tcpShutdown(handle: u32): i32 {
  return ERR_STALE;
}
export function tcpAbort(handle: u32): i32 {
  return ERR_STALE;
}
export function tcpRelease(handle: u32): i32 {
  return ERR_STALE;
}
export function tcpCloseAll(): i32 {
  return 0;
}
