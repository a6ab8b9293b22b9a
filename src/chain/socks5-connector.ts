/** The connector `socks5`: streams by CONNECT, datagrams by GOST's tunnel or UDP ASSOCIATE. */
import { openSocks5Datagrams } from "./socks5-datagrams.ts";
import { prepareSocks5, socks5Connect } from "./socks5.ts";
import type { Connector } from "./types.ts";

export const socks5Connector: Connector = {
  scheme: "socks5",
  prepare: prepareSocks5,
  connect: socks5Connect,
  datagrams: openSocks5Datagrams,
};
