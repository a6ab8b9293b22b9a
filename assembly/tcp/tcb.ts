/**
 * The transmission control block: a flow record's private part, and the times that TCP reads off
 * the clock. Variables are named as in RFC 9293 §3.3.1.
 *
 * While a flow is pending, the last SYN_COPY_BYTES of the record hold the beginning of its SYN, for
 * ICMP errors that quote it; the fields there get their values when the flow is accepted.
 */
import { FLOW_BYTES } from "../layout";
import { NEVER, now } from "../mem/clock";
import { Flow, flowAt, flowOf } from "../flow/flow";
import { BlockList } from "../flow/stream";

/** In the list of flows that `flush` looks at. */
export const F_DIRTY: u32 = 1 << 0;
/** The host let go of it: nothing is raised any more, the record is freed by `flush`. */
export const F_RELEASED: u32 = 1 << 1;
/** Due to go out: SYN-ACK, RST, the answer to a refused SYN, an ACK, a probe. */
export const F_SYN_DUE: u32 = 1 << 2;
export const F_RST_DUE: u32 = 1 << 3;
export const F_REJECT_DUE: u32 = 1 << 4;
export const F_ACK_NOW: u32 = 1 << 5;
export const F_PROBE_DUE: u32 = 1 << 6;
export const F_KEEP_DUE: u32 = 1 << 7;
/** The next retransmission goes out whatever the congestion window says. */
export const F_RTX_DUE: u32 = 1 << 8;
/** The host has said its last byte; our FIN went out at least once. */
export const F_SHUT: u32 = 1 << 9;
export const F_FIN_SENT: u32 = 1 << 10;
/** The client's FIN is known (finSeq); it has taken effect. */
export const F_FIN_KNOWN: u32 = 1 << 11;
export const F_FIN_TAKEN: u32 = 1 << 12;
/** Negotiated: timestamps, SACK, window scale. */
export const F_TS: u32 = 1 << 13;
export const F_SACK: u32 = 1 << 14;
export const F_SCALE: u32 = 1 << 15;
/** Fast recovery (RFC 8985, RFC 6582); recovery after a timeout. Never both. */
export const F_RECOVERY: u32 = 1 << 16;
export const F_LOSS: u32 = 1 << 17;
/** A reduction may turn out to be for nothing (RFC 3522, RFC 3708). */
export const F_UNDO: u32 = 1 << 18;
/** rtxAt is a tail loss probe's; the probe went out and is not answered. */
export const F_TLP_ARMED: u32 = 1 << 19;
export const F_TLP_SENT: u32 = 1 << 20;
/** rtxAt is a window probe's. */
export const F_PERSIST: u32 = 1 << 21;
/** sendReserve was refused. */
export const F_WANT_WRITE: u32 = 1 << 22;
/** In the table of tuples. */
export const F_HASHED: u32 = 1 << 23;
/** In the list of pending or of half-open flows. */
export const F_LISTED: u32 = 1 << 24;
/** Upstream is gone for good; no host stands behind the flow any more. */
export const F_ORPHAN: u32 = 1 << 25;
/** The SYN-ACK was sent more than once, so that it measures no round trip. */
export const F_SYN_REPEATED: u32 = 1 << 26;
/** Duplicates arrived; the next ACKs say which (RFC 2883). */
export const F_DSACK: u32 = 1 << 27;
/** The connection is over, and EV_CLOSED waits for the host to take the last bytes. */
export const F_DRAINING: u32 = 1 << 28;
/** The right edge of the window is to be told. */
export const F_WINDOW_DUE: u32 = 1 << 29;

/** A tail loss probe is to go out. */
export const F_TLP_DUE: u32 = 1 << 30;

/** Duplicates of one batch of input that are told, each by an ACK of its own. */
export const DSACK_MAX: u32 = 4;

/** Room for the beginning of a SYN. */
export const SYN_COPY_BYTES: usize = 128;

@unmanaged
export class Tcb extends Flow {
  flags: u32;
  dirtyNext: u32;
  listNext: u32;
  listPrev: u32;
  iss: u32;
  irs: u32;
  sndUna: u32;
  sndNxt: u32;
  sndWnd: u32;
  sndWl1: u32;
  sndWl2: u32;
  maxSndWnd: u32;
  /** The client's MSS option, or its default. */
  peerMss: u32;
  /** Payload of one wire segment: both MTUs, less the options of a data segment (TCP-5). */
  sndMss: u32;
  rcvNxt: u32;
  /** Right edge that was told to the client; only moves right (TCP-42). */
  rcvAdv: u32;
  /** Bytes that may lie here unconsumed. */
  rcvBuf: u32;
  tsRecent: u32;
  tsOffset: u32;
  unused204: u32;
  tsRecentAt: f64;
  sndScale: u8;
  rcvScale: u8;
  /** Retransmissions of the same data; unanswered keepalive probes; unanswered window probes. */
  retries: u8;
  keepProbes: u8;
  persists: u8;
  challenges: u8;
  rejectHow: u8;
  /** Type of service of the client's SYN. */
  tos: u8;
  /** Deadlines: retransmission or probe; delayed ACK; pending, closing or FIN-WAIT-2. */
  rtxAt: f64;
  ackAt: f64;
  closeAt: f64;
  /** When the last segment arrived that was not refused. */
  lastInUs: f64;
  /** When to try again after sendReserve found no memory. */
  wantAt: f64;
  /** When segments that may only be late count as lost (RFC 8985 §6.3). */
  reoAt: f64;
  /** A round trip is measured again when this is acknowledged. */
  rttSeq: u32;
  /** Doublings of the RTO. */
  backoff: u32;
  /** Received and not consumed: a BlockList. `rcvLent` bytes of it are lent to the host. */
  rcvList: u32;
  rcvTail: u32;
  rcvBytes: u32;
  rcvHeld: u32;
  rcvLent: u32;
  /** Chunk with the ranges that arrived ahead of a hole, and how many there are. */
  holes: u32;
  holeCount: u32;
  /** The table of what is in flight (sent.ts): its block or 0, its first record, how many. */
  sentBlock: u32;
  sentFirst: u32;
  sentCount: u32;
  /** Queued to be sent or not acknowledged: a BlockList that begins at SND.UNA. */
  sndList: u32;
  sndTail: u32;
  sndBytes: u32;
  sndHeld: u32;
  /** Sequence number after the last queued byte: the FIN's. */
  sndEnd: u32;
  /** Block near SND.NXT; block near the last retransmission. Or 0. */
  sndCursor: u32;
  rtxCursor: u32;
  /** Blocks lent by sendReserve: a BlockList without bytes; bytes lent at the end of the tail. */
  resList: u32;
  resTail: u32;
  resBytes: u32;
  resHeld: u32;
  resRoom: u32;
  /** Bytes above SND.UNA that are SACKed; that count as lost and were not repeated since. */
  sackedBytes: u32;
  lostBytes: u32;
  /** Bytes of the SYN's copy. */
  quoteLen: u32;

  // From here on: the SYN's copy while pending.
  rttAt: f64;
  challengeAt: f64;
  /** When the next keepalive probe is due, after the first. */
  keepAt: f64;
  rttvarUs: u32;
  rtoUs: u32;
  /** What sendReserve grants at once; what may be queued. */
  sndGrant: u32;
  sndLimit: u32;
  cwnd: u32;
  ssthresh: u32;
  /** Duplicate ACKs in a row. */
  dupAcks: u32;
  /** NewReno: bytes acknowledged towards the next segment; CUBIC: 65536ths of a byte. */
  caAcked: u32;
  /** What was sent before it filled the window. */
  limitedTill: u32;
  /** Recovery ends when this is acknowledged. */
  recover: u32;
  /** Nothing before it is lost, if anything is. */
  lostFrom: u32;
  /** The record of the table that needs no block. */
  sentInlineLeft: u32;
  sentInlineRight: u32;
  sentInlineAt: u32;
  sentInlineMarks: u32;
  /** When data went out for the last time. */
  lastSentUs: f64;

  /** PRR (RFC 9937 §5): delivered and sent in this recovery, in the network before. */
  prrDelivered: u32;
  prrOut: u32;
  prrFlight: u32;

  /** RACK (RFC 8985 §5.2): the arrived segment that was sent last; highest byte that arrived. */
  rackAt: u32;
  rackEnd: u32;
  rackRttUs: u32;
  rackFack: u32;
  minRttUs: u32;
  minRttAt: f64;
  /** Reordering was seen; its window in quarters, kept for so many recoveries, widened till. */
  isReordered: u8;
  reoSteps: u8;
  reoPersist: u8;
  reoIsWide: u8;
  reoRound: u32;

  /** HyStart++ (RFC 9406 §4.2): this round's end, least round trips, samples. */
  roundEnd: u32;
  roundMinUs: u32;
  lastRoundMinUs: u32;
  cssBaseUs: u32;
  roundSamples: u8;
  /** Rounds of conservative slow start, 0 outside of it. */
  cssRounds: u8;
  /** The tail loss probe repeated something. */
  tlpIsRepeat: u8;
  /** The segment of rackAt had been repeated. */
  rackIsRepeat: u8;

  /** CUBIC (RFC 9438 §4.1): W_max, cwnd_prior, when the curve began (0: not yet), K, W_est. */
  cubicMax: u32;
  cubicPrior: u32;
  cubicAt: f64;
  cubicK: f64;
  cubicRenoBytes: f64;

  /**
   * For taking a reduction back: what was repeated since which byte, how much of it is not known
   * to be for nothing, until when that counts; TSval of the first repeat; what was before.
   */
  undoFrom: u32;
  undoEnd: u32;
  undoBytes: u32;
  undoTs: u32;
  priorCwnd: u32;
  priorSsthresh: u32;
  priorCubicMax: u32;
  tlpEnd: u32;
  lastAckSent: u32;
  rcvMss: u32;
  finSeq: u32;
  /** Duplicates to be told, the oldest first: DSACK_MAX of {left, right}. */
  dsackLeft: u32;
  dsackRight: u32;
  dsackLeft2: u32;
  dsackRight2: u32;
  dsackLeft3: u32;
  dsackRight3: u32;
  dsackLeft4: u32;
  dsackRight4: u32;
  dsackCount: u32;
  /** Bytes consumed in this measuring interval, and its beginning. */
  tuneBytes: u32;
  tuneAt: f64;
  /** Since when the client's window is shut. */
  stalledAt: f64;

  @inline has(flag: u32): bool {
    return (this.flags & flag) != 0;
  }

  @inline set(flag: u32): void {
    this.flags |= flag;
  }

  @inline unset(flag: u32): void {
    this.flags &= ~flag;
  }

  @inline get rcv(): BlockList {
    return changetype<BlockList>(changetype<usize>(this) + offsetof<Tcb>("rcvList"));
  }

  @inline get snd(): BlockList {
    return changetype<BlockList>(changetype<usize>(this) + offsetof<Tcb>("sndList"));
  }

  @inline get reserved(): BlockList {
    return changetype<BlockList>(changetype<usize>(this) + offsetof<Tcb>("resList"));
  }

  /** Address of the duplicate `index` that is to be told. */
  dsackAt(index: u32): usize {
    return changetype<usize>(this) + offsetof<Tcb>("dsackLeft") + ((<usize>index) << 3);
  }

  @inline get sentInline(): usize {
    return changetype<usize>(this) + offsetof<Tcb>("sentInlineLeft");
  }

  @inline get synCopy(): usize {
    return changetype<usize>(this) + FLOW_BYTES - SYN_COPY_BYTES;
  }

  /** Bytes in flight, SACKed ones and a FIN included. */
  @inline get flight(): u32 {
    return this.sndNxt - this.sndUna;
  }
}

if (offsetof<Tcb>() > <u32>FLOW_BYTES) ERROR("Tcb outgrew FLOW_BYTES");
if (offsetof<Tcb>("flags") != offsetof<Flow>()) ERROR("Tcb must follow Flow");
if (offsetof<Tcb>("rttAt") > <u32>FLOW_BYTES - <u32>SYN_COPY_BYTES) {
  ERROR("a field that is needed while pending lies under the SYN's copy");
}

/** The record that a host's handle names, or null. */
export function tcbOf(handle: u32): Tcb | null {
  return changetype<Tcb | null>(flowOf(handle));
}

/** The record with index `index`. */
export function tcbAt(index: u32): Tcb {
  return changetype<Tcb>(flowAt(index));
}

/** A record as it comes from the pool, with no deadlines. */
export function blankDeadlines(tcb: Tcb): void {
  tcb.rtxAt = NEVER;
  tcb.ackAt = NEVER;
  tcb.closeAt = NEVER;
  tcb.wantAt = NEVER;
  tcb.reoAt = NEVER;
}

/** This flow's timestamp clock: 1 ms a tick, with an offset of its own (TCP-20). */
export function timestampNow(tcb: Tcb): u32 {
  return milliseconds() + tcb.tsOffset;
}

/** Milliseconds modulo 2^32. */
export function milliseconds(): u32 {
  return <u32>(<u64>(now() / 1000.0));
}
