/**
 * Buffers: slots (SLOT_BYTES) and chunks (CHUNK_BYTES), each with a record that says which part is
 * filled and that can be linked into lists. A packet is received into a slot; a flow that wants its
 * payload takes the slot over and the RX entry gets a fresh one, so large payloads are not copied.
 *
 * Owner: whoever took a block gives it back, once. The bytes of all blocks that are taken stay
 * under the configured cap; slots of RX entries and of the stage are outside of it.
 */
import {
  BLOCK_BYTES,
  CFG_BUFFER_CAP_BYTES,
  CFG_RX_ENTRIES,
  CHUNK_BYTES,
  DGRAM_BYTES,
  DGRAM_PTR_OFF,
  GAUGE_BUFFERED_BYTES,
  GAUGE_CHUNKS_FREE,
  GAUGE_SLOTS_FREE,
  RX_BASE,
  RX_ENTRY_BYTES,
  RX_MAX,
  SLOT_BYTES,
  STAGE_BASE,
  STAGE_MAX,
  STAT_SLOTS_KEPT,
} from "../layout";
import { config } from "./config";
import { blocksBase, chunksBase, chunksCount, slotsBase, slotsCount } from "./pools";
import { count, setGauge } from "./stats";

export const BLOCK_SLOT: u32 = 1;
export const BLOCK_CHUNK: u32 = 2;

/**
 *   0      4      8       12    16     20    24     28    32
 *   | next | data | start | end | size | seq | kind | aux |
 */
@unmanaged
export class Block {
  /** The following block of a list, or 0 (see `next`). */
  nextPtr: u32;
  /** Address of the first byte. */
  data: u32;
  /** Bytes [start, end) after `data` are filled. */
  start: u32;
  end: u32;
  /** All bytes: SLOT_BYTES or CHUNK_BYTES. */
  size: u32;
  /** For the owner's use. */
  seq: u32;
  /** BLOCK_SLOT or BLOCK_CHUNK. */
  kind: u32;
  /** For the owner's use. */
  aux: u32;

  @inline get next(): Block | null {
    return changetype<Block | null>(<usize>this.nextPtr);
  }

  @inline set next(block: Block | null) {
    this.nextPtr = <u32>changetype<usize>(block);
  }
}

if (offsetof<Block>() != BLOCK_BYTES) ERROR("Block must have BLOCK_BYTES");

let freeSlots: Block | null = null;
let freeChunks: Block | null = null;
let freeSlotCount: u32 = 0;
let freeChunkCount: u32 = 0;
/** Blocks that were used at least once; those behind are touched when they are needed. */
let usedSlots: u32 = 0;
let usedChunks: u32 = 0;
let heldBytes: u32 = 0;

/** The block behind each RX entry (u32 each). */
const rxBlocks: usize = memory.data(256, 4);
/** Addresses of the stage's slots (u32 each). */
const stageSlots: usize = memory.data(128, 4);

if (RX_MAX * 4 != 256) ERROR("rxBlocks must have RX_MAX entries");
if (STAGE_MAX * 4 != 128) ERROR("stageSlots must have STAGE_MAX entries");

/** Makes all blocks free, and hands slots to the RX entries and the stage. */
export function initBlocks(): void {
  freeSlotCount = slotsCount();
  freeChunkCount = chunksCount();
  const entries = config(CFG_RX_ENTRIES);
  for (let i: u32 = 0; i < entries; i++) setRx(i, changetype<Block>(popSlot()));
  for (let i: u32 = 0; i < STAGE_MAX; i++) {
    const data = changetype<Block>(popSlot()).data;
    store<u32>(stageSlots + ((<usize>i) << 2), data);
    store<u32>(STAGE_BASE + i * DGRAM_BYTES + DGRAM_PTR_OFF, data);
  }
  publish();
}

/** An empty slot, or null: none left, or the cap is reached. */
export function takeSlot(): Block | null {
  if (isOverCap(SLOT_BYTES)) return null;
  const block = popSlot();
  if (block) hold(block);
  return block;
}

/** An empty chunk, or null: none left, or the cap is reached. */
export function takeChunk(): Block | null {
  if (isOverCap(CHUNK_BYTES)) return null;
  const block = popChunk();
  if (block) hold(block);
  return block;
}

/** Gives a block back. */
export function giveBlock(block: Block): void {
  assert(heldBytes >= block.size);
  heldBytes -= block.size;
  // A debug build spoils what was given back, so that a later reader is found out.
  if (ASC_OPTIMIZE_LEVEL == 0) memory.fill(block.data, 0xdb, CHUNK_BYTES);
  pushFree(block);
  publish();
}

/**
 * Takes over the slot behind RX entry `rxIndex` and puts a fresh one there. Null if there is none:
 * the payload then has to be copied or dropped. The caller sets start and end.
 */
export function keepRx(rxIndex: i32): Block | null {
  if (<u32>rxIndex >= config(CFG_RX_ENTRIES)) return null;
  const fresh = takeSlot();
  if (!fresh) return null;
  const kept = rxBlock(<u32>rxIndex);
  setRx(<u32>rxIndex, fresh);
  count(STAT_SLOTS_KEPT);
  return kept;
}

/** Address of the slot behind RX entry `rxIndex`. */
export function rxSlot(rxIndex: u32): usize {
  return rxBlock(rxIndex).data;
}

/** Address of the slot that belongs to stage record `index`. */
export function stageSlot(index: u32): usize {
  return load<u32>(stageSlots + ((<usize>index) << 2));
}

export function slotsFree(): u32 {
  return freeSlotCount;
}

export function chunksFree(): u32 {
  return freeChunkCount;
}

/** Bytes of all blocks that are taken. */
export function bufferedBytes(): u32 {
  return heldBytes;
}

function isOverCap(bytes: u32): bool {
  return heldBytes + bytes > config(CFG_BUFFER_CAP_BYTES);
}

function rxBlock(rxIndex: u32): Block {
  return changetype<Block>(<usize>load<u32>(rxBlocks + ((<usize>rxIndex) << 2)));
}

function setRx(rxIndex: u32, block: Block): void {
  store<u32>(rxBlocks + ((<usize>rxIndex) << 2), <u32>changetype<usize>(block));
  store<u32>(RX_BASE + rxIndex * RX_ENTRY_BYTES, block.data);
}

function makeBlock(index: u32, data: usize, kind: u32): Block {
  const block = changetype<Block>(blocksBase() + <usize>index * BLOCK_BYTES);
  block.data = <u32>data;
  block.kind = kind;
  block.size = kind == BLOCK_SLOT ? SLOT_BYTES : CHUNK_BYTES;
  return block;
}

function popSlot(): Block | null {
  if (freeSlotCount == 0) return null;
  freeSlotCount--;
  const block = freeSlots;
  if (block) {
    freeSlots = block.next;
    return block;
  }
  usedSlots++;
  const index = usedSlots - 1;
  return makeBlock(index, slotsBase() + index * SLOT_BYTES, BLOCK_SLOT);
}

function popChunk(): Block | null {
  if (freeChunkCount == 0) return null;
  freeChunkCount--;
  const block = freeChunks;
  if (block) {
    freeChunks = block.next;
    return block;
  }
  usedChunks++;
  const index = usedChunks - 1;
  return makeBlock(slotsCount() + index, chunksBase() + index * CHUNK_BYTES, BLOCK_CHUNK);
}

function pushFree(block: Block): void {
  if (block.kind == BLOCK_SLOT) {
    block.next = freeSlots;
    freeSlots = block;
    freeSlotCount++;
  } else {
    block.next = freeChunks;
    freeChunks = block;
    freeChunkCount++;
  }
}

function hold(block: Block): void {
  block.next = null;
  block.start = 0;
  block.end = 0;
  block.seq = 0;
  block.aux = 0;
  heldBytes += block.size;
  publish();
}

function publish(): void {
  setGauge(GAUGE_SLOTS_FREE, freeSlotCount);
  setGauge(GAUGE_CHUNKS_FREE, freeChunkCount);
  setGauge(GAUGE_BUFFERED_BYTES, heldBytes);
}
