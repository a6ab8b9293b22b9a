/**
 * The image of a set of rules (assembly/abi.ts, RULES_…), made from lines of text. What most lists
 * consist of, plain names and IPv4 networks, is read from the bytes without making strings; all
 * else goes through rule.ts. The texts of files are part of the image's pool as they are, and
 * names in lower case stay where they stand, so a million rules cost little more than their file.
 */
import * as abi from "../../assembly/abi.ts";
import { TsgostError, configError } from "../errors.ts";
import { LINE_BYTES_MAX } from "../sys/source-list.ts";
import type { SourcePart } from "../sys/source-list.ts";
import {
  PLAIN_BELOW,
  PLAIN_GLOB,
  PLAIN_NET_4,
  PLAIN_NET_6,
  PLAIN_NOT,
  PLAIN_RANGE_4,
  PlainReader,
} from "./plain.ts";
import { Anchors, PatternReader } from "./pattern.ts";
import type { Pattern } from "./pattern.ts";
import { ANY_PORT, parseRule } from "./rule.ts";
import type { Ports, Rule } from "./rule.ts";
import type { Glob } from "./glob.ts";

const RECORD_WORDS = abi.RULE_BYTES / 4;
const CHUNK_RECORDS = 65536;
const CHUNK_BYTES = 1024 * 1024;
/** Wildcards that one look-up may have to try: those without, and those with the same anchor. */
export const GLOBS_PER_ANCHOR_MAX = 65536;
/** Lines between two looks at the rest of the program. */
const LINES_PER_SLICE = 20_000;

export interface ImageFlags {
  readonly whitelist: boolean;
  /** "tcp", "udp" or "" = both. */
  readonly network: string;
  readonly compat: boolean;
  /** What an image without rules says. */
  readonly emptyBypasses: boolean;
}

/** Where a text lies in the pool. */
interface Place {
  readonly at: number;
  readonly bytes: number;
}

export class RuleImage {
  readonly #compat: boolean;
  readonly #warn: (place: string, message: string) => void;
  readonly #sources: Uint8Array[] = [];
  #sourceBytes = 0;
  readonly #records: Uint32Array[] = [];
  #count = 0;
  readonly #extra: Uint8Array[] = [];
  #extraBytes = 0;
  readonly #plain = new PlainReader();
  readonly #pattern = new PatternReader();
  readonly #anchors = new Anchors();
  #isSealed = false;

  /** `warn` hears of rules that never match, and of lines of URLs that are left out. */
  constructor(compat: boolean, warn: (place: string, message: string) => void) {
    this.#compat = compat;
    this.#warn = warn;
  }

  get count(): number {
    return this.#count;
  }

  /** All sources first: their bytes lie in front of everything else in the pool. */
  addSource(part: SourcePart): number {
    if (this.#isSealed) throw new TsgostError("TSGOST_ERR_DEFECT", "sources come before rules");
    const base = this.#sourceBytes;
    this.#sources.push(part.bytes);
    this.#sourceBytes += part.bytes.length;
    return base;
  }

  /** One rule of the configuration; throws a configError for a fault. */
  addText(text: string, place: string): void {
    this.#isSealed = true;
    this.#addParsed(text, place, undefined, false);
  }

  /** The lines of a source that `addSource` placed at `base`. */
  async addLines(part: SourcePart, base: number): Promise<void> {
    this.#isSealed = true;
    const { bytes } = part;
    let line = 0;
    for (let from = 0; from < bytes.length;) {
      const newline = bytes.indexOf(10, from);
      const end = newline < 0 ? bytes.length : newline;
      line++;
      if (!this.#addPlain(bytes, from, end, base)) this.#addLine(part, from, end, { line, base });
      from = end + 1;
      if (line % LINES_PER_SLICE === 0) await new Promise((resolve) => setImmediate(resolve));
    }
  }

  /** A rule of a plain form; false: it is none. */
  #addPlain(bytes: Uint8Array, from: number, lineEnd: number, base: number): boolean {
    const end = lineEnd > from && bytes[lineEnd - 1] === 13 ? lineEnd - 1 : lineEnd;
    const plain = this.#plain;
    const kind = plain.read(bytes, from, end);
    if (kind === PLAIN_NOT) return false;
    const text = { at: base + from, bytes: end - from };
    if (kind <= PLAIN_BELOW) {
      const name = { at: base + plain.nameFrom, bytes: plain.nameEnd - plain.nameFrom };
      if (plain.portMax - plain.portMin === 65535) this.#record(text, name, ANY_PORT, kind);
      else this.#atPorts(kind, text, name, { min: plain.portMin, max: plain.portMax });
    } else if (kind === PLAIN_NET_4) {
      const word = abi.RULE_CIDR_4 | (plain.prefix << 8);
      this.#record(text, { at: plain.first, bytes: 0 }, ANY_PORT, word);
    } else if (kind === PLAIN_RANGE_4) {
      const value = { at: plain.first, bytes: 0 };
      this.#record(text, value, ANY_PORT, abi.RULE_RANGE_4, plain.last);
    } else if (kind === PLAIN_NET_6) {
      const word = abi.RULE_CIDR_6 | (plain.prefix << 8);
      this.#record(text, this.#put(plain.address), ANY_PORT, word);
    } else if (kind === PLAIN_GLOB) {
      const ports = { min: plain.portMin, max: plain.portMax };
      const pattern = this.#pattern.read(bytes, plain.nameFrom, plain.nameEnd);
      // Where there are too many, what follows tells the place.
      return this.#addPattern(pattern, ports, text);
    } else {
      this.#addRange(plain.address, plain.address, text);
    }
    return true;
  }

  #addLine(
    part: SourcePart,
    lineFrom: number,
    lineEnd: number,
    where: { readonly line: number; readonly base: number },
  ): void {
    const place = (): string => `${part.origin}:${where.line}`;
    let end = lineEnd;
    const hash = part.bytes.subarray(lineFrom, lineEnd).indexOf(35);
    if (hash >= 0) end = lineFrom + hash;
    let from = lineFrom;
    while (from < end && isBlank(part.bytes[from] ?? 0)) from++;
    while (end > from && isBlank(part.bytes[end - 1] ?? 0)) end--;
    if (from === end) return;
    if (hash >= 0 || from > lineFrom || end < lineEnd) {
      if (this.#addPlain(part.bytes, from, end, where.base)) return;
    }
    if (end - from > LINE_BYTES_MAX) {
      const message = `the rule has more than ${LINE_BYTES_MAX} bytes`;
      if (part.isRemote !== true && !this.#compat) throw configError(place(), message);
      this.#warn(place(), `${message}: left out`);
      return;
    }
    const text = Buffer.from(part.bytes.buffer, part.bytes.byteOffset).toString("utf8", from, end);
    const held = { at: where.base + from, bytes: end - from };
    this.#addParsed(text, place(), held, part.isRemote === true);
  }

  #addParsed(text: string, place: string, held: Place | undefined, isRemote: boolean): void {
    const { rules, fault, warning } = parseRule(text, this.#compat);
    const shown = (): string => JSON.stringify(text.slice(0, 80));
    if (fault !== undefined) {
      if (!isRemote) throw configError(place, `rule ${shown()} ${fault}`);
      this.#warn(place, `rule ${shown()} ${fault}: left out`);
    } else if (warning !== undefined) {
      this.#warn(place, `rule ${shown()} never matches: it ${warning}`);
    }
    if (rules.length === 0) return;
    const textPlace = held ?? this.#put(Buffer.from(text.slice(0, LINE_BYTES_MAX)));
    for (const rule of rules) this.#addRule(rule, textPlace, place);
  }

  #addRule(rule: Rule, text: Place, place: string): void {
    switch (rule.kind) {
      case "never":
        this.#record(text, { at: 0, bytes: 0 }, ANY_PORT, abi.RULE_NEVER);
        break;
      case "name":
      case "suffix":
      case "below": {
        const kinds = { name: abi.RULE_NAME, suffix: abi.RULE_SUFFIX, below: abi.RULE_BELOW };
        this.#atPorts(kinds[rule.kind], text, this.#put(Buffer.from(rule.name)), rule.ports);
        break;
      }
      case "glob":
        this.#addGlob(rule.glob, rule.ports, text, place);
        break;
      case "host": {
        const kind = rule.address.length === 4 ? abi.RULE_HOST_4 : abi.RULE_HOST_6;
        this.#atPorts(kind, text, this.#putAddress(rule.address), rule.ports);
        break;
      }
      case "range":
        this.#addRange(rule.first, rule.last, text);
        break;
      case "net": {
        const value = this.#putAddress(rule.address);
        const isFour = rule.address.length === 4;
        if (rule.ports.min === 0 && rule.ports.max === 65535) {
          const kind = isFour ? abi.RULE_CIDR_4 : abi.RULE_CIDR_6;
          this.#record(text, value, ANY_PORT, kind | (rule.prefix << 8));
        } else {
          const kind = isFour ? abi.RULE_NET_4 : abi.RULE_NET_6;
          this.#atPorts(kind | (rule.prefix << 8), text, value, rule.ports);
        }
      }
    }
  }

  #addRange(first: Uint8Array, last: Uint8Array, text: Place): void {
    if (first.length === 4) {
      const value = this.#putAddress(first);
      this.#record(text, value, ANY_PORT, abi.RULE_RANGE_4, numberOf(last));
    } else {
      const value = this.#put(Buffer.concat([first, last]));
      this.#record(text, value, ANY_PORT, abi.RULE_RANGE_6);
    }
  }

  /** IPv4 is in the record itself, IPv6 in the pool. */
  #putAddress(address: Uint8Array): Place {
    return address.length === 4 ? { at: numberOf(address), bytes: 0 } : this.#put(address);
  }

  /** One record for each block of a power of two that the ports consist of. */
  #atPorts(word: number, text: Place, value: Place, ports: Ports): void {
    for (let port = ports.min; port <= ports.max;) {
      let size = 65536;
      while ((port & (size - 1)) !== 0 || port + size - 1 > ports.max) size >>= 1;
      const bits = 16 - Math.log2(size);
      const block = { min: port, max: port + size - 1 };
      this.#record(text, value, block, word | (bits << 16));
      port += size;
    }
  }

  #addGlob(glob: Glob, ports: Ports, text: Place, place: string): void {
    if (glob.tokens.length > abi.ROUTE_NAME_MAX * 8) {
      throw configError(place, "the wildcard is too long");
    }
    const { tokens, head, tail } = glob;
    const [headBytes, tailBytes] = [Buffer.byteLength(head), Buffer.byteLength(tail)];
    const pattern = { tokens, length: tokens.length, headBytes, tailBytes };
    if (this.#addPattern(pattern, ports, text)) return;
    throw configError(place, `more than ${GLOBS_PER_ANCHOR_MAX} wildcards of the same form`);
  }

  /** False: there are too many that are found by the same end. */
  #addPattern(pattern: Pattern, ports: Ports, text: Place): boolean {
    const anchors = this.#anchors;
    if (anchors.choose(pattern) >= GLOBS_PER_ANCHOR_MAX) return false;
    const word = abi.RULE_GLOB | (anchors.kind << 8) | (anchors.bytes << 24);
    this.#record(text, this.#put(pattern.tokens, pattern.length), ports, word);
    return true;
  }

  /** Puts bytes behind the sources; answers their place in the pool. */
  #put(bytes: Uint8Array, length = bytes.length): Place {
    // Nothing needs no place, and would begin a chunk that the next piece begins again.
    if (length === 0) return { at: 0, bytes: 0 };
    const room = CHUNK_BYTES - (this.#extraBytes % CHUNK_BYTES);
    if (room === CHUNK_BYTES || length > room) {
      if (room !== CHUNK_BYTES) this.#extraBytes += room;
      this.#extra.push(new Uint8Array(CHUNK_BYTES));
    }
    const at = this.#extraBytes;
    const chunk = this.#extra[this.#extra.length - 1];
    const from = at % CHUNK_BYTES;
    // Short as they are, a loop is faster than a call.
    if (chunk !== undefined) for (let i = 0; i < length; i++) chunk[from + i] = bytes[i] ?? 0;
    this.#extraBytes += length;
    return { at: this.#sourceBytes + at, bytes: length };
  }

  /** `word`: kind, prefix or anchor, bits of the port, bytes of the anchor. */
  #record(text: Place, value: Place, ports: Ports, word: number, link = 0): void {
    if (this.#count === abi.RULES_MAX) {
      throw new TsgostError("TSGOST_ERR_SOURCE", `more than ${abi.RULES_MAX} rules`);
    }
    const index = this.#count % CHUNK_RECORDS;
    if (index === 0) this.#records.push(new Uint32Array(CHUNK_RECORDS * RECORD_WORDS));
    const chunk = this.#records[this.#records.length - 1];
    if (chunk === undefined) return;
    const at = index * RECORD_WORDS;
    chunk[at] = text.at;
    chunk[at + 1] = value.at;
    chunk[at + 2] = link;
    chunk[at + 3] = text.bytes | (value.bytes << 16);
    chunk[at + 4] = ports.min | (ports.max << 16);
    chunk[at + 5] = word;
    this.#count++;
  }

  /** Bytes of the whole image. */
  get byteLength(): number {
    return this.#poolAt() + this.#sourceBytes + this.#extraBytes;
  }

  #poolAt(): number {
    return abi.RULES_HEADER_BYTES + this.#count * abi.RULE_BYTES;
  }

  /** Writes the image into `memory` at `at`, which is a multiple of 4. */
  write(memory: Uint8Array, at: number, flags: ImageFlags): void {
    const header = new Uint32Array(memory.buffer, at, abi.RULES_HEADER_BYTES / 4).fill(0);
    header[abi.RULES_MAGIC_OFF / 4] = abi.RULES_MAGIC;
    header[abi.RULES_COUNT_OFF / 4] = this.#count;
    header[abi.RULES_POOL_PTR_OFF / 4] = this.#poolAt();
    header[abi.RULES_POOL_BYTES_OFF / 4] = this.#sourceBytes + this.#extraBytes;
    header[abi.RULES_FLAGS_OFF / 4] = wordOf(flags);
    let to = at + abi.RULES_HEADER_BYTES;
    let left = this.#count * abi.RULE_BYTES;
    for (const chunk of this.#records) {
      const bytes = new Uint8Array(chunk.buffer, 0, Math.min(left, chunk.byteLength));
      memory.set(bytes, to);
      to += bytes.length;
      left -= bytes.length;
    }
    for (const bytes of this.#sources) {
      memory.set(bytes, to);
      to += bytes.length;
    }
    let extra = this.#extraBytes;
    for (const chunk of this.#extra) {
      memory.set(chunk.subarray(0, Math.min(extra, CHUNK_BYTES)), to);
      to += CHUNK_BYTES;
      extra -= CHUNK_BYTES;
    }
  }
}

function wordOf({ whitelist, network, compat, emptyBypasses }: ImageFlags): number {
  return (
    (whitelist ? abi.RULES_WHITELIST : 0) |
    (network === "tcp" ? abi.RULES_TCP : network === "udp" ? abi.RULES_UDP : 0) |
    (compat ? abi.RULES_COMPAT : 0) |
    (emptyBypasses ? abi.RULES_EMPTY_BYPASSES : 0)
  );
}

function numberOf(bytes: Uint8Array): number {
  const [a = 0, b = 0, c = 0, d = 0] = bytes;
  return ((a << 24) | (b << 16) | (c << 8) | d) >>> 0;
}

/** Blanks of ASCII; others in names are no names. */
function isBlank(byte: number): boolean {
  return byte === 32 || (byte >= 9 && byte <= 13);
}
