/** What a reader of captures gives for each packet. */

/** Packets above this are taken for a broken file, as by other readers of captures. */
export const CAPTURED_BYTES_MAX = 262_144;

/** One object a reader; each packet overwrites it. */
export interface CapturedPacket {
  /** The packet with its link layer; a view, valid until the next one is read. */
  data: Uint8Array;
  /** Bytes it had on the wire; more than `data.length` if it was cut. */
  wireBytes: number;
  /** Microseconds since 1970. */
  timeUs: number;
  linkType: number;
  /** Where its record begins in the file. */
  offset: number;
}

/** Reads the next packet into `packet`; false at the end. Throws TSGOST_ERR_PCAP at a fault. */
export interface CaptureReader {
  readonly format: "pcap" | "pcapng";
  next(packet: CapturedPacket): boolean;
}

export function emptyPacket(): CapturedPacket {
  return { data: new Uint8Array(0), wireBytes: 0, timeUs: 0, linkType: 0, offset: 0 };
}
