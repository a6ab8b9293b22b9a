/**
 * What the values of metadata keys are, by the key's name: the one table that values are checked
 * by (key-check.ts) and that the JSON Schema describes them by (json-schema.ts). Which component
 * understands which key says keys.ts; a key that is missing here takes any value.
 */
import { CORE_OPTIONS } from "../core/options.ts";
import type { OptionKind } from "../core/options.ts";
import type { MetadataValue } from "./model.ts";
import { parseGoBool } from "./metadata.ts";
import { parseBytes, parseDuration, parseIp, parseNetwork } from "./net.ts";

export type KeyKind =
  | "bool"
  | "int"
  | "bytes"
  | "duration"
  | "text"
  | "list"
  | "map"
  /** An IP address; a comma list or a list of them. */
  | "address"
  | "addresses"
  /** A comma list or a list of addresses and CIDRs. */
  | "networks";

export interface KeyInfo {
  readonly kind: KeyKind;
  readonly help: string;
}

/** One key a line: `names kind help`; several names (aliases) have a bar between them. */
const TABLE = `
interface text devices or addresses by which sockets leave, tried in order; ! = none after it
so_mark|soMark int firewall mark of sockets that leave
dialTimeout duration limit of one attempt to connect (15s)
proxyProtocol int version of the PROXY protocol
netns text network namespace
netns.out text network namespace of sockets that leave
preUp list commands to run once the device or socket exists
postUp list commands to run when the service listens
preDown list commands to run before the service closes
postDown list commands to run after it closed
ignoreChain bool leave directly whatever the chain says
enableStats bool count connections and bytes
labels map labels of metrics and logs
weight int share of this node with the strategy random
backup bool use this node only when no other is left
maxFails int failures after which a node counts as failed (1)
failTimeout duration how long a failed node is left out (10s)
readTimeout duration limit for reading a request (15s)
idleTimeout duration limit of silence in one direction
connectTimeout|timeout duration limit of the handshake
handshakeTimeout|ws.handshakeTimeout duration limit of the handshake
bind bool allow BIND and associations
nodelay bool send the request, and wait for its answer, before data
udp bool allow UDP
notls bool no TLS inside SOCKS5
comp bool BIND as GOST 2 does it
relay text udp: a standard UDP ASSOCIATE
hash text host: choose nodes by the destination instead of the client
auth.anyPassword bool a user without a password may come with any
skipauth list clients, as IP or CIDR, that need no user
udp.bufferSize|udpBufferSize bytes largest datagram
bufferSize|readBufferSize|writeBufferSize bytes size of a buffer
ws.readBufferSize|ws.writeBufferSize bytes size of a buffer
readQueueSize|recvQueueSize int datagrams that may wait
backlog|ws.backlog int connections that may wait
maxConnections int connections at once
keepalive|ws.keepalive bool keep the connection (tcp, ws: probe it; udp: after an answer)
keepAlive|tun.keepalive bool probe the peer
keepalive.idle|keepalive.interval duration time between probes
keepaliveInterval|ws.keepaliveInterval duration time between probes
keepalive.count|tcp.keepalive.count int unanswered probes before the end
tcp.keepalive bool probe the TCP connection below the WebSocket
tcp.keepalive.idle|tcp.keepalive.interval duration time between probes of TCP
mptcp bool multipath TCP
reuseport bool let several processes listen on one port
ttl|keepalive.ttl duration how long a session may be idle
stateless bool one answer for each datagram, no session
udp.timeout|udpTimeout|tungo.udpTimeout duration how long a UDP session may be idle
path|ws.path text path of the WebSocket (/ws)
host|ws.host text Host header
header|ws.header map further headers
http.header map further headers
enableCompression|ws.enableCompression bool compress WebSocket messages
readHeaderTimeout|ws.readHeaderTimeout duration limit for the request's head
mux.type text smux
mux.maxStreams int streams of a session at a time
mux.version int version of smux, 1 or 2; both ends must agree
mux.keepaliveDisabled bool no probes in the session
mux.keepaliveInterval|mux.keepaliveTimeout duration probes of the session
mux.maxFrameSize|mux.maxReceiveBuffer|mux.maxStreamBuffer bytes sizes of the session
relay.network text network feature of requests
relay.udp text how UDP goes through relay
relay.grace duration how long the answer of a relay is waited for
sniffing bool look for the host's name in the first bytes
sniffing.timeout|sniffing.responseTimeout duration limit of sniffing
sniffing.websocket.sampleRate text how many frames are recorded
sniffing.udp|sniffing.fallback|sniffing.websocket bool details of sniffing
udp.resolveDomain bool resolve names of answers
udp.minPort|udp.maxPort|udp.bindRange.min|udp.bindRange.max int ports of associations
socks.publicAddr|publicAddr text address told to clients
proxyAgent|http.proxyAgent text name told to clients
authBasicRealm text realm of authentication
probeResist|probe_resist text what strangers get
knock text host that asks strangers for a user
http.keepalive bool keep the connection
tor|enableTor|socks5.tor bool commands of Tor
mux.maxStreamWindow bytes window of a stream of yamux
observer.period|observePeriod|observer.observePeriod duration how often an observer is told
observer.resetTraffic bool count anew each time
limiter.refreshInterval|limiter.cleanupInterval duration upkeep of limiters
limiter.scope text what a limiter counts
ws.ttl duration time between probes
compression|http.compression bool compressed answers
name|tun.name text name of the device
net|tun.net networks addresses of the device with prefix
route|tun.route list networks that go into the device
routes|tun.routes list the same, CIDR GATEWAY each
exclude|excludes|tun.exclude networks networks that stay outside
gw|tun.gw address gateway of routes that name none
dns|tun.dns addresses name servers of the device
dnsDomain list names that the name servers are asked for
peer|tun.peer address other end of the device (macOS)
guid|tun.guid text id of the device (Windows)
router text routes of this router object
p2p|tun.p2p bool hand packets to the one client there is
passphrase|token|tun.token text secret that the peer must know
multicastGroups|tungo.multicastGroups addresses multicast groups to join
vnet text on or off: super-packets of the device
tunFd int an open descriptor of a device
workers int number of workers
pcap text file to write packets to
action text reject: refuse what comes here
`;

const OPTION_KINDS: Readonly<Record<OptionKind, KeyKind>> = {
  count: "int",
  bytes: "bytes",
  ms: "duration",
  bool: "bool",
  connect: "text",
  echo: "text",
  congestion: "text",
};

function readTable(): Map<string, KeyInfo> {
  const kinds = new Map<string, KeyInfo>();
  for (const line of TABLE.trim().split("\n")) {
    const [names = "", kind = "", ...help] = line.split(" ");
    for (const name of names.split("|")) {
      const info = { kind: kind as KeyKind, help: help.join(" ") };
      if (!kinds.has(name.toLowerCase())) kinds.set(name.toLowerCase(), info);
    }
  }
  return kinds;
}

const KINDS = readTable();

/** The core's settings, whose names mean other things elsewhere. */
const CORE_KINDS = new Map<string, KeyInfo>(
  CORE_OPTIONS.flatMap((option) =>
    [option.key, ...(option.aliases ?? [])].map((name): [string, KeyInfo] => [
      name.toLowerCase(),
      { kind: OPTION_KINDS[option.kind], help: option.help },
    ]),
  ),
);

/** What a key takes; `core` = in a component that has the core's settings. */
export function keyInfo(key: string, core: boolean): KeyInfo | undefined {
  const lower = key.toLowerCase();
  return (core ? CORE_KINDS.get(lower) : undefined) ?? KINDS.get(lower);
}

type Items = readonly string[];

/** The items of a list, or the parts between commas; undefined for other kinds. */
function itemsOf(value: MetadataValue): Items | undefined {
  if (typeof value === "string" || typeof value === "number") return String(value).split(",");
  if (!Array.isArray(value)) return undefined;
  const items = value as readonly MetadataValue[];
  return items.every((item) => typeof item === "string" || typeof item === "number")
    ? items.map(String)
    : undefined;
}

/** The text of a scalar; undefined for lists and maps. */
function scalarText(value: MetadataValue): string | undefined {
  return typeof value === "object" ? undefined : String(value);
}

function isScalarLike(value: MetadataValue, is: (text: string) => boolean): boolean {
  const text = scalarText(value);
  return text !== undefined && is(text);
}

function every(value: MetadataValue, is: (item: string) => boolean): boolean {
  const items = itemsOf(value);
  return items?.every((item) => item.trim() === "" || is(item.trim())) === true;
}

const TESTS: Readonly<Record<KeyKind, readonly [(value: MetadataValue) => boolean, string]>> = {
  bool: [
    (value) =>
      typeof value === "boolean" ||
      typeof value === "number" ||
      (typeof value === "string" && parseGoBool(value) !== undefined),
    "is not true or false",
  ],
  int: [
    (value) =>
      typeof value === "boolean" || isScalarLike(value, (text) => /^[+-]?\d{1,16}$/.test(text)),
    "is not a whole number",
  ],
  bytes: [
    (value) => isScalarLike(value, (text) => /^-\d+$/.test(text) || parseBytes(text) !== undefined),
    "is not a number of bytes",
  ],
  duration: [
    (value) =>
      typeof value === "number" ||
      (typeof value === "string" && parseDuration(value) !== undefined),
    "is not a duration (such as 30s, 1m30s, 500ms, or seconds without a unit)",
  ],
  text: [(value) => scalarText(value) !== undefined, "is not a text"],
  list: [(value) => itemsOf(value) !== undefined, "is not a list of texts"],
  map: [(value) => typeof value === "object" && !Array.isArray(value), "is not a map"],
  address: [
    (value) => isScalarLike(value, (text) => parseIp(text) !== undefined),
    "is not an IP address",
  ],
  addresses: [
    (value) => every(value, (item) => parseIp(item) !== undefined),
    "is not a list of IP addresses",
  ],
  networks: [
    (value) => every(value, (item) => parseNetwork(item) !== undefined),
    "is not a list of networks (ADDRESS/PREFIX)",
  ],
};

/** Why a value is of no use, or undefined; empty ones count as not given. */
export function valueFault(info: KeyInfo, value: MetadataValue): string | undefined {
  if (value === null || value === "") return undefined;
  const [isGood, why] = TESTS[info.kind];
  return isGood(value) ? undefined : why;
}
