/**
 * Token buckets: what may go out in answer to packets that belong to no flow (RFC 4443 §2.4(f),
 * RFC 1812 §4.3.2.8). One bucket a kind and family.
 */
import {
  CFG_ECHO_BURST,
  CFG_ECHO_RATE,
  CFG_ICMP_BURST,
  CFG_ICMP_RATE,
  CFG_RST_BURST,
  CFG_RST_RATE,
} from "../layout";
import { now } from "./clock";
import { config } from "./config";

export const BUCKET_ICMP4: u32 = 0;
export const BUCKET_ICMP6: u32 = 1;
export const BUCKET_ECHO4: u32 = 2;
export const BUCKET_ECHO6: u32 = 3;
export const BUCKET_RST4: u32 = 4;
export const BUCKET_RST6: u32 = 5;
const BUCKET_COUNT: u32 = 6;

/** {tokens f64, time of the last fill f64} each. */
const buckets: usize = memory.data(96, 8);

/** Fills all buckets. */
export function initBuckets(): void {
  for (let id: u32 = 0; id < BUCKET_COUNT; id++) {
    store<f64>(buckets + ((<usize>id) << 4), <f64>config(burstWord(id)));
    store<f64>(buckets + ((<usize>id) << 4), now(), 8);
  }
}

/** Takes a token; false if there is none. A rate of 0 allows nothing. */
export function takeToken(id: u32): bool {
  const rate = <f64>config(rateWord(id));
  if (rate == 0) return false;
  const ptr = buckets + ((<usize>id) << 4);
  const earned = ((now() - load<f64>(ptr, 8)) * rate) / 1000000.0;
  const tokens = Math.min(load<f64>(ptr) + earned, <f64>config(burstWord(id)));
  store<f64>(ptr, now(), 8);
  if (tokens < 1) {
    store<f64>(ptr, tokens);
    return false;
  }
  store<f64>(ptr, tokens - 1);
  return true;
}

function rateWord(id: u32): u32 {
  if (id < BUCKET_ECHO4) return CFG_ICMP_RATE;
  return id < BUCKET_RST4 ? CFG_ECHO_RATE : CFG_RST_RATE;
}

function burstWord(id: u32): u32 {
  if (id < BUCKET_ECHO4) return CFG_ICMP_BURST;
  return id < BUCKET_RST4 ? CFG_ECHO_BURST : CFG_RST_BURST;
}
