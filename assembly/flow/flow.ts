/**
 * Flow records: one a TCP connection, from the SYN until the host lets go of it.
 *
 *   stage     | state of the record         | legal host calls              | bounded by
 *   free      | on the free list, no handle | none                          | CFG_FLOWS
 *   pending   | TCP_PENDING, in the table   | accept reject abort release   | CFG_DIALS, deadline
 *   half-open | TCP_SYN_RECEIVED, likewise  | all                           | CFG_HALF_OPEN, tries
 *   living    | ESTABLISHED … LAST-ACK      | all                           | tries, keepalive
 *   over      | EV_CLOSED raised, no table  | consume commit (void) release | the host
 *
 * EV_OPEN is raised once when a record leaves `free`, EV_CLOSED once when it becomes `over`. A
 * handle holds the record's index and a generation that changes when it is given back, so a stale
 * handle names nothing. Free records are used in the order in which they were given back, which
 * keeps generations apart as long as possible and does not depend on addresses.
 */
import {
  FLOW_BYTES,
  FLOW_PRIVATE_OFF,
  GAUGE_FLOWS,
  HANDLE_GEN_MASK,
  HANDLE_GEN_SHIFT,
  HANDLE_INDEX_MASK,
} from "../layout";
import { clear } from "../mem/bytes";
import { flowsBase, flowsCount } from "../mem/pools";
import { setGauge } from "../mem/stats";

/** What TCP's record begins with; up to FLOW_PRIVATE_OFF the host may read it (abi.ts). */
@unmanaged
export class Flow {
  handle: u32;
  family: u8;
  /** TCP_…; written by tcp/state.ts only. */
  state: u8;
  mode: u8;
  /** 1 while the handle names this record. */
  isLive: u8;
  localPort: u16;
  remotePort: u16;
  unused12: u32;
  /** 16 bytes each. */
  localLo: u64;
  localHi: u64;
  remoteLo: u64;
  remoteHi: u64;
  bytesIn: f64;
  bytesOut: f64;
  openedUs: f64;
  packetsIn: u32;
  packetsOut: u32;
  retransmits: u32;
  srttUs: u32;
  name: u32;
  verdict: u32;
  owner: u16;
  nameFrom: u8;
  unused99: u8;
  unused100: u32;
  /** Used by flow/events.ts. */
  eventBits: u32;
  eventCode: u32;
  readyNext: u32;
  /** Used by flow/demux.ts: the next record of a bucket. */
  hashNext: u32;
  /** Next free record; while the record is in use, its hash. */
  freeNext: u32;

  @inline get ptr(): usize {
    return changetype<usize>(this);
  }

  /** Address of the local address: the destination that the client talks to. */
  @inline get local(): usize {
    return changetype<usize>(this) + offsetof<Flow>("localLo");
  }

  /** Address of the client's address. */
  @inline get remote(): usize {
    return changetype<usize>(this) + offsetof<Flow>("remoteLo");
  }

  @inline get index(): u32 {
    return this.handle & HANDLE_INDEX_MASK;
  }
}

if (offsetof<Flow>("localLo") != 16) ERROR("Flow differs from abi.ts at the addresses");
if (offsetof<Flow>("bytesIn") != 48) ERROR("Flow differs from abi.ts at the counters");
if (offsetof<Flow>("name") != 88) ERROR("Flow differs from abi.ts at the name");
if (offsetof<Flow>("eventBits") != FLOW_PRIVATE_OFF) ERROR("Flow's private part is misplaced");

let freeHead: u32 = 0;
let freeTail: u32 = 0;
let usedCount: u32 = 0;

/** Makes all records free. */
export function initFlows(): void {
  freeHead = 0;
  freeTail = 0;
  usedCount = 0;
  for (let i: u32 = 0; i < flowsCount(); i++) {
    const flow = flowAt(i);
    flow.handle = (1 << HANDLE_GEN_SHIFT) | i;
    pushFree(flow);
  }
}

/** The record with index `index`, living or not. */
export function flowAt(index: u32): Flow {
  assert(index < flowsCount());
  return changetype<Flow>(flowsBase() + <usize>index * FLOW_BYTES);
}

/** A blank record with a fresh handle, or null if all are in use. */
export function takeFlow(): Flow | null {
  if (freeHead == 0) return null;
  const flow = changetype<Flow>(<usize>freeHead);
  freeHead = flow.freeNext;
  if (freeHead == 0) freeTail = 0;
  const handle = flow.handle;
  clear(flow.ptr, FLOW_BYTES);
  flow.handle = handle;
  flow.isLive = 1;
  usedCount++;
  setGauge(GAUGE_FLOWS, usedCount);
  return flow;
}

/** Gives a record back; its handle must have been retired. */
export function giveFlow(flow: Flow): void {
  assert(usedCount != 0);
  usedCount--;
  pushFree(flow);
  setGauge(GAUGE_FLOWS, usedCount);
}

/** Makes the record's handle stale: from now on only a new one will name it. Never generation 0. */
export function retireHandle(flow: Flow): void {
  let generation = ((flow.handle >> HANDLE_GEN_SHIFT) + 1) & HANDLE_GEN_MASK;
  if (generation == 0) generation = 1;
  flow.handle = (generation << HANDLE_GEN_SHIFT) | flow.index;
  flow.isLive = 0;
}

/** The record that `handle` names, or null. */
export function flowOf(handle: u32): Flow | null {
  const index = handle & HANDLE_INDEX_MASK;
  if (index >= flowsCount()) return null;
  const flow = flowAt(index);
  return flow.isLive != 0 && flow.handle == handle ? flow : null;
}

/** Records in use. */
export function flowsUsed(): u32 {
  return usedCount;
}

function pushFree(flow: Flow): void {
  flow.state = 0;
  flow.freeNext = 0;
  if (freeTail != 0) changetype<Flow>(<usize>freeTail).freeNext = <u32>flow.ptr;
  else freeHead = <u32>flow.ptr;
  freeTail = <u32>flow.ptr;
}
