/**
 * Blocks of a pcapng file (draft-ietf-opsawg-pcapng): section header, interface description and
 * enhanced packets. Pure functions into a caller's buffer; who writes files is `pcap.ts`.
 *
 *   | type u32 | length u32 | body, padded to 4 … | length u32 |
 */

/** LINKTYPE_RAW: packets begin with the IP header. */
export const LINKTYPE_RAW = 101;
/** LINKTYPE_ETHERNET, for TAP devices. */
export const LINKTYPE_ETHERNET = 1;

/** Directions of epb_flags. In is what the stack receives. */
export const DIRECTION_IN = 1;
export const DIRECTION_OUT = 2;

const SECTION_TYPE = 0x0a0d0d0a;
const BYTE_ORDER = 0x1a2b3c4d;
const INTERFACE_TYPE = 1;
const PACKET_TYPE = 6;
const OPTION_END = 0;
const OPTION_NAME = 2;
const OPTION_RESOLUTION = 9;
const OPTION_FLAGS = 2;
/** Microseconds: 10^-6. */
const MICROSECONDS = 6;
const LENGTH_UNKNOWN = 0xffffffff;
const TWO_32 = 4_294_967_296;

/** Bytes of a packet block besides its data. */
export const PACKET_OVERHEAD_BYTES = 44;

function align(len: number): number {
  return (len + 3) & ~3;
}

/** Section header and one interface: the start of a file. */
export function fileHeader(linkType: number, name: string): Uint8Array {
  const text = new TextEncoder().encode(name).subarray(0, 256);
  const section = 28;
  // Fixed part, name, resolution, end of options, second length.
  const face = 16 + (4 + align(text.length)) + 8 + 4 + 4;
  const bytes = new Uint8Array(section + face);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, SECTION_TYPE, true);
  view.setUint32(4, section, true);
  view.setUint32(8, BYTE_ORDER, true);
  view.setUint16(12, 1, true);
  view.setUint32(16, LENGTH_UNKNOWN, true);
  view.setUint32(20, LENGTH_UNKNOWN, true);
  view.setUint32(24, section, true);
  let at = section;
  view.setUint32(at, INTERFACE_TYPE, true);
  view.setUint32(at + 4, face, true);
  view.setUint16(at + 8, linkType, true);
  // Snapshot length 0: no limit.
  at += 16;
  view.setUint16(at, OPTION_NAME, true);
  view.setUint16(at + 2, text.length, true);
  bytes.set(text, at + 4);
  at += 4 + align(text.length);
  view.setUint16(at, OPTION_RESOLUTION, true);
  view.setUint16(at + 2, 1, true);
  bytes[at + 4] = MICROSECONDS;
  at += 8;
  view.setUint16(at, OPTION_END, true);
  view.setUint32(at + 4, face, true);
  return bytes;
}

export interface PacketFacts {
  /** Microseconds since 1970. */
  readonly timeUs: number;
  readonly direction: number;
  /** Bytes that are in the file. */
  readonly len: number;
  /** Bytes that the packet had; default: all are in the file. */
  readonly wireLen?: number;
}

/** Bytes of the block of a packet of `len` bytes. */
export function packetBlockBytes(len: number): number {
  return PACKET_OVERHEAD_BYTES + align(len);
}

/**
 * Writes all of a packet block but its data at `at`; answers where the data of `facts.len` bytes
 * belongs. The room must be packetBlockBytes long; padding is cleared.
 */
export function writePacketBlock(view: DataView, at: number, facts: PacketFacts): number {
  const { timeUs, direction, len } = facts;
  const total = packetBlockBytes(len);
  view.setUint32(at, PACKET_TYPE, true);
  view.setUint32(at + 4, total, true);
  view.setUint32(at + 8, 0, true);
  view.setUint32(at + 12, Math.floor(timeUs / TWO_32), true);
  view.setUint32(at + 16, timeUs % TWO_32, true);
  view.setUint32(at + 20, len, true);
  view.setUint32(at + 24, facts.wireLen ?? len, true);
  const data = at + 28;
  for (let pad = data + len; pad < data + align(len); pad++) view.setUint8(pad, 0);
  const options = data + align(len);
  view.setUint16(options, OPTION_FLAGS, true);
  view.setUint16(options + 2, 4, true);
  view.setUint32(options + 4, direction, true);
  view.setUint32(options + 8, OPTION_END, true);
  view.setUint32(options + 12, total, true);
  return data;
}
