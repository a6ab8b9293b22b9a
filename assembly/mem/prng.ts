/**
 * Numbers that nobody outside can guess: SipHash of a counter under a key of its own.
 */
import { KEY_RANDOM, siphash64 } from "./siphash";

const counter: usize = memory.data(8, 8);

const ROUNDS: u32 = 4;
const state: usize = memory.data(8, 8);

/**
 * A secret one-to-one map of numbers of `2 * halfBits` bits (a Feistel network): counting its input
 * up gives numbers that neither repeat early nor can be foretold.
 */
export function permute(value: u32, halfBits: u32): u32 {
  const mask = ((<u32>1) << halfBits) - 1;
  let left = (value >> halfBits) & mask;
  let right = value & mask;
  for (let round: u32 = 0; round < ROUNDS; round++) {
    store<u32>(state, right);
    store<u32>(state, round + 1, 4);
    const mixed = left ^ ((<u32>siphash64(state, 8, KEY_RANDOM)) & mask);
    left = right;
    right = mixed;
  }
  return (left << halfBits) | right;
}

/** The next 32 random bits. */
export function random32(): u32 {
  store<u64>(counter, load<u64>(counter) + 1);
  return <u32>siphash64(counter, 8, KEY_RANDOM);
}
