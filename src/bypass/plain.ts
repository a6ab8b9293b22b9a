/**
 * The forms that long lists consist of, read from bytes without making strings: names, `.name`,
 * `*.name` and other wildcards of `*` and `?`, each with or without a port or range of ports; IPv4
 * and IPv6 addresses and networks, ranges of IPv4. What is read here means the same in rule.ts (a
 * test holds them together), with and without `compat`; for everything else the answer is
 * PLAIN_NOT and rule.ts has the word.
 */

export const PLAIN_NOT = 0;
/** Bytes from `nameFrom` to `nameEnd`. */
export const PLAIN_NAME = 1;
export const PLAIN_SUFFIX = 2;
export const PLAIN_BELOW = 3;
/** `first` and `prefix`. */
export const PLAIN_NET_4 = 4;
/** `first` and `last`. */
export const PLAIN_RANGE_4 = 5;
/** `address` and `prefix`; an address alone is PLAIN_ADDRESS_6. */
export const PLAIN_NET_6 = 6;
export const PLAIN_ADDRESS_6 = 7;
/** A pattern from `nameFrom` to `nameEnd`, of a name's bytes, `*` and `?`. */
export const PLAIN_GLOB = 8;

const NAME_BYTES_MAX = 256;
const DOT = 46;
const STAR = 42;
const QUESTION = 63;
const COLON = 58;
const DASH = 45;
const SLASH = 47;

/** What one byte may be part of: a letter, a digit, `-` and `_` of names. */
const LETTER = 1;
const DIGIT = 2;
const JOINER = 4;
const CLASS = new Uint8Array(256);
for (let byte = 97; byte <= 122; byte++) CLASS[byte] = LETTER;
for (let byte = 48; byte <= 57; byte++) CLASS[byte] = DIGIT;
CLASS[DASH] = JOINER;
CLASS[95] = JOINER;

/** Reads rules out of bytes; its fields hold what was read last. */
export class PlainReader {
  nameFrom = 0;
  nameEnd = 0;
  portMin = 0;
  portMax = 65535;
  first = 0;
  last = 0;
  prefix = 0;
  readonly address = new Uint8Array(16);
  readonly #words = new Uint16Array(8);
  /** Where reading a number or an address stopped. */
  #at = 0;

  /** PLAIN_… of the rule that is `bytes` from `from` to `end`, blanks and comments cut off. */
  read(bytes: Uint8Array, from: number, end: number): number {
    if (end - from > NAME_BYTES_MAX || end <= from) return PLAIN_NOT;
    this.portMin = 0;
    this.portMax = 65535;
    let kind = PLAIN_NAME;
    let start = from;
    if (bytes[from] === DOT) {
      kind = PLAIN_SUFFIX;
      start = from + 1;
    } else if (bytes[from] === STAR && bytes[from + 1] === DOT) {
      kind = PLAIN_BELOW;
      start = from + 2;
    }
    const at = this.#skipName(bytes, start, end);
    if (at < 0 || (at < end && !this.#readPorts(bytes, at + 1, end))) {
      const address = kind === PLAIN_NAME ? this.#readAddress(bytes, from, end) : PLAIN_NOT;
      return address === PLAIN_NOT ? this.#readGlob(bytes, from, end) : address;
    }
    this.nameFrom = start;
    this.nameEnd = at;
    return kind;
  }

  /** The end of a name with a letter that is no hexadecimal number: `end` or a colon; or -1. */
  #skipName(bytes: Uint8Array, from: number, end: number): number {
    let seen = 0;
    let before = DOT;
    let at = from;
    for (; at < end; at++) {
      const byte = bytes[at] ?? 0;
      const what = CLASS[byte] ?? 0;
      if (what === 0) {
        if (byte === COLON) break;
        if (byte !== DOT || before === DOT) return -1;
      }
      seen |= what;
      before = byte;
    }
    return before === DOT || (seen & LETTER) === 0 ? -1 : at;
  }

  /** A wildcard that is not `*` and a suffix: those are names below others, or none. */
  #readGlob(bytes: Uint8Array, from: number, end: number): number {
    let last = -1;
    let at = from;
    for (; at < end && bytes[at] !== COLON; at++) {
      const byte = bytes[at] ?? 0;
      if (byte === STAR || byte === QUESTION) last = at;
      else if (byte !== DOT && CLASS[byte] === 0) return PLAIN_NOT;
    }
    // A dot at the end is cut off or not, as `compat` says.
    if (last < 0 || bytes[at - 1] === DOT) return PLAIN_NOT;
    if (last === from && bytes[from] === STAR && bytes[from + 1] === DOT) return PLAIN_NOT;
    if (at < end && !this.#readPorts(bytes, at + 1, end)) return PLAIN_NOT;
    this.nameFrom = from;
    this.nameEnd = at;
    return PLAIN_GLOB;
  }

  /** A number of at most five digits; -1 where there is none. */
  #number(bytes: Uint8Array, from: number, end: number): number {
    let value = 0;
    let at = from;
    for (; at < end && CLASS[bytes[at] ?? 0] === DIGIT; at++) {
      if (at - from === 5) return -1;
      value = value * 10 + (bytes[at] ?? 0) - 48;
    }
    this.#at = at;
    return at === from ? -1 : value;
  }

  /** `80` or `80-443` up to the end. */
  #readPorts(bytes: Uint8Array, from: number, end: number): boolean {
    const min = this.#number(bytes, from, end);
    let max = min;
    if (this.#at < end) {
      if (bytes[this.#at] !== DASH) return false;
      max = this.#number(bytes, this.#at + 1, end);
    }
    if (min < 0 || max < min || max > 65535 || this.#at < end) return false;
    this.portMin = min;
    this.portMax = max;
    return true;
  }

  #readAddress(bytes: Uint8Array, from: number, end: number): number {
    const first = this.#ip4(bytes, from, end);
    if (first < 0) return this.#readIp6(bytes, from, end);
    this.first = first;
    this.last = first;
    if (this.#at === end) return PLAIN_RANGE_4;
    if (bytes[this.#at] === DASH) {
      this.last = this.#ip4(bytes, this.#at + 1, end);
      return this.#at === end && this.last >= first ? PLAIN_RANGE_4 : PLAIN_NOT;
    }
    return this.#readPrefix(bytes, end, 32) ? PLAIN_NET_4 : PLAIN_NOT;
  }

  /** `/n` up to the end, without leading zeros. */
  #readPrefix(bytes: Uint8Array, end: number, most: number): boolean {
    const slash = this.#at;
    if (bytes[slash] !== SLASH) return false;
    const prefix = this.#number(bytes, slash + 1, end);
    if (prefix < 0 || prefix > most || this.#at < end) return false;
    if (bytes[slash + 1] === 48 && end - slash > 2) return false;
    this.prefix = prefix;
    return true;
  }

  /** Four numbers without leading zeros; -1 where it is something else. */
  #ip4(bytes: Uint8Array, from: number, end: number): number {
    let address = 0;
    let at = from;
    for (let part = 0; part < 4; part++) {
      const value = this.#number(bytes, at, end);
      if (value < 0 || value > 255 || (bytes[at] === 48 && this.#at - at > 1)) return -1;
      address = address * 256 + value;
      at = this.#at + 1;
      if (part < 3 && bytes[this.#at] !== DOT) return -1;
    }
    return address;
  }

  #readIp6(bytes: Uint8Array, from: number, end: number): number {
    if (!this.#ip6(bytes, from, end)) return PLAIN_NOT;
    // Mapped addresses are a matter of taste.
    const words = this.#words;
    if ((words[5] ?? 0) === 0xffff && words.subarray(0, 5).every((word) => word === 0)) {
      return PLAIN_NOT;
    }
    for (let index = 0; index < 8; index++) {
      const word = words[index] ?? 0;
      this.address[index * 2] = word >> 8;
      this.address[index * 2 + 1] = word & 255;
    }
    if (this.#at === end) return PLAIN_ADDRESS_6;
    return this.#readPrefix(bytes, end, 128) ? PLAIN_NET_6 : PLAIN_NOT;
  }

  /** Groups of hexadecimal digits with one `::` at most, without an IPv4 tail. */
  #ip6(bytes: Uint8Array, from: number, end: number): boolean {
    const words = this.#words.fill(0);
    let count = 0;
    let gap = -1;
    let at = from;
    if (bytes[at] === COLON) {
      if (bytes[at + 1] !== COLON) return false;
      gap = 0;
      at += 2;
    }
    while (at < end && bytes[at] !== SLASH) {
      const start = at;
      let word = 0;
      for (; at < end; at++) {
        const digit = hexDigit(bytes[at] ?? 0);
        if (digit < 0) break;
        word = word * 16 + digit;
      }
      if (at === start || at - start > 4 || count === 8) return false;
      words[count++] = word;
      if (at === end || bytes[at] === SLASH) break;
      if (bytes[at] !== COLON || at + 1 === end) return false;
      at++;
      if (bytes[at] === COLON) {
        if (gap >= 0) return false;
        gap = count;
        at++;
      } else if (bytes[at] === SLASH) return false;
    }
    this.#at = at;
    if (gap < 0) return count === 8;
    if (count > 7) return false;
    words.copyWithin(8 - (count - gap), gap, count);
    words.fill(0, gap, 8 - (count - gap));
    return true;
  }
}

function hexDigit(byte: number): number {
  if (byte >= 48 && byte <= 57) return byte - 48;
  const lower = byte | 32;
  return lower >= 97 && lower <= 102 ? lower - 87 : -1;
}
