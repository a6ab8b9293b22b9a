/**
 * What is left of a core that trapped (DOS-7): the heads of the last packets that came in, from the
 * LAST block of its memory, as a pcapng file for who has to find out why. The files are few: a
 * process keeps its newest ones. Only their owner may read them.
 */
import { unlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as abi from "../../../assembly/abi.ts";
import {
  DIRECTION_IN,
  LINKTYPE_RAW,
  fileHeader,
  packetBlockBytes,
  writePacketBlock,
} from "../../tun/pcapng.ts";

const FILES_MAX = 4;
/** Names that are tried: another process may have had our number. */
const NAMES_MAX = 100;

interface LastPacket {
  readonly timeUs: number;
  readonly number: number;
  readonly wireLen: number;
  /** A view of the core's memory, without the virtio header. */
  readonly head: Uint8Array;
}

/** Oldest first. Whatever the memory holds, the answer is bounded. */
function lastPackets(buffer: ArrayBufferLike, vnetBytes: number): LastPacket[] {
  const view = new DataView(buffer);
  const found: LastPacket[] = [];
  for (let index = 0; index < abi.LAST_MAX; index++) {
    const at = abi.LAST_BASE + index * abi.LAST_RECORD_BYTES;
    const number = view.getUint32(at + abi.LAST_NUMBER_OFF, true);
    const length = view.getUint32(at + abi.LAST_LENGTH_OFF, true);
    const timeUs = view.getFloat64(at + abi.LAST_TIME_OFF, true);
    if (number === 0 || length <= vnetBytes || !(timeUs >= 0 && timeUs < 2 ** 50)) continue;
    const bytes = Math.min(length, abi.LAST_HEAD_BYTES) - vnetBytes;
    const head = new Uint8Array(buffer, at + abi.LAST_HEAD_OFF + vnetBytes, bytes);
    found.push({ timeUs, number, wireLen: length - vnetBytes, head });
  }
  return found.sort((one, other) => one.number - other.number);
}

/** The capture. `originUs`: the time of day at which the core's time was 0. */
export function captureOf(
  buffer: ArrayBufferLike,
  device: { readonly name: string; readonly vnetBytes: number },
  originUs: number,
): Uint8Array {
  const packets = lastPackets(buffer, device.vnetBytes);
  const header = fileHeader(LINKTYPE_RAW, device.name);
  let at = header.length;
  const size = packets.reduce((sum, { head }) => sum + packetBlockBytes(head.length), at);
  const bytes = new Uint8Array(size);
  const view = new DataView(bytes.buffer);
  bytes.set(header);
  for (const { timeUs, wireLen, head } of packets) {
    const time = Math.floor(originUs + timeUs);
    const facts = { timeUs: time, direction: DIRECTION_IN, len: head.length, wireLen };
    bytes.set(head, writePacketBlock(view, at, facts));
    at += packetBlockBytes(head.length);
  }
  return bytes;
}

const written: string[] = [];
let next = 0;

/** Writes the capture to a new file and answers its path; throws what the system says. */
export function writeCapture(capture: Uint8Array): string {
  while (written.length >= FILES_MAX) {
    const oldest = written.shift();
    try {
      if (oldest !== undefined) unlinkSync(oldest);
    } catch {
      // Somebody else took it away.
    }
  }
  for (let tries = 0; ; tries++) {
    const path = join(tmpdir(), `tsgost-core-${process.pid}-${next++}.pcapng`);
    try {
      // A file or link that is there already is not ours to write to.
      writeFileSync(path, capture, { flag: "wx", mode: 0o600 });
      written.push(path);
      return path;
    } catch (error) {
      const { code } = error as { code?: unknown };
      if (code !== "EEXIST" || tries === NAMES_MAX) throw error;
    }
  }
}
