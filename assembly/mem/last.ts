/**
 * Remembers the heads of the last packets that came in (DOS-7). The core never looks at them: when
 * an invariant broke, the host reads the LAST block of the dead instance and writes a capture. It
 * costs a copy of LAST_HEAD_BYTES a packet, whatever the packet holds.
 */
import * as layout from "../layout";

if (layout.LAST_HEAD_OFF + <usize>layout.LAST_HEAD_BYTES != <usize>layout.LAST_RECORD_BYTES) {
  ERROR("a record of LAST is its head and 16 bytes");
}
if (layout.LAST_MAX & (layout.LAST_MAX - 1)) ERROR("LAST_MAX must be a power of two");

let number: u32 = 0;

/**
 * Notes the packet of `len` bytes in the slot at `ptr`. The head is copied whole: what lies behind
 * a short packet is in its slot all the same, and `len` says what counts.
 */
export function noteLast(ptr: usize, len: u32, nowUs: f64): void {
  const index = number & (layout.LAST_MAX - 1);
  const record = layout.LAST_BASE + <usize>(index * layout.LAST_RECORD_BYTES);
  number++;
  store<f64>(record, nowUs, layout.LAST_TIME_OFF);
  store<u32>(record, number, layout.LAST_NUMBER_OFF);
  store<u32>(record, len, layout.LAST_LENGTH_OFF);
  const head = record + layout.LAST_HEAD_OFF;
  for (let off: usize = 0; off < <usize>layout.LAST_HEAD_BYTES; off += 32) {
    store<u64>(head + off, load<u64>(ptr + off));
    store<u64>(head + off, load<u64>(ptr + off, 8), 8);
    store<u64>(head + off, load<u64>(ptr + off, 16), 16);
    store<u64>(head + off, load<u64>(ptr + off, 24), 24);
  }
}
