/** What a service's options say about SOCKS5, and what one client's session knows. */
import { isIP } from "node:net";
import { type MuxSettings, muxSettings } from "../chain/mux-settings.ts";
import type { RouteContext, Transport } from "../chain/types.ts";
import { metaBool, metaDurationMs, metaInt, metaString } from "../config/metadata.ts";
import type { ServiceConfig } from "../config/model.ts";
import { configError } from "../errors.ts";
import { REP_FAILURE, type Socks5Request } from "../proto/socks5.ts";
import type { Accepted, HandlerContext } from "./handler.ts";

const READ_MS = 15_000;
const UDP_IDLE_MS = 300_000;
const PORT_MAX = 65535;
const ENCRYPTED = new Set(["tls", "mtls", "wss", "mwss"]);

export interface Socks5Settings {
  /** UDP ASSOCIATE and the tunnel. */
  readonly mayUdp: boolean;
  /** BIND, and the tunnel with a port of its own. */
  readonly mayBind: boolean;
  /** TLS inside: never, only for who offers nothing else (the listener encrypts), or preferred. */
  readonly tls: "never" | "last" | "first";
  /** Negotiation and request together. */
  readonly readMs: number;
  /** Without a datagram in either direction an association ends. */
  readonly udpIdleMs: number;
  /** Ports of associations; undefined: the system's choice. */
  readonly ports: { readonly min: number; readonly max: number } | undefined;
  /** What clients are told instead of the address that they reached. */
  readonly publicAddr: string | undefined;
  /** Streams of a mux bind begin without a reply that names the peer (v2's way). */
  readonly isPlainMux: boolean;
  readonly mux: MuxSettings;
  /** Answers of associations name IPs, also where a chain names names. */
  readonly resolveDomain: boolean;
}

/** Throws a configuration error. */
export function socks5Settings(service: ServiceConfig): Socks5Settings {
  const { metadata } = service.handler;
  const { place } = service;
  const readMs = metaDurationMs(metadata, "readTimeout", READ_MS);
  const publicAddr = metaString(metadata, ["socks.publicAddr", "publicAddr"], "");
  if (publicAddr !== "" && isIP(publicAddr) === 0) {
    throw configError(place, `publicAddr: "${publicAddr}" is not an IP address`);
  }
  const idleMs = metaDurationMs(metadata, ["udp.timeout", "udpTimeout"], UDP_IDLE_MS);
  const isPlain = !ENCRYPTED.has(service.listener.type);
  return {
    mayUdp: metaBool(metadata, "udp", false),
    mayBind: metaBool(metadata, "bind", false),
    tls: metaBool(metadata, "notls", false) ? "never" : isPlain ? "first" : "last",
    readMs: readMs > 0 ? readMs : READ_MS,
    udpIdleMs: idleMs > 0 ? idleMs : UDP_IDLE_MS,
    ports: portRange(service),
    publicAddr: publicAddr === "" ? undefined : publicAddr,
    isPlainMux: metaBool(metadata, "comp", false),
    mux: muxSettings(metadata, place),
    resolveDomain: metaBool(metadata, "udp.resolveDomain", false),
  };
}

function portRange({ handler, place }: ServiceConfig): Socks5Settings["ports"] {
  const { metadata } = handler;
  const min = metaInt(metadata, ["udp.bindRange.min", "udp.minPort"], 0);
  const max = metaInt(metadata, ["udp.bindRange.max", "udp.maxPort"], 0);
  if (min === 0 && max === 0) return undefined;
  const range = { min: min === 0 ? 1 : min, max: max === 0 ? PORT_MAX : max };
  if (range.min >= 1 && range.max <= PORT_MAX && range.min <= range.max) return range;
  throw configError(place, `udp.bindRange: ${min} to ${max} are no ports`);
}

/** A client whose request was read. */
export interface Socks5Client {
  readonly accepted: Accepted;
  /** After TLS inside, if there is any. */
  readonly transport: Transport;
  readonly request: Socks5Request;
  readonly settings: Socks5Settings;
  readonly context: HandlerContext;
  /** Its signal aborts when the service stops. */
  readonly route: RouteContext;
}

/** The request is answered with a code, and the connection closed. */
export class Socks5Refusal extends Error {
  readonly code: number;

  constructor(message: string, code: number = REP_FAILURE) {
    super(message);
    this.code = code;
  }
}

/** IP text for the wire: no zone, and IPv4 as such. */
export function plainIp(text: string): string {
  return text.replace(/%.*$/, "").replace(/^::ffff:(?=\d+\.)/, "");
}
