/**
 * A reader for pcapng (draft-ietf-opsawg-pcapng §4), strict enough that what it takes Wireshark
 * takes: block lengths must agree at both ends, packets must name a known interface of link type
 * raw IP.
 */

export interface Captured {
  readonly data: Buffer;
  /** Length on the wire. */
  readonly length: number;
  readonly timestamp: bigint;
}

const SECTION = 0x0a0d0d0a;
const INTERFACE = 1;
const ENHANCED_PACKET = 6;
const LINKTYPE_RAW = 101;
const BYTE_ORDER = 0x1a2b3c4d;

export function readPcapng(file: Buffer): Captured[] {
  const packets: Captured[] = [];
  let interfaces = 0;
  let at = 0;
  while (at < file.length) {
    const type = file.readUInt32LE(at);
    const length = file.readUInt32LE(at + 4);
    if (length % 4 !== 0 || length < 12) throw new Error(`block of ${length} bytes at ${at}`);
    if (file.readUInt32LE(at + length - 4) !== length) throw new Error(`torn block at ${at}`);
    const body = file.subarray(at + 8, at + length - 4);
    if (at === 0 && type !== SECTION) throw new Error("no section header");
    if (type === SECTION && body.readUInt32LE(0) !== BYTE_ORDER) throw new Error("byte order");
    if (type === INTERFACE) {
      const link = body.readUInt16LE(0);
      if (link !== LINKTYPE_RAW) throw new Error(`link type ${link}`);
      interfaces++;
    }
    if (type === ENHANCED_PACKET) packets.push(readPacket(body, interfaces));
    at += length;
  }
  return packets;
}

function readPacket(body: Buffer, interfaces: number): Captured {
  if (body.readUInt32LE(0) >= interfaces) throw new Error("a packet of an unknown interface");
  const captured = body.readUInt32LE(12);
  if (20 + captured > body.length) throw new Error("a packet longer than its block");
  const timestamp = (BigInt(body.readUInt32LE(4)) << 32n) | BigInt(body.readUInt32LE(8));
  return {
    data: body.subarray(20, 20 + captured),
    length: body.readUInt32LE(16),
    timestamp,
  };
}
