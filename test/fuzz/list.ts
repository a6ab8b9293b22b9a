/** All fuzz targets, by name. */
import type { Target } from "./target.ts";
import { bypass } from "./targets/bypass.ts";
import { core } from "./targets/core.ts";
import { config, url } from "./targets/config.ts";
import { dns } from "./targets/dns.ts";
import { http1 } from "./targets/http1.ts";
import { netlink, tlsHello } from "./targets/netlink.ts";
import { relay } from "./targets/relay.ts";
import { muxSession, wsStream, wsUpgrade } from "./targets/session.ts";
import { smux } from "./targets/smux.ts";
import { socks } from "./targets/socks5.ts";
import { ws } from "./targets/ws.ts";

export const TARGETS: readonly Target[] = [
  relay,
  socks,
  ws,
  wsStream,
  wsUpgrade,
  smux,
  muxSession,
  http1,
  dns,
  tlsHello,
  netlink,
  bypass,
  url,
  config,
  core,
];
