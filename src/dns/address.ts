/**
 * The address of a nameserver: `[udp|tcp|tls|dot|https]://host[:port][/path]`, UDP without a
 * scheme. Default ports are 53, 853 (tls, dot; GOST's is 53) and 443.
 */
import { joinHostPort, parseHostPort, parseIp } from "../config/net.ts";
import { configError } from "../errors.ts";

export type DnsScheme = "udp" | "tcp" | "tls" | "https";

export interface NameserverAddress {
  readonly scheme: DnsScheme;
  readonly host: string;
  readonly port: number;
  /** Of https, with query string. */
  readonly path: string;
  /** host[:port] as in the URL. */
  readonly authority: string;
}

const SCHEMES: Readonly<Record<string, DnsScheme>> = {
  udp: "udp",
  tcp: "tcp",
  tls: "tls",
  dot: "tls",
  https: "https",
};

/** Throws a configuration error. */
export function parseNameserver(text: string, place: string, compat = false): NameserverAddress {
  const wrong = (why: string): Error => configError(place, `nameserver "${text}": ${why}`);
  const match = /^(?:([^:/?#[\]]*):\/\/)?([^/?#]*)(.*)$/.exec(text.trim());
  const word = match?.[1]?.toLowerCase() ?? "udp";
  const scheme = SCHEMES[word];
  if (scheme === undefined || !Object.hasOwn(SCHEMES, word)) {
    throw wrong(`the scheme "${word}" is unknown (there are udp, tcp, tls, dot and https)`);
  }
  const authority = match?.[2] ?? "";
  const rest = match?.[3] ?? "";
  if (scheme !== "https" && rest !== "" && rest !== "/") throw wrong("only https has a path");
  const where = hostPortOf(authority);
  if (where === undefined || where.host === "" || /[@\s]/.test(where.host)) {
    throw wrong("is not [SCHEME://]HOST[:PORT][/PATH]");
  }
  const port = where.port ?? defaultPort(scheme, compat);
  if (port === 0) throw wrong("port 0 cannot be asked");
  const path = rest.replace(/#.*$/, "");
  return {
    scheme,
    host: where.host,
    port,
    path: path === "" || path === "/" ? "/dns-query" : path.startsWith("/") ? path : `/${path}`,
    authority: where.port === undefined ? hostText(where.host) : joinHostPort(where.host, port),
  };
}

function defaultPort(scheme: DnsScheme, compat: boolean): number {
  if (scheme === "https") return 443;
  return scheme === "tls" && !compat ? 853 : 53;
}

function hostPortOf(text: string): { host: string; port: number | undefined } | undefined {
  // IPv6 without brackets has no port.
  if (parseIp(text) !== undefined) return { host: text, port: undefined };
  const bracketed = /^\[([^\]]*)\]$/.exec(text)?.[1];
  if (bracketed !== undefined) {
    return parseIp(bracketed) === undefined ? undefined : { host: bracketed, port: undefined };
  }
  if (!text.includes(":")) return { host: text, port: undefined };
  return parseHostPort(text);
}

function hostText(host: string): string {
  return host.includes(":") ? `[${host}]` : host;
}

/** For messages: `tls://1.1.1.1:853`. */
export function nameserverText({ scheme, host, port, path }: NameserverAddress): string {
  return `${scheme}://${joinHostPort(host, port)}${scheme === "https" ? path : ""}`;
}
