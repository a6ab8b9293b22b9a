/**
 * The stack: knows every protocol and the order of things.
 *
 * Theory of operation. The host reads packets into RX slots and calls `ingest`: each packet becomes
 * facts (ip/ingress), and goes by protocol to TCP, UDP or ICMP. What comes of it is events of flows
 * and mappings, datagram records, and packets in TX. Between calls nothing happens: time passes
 * only with a call, timers fire only in `poll`, flows send only in `flush`. So the same calls with
 * the same bytes give the same memory.
 *
 * Bounds: packets of an ingest by the RX block, timers of a poll by its budget, packets out by the
 * TX block; every table has its size from the configuration and its own rule of who gives way.
 */
import * as layout from "./layout";
import { closeMapping, isLiving, mappingOf, mappingTimerDue } from "./flow/datagram";
import { recordCount, resetRecords } from "./flow/records";
import * as icmp from "./ip/icmp";
import { takePacket } from "./ip/ingress";
import { Packet } from "./ip/packet";
import { initReassembly } from "./ip/reassemble";
import { isInMemory } from "./mem/bytes";
import { initBlocks } from "./mem/block";
import { initBuckets } from "./mem/bucket";
import { advance, now } from "./mem/clock";
import { checkConfig, config } from "./mem/config";
import { flowsCount, initPools } from "./mem/pools";
import { noteLast } from "./mem/last";
import { hasRegion } from "./mem/region";
import { add, count, setGauge } from "./mem/stats";
import { nextDeadline, popDue, reassemblyTimer, timeWaitTimer } from "./mem/timers";
import { NEVER } from "./mem/clock";
import * as tcp from "./tcp/tcp";
import { echoInput, echoOutput } from "./udp/echo";
import { reportError } from "./udp/report";
import { udpInput, udpOutput } from "./udp/udp";
import { PROTO_ICMP, PROTO_ICMP6, PROTO_TCP, PROTO_UDP } from "./wire/protocols";

const packet = changetype<Packet>(memory.data(96, 8));
if (offsetof<Packet>() > 96) ERROR("Packet outgrew its room");

let isReady: bool = false;

/** Whether `init` succeeded. */
export function isInitialised(): bool {
  return isReady;
}

/** Reads the configuration and places everything: 0, ERR_CONFIG, ERR_MEMORY, ERR_STATE. */
export function start(): i32 {
  if (isReady || hasRegion()) return layout.ERR_STATE;
  if (!checkConfig()) return layout.ERR_CONFIG;
  const answer = initPools();
  if (answer != 0) return answer;
  initBlocks();
  initBuckets();
  initReassembly();
  tcp.tcpInit();
  isReady = true;
  return 0;
}

/** Takes the packets of RX entries 0 … packets - 1: how many datagram records they made. */
export function takePackets(packets: u32, nowUs: f64): i32 {
  if (packets > config(layout.CFG_RX_ENTRIES)) return layout.ERR_RANGE;
  advance(nowUs);
  resetRecords();
  for (let i: u32 = 0; i < packets; i++) {
    const entry = layout.RX_BASE + i * layout.RX_ENTRY_BYTES;
    const len = load<u32>(entry, 4);
    noteLast(load<u32>(entry), len, nowUs);
    count(layout.STAT_PACKETS_IN);
    if (len > layout.SLOT_BYTES) {
      count(layout.DROP_LENGTH);
      continue;
    }
    add(layout.STAT_BYTES_IN, <f64>(len - min(len, config(layout.CFG_VNET_BYTES))));
    if (takePacket(packet, i, len)) dispatch(packet);
  }
  return <i32>recordCount();
}

function dispatch(p: Packet): void {
  if (p.proto == PROTO_TCP) tcp.tcpInput(p);
  else if (p.proto == PROTO_UDP) udpInput(p);
  else if (p.proto == (p.family == 4 ? PROTO_ICMP : PROTO_ICMP6)) dispatchIcmp(p);
  else icmp.refuseProtocol(p);
}

function dispatchIcmp(p: Packet): void {
  const answer = icmp.icmpInput(p);
  if (answer == icmp.ICMP_ECHO_FOR_HOST) echoInput(p);
  else if (answer == icmp.ICMP_TCP_TOO_BIG) tcp.tcpTooBig(icmp.quoted);
}

/** Fires up to `budget` timers that are due: 1 if there are more, else 0. */
export function fireTimers(nowUs: f64, budget: u32): i32 {
  advance(nowUs);
  for (let fired: u32 = 0; fired < budget; fired++) {
    const id = popDue(now());
    if (id < 0) return 0;
    fire(<u32>id);
  }
  return nextDeadline() <= now() ? 1 : 0;
}

function fire(id: u32): void {
  if (id < flowsCount()) tcp.tcpTimer(id);
  else if (id == timeWaitTimer()) tcp.tcpTimeWaitTimer();
  else if (id == reassemblyTimer()) icmp.expireReassemblies();
  else mappingTimerDue(id - flowsCount());
}

/** The time of the next timer, or Infinity. */
export function earliestDeadline(): f64 {
  const at = nextDeadline();
  return at == NEVER ? Infinity : at;
}

/** Lets flows send what they have: the number of TX descriptors. */
export function sendFlows(nowUs: f64): i32 {
  advance(nowUs);
  const isMore = tcp.tcpFlush();
  setGauge(layout.GAUGE_FLUSH_MORE, isMore ? 1 : 0);
  return <i32>load<u32>(layout.GAUGES_BASE + (layout.GAUGE_TX_COUNT << 2));
}

/** Sends stage records first … first + records - 1: how many were dealt with before TX was full. */
export function sendStaged(first: u32, records: u32, nowUs: f64): i32 {
  if (first > layout.STAGE_MAX || records > layout.STAGE_MAX - first) return layout.ERR_RANGE;
  advance(nowUs);
  for (let i: u32 = 0; i < records; i++) {
    if (!sendRecord(layout.STAGE_BASE + (first + i) * layout.DGRAM_BYTES)) return <i32>i;
  }
  return <i32>records;
}

/** False only if TX has no room: the record is to be sent again. */
function sendRecord(record: usize): bool {
  const kind = load<u32>(record, layout.DGRAM_KIND_OFF);
  if (kind == layout.DGRAM_ERROR) {
    reportError(record);
    return true;
  }
  const ptr = load<u32>(record, layout.DGRAM_PTR_OFF);
  const len = load<u32>(record, layout.DGRAM_LEN_OFF);
  if (len > layout.SLOT_BYTES || !isInMemory(ptr, len)) {
    count(layout.DROP_LENGTH);
    return true;
  }
  if (kind == layout.DGRAM_UDP) return udpOutput(record);
  if (kind == layout.DGRAM_ECHO) return echoOutput(record);
  count(layout.DROP_STALE);
  return true;
}

/** Ends a UDP mapping: 0, ERR_STALE, ERR_STATE if it is closed already. */
export function endMapping(handle: u32, nowUs: f64): i32 {
  advance(nowUs);
  const mapping = mappingOf(handle);
  if (!mapping) return layout.ERR_STALE;
  if (!isLiving(mapping)) return layout.ERR_STATE;
  closeMapping(mapping, layout.CLOSE_HOST);
  return 0;
}
