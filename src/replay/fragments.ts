/**
 * Fragments of a capture put together: those of a server are what upstream says, and a datagram's
 * checksum can be looked at when it is whole. (A client's fragments go into the core as they are.)
 * Bounded in datagrams, pieces and bytes; the oldest gives way.
 */
import type { IpFacts } from "../pcap/ip.ts";
import { endKey } from "./conversation.ts";

const DATAGRAMS_MAX = 256;
const PIECES_MAX = 128;
const BYTES_MAX = 65_535;

interface Partial {
  readonly pieces: { readonly at: number; readonly data: Uint8Array }[];
  head: IpFacts | undefined;
  end: number | undefined;
}

/** Names a datagram by its ends, protocol and identification. */
export function datagramKey(ip: IpFacts): string {
  const ends = endKey(ip.data, ip.src, 2 * ip.addressBytes, ip.fragmentId & 0xffff);
  return `${ends}${String.fromCharCode(ip.fragmentId >>> 16, ip.family)}`;
}

export class Reassembler {
  readonly #partial = new Map<string, Partial>();

  /** Adds a fragment; answers the datagram as if it had never been cut, once it is whole. */
  add(ip: IpFacts): IpFacts | undefined {
    const key = datagramKey(ip);
    const partial = this.#partial.get(key) ?? this.#make(key);
    const data = ip.data.slice(ip.l4);
    const end = ip.fragmentOffset + data.length;
    if (partial.pieces.length >= PIECES_MAX || end > BYTES_MAX) {
      this.#partial.delete(key);
      return undefined;
    }
    partial.pieces.push({ at: ip.fragmentOffset, data });
    if (ip.fragmentOffset === 0) partial.head = { ...ip, data: ip.data.slice(0, ip.l4) };
    if (!ip.hasMore) partial.end = end;
    const whole = joined(partial);
    if (whole !== undefined) this.#partial.delete(key);
    return whole;
  }

  #make(key: string): Partial {
    if (this.#partial.size >= DATAGRAMS_MAX) {
      for (const oldest of this.#partial.keys()) {
        this.#partial.delete(oldest);
        break;
      }
    }
    const partial: Partial = { pieces: [], head: undefined, end: undefined };
    this.#partial.set(key, partial);
    return partial;
  }
}

function joined({ pieces, head, end }: Partial): IpFacts | undefined {
  if (head === undefined || end === undefined) return undefined;
  pieces.sort((a, b) => a.at - b.at);
  let next = 0;
  const data = new Uint8Array(head.l4 + end);
  data.set(head.data);
  for (const piece of pieces) {
    if (piece.at > next) return undefined;
    if (piece.at + piece.data.length > end) return undefined;
    data.set(piece.data, head.l4 + piece.at);
    next = Math.max(next, piece.at + piece.data.length);
  }
  if (next < end) return undefined;
  return { ...head, data, bytes: data.length, isFragment: false, hasMore: false };
}
