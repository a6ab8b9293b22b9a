/**
 * Flow events. A record that has something to say is in the ready queue once, with its bits
 * gathered; `takeEvents` hands the records out in the order in which they joined.
 *
 * Flow and mapping records share the fields used here. Nothing is raised after EV_CLOSED or
 * EV_MAPPING_CLOSED.
 */
import {
  EVENT_BYTES,
  EVENT_CODE_OFF,
  EVENT_FLAGS_OFF,
  EVENT_HANDLE_OFF,
  EVENT_MAX,
  EVENT_PTR_OFF,
  EVENTS_BASE,
  EV_CLOSED,
  EV_MAPPING_CLOSED,
  FLOW_HANDLE_OFF,
  FLOW_PRIVATE_OFF,
} from "../layout";

/** Common private fields of flow and mapping records. */
export const RECORD_EVENT_BITS_OFF: usize = FLOW_PRIVATE_OFF;
export const RECORD_EVENT_CODE_OFF: usize = FLOW_PRIVATE_OFF + 4;
export const RECORD_READY_NEXT_OFF: usize = FLOW_PRIVATE_OFF + 8;
export const RECORD_HASH_NEXT_OFF: usize = FLOW_PRIVATE_OFF + 12;
export const RECORD_FREE_NEXT_OFF: usize = FLOW_PRIVATE_OFF + 16;

/** Kept in the bits: the record is in the queue; its last event was raised. */
const QUEUED: u32 = 0x80000000;
const OVER: u32 = 0x40000000;

let head: usize = 0;
let tail: usize = 0;

/** Makes a new record's event fields blank. */
export function initEvents(record: usize): void {
  store<u32>(record, 0, RECORD_EVENT_BITS_OFF);
  store<u32>(record, 0, RECORD_EVENT_CODE_OFF);
  store<u32>(record, 0, RECORD_READY_NEXT_OFF);
}

/** Adds event bits (EV_…) to a record; `code` is kept if it is not 0. */
export function raise(record: usize, bits: u32, code: u32): void {
  let all = load<u32>(record, RECORD_EVENT_BITS_OFF);
  if (all & OVER) return;
  all |= bits;
  if (bits & (EV_CLOSED | EV_MAPPING_CLOSED)) all |= OVER;
  if (code != 0) store<u32>(record, code, RECORD_EVENT_CODE_OFF);
  if (!(all & QUEUED)) {
    all |= QUEUED;
    store<u32>(record, 0, RECORD_READY_NEXT_OFF);
    if (tail != 0) store<u32>(tail, <u32>record, RECORD_READY_NEXT_OFF);
    else head = record;
    tail = record;
  }
  store<u32>(record, all, RECORD_EVENT_BITS_OFF);
}

/** Whether the record waits in the queue: then it must not be released. */
export function isQueued(record: usize): bool {
  return (load<u32>(record, RECORD_EVENT_BITS_OFF) & QUEUED) != 0;
}

/** Whether the record's last event was raised. */
export function isOver(record: usize): bool {
  return (load<u32>(record, RECORD_EVENT_BITS_OFF) & OVER) != 0;
}

/** Moves up to EVENT_MAX records' events to the EVENTS block; how many. */
export function takeEvents(): u32 {
  let taken: u32 = 0;
  while (head != 0 && taken < EVENT_MAX) {
    const record = head;
    head = load<u32>(record, RECORD_READY_NEXT_OFF);
    if (head == 0) tail = 0;
    const all = load<u32>(record, RECORD_EVENT_BITS_OFF);
    const event = EVENTS_BASE + <usize>taken * EVENT_BYTES;
    store<u32>(event, load<u32>(record, FLOW_HANDLE_OFF), EVENT_HANDLE_OFF);
    store<u32>(event, all & ~(QUEUED | OVER), EVENT_FLAGS_OFF);
    store<u32>(event, <u32>record, EVENT_PTR_OFF);
    store<u32>(event, load<u32>(record, RECORD_EVENT_CODE_OFF), EVENT_CODE_OFF);
    store<u32>(record, all & OVER, RECORD_EVENT_BITS_OFF);
    taken++;
  }
  return taken;
}
