/**
 * Addresses, routes and excluded networks of a tungo service out of its metadata: checked one by
 * one and against each other. Called by tungo.ts.
 */
import { configError } from "../errors.ts";
import type { MetadataReader } from "./metadata.ts";
import {
  bitsOf,
  covers,
  formatCidr,
  formatIp,
  isCovered,
  networkOf,
  overlaps,
  parseCidr,
  parseIp,
  parseNetwork,
} from "./net.ts";
import type { Cidr, IpAddress } from "./net.ts";

export interface Route {
  /** Without host bits. */
  readonly dst: Cidr;
  readonly gw?: IpAddress;
}

const LIST_MAX = 4096;

export const DEVICE_KEYS = {
  name: ["name", "tun.name"],
  net: ["net", "tun.net"],
  route: ["route", "tun.route"],
  routes: ["routes", "tun.routes"],
  gw: ["gw", "tun.gw"],
  dns: ["dns", "tun.dns"],
  exclude: ["exclude", "excludes", "tun.exclude"],
  soMark: ["so_mark", "soMark"],
} as const;

function checkCount(reader: MetadataReader, key: string, list: readonly string[]): void {
  if (list.length <= LIST_MAX) return;
  throw reader.refuse(key, `${list.length} items`, `is more than ${LIST_MAX}`);
}

/** The correction to offer for what is almost a CIDR. */
function cidrHint(text: string): string {
  const pieces = text.split("/");
  const first = parseCidr(`${pieces[0] ?? ""}/${pieces[1] ?? ""}`);
  if (pieces.length > 2 && first !== undefined) return `; did you mean ${formatCidr(first)}?`;
  const address = parseIp(text);
  if (address === undefined) return "";
  return `; did you mean ${text}/${address.family === 4 ? 24 : 64}?`;
}

export function readNets(reader: MetadataReader, place: string): Cidr[] {
  const texts = reader.list(DEVICE_KEYS.net) ?? [];
  checkCount(reader, "net", texts);
  const nets = texts.map((text) => {
    const cidr = parseCidr(text);
    if (cidr === undefined) {
      throw reader.refuse("net", text, `is not ADDRESS/PREFIX${cidrHint(text)}`);
    }
    const first = cidr.bytes[0] ?? 0;
    const group = cidr.family === 4 ? first >= 224 : first === 255;
    if (cidr.prefix === 0 || group || cidr.bytes.every((byte) => byte === 0)) {
      throw reader.refuse("net", text, "is no address a device can have");
    }
    return cidr;
  });
  for (const [index, net] of nets.entries()) {
    const clash = nets.slice(0, index).find((other) => overlaps(net, other));
    if (clash === undefined) continue;
    throw configError(
      place,
      `net: ${formatCidr(clash)} and ${formatCidr(net)} overlap; give one address a network`,
    );
  }
  return nets;
}

export function readGateway(
  reader: MetadataReader,
  nets: readonly Cidr[],
  warnings: string[],
): IpAddress | undefined {
  const text = reader.string(DEVICE_KEYS.gw);
  if (text === undefined || text === "") return undefined;
  const gw = parseIp(text);
  if (gw === undefined) throw reader.refuse("gw", text, "is not an IP address");
  const host: Cidr = { family: gw.family, bytes: gw.bytes, prefix: bitsOf(gw.family) };
  if (!nets.some((net) => covers(net, host))) {
    warnings.push(`gw: ${text} lies in no net of the device; the kernel may refuse its routes`);
  }
  return gw;
}

function halves(...texts: readonly string[]): Cidr[] {
  return texts.flatMap((text) => parseCidr(text) ?? []);
}

const DEFAULT_NETS: readonly Cidr[] = halves("0.0.0.0/1", "128.0.0.0/1", "::/1", "8000::/1");
const ALL_4: readonly Cidr[] = halves("0.0.0.0/0");
const ALL_6: readonly Cidr[] = halves("::/0");

/** `CIDR[ GW]`, an address, or `default`. */
function parseRoute(
  reader: MetadataReader,
  key: string,
  text: string,
  defaultGw: IpAddress | undefined,
): Route[] {
  const [dstText = "", gwText, ...rest] = text.split(/\s+/);
  const dsts = dstText === "default" ? DEFAULT_NETS : [parseNetwork(dstText)];
  const gw = gwText === undefined ? undefined : parseIp(gwText);
  if (rest.length > 0 || (gwText !== undefined && gw === undefined)) {
    throw reader.refuse(key, text, "is not CIDR, CIDR GATEWAY or default");
  }
  return dsts.map((dst) => {
    if (dst === undefined) throw reader.refuse(key, text, `is not a network${cidrHint(dstText)}`);
    if (gw !== undefined && gw.family !== dst.family && dsts.length === 1) {
      throw reader.refuse(key, text, "has a gateway of the other address family");
    }
    const via = [gw, defaultGw].find((candidate) => candidate?.family === dst.family);
    return via === undefined ? { dst: networkOf(dst) } : { dst: networkOf(dst), gw: via };
  });
}

export function readRoutes(reader: MetadataReader, gw: IpAddress | undefined): Route[] {
  const routes = new Map<string, Route>();
  for (const names of [DEVICE_KEYS.route, DEVICE_KEYS.routes]) {
    const texts = reader.list(names) ?? [];
    checkCount(reader, names[0], texts);
    for (const text of texts) {
      for (const route of parseRoute(reader, names[0], text, gw)) {
        const key = formatCidr(route.dst);
        const before = routes.get(key);
        if (before !== undefined && gatewayText(before) !== gatewayText(route)) {
          throw reader.refuse(names[0], text, `gives ${key} a second gateway`);
        }
        routes.set(key, route);
      }
    }
  }
  return Array.from(routes.values());
}

function gatewayText(route: Route): string {
  return route.gw === undefined ? "" : formatIp(route.gw);
}

export function readNetworks(
  reader: MetadataReader,
  names: readonly [string, ...string[]],
): Cidr[] {
  const texts = reader.list(names) ?? [];
  checkCount(reader, names[0], texts);
  return texts.map((text) => {
    const net = parseNetwork(text);
    if (net === undefined) {
      throw reader.refuse(names[0], text, `is not a network${cidrHint(text)}`);
    }
    return networkOf(net);
  });
}

export function readAddresses(
  reader: MetadataReader,
  names: readonly [string, ...string[]],
): IpAddress[] {
  return (reader.list(names) ?? []).map((text) => {
    const address = parseIp(text);
    if (address === undefined) throw reader.refuse(names[0], text, "is not an IP address");
    return address;
  });
}

/** Says so when what looks like "everything" leaves a part outside. */
export function warnRoutes(routes: readonly Route[], warnings: string[]): void {
  const dsts = routes.map((route) => route.dst);
  const wide = (family: 4 | 6): boolean =>
    dsts.some((dst) => dst.family === family && dst.prefix <= 1);
  const full = (all: readonly Cidr[]): boolean => all.every((net) => isCovered(net, dsts));
  const [full4, full6] = [full(ALL_4), full(ALL_6)];
  const remedy = "use route=default for everything";
  if (wide(4) && !full4) warnings.push(`routes cover only a part of IPv4; ${remedy}`);
  if (wide(6) && !full6) warnings.push(`routes cover only a part of IPv6; ${remedy}`);
  if (full4 && !wide(6)) {
    warnings.push(`routes cover IPv4 and not IPv6, which goes around the tunnel; ${remedy}`);
  }
  if (full6 && !wide(4)) {
    warnings.push(`routes cover IPv6 and not IPv4, which goes around the tunnel; ${remedy}`);
  }
}
