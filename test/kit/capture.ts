/**
 * Writes captures for tests: pcap (micro- or nanoseconds) and pcapng (several interfaces, options),
 * in both byte orders, and the link layers around IP packets. Shares nothing with src/pcap/.
 */
import { concat } from "./bytes.ts";

export const LINK = { null: 0, ethernet: 1, raw: 101, sll: 113, sll2: 276 } as const;
export type LinkName = keyof typeof LINK;

export interface CaptureRecord {
  /** Nanoseconds since 1970. */
  readonly timeNs: bigint;
  readonly data: Uint8Array;
  /** Index of the interface (pcapng). */
  readonly face?: number;
  /** Bytes on the wire, if the packet was cut. */
  readonly wireBytes?: number;
}

const MAC = Uint8Array.of(2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2);

function be16(value: number): Uint8Array {
  return Uint8Array.of(value >> 8, value);
}

/** Puts a link layer around a packet; `vlans`: tags of an Ethernet frame, outermost first. */
export function framed(
  link: LinkName,
  packet: Uint8Array,
  vlans: readonly number[] = [],
): Uint8Array {
  const isIpv6 = (packet[0] ?? 0) >> 4 === 6;
  const type = be16(isIpv6 ? 0x86dd : 0x0800);
  if (link === "raw") return packet;
  if (link === "null") return concat(Uint8Array.of(isIpv6 ? 30 : 2, 0, 0, 0), packet);
  if (link === "sll") return concat(new Uint8Array(14), type, packet);
  if (link === "sll2") return concat(type, new Uint8Array(18), packet);
  const tags = vlans.map((vlan, index) =>
    concat(be16(index + 1 < vlans.length ? 0x88a8 : 0x8100), be16(vlan)),
  );
  return concat(MAC, ...tags, type, packet);
}

export interface PcapForm {
  readonly link: LinkName;
  readonly isLittle?: boolean;
  readonly isNano?: boolean;
  readonly snapBytes?: number;
}

export function pcapFile(form: PcapForm, records: readonly CaptureRecord[]): Uint8Array {
  const isLittle = form.isLittle ?? true;
  const isNano = form.isNano ?? false;
  const head = new DataView(new ArrayBuffer(24));
  head.setUint32(0, isNano ? 0xa1b23c4d : 0xa1b2c3d4, isLittle);
  head.setUint16(4, 2, isLittle);
  head.setUint16(6, 4, isLittle);
  head.setUint32(16, form.snapBytes ?? 262_144, isLittle);
  head.setUint32(20, LINK[form.link], isLittle);
  const parts = records.map(({ timeNs, data, wireBytes }) => {
    const view = new DataView(new ArrayBuffer(16));
    const fraction = timeNs % 1_000_000_000n;
    view.setUint32(0, Number(timeNs / 1_000_000_000n), isLittle);
    view.setUint32(4, Number(isNano ? fraction : fraction / 1000n), isLittle);
    view.setUint32(8, data.length, isLittle);
    view.setUint32(12, wireBytes ?? data.length, isLittle);
    return concat(new Uint8Array(view.buffer), data);
  });
  return concat(new Uint8Array(head.buffer), ...parts);
}

export interface Face {
  readonly link: LinkName;
  /** if_tsresol: 6 = microseconds, 9 = nanoseconds, 0x80 | n = 2^-n seconds. */
  readonly resolution?: number;
  /** if_tsoffset in seconds. */
  readonly offsetSeconds?: bigint;
}

/** A block of any type: length at both ends, body padded. */
export function pcapngBlock(type: number, body: Uint8Array, isLittle = true): Uint8Array {
  const padded = Math.ceil(body.length / 4) * 4;
  const bytes = new Uint8Array(12 + padded);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, type, isLittle);
  view.setUint32(4, bytes.length, isLittle);
  bytes.set(body, 8);
  view.setUint32(8 + padded, bytes.length, isLittle);
  return bytes;
}

export function pcapngFile(
  faces: readonly Face[],
  records: readonly CaptureRecord[],
  isLittle = true,
): Uint8Array {
  const section = new DataView(new ArrayBuffer(16));
  section.setUint32(0, 0x1a2b3c4d, isLittle);
  section.setUint16(4, 1, isLittle);
  section.setBigInt64(8, -1n, isLittle);
  const blocks = [pcapngBlock(0x0a0d0d0a, new Uint8Array(section.buffer), isLittle)];
  for (const face of faces) blocks.push(faceBlock(face, isLittle));
  for (const record of records) {
    const face = faces[record.face ?? 0];
    if (face === undefined) throw new Error(`no interface ${record.face}`);
    const view = new DataView(new ArrayBuffer(20));
    const time = record.timeNs - (face.offsetSeconds ?? 0n) * 1_000_000_000n;
    const units = (time * unitsPerSecond(face)) / 1_000_000_000n;
    view.setUint32(0, record.face ?? 0, isLittle);
    view.setUint32(4, Number(units >> 32n), isLittle);
    view.setUint32(8, Number(units & 0xffff_ffffn), isLittle);
    view.setUint32(12, record.data.length, isLittle);
    view.setUint32(16, record.wireBytes ?? record.data.length, isLittle);
    blocks.push(pcapngBlock(6, concat(new Uint8Array(view.buffer), record.data), isLittle));
  }
  return concat(...blocks);
}

function unitsPerSecond({ resolution = 6 }: Face): bigint {
  return resolution >= 128 ? 2n ** BigInt(resolution - 128) : 10n ** BigInt(resolution);
}

function faceBlock(face: Face, isLittle: boolean): Uint8Array {
  const view = new DataView(new ArrayBuffer(32));
  view.setUint16(0, LINK[face.link], isLittle);
  view.setUint16(8, 9, isLittle);
  view.setUint16(10, 1, isLittle);
  view.setUint8(12, face.resolution ?? 6);
  view.setUint16(16, 14, isLittle);
  view.setUint16(18, 8, isLittle);
  view.setBigInt64(20, face.offsetSeconds ?? 0n, isLittle);
  return pcapngBlock(1, new Uint8Array(view.buffer), isLittle);
}
