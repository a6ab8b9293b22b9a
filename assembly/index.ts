/**
 * What the host calls. Offsets, codes and limits are in abi.ts; every call checks its arguments and
 * answers with ERR_… (negative) when they make no sense. `nowUs` is the host's monotonic time in
 * microseconds. Before `init` succeeded every call answers ERR_STATE or does nothing.
 *
 * Lent memory: datagram records point into RX slots and stay good until those are read into again;
 * TX descriptors point into slots, the stage and the core until txDone, so the host writes them out
 * before it reads the next packets or stages again.
 */
import * as layout from "./layout";
import { takeEvents } from "./flow/events";
import { releaseMapping } from "./flow/datagram";
import { resetTx } from "./ip/egress";
import { isInMemory } from "./mem/bytes";
import { advance } from "./mem/clock";
import { xorMask as mask } from "./mem/mask";
import * as sets from "./route/sets";
import * as verdicts from "./route/verdict";
import * as stack from "./stack";
import * as tcp from "./tcp/tcp";

/** Reads CONFIG and ENTROPY, places the pools: 0, ERR_CONFIG, ERR_MEMORY, ERR_STATE (once only). */
export function init(): i32 {
  return stack.start();
}

/** Takes the packets in RX entries 0 … packets - 1: the number of DGRAM records, or ERR_RANGE. */
export function ingest(packets: u32, nowUs: f64): i32 {
  return stack.isInitialised() ? stack.takePackets(packets, nowUs) : layout.ERR_STATE;
}

/** Moves events to the EVENTS block: how many, at most EVENT_MAX; call again if it is that many. */
export function events(): i32 {
  return <i32>takeEvents();
}

/** Fires up to `budget` due timers: 1 if more are due, else 0. */
export function poll(nowUs: f64, budget: u32): i32 {
  return stack.isInitialised() ? stack.fireTimers(nowUs, budget) : layout.ERR_STATE;
}

/**
 * Builds what flows have to send: the number of TX descriptors; GAUGE_FLUSH_MORE if TX was full.
 */
export function flush(nowUs: f64): i32 {
  return stack.isInitialised() ? stack.sendFlows(nowUs) : layout.ERR_STATE;
}

/** The TX descriptors were written out or given up; what they pointed at is free. */
export function txDone(): void {
  resetTx();
}

/** When `poll` has to be called next, in the host's microseconds; Infinity = no timer. */
export function deadline(): f64 {
  return stack.isInitialised() ? stack.earliestDeadline() : Infinity;
}

/** Upstream is connected: the client's SYN is answered. 0, ERR_STALE, ERR_STATE. */
export function accept(handle: u32, nowUs: f64): i32 {
  advance(nowUs);
  return stack.isInitialised() ? tcp.tcpAccept(handle) : layout.ERR_STATE;
}

/** Upstream cannot be connected: `how` is REJECT_…. 0, ERR_STALE, ERR_STATE, ERR_RANGE. */
export function reject(handle: u32, how: u32, nowUs: f64): i32 {
  advance(nowUs);
  return stack.isInitialised() ? tcp.tcpReject(handle, how) : layout.ERR_STATE;
}

/** Lends received bytes in the SPANS block: the number of spans, or ERR_STALE. */
export function recvPeek(handle: u32): i32 {
  return stack.isInitialised() ? tcp.tcpRecvPeek(handle) : layout.ERR_STATE;
}

/** Upstream took `bytes` of the lent bytes: 0, ERR_STALE, ERR_RANGE. */
export function recvConsume(handle: u32, bytes: u32, nowUs: f64): i32 {
  advance(nowUs);
  return stack.isInitialised() ? tcp.tcpRecvConsume(handle, bytes) : layout.ERR_STATE;
}

/**
 * Lends room for up to `want` bytes in the SPANS block: the number of spans, 0 = EV_WRITABLE later.
 */
export function sendReserve(handle: u32, want: u32): i32 {
  return stack.isInitialised() ? tcp.tcpSendReserve(handle, want) : layout.ERR_STATE;
}

/** The first `bytes` of the lent room were filled: 0, ERR_STALE, ERR_STATE, ERR_RANGE. */
export function sendCommit(handle: u32, bytes: u32, nowUs: f64): i32 {
  advance(nowUs);
  return stack.isInitialised() ? tcp.tcpSendCommit(handle, bytes) : layout.ERR_STATE;
}

/** Upstream sent EOF: a FIN follows the committed bytes. 0, ERR_STALE, ERR_STATE. */
export function shutdown(handle: u32, nowUs: f64): i32 {
  advance(nowUs);
  return stack.isInitialised() ? tcp.tcpShutdown(handle) : layout.ERR_STATE;
}

/** Resets the flow. 0, ERR_STALE. */
export function abort(handle: u32, nowUs: f64): i32 {
  advance(nowUs);
  return stack.isInitialised() ? tcp.tcpAbort(handle) : layout.ERR_STATE;
}

/**
 * The host is done with a closed flow or mapping and all that was lent. 0, ERR_STALE, ERR_STATE.
 */
export function release(handle: u32): i32 {
  if (!stack.isInitialised()) return layout.ERR_STATE;
  return handle & layout.HANDLE_MAPPING ? releaseMapping(handle) : tcp.tcpRelease(handle);
}

/**
 * Sends stage records first … first + records - 1: how many were dealt with; fewer if TX is full
 * (write TX out, call txDone, go on from there). ERR_RANGE. Init set each record's ptr to a slot of
 * its own.
 */
export function stageSend(first: u32, records: u32, nowUs: f64): i32 {
  return stack.isInitialised() ? stack.sendStaged(first, records, nowUs) : layout.ERR_STATE;
}

/** Ends a UDP mapping; EV_MAPPING_CLOSED follows. 0, ERR_STALE, ERR_STATE. */
export function udpClose(handle: u32, nowUs: f64): i32 {
  return stack.isInitialised() ? stack.endMapping(handle, nowUs) : layout.ERR_STATE;
}

/** Resets all flows with the next flush. 0. */
export function closeAll(nowUs: f64): i32 {
  advance(nowUs);
  return stack.isInitialised() ? tcp.tcpCloseAll() : layout.ERR_STATE;
}

/**
 * Masks bytes of a WebSocket frame in place (mem/mask.ts); a range outside memory is left alone.
 */
export function xorMask(ptr: u32, bytes: u32, key: u32, phase: u32): void {
  if (isInMemory(ptr, bytes)) mask(ptr, bytes, key, phase);
}

/*
 * Rules. They need no `init`, only ENTROPY; an instance with `init` must have it before the first
 * set, as memory grows behind the pools when sets are loaded, and only then.
 *
 * A set: rulesReserve, write the image at rulesImage (make views anew, memory may have grown),
 * rulesBuild until it answers 0, look up, rulesFree. Sets are independent: build the next one,
 * change handles, free the last one.
 */

/** Room for the image of a set: its handle, ERR_RANGE, ERR_FULL, ERR_MEMORY. */
export function rulesReserve(bytes: u32): i32 {
  return sets.reserve(bytes);
}

/** Where the image of a set that is not built yet lies; 0 for any other handle. */
export function rulesImage(handle: u32): u32 {
  return sets.imageOf(handle);
}

/** Builds with at most `budget` records: 1 = go on, 0 = ready, ERR_RANGE, ERR_MEMORY, ERR_STALE. */
export function rulesBuild(handle: u32, budget: u32): i32 {
  return sets.build(handle, budget);
}

/** Gives a set back in any state: 0, ERR_STALE. */
export function rulesFree(handle: u32): i32 {
  return sets.free(handle);
}

/** The rule that matches the target in the ROUTE block: index + 1, 0, ERR_STALE, ERR_RANGE. */
export function rulesFind(handle: u32, what: u32, port: u32, nameBytes: u32): i32 {
  return verdicts.find(handle, what, port, nameBytes);
}

/** Is it bypassed? 0 = no, the rule's index + 1, VERDICT_UNMATCHED, ERR_STALE, ERR_RANGE. */
export function rulesVerdict(handle: u32, what: u32, port: u32, nameBytes: u32): i32 {
  return verdicts.verdict(handle, what, port, nameBytes);
}

/** Bytes of all sets. */
export function rulesBytes(): u32 {
  return sets.bytesInUse();
}
