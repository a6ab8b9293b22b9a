/**
 * Everything a tungo service is told, from one place: service, listener and handler metadata (of a
 * URL, of YAML, or made by the sub-command) become typed options and the core's words. Keys are
 * read from the listener first, then the handler, then the service: GOST puts unprefixed keys of a
 * URL into all three, and people put them anywhere.
 */
import * as abi from "../../assembly/abi.ts";
import { CORE_OPTIONS } from "../core/options.ts";
import { configError } from "../errors.ts";
import { coreWords, coreWordsOfNets } from "./core-words.ts";
import type { Places } from "./document.ts";
import { MetadataReader } from "./metadata.ts";
import type { Metadata, ServiceConfig } from "./model.ts";
import { formatIp } from "./net.ts";
import type { Cidr, IpAddress } from "./net.ts";
import {
  DEVICE_KEYS,
  readAddresses,
  readGateway,
  readNets,
  readNetworks,
  readRoutes,
  warnRoutes,
} from "./tungo-nets.ts";
import type { Route } from "./tungo-nets.ts";

export type { Route } from "./tungo-nets.ts";

export type EchoMode = "auto" | "host" | "local" | "drop";

export interface TungoOptions {
  /** Name of the service. */
  readonly service: string;
  /** Name of the device; may hold one `%d`, which the kernel fills in. */
  readonly name: string;
  /** Addresses of the device with their networks. */
  readonly nets: readonly Cidr[];
  readonly mtu: number;
  readonly routes: readonly Route[];
  /** Networks that stay outside, whatever `routes` says. */
  readonly excludes: readonly Cidr[];
  /** Default gateway of routes of its family. */
  readonly gw?: IpAddress;
  readonly dns: readonly IpAddress[];
  /** Names that `dns` is asked for, `~.` = all; only systemd-resolved knows such. */
  readonly dnsDomains: readonly string[];
  /** GOST's list of devices or addresses for sockets that leave directly. */
  readonly interface?: string;
  /** SO_MARK of sockets that leave directly. */
  readonly soMark?: number;
  readonly dialTimeoutMs: number;
  readonly connect: "faithful" | "immediate";
  readonly echo: EchoMode;
  /** Ask for virtio headers and offloads. */
  readonly vnet: boolean;
  /** An open TUN descriptor that was inherited, instead of opening one. */
  readonly tunFd?: number;
  readonly workers: number;
  /** File to write what passes the device to. */
  readonly pcap?: string;
  /** UDP to these makes mappings; to other groups it is dropped. */
  readonly multicastGroups: readonly IpAddress[];
  /** Bytes that a UDP mapping may have waiting for its way out. */
  readonly udpQueueBytes: number;
  /** Name of the chain; absent = direct. */
  readonly chain?: string;
  /** Configuration words of the core by CFG_… index; device offloads are the opener's to add. */
  readonly words: ReadonlyMap<number, number>;
}

export interface TungoParse {
  readonly options: TungoOptions;
  /** Each one line, without the place. */
  readonly warnings: readonly string[];
}

const NAME_BYTES_MAX = 15;
const DIAL_TIMEOUT_MS = 15_000;
const HOUR_MS = 3_600_000;
const UDP_QUEUE_BYTES = 262_144;
/** The largest datagram fits in any case: none is ever cut. */
const UDP_QUEUE_BYTES_MIN = 65_536;
const UDP_QUEUE_BYTES_MAX = 64 * 1024 * 1024;
const GROUPS_MAX = 256;

/** Accepted for GOST's sake; a warning says so. */
export const TUNGO_KEYS_WITHOUT_EFFECT = [
  "sniffing",
  "sniffing.udp",
  "sniffing.timeout",
  "sniffing.responseTimeout",
  "sniffing.fallback",
  "sniffing.websocket",
  "sniffing.websocket.sampleRate",
  "ipv6",
  "peer",
  "tun.peer",
  "guid",
  "tun.guid",
  "observePeriod",
  "observer.period",
  "observer.observePeriod",
  "observer.resetTraffic",
  "limiter.refreshInterval",
  "limiter.cleanupInterval",
  "limiter.scope",
] as const;

/** Every key a tungo service understands, for "did you mean" and the warnings about others. */
export const TUNGO_KEYS: readonly string[] = [
  ...Object.values(DEVICE_KEYS).flat(),
  "interface",
  "dialTimeout",
  "vnet",
  "dnsDomain",
  "udp.bufferSize",
  "udpBufferSize",
  "multicastGroups",
  "tungo.multicastGroups",
  "tcpModerateReceiveBuffer",
  "tungo.tcpModerateReceiveBuffer",
  "tunFd",
  "workers",
  "pcap",
  ...CORE_OPTIONS.flatMap((option) => [option.key, ...(option.aliases ?? [])]),
];

/**
 * Reads and checks all keys of a tungo service; throws TsgostError with exit code 2. `places` knows
 * where the keys were written, for the messages.
 */
export function tungoOptions(service: ServiceConfig, places?: Places): TungoParse {
  const { metadata, origins } = mergedMetadata(service);
  const reader = new MetadataReader(metadata, service.place, (key) => {
    const origin = origins.get(key);
    return origin === undefined ? "" : (places?.of(origin, key) ?? "");
  });
  const warnings: string[] = [];
  if (service.forwarder !== undefined) {
    throw configError(service.place, "a tungo service takes no target behind the address");
  }
  const nets = readNets(reader, service.place);
  const gw = readGateway(reader, nets, warnings);
  const routes = readRoutes(reader, gw);
  const excludes = readNetworks(reader, DEVICE_KEYS.exclude);
  const words = coreWords(reader);
  const connect = words.get(abi.CFG_CONNECT_MODE) === abi.CONNECT_FAITHFUL;
  const echo = reader.oneOf<EchoMode>("echo", ["auto", "host", "local", "drop"]) ?? "auto";
  const { chain = service.listener.chain, chainGroup } = service.handler;
  words.set(abi.CFG_ECHO_MODE, echoWord(echo, (chain ?? chainGroup) !== undefined));
  coreWordsOfNets(words, nets);
  const multicastGroups = readGroups(reader);
  words.set(abi.CFG_FLAGS, flagsWord(reader, multicastGroups));
  warnRoutes(routes, warnings);
  warnWithoutEffect(reader, warnings);
  const tunFd = reader.int("tunFd", { min: 0, max: 1_048_576 });
  const pcap = reader.string("pcap");
  const device = reader.string("interface");
  const soMark = reader.int(DEVICE_KEYS.soMark, { min: 0, max: 0xffffffff });
  const options: TungoOptions = {
    service: service.name,
    name: readName(reader),
    nets,
    mtu: words.get(abi.CFG_MTU) ?? 0,
    routes,
    excludes,
    ...(gw === undefined ? {} : { gw }),
    dns: readAddresses(reader, DEVICE_KEYS.dns),
    dnsDomains: reader.list("dnsDomain") ?? (takesAll(routes) ? ["~."] : []),
    ...(device === undefined || device === "" ? {} : { interface: device }),
    ...(soMark === undefined || soMark === 0 ? {} : { soMark }),
    dialTimeoutMs: reader.durationMs("dialTimeout", { min: 1, max: HOUR_MS }) ?? DIAL_TIMEOUT_MS,
    connect: connect ? "faithful" : "immediate",
    echo,
    vnet: readSwitch(reader, "vnet") ?? true,
    ...(tunFd === undefined ? {} : { tunFd }),
    workers: readWorkers(reader),
    ...(pcap === undefined || pcap === "" ? {} : { pcap }),
    multicastGroups,
    udpQueueBytes: readQueueBytes(reader),
    ...(chain === undefined ? {} : { chain }),
    words,
  };
  return { options, warnings };
}

/** Listener before handler before service; spellings that differ in case are one key. */
function mergedMetadata(service: ServiceConfig): {
  metadata: Metadata;
  origins: ReadonlyMap<string, Metadata>;
} {
  const spellings = new Map<string, string>();
  const origins = new Map<string, Metadata>();
  for (const part of [service.metadata, service.handler.metadata, service.listener.metadata]) {
    for (const key of Object.keys(part)) {
      origins.delete(spellings.get(key.toLowerCase()) ?? "");
      spellings.set(key.toLowerCase(), key);
      origins.set(key, part);
    }
  }
  const entries = Array.from(origins, ([key, part]) => [key, part[key] ?? null] as const);
  return { metadata: Object.fromEntries(entries), origins };
}

function readName(reader: MetadataReader): string {
  const name = reader.string(DEVICE_KEYS.name);
  if (name === undefined || name === "") return "tungo";
  const bytes = Buffer.byteLength(name);
  if (bytes > NAME_BYTES_MAX) {
    const why = `has ${bytes} bytes; device names have at most ${NAME_BYTES_MAX}`;
    throw reader.refuse("name", name, why);
  }
  const bare = name.replace("%d", "");
  if (name === "." || name === ".." || /[\s/:%\p{Cc}]/u.test(bare)) {
    throw reader.refuse("name", name, "is no device name (no blanks, '/', ':' or '%')");
  }
  return name;
}

/** on, off, or a boolean of Go. */
function readSwitch(reader: MetadataReader, key: string): boolean | undefined {
  const word = reader.find(key)?.value;
  if (word === "on" || word === "off") return word === "on";
  return reader.bool(key);
}

function readWorkers(reader: MetadataReader): number {
  const workers = reader.int("workers", { min: 1, max: 256 }) ?? 1;
  if (workers === 1) return 1;
  throw reader.refuse("workers", workers, "is not possible yet; leave it out or use 1");
}

function readGroups(reader: MetadataReader): IpAddress[] {
  const names = ["multicastGroups", "tungo.multicastGroups"] as const;
  const groups = readAddresses(reader, [...names]);
  for (const group of groups) {
    const [first = 0] = group.bytes;
    if (group.family === 4 ? (first & 0xf0) === 0xe0 : first === 0xff) continue;
    throw reader.refuse("multicastGroups", formatIp(group), "is no multicast address");
  }
  if (groups.length > GROUPS_MAX) {
    throw reader.refuse("multicastGroups", groups.length, `are more than ${GROUPS_MAX} groups`);
  }
  return groups;
}

/** Auto-tuning is on unless it is switched off (GOST: the other way round). */
function flagsWord(reader: MetadataReader, groups: readonly IpAddress[]): number {
  const names = ["tcpModerateReceiveBuffer", "tungo.tcpModerateReceiveBuffer"];
  const isTuned = reader.bool(names) ?? true;
  return (isTuned ? 0 : abi.FLAG_NO_AUTOTUNE) | (groups.length > 0 ? abi.FLAG_UDP_MULTICAST : 0);
}

function readQueueBytes(reader: MetadataReader): number {
  const range = { max: UDP_QUEUE_BYTES_MAX };
  const given = reader.int(["udp.bufferSize", "udpBufferSize"], range) ?? 0;
  return given <= 0 ? UDP_QUEUE_BYTES : Math.max(given, UDP_QUEUE_BYTES_MIN);
}

/** Do the routes take everything of a family? Then its name servers are asked for everything. */
function takesAll(routes: readonly Route[]): boolean {
  return routes.some(({ dst }) => dst.prefix <= 1);
}

/** auto: the host pings for the client where flows leave directly; a chain carries no pings. */
function echoWord(echo: EchoMode, chained: boolean): number {
  switch (echo) {
    case "host":
      return abi.ECHO_HOST;
    case "drop":
      return abi.ECHO_DROP;
    case "local":
      return abi.ECHO_LOCAL;
    case "auto":
      return chained ? abi.ECHO_LOCAL : abi.ECHO_HOST;
  }
}

function warnWithoutEffect(reader: MetadataReader, warnings: string[]): void {
  for (const key of TUNGO_KEYS_WITHOUT_EFFECT) {
    if (reader.find(key) === undefined) continue;
    const isLater = key.startsWith("sniffing");
    warnings.push(`${key} has no effect ${isLater ? "yet" : "here"}`);
  }
}
