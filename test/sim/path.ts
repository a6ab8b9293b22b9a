/**
 * The way to the clients, whose MTU changes: what does not fit is dropped, and somebody on the way
 * says so (RFC 1191 §4, RFC 8201 §3). Segments of a super-packet are measured one by one.
 */
import { parsePacket, type Framing } from "../kit/expect.ts";
import { icmpPacket, withVnet } from "../kit/packet.ts";
import type { MtuChange } from "./scenario.ts";

const QUOTE_4_BYTES = 28;
const QUOTE_6_MAX = 1232;
const TCP = 6;
/** What an IPv6 link carries at least. */
const LEAST_6 = 1280;

export class Path {
  readonly #changes: readonly MtuChange[];
  readonly #startUs: number;
  readonly #framing: Framing;

  constructor(changes: readonly MtuChange[], startUs: number, framing: Framing) {
    this.#changes = changes;
    this.#startUs = startUs;
    this.#framing = framing;
  }

  #mtuAt(nowUs: number): number {
    const past = this.#changes.filter(({ atUs }) => nowUs >= this.#startUs + atUs);
    return past.at(-1)?.mtu ?? Infinity;
  }

  /** The report of a packet that does not fit, or undefined if it does. */
  refuse(packet: Uint8Array, nowUs: number): Uint8Array | undefined {
    if (this.#changes.length === 0) return undefined;
    const seen = parsePacket(packet, this.#framing);
    const isSix = seen.family === 6;
    const mtu = isSix ? Math.max(LEAST_6, this.#mtuAt(nowUs)) : this.#mtuAt(nowUs);
    const { bytes, ipHeaderLen, l4, vnet } = seen;
    if (seen.proto !== TCP || bytes.length <= mtu) return undefined;
    const headers = ipHeaderLen + ((l4[12] ?? 0) >> 4) * 4;
    const gso = vnet?.gsoSize ?? 0;
    if (gso > 0 && headers + gso <= mtu) return undefined;
    const report = icmpPacket({
      src: isSix ? "2001:db8::fe" : "192.0.2.254",
      dst: seen.src,
      type: isSix ? 2 : 3,
      code: isSix ? 0 : 4,
      word: mtu,
      payload: bytes.slice(0, isSix ? QUOTE_6_MAX : QUOTE_4_BYTES),
    });
    const { vnetBytes = 0 } = this.#framing;
    return vnetBytes === 0 ? report : withVnet(report, { bytes: vnetBytes });
  }
}
