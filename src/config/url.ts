/**
 * GOST's URL grammar: `[scheme[+transport]://][user[:password]@][host]:port[/target][?key=value…]`.
 * It is not RFC 3986: the host part of -L may hold port ranges, that of -F a list of nodes.
 * Decoding follows Go's net/url; where Go drops malformed pairs silently, this refuses (unless
 * `compat`).
 */
import { configError } from "../errors.ts";
import type { Reading } from "./document.ts";
import { maskText, maskUrl, strayAt } from "./mask.ts";
import type { Auth } from "./model.ts";
import { parsePort } from "./net.ts";

export interface GostUrl {
  /** One word, or handler/connector and transport; GOST ignores longer ones. */
  readonly words: readonly string[];
  readonly user?: Auth;
  /** What stands between user and path, undecoded. */
  readonly host: string;
  /** Without slashes at the ends, decoded. */
  readonly path: string;
  /** In order; a repeated key has several entries. */
  readonly query: readonly (readonly [string, string])[];
}

export interface UrlOptions {
  /** `-L` or `-F`, for messages. */
  readonly option: string;
  readonly compat: boolean;
  readonly showSecrets?: boolean;
}

export function urlOptions(option: string, reading: Reading): UrlOptions {
  return { option, compat: reading.compat, showSecrets: reading.showSecrets };
}

const URL_CHARS_MAX = 65_536;

/** `gosts` is what GOST says instead, with `compat`. */
export function urlError(options: UrlOptions, text: string, why: string, gosts = ""): Error {
  if (options.compat && gosts !== "") {
    return configError("", options.showSecrets === true ? gosts : maskText(gosts));
  }
  const shown = maskUrl(text);
  const clipped = shown.length > 200 ? shown.slice(0, 200) + "…" : shown;
  return configError("", `${options.option} ${JSON.stringify(clipped)}: ${why}`);
}

export function parseGostUrl(text: string, options: UrlOptions): GostUrl {
  const trimmed = text.trim();
  if (trimmed.length > URL_CHARS_MAX) throw urlError(options, trimmed, "is too long");
  const full = trimmed.startsWith(":") || !trimmed.includes("://") ? `auto://${trimmed}` : trimmed;
  const cut = full.indexOf("://");
  const scheme = full.slice(0, cut).toLowerCase();
  if (!/^[a-z][a-z0-9+.-]*$/.test(scheme)) {
    throw urlError(options, trimmed, `${JSON.stringify(full.slice(0, cut))} is no scheme`);
  }
  const words = (scheme === "https" ? "http+tls" : scheme).split("+");
  const rest = full.slice(cut + 3);
  // GOST takes what stands before the path as it is (-L), or reads a fragment first (-F).
  const authorityEnd = rest.search(options.option === "-L" ? /[/?]/ : /[/?#]/);
  const authority = authorityEnd < 0 ? rest : rest.slice(0, authorityEnd);
  const stray = authorityEnd < 0 || authority.includes("@") ? -1 : strayAt(rest, 0, authorityEnd);
  if (stray >= 0 && !options.compat) {
    throw urlError(options, trimmed, `write "/", "?" and "#" in a password as %2F, %3F and %23`);
  }
  const [tail = ""] = (authorityEnd < 0 ? "" : rest.slice(authorityEnd)).split("#");
  const mark = tail.indexOf("?");
  const path = mark < 0 ? tail : tail.slice(0, mark);
  const at = authority.lastIndexOf("@");
  const user = at < 0 ? undefined : parseUser(authority.slice(0, at), trimmed, options);
  return {
    words,
    ...(user === undefined ? {} : { user }),
    host: authority.slice(at + 1),
    path: decode(path, false, trimmed, options).replace(/^\/+|\/+$/g, ""),
    query: parseQuery(mark < 0 ? "" : tail.slice(mark + 1), trimmed, options),
  };
}

function parseUser(text: string, url: string, options: UrlOptions): Auth | undefined {
  if (text === "") return undefined;
  const colon = text.indexOf(":");
  const name = colon < 0 ? text : text.slice(0, colon);
  const password = colon < 0 ? "" : text.slice(colon + 1);
  return {
    username: decode(name, false, url, options),
    password: decode(password, false, url, options),
  };
}

function parseQuery(text: string, url: string, options: UrlOptions): [string, string][] {
  const pairs: [string, string][] = [];
  for (const pair of text.split("&")) {
    if (pair === "") continue;
    const mark = pair.indexOf("=");
    const rawKey = mark < 0 ? pair : pair.slice(0, mark);
    const rawValue = mark < 0 ? "" : pair.slice(mark + 1);
    if (options.compat && (pair.includes(";") || tryDecode(rawKey + rawValue) === undefined)) {
      continue;
    }
    if (pair.includes(";")) {
      throw urlError(options, url, `";" cannot part keys; use "&", or %3B inside a value`);
    }
    pairs.push([decode(rawKey, true, url, options), decode(rawValue, true, url, options)]);
  }
  return pairs;
}

/** Undefined for malformed escapes and for bytes that are no UTF-8. */
function tryDecode(text: string): string | undefined {
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined;
  }
}

function decode(text: string, query: boolean, url: string, options: UrlOptions): string {
  const decoded = tryDecode(query ? text.replaceAll("+", " ") : text);
  if (decoded !== undefined) return decoded;
  const escape = /%(?![0-9a-f]{2}).{0,2}/i.exec(text)?.[0] ?? "%";
  const why = `${JSON.stringify(escape)} is no percent-escape; write % as %25`;
  // GOST cuts the host out before it reads the rest.
  const parsed = options.option === "-L" ? url.replace(/^([^@]*@)[^/?]*/, "$1") : url;
  const gosts = `parse ${JSON.stringify(parsed)}: invalid URL escape ${JSON.stringify(escape)}`;
  throw urlError(options, url, why, gosts);
}

const RANGE_MAX = 4096;

/** GOST's port ranges: `host:8000-8002` is three addresses, anything without a port itself. */
export function expandPorts(text: string, url: string, options: UrlOptions): string[] {
  const colon = portColon(text);
  if (colon < 0) return [text];
  const host = text.slice(0, colon);
  const port = text.slice(colon + 1);
  const range = /^(\d{1,6})-(\d{1,6})$/.exec(port);
  if (range === null) {
    if (parsePort(port) !== undefined) return [`${host}:${Number(port)}`];
    if (options.compat) return [`${host}:0`];
    const why = `${JSON.stringify(port)} is no port; use a number from 0 to 65535`;
    throw urlError(options, url, why);
  }
  const [first, last] = [Number(range[1]), Number(range[2])];
  if (first > last && options.compat) return [text];
  if (first > last || last > 65535 || last - first >= RANGE_MAX) {
    const why = `${JSON.stringify(port)} is no range of ports (MIN-MAX, at most ${RANGE_MAX})`;
    throw urlError(options, url, why);
  }
  return Array.from({ length: last - first + 1 }, (_, index) => `${host}:${first + index}`);
}

/** Index of the colon before the port, -1 if there is none (a bare IPv6 address has none). */
export function portColon(text: string): number {
  const colon = text.lastIndexOf(":");
  return colon > text.lastIndexOf("]") ? colon : -1;
}

/** Where Go's decoder stops in what decodeAuth cannot read. */
export function base64Fault(text: string): string {
  const index = /[^A-Za-z0-9+/=]/.exec(text)?.index ?? text.length - (text.length % 4);
  return `illegal base64 data at input byte ${index}`;
}

/** Go's base64 forms of `user[:password]` in `auth=`. */
export function decodeAuth(text: string): Auth | undefined {
  const standard = text.replaceAll("-", "+").replaceAll("_", "/").replace(/=+$/, "");
  if (standard === "" || !/^[A-Za-z0-9+/]+$/.test(standard) || standard.length % 4 === 1) {
    return undefined;
  }
  const decoded = Buffer.from(standard, "base64").toString("utf8");
  const colon = decoded.indexOf(":");
  if (colon < 0) return { username: decoded, password: "" };
  return { username: decoded.slice(0, colon), password: decoded.slice(colon + 1) };
}
