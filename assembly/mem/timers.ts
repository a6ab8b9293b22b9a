/**
 * All deadlines in one heap with four children a node. An id has at most one deadline; its place in
 * the heap is kept, so that arming anew and cancelling cost O(log n). Equal deadlines fire in the
 * order of their ids, which makes the order depend on inputs alone.
 *
 * Entry: {deadline f64, id u32, unused u32}. Position: place + 1, or 0 if the id is not armed.
 */
import { NEVER } from "./clock";
import { flowsCount, timerPositions, timersBase, timersCount } from "./pools";

let armed: u32 = 0;

/** Id of the timer of flow record `index`. */
export function flowTimer(index: u32): u32 {
  return index;
}

/** Id of the timer of mapping record `index`. */
export function mappingTimer(index: u32): u32 {
  return flowsCount() + index;
}

/** The one timer of all TIME-WAIT records. */
export function timeWaitTimer(): u32 {
  return timersCount() - 2;
}

/** The one timer of all incomplete datagrams. */
export function reassemblyTimer(): u32 {
  return timersCount() - 1;
}

/** Sets the deadline of `id`, replacing an earlier one. */
export function armTimer(id: u32, deadlineUs: f64): void {
  assert(id < timersCount());
  let place = position(id);
  if (place == 0) {
    armed++;
    place = armed;
    put(place - 1, deadlineUs, id);
    siftUp(place - 1);
    return;
  }
  const before = deadlineAt(place - 1);
  store<f64>(entry(place - 1), deadlineUs);
  if (deadlineUs < before) siftUp(place - 1);
  else siftDown(place - 1);
}

/** Takes `id`'s deadline away, if it has one. */
export function cancelTimer(id: u32): void {
  assert(id < timersCount());
  const place = position(id);
  if (place == 0) return;
  store<u32>(timerPositions() + ((<usize>id) << 2), 0);
  armed--;
  if (place - 1 == armed) return;
  put(place - 1, deadlineAt(armed), idAt(armed));
  siftUp(place - 1);
  siftDown(position(idAt(place - 1)) - 1);
}

/** Whether `id` has a deadline. */
export function isArmed(id: u32): bool {
  return position(id) != 0;
}

/** `id`'s deadline, or NEVER. */
export function timerDeadline(id: u32): f64 {
  const place = position(id);
  return place == 0 ? NEVER : deadlineAt(place - 1);
}

/** The earliest deadline, or NEVER. */
export function nextDeadline(): f64 {
  return armed == 0 ? NEVER : deadlineAt(0);
}

/** Removes the earliest timer whose deadline is not after `nowUs`: its id, or -1. */
export function popDue(nowUs: f64): i32 {
  if (armed == 0) return -1;
  if (deadlineAt(0) > nowUs) return -1;
  const id = idAt(0);
  cancelTimer(id);
  return <i32>id;
}

function entry(place: u32): usize {
  return timersBase() + ((<usize>place) << 4);
}

function deadlineAt(place: u32): f64 {
  return load<f64>(entry(place));
}

function idAt(place: u32): u32 {
  return load<u32>(entry(place), 8);
}

function position(id: u32): u32 {
  return load<u32>(timerPositions() + ((<usize>id) << 2));
}

function put(place: u32, deadlineUs: f64, id: u32): void {
  store<f64>(entry(place), deadlineUs);
  store<u32>(entry(place), id, 8);
  store<u32>(timerPositions() + ((<usize>id) << 2), place + 1);
}

/** Whether {deadlineUs, id} fires before the entry at `place`. */
function isBefore(deadlineUs: f64, id: u32, place: u32): bool {
  const other = deadlineAt(place);
  return deadlineUs < other || (deadlineUs == other && id < idAt(place));
}

function siftUp(from: u32): void {
  let place = from;
  const deadlineUs = deadlineAt(place);
  const id = idAt(place);
  while (place > 0) {
    const parent = (place - 1) >> 2;
    if (!isBefore(deadlineUs, id, parent)) break;
    put(place, deadlineAt(parent), idAt(parent));
    place = parent;
  }
  put(place, deadlineUs, id);
}

function siftDown(from: u32): void {
  let place = from;
  const deadlineUs = deadlineAt(place);
  const id = idAt(place);
  for (;;) {
    const first = (place << 2) + 1;
    if (first >= armed) break;
    const end = min(first + 4, armed);
    let least = first;
    for (let child = first + 1; child < end; child++) {
      if (isBefore(deadlineAt(child), idAt(child), least)) least = child;
    }
    if (isBefore(deadlineUs, id, least)) break;
    put(place, deadlineAt(least), idAt(least));
    place = least;
  }
  put(place, deadlineUs, id);
}
