/**
 * SipHash (Aumasson and Bernstein) under keys from the entropy block: 1-3 rounds for tables, 2-4
 * where a number goes out (RFC 6528 §3, RFC 7323 §5.4, RFC 6437 §3). Who does not know the entropy
 * can neither aim at one bucket nor guess an initial sequence number.
 */
import { ENTROPY_BASE } from "../layout";

/** Keys: 16 of the 64 bytes of entropy each. */
export const KEY_TABLES: u32 = 0;
export const KEY_SEQUENCE: u32 = 1;
export const KEY_TIMESTAMP: u32 = 2;
export const KEY_RANDOM: u32 = 3;

const tuple: usize = memory.data(40, 8);

/** Hash of `bytes` bytes at `ptr` under key `keyIndex` (KEY_…), 2-4 rounds. */
export function siphash64(ptr: usize, bytes: u32, keyIndex: u32): u64 {
  return sip(ptr, bytes, keyIndex, 2, 4);
}

/** Table hash of a pair of addresses with both ports (`local << 16 | remote`, any fixed order). */
export function hashTuple(local: usize, remote: usize, ports: u32, family: u32): u32 {
  let bytes: u32 = 40;
  store<u64>(tuple, ((<u64>family) << 32) | ports);
  if (family == 4) {
    store<u32>(tuple, load<u32>(local), 8);
    store<u32>(tuple, load<u32>(remote), 12);
    bytes = 16;
  } else {
    store<u64>(tuple, load<u64>(local), 8);
    store<u64>(tuple, load<u64>(local, 8), 16);
    store<u64>(tuple, load<u64>(remote), 24);
    store<u64>(tuple, load<u64>(remote, 8), 32);
  }
  const hash = sip(tuple, bytes, KEY_TABLES, 1, 3);
  return <u32>(hash ^ (hash >> 32));
}

/** Table hash of one address with a number (a port, or 0). */
export function hashEndpoint(address: usize, number: u32, family: u32): u32 {
  let bytes: u32 = 24;
  store<u64>(tuple, ((<u64>family) << 32) | number);
  if (family == 4) {
    store<u64>(tuple, <u64>load<u32>(address), 8);
    bytes = 16;
  } else {
    store<u64>(tuple, load<u64>(address), 8);
    store<u64>(tuple, load<u64>(address, 8), 16);
  }
  const hash = sip(tuple, bytes, KEY_TABLES, 1, 3);
  return <u32>(hash ^ (hash >> 32));
}

/** Table hash of any bytes, 1-3 rounds. */
export function hashBytes(ptr: usize, bytes: u32): u64 {
  return sip(ptr, bytes, KEY_TABLES, 1, 3);
}

function sip(ptr: usize, bytes: u32, keyIndex: u32, rounds: u32, lastRounds: u32): u64 {
  const key = ENTROPY_BASE + ((<usize>keyIndex) << 4);
  const k0 = load<u64>(key);
  const k1 = load<u64>(key, 8);
  let v0 = k0 ^ 0x736f6d6570736575;
  let v1 = k1 ^ 0x646f72616e646f6d;
  let v2 = k0 ^ 0x6c7967656e657261;
  let v3 = k1 ^ 0x7465646279746573;
  const words = bytes >> 3;
  // The words, the last one with the length on top, then the finish as one more turn.
  for (let i: u32 = 0; i <= words + 1; i++) {
    let word: u64 = 0;
    let turns = rounds;
    if (i < words) {
      word = load<u64>(ptr + ((<usize>i) << 3));
    } else if (i == words) {
      word = (<u64>bytes) << 56;
      for (let j: u32 = words << 3; j < bytes; j++) {
        const shift: u64 = (j & 7) << 3;
        word |= (<u64>load<u8>(ptr + j)) << shift;
      }
    } else {
      v2 ^= 0xff;
      turns = lastRounds;
    }
    v3 ^= word;
    for (let turn: u32 = 0; turn < turns; turn++) {
      v0 += v1;
      v1 = rotl<u64>(v1, 13) ^ v0;
      v0 = rotl<u64>(v0, 32);
      v2 += v3;
      v3 = rotl<u64>(v3, 16) ^ v2;
      v0 += v3;
      v3 = rotl<u64>(v3, 21) ^ v0;
      v2 += v1;
      v1 = rotl<u64>(v1, 17) ^ v2;
      v2 = rotl<u64>(v2, 32);
    }
    v0 ^= word;
  }
  return v0 ^ v1 ^ v2 ^ v3;
}
