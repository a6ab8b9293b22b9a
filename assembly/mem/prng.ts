/**
 * Numbers that nobody outside can guess: SipHash of a counter under a key of its own.
 */
import { KEY_RANDOM, siphash64 } from "./siphash";

const counter: usize = memory.data(8, 8);

/** The next 32 random bits. */
export function random32(): u32 {
  store<u64>(counter, load<u64>(counter) + 1);
  return <u32>siphash64(counter, 8, KEY_RANDOM);
}
