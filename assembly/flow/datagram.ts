/**
 * UDP mappings: one a client address and port (RFC 4787 REQ-1), found by a keyed hash, bounded in
 * all and for each client address; the least recently used gives way. A mapping remembers its last
 * three destinations with what their datagrams looked like, so that an ICMP error can quote them.
 *
 * A mapping is living (in the hash and in two LRU lists, timer armed), then closed (event raised,
 * waiting for the host's release), then free. Handles are stale from the release on.
 */
import {
  CFG_MAPPINGS,
  CFG_MAPPINGS_PER_CLIENT,
  CFG_UDP_DNS_ANSWERED_MS,
  CFG_UDP_DNS_MS,
  CFG_UDP_IDLE_MS,
  CFG_UDP_ONE_WAY_MS,
  CFG_UDP_TIMEOUT_MS,
  CLOSE_EVICTED,
  CLOSE_IDLE,
  ERR_STALE,
  ERR_STATE,
  EV_MAPPING_CLOSED,
  EV_MAPPING_OPEN,
  FLAG_UDP_NO_INBOUND_REFRESH,
  FLOW_PRIVATE_OFF,
  GAUGE_MAPPINGS,
  GAUGE_UNRELEASED,
  HANDLE_GEN_MASK,
  HANDLE_GEN_SHIFT,
  HANDLE_INDEX_MASK,
  HANDLE_MAPPING,
  MAPPING_BYTES,
  STAT_MAPPINGS_EVICTED,
  STAT_MAPPINGS_OPENED,
} from "../layout";
import { clear, equalAddress, putAddress } from "../mem/bytes";
import { now } from "../mem/clock";
import { config, configUs, hasFlag } from "../mem/config";
import { mappingBucketMask, mappingBuckets, mappingsBase, mappingsCount } from "../mem/pools";
import { hashEndpoint } from "../mem/siphash";
import { count, gauge, setGauge } from "../mem/stats";
import { armTimer, cancelTimer, isArmed, mappingTimer, timerDeadline } from "../mem/timers";
import { Client, clientOf, dropClient } from "./client";
import { forgetPeers } from "./peers";
import { initEvents, isOver, isQueued, raise } from "./events";

const DNS_PORT: u32 = 53;
/**
 * Flags: every destination so far was a DNS server; the last datagram came from upstream; one ever
 * did.
 */
const ONLY_DNS: u32 = 1;
const ANSWERED: u32 = 2;
const TWO_WAY: u32 = 4;

export const RECENT_COUNT: u32 = 3;
const RECENT_BYTES: u32 = 32;

/** A destination and the last datagram to it, as far as an ICMP error quotes it. */
@unmanaged
export class Recent {
  addressLow: u64;
  addressHigh: u64;
  port: u16;
  /** UDP length and checksum (as it lies in memory). */
  udpLen: u16;
  sum: u16;
  /** IPv4 identification and flags/offset, as they lie in memory. */
  ipId: u16;
  ipFrag: u16;
  hops: u8;
  isUsed: u8;
  /** First word of the IP header, as it lies in memory. */
  firstWord: u32;

  @inline get address(): usize {
    return changetype<usize>(this);
  }
}

/** The first FLOW_PRIVATE_OFF bytes are the public part, shared with flows (abi.ts). */
@unmanaged
export class Mapping {
  handle: u32;
  family: u8;
  state: u8;
  mode: u8;
  spare: u8;
  /** The first destination's port; the client's. */
  localPort: u16;
  remotePort: u16;
  unused: u32;
  localLow: u64;
  localHigh: u64;
  remoteLow: u64;
  remoteHigh: u64;
  bytesIn: f64;
  bytesOut: f64;
  openedUs: f64;
  packetsIn: u32;
  packetsOut: u32;
  retransmits: u32;
  srttUs: u32;
  name: u32;
  verdict: u32;
  owner: u16;
  nameFrom: u8;
  /** Type of service of the client's last datagram. */
  tos: u8;
  unused2: u32;
  // Private from here (FLOW_PRIVATE_OFF), the first five as in every record (flow/events.ts).
  eventBits: u32;
  eventCode: u32;
  readyNext: u32;
  hashNext: u32;
  freeNext: u32;
  flags: u32;
  /** Neighbours in the list of all mappings and in the client's, by time of last use. */
  older: u32;
  newer: u32;
  clientOlder: u32;
  clientNewer: u32;
  client: u32;
  /** Address filter: the list of those who may answer (flow/peers.ts). */
  peers: u32;
  usedUs: f64;
  // Three Recent records fill the rest.

  @inline get local(): usize {
    return changetype<usize>(this) + 16;
  }
  @inline get remote(): usize {
    return changetype<usize>(this) + 32;
  }
  @inline get index(): u32 {
    return this.handle & HANDLE_INDEX_MASK;
  }
}

const RECENTS_OFF: usize = MAPPING_BYTES - RECENT_COUNT * RECENT_BYTES;

if (offsetof<Mapping>("eventBits") != FLOW_PRIVATE_OFF) ERROR("the public part is out of place");
if (offsetof<Mapping>() > RECENTS_OFF) ERROR("Mapping runs into its recent destinations");
if (offsetof<Recent>() > RECENT_BYTES) ERROR("Recent outgrew RECENT_BYTES");

let freeHead: u32 = 0;
let oldest: u32 = 0;
let newest: u32 = 0;

/** Records that were used at least once; those behind are touched when they are needed. */
let usedCount: u32 = 0;

/** The mapping that `handle` names, living or closed; null if it is stale. */
export function mappingOf(handle: u32): Mapping | null {
  const index = handle & HANDLE_INDEX_MASK;
  if ((handle & HANDLE_MAPPING) == 0 || index >= mappingsCount()) return null;
  const mapping = mappingAt(index);
  return mapping.handle == handle && mapping.family != 0 ? mapping : null;
}

/** Whether a mapping takes part in traffic. */
export function isLiving(mapping: Mapping): bool {
  return mapping.client != 0;
}

/** The living mapping of a client's address and port, or null. */
export function findMapping(family: u32, client: usize, port: u32): Mapping | null {
  let ptr = load<u32>(bucketOf(family, client, port));
  while (ptr != 0) {
    const mapping = changetype<Mapping>(<usize>ptr);
    if (
      mapping.remotePort == port &&
      mapping.family == family &&
      equalAddress(family, mapping.remote, client)
    ) {
      return mapping;
    }
    ptr = mapping.hashNext;
  }
  return null;
}

/** Makes a mapping; others give way where bounds are reached. Null: too many wait for release. */
export function openMapping(family: u32, client: usize, port: u32): Mapping | null {
  if (freeHead == 0 && usedCount == mappingsCount()) return null;
  const owner = clientOf(family, client);
  if (owner.mappings >= config(CFG_MAPPINGS_PER_CLIENT)) evict(owner.oldest);
  else if (gauge(GAUGE_MAPPINGS) >= config(CFG_MAPPINGS)) evict(oldest);
  const mapping = takeMapping();
  const handle = mapping.handle;
  clear(changetype<usize>(mapping), MAPPING_BYTES);
  mapping.handle = handle;
  mapping.family = <u8>family;
  mapping.remotePort = <u16>port;
  putAddress(family, mapping.remote, client);
  mapping.openedUs = now();
  mapping.flags = ONLY_DNS;
  // The eviction may have been the client's last mapping, and its record with it.
  const keeper = clientOf(family, client);
  keeper.mappings++;
  mapping.client = <u32>changetype<usize>(keeper);
  linkNewest(mapping);
  const bucket = bucketOf(family, client, port);
  mapping.hashNext = load<u32>(bucket);
  store<u32>(bucket, <u32>changetype<usize>(mapping));
  initEvents(changetype<usize>(mapping));
  raise(changetype<usize>(mapping), EV_MAPPING_OPEN, 0);
  count(STAT_MAPPINGS_OPENED);
  setGauge(GAUGE_MAPPINGS, gauge(GAUGE_MAPPINGS) + 1);
  return mapping;
}

/** A free record, its handle set: generation 0 the first time. */
function takeMapping(): Mapping {
  if (freeHead == 0) {
    const fresh = mappingAt(usedCount);
    fresh.handle = HANDLE_MAPPING | usedCount;
    usedCount++;
    return fresh;
  }
  const mapping = changetype<Mapping>(<usize>freeHead);
  freeHead = mapping.freeNext;
  return mapping;
}

/** Ends a living mapping for `reason` (CLOSE_…); its record stays until the host releases it. */
export function closeMapping(mapping: Mapping, reason: u32): void {
  assert(isLiving(mapping));
  cancelTimer(mappingTimer(mapping.index));
  unhash(mapping);
  unlink(mapping);
  const owner = changetype<Client>(<usize>mapping.client);
  owner.mappings--;
  if (owner.mappings == 0) dropClient(owner);
  mapping.client = 0;
  forgetPeers(mapping.peers);
  mapping.peers = 0;
  raise(changetype<usize>(mapping), EV_MAPPING_CLOSED, reason);
  setGauge(GAUGE_MAPPINGS, gauge(GAUGE_MAPPINGS) - 1);
  setGauge(GAUGE_UNRELEASED, gauge(GAUGE_UNRELEASED) + 1);
}

/** The host is done with a closed mapping: 0, ERR_STALE, or ERR_STATE if it lives or has events. */
export function releaseMapping(handle: u32): i32 {
  const mapping = mappingOf(handle);
  if (!mapping) return ERR_STALE;
  const record = changetype<usize>(mapping);
  if (isLiving(mapping) || !isOver(record) || isQueued(record)) return ERR_STATE;
  const generation = (((handle >> HANDLE_GEN_SHIFT) & HANDLE_GEN_MASK) + 1) & HANDLE_GEN_MASK;
  mapping.handle = HANDLE_MAPPING | (generation << HANDLE_GEN_SHIFT) | mapping.index;
  mapping.family = 0;
  mapping.freeNext = freeHead;
  freeHead = <u32>record;
  setGauge(GAUGE_UNRELEASED, gauge(GAUGE_UNRELEASED) - 1);
  return 0;
}

/** The client sent to `far`. */
export function noteOut(mapping: Mapping, port: u32): void {
  if (port != DNS_PORT) mapping.flags &= ~ONLY_DNS;
  mapping.flags &= ~ANSWERED;
  use(mapping);
}

/** Upstream sent to the client. */
export function noteIn(mapping: Mapping): void {
  mapping.flags |= ANSWERED | TWO_WAY;
  if (hasFlag(FLAG_UDP_NO_INBOUND_REFRESH)) armIdle(mapping);
  else use(mapping);
}

/** The timer of record `index` is due: the mapping ends, or lives on because it was used since. */
export function mappingTimerDue(index: u32): void {
  const mapping = mappingAt(index);
  if (!isLiving(mapping)) return;
  const deadlineUs = mapping.usedUs + idleUs(mapping);
  if (deadlineUs > now()) armTimer(mappingTimer(index), deadlineUs);
  else closeMapping(mapping, CLOSE_IDLE);
}

/** The remembered datagram to a destination, or null. */
export function recentOf(mapping: Mapping, address: usize, port: u32): Recent | null {
  for (let i: u32 = 0; i < RECENT_COUNT; i++) {
    const recent = recentAt(mapping, i);
    if (recent.isUsed == 0 || recent.port != port) continue;
    if (equalAddress(mapping.family, recent.address, address)) return recent;
  }
  return null;
}

/** Room to remember a datagram to a destination: its own if it has one, else the oldest. */
export function takeRecent(mapping: Mapping, address: usize, port: u32): Recent {
  const known = recentOf(mapping, address, port);
  if (known) return known;
  // Records move one up; the last one is forgotten.
  const first = changetype<usize>(mapping) + RECENTS_OFF;
  memory.copy(first + RECENT_BYTES, first, (RECENT_COUNT - 1) * RECENT_BYTES);
  const recent = recentAt(mapping, 0);
  putAddress(mapping.family, recent.address, address);
  recent.port = <u16>port;
  recent.isUsed = 1;
  return recent;
}

/** How long the mapping may stay unused, RFC 4787 REQ-5; an explicit time wins over everything. */
function idleUs(mapping: Mapping): f64 {
  if (config(CFG_UDP_TIMEOUT_MS) != 0) return configUs(CFG_UDP_TIMEOUT_MS);
  if ((mapping.flags & ONLY_DNS) != 0) {
    const isAnswered = (mapping.flags & ANSWERED) != 0;
    return configUs(isAnswered ? CFG_UDP_DNS_ANSWERED_MS : CFG_UDP_DNS_MS);
  }
  return configUs((mapping.flags & TWO_WAY) != 0 ? CFG_UDP_IDLE_MS : CFG_UDP_ONE_WAY_MS);
}

/** The mapping was used now: it is the newest, and its idle time starts again. */
function use(mapping: Mapping): void {
  mapping.usedUs = now();
  if (mapping.newer != 0 || mapping.clientNewer != 0) {
    unlink(mapping);
    linkNewest(mapping);
  }
  armIdle(mapping);
}

/** A timer that fires early looks again, so it only has to be moved when it would be late. */
function armIdle(mapping: Mapping): void {
  const id = mappingTimer(mapping.index);
  const deadlineUs = mapping.usedUs + idleUs(mapping);
  if (!isArmed(id) || timerDeadline(id) > deadlineUs) armTimer(id, deadlineUs);
}

function evict(ptr: u32): void {
  assert(ptr != 0);
  count(STAT_MAPPINGS_EVICTED);
  closeMapping(changetype<Mapping>(<usize>ptr), CLOSE_EVICTED);
}

function mappingAt(index: u32): Mapping {
  return changetype<Mapping>(mappingsBase() + <usize>index * MAPPING_BYTES);
}

function recentAt(mapping: Mapping, i: u32): Recent {
  return changetype<Recent>(changetype<usize>(mapping) + RECENTS_OFF + i * RECENT_BYTES);
}

function bucketOf(family: u32, client: usize, port: u32): usize {
  const hash = hashEndpoint(client, port, family);
  return mappingBuckets() + ((<usize>(hash & mappingBucketMask())) << 2);
}

function unhash(mapping: Mapping): void {
  const bucket = bucketOf(mapping.family, mapping.remote, mapping.remotePort);
  const self = <u32>changetype<usize>(mapping);
  if (load<u32>(bucket) == self) {
    store<u32>(bucket, mapping.hashNext);
    return;
  }
  let previous = changetype<Mapping>(<usize>load<u32>(bucket));
  while (previous.hashNext != self) previous = changetype<Mapping>(<usize>previous.hashNext);
  previous.hashNext = mapping.hashNext;
}

function linkNewest(mapping: Mapping): void {
  const self = <u32>changetype<usize>(mapping);
  mapping.older = newest;
  mapping.newer = 0;
  if (newest != 0) changetype<Mapping>(<usize>newest).newer = self;
  else oldest = self;
  newest = self;
  const owner = changetype<Client>(<usize>mapping.client);
  mapping.clientOlder = owner.newest;
  mapping.clientNewer = 0;
  if (owner.newest != 0) changetype<Mapping>(<usize>owner.newest).clientNewer = self;
  else owner.oldest = self;
  owner.newest = self;
}

function unlink(mapping: Mapping): void {
  if (mapping.older != 0) changetype<Mapping>(<usize>mapping.older).newer = mapping.newer;
  else oldest = mapping.newer;
  if (mapping.newer != 0) changetype<Mapping>(<usize>mapping.newer).older = mapping.older;
  else newest = mapping.older;
  const owner = changetype<Client>(<usize>mapping.client);
  const clientOlder = mapping.clientOlder;
  const clientNewer = mapping.clientNewer;
  if (clientOlder != 0) changetype<Mapping>(<usize>clientOlder).clientNewer = clientNewer;
  else owner.oldest = clientNewer;
  if (clientNewer != 0) changetype<Mapping>(<usize>clientNewer).clientOlder = clientOlder;
  else owner.newest = clientOlder;
}
