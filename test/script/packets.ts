/** Packets of scripts that are no segments: datagrams, pings, others, in fragments if asked for. */
import { pattern, put16 } from "../kit/bytes.ts";
import {
  fragment4,
  fragment6,
  icmpPacket,
  ipPacket,
  tcpPacket,
  udpPacket,
  type Extension,
} from "../kit/packet.ts";
import type { Words } from "./parse.ts";

interface Ends {
  readonly src: string;
  readonly dst: string;
  readonly sport: number;
  readonly dport: number;
}

/** `60`, `0:130` (an option of that kind), `43:1` (segments left). */
function extension(word: string): Extension {
  const [type = 0, value = 0] = word.split(":").map(Number);
  if (type === 43) return { type, rest: Uint8Array.of(0, 0, value, 0, 0, 0, 0) };
  // An option of two bytes, then padding; kind 1 is padding itself.
  const kind = value === 0 ? 1 : value;
  return { type, rest: Uint8Array.of(0, kind, 0, 1, 2, 0, 0) };
}

function whole({ bare, keys }: Words, ends: Ends): Uint8Array {
  const payload = pattern(Number(keys.get("len") ?? 0), 9);
  const extensions = (keys.get("ext") ?? "").split(",").filter((word) => word !== "");
  const fields = {
    ...ends,
    dport: Number(keys.get("dport") ?? 9),
    ...(keys.has("dst") ? { dst: keys.get("dst")! } : {}),
    ...(keys.has("src") ? { src: keys.get("src")! } : {}),
    extensions: extensions.map(extension),
    fragment: 0,
    payload,
  };
  const [kind] = bare;
  if (kind === "udp") return udpPacket(fields);
  if (kind === "echo") return icmpPacket(fields);
  if (kind === "syn") return tcpPacket({ ...fields, flags: "S", payload: new Uint8Array(0) });
  if (kind === "proto") return ipPacket(fields, Number(bare[1]), payload);
  throw new Error(`no packet is called ${kind}`);
}

/** A fragment whose bytes were changed, and whose IPv4 header is right all the same. */
function spoilt(piece: Uint8Array): Uint8Array {
  const copy = Uint8Array.from(piece);
  copy[copy.length - 1]! ^= 0xff;
  return copy;
}

/**
 * One packet, or with `cut=8,16` its fragments: all in order, or those of `order=2,0,1`; `0!` is
 * the first with other bytes, `0<8` the first moved to the left by 8.
 */
export function otherPackets(words: Words, ends: Ends, family: 4 | 6): Uint8Array[] {
  const { keys } = words;
  const packet = whole(words, ends);
  const cut = keys.get("cut");
  const count = Number(keys.get("times") ?? 1);
  if (cut === undefined) return new Array<Uint8Array>(count).fill(packet);
  const fragment = family === 4 ? fragment4 : fragment6;
  const pieces = fragment(packet, cut.split(",").map(Number), Number(keys.get("id") ?? 7));
  const order = keys.get("order") ?? pieces.map((_, i) => i).join(",");
  return order.split(",").map((word) => {
    const [, index = "0", mark = "", by = "0"] = /^(\d+)([!<]?)(\d*)$/.exec(word) ?? [];
    const piece = pieces[Number(index)]!;
    if (mark === "!") return spoilt(piece);
    return mark === "<" ? moved(piece, family, Number(by)) : piece;
  });
}

/** The fragment with its offset less by some bytes: an overlap. */
function moved(piece: Uint8Array, family: 4 | 6, by: number): Uint8Array {
  const copy = Uint8Array.from(piece);
  const at = family === 4 ? 6 : 42;
  const word = (copy[at]! << 8) | copy[at + 1]!;
  put16(copy, at, family === 4 ? word - by / 8 : word - by);
  if (family === 4) {
    // The header checksum follows by the difference (RFC 1624).
    const sum = ((copy[10]! << 8) | copy[11]!) + by / 8;
    put16(copy, 10, (sum & 0xffff) + (sum >> 16));
  }
  return copy;
}
