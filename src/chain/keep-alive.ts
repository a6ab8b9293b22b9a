/**
 * TCP keep-alive as the keys `keepalive`, `keepalive.idle`, `keepalive.interval` and
 * `keepalive.count` say it; where nothing is said, the connection keeps what it was made with. Node
 * can set the idle time only, so the addon sets all of it.
 */
import type { Socket } from "node:net";
import { metaBool, metaDurationMs, metaHas, metaInt } from "../config/metadata.ts";
import type { Metadata } from "../config/model.ts";
import { loadNative } from "../sys/addon.ts";
import { SocketStream } from "./socket-stream.ts";
import type { Transport } from "./types.ts";

/** Go's defaults. */
const IDLE_MS = 15_000;
const INTERVAL_MS = 15_000;
const COUNT = 9;
const COUNT_MAX = 127;
const SECONDS_MAX = 32_767;

interface WithHandle {
  readonly _handle?: { readonly fd?: number } | null;
}

function secondsOf(ms: number): number {
  return Math.min(SECONDS_MAX, Math.max(1, Math.round(ms / 1000)));
}

/** Sets a connected socket as the keys say; `prefix` goes before each key. */
export function keepAlive(socket: Socket, metadata: Metadata, prefix = ""): void {
  const key = (name: string): string => `${prefix}keepalive${name}`;
  const has = ["", ".idle", ".interval", ".count"].some((name) => metaHas(metadata, key(name)));
  if (!has) return;
  if (!metaBool(metadata, key(""), true)) {
    socket.setKeepAlive(false);
    return;
  }
  const idleMs = metaDurationMs(metadata, key(".idle"), IDLE_MS);
  const intervalMs = metaDurationMs(metadata, key(".interval"), INTERVAL_MS);
  const count = metaInt(metadata, key(".count"), COUNT);
  const idle = secondsOf(idleMs > 0 ? idleMs : IDLE_MS);
  socket.setKeepAlive(true, idle * 1000);
  // A test holds Node to the handle's descriptor.
  const fd = (socket as WithHandle)._handle?.fd;
  if (fd === undefined || fd < 0) return;
  const interval = secondsOf(intervalMs > 0 ? intervalMs : INTERVAL_MS);
  const probes = count > 0 ? Math.min(COUNT_MAX, count) : COUNT;
  try {
    loadNative().setKeepAlive(fd, idle, interval, probes);
  } catch {
    // Without the addon, or with a connection that just broke: Node's own setting stands.
  }
}

/** The same for a transport, if it is a TCP connection of ours. */
export function keepAliveOf(raw: Transport, metadata: Metadata, prefix = ""): void {
  const tcp = raw instanceof SocketStream ? raw.below.tcp : undefined;
  if (tcp !== undefined) keepAlive(tcp, metadata, prefix);
}
