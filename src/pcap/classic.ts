/**
 * The classic capture format (draft-ietf-opsawg-pcap): a header of 24 bytes, then records.
 *
 *   | magic u32 | major u16 | minor u16 | zone | accuracy | snaplen u32 | link type u32 |
 *   | seconds u32 | fraction u32 | captured u32 | on the wire u32 | data …
 *
 * The magic number tells the byte order and whether fractions are micro- or nanoseconds. The header
 * of the "modified" format (magic a1b2cd34) has 8 bytes more in each record.
 */
import { CAPTURED_BYTES_MAX, type CapturedPacket, type CaptureReader } from "./types.ts";
import type { ByteWindow } from "./window.ts";

const MICROSECONDS = 0xa1b2c3d4;
const NANOSECONDS = 0xa1b23c4d;
const MODIFIED = 0xa1b2cd34;

export const CLASSIC_HEADER_BYTES = 24;
const RECORD_BYTES = 16;
const MODIFIED_RECORD_BYTES = 24;
/** The upper bits of the link type word tell of check sequences at the end of frames. */
const LINK_TYPE_MASK = 0x03ff_ffff;

interface Magic {
  readonly isLittle: boolean;
  readonly isNano: boolean;
  readonly isModified: boolean;
}

function magicOf(view: DataView): Magic | undefined {
  for (const isLittle of [true, false]) {
    const magic = view.getUint32(0, isLittle);
    if (magic !== MICROSECONDS && magic !== NANOSECONDS && magic !== MODIFIED) continue;
    return { isLittle, isNano: magic === NANOSECONDS, isModified: magic === MODIFIED };
  }
  return undefined;
}

export function isClassic(head: Uint8Array): boolean {
  return head.length >= 4 && magicOf(new DataView(head.buffer, head.byteOffset, 4)) !== undefined;
}

export class ClassicReader implements CaptureReader {
  readonly format = "pcap";
  readonly #window: ByteWindow;
  readonly #magic: Magic;
  readonly #minor: number;
  readonly #linkType: number;

  constructor(window: ByteWindow) {
    this.#window = window;
    const head = window.peek(CLASSIC_HEADER_BYTES);
    const view = new DataView(head.buffer, head.byteOffset, head.length);
    const magic = head.length < CLASSIC_HEADER_BYTES ? undefined : magicOf(view);
    if (magic === undefined) {
      throw window.fault(0, `the file header is cut short: ${head.length} of 24 bytes`);
    }
    this.#magic = magic;
    this.#minor = view.getUint16(6, magic.isLittle);
    this.#linkType = view.getUint32(20, magic.isLittle) & LINK_TYPE_MASK;
    window.advance(CLASSIC_HEADER_BYTES);
  }

  next(packet: CapturedPacket): boolean {
    const { isLittle, isNano, isModified } = this.#magic;
    const window = this.#window;
    const { offset } = window;
    const headerBytes = isModified ? MODIFIED_RECORD_BYTES : RECORD_BYTES;
    const head = window.peek(headerBytes);
    if (head.length === 0) return false;
    if (head.length < headerBytes) {
      throw window.fault(
        offset,
        `the file is cut short: ${head.length} of ${headerBytes} bytes of a record's header`,
      );
    }
    const view = new DataView(head.buffer, head.byteOffset, headerBytes);
    const fraction = view.getUint32(4, isLittle);
    let captured = view.getUint32(8, isLittle);
    let wire = view.getUint32(12, isLittle);
    packet.timeUs =
      view.getUint32(0, isLittle) * 1e6 + (isNano ? Math.floor(fraction / 1000) : fraction);
    // Before version 2.3 the lengths stood the other way round, and in some of 2.3 as well.
    if (this.#minor < 3 || (this.#minor === 3 && captured > wire)) {
      [captured, wire] = [wire, captured];
    }
    if (captured > CAPTURED_BYTES_MAX) {
      throw window.fault(offset, `a record claims ${captured} bytes (most: ${CAPTURED_BYTES_MAX})`);
    }
    const data = window.peek(headerBytes + captured).subarray(headerBytes);
    if (data.length < captured) {
      throw window.fault(offset, `the file is cut short: ${data.length} of ${captured} bytes`);
    }
    packet.data = data;
    packet.wireBytes = Math.max(wire, captured);
    packet.linkType = this.#linkType;
    packet.offset = offset;
    window.advance(headerBytes + captured);
    return true;
  }
}
