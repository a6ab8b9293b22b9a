/**
 * Counters (f64, only grow, read by the host) and gauges (u32, present values).
 */
import { GAUGES_BASE, STATS_BASE } from "../layout";

/** Adds one to counter `stat` (STAT_… or DROP_…). */
export function count(stat: u32): void {
  add(stat, 1);
}

/** Adds `n` to counter `stat`. */
export function add(stat: u32, n: f64): void {
  const ptr = STATS_BASE + ((<usize>stat) << 3);
  store<f64>(ptr, load<f64>(ptr) + n);
}

/** Present value of gauge `index` (GAUGE_…). */
export function gauge(index: u32): u32 {
  return load<u32>(GAUGES_BASE + ((<usize>index) << 2));
}

/** Sets gauge `index`. */
export function setGauge(index: u32, value: u32): void {
  store<u32>(GAUGES_BASE + ((<usize>index) << 2), value);
}
