/**
 * The text of one rule of a bypass, GOST's meaning (spec: chain-and-bypass, section 5). First hit
 * wins: network, wildcard, address or range of addresses, host with an optional port.
 *
 * With `compat` exactly as GOST; without it names are normalised (lower case, no dot at the end,
 * IDNA), IPv4-mapped addresses are IPv4, networks may have ports, `:80` is every host at a port,
 * and a port or network that makes no sense is a fault. `parseRule` is pure, takes any text and
 * answers in time that grows with its length.
 */
import { domainToASCII } from "node:url";
import * as abi from "../../assembly/abi.ts";
import { parseIp } from "../config/net.ts";
import { parseGlob } from "./glob.ts";
import type { Glob } from "./glob.ts";

/** Most characters of a rule. */
export const RULE_CHARACTERS_MAX = 1024;
/** Most labels of a name that rules can tell apart. */
export const LABELS_MAX = 255;

export interface Ports {
  readonly min: number;
  readonly max: number;
}

export const ANY_PORT: Ports = { min: 0, max: 65535 };

/** A rule as the core's records have it; several where a text has alternatives. */
export type Rule =
  | { readonly kind: "never" }
  | { readonly kind: "name" | "suffix" | "below"; readonly name: string; readonly ports: Ports }
  | { readonly kind: "glob"; readonly glob: Glob; readonly ports: Ports }
  | { readonly kind: "host"; readonly address: Uint8Array; readonly ports: Ports }
  | { readonly kind: "range"; readonly first: Uint8Array; readonly last: Uint8Array }
  | {
      readonly kind: "net";
      readonly address: Uint8Array;
      readonly prefix: number;
      readonly ports: Ports;
    };

export interface ParsedRule {
  readonly rules: readonly Rule[];
  /** The rule must not be used. */
  readonly fault?: string;
  /** It can never match, though it is accepted. */
  readonly warning?: string;
}

const NEVER: readonly Rule[] = [{ kind: "never" }];

function never(warning: string): ParsedRule {
  return { rules: NEVER, warning };
}

function fault(message: string): ParsedRule {
  return { rules: [], fault: message };
}

function one(rule: Rule): ParsedRule {
  return { rules: [rule] };
}

export function parseRule(whole: string, compat: boolean): ParsedRule {
  const text = compat ? whole : whole.trim();
  if (text.length > RULE_CHARACTERS_MAX) {
    return compat ? never("is too long") : fault(`has more than ${RULE_CHARACTERS_MAX} characters`);
  }
  if (text === "") return compat ? never("is empty") : { rules: [] };
  if (text.includes("/")) {
    const parsed = parseNet(text, compat);
    if (parsed !== undefined) return parsed;
  }
  if (/[*?]/.test(text)) {
    const parsed = parseWildcard(text, compat);
    if (parsed !== undefined) return parsed;
    if (!compat) return fault("is no wildcard: brackets do not close, or too many alternatives");
  }
  return parseRange(text, compat) ?? parseHost(text, compat);
}

/** Bytes of an address without a zone: 4 or 16; mapped ones are IPv4 unless GOST's way is asked. */
function addressOf(text: string, compat: boolean): Uint8Array | undefined {
  const ip = parseIp(text);
  if (ip === undefined || ip.zone !== undefined) return undefined;
  if (ip.family === 4) return ip.bytes.subarray(0, 4);
  return !compat && isMapped(ip.bytes) ? ip.bytes.subarray(12, 16) : ip.bytes;
}

/** ::ffff:0:0/96, RFC 4291 §2.5.5.2. */
export function isMapped(bytes: Uint8Array): boolean {
  for (let index = 0; index < 10; index++) if (bytes[index] !== 0) return false;
  return bytes[10] === 0xff && bytes[11] === 0xff;
}

/** `IP/n`, and without compat `IP/n:ports`; undefined where the text is something else. */
function parseNet(text: string, compat: boolean): ParsedRule | undefined {
  const match = /^([^/]*)\/(\d{1,3})(?::(.*))?$/.exec(text);
  const ipText = (match?.[1] ?? text.slice(0, text.indexOf("/"))).replace(/^\[(.*)\]$/, "$1");
  const address = addressOf(compat ? (match?.[1] ?? "") : ipText, true);
  if (address === undefined) return undefined;
  const prefixText = match?.[2] ?? "";
  const isValid = match !== null && /^(0|[1-9]\d*)$/.test(prefixText);
  const prefix = Number(prefixText);
  const portText = match?.[3];
  if (!isValid || prefix > address.length * 8) {
    return compat ? undefined : fault("is no network: ADDRESS/PREFIX[:PORT]");
  }
  if (compat) {
    if (portText !== undefined) return undefined;
    // Go takes a mapped network for one of IPv6, and every mapped address for IPv4.
    return one({ kind: "net", address, prefix, ports: ANY_PORT });
  }
  const ports = portText === undefined ? ANY_PORT : parsePorts(portText);
  if (ports === undefined) return portFault(portText ?? "");
  if (address.length === 16 && isMapped(address) && prefix >= 96) {
    return one({ kind: "net", address: address.subarray(12, 16), prefix: prefix - 96, ports });
  }
  return one({ kind: "net", address, prefix, ports });
}

function portFault(text: string): ParsedRule {
  return fault(`${JSON.stringify(text)} is no port and no range of ports`);
}

/** `80` or `80-443`. */
function parsePorts(text: string): Ports | undefined {
  const match = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(text);
  if (match === null) return undefined;
  const min = Number(match[1]);
  const max = match[2] === undefined ? min : Number(match[2]);
  return max > 65535 || min > max ? undefined : { min, max };
}

interface HostAndPort {
  readonly host: string;
  /** undefined: there is none. */
  readonly port: string | undefined;
}

/** Go's net.SplitHostPort; the whole text is the host where that fails. */
function splitHost(text: string): HostAndPort {
  const colon = text.lastIndexOf(":");
  const none = { host: text, port: undefined };
  if (colon < 0) return none;
  const port = text.slice(colon + 1);
  if (text.startsWith("[")) {
    const close = text.indexOf("]");
    if (close < 0 || close + 1 !== colon || /[[\]]/.test(text.slice(1, close) + port)) return none;
    return { host: text.slice(1, close), port };
  }
  const host = text.slice(0, colon);
  return /[:[\]]/.test(host) || /[[\]]/.test(port) ? none : { host, port };
}

function parseWildcard(text: string, compat: boolean): ParsedRule | undefined {
  let { host, port } = compat ? splitHost(text) : splitWildcard(text);
  if (host === "" && compat) [host, port] = [text, undefined];
  const ports = port === undefined ? ANY_PORT : parsePorts(port);
  if (ports === undefined && !compat) return portFault(port ?? "");
  const globs = parseGlob(compat ? host.toLowerCase() : normalPattern(host));
  if (globs === undefined) return undefined;
  return { rules: globs.map((glob) => wildcardRule(glob, ports ?? ANY_PORT)) };
}

/** A port behind the last colon if what is there looks like one; brackets may hold colons. */
function splitWildcard(text: string): HostAndPort {
  const match = /^(.*):([\w-]*)$/s.exec(text);
  if (match === null) return { host: text, port: undefined };
  const [, host = "", port = ""] = match;
  const inner = /^\[([^\]]*:[^\]]*)\]$/.exec(host)?.[1];
  if (inner !== undefined) return { host: inner, port };
  // More colons: the text of an IPv6 address.
  return host.includes(":") ? { host: text, port: undefined } : { host, port };
}

/** Lower case, without the dot at the end, labels without a wildcard as ASCII. */
function normalPattern(text: string): string {
  const bare = text.length > 1 && text.endsWith(".") ? text.slice(0, -1) : text;
  if (!/[^\x00-\x7f]/.test(bare)) return bare.toLowerCase();
  const isForeign = (label: string): boolean =>
    /[^\x00-\x7f]/.test(label) && !/[*?[\]{}\\,!]/.test(label);
  return bare
    .split(".")
    .map((label) => (isForeign(label) && asciiName(label)) || label.toLowerCase())
    .join(".");
}

function wildcardRule(glob: Glob, ports: Ports): Rule {
  const { tail } = glob;
  const isBelow = glob.isStarAndTail && tail.startsWith(".") && tail.length > 1;
  if (isBelow && compatName(tail) !== undefined)
    return { kind: "below", name: tail.slice(1), ports };
  return { kind: "glob", glob, ports };
}

function parseRange(text: string, compat: boolean): ParsedRule | undefined {
  const single = addressOf(text, compat);
  if (single !== undefined) return one({ kind: "range", first: single, last: single });
  const dash = text.indexOf("-");
  if (dash < 0) return undefined;
  const first = addressOf(text.slice(0, dash).trim(), compat);
  const last = addressOf(text.slice(dash + 1).trim(), compat);
  if (first === undefined || last === undefined) return undefined;
  if (first.length !== last.length || Buffer.compare(first, last) > 0) {
    return never("is a range that ends before it begins");
  }
  return one({ kind: "range", first, last });
}

function parseHost(text: string, compat: boolean): ParsedRule {
  const { host, port } = splitHost(text);
  if (!compat && text.includes("/")) return never("is neither a network nor a name");
  const parsed = port === undefined ? ANY_PORT : parsePorts(port);
  if (parsed === undefined && !compat && port !== undefined) {
    return portFault(port);
  }
  const ports = parsed ?? ANY_PORT;
  if (host === "") {
    if (compat || port === undefined) return never("has no host");
    const globs = parseGlob("*") ?? [];
    return { rules: globs.map((glob) => ({ kind: "glob" as const, glob, ports })) };
  }
  if (port !== undefined) {
    const address = addressOf(host, compat);
    if (address !== undefined) return one({ kind: "host", address, ports });
  }
  const isSuffix = host.startsWith(".");
  if (!compat && !isSuffix) {
    // A dot behind it, digits of other scripts: targets of that text are addresses, too.
    const address = addressOf(asciiName(host).replace(/\.$/, ""), false);
    if (address !== undefined) return one({ kind: "host", address, ports });
  }
  const bare = isSuffix ? host.slice(1) : host;
  const name = compat ? compatName(bare) : normalName(bare);
  if (name === undefined) return never("is neither an address nor a name");
  return one({ kind: isSuffix ? "suffix" : "name", name, ports });
}

function labelsOf(name: string): number {
  return name.split(".").length;
}

function compatName(text: string): string | undefined {
  const name = text.toLowerCase();
  if (Buffer.byteLength(name) > abi.ROUTE_NAME_MAX || labelsOf(name) > LABELS_MAX) return undefined;
  return name;
}

/** Lower case and ASCII; "" where IDNA has no answer. */
export function asciiName(text: string): string {
  if (!/[^\x00-\x7f]/.test(text)) return text.toLowerCase();
  // Node reads a host out of a URL, and stops at what cannot be in one.
  return /[\x00-\x20#%/:<>?@[\\\]^|\x7f]/.test(text) ? "" : domainToASCII(text);
}

const NAME = /^[a-z0-9_-]+(\.[a-z0-9_-]+)*$/;

/** Lower case, without the dot at the end, IDNA as ASCII; undefined where it can be no name. */
export function normalName(text: string): string | undefined {
  const ascii = asciiName(text);
  const name = ascii.endsWith(".") ? ascii.slice(0, -1) : ascii;
  // Digits of other scripts may have become an address.
  const isOther = ascii !== text.toLowerCase() && parseIp(name) !== undefined;
  return NAME.test(name) && !isOther ? compatName(name) : undefined;
}
