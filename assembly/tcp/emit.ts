/**
 * Segments out: headers and options (RFC 9293 §3.1, RFC 7323 §3, RFC 2018 §3). Each function
 * answers false when TX is full; nothing has changed then. What goes out for a flow carries its
 * ACK, window and timestamp.
 *
 * Options of a data segment are the timestamps alone, so that its payload is always sndMss; SACK
 * blocks go on segments without data.
 */
import { STAT_RST_OUT } from "../layout";
import { count } from "../mem/stats";
import { NEVER } from "../mem/clock";
import { beginPacket, endPacket, followTos, tsoBytes } from "../ip/egress";
import { PROTO_TCP } from "../wire/protocols";
import { ACK, FIN, PSH, RST, SYN } from "../wire/tcp";
import { headerAndFlags, putPorts, putTcp, TCP_CSUM_OFF, TCP_HEADER_BYTES } from "../wire/tcp";
import {
  putMss,
  putSackBlock,
  putSackHead,
  putSackPermitted,
  putScale,
  putTimestamps,
  TIMESTAMPS_BYTES,
} from "../wire/tcp-options";
import { putHoles } from "./holes";
import { addPayload } from "./queue";
import { Segment } from "./segment";
import { F_ACK_NOW, F_DSACK, F_SACK, F_SCALE, F_TS, milliseconds, Tcb, timestampNow } from "./tcb";
import { TimeWait } from "./time-wait";
import { ownMss, takeWindowField, windowOf } from "./window";

/** Scratch for SACK blocks while the header's length is not known. */
const sackScratch: usize = memory.data(32, 4);

/** Opens a packet from the flow's local end with `optionBytes` of options; 0 if TX is full. */
function begin(tcb: Tcb, optionBytes: u32): usize {
  const headerLen = TCP_HEADER_BYTES + optionBytes;
  const l4 = beginPacket(tcb.family, tcb.local, tcb.remote, PROTO_TCP, headerLen);
  if (l4 == 0) return 0;
  followTos(tcb.tos);
  putPorts(l4, tcb.localPort, tcb.remotePort);
  return l4;
}

/** Writes the rest of the header and closes the packet; the client has our ACK then. */
function finish(tcb: Tcb, l4: usize, seq: u32, flags: u32, headerLen: u32): void {
  const window = takeWindowField(tcb);
  putTcp(l4, seq, tcb.rcvNxt, headerAndFlags(headerLen, flags), window);
  endPacket(tcb.sndMss, TCP_CSUM_OFF);
  tcb.packetsOut++;
  tcb.lastAckSent = tcb.rcvNxt;
  tcb.ackAt = NEVER;
}

function timestampBytes(tcb: Tcb): u32 {
  return tcb.has(F_TS) ? TIMESTAMPS_BYTES : 0;
}

/** SYN-ACK: MSS, and what the SYN offered. Its window is not scaled (RFC 7323 §2.2). */
export function emitSynAck(tcb: Tcb): bool {
  const hasSack = tcb.has(F_SACK);
  const hasScale = tcb.has(F_SCALE);
  const optionBytes = 4 + timestampBytes(tcb) + (hasSack ? 4 : 0) + (hasScale ? 4 : 0);
  const l4 = begin(tcb, optionBytes);
  if (l4 == 0) return false;
  let at = l4 + TCP_HEADER_BYTES;
  putMss(at, ownMss(tcb.family));
  at += 4;
  if (hasSack) {
    putSackPermitted(at);
    at += 4;
  }
  if (tcb.has(F_TS)) {
    putTimestamps(at, timestampNow(tcb), tcb.tsRecent);
    at += TIMESTAMPS_BYTES;
  }
  if (hasScale) putScale(at, tcb.rcvScale);
  const bits = headerAndFlags(TCP_HEADER_BYTES + optionBytes, SYN | ACK);
  putTcp(l4, tcb.iss, tcb.rcvNxt, bits, min(windowOf(tcb), 65535));
  endPacket(0, TCP_CSUM_OFF);
  tcb.packetsOut++;
  tcb.lastAckSent = tcb.rcvNxt;
  return true;
}

/** Most payload of one packet: a super-packet of whole segments, or one segment. */
export function mostPayload(tcb: Tcb): u32 {
  const tso = tsoBytes(tcb.family);
  const header = TCP_HEADER_BYTES + timestampBytes(tcb);
  const mss = tcb.sndMss;
  if (tso < header + mss) return mss;
  const most = tso - header;
  return most - (most % mss);
}

/** `len` queued bytes from `seq` on (queue.ts: carriable), and maybe a FIN behind them. */
export function emitData(tcb: Tcb, seq: u32, len: u32, hasFin: bool): bool {
  const optionBytes = timestampBytes(tcb);
  const l4 = begin(tcb, optionBytes);
  if (l4 == 0) return false;
  if (optionBytes != 0) {
    putTimestamps(l4 + TCP_HEADER_BYTES, timestampNow(tcb), tcb.tsRecent);
  }
  addPayload(tcb, seq, len);
  // PSH where the queue ends (TCP-65).
  const isLast = len != 0 && seq + len == tcb.sndEnd;
  const flags = ACK | (hasFin ? FIN : 0) | (isLast ? PSH : 0);
  finish(tcb, l4, seq, flags, TCP_HEADER_BYTES + optionBytes);
  // What only a segment without data can say still has to be said.
  if (!hasSacks(tcb)) tcb.unset(F_ACK_NOW);
  return true;
}

function hasSacks(tcb: Tcb): bool {
  return tcb.holeCount != 0 || tcb.has(F_DSACK);
}

/** An ACK without data at `seq`, with SACK blocks if there is anything to report. */
export function emitAck(tcb: Tcb, seq: u32): bool {
  let blocks: u32 = 0;
  if (tcb.has(F_SACK) && hasSacks(tcb)) {
    const limit: u32 = tcb.has(F_TS) ? 3 : 4;
    if (tcb.has(F_DSACK)) {
      putSackBlock(sackScratch, tcb.dsackLeft, tcb.dsackRight);
      blocks = 1;
    }
    blocks += putHoles(tcb, sackScratch + ((<usize>blocks) << 3), limit - blocks);
  }
  const sackBytes = blocks == 0 ? 0 : 4 + (blocks << 3);
  const optionBytes = timestampBytes(tcb) + sackBytes;
  const l4 = begin(tcb, optionBytes);
  if (l4 == 0) return false;
  let at = l4 + TCP_HEADER_BYTES;
  if (tcb.has(F_TS)) {
    putTimestamps(at, timestampNow(tcb), tcb.tsRecent);
    at += TIMESTAMPS_BYTES;
  }
  if (blocks != 0) {
    putSackHead(at, blocks);
    memory.copy(at + 4, sackScratch, (<usize>blocks) << 3);
  }
  finish(tcb, l4, seq, ACK, TCP_HEADER_BYTES + optionBytes);
  if (!tcb.has(F_DSACK)) {
    tcb.unset(F_ACK_NOW);
    return true;
  }
  tcb.dsackCount--;
  memory.copy(tcb.dsackAt(0), tcb.dsackAt(1), (<usize>tcb.dsackCount) << 3);
  if (tcb.dsackCount == 0) tcb.unset(F_ACK_NOW | F_DSACK);
  return true;
}

/** RST with SEQ = SND.NXT, which any client accepts (TCP-79). */
export function emitReset(tcb: Tcb): bool {
  const l4 = begin(tcb, 0);
  if (l4 == 0) return false;
  putTcp(l4, tcb.sndNxt, tcb.rcvNxt, headerAndFlags(TCP_HEADER_BYTES, RST | ACK), 0);
  endPacket(0, TCP_CSUM_OFF);
  tcb.packetsOut++;
  count(STAT_RST_OUT);
  return true;
}

/** The answer of a closed port to a SYN: SEQ 0, ACK = ISS + 1 (FLOW-4). */
export function emitRefusal(tcb: Tcb): bool {
  const l4 = begin(tcb, 0);
  if (l4 == 0) return false;
  putTcp(l4, 0, tcb.irs + 1, headerAndFlags(TCP_HEADER_BYTES, RST | ACK), 0);
  endPacket(0, TCP_CSUM_OFF);
  tcb.packetsOut++;
  count(STAT_RST_OUT);
  return true;
}

/** Opens a segment without data in answer to `seg`, for which there is no flow; 0 if TX is full. */
function beginAnswer(seg: Segment, optionBytes: u32): usize {
  const p = seg.packet;
  const l4 = beginPacket(p.family, p.dst, p.src, PROTO_TCP, TCP_HEADER_BYTES + optionBytes);
  if (l4 != 0) putPorts(l4, seg.dstPort, seg.srcPort);
  return l4;
}

/** RST for a segment without flow (RFC 9293 §3.10.7.1). */
export function emitStrayReset(seg: Segment, seq: u32): void {
  const l4 = beginAnswer(seg, 0);
  if (l4 == 0) return;
  putTcp(l4, seq, 0, headerAndFlags(TCP_HEADER_BYTES, RST), 0);
  endPacket(0, TCP_CSUM_OFF);
  count(STAT_RST_OUT);
}

/** ACK for a connection of which only a TIME-WAIT record is left. */
export function emitTimeWaitAck(seg: Segment, record: TimeWait): void {
  const optionBytes = record.hasTs ? TIMESTAMPS_BYTES : 0;
  const l4 = beginAnswer(seg, optionBytes);
  if (l4 == 0) return;
  const bits = headerAndFlags(TCP_HEADER_BYTES + optionBytes, ACK);
  putTcp(l4, record.sndNxt, record.rcvNxt, bits, record.window);
  if (optionBytes != 0) {
    putTimestamps(l4 + TCP_HEADER_BYTES, milliseconds() + record.tsOffset, record.tsRecent);
  }
  endPacket(0, TCP_CSUM_OFF);
}
