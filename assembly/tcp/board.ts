/**
 * What an ACK says of the bytes in flight (RFC 2018, RFC 2883, RFC 6675 §3): the cumulative
 * acknowledgement, SACK blocks and D-SACKs, written down in the table of sent.ts. What is learnt
 * by one ACK is a record, `AckNews`, which recovery and congestion control read.
 */
import { be32 } from "../mem/bytes";
import { now } from "../mem/clock";
import { onDelivered } from "./rack";
import { Segment } from "./segment";
import {
  dropSent,
  findSent,
  joinSent,
  sentAt,
  SENT_LOST,
  SENT_REPEATED,
  SENT_SACKED,
  splitSent,
  unmarkAll,
} from "./sent";
import { seqGe, seqGt, seqLe, seqLt, seqMax } from "./seq";
import { Tcb } from "./tcb";

/** No round trip was measured. */
export const RTT_NONE: u32 = 0xffffffff;

/** What one ACK told. */
@unmanaged
export class AckNews {
  /** By how much SND.UNA moved; bytes that left the network, by ACK or SACK. */
  acked: u32;
  delivered: u32;
  /** In the network before the ACK, as far as was known then. */
  pipeBefore: u32;
  sackedBefore: u32;
  /** Shortest round trip of what it newly acknowledges and was sent once, or RTT_NONE. */
  rttUs: u32;
  /** TSecr, if it has one. */
  tsecr: u32;
  hasTsecr: bool;
  /** It has a D-SACK, for [dsackLeft, dsackRight). */
  hasDsack: bool;
  /** More was found lost. */
  hasLoss: bool;
  /** SACK blocks said something new. */
  hasSacked: bool;
  /** The cumulative acknowledgement covers something that was repeated. */
  hasRepeated: bool;
  dsackLeft: u32;
  dsackRight: u32;
}

const scratch = changetype<AckNews>(memory.data(48, 8));
if (offsetof<AckNews>() > 48) ERROR("AckNews outgrew its room");

/** A blank record for a segment's ACK; valid until the next call. */
export function beginNews(tcb: Tcb, seg: Segment, pipe: u32): AckNews {
  const news = scratch;
  news.acked = 0;
  news.delivered = 0;
  news.pipeBefore = pipe;
  news.sackedBefore = tcb.sackedBytes;
  news.rttUs = RTT_NONE;
  news.hasTsecr = seg.hasTimestamps;
  news.tsecr = news.hasTsecr ? seg.options.tsecr : 0;
  news.hasDsack = false;
  news.hasLoss = false;
  news.hasSacked = false;
  news.hasRepeated = false;
  return news;
}

/**
 * Takes a segment's SACK blocks. Absurd ones say nothing (TCP-62): inverted, beyond SND.NXT, or
 * below the ACK in another place than the first, which is that of a D-SACK (RFC 2883 §4).
 */
export function takeSacks(tcb: Tcb, seg: Segment, news: AckNews): void {
  const count = seg.options.sackCount;
  const una = seqMax(seg.ack, tcb.sndUna);
  for (let i: u32 = 0; i < count; i++) {
    const at = seg.options.sackPtr + ((<usize>i) << 3);
    const left = be32(at);
    const right = be32(at + 4);
    if (seqGe(left, right) || seqGt(right, tcb.sndNxt)) continue;
    if (i == 0 && isDsack(tcb, seg, left, right)) {
      news.hasDsack = true;
      news.dsackLeft = left;
      news.dsackRight = right;
    } else if (seqGe(left, una)) {
      markSacked(tcb, left, right, news);
    }
  }
}

/** RFC 2883 §4: the first block lies below the ACK, or inside of the second one. */
function isDsack(tcb: Tcb, seg: Segment, left: u32, right: u32): bool {
  // Older than any window: an ACK could not be as old either (RFC 5961 §5).
  if (seqLt(left, tcb.sndUna - max(tcb.maxSndWnd, 65535))) return false;
  if (seqLe(right, seg.ack)) return true;
  if (seg.options.sackCount < 2) return false;
  const second = seg.options.sackPtr + 8;
  return seqGe(left, be32(second)) && seqLe(right, be32(second + 4));
}

/** The client holds [left, right). */
function markSacked(tcb: Tcb, left: u32, right: u32, news: AckNews): void {
  const first = findSent(tcb, left);
  let index = first;
  let isNews = false;
  while (index < tcb.sentCount) {
    let sent = sentAt(tcb, index);
    if (seqGe(sent.left, right)) break;
    if (!sent.has(SENT_SACKED)) {
      if (seqLt(sent.left, left)) {
        // Without place for a split, this part of the report is not taken.
        splitSent(tcb, index, left);
        index++;
        continue;
      }
      if (seqGt(sent.right, right)) {
        if (!splitSent(tcb, index, right)) break;
        sent = sentAt(tcb, index);
      }
      onDelivered(tcb, sent, sent.right, news);
      if (sent.has(SENT_LOST)) tcb.lostBytes -= sent.bytes;
      sent.marks = (sent.marks & ~SENT_LOST) | SENT_SACKED;
      tcb.sackedBytes += sent.bytes;
      isNews = true;
    }
    index++;
  }
  if (!isNews) return;
  news.hasSacked = true;
  joinSent(tcb, first > 0 ? first - 1 : 0, right);
}

/** SND.UNA has moved: forgets what lies below, after learning from it. */
export function pruneSent(tcb: Tcb, news: AckNews): void {
  let gone: u32 = 0;
  while (gone < tcb.sentCount) {
    const sent = sentAt(tcb, gone);
    if (seqGt(sent.right, tcb.sndUna)) {
      if (seqLt(sent.left, tcb.sndUna)) {
        forget(tcb, gone, tcb.sndUna, news);
        sent.left = tcb.sndUna;
      }
      break;
    }
    forget(tcb, gone, sent.right, news);
    gone++;
  }
  if (gone != 0) dropSent(tcb, gone);
  // Karn (RFC 6298 §3): what was sent once, too, waited for the hole to be filled.
  if (news.hasRepeated) news.rttUs = RTT_NONE;
}

/** Record `index` is acknowledged up to `end`. */
function forget(tcb: Tcb, index: u32, end: u32, news: AckNews): void {
  const sent = sentAt(tcb, index);
  const bytes = end - sent.left;
  if (sent.has(SENT_SACKED)) {
    tcb.sackedBytes -= bytes;
    return;
  }
  if (sent.has(SENT_LOST)) tcb.lostBytes -= bytes;
  if (sent.has(SENT_REPEATED)) news.hasRepeated = true;
  onDelivered(tcb, sent, end, news);
}

/**
 * Whether the client claims to hold SND.UNA itself but does not acknowledge it: it has thrown away
 * what it reported (RFC 2018 §8).
 */
export function isReneging(tcb: Tcb): bool {
  return tcb.sentCount != 0 && sentAt(tcb, 0).has(SENT_SACKED);
}

/** Believes nothing any more of what the client said that it holds. */
export function forgetSacks(tcb: Tcb): void {
  unmarkAll(tcb, SENT_SACKED);
}

/** Milliseconds since the bytes of a record were sent, as the timestamp clock counts them. */
export function ticksSince(ageUs: u32): u32 {
  const at = now();
  return <u32>(<u64>(at / 1000.0) - <u64>(max(at - <f64>ageUs, 0.0) / 1000.0));
}
