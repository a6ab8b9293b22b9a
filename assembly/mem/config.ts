/**
 * The configuration: words that the host wrote before `init`, checked once there. After that they
 * are only read.
 */
import * as layout from "../layout";
import { gauge, setGauge } from "./stats";

const FOREVER_MS: u32 = 2592000000;
const BILLION: u32 = 1000000000;
const GIB: u32 = 1073741824;

/** Word `index` (CFG_…). */
export function config(index: u32): u32 {
  return load<u32>(layout.CONFIG_BASE + ((<usize>index) << 2));
}

/** A duration in milliseconds as microseconds. */
export function configUs(index: u32): f64 {
  return <f64>config(index) * 1000.0;
}

/** Whether bit `flag` (FLAG_…) is set. */
export function hasFlag(flag: u32): bool {
  return (config(layout.CFG_FLAGS) & flag) != 0;
}

/** Whether the device takes `offload` (OFFLOAD_…) out of the core. */
export function hasOffload(offload: u32): bool {
  return (config(layout.CFG_OFFLOADS) & offload) != 0;
}

/**
 * Whether every word is in its range. If not, GAUGE_CONFIG_ERROR has the first wrong one's index.
 */
export function checkConfig(): bool {
  setGauge(layout.GAUGE_CONFIG_ERROR, 0xffffffff);
  checkDevice();
  checkTcp();
  checkDatagrams();
  checkPools();
  if (gauge(layout.GAUGE_CONFIG_ERROR) != 0xffffffff) return false;
  setGauge(layout.GAUGE_CONFIG_ERROR, 0);
  return true;
}

function fail(index: u32): void {
  if (gauge(layout.GAUGE_CONFIG_ERROR) == 0xffffffff) setGauge(layout.GAUGE_CONFIG_ERROR, index);
}

function range(index: u32, min: u32, max: u32): void {
  const value = config(index);
  if (value < min || value > max) fail(index);
}

function checkDevice(): void {
  range(layout.CFG_ABI_VERSION, layout.ABI_VERSION, layout.ABI_VERSION);
  range(layout.CFG_MTU, 1280, 65535);
  const vnet = config(layout.CFG_VNET_BYTES);
  if (vnet != 0 && vnet != 10 && vnet != 12) fail(layout.CFG_VNET_BYTES);
  // Offloads are told through the vnet header, and super-packets need partial checksums.
  const offloads = config(layout.CFG_OFFLOADS);
  const segmentation = layout.OFFLOAD_TSO4 | layout.OFFLOAD_TSO6 | layout.OFFLOAD_USO;
  if ((offloads & ~(segmentation | layout.OFFLOAD_CSUM)) != 0) fail(layout.CFG_OFFLOADS);
  if (offloads != 0 && vnet == 0) fail(layout.CFG_OFFLOADS);
  if ((offloads & segmentation) != 0 && (offloads & layout.OFFLOAD_CSUM) == 0) {
    fail(layout.CFG_OFFLOADS);
  }
  range(layout.CFG_CONNECT_MODE, layout.CONNECT_FAITHFUL, layout.CONNECT_IMMEDIATE);
  range(layout.CFG_ECHO_MODE, layout.ECHO_LOCAL, layout.ECHO_DROP);
  range(layout.CFG_TTL, 1, 255);
  range(layout.CFG_DSCP, 0, layout.DSCP_COPY);
  range(layout.CFG_FLAGS, 0, 31);
  range(layout.CFG_RX_ENTRIES, 1, layout.RX_MAX);
}

function checkTcp(): void {
  range(layout.CFG_PENDING_MS, 1, FOREVER_MS);
  range(layout.CFG_SYN_ACK_RETRIES, 0, 100);
  range(layout.CFG_DELAYED_ACK_MS, 1, 500);
  range(layout.CFG_RTO_INITIAL_MS, 1, 600000);
  range(layout.CFG_RTO_MIN_MS, 1, 600000);
  range(layout.CFG_RTO_MAX_MS, config(layout.CFG_RTO_MIN_MS), 3600000);
  range(layout.CFG_DATA_RETRIES, 1, 100);
  range(layout.CFG_KEEPALIVE_IDLE_MS, 0, FOREVER_MS);
  range(layout.CFG_KEEPALIVE_INTERVAL_MS, 1, FOREVER_MS);
  range(layout.CFG_KEEPALIVE_COUNT, 1, 100);
  range(layout.CFG_TIME_WAIT_MS, 0, 3600000);
  range(layout.CFG_FIN_WAIT_2_MS, 1, FOREVER_MS);
  range(layout.CFG_IDLE_MS, 1, FOREVER_MS);
  range(layout.CFG_CONGESTION, layout.CONGESTION_NEWRENO, layout.CONGESTION_CUBIC);
  range(layout.CFG_RECV_BUFFER_BYTES, 2048, GIB);
  range(layout.CFG_RECV_BUFFER_MAX_BYTES, config(layout.CFG_RECV_BUFFER_BYTES), GIB);
  range(layout.CFG_SEND_BUFFER_BYTES, 2048, GIB);
  range(layout.CFG_SEND_BUFFER_MAX_BYTES, config(layout.CFG_SEND_BUFFER_BYTES), GIB);
}

function checkDatagrams(): void {
  range(layout.CFG_UDP_IDLE_MS, 1, FOREVER_MS);
  range(layout.CFG_UDP_ONE_WAY_MS, 1, FOREVER_MS);
  range(layout.CFG_UDP_DNS_ANSWERED_MS, 1, FOREVER_MS);
  range(layout.CFG_UDP_DNS_MS, 1, FOREVER_MS);
  range(layout.CFG_UDP_TIMEOUT_MS, 0, FOREVER_MS);
  range(layout.CFG_MAPPINGS_PER_CLIENT, 1, BILLION);
  range(layout.CFG_ICMP_RATE, 0, BILLION);
  range(layout.CFG_ICMP_BURST, 1, BILLION);
  range(layout.CFG_ECHO_RATE, 0, BILLION);
  range(layout.CFG_ECHO_BURST, 1, BILLION);
  range(layout.CFG_RST_RATE, 0, BILLION);
  range(layout.CFG_RST_BURST, 1, BILLION);
  range(layout.CFG_REASSEMBLY_MS_4, 1, FOREVER_MS);
  range(layout.CFG_REASSEMBLY_MS_6, 1, FOREVER_MS);
  range(layout.CFG_REASSEMBLY_DATAGRAMS, 1, 4096);
  range(layout.CFG_REASSEMBLY_FRAGMENTS, 2, 8192);
  range(layout.CFG_REASSEMBLY_BYTES, 65536, GIB);
}

function checkPools(): void {
  range(layout.CFG_BUFFER_CAP_BYTES, 524288, 2147483648);
  range(layout.CFG_FLOWS, 1, 200000);
  range(layout.CFG_HALF_OPEN, 1, 200000);
  range(layout.CFG_DIALS, 1, 200000);
  range(layout.CFG_TIME_WAITS, 1, 200000);
  range(layout.CFG_MAPPINGS, 1, 200000);
}
