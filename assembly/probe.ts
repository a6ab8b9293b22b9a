/**
 * The core for tests: what the host has, and doors into internals that take and give numbers over a
 * scratch region. Never shipped.
 */
export * from "./index";
import { Block, bufferedBytes, giveBlock, keepRx, takeChunk, takeSlot } from "./mem/block";
import { takeToken } from "./mem/bucket";
import { advance } from "./mem/clock";
import { permute } from "./mem/prng";
import { siphash64 } from "./mem/siphash";
import * as timers from "./mem/timers";
import { addSum, addSwapped, finishSum } from "./wire/checksum";

const SCRATCH_BYTES: u32 = 131072;
const scratch: usize = memory.data(131072, 16);

export function probeScratch(): usize {
  return scratch;
}

export function probeScratchBytes(): u32 {
  return SCRATCH_BYTES;
}

/** Checksum of `bytes` at `ptr`, as it lies in memory. */
export function probeChecksum(ptr: usize, bytes: u32): u32 {
  return finishSum(addSum(0, ptr, bytes));
}

/** The same, taken in two parts. */
export function probeChecksumSplit(ptr: usize, split: u32, bytes: u32): u32 {
  const first = addSum(0, ptr, split);
  const rest = bytes - split;
  return finishSum(
    split & 1 ? addSwapped(first, ptr + split, rest) : addSum(first, ptr + split, rest),
  );
}

/** Low and high half of SipHash-2-4 under entropy key `key`. */
export function probeSiphashLow(ptr: usize, bytes: u32, key: u32): u32 {
  return <u32>siphash64(ptr, bytes, key);
}

export function probeSiphashHigh(ptr: usize, bytes: u32, key: u32): u32 {
  return <u32>(siphash64(ptr, bytes, key) >> 32);
}

export function probePermute(value: u32, halfBits: u32): u32 {
  return permute(value, halfBits);
}

export function probeToken(bucket: u32, nowUs: f64): u32 {
  advance(nowUs);
  return takeToken(bucket) ? 1 : 0;
}

export function probeArm(id: u32, deadlineUs: f64): void {
  timers.armTimer(id, deadlineUs);
}

export function probeCancel(id: u32): void {
  timers.cancelTimer(id);
}

export function probePop(nowUs: f64): i32 {
  return timers.popDue(nowUs);
}

export function probeNext(): f64 {
  return timers.nextDeadline();
}

export function probeTimerDeadline(id: u32): f64 {
  return timers.timerDeadline(id);
}

/** Blocks by the address of their record; 0 is none. */
export function probeTakeSlot(): usize {
  return changetype<usize>(takeSlot());
}

export function probeTakeChunk(): usize {
  return changetype<usize>(takeChunk());
}

export function probeKeepRx(rxIndex: i32): usize {
  return changetype<usize>(keepRx(rxIndex));
}

export function probeBlockData(block: usize): u32 {
  return changetype<Block>(block).data;
}

export function probeGive(block: usize): void {
  giveBlock(changetype<Block>(block));
}

export function probeBuffered(): u32 {
  return bufferedBytes();
}
