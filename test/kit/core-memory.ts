/**
 * The core's memory as tests see it: counters, packets, events, records and datagrams, decoded by
 * the offsets of `assembly/abi.ts`.
 */
import * as abi from "../../assembly/abi.ts";
import { address, addressText, concat } from "./bytes.ts";

export interface CoreEvent {
  readonly handle: number;
  readonly flags: number;
  readonly code: number;
  readonly ptr: number;
}

export interface CoreFlow {
  readonly handle: number;
  readonly family: number;
  readonly state: number;
  readonly localPort: number;
  readonly remotePort: number;
  readonly local: string;
  readonly remote: string;
  readonly bytesIn: number;
  readonly bytesOut: number;
  readonly retransmits: number;
  readonly srttUs: number;
}

export interface Datagram {
  kind: number;
  handle: number;
  payload: Uint8Array;
  gso: number;
  family: number;
  port: number;
  far: string;
  client: string;
  id: number;
  echoSeq: number;
  flags: number;
  hops: number;
}

const POISON = 0xa5;

export class CoreMemory {
  readonly buffer: ArrayBuffer;
  readonly view: DataView;
  readonly bytes: Uint8Array;

  constructor(buffer: ArrayBuffer) {
    this.buffer = buffer;
    this.view = new DataView(buffer);
    this.bytes = new Uint8Array(buffer);
  }

  stat(name: string): number {
    return this.view.getFloat64(abi.STATS_BASE + 8 * numberOf(name), true);
  }

  gauge(name: string): number {
    return this.view.getUint32(abi.GAUGES_BASE + 4 * numberOf(name), true);
  }

  /** All STAT_… and DROP_… that are not 0. */
  stats(): Record<string, number> {
    const found: Record<string, number> = {};
    for (const name of Object.keys(abi)) {
      if (!/^(STAT|DROP)_/.test(name) || name === "STAT_COUNT" || name.endsWith("_BYTES")) continue;
      const value = this.stat(name);
      if (value !== 0) found[name] = value;
    }
    return found;
  }

  /** Puts a packet into an RX entry, with rubbish behind it. */
  putRx(index: number, packet: Uint8Array): void {
    const entry = abi.RX_BASE + abi.RX_ENTRY_BYTES * index;
    const ptr = this.view.getUint32(entry, true);
    const room = Math.min(packet.length + 64, abi.SLOT_BYTES);
    this.bytes.fill(POISON, ptr, ptr + room);
    this.bytes.set(packet.subarray(0, abi.SLOT_BYTES), ptr);
    this.view.setUint32(entry + 4, packet.length, true);
  }

  /** A TX descriptor's packet, joined. */
  txPacket(index: number): Uint8Array {
    const at = abi.TX_BASE + abi.TX_BYTES * index;
    const header = this.view.getUint32(at + abi.TX_HEADER_PTR_OFF, true);
    const headerLen = this.view.getUint16(at + abi.TX_HEADER_LEN_OFF, true);
    const spans = this.view.getUint16(at + abi.TX_SPAN_COUNT_OFF, true);
    if (spans > abi.TX_SPAN_MAX) throw new Error(`${spans} spans`);
    const parts = [this.bytes.subarray(header, header + headerLen)];
    parts.push(...this.spans(at + abi.TX_SPANS_OFF, spans));
    return concat(...parts);
  }

  /** Views, not copies, of `count` spans at `base`. */
  spans(base: number, count: number): Uint8Array[] {
    return Array.from({ length: count }, (_, i) => {
      const ptr = this.view.getUint32(base + abi.SPAN_BYTES * i, true);
      const len = this.view.getUint32(base + abi.SPAN_BYTES * i + 4, true);
      if (ptr < abi.MEMORY_BASE || ptr + len > this.bytes.length) {
        throw new Error(`span ${ptr}+${len} lies outside the pools`);
      }
      return this.bytes.subarray(ptr, ptr + len);
    });
  }

  /** Header room holds rubbish before the core writes it, so that what it forgets shows. */
  poisonTx(): void {
    this.bytes.fill(POISON, abi.TX_HEADERS_BASE, abi.TX_HEADERS_BASE + abi.TX_HEADERS_BYTES);
  }

  event(index: number): CoreEvent {
    const at = abi.EVENTS_BASE + abi.EVENT_BYTES * index;
    return {
      handle: this.view.getUint32(at + abi.EVENT_HANDLE_OFF, true),
      flags: this.view.getUint32(at + abi.EVENT_FLAGS_OFF, true),
      ptr: this.view.getUint32(at + abi.EVENT_PTR_OFF, true),
      code: this.view.getUint32(at + abi.EVENT_CODE_OFF, true),
    };
  }

  /** The public part of a flow's or mapping's record, as an event points at it. */
  record(ptr: number): CoreFlow {
    const view = this.view;
    const family = view.getUint8(ptr + abi.FLOW_FAMILY_OFF);
    const size = family === 4 ? 4 : 16;
    const at = (off: number): string => addressText(this.bytes.slice(ptr + off, ptr + off + size));
    return {
      handle: view.getUint32(ptr + abi.FLOW_HANDLE_OFF, true),
      family,
      state: view.getUint8(ptr + abi.FLOW_STATE_OFF),
      localPort: view.getUint16(ptr + abi.FLOW_LOCAL_PORT_OFF, true),
      remotePort: view.getUint16(ptr + abi.FLOW_REMOTE_PORT_OFF, true),
      local: at(abi.FLOW_LOCAL_OFF),
      remote: at(abi.FLOW_REMOTE_OFF),
      bytesIn: view.getFloat64(ptr + abi.FLOW_BYTES_IN_OFF, true),
      bytesOut: view.getFloat64(ptr + abi.FLOW_BYTES_OUT_OFF, true),
      retransmits: view.getUint32(ptr + abi.FLOW_RETRANSMITS_OFF, true),
      srttUs: view.getUint32(ptr + abi.FLOW_SRTT_US_OFF, true),
    };
  }

  /** Fills a record of the STAGE block. */
  putStage(index: number, datagram: Partial<Datagram>): void {
    const at = abi.STAGE_BASE + abi.DGRAM_BYTES * index;
    const view = this.view;
    const payload = datagram.payload ?? new Uint8Array(0);
    const ptr = view.getUint32(at + abi.DGRAM_PTR_OFF, true);
    this.bytes.set(payload, ptr);
    const far = datagram.far ?? "192.0.2.200";
    view.setUint32(at + abi.DGRAM_KIND_OFF, datagram.kind ?? abi.DGRAM_UDP, true);
    view.setUint32(at + abi.DGRAM_HANDLE_OFF, datagram.handle ?? 0, true);
    view.setUint32(at + abi.DGRAM_LEN_OFF, payload.length, true);
    view.setUint32(at + abi.DGRAM_GSO_OFF, datagram.gso ?? 0, true);
    view.setUint16(at + abi.DGRAM_FAMILY_OFF, far.includes(":") ? 6 : 4, true);
    view.setUint16(at + abi.DGRAM_PORT_OFF, datagram.port ?? 0, true);
    this.bytes.set(address(far), at + abi.DGRAM_FAR_OFF);
    this.bytes.set(address(datagram.client ?? "192.0.2.10"), at + abi.DGRAM_CLIENT_OFF);
    view.setUint16(at + abi.DGRAM_ID_OFF, datagram.id ?? 0, true);
    view.setUint16(at + abi.DGRAM_SEQ_OFF, datagram.echoSeq ?? 0, true);
    view.setUint8(at + abi.DGRAM_FLAGS_OFF, datagram.flags ?? 0);
    view.setUint8(at + abi.DGRAM_HOPS_OFF, datagram.hops ?? 0);
  }

  /** Record `index` of the DGRAMS block, its bytes copied. */
  datagram(index: number): Datagram {
    const at = abi.DGRAMS_BASE + abi.DGRAM_BYTES * index;
    const view = this.view;
    const ptr = view.getUint32(at + abi.DGRAM_PTR_OFF, true);
    const len = view.getUint32(at + abi.DGRAM_LEN_OFF, true);
    const family = view.getUint16(at + abi.DGRAM_FAMILY_OFF, true);
    const size = family === 4 ? 4 : 16;
    const address = (off: number): string =>
      addressText(this.bytes.slice(at + off, at + off + size));
    return {
      kind: view.getUint32(at + abi.DGRAM_KIND_OFF, true),
      handle: view.getUint32(at + abi.DGRAM_HANDLE_OFF, true),
      payload: this.bytes.slice(ptr, ptr + len),
      gso: view.getUint32(at + abi.DGRAM_GSO_OFF, true),
      family,
      port: view.getUint16(at + abi.DGRAM_PORT_OFF, true),
      far: address(abi.DGRAM_FAR_OFF),
      client: address(abi.DGRAM_CLIENT_OFF),
      id: view.getUint16(at + abi.DGRAM_ID_OFF, true),
      echoSeq: view.getUint16(at + abi.DGRAM_SEQ_OFF, true),
      flags: view.getUint8(at + abi.DGRAM_FLAGS_OFF),
      hops: view.getUint8(at + abi.DGRAM_HOPS_OFF),
    };
  }

  /** The gauges that describe pools. */
  levels(): Record<string, number> {
    const names = Object.keys(abi).filter((name) => /^GAUGE_/.test(name) && isLevel(name));
    return Object.fromEntries(names.map((name) => [name, this.gauge(name)]));
  }
}

/** Gauges that describe pools, as against results of the last call. */
function isLevel(name: string): boolean {
  return !/_(TX_COUNT|FLUSH_MORE|CONFIG_ERROR|DGRAM_COUNT)$/.test(name);
}

function numberOf(name: string): number {
  const value = (abi as Readonly<Record<string, number>>)[name];
  if (value === undefined) throw new Error(`abi.ts has no ${name}`);
  return value;
}
