/**
 * Sets of client addresses: from addresses, networks and ranges (`a-b`) of text, sorted and merged
 * for look-ups in O(log n). Mapped IPv4 (::ffff:0:0/96) counts as IPv4.
 */
import { networkOf, parseCidr } from "../config/net.ts";
import { ipBytes } from "../proto/address.ts";

/** First and last address, as hexadecimal digits: their order as text is that of the addresses. */
interface Span {
  readonly first: string;
  last: string;
}

export class IpSet {
  /** By the length of an address; sorted once something is asked. */
  readonly #spans: Readonly<Record<4 | 16, Span[]>> = { 4: [], 16: [] };
  #isSorted = true;

  get isEmpty(): boolean {
    return this.#spans[4].length === 0 && this.#spans[16].length === 0;
  }

  /** False for what is no address, network or range. */
  add(text: string): boolean {
    const ends = endsOf(text.trim());
    if (ends === undefined) return false;
    const [first, last] = ends.map((bytes) => Buffer.from(bytes).toString("hex"));
    if (first === undefined || last === undefined) return false;
    if (first.length !== last.length || first > last) return false;
    this.#spans[first.length === 8 ? 4 : 16].push({ first, last });
    this.#isSorted = false;
    return true;
  }

  /** Is this address one of them? False for what is no address. */
  has(ip: string): boolean {
    // Zones of link-local clients do not count.
    const bytes = ipBytes(ip.replace(/%.*$/, ""));
    if (bytes === undefined) return false;
    if (!this.#isSorted) this.#sort();
    const spans = this.#spans[bytes.length === 4 ? 4 : 16];
    const key = Buffer.from(bytes).toString("hex");
    let low = 0;
    let high = spans.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((spans[middle]?.first ?? "") <= key) low = middle + 1;
      else high = middle;
    }
    const span = spans[low - 1];
    return span !== undefined && key <= span.last;
  }

  #sort(): void {
    this.#isSorted = true;
    for (const spans of [this.#spans[4], this.#spans[16]]) {
      const sorted = spans.splice(0).sort((one, other) => (one.first < other.first ? -1 : 1));
      for (const span of sorted) {
        const before = spans.at(-1);
        if (before === undefined || before.last < span.first) spans.push(span);
        else if (before.last < span.last) before.last = span.last;
      }
    }
  }
}

function endsOf(text: string): readonly [Uint8Array, Uint8Array] | undefined {
  if (text.includes("/")) return endsOfCidr(text);
  const [from = "", to = from, ...more] = text.split("-").map((part) => part.trim());
  const [first, last] = [ipBytes(from), ipBytes(to)];
  return first === undefined || last === undefined || more.length > 0 ? undefined : [first, last];
}

function endsOfCidr(text: string): readonly [Uint8Array, Uint8Array] | undefined {
  const cidr = parseCidr(text);
  if (cidr === undefined) return undefined;
  const length = cidr.family === 4 ? 4 : 16;
  const first = networkOf(cidr).bytes.slice(0, length);
  const last = first.map((byte, index) => {
    const own = Math.min(Math.max(cidr.prefix - index * 8, 0), 8);
    return byte | (0xff >> own);
  });
  // A network of mapped addresses is one of IPv4.
  const isMapped =
    length === 16 && cidr.prefix >= 96 && first.subarray(0, 10).every((b) => b === 0);
  if (!isMapped || first[10] !== 0xff || first[11] !== 0xff) return [first, last];
  return [first.slice(12), last.slice(12)];
}
