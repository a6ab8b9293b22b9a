/** The options of the handler `http`, checked once; throws a configuration error. */
import { findMeta, metaBool, metaDurationMs, metaMap, metaString } from "../config/metadata.ts";
import type { Metadata, ServiceConfig } from "../config/model.ts";
import { parseHostPort } from "../config/net.ts";
import { configError } from "../errors.ts";
import { type HttpField, isFieldName, isFieldValue, parseHttpUrl } from "../proto/http1.ts";

/** What somebody without credentials sees, so that the proxy does not look like one. */
export interface ProbeResist {
  readonly type: "code" | "web" | "host" | "file";
  readonly value: string;
}

export interface HttpSettings {
  /** Milliseconds for the head of upstream's answer; undefined = no limit. */
  readonly readMs: number | undefined;
  /** Milliseconds without a byte before a connection is given up; 0 = none. */
  readonly idleMs: number;
  readonly udp: boolean;
  readonly udpIdleMs: number;
  /** Proxy-Agent and what the configuration adds, for answers of our own. */
  readonly ownFields: readonly HttpField[];
  readonly realm: string;
  readonly probe: ProbeResist | undefined;
  /** Hosts that, asked for, show the request for credentials all the same. */
  readonly knock: readonly string[];
}

const READ_MS = 15_000;
const UDP_IDLE_MS = 300_000;

export function httpSettings(service: ServiceConfig): HttpSettings {
  const { metadata } = service.handler;
  const readMs = metaDurationMs(metadata, "readTimeout", READ_MS);
  const probe = probeOf(service);
  return {
    readMs: readMs < 0 ? undefined : readMs === 0 ? READ_MS : readMs,
    idleMs: Math.max(0, metaDurationMs(metadata, "idleTimeout", 0)),
    udp: metaBool(metadata, "udp", false),
    udpIdleMs: Math.max(1, metaDurationMs(metadata, ["udp.timeout", "udpTimeout"], UDP_IDLE_MS)),
    ownFields: ownFields(service),
    realm: realmOf(service),
    probe,
    knock: metaString(metadata, "knock")
      .split(",")
      .map((host) => host.trim().toLowerCase())
      .filter((host) => host !== ""),
  };
}

function realmOf(service: ServiceConfig): string {
  const realm = metaString(service.handler.metadata, "authBasicRealm", "gost");
  if (isFieldValue(realm) && !/["\\]/.test(realm)) return realm;
  throw configError(service.place, `authBasicRealm: ${JSON.stringify(realm)} is not a plain text`);
}

function ownFields(service: ServiceConfig): HttpField[] {
  const { metadata } = service.handler;
  const names = ["http.proxyAgent", "proxyAgent"];
  const agent = metaString(metadata, names, "gost/3.0") || "gost/3.0";
  const fields: HttpField[] = [{ name: "Proxy-Agent", value: agent }];
  const header = headerMap(metadata);
  for (const name of Object.keys(header)) fields.push({ name, value: metaString(header, name) });
  for (const { name, value } of fields) {
    if (isFieldName(name) && isFieldValue(value)) continue;
    throw configError(service.place, `header: ${JSON.stringify(name)} is not a field of HTTP`);
  }
  return fields;
}

function headerMap(metadata: Metadata): Metadata {
  return metaMap(metadata, ["http.header", "header"]);
}

function probeOf(service: ServiceConfig): ProbeResist | undefined {
  const { place, handler } = service;
  const found = findMeta(handler.metadata, ["probeResist", "probe_resist"]);
  const text = found === undefined ? "" : metaString(handler.metadata, found.key);
  if (found === undefined || text === "") return undefined;
  const refuse = (why: string): Error =>
    configError(place, `${found.key}: ${JSON.stringify(text)} ${why}`);
  const colon = text.indexOf(":");
  const type = text.slice(0, Math.max(0, colon));
  const value = text.slice(colon + 1);
  if (value === "") throw refuse("is not code:STATUS, web:URL, host:HOST:PORT or file:PATH");
  switch (type) {
    case "code":
      if (!/^[2-5]\d\d$/.test(value)) throw refuse("names no status from 200 to 599");
      return { type, value };
    case "web": {
      const url = /^https?:/i.test(value) ? value : `http://${value}`;
      if (parseHttpUrl(url, "GET") === undefined) throw refuse("is not an http:// URL");
      return { type, value: url };
    }
    case "host":
      if (parseHostPort(value) === undefined) throw refuse("is not host:HOST:PORT");
      return { type, value };
    case "file":
      return { type, value };
    default:
      throw refuse("is not code:STATUS, web:URL, host:HOST:PORT or file:PATH");
  }
}
