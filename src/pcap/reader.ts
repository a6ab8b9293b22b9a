/**
 * Readers of captures: the format is found out by the first bytes of the file.
 *
 *     const reader = captureReader(openCapture(file));
 *     const packet = emptyPacket();
 *     while (reader.next(packet)) use(packet);
 */
import { BlockReader, isBlocks } from "./blocks.ts";
import { ClassicReader, isClassic } from "./classic.ts";
import type { CaptureReader } from "./types.ts";
import { ByteWindow, type ByteSource } from "./window.ts";

export { emptyPacket, type CapturedPacket, type CaptureReader } from "./types.ts";

/** Throws TSGOST_ERR_PCAP if the file is no capture. */
export function captureReader(source: ByteSource): CaptureReader {
  const window = new ByteWindow(source);
  const head = window.peek(4);
  if (isBlocks(head)) return new BlockReader(window);
  if (isClassic(head)) return new ClassicReader(window);
  const what = head.length === 0 ? "the file is empty" : "neither pcap nor pcapng";
  throw window.fault(0, what);
}
