/**
 * A byte stream in blocks: what a flow received and the host has not taken, what arrived ahead of a
 * hole, what is queued to be sent. Each block's `seq` is the sequence number of its first byte.
 *
 * Small pieces are copied into the tail, so bytes cost bytes and not packets (DOS-9); a block that
 * was received into is linked in as it is. `held` counts the memory behind the bytes (TCP-45).
 */
import { CHUNK_BYTES, SLOT_BYTES, SPAN_BYTES, SPAN_MAX, SPANS_BASE } from "../layout";
import { copy } from "../mem/bytes";
import { Block, giveBlock, takeChunk, takeSlot } from "../mem/block";

/** From this many queued bytes on, copies go into slots: fewer spans, denser memory. */
const BULK_BYTES: u32 = 16384;

@unmanaged
export class BlockList {
  head: Block | null;
  tail: Block | null;
  /** Bytes filled, and bytes of the blocks behind them. */
  bytes: u32;
  held: u32;

  /** Links a filled block in at the end. */
  push(block: Block): void {
    block.next = null;
    const tail = this.tail;
    if (tail) tail.next = block;
    else this.head = block;
    this.tail = block;
    this.bytes += block.end - block.start;
    this.held += block.size;
  }

  /** Copies `len` bytes with sequence number `seq` to the end; how many found room. */
  append(ptr: usize, len: u32, seq: u32): u32 {
    let done: u32 = 0;
    while (done < len) {
      let tail = this.tail;
      if (!tail || tail.end == tail.size) {
        tail = this.grow(len - done);
        if (!tail) return done;
        tail.seq = seq + done;
      }
      const part = min(len - done, tail.size - tail.end);
      copy(<usize>tail.data + tail.end, ptr + done, part);
      tail.end += part;
      this.bytes += part;
      done += part;
    }
    return done;
  }

  /** An empty block at the end: a slot when much is queued, else a chunk, else what there is. */
  private grow(need: u32): Block | null {
    let block: Block | null = null;
    if (this.bytes + need >= BULK_BYTES) block = takeSlot();
    if (!block) block = takeChunk();
    if (!block) block = takeSlot();
    if (block) this.push(block);
    return block;
  }

  /** Gives up the first `count` bytes, and blocks that hold no more of them. */
  drop(count: u32): void {
    assert(count <= this.bytes);
    let left = count;
    this.bytes -= count;
    while (left != 0) {
      const block = changetype<Block>(this.head);
      const len = block.end - block.start;
      if (left < len) {
        block.start += left;
        block.seq += left;
        return;
      }
      left -= len;
      this.shift(block);
    }
  }

  /** Moves all of `other` to the end of this list. */
  join(other: BlockList): void {
    const head = other.head;
    if (!head) return;
    const tail = this.tail;
    if (tail) tail.next = head;
    else this.head = head;
    this.tail = other.tail;
    this.bytes += other.bytes;
    this.held += other.held;
    other.reset();
  }

  /** Gives all blocks back, but keeps those that hold any of the first `lent` bytes. */
  clear(lent: u32): void {
    let kept: u32 = 0;
    let last: Block | null = null;
    let block = this.head;
    while (block) {
      if (kept >= lent) break;
      kept += block.end - block.start;
      last = block;
      block = block.next;
    }
    while (block) {
      const next = block.next;
      this.bytes -= block.end - block.start;
      this.held -= block.size;
      giveBlock(block);
      block = next;
    }
    this.tail = last;
    if (last) last.next = null;
    else this.head = null;
  }

  /** Writes spans of what is queued to the SPANS block: how many, up to SPAN_MAX. */
  lend(): u32 {
    let spans: u32 = 0;
    let block = this.head;
    while (block && spans < SPAN_MAX) {
      if (block.end != block.start) {
        putSpan(spans, <usize>block.data + block.start, block.end - block.start);
        spans++;
      }
      block = block.next;
    }
    return spans;
  }

  private reset(): void {
    this.head = null;
    this.tail = null;
    this.bytes = 0;
    this.held = 0;
  }

  private shift(block: Block): void {
    this.head = block.next;
    if (!this.head) this.tail = null;
    this.held -= block.size;
    giveBlock(block);
  }
}

if (offsetof<BlockList>() != 16) ERROR("BlockList must be 16 bytes");
if (SLOT_BYTES < CHUNK_BYTES) ERROR("a slot must be the larger block");

/** Writes span `index` of the answer of recvPeek and sendReserve. */
export function putSpan(index: u32, ptr: usize, len: u32): void {
  const span = SPANS_BASE + <usize>index * SPAN_BYTES;
  store<u32>(span, <u32>ptr);
  store<u32>(span, len, 4);
}

/** Bytes of the span that `putSpan` wrote at `index`. */
export function spanBytes(index: u32): u32 {
  return load<u32>(SPANS_BASE + <usize>index * SPAN_BYTES, 4);
}
