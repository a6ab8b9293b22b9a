/** The `mux.…` keys of dialers, listeners, connectors, handlers: smux's defaults and rules. */
import { metaBool, metaDurationMs, metaHas, metaInt, metaString } from "../config/metadata.ts";
import type { Metadata, Place } from "../config/model.ts";
import { configError } from "../errors.ts";
import { PAYLOAD_BYTES_MAX, type SmuxVersion } from "../proto/smux.ts";

export interface MuxSettings {
  readonly version: SmuxVersion;
  /** A NOP every so often; 0 = none, and silence of the peer is no fault. */
  readonly keepaliveMs: number;
  /** The session ends if nothing came for a whole period of this. */
  readonly timeoutMs: number;
  /** Largest payload that is sent in one frame. */
  readonly frameBytes: number;
  /** Unread bytes of all streams together, before the session is not read any more. */
  readonly receiveBytes: number;
  /** Version 2: what a peer may send of a stream beyond what was read of it. */
  readonly streamBytes: number;
  /** Streams of a session at a time, of both sides together. */
  readonly streamsMax: number;
}

export const MUX_DEFAULTS: MuxSettings = {
  version: 1,
  keepaliveMs: 10_000,
  timeoutMs: 30_000,
  frameBytes: 32_768,
  receiveBytes: 4 * 1024 * 1024,
  streamBytes: 65_536,
  streamsMax: 8192,
};

const STREAMS_MAX = 1_000_000;
const BUFFER_BYTES_MAX = 1024 * 1024 * 1024;

/** Throws a configuration error for what smux could not work with. */
export function muxSettings(metadata: Metadata, place: Place): MuxSettings {
  const type = metaString(metadata, "mux.type", "smux");
  if (type.toLowerCase() !== "smux" && type !== "") {
    throw configError(place, `mux.type: "${type}" is not supported (there is smux)`);
  }
  const sizes = (key: string, fallback: number, max: number): number => {
    const name = `mux.${key}`;
    const value = metaInt(metadata, name, metaHas(metadata, name) ? -1 : fallback);
    // Zero is GOST's "not given".
    if (value === 0) return fallback;
    if (value > 0 && value <= max) return value;
    throw configError(place, `${name}: not a number from 1 to ${max}`);
  };
  const times = (key: string, fallback: number): number => {
    const name = `mux.${key}`;
    const value = metaDurationMs(metadata, name, metaHas(metadata, name) ? -1 : fallback);
    if (value === 0) return fallback;
    if (value > 0) return Math.max(1, value);
    throw configError(place, `${name}: not a duration such as 10s`);
  };
  const version = sizes("version", MUX_DEFAULTS.version, 2) === 2 ? 2 : 1;
  const keepaliveMs = times("keepaliveInterval", MUX_DEFAULTS.keepaliveMs);
  const timeoutMs = times("keepaliveTimeout", Math.max(MUX_DEFAULTS.timeoutMs, keepaliveMs));
  const isOff = metaBool(metadata, "mux.keepaliveDisabled", false);
  if (!isOff && timeoutMs < keepaliveMs) {
    throw configError(place, "mux.keepaliveTimeout is shorter than mux.keepaliveInterval");
  }
  const receiveBytes = sizes("maxReceiveBuffer", MUX_DEFAULTS.receiveBytes, BUFFER_BYTES_MAX);
  const streamBytes = sizes("maxStreamBuffer", MUX_DEFAULTS.streamBytes, BUFFER_BYTES_MAX);
  if (streamBytes > receiveBytes) {
    throw configError(place, "mux.maxStreamBuffer is larger than mux.maxReceiveBuffer");
  }
  const frameBytes = sizes("maxFrameSize", MUX_DEFAULTS.frameBytes, PAYLOAD_BYTES_MAX);
  return {
    version,
    keepaliveMs: isOff ? 0 : keepaliveMs,
    timeoutMs,
    frameBytes,
    receiveBytes,
    streamBytes,
    streamsMax: sizes("maxStreams", MUX_DEFAULTS.streamsMax, STREAMS_MAX),
  };
}
