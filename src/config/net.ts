/**
 * Addresses, networks, host:port and durations as text: parsed strictly, printed in one form
 * (RFC 5952 for IPv6). The parsers answer undefined for what is not valid; who calls them knows the
 * option or key and writes the message.
 */

/** An address: IPv4 in the first four of 16 bytes. */
export interface IpAddress {
  readonly family: 4 | 6;
  readonly bytes: Uint8Array;
  /** Zone of a link-local address (`fe80::1%eth0`). */
  readonly zone?: string;
}

/** An address with the length of its network; host bits are kept. */
export interface Cidr {
  readonly family: 4 | 6;
  readonly bytes: Uint8Array;
  /** 0 … 32 or 128. */
  readonly prefix: number;
}

export interface HostPort {
  /** Without brackets; "" = every address. */
  readonly host: string;
  readonly port: number;
}

const ADDRESS_BYTES = 16;

function parseIp4(text: string, bytes: Uint8Array, offset: number): boolean {
  const parts = text.split(".");
  if (parts.length !== 4) return false;
  for (const [index, part] of parts.entries()) {
    // No leading zeros: they are octal to some readers.
    if (!/^(0|[1-9]\d{0,2})$/.test(part)) return false;
    const value = Number(part);
    if (value > 255) return false;
    bytes[offset + index] = value;
  }
  return true;
}

/** Parses `text` into groups; undefined where it is none. */
function parseIp6(text: string): Uint8Array | undefined {
  const bytes = new Uint8Array(ADDRESS_BYTES);
  const halves = text.split("::");
  if (halves.length > 2) return undefined;
  const groupsOf = (half: string): string[] => (half === "" ? [] : half.split(":"));
  const head = groupsOf(halves[0] ?? "");
  const tail = groupsOf(halves[1] ?? "");
  const last = halves.length === 2 ? tail : head;
  const lastGroup = last[last.length - 1];
  let dotted: Uint8Array | undefined;
  if (lastGroup?.includes(".") === true) {
    dotted = new Uint8Array(4);
    if (!parseIp4(lastGroup, dotted, 0)) return undefined;
    last.splice(-1, 1, hexOf(dotted, 0), hexOf(dotted, 2));
  }
  const count = head.length + tail.length;
  if (halves.length === 2 ? count > 7 : count !== 8) return undefined;
  const groups = [...head, ...new Array<string>(8 - count).fill("0"), ...tail];
  for (const [index, group] of groups.entries()) {
    if (!/^[0-9a-f]{1,4}$/i.test(group)) return undefined;
    const value = parseInt(group, 16);
    bytes[index * 2] = value >> 8;
    bytes[index * 2 + 1] = value & 255;
  }
  return bytes;
}

function hexOf(bytes: Uint8Array, offset: number): string {
  return (((bytes[offset] ?? 0) << 8) | (bytes[offset + 1] ?? 0)).toString(16);
}

/** An address without brackets and port, or undefined. Zones only behind link-local IPv6. */
export function parseIp(text: string): IpAddress | undefined {
  if (text.length > 64) return undefined;
  if (!text.includes(":")) {
    const bytes = new Uint8Array(ADDRESS_BYTES);
    return parseIp4(text, bytes, 0) ? { family: 4, bytes } : undefined;
  }
  const at = text.indexOf("%");
  const bytes = parseIp6(at < 0 ? text : text.slice(0, at));
  if (bytes === undefined) return undefined;
  if (at < 0) return { family: 6, bytes };
  const zone = text.slice(at + 1);
  const linkLocal = bytes[0] === 0xfe && ((bytes[1] ?? 0) & 0xc0) === 0x80;
  return linkLocal && /^[\w.-]{1,15}$/.test(zone) ? { family: 6, bytes, zone } : undefined;
}

/** RFC 5952: lower case, the longest run of two or more zero groups as `::`. */
export function formatIp(address: { readonly family: 4 | 6; readonly bytes: Uint8Array }): string {
  const { family, bytes } = address;
  if (family === 4) return Array.from(bytes.subarray(0, 4)).join(".");
  // RFC 5952 §5: mapped addresses keep their dots.
  if (isMapped(bytes)) return `::ffff:${Array.from(bytes.subarray(12, 16)).join(".")}`;
  const groups = Array.from({ length: 8 }, (_, index) => hexOf(bytes, index * 2));
  let runStart = -1;
  let runLen = 1;
  for (let start = 0; start < 8; start++) {
    let end = start;
    while (end < 8 && groups[end] === "0") end++;
    if (end - start > runLen) {
      runStart = start;
      runLen = end - start;
    }
  }
  if (runStart < 0) return groups.join(":");
  const head = groups.slice(0, runStart).join(":");
  const tail = groups.slice(runStart + runLen).join(":");
  return `${head}::${tail}`;
}

/** ::ffff:0:0/96, RFC 4291 §2.5.5.2. */
function isMapped(bytes: Uint8Array): boolean {
  const head = bytes.subarray(0, 10).every((byte) => byte === 0);
  return head && bytes[10] === 0xff && bytes[11] === 0xff;
}

/** `ADDRESS/PREFIX`, host bits kept; undefined for anything else (also for a bare address). */
export function parseCidr(text: string): Cidr | undefined {
  const slash = text.indexOf("/");
  if (slash < 0) return undefined;
  const address = parseIp(text.slice(0, slash));
  const prefixText = text.slice(slash + 1);
  if (address === undefined || address.zone !== undefined) return undefined;
  if (!/^(0|[1-9]\d{0,2})$/.test(prefixText)) return undefined;
  const prefix = Number(prefixText);
  if (prefix > bitsOf(address.family)) return undefined;
  return { family: address.family, bytes: address.bytes, prefix };
}

/** A CIDR, or an address as a network of one. */
export function parseNetwork(text: string): Cidr | undefined {
  if (text.includes("/")) return parseCidr(text);
  const address = parseIp(text);
  if (address === undefined || address.zone !== undefined) return undefined;
  return { family: address.family, bytes: address.bytes, prefix: bitsOf(address.family) };
}

export function formatCidr(cidr: Cidr): string {
  return `${formatIp(cidr)}/${cidr.prefix}`;
}

/** Bits of an address of this family. */
export function bitsOf(family: 4 | 6): number {
  return family === 4 ? 32 : 128;
}

/** The network without its host bits. */
export function networkOf(cidr: Cidr): Cidr {
  const bytes = new Uint8Array(ADDRESS_BYTES);
  for (let bit = 0; bit < cidr.prefix; bit++) {
    const index = bit >> 3;
    bytes[index] = (bytes[index] ?? 0) | ((cidr.bytes[index] ?? 0) & (0x80 >> (bit & 7)));
  }
  return { family: cidr.family, bytes, prefix: cidr.prefix };
}

/** Does `outer` hold all of `inner`? */
export function covers(outer: Cidr, inner: Cidr): boolean {
  if (outer.family !== inner.family || outer.prefix > inner.prefix) return false;
  for (let bit = 0; bit < outer.prefix; bit++) {
    const mask = 0x80 >> (bit & 7);
    if ((((outer.bytes[bit >> 3] ?? 0) ^ (inner.bytes[bit >> 3] ?? 0)) & mask) !== 0) return false;
  }
  return true;
}

/** Do the two networks share an address? */
export function overlaps(one: Cidr, other: Cidr): boolean {
  return covers(one, other) || covers(other, one);
}

/** What is left of `net` without the networks in `holes`, in ascending order. */
export function subtractNet(net: Cidr, holes: readonly Cidr[]): Cidr[] {
  const near = holes.filter((hole) => overlaps(hole, net));
  if (near.length === 0) return [networkOf(net)];
  if (near.some((hole) => hole.prefix <= net.prefix)) return [];
  return halvesOf(net).flatMap((half) => subtractNet(half, near));
}

/** The two networks of one more bit; `net` must not be a single address. */
export function halvesOf(net: Cidr): [Cidr, Cidr] {
  const prefix = net.prefix + 1;
  const low = networkOf(net);
  const bytes = Uint8Array.from(low.bytes);
  const index = net.prefix >> 3;
  bytes[index] = (bytes[index] ?? 0) | (0x80 >> (net.prefix & 7));
  return [
    { family: net.family, bytes: low.bytes, prefix },
    { family: net.family, bytes, prefix },
  ];
}

/** Do `nets` together hold every address of `net`? */
export function isCovered(net: Cidr, nets: readonly Cidr[]): boolean {
  return subtractNet(net, nets).length === 0;
}

/** Same family and address. */
export function sameIp(
  one: { readonly family: 4 | 6; readonly bytes: Uint8Array },
  other: { readonly family: 4 | 6; readonly bytes: Uint8Array },
): boolean {
  if (one.family !== other.family) return false;
  const length = one.family === 4 ? 4 : ADDRESS_BYTES;
  return one.bytes.subarray(0, length).every((byte, index) => byte === other.bytes[index]);
}

/** 0 … 65535 in decimal digits, or undefined. */
export function parsePort(text: string): number | undefined {
  if (!/^\d{1,5}$/.test(text)) return undefined;
  const port = Number(text);
  return port > 65535 ? undefined : port;
}

/** `host:port`, `[v6]:port` or `:port`; undefined where the port or the brackets are wrong. */
export function parseHostPort(text: string): HostPort | undefined {
  const colon = text.lastIndexOf(":");
  if (colon < 0) return undefined;
  const port = parsePort(text.slice(colon + 1));
  if (port === undefined) return undefined;
  const host = text.slice(0, colon);
  if (host.startsWith("[")) {
    if (!host.endsWith("]")) return undefined;
    const inner = host.slice(1, -1);
    return parseIp(inner)?.family === 6 ? { host: inner, port } : undefined;
  }
  return /[\s[\]:/?#@]/.test(host) ? undefined : { host, port };
}

/** The opposite of parseHostPort: brackets around what has a colon. */
export function joinHostPort(host: string, port: number | string): string {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}

const SIZE_UNITS: Readonly<Record<string, number>> = {
  "": 1,
  b: 1,
  k: 1024,
  kb: 1000,
  kib: 1024,
  m: 1024 ** 2,
  mb: 1e6,
  mib: 1024 ** 2,
  g: 1024 ** 3,
  gb: 1e9,
  gib: 1024 ** 3,
};

/** Bytes of `4096`, `256KiB`, `8M` …; whole numbers only. */
export function parseBytes(text: string): number | undefined {
  const match = /^(\d{1,15})\s*([a-z]*)$/i.exec(text.trim());
  const unit = SIZE_UNITS[(match?.[2] ?? "").toLowerCase()];
  if (match === null || unit === undefined) return undefined;
  const bytes = Number(match[1]) * unit;
  return Number.isSafeInteger(bytes) ? bytes : undefined;
}

const UNIT_NS: Readonly<Record<string, number>> = {
  ns: 1,
  us: 1e3,
  "\u00b5s": 1e3,
  "\u03bcs": 1e3,
  ms: 1e6,
  s: 1e9,
  m: 6e10,
  h: 3.6e12,
};

/** Go's durations end at 2^63 ns. */
export const DURATION_MS_MAX = 2 ** 63 / 1e6;

/** Milliseconds of a Go duration (`1h2m3.5s`, `300ms`, `-5s`, `0`) or of bare seconds (`30`). */
export function parseDuration(text: string): number | undefined {
  const trimmed = text.trim();
  if (trimmed.length > 64) return undefined;
  const sign = trimmed.startsWith("-") ? -1 : 1;
  const body = trimmed.replace(/^[+-]/, "");
  if (/^(\d+(\.\d*)?|\.\d+)$/.test(body)) return finite(sign * Number(body) * 1000);
  const piece = /(\d+\.?\d*|\.\d+)(ns|us|\u00b5s|\u03bcs|ms|s|m|h)/y;
  let totalNs = 0;
  while (piece.lastIndex < body.length) {
    const match = piece.exec(body);
    if (match === null) return undefined;
    totalNs += Number(match[1]) * (UNIT_NS[match[2] ?? ""] ?? 0);
  }
  return body === "" ? undefined : finite((sign * totalNs) / 1e6);
}

function finite(ms: number): number | undefined {
  return Math.abs(ms) < DURATION_MS_MAX ? ms : undefined;
}

/** Go's text of a duration: `1h0m0s`, `30s`, `1.5s`, `300ms`, `2µs`, `0s`. */
export function formatDuration(ms: number): string {
  const ns = Math.round(ms * 1e6);
  if (ns === 0) return "0s";
  const size = Math.abs(ns);
  const sign = ns < 0 ? "-" : "";
  if (size < 1e3) return `${sign}${size}ns`;
  if (size < 1e6) return `${sign}${size / 1e3}\u00b5s`;
  if (size < 1e9) return `${sign}${size / 1e6}ms`;
  const hours = Math.floor(size / 3.6e12);
  const minutes = Math.floor(size / 6e10) % 60;
  const seconds = Math.round(size % 6e10) / 1e9;
  if (hours > 0) return `${sign}${hours}h${minutes}m${seconds}s`;
  return minutes > 0 ? `${sign}${minutes}m${seconds}s` : `${sign}${seconds}s`;
}
