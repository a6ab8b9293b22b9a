/**
 * TCP's entrance: what the stack calls.
 *
 * Theory of operation. The stack is the server of every connection that comes out of the TUN. A
 * segment becomes facts (segment.ts), finds its flow (flow/demux) and goes through the RFC's steps
 * (arrive.ts), or makes a flow (listen.ts), or belongs to a TIME-WAIT record, or is refused
 * (reset.ts). Input, host calls and timers only change records and mark them dirty (dirty.ts); all
 * segments of flows leave in `tcpFlush`, where one function says what may be sent and when next
 * (send.ts). So a batch of input makes at most one ACK a flow, and data carries it if there is any.
 *
 * Received bytes stay where they arrived until the host consumed them; only that opens the window
 * (window.ts). Bytes to send lie in blocks that the host filled, and segments point into them
 * (queue.ts). Losses are repaired by SACK, duplicate ACKs or timeout (recovery.ts).
 *
 * Bounds: flows, half-open flows, TIME-WAIT records, ranges of both scoreboards, buffers of a flow
 * and of all; work for a segment is at most proportional to its own ranges (HOLE_MAX).
 */
import {
  CLOSE_HOST,
  CONNECT_IMMEDIATE,
  DROP_TCP_FLAGS,
  ERR_RANGE,
  ERR_STALE,
  ERR_STATE,
  REJECT_PROHIBITED,
  TCP_CLOSED,
  TCP_PENDING,
  TCP_SYN_RECEIVED,
  TCP_TIME_WAIT,
} from "../layout";
import { flowsCount } from "../mem/pools";
import { count } from "../mem/stats";
import { findFlow, initDemux, portPair } from "../flow/demux";
import { initFlows } from "../flow/flow";
import { spanBytes } from "../flow/stream";
import { QuotedSegment } from "../ip/icmp";
import { Packet } from "../ip/packet";
import { ACK, FIN, RST, SYN } from "../wire/tcp";
import { arrive } from "./arrive";
import { drainFlow, freeRecord, isAlive } from "./close";
import { initDirty, markDirty, returnDirty, takeDirty } from "./dirty";
import { emitAck } from "./emit";
import { initHalfOpen } from "./half-open";
import { acceptFlow, onSyn, rejectFlow, setMss } from "./listen";
import { commitSpace, reservedBytes, reserveSpace } from "./queue";
import { onSmallerPath } from "./recovery";
import { answerStray } from "./reset";
import { readSegment, Segment } from "./segment";
import { SERVED, serveFlow, TX_FULL } from "./send";
import { seqGe, seqLt } from "./seq";
import { F_ACK_NOW, F_DRAINING, F_RELEASED, F_SHUT, Tcb, tcbAt, tcbOf } from "./tcb";
import {
  arriveTimeWait,
  endTimeWait,
  expireTimeWaits,
  findTimeWait,
  initTimeWait,
} from "./time-wait";
import { onFlowTimer } from "./timers";
import { abortFlow, releaseFlow, shutFlow } from "./user";
import { onConsumed } from "./window";

/** Least packet sizes that a "too big" report is believed for (RFC 1191 §3, RFC 8201 §4). */
const PATH_MIN_4: u32 = 552;
const PATH_MIN_6: u32 = 1280;

/** Makes everything empty; the pools are placed. */
export function tcpInit(): void {
  initFlows();
  initDemux();
  initDirty();
  initHalfOpen();
  initTimeWait();
}

/** A packet with TCP in it; its slot may be kept. */
export function tcpInput(p: Packet): void {
  const seg = readSegment(p);
  if (!seg) return;
  const flow = findFlow(p.family, p.dst, p.src, portPair(seg.dstPort, seg.srcPort));
  if (flow) arrive(changetype<Tcb>(flow), seg);
  else arriveElsewhere(seg);
}

/** A segment without flow. */
function arriveElsewhere(seg: Segment): void {
  const isSyn = (seg.flags & (SYN | ACK | RST | FIN)) == SYN;
  const record = findTimeWait(seg);
  if (record) {
    if (!arriveTimeWait(record, seg) || !isSyn) return;
    const newerThan = record.sndNxt;
    endTimeWait(record);
    onSyn(seg, newerThan, true);
  } else if (isSyn) {
    onSyn(seg, 0, false);
  } else if (seg.has(SYN) && !seg.has(ACK)) {
    // TCP-16: with FIN or RST.
    count(DROP_TCP_FLAGS);
  } else {
    answerStray(seg);
  }
}

/** A flow's timer is due. */
export function tcpTimer(flowIndex: u32): void {
  onFlowTimer(tcbAt(flowIndex));
}

/** The timer of all TIME-WAIT records is due. */
export function tcpTimeWaitTimer(): void {
  expireTimeWaits();
}

/** Sends what is due, flow by flow, in turns; true if TX filled up before the end. */
export function tcpFlush(): bool {
  let tcb = takeDirty();
  while (tcb) {
    const answer = isAlive(tcb) ? serveFlow(tcb) : serveEnded(tcb);
    if (answer == TX_FULL) {
      returnDirty(tcb);
      return true;
    }
    if (answer != SERVED) markDirty(tcb);
    tcb = takeDirty();
  }
  return false;
}

/** A flow whose connection is over has its last packet to send, and then maybe its record to free. */
function serveEnded(tcb: Tcb): u32 {
  if (<u32>tcb.state == TCP_TIME_WAIT && tcb.has(F_ACK_NOW)) {
    if (!emitAck(tcb, tcb.sndNxt)) return TX_FULL;
  }
  tcb.unset(F_ACK_NOW);
  if (serveFlow(tcb) == TX_FULL) return TX_FULL;
  if (tcb.has(F_RELEASED)) freeRecord(tcb);
  return SERVED;
}

/** A router says that a segment of ours was too big: smaller ones from now on (RFC 1191, RFC 8201). */
export function tcpTooBig(quoted: QuotedSegment): void {
  const ports = portPair(quoted.localPort, quoted.remotePort);
  const flow = findFlow(quoted.family, quoted.local, quoted.remote, ports);
  if (!flow) return;
  const tcb = changetype<Tcb>(flow);
  if (<u32>tcb.state <= TCP_SYN_RECEIVED) return;
  // RFC 5927 §7.1: the quoted segment must be in flight.
  if (seqLt(quoted.seq, tcb.sndUna) || seqGe(quoted.seq, tcb.sndNxt)) return;
  const isV4 = quoted.family == 4;
  const mtu = max(quoted.mtu, isV4 ? PATH_MIN_4 : PATH_MIN_6);
  const mss = mtu - (isV4 ? 40 : 60);
  if (mss >= tcb.peerMss) return;
  const before = tcb.sndMss;
  tcb.peerMss = mss;
  setMss(tcb);
  if (tcb.sndMss >= before) return;
  onSmallerPath(tcb);
  markDirty(tcb);
}

/** 0, ERR_STALE, ERR_STATE. In immediate mode the flow was answered already: 0. */
export function tcpAccept(handle: u32): i32 {
  const tcb = tcbOf(handle);
  if (!tcb) return ERR_STALE;
  if (<u32>tcb.state == TCP_PENDING) {
    acceptFlow(tcb);
    return 0;
  }
  return isAlive(tcb) && <u32>tcb.mode == CONNECT_IMMEDIATE ? 0 : ERR_STATE;
}

/** `how` is REJECT_RST … REJECT_PROHIBITED. 0, ERR_STALE, ERR_RANGE, ERR_STATE. */
export function tcpReject(handle: u32, how: u32): i32 {
  const tcb = tcbOf(handle);
  if (!tcb) return ERR_STALE;
  if (how > REJECT_PROHIBITED) return ERR_RANGE;
  if (!isAlive(tcb)) return ERR_STATE;
  rejectFlow(tcb, how, CLOSE_HOST);
  return 0;
}

/** Lends what was received and not consumed, from its beginning: spans, or ERR_STALE. */
export function tcpRecvPeek(handle: u32): i32 {
  const tcb = tcbOf(handle);
  if (!tcb) return ERR_STALE;
  // After an abort nothing new is lent.
  if (!isAlive(tcb) && !tcb.has(F_DRAINING)) return 0;
  const spans = tcb.rcv.lend();
  let bytes: u32 = 0;
  for (let i: u32 = 0; i < spans; i++) bytes += spanBytes(i);
  tcb.rcvLent = max(tcb.rcvLent, bytes);
  return <i32>spans;
}

/** The host took `bytes` of what was lent: 0, ERR_STALE, ERR_RANGE. Closed: nothing happens. */
export function tcpRecvConsume(handle: u32, bytes: u32): i32 {
  const tcb = tcbOf(handle);
  if (!tcb) return ERR_STALE;
  if (!isAlive(tcb) && !tcb.has(F_DRAINING)) return 0;
  if (bytes > tcb.rcvLent) return ERR_RANGE;
  if (bytes == 0) return 0;
  tcb.rcv.drop(bytes);
  tcb.rcvLent -= bytes;
  if (tcb.has(F_DRAINING)) {
    drainFlow(tcb);
    return 0;
  }
  onConsumed(tcb, bytes);
  markDirty(tcb);
  return 0;
}

/** Lends room for up to `want` bytes: spans, 0 = EV_WRITABLE follows, ERR_STALE, ERR_STATE. */
export function tcpSendReserve(handle: u32, want: u32): i32 {
  const tcb = tcbOf(handle);
  if (!tcb) return ERR_STALE;
  if (!maySendNow(tcb)) return ERR_STATE;
  const spans = reserveSpace(tcb, want);
  // A refusal may need the timer.
  if (spans == 0) markDirty(tcb);
  return <i32>spans;
}

/** Queues `bytes` of the lent room: 0, ERR_STALE, ERR_RANGE, ERR_STATE. Closed: nothing happens. */
export function tcpSendCommit(handle: u32, bytes: u32): i32 {
  const tcb = tcbOf(handle);
  if (!tcb) return ERR_STALE;
  if (!isAlive(tcb)) return 0;
  if (!maySendNow(tcb)) return ERR_STATE;
  if (bytes > reservedBytes(tcb)) return ERR_RANGE;
  commitSpace(tcb, bytes);
  markDirty(tcb);
  return 0;
}

function maySendNow(tcb: Tcb): bool {
  const state = <u32>tcb.state;
  if (!isAlive(tcb) || state == TCP_PENDING || state == TCP_CLOSED) return false;
  return !tcb.has(F_SHUT);
}

/** A FIN follows what is queued: 0, ERR_STALE, ERR_STATE (pending, closed, or done before). */
export function tcpShutdown(handle: u32): i32 {
  const tcb = tcbOf(handle);
  if (!tcb) return ERR_STALE;
  if (!maySendNow(tcb)) return ERR_STATE;
  shutFlow(tcb);
  return 0;
}

/** Ends a flow with a RST: 0, ERR_STALE. */
export function tcpAbort(handle: u32): i32 {
  const tcb = tcbOf(handle);
  if (!tcb) return ERR_STALE;
  abortFlow(tcb);
  return 0;
}

/** The host lets go of a flow and all that was lent: 0, ERR_STALE, ERR_STATE (events not taken). */
export function tcpRelease(handle: u32): i32 {
  const tcb = tcbOf(handle);
  return tcb ? releaseFlow(tcb) : ERR_STALE;
}

/** Resets every flow: 0. */
export function tcpCloseAll(): i32 {
  for (let i: u32 = 0; i < flowsCount(); i++) {
    const tcb = tcbAt(i);
    abortFlow(tcb);
  }
  return 0;
}
