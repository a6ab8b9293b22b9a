/**
 * The boundary between the core (AssemblyScript, `assembly/`) and its host (TypeScript, `src/`).
 *
 * Both compilers read this file, so it holds only `export const NAME = number`. It is the one place
 * that states the memory map, record offsets, event kinds, error codes, counters and limits.
 *
 * Map (bytes):  0 … 65535 stays empty, so that address 0 is never valid | fixed blocks below, each
 * base the one before plus its size | AssemblyScript's own constants from MEMORY_BASE, which is
 * `memoryBase` in asconfig.json | pools, placed by `init` (mem/pools.ts).
 *
 * A tick of the host:
 *   1. read packets into RX entries;            4. take flow events with events(), act on them;
 *   2. ingest(count, nowUs);                    5. flush(nowUs) builds what flows have to send;
 *   3. handle the DGRAM records it returned;    6. write TX descriptors out, then txDone().
 * What a DGRAM record or a TX descriptor points at stays put until the next ingest or stageSend.
 */

export const ABI_VERSION = 1;

/* ---- sizes and limits ------------------------------------------------------------------------ */

/** Bytes of a slot: vnet header, Ethernet header, IPv6 header and 65,535 bytes, rounded up. */
export const SLOT_BYTES = 65792;
/** Bytes of a chunk, the small unit of flow buffers. */
export const CHUNK_BYTES = 2048;
/** Received payloads up to this size are copied into chunks, so a slot is kept only for more. */
export const COPY_MAX_BYTES = 8192;
/** Entries of the RX block: most packets of one ingest. */
export const RX_MAX = 64;
/** Most TX descriptors between two txDone calls. */
export const TX_MAX = 1024;
/** Room for vnet header, IP header and TCP header with options of one TX descriptor. */
export const TX_HEADER_BYTES = 128;
/** Payload spans of one TX descriptor. */
export const TX_SPAN_MAX = 7;
/** Most events of one events() call. */
export const EVENT_MAX = 256;
/** Most datagram records of one ingest. */
export const DGRAM_MAX = 128;
/** Spans that recvPeek and sendReserve can answer with. */
export const SPAN_MAX = 32;
/** Datagrams that the host can stage for one stageSend. */
export const STAGE_MAX = 32;
/** Bytes of a flow record, a UDP mapping, a TIME-WAIT record and a buffer block record. */
export const FLOW_BYTES = 704;
export const MAPPING_BYTES = 256;
export const TIME_WAIT_BYTES = 64;
export const BLOCK_BYTES = 32;

/* ---- fixed blocks ---------------------------------------------------------------------------- */

export const CONFIG_BASE = 65536;
export const CONFIG_BYTES = 1024;
/** 64 bytes of entropy, written by the host before init. */
export const ENTROPY_BASE = CONFIG_BASE + CONFIG_BYTES;
export const ENTROPY_BYTES = 64;
/** Counters, f64 each, index STAT_…; the host reads them, the core adds. */
export const STATS_BASE = ENTROPY_BASE + ENTROPY_BYTES;
export const STATS_BYTES = 2048;
/** Gauges, u32 each, index GAUGE_…. */
export const GAUGES_BASE = STATS_BASE + STATS_BYTES;
export const GAUGES_BYTES = 256;
/** RX_MAX entries {ptr u32, len u32}: the core sets ptr, the host len. ptr may change in ingest. */
export const RX_BASE = GAUGES_BASE + GAUGES_BYTES;
export const RX_ENTRY_BYTES = 8;
export const RX_BYTES = RX_MAX * RX_ENTRY_BYTES;
/** Events, see EVENT_…_OFF. */
export const EVENTS_BASE = RX_BASE + RX_BYTES;
export const EVENT_BYTES = 16;
export const EVENTS_BYTES = EVENT_MAX * EVENT_BYTES;
/** Datagram records out of the core, see DGRAM_…_OFF. */
export const DGRAMS_BASE = EVENTS_BASE + EVENTS_BYTES;
export const DGRAM_BYTES = 64;
export const DGRAMS_BYTES = DGRAM_MAX * DGRAM_BYTES;
/** Datagram records into the core (same layout); ptr is set by init to a slot of SLOT_BYTES. */
export const STAGE_BASE = DGRAMS_BASE + DGRAMS_BYTES;
export const STAGE_BYTES = STAGE_MAX * DGRAM_BYTES;
/** Answer of recvPeek and sendReserve: {ptr u32, len u32} each. */
export const SPANS_BASE = STAGE_BASE + STAGE_BYTES;
export const SPAN_BYTES = 8;
export const SPANS_BYTES = SPAN_MAX * SPAN_BYTES;
/** TX descriptors: {hdrPtr u32, hdrLen u16, spanCount u16, spans of {ptr u32, len u32}}. */
export const TX_BASE = SPANS_BASE + SPANS_BYTES;
export const TX_BYTES = 64;
export const TX_BLOCK_BYTES = TX_MAX * TX_BYTES;
export const TX_HEADERS_BASE = TX_BASE + TX_BLOCK_BYTES;
export const TX_HEADERS_BYTES = TX_MAX * TX_HEADER_BYTES;
/** A question to a set of rules: address and name, see ROUTE_…_OFF. */
export const ROUTE_BASE = TX_HEADERS_BASE + TX_HEADERS_BYTES;
export const ROUTE_BYTES = 1024;
/**
 * The last packets that came in, for who looks at a core that trapped: a ring of LAST_MAX records,
 * {f64 µs of the ingest, u32 number of the packet from 1 on, u32 length}, then its first bytes.
 */
export const LAST_BASE = ROUTE_BASE + ROUTE_BYTES;
export const LAST_MAX = 256;
/** Virtio header, IPv6 header and a TCP header with most of its options. */
export const LAST_HEAD_BYTES = 96;
export const LAST_RECORD_BYTES = 112;
export const LAST_BYTES = LAST_MAX * LAST_RECORD_BYTES;
export const LAST_TIME_OFF = 0;
export const LAST_NUMBER_OFF = 8;
export const LAST_LENGTH_OFF = 12;
export const LAST_HEAD_OFF = 16;
export const FIXED_END = LAST_BASE + LAST_BYTES;
/** Where AssemblyScript's constants begin; equals `memoryBase` in asconfig.json. */
export const MEMORY_BASE = 327680;

export const TX_HEADER_PTR_OFF = 0;
export const TX_HEADER_LEN_OFF = 4;
export const TX_SPAN_COUNT_OFF = 6;
export const TX_SPANS_OFF = 8;

/* ---- configuration: u32 at CONFIG_BASE + 4 * index ------------------------------------------- */

export const CFG_ABI_VERSION = 0;
/** 1280 … 65535. */
export const CFG_MTU = 1;
/** 0, 10 or 12 bytes of virtio_net_hdr before every packet, both ways. */
export const CFG_VNET_BYTES = 2;
/** Bits OFFLOAD_…: what the device takes out of the core. */
export const CFG_OFFLOADS = 3;
/** CONNECT_FAITHFUL or CONNECT_IMMEDIATE. */
export const CFG_CONNECT_MODE = 4;
/** ECHO_…. */
export const CFG_ECHO_MODE = 5;
export const CFG_TTL = 6;
/** Bits FLAG_…. */
export const CFG_FLAGS = 7;
export const CFG_PENDING_MS = 8;
export const CFG_SYN_ACK_RETRIES = 9;
export const CFG_DELAYED_ACK_MS = 10;
export const CFG_RTO_INITIAL_MS = 11;
export const CFG_RTO_MIN_MS = 12;
export const CFG_RTO_MAX_MS = 13;
export const CFG_DATA_RETRIES = 14;
/** 0 switches keepalive off. */
export const CFG_KEEPALIVE_IDLE_MS = 15;
export const CFG_KEEPALIVE_INTERVAL_MS = 16;
export const CFG_KEEPALIVE_COUNT = 17;
export const CFG_TIME_WAIT_MS = 18;
export const CFG_FIN_WAIT_2_MS = 19;
export const CFG_IDLE_MS = 20;
export const CFG_UDP_IDLE_MS = 21;
export const CFG_UDP_ONE_WAY_MS = 22;
export const CFG_UDP_DNS_ANSWERED_MS = 23;
export const CFG_UDP_DNS_MS = 24;
/** Not 0: an explicit udpTimeout, which wins over all four above. */
export const CFG_UDP_TIMEOUT_MS = 25;
export const CFG_MAPPINGS_PER_CLIENT = 26;
export const CFG_ICMP_RATE = 27;
export const CFG_ICMP_BURST = 28;
export const CFG_ECHO_RATE = 29;
export const CFG_ECHO_BURST = 30;
export const CFG_RST_RATE = 31;
export const CFG_RST_BURST = 32;
export const CFG_REASSEMBLY_MS_4 = 33;
export const CFG_REASSEMBLY_MS_6 = 34;
export const CFG_REASSEMBLY_DATAGRAMS = 35;
export const CFG_REASSEMBLY_FRAGMENTS = 36;
export const CFG_REASSEMBLY_BYTES = 37;
export const CFG_RECV_BUFFER_BYTES = 38;
export const CFG_RECV_BUFFER_MAX_BYTES = 39;
export const CFG_SEND_BUFFER_BYTES = 40;
export const CFG_SEND_BUFFER_MAX_BYTES = 41;
/** All flow buffers together; slots and chunks are sized from it. */
export const CFG_BUFFER_CAP_BYTES = 42;
/** Pool sizes. */
export const CFG_FLOWS = 43;
export const CFG_HALF_OPEN = 44;
export const CFG_DIALS = 45;
export const CFG_TIME_WAITS = 46;
export const CFG_MAPPINGS = 47;
/** RX entries in use, 1 … RX_MAX. */
export const CFG_RX_ENTRIES = 48;
/** Gateway addresses as ICMP sources, network order; all zero = the destination speaks. */
export const CFG_GATEWAY_4 = 49;
export const CFG_GATEWAY_6 = 50;
/** The device's own IPv4 address (network order) and IPv6 address: echo to them is answered. */
export const CFG_OWN_4 = 54;
export const CFG_OWN_6 = 55;
/** CONGESTION_…. */
export const CFG_CONGESTION = 59;
/** DSCP of what is sent: 0 … 63, or DSCP_COPY: that of the flow's client. */
export const CFG_DSCP = 60;
export const CFG_COUNT = 61;

export const OFFLOAD_TSO4 = 1;
export const OFFLOAD_TSO6 = 2;
export const OFFLOAD_USO = 4;
/** Partial checksums (NEEDS_CSUM) are understood. */
export const OFFLOAD_CSUM = 8;

export const CONNECT_FAITHFUL = 0;
export const CONNECT_IMMEDIATE = 1;

export const ECHO_LOCAL = 0;
export const ECHO_HOST = 1;
export const ECHO_DROP = 2;

export const CONGESTION_NEWRENO = 0;
export const CONGESTION_CUBIC = 1;
/** CFG_DSCP. */
export const DSCP_COPY = 64;

/** Header prediction off (must change nothing but speed). */
export const FLAG_NO_FAST_PATH = 1;
/** UDP filtering: only addresses that the client wrote to may answer. */
export const FLAG_UDP_ADDRESS_FILTER = 2;
/** Inbound datagrams do not refresh a mapping. */
export const FLAG_UDP_NO_INBOUND_REFRESH = 4;
/** UDP to multicast groups makes mappings. */
export const FLAG_UDP_MULTICAST = 8;
/** No receive buffer auto-tuning. */
export const FLAG_NO_AUTOTUNE = 16;

/* ---- handles --------------------------------------------------------------------------------- */

/** handle = HANDLE_MAPPING bit | generation << HANDLE_GEN_SHIFT | index; 0 is never valid. */
export const HANDLE_INDEX_MASK = 262143;
export const HANDLE_GEN_SHIFT = 18;
export const HANDLE_GEN_MASK = 8191;
export const HANDLE_MAPPING = 2147483648;

/* ---- events ---------------------------------------------------------------------------------- */

/** Offsets in an event: which flow or mapping, EV_… bits, its record's address, a CLOSE_… code. */
export const EVENT_HANDLE_OFF = 0;
export const EVENT_FLAGS_OFF = 4;
export const EVENT_PTR_OFF = 8;
export const EVENT_CODE_OFF = 12;

/** A SYN arrived; the host answers with accept or reject (in immediate mode it was answered). */
export const EV_OPEN = 1;
/** recvPeek has something new. */
export const EV_READABLE = 2;
/** sendReserve was refused before and has room again, or the handshake is complete. */
export const EV_WRITABLE = 4;
/** The client half-closed: after what recvPeek still gives, upstream gets EOF. */
export const EV_FIN = 8;
/** The flow is over, code = CLOSE_…; the last event. Lent spans stay until release. */
export const EV_CLOSED = 16;
/** A UDP mapping began; it ended (release it). */
export const EV_MAPPING_OPEN = 32;
export const EV_MAPPING_CLOSED = 64;

/** Both directions finished in order. */
export const CLOSE_DONE = 1;
/** The client sent an acceptable RST. */
export const CLOSE_RESET = 2;
/** Retransmission, SYN-ACK, keepalive or probe limit. */
export const CLOSE_TIMEOUT = 3;
/** The host aborted or rejected. */
export const CLOSE_HOST = 4;
/** The host did not decide before the pending deadline. */
export const CLOSE_PENDING = 5;
/** Gave way under DOS-1 or DOS-11. */
export const CLOSE_EVICTED = 6;
/** Idle limit. */
export const CLOSE_IDLE = 7;
/** The client took its SYN back while pending. */
export const CLOSE_CANCELLED = 8;

/* ---- reject ---------------------------------------------------------------------------------- */

export const REJECT_RST = 0;
export const REJECT_DROP = 1;
export const REJECT_NET_UNREACHABLE = 2;
export const REJECT_HOST_UNREACHABLE = 3;
export const REJECT_PROHIBITED = 4;
/** For UDP only. */
export const REJECT_PORT_UNREACHABLE = 5;
/** For UDP only; the MTU is in the record's len. */
export const REJECT_TOO_BIG = 6;

/* ---- errors (negative answers) --------------------------------------------------------------- */

/** The handle names no living flow. */
export const ERR_STALE = -1;
/** Not legal in the flow's state. */
export const ERR_STATE = -2;
/** An argument is out of range. */
export const ERR_RANGE = -3;
/** A pool or block is full. */
export const ERR_FULL = -4;
/** A configuration word is out of range; its index is in GAUGE_CONFIG_ERROR. */
export const ERR_CONFIG = -5;
/** Memory could not grow. */
export const ERR_MEMORY = -6;

/* ---- flow record: the part that the host may read -------------------------------------------- */

export const FLOW_HANDLE_OFF = 0;
/** u8: 4 or 6; u8: TCP_…; u8: CONNECT_…; u8: private. */
export const FLOW_FAMILY_OFF = 4;
export const FLOW_STATE_OFF = 5;
export const FLOW_MODE_OFF = 6;
/** u16 host order: the destination's and the client's port. */
export const FLOW_LOCAL_PORT_OFF = 8;
export const FLOW_REMOTE_PORT_OFF = 10;
/** 16 bytes each, IPv4 in the first four: the destination (local end) and the client (remote). */
export const FLOW_LOCAL_OFF = 16;
export const FLOW_REMOTE_OFF = 32;
/** f64: payload bytes from and to the client; time of the first packet in µs. */
export const FLOW_BYTES_IN_OFF = 48;
export const FLOW_BYTES_OUT_OFF = 56;
export const FLOW_OPENED_US_OFF = 64;
/** u32 each: packets in and out; retransmitted segments; smoothed RTT in µs. */
export const FLOW_PACKETS_IN_OFF = 72;
export const FLOW_PACKETS_OUT_OFF = 76;
export const FLOW_RETRANSMITS_OFF = 80;
export const FLOW_SRTT_US_OFF = 84;
/** Reserved for names and verdicts: u32 name, u32 verdict, u16 owner queue, u8 name source. */
export const FLOW_NAME_OFF = 88;
export const FLOW_VERDICT_OFF = 92;
export const FLOW_OWNER_OFF = 96;
export const FLOW_NAME_FROM_OFF = 98;
/** From here on private. Mappings have the same public part up to here. */
export const FLOW_PRIVATE_OFF = 104;

/** Connection states, RFC 9293 §3.3.2; PENDING is a SYN that the host has not decided on. */
export const TCP_CLOSED = 0;
export const TCP_PENDING = 1;
export const TCP_SYN_RECEIVED = 2;
export const TCP_ESTABLISHED = 3;
export const TCP_FIN_WAIT_1 = 4;
export const TCP_FIN_WAIT_2 = 5;
export const TCP_CLOSE_WAIT = 6;
export const TCP_CLOSING = 7;
export const TCP_LAST_ACK = 8;
export const TCP_TIME_WAIT = 9;

/* ---- datagram records (DGRAMS and STAGE) ----------------------------------------------------- */

export const DGRAM_KIND_OFF = 0;
export const DGRAM_HANDLE_OFF = 4;
export const DGRAM_PTR_OFF = 8;
export const DGRAM_LEN_OFF = 12;
/** u32: segment size if the bytes are several datagrams, else 0. For errors: REJECT_…. */
export const DGRAM_GSO_OFF = 16;
/** u16: 4 or 6; u16 host order: port of the far end (destination out, source in). */
export const DGRAM_FAMILY_OFF = 20;
export const DGRAM_PORT_OFF = 22;
/** 16 bytes: far end's address; 16 bytes: the client's (echo only). */
export const DGRAM_FAR_OFF = 24;
export const DGRAM_CLIENT_OFF = 40;
/** u16 each, host order: echo identifier and sequence number. */
export const DGRAM_ID_OFF = 56;
export const DGRAM_SEQ_OFF = 58;
/** u8: DGRAM_FLAG_…; u8: hop limit in. */
export const DGRAM_FLAGS_OFF = 60;
export const DGRAM_HOPS_OFF = 61;

export const DGRAM_UDP = 1;
/** An echo request out of the core (data without ICMP header); into it: the reply. */
export const DGRAM_ECHO = 2;
/** Into the core: upstream reported an error for the far end; the client gets an ICMP error. */
export const DGRAM_ERROR = 3;

export const DGRAM_FLAG_DF = 1;

/* ---- gauges ---------------------------------------------------------------------------------- */

export const GAUGE_TX_COUNT = 0;
/** 1 if flush stopped because TX was full. */
export const GAUGE_FLUSH_MORE = 1;
export const GAUGE_FLOWS = 2;
export const GAUGE_PENDING = 3;
export const GAUGE_HALF_OPEN = 4;
export const GAUGE_TIME_WAITS = 5;
export const GAUGE_MAPPINGS = 6;
export const GAUGE_SLOTS_FREE = 7;
export const GAUGE_SLOTS = 8;
export const GAUGE_CHUNKS_FREE = 9;
export const GAUGE_CHUNKS = 10;
export const GAUGE_REASSEMBLIES = 11;
export const GAUGE_CONFIG_ERROR = 12;
export const GAUGE_DGRAM_COUNT = 13;
export const GAUGE_MEMORY_PAGES = 14;
export const GAUGE_BUFFERED_BYTES = 15;
/** Records closed but not yet released by the host. */
export const GAUGE_UNRELEASED = 16;

/* ---- counters -------------------------------------------------------------------------------- */

export const STAT_PACKETS_IN = 0;
export const STAT_BYTES_IN = 1;
export const STAT_PACKETS_OUT = 2;
export const STAT_BYTES_OUT = 3;
export const STAT_FLOWS_OPENED = 4;
export const STAT_FLOWS_ACCEPTED = 5;
export const STAT_FLOWS_REJECTED = 6;
export const STAT_FLOWS_CLOSED = 7;
export const STAT_MAPPINGS_OPENED = 8;
export const STAT_MAPPINGS_EVICTED = 9;
export const STAT_RETRANSMITS = 10;
export const STAT_RTO_FIRED = 11;
export const STAT_FAST_RECOVERIES = 12;
export const STAT_CHALLENGE_ACKS = 13;
export const STAT_RST_OUT = 14;
export const STAT_ICMP_ERRORS_OUT = 15;
export const STAT_ECHO_REPLIES_OUT = 16;
export const STAT_FAST_PATH = 17;
export const STAT_SLOTS_KEPT = 18;
export const STAT_FLOWS_EVICTED = 19;
export const STAT_TLP_PROBES = 20;
export const STAT_SPURIOUS = 21;
export const STAT_REASSEMBLED = 22;
export const STAT_SUPER_PACKETS_IN = 23;
export const STAT_SUPER_PACKETS_OUT = 24;
/** Drops by reason. */
export const DROP_SHORT = 32;
export const DROP_VERSION = 33;
export const DROP_VNET = 34;
export const DROP_LENGTH = 35;
export const DROP_IP_HEADER = 36;
export const DROP_IP_CHECKSUM = 37;
export const DROP_IP_OPTION = 38;
export const DROP_SOURCE = 39;
export const DROP_DESTINATION = 40;
export const DROP_MULTICAST = 41;
export const DROP_LAND = 42;
export const DROP_PROTOCOL = 43;
export const DROP_EXTENSION = 44;
export const DROP_FRAGMENT = 45;
export const DROP_FRAGMENT_OVERLAP = 46;
export const DROP_FRAGMENT_TIMEOUT = 47;
export const DROP_FRAGMENT_FULL = 48;
export const DROP_L4_CHECKSUM = 49;
export const DROP_L4_HEADER = 50;
export const DROP_ICMP_TYPE = 51;
export const DROP_ICMP_LIMIT = 52;
export const DROP_ECHO_LIMIT = 53;
export const DROP_ECHO_OFF = 54;
export const DROP_RST_LIMIT = 55;
export const DROP_UDP_PORT = 56;
export const DROP_UDP_FULL = 57;
export const DROP_UDP_FILTER = 58;
export const DROP_TCP_FLAGS = 59;
export const DROP_TCP_PORT = 60;
export const DROP_TCP_NO_FLOW = 61;
export const DROP_TCP_PENDING = 62;
export const DROP_TCP_WINDOW = 63;
export const DROP_TCP_PAWS = 64;
export const DROP_TCP_ACK = 65;
export const DROP_TCP_RST = 66;
export const DROP_TCP_NO_ROOM = 67;
export const DROP_TCP_RANGES = 68;
export const DROP_FLOWS_FULL = 69;
export const DROP_TX_FULL = 70;
export const DROP_DGRAM_FULL = 71;
export const DROP_TOO_BIG = 72;
export const DROP_STALE = 73;
export const STAT_COUNT = 96;

/* ---- rules (bypass) -------------------------------------------------------------------------- */

/** 16 bytes: the target's address, IPv4 in the first four. */
export const ROUTE_ADDRESS_OFF = 0;
/** The target's name, or the text of its address, in lower case; ROUTE_NAME_MAX bytes at most. */
export const ROUTE_NAME_OFF = 16;
export const ROUTE_NAME_MAX = 512;

/** Sets of rules in one instance. */
export const RULE_SETS_MAX = 1024;
/** handle = generation << RULE_SET_SHIFT | index; 0 is never valid. */
export const RULE_SET_SHIFT = 10;
/** Records of one set. */
export const RULES_MAX = 4194304;
/** Bytes of all sets together, and of one image. */
export const RULES_BYTES_MAX = 1073741824;

/**
 * The image of a set, u32 each: RULES_MAGIC; records, which follow the header; offset and bytes of
 * the pool that they point into; RULES_… flags. The rest of the header is zero.
 */
export const RULES_HEADER_BYTES = 32;
export const RULES_MAGIC_OFF = 0;
export const RULES_COUNT_OFF = 4;
export const RULES_POOL_PTR_OFF = 8;
export const RULES_POOL_BYTES_OFF = 12;
export const RULES_FLAGS_OFF = 16;
export const RULES_MAGIC = 1397904980;

/** A target that matches nothing is bypassed, instead of one that matches. */
export const RULES_WHITELIST = 1;
/** Targets of these networks alone; neither: of all. */
export const RULES_TCP = 2;
export const RULES_UDP = 4;
/** What a set without records says: bypassed. */
export const RULES_EMPTY_BYPASSES = 8;
/** As GOST: IPv4-mapped addresses are IPv4 for networks only, names match texts of addresses. */
export const RULES_COMPAT = 16;

/** A record: u32 text and value in the pool (an IPv4 address itself, as a number). */
export const RULE_BYTES = 24;
export const RULE_TEXT_OFF = 0;
export const RULE_VALUE_OFF = 4;
/** u32: the last address of an IPv4 range; the core's own otherwise. */
export const RULE_LINK_OFF = 8;
/** u16 each: bytes of text and value; ports. */
export const RULE_TEXT_BYTES_OFF = 12;
export const RULE_VALUE_BYTES_OFF = 14;
export const RULE_PORT_MIN_OFF = 16;
export const RULE_PORT_MAX_OFF = 18;
/** u8 each: RULE_… kind; prefix of a network or RULE_ANCHOR_…; bits of the port that count. */
export const RULE_KIND_OFF = 20;
export const RULE_PREFIX_OFF = 21;
export const RULE_PORT_BITS_OFF = 22;
/** u8: bytes of a wildcard's anchor. */
export const RULE_ANCHOR_BYTES_OFF = 23;

/** Matches nothing, but is a rule. */
export const RULE_NEVER = 0;
/** A name; a name and all below; only what is below. Value: the name without dot in front. */
export const RULE_NAME = 1;
export const RULE_SUFFIX = 2;
export const RULE_BELOW = 3;
/** A wildcard; value: GLOB_… tokens. */
export const RULE_GLOB = 4;
/** An address at a port. Value of IPv6: 16 bytes. */
export const RULE_HOST_4 = 5;
export const RULE_HOST_6 = 6;
/** A network at a port. */
export const RULE_NET_4 = 7;
export const RULE_NET_6 = 8;
/** A network, any port. */
export const RULE_CIDR_4 = 9;
export const RULE_CIDR_6 = 10;
/** First and last address, any port. Value of IPv6: 32 bytes. */
export const RULE_RANGE_4 = 11;
export const RULE_RANGE_6 = 12;
export const RULE_KINDS = 13;

/** Where a wildcard is found: in the list of all; by its last bytes, whole labels; by its first. */
export const RULE_ANCHOR_NONE = 0;
export const RULE_ANCHOR_TAIL = 1;
export const RULE_ANCHOR_HEAD = 2;
/** Most bytes of an anchor at the head. */
export const RULE_HEAD_MAX = 16;

/** Tokens of a wildcard; bytes from GLOB_LITERAL on stand for themselves. */
export const GLOB_STAR = 1;
export const GLOB_ANY = 2;
/** u8: not 0 = none of; u8 pairs; pairs of code points, first and last, 3 bytes each (LE). */
export const GLOB_CLASS = 3;
export const GLOB_LITERAL = 32;

/** An answer of rulesVerdict: a whitelist in which nothing matched. */
export const VERDICT_UNMATCHED = 2147483647;
/** Bits of `target` in rulesFind and rulesVerdict: network, family (0 = a name). */
export const TARGET_TCP = 1;
export const TARGET_UDP = 2;
export const TARGET_FAMILY_SHIFT = 8;
