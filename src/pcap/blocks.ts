/**
 * The pcapng format (draft-ietf-opsawg-pcapng): blocks of several kinds, in sections that have each
 * their byte order and interfaces.
 *
 *   | type u32 | length u32 | body, padded to 4 … | length u32 |
 *
 * Packets stand in enhanced (6), simple (3) and the obsolete packet blocks (2). Blocks of other
 * kinds are passed over, whatever their size. Every length is checked: blocks against the file,
 * what is in a block against the block.
 */
import { CAPTURED_BYTES_MAX, type CapturedPacket, type CaptureReader } from "./types.ts";
import type { ByteWindow } from "./window.ts";

const SECTION = 0x0a0d_0d0a;
const BYTE_ORDER = 0x1a2b_3c4d;
const INTERFACE = 1;
const OBSOLETE_PACKET = 2;
const SIMPLE_PACKET = 3;
const ENHANCED_PACKET = 6;

const BLOCK_MIN_BYTES = 12;
/** Blocks that are looked into; the largest packet and generous options. */
const BLOCK_MAX_BYTES = CAPTURED_BYTES_MAX + 1024 * 1024;
const INTERFACES_MAX = 65_536;

const OPTION_END = 0;
const OPTION_RESOLUTION = 9;
const OPTION_OFFSET = 14;

/** Times beyond are cut: 2^52 µs are 142 years. */
const TIME_US_MAX = 2 ** 52;
const TWO_32 = 2 ** 32;

interface Interface {
  readonly linkType: number;
  readonly snapBytes: number;
  /** Units of a timestamp in a second. */
  readonly unitsPerSecond: bigint;
  readonly offsetSeconds: bigint;
}

/** What a kind of block has before its data, in bytes of the body. */
const DATA_AT: Readonly<Record<number, number>> = {
  [ENHANCED_PACKET]: 20,
  [OBSOLETE_PACKET]: 20,
  [SIMPLE_PACKET]: 4,
};

export function isBlocks(head: Uint8Array): boolean {
  return head.length >= 4 && new DataView(head.buffer, head.byteOffset, 4).getUint32(0) === SECTION;
}

function padded(bytes: number): number {
  return Math.ceil(bytes / 4) * 4;
}

export class BlockReader implements CaptureReader {
  readonly format = "pcapng";
  readonly #window: ByteWindow;
  #isLittle = true;
  #interfaces: Interface[] = [];
  #lastUs = 0;

  constructor(window: ByteWindow) {
    this.#window = window;
  }

  next(packet: CapturedPacket): boolean {
    for (;;) {
      const { offset } = this.#window;
      const head = this.#window.peek(BLOCK_MIN_BYTES);
      if (head.length === 0) return false;
      if (head.length < BLOCK_MIN_BYTES) {
        throw this.#window.fault(offset, `the file is cut short: ${head.length} bytes of a block`);
      }
      const view = new DataView(head.buffer, head.byteOffset, BLOCK_MIN_BYTES);
      const type = this.#typeOf(view, offset);
      const length = view.getUint32(4, this.#isLittle);
      if (length < BLOCK_MIN_BYTES || length % 4 !== 0) {
        throw this.#window.fault(offset, `a block of ${length} bytes`);
      }
      if (this.#block(type, length, packet)) return true;
    }
  }

  /** The block's type; a section header sets the byte order of what follows. */
  #typeOf(view: DataView, offset: number): number {
    if (view.getUint32(0) !== SECTION) {
      if (offset === 0) throw this.#window.fault(0, "the file does not begin with a section");
      return view.getUint32(0, this.#isLittle);
    }
    const order = view.getUint32(8);
    if (order !== BYTE_ORDER && view.getUint32(8, true) !== BYTE_ORDER) {
      throw this.#window.fault(offset, "a section header without a byte order");
    }
    this.#isLittle = order !== BYTE_ORDER;
    return SECTION;
  }

  /** Passes a block; true if it was a packet. */
  #block(type: number, length: number, packet: CapturedPacket): boolean {
    const { offset } = this.#window;
    if (type !== SECTION && type !== INTERFACE && DATA_AT[type] === undefined) {
      this.#pass(length);
      return false;
    }
    if (length > BLOCK_MAX_BYTES) {
      throw this.#window.fault(offset, `a block of ${length} bytes (most: ${BLOCK_MAX_BYTES})`);
    }
    const block = this.#window.peek(length);
    if (block.length < length) throw this.#cut(offset, block.length, length);
    const view = new DataView(block.buffer, block.byteOffset, length);
    this.#checkEnd(view.getUint32(length - 4, this.#isLittle), length, offset);
    const body = new DataView(block.buffer, block.byteOffset + 8, length - BLOCK_MIN_BYTES);
    this.#window.advance(length);
    if (type === SECTION) this.#section(body, offset);
    else if (type === INTERFACE) this.#interface(body, offset);
    else this.#packet(type, body, offset, packet);
    return DATA_AT[type] !== undefined;
  }

  /** Passes over a block that nobody looks into. */
  #pass(length: number): void {
    const { offset } = this.#window;
    const there = this.#window.skip(length - 4);
    const end = this.#window.peek(4);
    if (end.length < 4) throw this.#cut(offset, there + end.length, length);
    const view = new DataView(end.buffer, end.byteOffset, 4);
    this.#checkEnd(view.getUint32(0, this.#isLittle), length, offset);
    this.#window.advance(4);
  }

  #cut(offset: number, there: number, length: number): Error {
    return this.#window.fault(offset, `the file is cut short: ${there} of ${length} bytes`);
  }

  #checkEnd(end: number, length: number, offset: number): void {
    if (end === length) return;
    throw this.#window.fault(offset, `a block of ${length} bytes that ends with ${end}`);
  }

  #section(body: DataView, offset: number): void {
    if (body.byteLength < 16)
      throw this.#window.fault(offset, "a section header without its fields");
    const major = body.getUint16(4, this.#isLittle);
    if (major !== 1) throw this.#window.fault(offset, `pcapng of version ${major}`);
    this.#interfaces = [];
  }

  #interface(body: DataView, offset: number): void {
    if (body.byteLength < 8) throw this.#window.fault(offset, "an interface without its fields");
    if (this.#interfaces.length === INTERFACES_MAX) {
      throw this.#window.fault(offset, `more than ${INTERFACES_MAX} interfaces in a section`);
    }
    let unitsPerSecond = 1_000_000n;
    let offsetSeconds = 0n;
    for (let at = 8; at + 4 <= body.byteLength;) {
      const code = body.getUint16(at, this.#isLittle);
      const length = body.getUint16(at + 2, this.#isLittle);
      if (code === OPTION_END) break;
      if (at + 4 + length > body.byteLength) {
        throw this.#window.fault(offset, `option ${code} of an interface claims ${length} bytes`);
      }
      if (code === OPTION_RESOLUTION && length === 1) {
        const value = body.getUint8(at + 4);
        const exponent = BigInt(value & 0x7f);
        unitsPerSecond = (value & 0x80) !== 0 ? 2n ** exponent : 10n ** exponent;
      }
      if (code === OPTION_OFFSET && length === 8) {
        offsetSeconds = body.getBigInt64(at + 4, this.#isLittle);
      }
      at += 4 + padded(length);
    }
    this.#interfaces.push({
      linkType: body.getUint16(0, this.#isLittle),
      snapBytes: body.getUint32(4, this.#isLittle),
      unitsPerSecond,
      offsetSeconds,
    });
  }

  #packet(type: number, body: DataView, offset: number, packet: CapturedPacket): void {
    const dataAt = DATA_AT[type] ?? 0;
    if (body.byteLength < dataAt) {
      throw this.#window.fault(offset, "a packet block without its fields");
    }
    const isSimple = type === SIMPLE_PACKET;
    const id = isSimple
      ? 0
      : type === ENHANCED_PACKET
        ? body.getUint32(0, this.#isLittle)
        : body.getUint16(0, this.#isLittle);
    const face = this.#interfaces[id];
    if (face === undefined) {
      throw this.#window.fault(offset, `a packet of interface ${id}, which the section lacks`);
    }
    const room = body.byteLength - dataAt;
    const wire = body.getUint32(isSimple ? 0 : 16, this.#isLittle);
    const captured = isSimple
      ? Math.min(wire, face.snapBytes === 0 ? wire : face.snapBytes, room)
      : body.getUint32(12, this.#isLittle);
    if (captured > room) {
      throw this.#window.fault(offset, `a packet claims ${captured} bytes, its block has ${room}`);
    }
    if (captured > CAPTURED_BYTES_MAX) {
      throw this.#window.fault(
        offset,
        `a packet of ${captured} bytes (most: ${CAPTURED_BYTES_MAX})`,
      );
    }
    packet.data = new Uint8Array(body.buffer, body.byteOffset + dataAt, captured);
    packet.wireBytes = Math.max(wire, captured);
    packet.linkType = face.linkType;
    packet.offset = offset;
    // A simple packet has no time: it happened when the one before it did.
    if (!isSimple) {
      const high = body.getUint32(4, this.#isLittle);
      this.#lastUs = timeUs(face, high, body.getUint32(8, this.#isLittle));
    }
    packet.timeUs = this.#lastUs;
  }
}

function timeUs(face: Interface, high: number, low: number): number {
  if (face.unitsPerSecond === 1_000_000n && face.offsetSeconds === 0n) {
    return Math.min(high * TWO_32 + low, TIME_US_MAX);
  }
  const units = (BigInt(high) << 32n) | BigInt(low);
  const us = (units * 1_000_000n) / face.unitsPerSecond + face.offsetSeconds * 1_000_000n;
  return Math.max(-TIME_US_MAX, Math.min(Number(us), TIME_US_MAX));
}
