/**
 * SYNs (RFC 9293 §3.10.7.2): every address and port listens. A SYN makes a flow; it is answered
 * when the host accepts it (faithful: the client's connect tells the truth) or at once (immediate).
 *
 * The initial sequence number is a clock that advances 250 a millisecond plus a keyed hash of the
 * tuple (RFC 6528 §3); the timestamp offset is a keyed hash of both addresses (RFC 7323 §5.4).
 */
import {
  CFG_BUFFER_CAP_BYTES,
  CFG_CONNECT_MODE,
  CFG_PENDING_MS,
  CLOSE_CANCELLED,
  CLOSE_RESET,
  CONNECT_FAITHFUL,
  DROP_FLOWS_FULL,
  DROP_TCP_PENDING,
  DROP_TCP_PORT,
  EV_OPEN,
  EV_WRITABLE,
  SLOT_BYTES,
  STAT_FLOWS_ACCEPTED,
  STAT_FLOWS_OPENED,
  STAT_FLOWS_REJECTED,
  TCP_ESTABLISHED,
  TCP_PENDING,
  TCP_SYN_RECEIVED,
} from "../layout";
import { bufferedBytes } from "../mem/block";
import { clear, copy, putAddress } from "../mem/bytes";
import { NEVER, now } from "../mem/clock";
import { config, configUs } from "../mem/config";
import { KEY_SEQUENCE, KEY_TIMESTAMP, siphash64 } from "../mem/siphash";
import { count } from "../mem/stats";
import { addFlow, portPair } from "../flow/demux";
import { takeFlow } from "../flow/flow";
import { ACK, RST, SYN } from "../wire/tcp";
import {
  OPTION_MSS,
  OPTION_SACK_PERMITTED,
  OPTION_SCALE,
  OPTION_TIMESTAMPS,
  TIMESTAMPS_BYTES,
} from "../wire/tcp-options";
import { closeFlow, resetFlow } from "./close";
import { markDirty } from "./dirty";
import { list, makeRoom, unlist } from "./half-open";
import { raiseFlow } from "./notify";
import { openQueue } from "./queue";
import { initRecovery } from "./recovery";
import { initRtt, rtoNow, sampleRtt } from "./rtt";
import { Segment } from "./segment";
import { seqGt } from "./seq";
import { setState } from "./state";
import { beginClose } from "./user";
import {
  blankDeadlines,
  F_HASHED,
  F_REJECT_DUE,
  F_SACK,
  F_SCALE,
  F_SHUT,
  F_SYN_DUE,
  F_SYN_REPEATED,
  F_TS,
  SYN_COPY_BYTES,
  Tcb,
} from "./tcb";
import { openWindow, ownMss } from "./window";

const SCALE_MAX: u32 = 14;
/** TCP-4: smaller MSS options than this are taken as this. */
const MSS_MIN: u32 = 48;
const DEFAULT_MSS_4: u32 = 536;
const DEFAULT_MSS_6: u32 = 1220;

const tuple: usize = memory.data(36, 8);

/** Makes a flow from a SYN. `newerThan`: SND.NXT of a connection in TIME-WAIT that it replaces. */
export function onSyn(seg: Segment, newerThan: u32, isReuse: bool): void {
  if (seg.dstPort == 0 || seg.srcPort == 0) {
    count(DROP_TCP_PORT);
    return;
  }
  makeRoom();
  // DOS-12: at the cap new flows are refused.
  const isFull = bufferedBytes() + <u32>SLOT_BYTES > config(CFG_BUFFER_CAP_BYTES);
  const tcb = isFull ? changetype<Tcb | null>(0) : changetype<Tcb | null>(takeFlow());
  if (!tcb) {
    count(DROP_FLOWS_FULL);
    return;
  }
  const p = seg.packet;
  tcb.family = <u8>p.family;
  tcb.mode = <u8>config(CFG_CONNECT_MODE);
  tcb.localPort = <u16>seg.dstPort;
  tcb.remotePort = <u16>seg.srcPort;
  putAddress(p.family, tcb.local, p.dst);
  putAddress(p.family, tcb.remote, p.src);
  tcb.openedUs = now();
  tcb.packetsIn = 1;
  blankDeadlines(tcb);
  addFlow(tcb);
  tcb.set(F_HASHED);
  takeSyn(tcb, seg);
  tcb.iss = initialSequence(tcb);
  // RFC 6191 §2: above everything that the old connection sent.
  if (isReuse && !seqGt(tcb.iss, newerThan)) tcb.iss = newerThan + 65537;
  count(STAT_FLOWS_OPENED);
  raiseFlow(tcb, EV_OPEN, 0);
  markDirty(tcb);
  if (<u32>tcb.mode == CONNECT_FAITHFUL) {
    setState(tcb, TCP_PENDING);
    tcb.closeAt = now() + configUs(CFG_PENDING_MS);
    list(tcb);
  } else {
    answerSyn(tcb);
  }
}

/** Takes from a SYN its sequence number, options and window. */
function takeSyn(tcb: Tcb, seg: Segment): void {
  const options = seg.options;
  tcb.irs = seg.seq;
  tcb.rcvNxt = seg.seq + 1;
  tcb.sndWnd = seg.wnd;
  tcb.sndWl1 = seg.seq;
  tcb.tos = <u8>seg.packet.tos;
  tcb.unset(F_TS | F_SACK | F_SCALE);
  const isV4 = <u32>tcb.family == 4;
  const mss = options.has(OPTION_MSS) ? options.mss : 0;
  tcb.peerMss = mss == 0 ? (isV4 ? DEFAULT_MSS_4 : DEFAULT_MSS_6) : max(mss, MSS_MIN);
  if (options.has(OPTION_SACK_PERMITTED)) tcb.set(F_SACK);
  if (options.has(OPTION_SCALE)) {
    tcb.set(F_SCALE);
    tcb.sndScale = <u8>min(options.scale, SCALE_MAX);
  }
  if (options.has(OPTION_TIMESTAMPS)) {
    tcb.set(F_TS);
    tcb.tsRecent = options.tsval;
    tcb.tsRecentAt = now();
    tcb.tsOffset = timestampOffset(tcb);
  }
  setMss(tcb);
  if (<u32>tcb.mode != CONNECT_FAITHFUL) return;
  tcb.quoteLen = min(seg.packet.quoteLen, <u32>SYN_COPY_BYTES);
  copy(tcb.synCopy, seg.packet.quote, tcb.quoteLen);
}

/** Payload of a wire segment: both ends' MSS, less the timestamps (TCP-5, TUN-8). */
export function setMss(tcb: Tcb): void {
  const mss = min(tcb.peerMss, ownMss(tcb.family));
  tcb.sndMss = mss - (tcb.has(F_TS) ? TIMESTAMPS_BYTES : 0);
}

/** RFC 6528 §3. */
function initialSequence(tcb: Tcb): u32 {
  copy(tuple, tcb.local, 32);
  store<u32>(tuple, portPair(tcb.localPort, tcb.remotePort), 32);
  const clock = <u32>(<u64>(now() / 4.0));
  return clock + <u32>siphash64(tuple, 36, KEY_SEQUENCE);
}

function timestampOffset(tcb: Tcb): u32 {
  return <u32>siphash64(tcb.local, 32, KEY_TIMESTAMP);
}

/** The SYN gets its SYN-ACK with the next flush. From here on the record has all its fields. */
function answerSyn(tcb: Tcb): void {
  if (<u32>tcb.state == TCP_PENDING) unlist(tcb);
  setState(tcb, TCP_SYN_RECEIVED);
  list(tcb);
  clear(tcb.synCopy, SYN_COPY_BYTES);
  tcb.closeAt = NEVER;
  tcb.sndUna = tcb.iss;
  tcb.sndNxt = tcb.iss + 1;
  tcb.sndWl2 = tcb.iss;
  tcb.maxSndWnd = tcb.sndWnd;
  tcb.lastInUs = now();
  tcb.challengeAt = now();
  openQueue(tcb, tcb.iss + 1);
  openWindow(tcb);
  initRecovery(tcb);
  initRtt(tcb);
  tcb.lastAckSent = tcb.rcvNxt;
  tcb.rttAt = now();
  tcb.rtxAt = now() + rtoNow(tcb);
  tcb.set(F_SYN_DUE);
  markDirty(tcb);
}

/** A segment for a flow that waits for its host. */
export function arrivePending(tcb: Tcb, seg: Segment): void {
  if (seg.has(RST)) {
    // TCP-76: the client took its SYN back. Without a window yet, one of 64 KiB is assumed.
    const isNear = seg.seq - tcb.rcvNxt < 65536;
    const isAck = !seg.has(ACK) || seg.ack == 0;
    if (isNear || (isAck && seg.seq == tcb.irs)) closeFlow(tcb, CLOSE_CANCELLED);
    return;
  }
  const isSyn = seg.has(SYN) && !seg.has(ACK);
  // TCP-13: the client began anew; the dial goes on. TCP-24: all else is dropped.
  if (isSyn && seg.seq != tcb.irs) takeSyn(tcb, seg);
  else count(DROP_TCP_PENDING);
}

/** The third packet of the handshake is acceptable. */
export function establish(tcb: Tcb): void {
  unlist(tcb);
  setState(tcb, TCP_ESTABLISHED);
  tcb.sndUna = tcb.sndNxt;
  tcb.retries = 0;
  tcb.backoff = 0;
  tcb.rtxAt = NEVER;
  tcb.unset(F_SYN_DUE);
  if (!tcb.has(F_SYN_REPEATED)) sampleRtt(tcb, <u32>(now() - tcb.rttAt));
  raiseFlow(tcb, EV_WRITABLE, 0);
  if (tcb.has(F_SHUT)) beginClose(tcb);
}

/** Refuses a flow: pending as `how` says (REJECT_…), later with a RST. `code` is CLOSE_…. */
export function rejectFlow(tcb: Tcb, how: u32, code: u32): void {
  count(STAT_FLOWS_REJECTED);
  if (<u32>tcb.state != TCP_PENDING) {
    resetFlow(tcb, code);
    return;
  }
  tcb.rejectHow = <u8>how;
  tcb.set(F_REJECT_DUE);
  closeFlow(tcb, code);
}

/** The host accepts a pending flow. */
export function acceptFlow(tcb: Tcb): void {
  count(STAT_FLOWS_ACCEPTED);
  answerSyn(tcb);
}

/** In SYN-RECEIVED: a repeated SYN gets the same SYN-ACK again (TCP-12). */
export function isRepeatedSyn(tcb: Tcb, seg: Segment): bool {
  return seg.has(SYN) && !seg.has(ACK) && seg.seq == tcb.irs;
}

/** In SYN-RECEIVED: the client's RST (TCP-76). */
export function cancelHalfOpen(tcb: Tcb): void {
  closeFlow(tcb, CLOSE_RESET);
}
