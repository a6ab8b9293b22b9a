/**
 * The table of pools: everything whose size depends on the configuration, placed once by `init`
 * above AssemblyScript's constants. Nothing is allocated afterwards and memory never grows again,
 * so views of the host stay valid. Pages that were never written cost nothing, hence pools are
 * sized for their bound.
 *
 * Slots are SLOT_BYTES each and hold a packet of any size; chunks are CHUNK_BYTES. Three quarters
 * of the buffer cap can be slots, half of it chunks: which of the two a load needs depends on
 * whether the device gives super-packets, and the cap itself is kept by mem/block.ts. Slots of the
 * RX and STAGE blocks come on top, as those are never free.
 */
import * as layout from "../layout";
import { config, hasFlag } from "./config";
import { setGauge } from "./stats";

/** Records that wait for the host's release do not count against a bound: this many more. */
const UNRELEASED_MAX: u32 = 512;
/** Bytes of a client record, of an entry of the UDP address filter, of a reassembly record. */
export const CLIENT_BYTES: u32 = 64;
export const PEER_BYTES: u32 = 32;
export const REASSEMBLY_BYTES: u32 = 128;
/** Copies of packet parts that TX descriptors point at until txDone: echo data and quotes. */
export const ARENA_BYTES: u32 = 1048576;
/** Filter entries a mapping, on average. */
const PEERS_PER_MAPPING: u32 = 4;
const PAGE_BYTES: u64 = 65536;
const PAGES_MAX: u64 = 65536;

let slotsBaseV: usize = 0;
let slotsCountV: u32 = 0;
let chunksBaseV: usize = 0;
let chunksCountV: u32 = 0;
let blocksBaseV: usize = 0;
let flowsBaseV: usize = 0;
let flowsCountV: u32 = 0;
let flowBucketsV: usize = 0;
let flowBucketMaskV: u32 = 0;
let timeWaitsBaseV: usize = 0;
let timeWaitsCountV: u32 = 0;
let timeWaitBucketsV: usize = 0;
let timeWaitBucketMaskV: u32 = 0;
let mappingsBaseV: usize = 0;
let mappingsCountV: u32 = 0;
let mappingBucketsV: usize = 0;
let mappingBucketMaskV: u32 = 0;
let clientsBaseV: usize = 0;
let clientBucketsV: usize = 0;
let peersBaseV: usize = 0;
let peersCountV: u32 = 0;
let reassembliesBaseV: usize = 0;
let reassembliesCountV: u32 = 0;
let reassemblyBucketsV: usize = 0;
let reassemblyBucketMaskV: u32 = 0;
let piecesBaseV: usize = 0;
let piecesCountV: u32 = 0;
let timersBaseV: usize = 0;
let timersCountV: u32 = 0;
let timerPositionsV: usize = 0;
let arenaBaseV: usize = 0;

/** Next free address while the table is being laid out; beyond 4 GiB means that it does not fit. */
let top: u64 = 0;

/** Places all pools and grows memory: 0 or ERR_MEMORY. Fresh pages are zero. */
export function initPools(): i32 {
  countAll();
  top = <u64>__heap_base;
  // Small and busy things first, then the wide ranges.
  timersBaseV = place(timersCountV, 16);
  timerPositionsV = place(timersCountV, 4);
  flowBucketsV = place(flowBucketMaskV + 1, 4);
  timeWaitBucketsV = place(timeWaitBucketMaskV + 1, 4);
  mappingBucketsV = place(mappingBucketMaskV + 1, 4);
  clientBucketsV = place(mappingBucketMaskV + 1, 4);
  reassemblyBucketsV = place(reassemblyBucketMaskV + 1, 4);
  flowsBaseV = place(flowsCountV, layout.FLOW_BYTES);
  timeWaitsBaseV = place(timeWaitsCountV, layout.TIME_WAIT_BYTES);
  mappingsBaseV = place(mappingsCountV, layout.MAPPING_BYTES);
  clientsBaseV = place(mappingsCountV, CLIENT_BYTES);
  peersBaseV = place(peersCountV, PEER_BYTES);
  reassembliesBaseV = place(reassembliesCountV, REASSEMBLY_BYTES);
  blocksBaseV = place(slotsCountV + chunksCountV, layout.BLOCK_BYTES);
  arenaBaseV = place(1, ARENA_BYTES);
  piecesBaseV = place(piecesCountV, layout.CHUNK_BYTES);
  chunksBaseV = place(chunksCountV, layout.CHUNK_BYTES);
  slotsBaseV = place(slotsCountV, layout.SLOT_BYTES);
  const pages = (top + PAGE_BYTES - 1) / PAGE_BYTES;
  // The last page stays out, so that no sum of an address and a length wraps.
  if (pages >= PAGES_MAX) return layout.ERR_MEMORY;
  const present = <u64>memory.size();
  if (pages > present && memory.grow(<i32>(pages - present)) < 0) return layout.ERR_MEMORY;
  setGauge(layout.GAUGE_MEMORY_PAGES, <u32>memory.size());
  setGauge(layout.GAUGE_SLOTS, slotsCountV);
  setGauge(layout.GAUGE_CHUNKS, chunksCountV);
  return 0;
}

function countAll(): void {
  const cap = config(layout.CFG_BUFFER_CAP_BYTES);
  const lent = config(layout.CFG_RX_ENTRIES) + layout.STAGE_MAX;
  slotsCountV = lent + (cap / layout.SLOT_BYTES / 4) * 3 + 1;
  chunksCountV = cap / layout.CHUNK_BYTES / 2;
  flowsCountV = config(layout.CFG_FLOWS);
  flowBucketMaskV = bucketsFor(flowsCountV) - 1;
  timeWaitsCountV = config(layout.CFG_TIME_WAITS);
  timeWaitBucketMaskV = bucketsFor(timeWaitsCountV) - 1;
  mappingsCountV = config(layout.CFG_MAPPINGS) + UNRELEASED_MAX;
  mappingBucketMaskV = bucketsFor(mappingsCountV) - 1;
  const filters = hasFlag(layout.FLAG_UDP_ADDRESS_FILTER);
  peersCountV = filters ? mappingsCountV * PEERS_PER_MAPPING : 0;
  reassembliesCountV = config(layout.CFG_REASSEMBLY_DATAGRAMS);
  reassemblyBucketMaskV = bucketsFor(reassembliesCountV) - 1;
  piecesCountV = config(layout.CFG_REASSEMBLY_BYTES) / layout.CHUNK_BYTES;
  // One a flow, one a mapping, TIME-WAIT, reassembly.
  timersCountV = flowsCountV + mappingsCountV + 2;
}

/** A power of two, at least as many buckets as records. */
function bucketsFor(records: u32): u32 {
  let buckets: u32 = 16;
  while (buckets < records) buckets <<= 1;
  return buckets;
}

function place(count: u32, bytes: u32): usize {
  const base = (top + 63) & ~63;
  top = base + <u64>count * <u64>bytes;
  return <usize>base;
}

/** Slots, those of the RX entries and the stage included. */
export function slotsBase(): usize {
  return slotsBaseV;
}
export function slotsCount(): u32 {
  return slotsCountV;
}
export function chunksBase(): usize {
  return chunksBaseV;
}
export function chunksCount(): u32 {
  return chunksCountV;
}
/** Block records: slots first, then chunks. */
export function blocksBase(): usize {
  return blocksBaseV;
}
export function flowsBase(): usize {
  return flowsBaseV;
}
export function flowsCount(): u32 {
  return flowsCountV;
}
/** Hash buckets are u32 each. */
export function flowBuckets(): usize {
  return flowBucketsV;
}
export function flowBucketMask(): u32 {
  return flowBucketMaskV;
}
export function timeWaitsBase(): usize {
  return timeWaitsBaseV;
}
export function timeWaitsCount(): u32 {
  return timeWaitsCountV;
}
export function timeWaitBuckets(): usize {
  return timeWaitBucketsV;
}
export function timeWaitBucketMask(): u32 {
  return timeWaitBucketMaskV;
}
export function mappingsBase(): usize {
  return mappingsBaseV;
}
/** Records, CFG_MAPPINGS of which may live at once. */
export function mappingsCount(): u32 {
  return mappingsCountV;
}
export function mappingBuckets(): usize {
  return mappingBucketsV;
}
export function mappingBucketMask(): u32 {
  return mappingBucketMaskV;
}
/** As many client records and buckets as mappings have. */
export function clientsBase(): usize {
  return clientsBaseV;
}
export function clientBuckets(): usize {
  return clientBucketsV;
}
export function peersBase(): usize {
  return peersBaseV;
}
export function peersCount(): u32 {
  return peersCountV;
}
export function reassembliesBase(): usize {
  return reassembliesBaseV;
}
export function reassembliesCount(): u32 {
  return reassembliesCountV;
}
export function reassemblyBuckets(): usize {
  return reassemblyBucketsV;
}
export function reassemblyBucketMask(): u32 {
  return reassemblyBucketMaskV;
}
/** Pieces of fragments, CHUNK_BYTES each. */
export function piecesBase(): usize {
  return piecesBaseV;
}
export function piecesCount(): u32 {
  return piecesCountV;
}
/** Heap entries of 16 bytes, and one u32 an id. */
export function timersBase(): usize {
  return timersBaseV;
}
export function timersCount(): u32 {
  return timersCountV;
}
export function timerPositions(): usize {
  return timerPositionsV;
}
export function arenaBase(): usize {
  return arenaBaseV;
}
