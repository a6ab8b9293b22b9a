/**
 * DNS messages (RFC 1035 §4, RFC 3596 AAAA, RFC 6891 EDNS, RFC 7871 client subnet), pure:
 *
 *    0      2       4         6         8         10        12
 *   | ID   | flags | QDCOUNT | ANCOUNT | NSCOUNT | ARCOUNT | questions, records
 *
 * Decoding takes any bytes: what is malformed gives undefined. Names in RDATA are expanded, so that
 * a record can be written into another message. Bounds: MESSAGE_BYTES_MAX, RECORDS_MAX, and what
 * dns-name.ts bounds.
 */
import { ipText } from "./address.ts";
import { decodeName, encodeName, type NameOffsets } from "./dns-name.ts";

export const MESSAGE_BYTES_MAX = 65_535;
/** Of all sections together. */
export const RECORDS_MAX = 2048;
export const HEADER_BYTES = 12;

export const TYPE = {
  A: 1,
  NS: 2,
  CNAME: 5,
  SOA: 6,
  PTR: 12,
  MX: 15,
  TXT: 16,
  AAAA: 28,
  SRV: 33,
  DNAME: 39,
  OPT: 41,
  SVCB: 64,
  HTTPS: 65,
} as const;

export const CLASS_IN = 1;

export const RCODE = {
  NOERROR: 0,
  FORMERR: 1,
  SERVFAIL: 2,
  NXDOMAIN: 3,
  NOTIMP: 4,
  REFUSED: 5,
} as const;

export const OPTION_CLIENT_SUBNET = 8;

export interface DnsQuestion {
  readonly name: string;
  readonly type: number;
  readonly class: number;
}

export interface DnsRecord {
  readonly name: string;
  readonly type: number;
  readonly class: number;
  /** Seconds; values above 2³¹ - 1 count as 0 (RFC 2181 §8). */
  readonly ttl: number;
  /** RDATA, names in it uncompressed. */
  readonly data: Uint8Array;
}

export interface DnsOption {
  readonly code: number;
  readonly data: Uint8Array;
}

/** The OPT pseudo-record. */
export interface Edns {
  /** What the sender takes over UDP. */
  readonly udpBytes: number;
  readonly version: number;
  readonly dnssecOk: boolean;
  readonly options: readonly DnsOption[];
}

export interface DnsHeader {
  readonly id: number;
  readonly qr: boolean;
  readonly opcode: number;
  readonly aa: boolean;
  readonly tc: boolean;
  readonly rd: boolean;
  readonly ra: boolean;
  readonly ad: boolean;
  readonly cd: boolean;
  /** With the upper eight bits of an OPT record. */
  readonly rcode: number;
}

export interface DnsMessage extends DnsHeader {
  readonly questions: readonly DnsQuestion[];
  readonly answers: readonly DnsRecord[];
  readonly authorities: readonly DnsRecord[];
  /** Without the OPT record, which is `edns`. */
  readonly additionals: readonly DnsRecord[];
  readonly edns?: Edns | undefined;
}

function u16(bytes: Uint8Array, offset: number): number {
  return ((bytes[offset] ?? 0) << 8) | (bytes[offset + 1] ?? 0);
}

function u32(bytes: Uint8Array, offset: number): number {
  return u16(bytes, offset) * 0x1_0000 + u16(bytes, offset + 2);
}

/** The header alone, for who must know the ID before all else. */
export function decodeHeader(bytes: Uint8Array): DnsHeader | undefined {
  if (bytes.length < HEADER_BYTES || bytes.length > MESSAGE_BYTES_MAX) return undefined;
  const flags = u16(bytes, 2);
  return {
    id: u16(bytes, 0),
    qr: (flags & 0x8000) !== 0,
    opcode: (flags >> 11) & 15,
    aa: (flags & 0x0400) !== 0,
    tc: (flags & 0x0200) !== 0,
    rd: (flags & 0x0100) !== 0,
    ra: (flags & 0x0080) !== 0,
    ad: (flags & 0x0020) !== 0,
    cd: (flags & 0x0010) !== 0,
    rcode: flags & 15,
  };
}

/**
 * The message, or undefined if it is malformed. Of a truncated one (TC) whose last record was cut,
 * all before the cut. Bytes behind the last record are not looked at.
 */
export function decodeMessage(bytes: Uint8Array): DnsMessage | undefined {
  const header = decodeHeader(bytes);
  if (header === undefined) return undefined;
  const counts = [u16(bytes, 4), u16(bytes, 6), u16(bytes, 8), u16(bytes, 10)] as const;
  if (counts[0] + counts[1] + counts[2] + counts[3] > RECORDS_MAX) return undefined;
  let offset = HEADER_BYTES;
  const questions: DnsQuestion[] = [];
  for (let index = 0; index < counts[0]; index++) {
    const at = decodeName(bytes, offset);
    if (at === undefined || at.end + 4 > bytes.length) return undefined;
    questions.push({ name: at.name, type: u16(bytes, at.end), class: u16(bytes, at.end + 2) });
    offset = at.end + 4;
  }
  const sections: [DnsRecord[], DnsRecord[], DnsRecord[]] = [[], [], []];
  for (const [index, records] of sections.entries()) {
    const count = counts[index + 1] ?? 0;
    for (let number = 0; number < count; number++) {
      const at = decodeRecord(bytes, offset);
      if (at === undefined) {
        return header.tc ? finished(header, questions, sections) : undefined;
      }
      records.push(at.record);
      offset = at.end;
    }
  }
  return finished(header, questions, sections);
}

/** Takes the OPT record out of the last section. */
function finished(
  header: DnsHeader,
  questions: readonly DnsQuestion[],
  [answers, authorities, rest]: readonly [DnsRecord[], DnsRecord[], DnsRecord[]],
): DnsMessage | undefined {
  const opts = rest.filter(({ type }) => type === TYPE.OPT);
  if (opts.length > 1) return undefined;
  const message = { ...header, questions, answers, authorities, additionals: rest };
  const opt = opts[0];
  if (opt === undefined) return message;
  const options = decodeOptions(opt.data);
  if (opt.name !== "" || options === undefined) return undefined;
  // The four bytes of an OPT's TTL: upper bits of RCODE, version, flags (RFC 6891 §6.1.3).
  const upper = Math.floor(opt.ttl / 0x100_0000);
  return {
    ...message,
    rcode: upper * 16 + header.rcode,
    additionals: rest.filter((record) => record !== opt),
    edns: {
      udpBytes: opt.class,
      version: (opt.ttl >>> 16) & 255,
      dnssecOk: (opt.ttl & 0x8000) !== 0,
      options,
    },
  };
}

function decodeRecord(
  bytes: Uint8Array,
  offset: number,
): { record: DnsRecord; end: number } | undefined {
  const at = decodeName(bytes, offset);
  if (at === undefined || at.end + 10 > bytes.length) return undefined;
  const type = u16(bytes, at.end);
  const start = at.end + 10;
  const end = start + u16(bytes, at.end + 8);
  if (end > bytes.length) return undefined;
  const data = decodeData(bytes, type, start, end);
  if (data === undefined) return undefined;
  const field = u32(bytes, at.end + 4);
  const ttl = field > 0x7fff_ffff && type !== TYPE.OPT ? 0 : field;
  return { record: { name: at.name, type, class: u16(bytes, at.end + 2), ttl, data }, end };
}

/** RDATA with names in it: bytes before, names, bytes behind (RFC 1035, 2782, 6672). */
const LAYOUTS: Readonly<Record<number, readonly [number, number, number]>> = {
  [TYPE.NS]: [0, 1, 0],
  [TYPE.CNAME]: [0, 1, 0],
  [TYPE.PTR]: [0, 1, 0],
  [TYPE.DNAME]: [0, 1, 0],
  [TYPE.MX]: [2, 1, 0],
  [TYPE.SRV]: [6, 1, 0],
  [TYPE.SOA]: [0, 2, 20],
};

function decodeData(
  bytes: Uint8Array,
  type: number,
  start: number,
  end: number,
): Uint8Array | undefined {
  const layout = LAYOUTS[type];
  // Updates and the like have empty RDATA of any type.
  if (layout === undefined || start === end) return copyOf(bytes, start, end);
  const [before, names, behind] = layout;
  const parts: Uint8Array[] = [copyOf(bytes, start, start + before)];
  let offset = start + before;
  for (let index = 0; index < names; index++) {
    const at = decodeName(bytes, offset);
    if (at === undefined) return undefined;
    parts.push(encodeName(at.name));
    offset = at.end;
  }
  if (offset + behind !== end) return undefined;
  parts.push(copyOf(bytes, offset, end));
  return Uint8Array.from(Buffer.concat(parts));
}

/** Records outlive the message's buffer, of which a Buffer's own `slice` would be a view. */
function copyOf(bytes: Uint8Array, start: number, end: number): Uint8Array {
  return Uint8Array.from(bytes.subarray(start, end));
}

function decodeOptions(data: Uint8Array): DnsOption[] | undefined {
  const options: DnsOption[] = [];
  let offset = 0;
  while (offset < data.length) {
    const end = offset + 4 + u16(data, offset + 2);
    if (offset + 4 > data.length || end > data.length) return undefined;
    options.push({ code: u16(data, offset), data: data.slice(offset + 4, end) });
    offset = end;
  }
  return options;
}

/**
 * Writes a message, owner names compressed. Throws RangeError for names that are none, fields out
 * of range and messages above MESSAGE_BYTES_MAX.
 */
export function encodeMessage(message: DnsMessage): Uint8Array {
  const { questions, answers, authorities, additionals, edns } = message;
  const known: NameOffsets = new Map();
  const extra = edns === undefined ? 0 : 1;
  const header = new Uint8Array(HEADER_BYTES);
  const parts: Uint8Array[] = [header];
  let length = HEADER_BYTES;
  const add = (part: Uint8Array): void => {
    parts.push(part);
    length += part.length;
    if (length > MESSAGE_BYTES_MAX) throw new RangeError("the DNS message is too long");
  };
  put16(header, 0, message.id);
  put16(header, 2, flagsOf(message));
  const counts = [questions.length, answers.length, authorities.length, additionals.length + extra];
  for (const [index, count] of counts.entries()) put16(header, 4 + index * 2, count);
  for (const { name, type, class: kind } of questions) {
    add(encodeName(name, length, known));
    add(fields16(type, kind));
  }
  for (const { name, type, class: kind, ttl, data } of [answers, authorities, additionals].flat()) {
    add(encodeName(name, length, known));
    add(fields16(type, kind, Math.floor(ttl / 0x1_0000), ttl % 0x1_0000, data.length));
    add(data);
  }
  if (edns !== undefined) add(encodeOpt(edns, message.rcode));
  return Uint8Array.from(Buffer.concat(parts));
}

function flagsOf(header: DnsHeader): number {
  const bits = [
    [header.qr, 0x8000],
    [header.aa, 0x0400],
    [header.tc, 0x0200],
    [header.rd, 0x0100],
    [header.ra, 0x0080],
    [header.ad, 0x0020],
    [header.cd, 0x0010],
  ] as const;
  let flags = ((header.opcode & 15) << 11) | (header.rcode & 15);
  for (const [isSet, bit] of bits) if (isSet) flags |= bit;
  return flags;
}

function encodeOpt(edns: Edns, rcode: number): Uint8Array {
  const options = edns.options.flatMap(({ code, data }) => [fields16(code, data.length), data]);
  const data = Buffer.concat(options);
  const upper = ((rcode >> 4) << 8) | edns.version;
  const flags = edns.dnssecOk ? 0x8000 : 0;
  const head = fields16(TYPE.OPT, edns.udpBytes, upper, flags, data.length);
  return Buffer.concat([Uint8Array.of(0), head, data]);
}

function fields16(...values: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(values.length * 2);
  for (const [index, value] of values.entries()) put16(bytes, index * 2, value);
  return bytes;
}

function put16(bytes: Uint8Array, offset: number, value: number): void {
  if (!Number.isInteger(value) || value < 0 || value > 0xffff) {
    throw new RangeError(`${value} does not fit a DNS field`);
  }
  bytes[offset] = value >> 8;
  bytes[offset + 1] = value & 255;
}

export interface QueryOptions {
  readonly edns?: Edns | undefined;
}

/** A recursive query for one name. */
export function queryOf(id: number, question: DnsQuestion, options: QueryOptions = {}): DnsMessage {
  return {
    id,
    qr: false,
    opcode: 0,
    aa: false,
    tc: false,
    rd: true,
    ra: false,
    ad: false,
    cd: false,
    rcode: RCODE.NOERROR,
    questions: [question],
    answers: [],
    authorities: [],
    additionals: [],
    edns: options.edns,
  };
}

/** Client subnet of RFC 7871 §6: the first `prefix` bits of an address of 4 or 16 bytes. */
export function clientSubnet(address: Uint8Array, prefix: number): DnsOption {
  const length = Math.ceil(prefix / 8);
  const part = Uint8Array.from(address.subarray(0, length));
  const spare = length * 8 - prefix;
  if (spare > 0) part[length - 1] = (part[length - 1] ?? 0) & (0xff << spare);
  const head = Uint8Array.of(0, address.length === 4 ? 1 : 2, prefix, 0);
  return { code: OPTION_CLIENT_SUBNET, data: Buffer.concat([head, part]) };
}

/** The address of an A or AAAA record as text; undefined for others and for a wrong length. */
export function addressOf({ type, class: kind, data }: DnsRecord): string | undefined {
  if (kind !== CLASS_IN) return undefined;
  const isAddress =
    (type === TYPE.A && data.length === 4) || (type === TYPE.AAAA && data.length === 16);
  return isAddress ? ipText(data) : undefined;
}

/** The name that a CNAME, DNAME, NS or PTR record leads to. */
export function targetOf({ data }: DnsRecord): string | undefined {
  return decodeName(data, 0)?.name;
}

/** How long a negative answer holds (RFC 2308 §5), in seconds; undefined without a SOA. */
export function negativeTtl({ authorities }: DnsMessage): number | undefined {
  const soa = authorities.find(({ type, data }) => type === TYPE.SOA && data.length >= 22);
  return soa === undefined ? undefined : Math.min(soa.ttl, u32(soa.data, soa.data.length - 4));
}
