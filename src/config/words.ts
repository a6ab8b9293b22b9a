/**
 * The scheme words of GOST's URLs and the types of its files: which exist, and which of them this
 * program can run. What GOST knows and we don't is read and printed, and refused at start.
 */

export const HANDLER_WORDS = words(
  "auto api dns file forward ftp http http2 http3 icmp masque metrics red redir redirect redu",
  "redirect tproxy relay router rtcp rudp serial sni socks socks4 socks4a socks5 ss ssh sshd ssu",
  "stdio tap tcp tun tungo tunnel udp unix",
);

export const LISTENER_WORDS = words(
  "tcp dns dtls ftcp grpc h2 h2c h3 http2 http3 icmp icmp6 kcp masque mtcp mtls mws mwss",
  "obfs-http obfs-tls ohttp otls phts pht quic red redir redirect redu rtcp rudp runix serial ssh",
  "sshd stdio tap tls tproxy tun tungo udp unix ws wss wt",
);

export const CONNECTOR_WORDS = words(
  "http direct virtual forward http2 icmp masque relay router serial sni socks socks4 socks4a",
  "socks5 ss sshd ssu tcp tunnel unix",
);

export const DIALER_WORDS = words(
  "tcp direct virtual dtls ftcp grpc h2 h2c h3 http2 http3 icmp icmp6 kcp masque mtcp mtls mws mwss",
  "obfs-http obfs-tls ohttp otls pht phts quic serial ssh sshd tls udp unix ws wss wt",
);

/** GOST's second names of types. */
export const TYPE_ALIASES: Readonly<Record<string, string>> = {
  socks: "socks5",
  virtual: "direct",
};

/** What selects a node of a hop, with GOST's aliases. */
export const STRATEGY_WORDS = words("round rr random rand fifo ha hash");

/** Strategies of GOST that are read and refused at start. */
export const STRATEGY_WORDS_GOST = words("parallel lowestlatency lowest ll");

/** What can be started. */
export const HANDLERS_BUILT = words("tungo relay socks5 http auto tcp udp forward");
export const LISTENERS_BUILT = words("tungo tcp tls ws wss mtls mws mwss udp");
export const CONNECTORS_BUILT = words("relay socks5 http forward tcp direct");
export const DIALERS_BUILT = words("tcp tls ws wss mtls mws mwss udp");
/** Connectors that hand out the node's own connection: the only ones for the dialer udp. */
export const CONNECTORS_OF_UDP = words("forward tcp");

/** Listeners whose address is only a label: no socket is opened on it. */
export const DEVICE_LISTENERS = words("tun tap tungo");

/** Listeners that reach their peers through the chain: they have it, not the handler. */
export const CHAIN_LISTENERS = words("rtcp rudp runix");

/** Listeners that force the handler to their own name when a target is given. */
export const FORWARD_LISTENERS = words("tcp udp rtcp rudp tun tap dns unix runix serial");

function words(...lines: readonly string[]): ReadonlySet<string> {
  return new Set(lines.flatMap((line) => line.split(" ")));
}
