/**
 * The validated configuration: what argv, URLs, YAML and JSON become before anything starts. Names
 * and nesting follow GOST's config file, so that its documents map one to one; metadata stays a map
 * with case-insensitive look-up (config/metadata.ts), because every component has its own keys.
 */

/** Where a value came from, for messages: `-F relay://…`, `gost.yml:12:5`, or OPTIONS_PLACE. */
export type Place = string;

import type { LogRotation } from "../log-file.ts";

export { OPTIONS_PLACE } from "../errors.ts";

export type MetadataValue =
  | string
  | number
  | boolean
  | null
  | readonly MetadataValue[]
  | { readonly [key: string]: MetadataValue };

/** Keys as written; look-ups ignore case. */
export type Metadata = Readonly<Record<string, MetadataValue>>;

export interface Auth {
  readonly username: string;
  readonly password: string;
  /** A file whose first line that is no comment is `user [password]`. */
  readonly file?: string;
  /** Name of a variable TSGOST_AUTH_… that holds `user[:password]`. */
  readonly env?: string;
}

export interface TlsConfig {
  readonly certFile?: string;
  readonly keyFile?: string;
  readonly caFile?: string;
  /** Client side: verify the server's certificate. */
  readonly secure?: boolean;
  readonly serverName?: string;
  /** Client side: `sha256/BASE64` of the server's public key. */
  readonly pin?: string;
  readonly options?: {
    readonly minVersion?: string;
    readonly maxVersion?: string;
    readonly cipherSuites?: readonly string[];
    readonly alpn?: readonly string[];
  };
  readonly rejectUnknownSNI?: boolean;
  readonly serverNames?: readonly string[];
  /** Of the certificate that is made where none is given (section `tls`). */
  readonly validityMs?: number;
  readonly commonName?: string;
  readonly organization?: string;
}

export interface ListenerConfig {
  readonly type: string;
  readonly chain?: string;
  readonly auth?: Auth;
  readonly tls?: TlsConfig;
  readonly metadata: Metadata;
}

/** Which requests a node takes, in GOST's older form; "" = any. */
export interface NodeFilter {
  readonly host: string;
  readonly protocol: string;
  readonly path: string;
}

/** Which requests a node or a chain takes: a rule such as "Host(`example.com`)". */
export interface NodeMatcher {
  readonly rule: string;
  /** 0 = by the length of the rule. */
  readonly priority: number;
}

/** Several chains of which one is chosen. */
export interface ChainGroupConfig {
  readonly chains: readonly { readonly chain: string; readonly rule?: string }[];
  readonly selector?: SelectorConfig;
}

export interface HandlerConfig {
  readonly type: string;
  readonly chain?: string;
  readonly chainGroup?: ChainGroupConfig;
  readonly retries?: number;
  readonly auth?: Auth;
  /** Names of `authers`; whom one of them accepts may use the service. */
  readonly authers?: readonly string[];
  /** The users of `auth`, beside the authers; absent = no authentication, empty = only authers'. */
  readonly auths?: readonly Auth[];
  readonly metadata: Metadata;
}

export interface ForwardNodeConfig {
  readonly name: string;
  readonly addr: string;
  /** "tcp" or "udp" instead of the listener's. */
  readonly network?: string;
  readonly bypasses?: readonly string[];
  readonly filter?: NodeFilter;
  readonly matcher?: NodeMatcher;
  readonly metadata?: Metadata;
}

export interface ForwarderConfig {
  readonly nodes: readonly ForwardNodeConfig[];
  /** A hop of `hops` that has the nodes. */
  readonly hop?: string;
  readonly selector?: SelectorConfig;
}

export interface SelectorConfig {
  readonly strategy: string;
  readonly maxFails: number;
  /** Milliseconds. */
  readonly failTimeoutMs: number;
}

export interface ServiceConfig {
  readonly name: string;
  /** host:port as written; a label only for tun, tap and tungo. */
  readonly addr: string;
  readonly listener: ListenerConfig;
  readonly handler: HandlerConfig;
  readonly forwarder?: ForwarderConfig;
  /** Names of `bypasses`. */
  readonly bypasses?: readonly string[];
  /** Names of `admissions`. */
  readonly admissions?: readonly string[];
  readonly resolver?: string;
  readonly hosts?: string;
  /** Names of `loggers`. */
  readonly loggers?: readonly string[];
  readonly metadata: Metadata;
  readonly place: Place;
}

export interface ConnectorConfig {
  readonly type: string;
  readonly auth?: Auth;
  readonly metadata: Metadata;
}

export interface DialerConfig {
  readonly type: string;
  readonly auth?: Auth;
  readonly tls?: TlsConfig;
  readonly metadata: Metadata;
}

export interface NodeConfig {
  readonly name: string;
  /** host:port. */
  readonly addr: string;
  readonly network?: string;
  readonly filter?: NodeFilter;
  readonly matcher?: NodeMatcher;
  readonly bypasses?: readonly string[];
  readonly resolver?: string;
  readonly hosts?: string;
  readonly connector: ConnectorConfig;
  readonly dialer: DialerConfig;
  readonly metadata: Metadata;
  readonly place: Place;
}

export interface HopConfig {
  readonly name: string;
  readonly nodes: readonly NodeConfig[];
  readonly selector?: SelectorConfig;
  readonly bypasses?: readonly string[];
  readonly resolver?: string;
  readonly hosts?: string;
  /** Where more nodes come from. */
  readonly source?: SourceConfig;
  /** `interface`, `so_mark` and what else the hop was given. */
  readonly metadata: Metadata;
  readonly place?: Place;
}

export interface ChainConfig {
  readonly name: string;
  readonly hops: readonly HopConfig[];
  readonly place?: Place;
}

export interface LogConfig {
  readonly level: "trace" | "debug" | "info" | "warn" | "error" | "fatal";
  readonly format: "json" | "text";
  readonly output: string;
  readonly rotation?: LogRotation;
}

/** Where more entries of a list come from, beside those in the configuration. */
export interface SourceConfig {
  readonly file?: { readonly path: string };
  readonly http?: { readonly url: string; readonly timeoutMs?: number };
  /** Read again after this many milliseconds; undefined or ≤ 0: only once. */
  readonly reloadMs?: number;
  readonly place: Place;
}

export interface AutherConfig {
  readonly name: string;
  readonly auths: readonly Auth[];
  readonly source: SourceConfig;
}

/** Rules of a bypass or an admission. */
export interface MatcherConfig {
  readonly name: string;
  readonly whitelist: boolean;
  readonly matchers: readonly string[];
  /** Only of bypasses; "" = any. */
  readonly network: string;
  readonly source: SourceConfig;
}

export interface NameserverConfig {
  /** `[udp|tcp|tls|dot|https]://host[:port][/path]`. */
  readonly addr: string;
  readonly chain?: string;
  readonly prefer?: string;
  readonly only?: string;
  readonly hostname?: string;
  readonly clientIP?: string;
  /** Milliseconds: > 0 fixed, < 0 no cache, undefined the answer's. */
  readonly ttlMs?: number;
  readonly timeoutMs?: number;
  readonly isAsync?: boolean;
}

export interface ResolverConfig {
  readonly name: string;
  readonly nameservers: readonly NameserverConfig[];
  readonly place: Place;
}

export interface HostsConfig {
  readonly name: string;
  readonly mappings: readonly {
    readonly ip: string;
    readonly hostname: string;
    readonly aliases: readonly string[];
  }[];
  readonly source: SourceConfig;
}

/** A table of routes between tunnels' clients. */
export interface RouterTableConfig {
  readonly name: string;
  readonly routes: readonly { readonly dst: string; readonly gateway: string }[];
  readonly source: SourceConfig;
}

export interface LoggerConfig {
  readonly name: string;
  readonly log: LogConfig;
}

/** The sections `api` and `metrics`. */
export interface EndpointConfig {
  readonly addr: string;
  readonly path?: string;
  readonly pathPrefix?: string;
  readonly accesslog?: boolean;
  readonly auth?: Auth;
  readonly auther?: string;
  readonly place: Place;
}

export interface Config {
  readonly services: readonly ServiceConfig[];
  readonly chains: readonly ChainConfig[];
  readonly authers: readonly AutherConfig[];
  readonly bypasses: readonly MatcherConfig[];
  readonly admissions: readonly MatcherConfig[];
  readonly resolvers: readonly ResolverConfig[];
  readonly hosts: readonly HostsConfig[];
  readonly routers: readonly RouterTableConfig[];
  readonly loggers: readonly LoggerConfig[];
  readonly api?: EndpointConfig;
  readonly metrics?: EndpointConfig;
  readonly log: LogConfig;
  /** Default server certificate. */
  readonly tls?: TlsConfig;
  /** Read everything again after so long (-R); undefined = only when told. */
  readonly reloadMs?: number;
  /** Whole sections that are read, printed by -O and not acted upon yet, by key. */
  readonly rest: Readonly<Record<string, MetadataValue>>;
}
