/**
 * Datagram records out of the core: what one ingest has for the host besides flow events.
 */
import { DGRAMS_BASE, DGRAM_BYTES, DGRAM_MAX, DROP_DGRAM_FULL, GAUGE_DGRAM_COUNT } from "../layout";
import { clear } from "../mem/bytes";
import { count, gauge, setGauge } from "../mem/stats";

/** Forgets the records of the ingest before. */
export function resetRecords(): void {
  setGauge(GAUGE_DGRAM_COUNT, 0);
}

/** How many records there are. */
export function recordCount(): u32 {
  return gauge(GAUGE_DGRAM_COUNT);
}

/** A blank record, or 0 if the block is full (counted). */
export function takeRecord(): usize {
  const used = gauge(GAUGE_DGRAM_COUNT);
  if (used >= DGRAM_MAX) {
    count(DROP_DGRAM_FULL);
    return 0;
  }
  setGauge(GAUGE_DGRAM_COUNT, used + 1);
  const record = DGRAMS_BASE + <usize>used * DGRAM_BYTES;
  clear(record, DGRAM_BYTES);
  return record;
}
