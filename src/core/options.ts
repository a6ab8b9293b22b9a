/**
 * The core's settings: one table that the URL, YAML and command-line forms, the facade and the
 * README are made from. Defaults are those of the stack's requirements, section 14.
 */
import * as abi from "../../assembly/abi.ts";

/** How a value is written: `ms` are durations (Go syntax, a bare number is seconds). */
export type OptionKind = "count" | "bytes" | "ms" | "bool" | "connect" | "echo" | "congestion";

export interface CoreOption {
  /** Key of URLs and YAML (camelCase); the command line has it in kebab-case. */
  readonly key: string;
  /** GOST's spellings, and older ones. */
  readonly aliases?: readonly string[];
  readonly kind: OptionKind;
  /** Index of the configuration word. */
  readonly word: number;
  /** In the unit of the word (ms, bytes, count). */
  readonly default: number;
  readonly min: number;
  readonly max: number;
  readonly help: string;
}

const HOUR_MS = 3_600_000;
const DAY_MS = 86_400_000;
const GIB = 1024 ** 3;

/** The first of `names` is the key, the others are aliases. */
function option(
  names: string | readonly [string, ...string[]],
  kind: OptionKind,
  word: number,
  [value, min, max]: readonly [number, number, number],
  help: string,
): CoreOption {
  const [key, ...aliases] = typeof names === "string" ? [names] : names;
  return { key, kind, word, default: value, min, max, help, aliases };
}

export const CORE_OPTIONS: readonly CoreOption[] = [
  option(["mtu", "tun.mtu"], "bytes", abi.CFG_MTU, [1420, 1280, 65535], "MTU of the device"),
  option("ttl", "count", abi.CFG_TTL, [64, 1, 255], "TTL and hop limit of packets sent"),
  option("dscp", "count", abi.CFG_DSCP, [0, 0, 64], "DSCP of packets sent; 64: the client's own"),
  option(
    "connect",
    "connect",
    abi.CFG_CONNECT_MODE,
    [abi.CONNECT_FAITHFUL, 0, 1],
    "faithful: answer a SYN when upstream is connected; immediate: answer at once",
  ),
  option(
    "pendingTimeout",
    "ms",
    abi.CFG_PENDING_MS,
    [30_000, 100, HOUR_MS],
    "how long a SYN may wait for its upstream",
  ),
  option(
    "synAckRetries",
    "count",
    abi.CFG_SYN_ACK_RETRIES,
    [5, 0, 20],
    "repeats of an unanswered SYN-ACK",
  ),
  option(
    "delayedAck",
    "ms",
    abi.CFG_DELAYED_ACK_MS,
    [40, 1, 500],
    "longest delay of an acknowledgement",
  ),
  option(
    "rtoInitial",
    "ms",
    abi.CFG_RTO_INITIAL_MS,
    [1000, 10, 60_000],
    "RTO before a measurement",
  ),
  option("rtoMin", "ms", abi.CFG_RTO_MIN_MS, [200, 10, 60_000], "lower bound of the RTO"),
  option("rtoMax", "ms", abi.CFG_RTO_MAX_MS, [60_000, 1000, 600_000], "upper bound of the RTO"),
  option(
    "dataRetries",
    "count",
    abi.CFG_DATA_RETRIES,
    [15, 1, 100],
    "repeats of unacknowledged data before the flow is given up",
  ),
  option(
    "congestion",
    "congestion",
    abi.CFG_CONGESTION,
    [abi.CONGESTION_CUBIC, 0, 1],
    "congestion control towards the client: cubic or newreno",
  ),
  option(
    "keepaliveIdle",
    "ms",
    abi.CFG_KEEPALIVE_IDLE_MS,
    [7_200_000, 0, 30 * DAY_MS],
    "idle time before keepalive probes to the client, 0 = none",
  ),
  option(
    "keepaliveInterval",
    "ms",
    abi.CFG_KEEPALIVE_INTERVAL_MS,
    [75_000, 100, HOUR_MS],
    "time between keepalive probes",
  ),
  option(
    "keepaliveCount",
    "count",
    abi.CFG_KEEPALIVE_COUNT,
    [9, 1, 100],
    "unanswered keepalive probes before the flow is given up",
  ),
  option("timeWait", "ms", abi.CFG_TIME_WAIT_MS, [30_000, 0, 240_000], "length of TIME-WAIT"),
  option(
    "finWait2",
    "ms",
    abi.CFG_FIN_WAIT_2_MS,
    [60_000, 1000, HOUR_MS],
    "FIN-WAIT-2 after upstream is fully gone",
  ),
  option(
    "idleTimeout",
    "ms",
    abi.CFG_IDLE_MS,
    [7_440_000, 1000, 30 * DAY_MS],
    "idle limit of established flows",
  ),
  option(
    "udpIdle",
    "ms",
    abi.CFG_UDP_IDLE_MS,
    [300_000, 1000, DAY_MS],
    "idle time of a UDP mapping with traffic both ways",
  ),
  option(
    "udpOneWay",
    "ms",
    abi.CFG_UDP_ONE_WAY_MS,
    [120_000, 1000, DAY_MS],
    "idle time of a UDP mapping nobody answered",
  ),
  option(
    "udpDnsAnswered",
    "ms",
    abi.CFG_UDP_DNS_ANSWERED_MS,
    [10_000, 100, DAY_MS],
    "idle time of a mapping to port 53 after an answer",
  ),
  option(
    "udpDns",
    "ms",
    abi.CFG_UDP_DNS_MS,
    [30_000, 100, DAY_MS],
    "idle time of a mapping to port 53 without an answer",
  ),
  option(
    ["udpTimeout", "tungo.udpTimeout"],
    "ms",
    abi.CFG_UDP_TIMEOUT_MS,
    [0, 0, DAY_MS],
    "idle time of every UDP mapping, instead of the four above; 0 = those",
  ),
  option(
    "udpMappingsPerClient",
    "count",
    abi.CFG_MAPPINGS_PER_CLIENT,
    [4096, 1, 65536],
    "UDP mappings of one client address",
  ),
  option("icmpRate", "count", abi.CFG_ICMP_RATE, [200, 0, 1e6], "ICMP errors a second and family"),
  option("icmpBurst", "count", abi.CFG_ICMP_BURST, [50, 1, 1e6], "burst of ICMP errors"),
  option(
    "echoRate",
    "count",
    abi.CFG_ECHO_RATE,
    [1000, 0, 1e6],
    "echo replies a second and family",
  ),
  option("echoBurst", "count", abi.CFG_ECHO_BURST, [200, 1, 1e6], "burst of echo replies"),
  option(
    "rstRate",
    "count",
    abi.CFG_RST_RATE,
    [1000, 0, 1e6],
    "RSTs to strays a second and family",
  ),
  option("rstBurst", "count", abi.CFG_RST_BURST, [200, 1, 1e6], "burst of RSTs to strays"),
  option(
    "reassembly4",
    "ms",
    abi.CFG_REASSEMBLY_MS_4,
    [30_000, 100, 600_000],
    "time for all fragments of an IPv4 datagram",
  ),
  option(
    "reassembly6",
    "ms",
    abi.CFG_REASSEMBLY_MS_6,
    [60_000, 100, 600_000],
    "time for all fragments of an IPv6 datagram",
  ),
  option(
    "reassemblyDatagrams",
    "count",
    abi.CFG_REASSEMBLY_DATAGRAMS,
    [512, 1, 4096],
    "incomplete datagrams at once",
  ),
  option(
    "reassemblyFragments",
    "count",
    abi.CFG_REASSEMBLY_FRAGMENTS,
    [128, 2, 1024],
    "fragments of one datagram",
  ),
  option(
    "reassemblyBytes",
    "bytes",
    abi.CFG_REASSEMBLY_BYTES,
    [4 * 1024 ** 2, 65536, GIB],
    "memory of incomplete datagrams",
  ),
  option(
    "recvBuffer",
    "bytes",
    abi.CFG_RECV_BUFFER_BYTES,
    [256 * 1024, 65536, GIB],
    "first receive buffer of a flow",
  ),
  option(
    ["recvBufferMax", "tcpReceiveBufferSize", "tungo.tcpReceiveBufferSize"],
    "bytes",
    abi.CFG_RECV_BUFFER_MAX_BYTES,
    [8 * 1024 ** 2, 65536, GIB],
    "largest receive buffer of a flow",
  ),
  option(
    "sendBuffer",
    "bytes",
    abi.CFG_SEND_BUFFER_BYTES,
    [256 * 1024, 4096, GIB],
    "first send buffer of a flow",
  ),
  option(
    ["sendBufferMax", "tcpSendBufferSize", "tungo.tcpSendBufferSize"],
    "bytes",
    abi.CFG_SEND_BUFFER_MAX_BYTES,
    [4 * 1024 ** 2, 4096, GIB],
    "largest send buffer of a flow",
  ),
  option(
    "bufferCap",
    "bytes",
    abi.CFG_BUFFER_CAP_BYTES,
    [256 * 1024 ** 2, 4 * 1024 ** 2, 2 * GIB],
    "all buffers of all flows",
  ),
  option("flows", "count", abi.CFG_FLOWS, [65536, 16, 200_000], "TCP flows at once"),
  option("halfOpen", "count", abi.CFG_HALF_OPEN, [4096, 1, 65536], "half-open TCP flows"),
  option("dials", "count", abi.CFG_DIALS, [1024, 1, 65536], "undecided TCP flows"),
  option("timeWaits", "count", abi.CFG_TIME_WAITS, [16384, 1, 200_000], "TIME-WAIT records"),
  option("udpMappings", "count", abi.CFG_MAPPINGS, [16384, 16, 200_000], "UDP mappings"),
  option(
    "echo",
    "echo",
    abi.CFG_ECHO_MODE,
    [abi.ECHO_LOCAL, 0, 2],
    "who answers pings: auto, host (a real ping), local (always), drop",
  ),
];
