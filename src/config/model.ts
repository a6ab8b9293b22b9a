/**
 * The validated configuration: what argv, URLs, YAML and JSON become before anything starts. Names
 * and nesting follow GOST's config file, so that its documents map one to one; metadata stays a map
 * with case-insensitive look-up (config/metadata.ts), because every component has its own keys.
 */

/** Where a value came from, for messages: `-F relay://…`, `gost.yml:12:5`, or OPTIONS_PLACE. */
export type Place = string;

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
}

export interface ListenerConfig {
  readonly type: string;
  readonly chain?: string;
  readonly auth?: Auth;
  readonly tls?: TlsConfig;
  readonly metadata: Metadata;
}

export interface HandlerConfig {
  readonly type: string;
  readonly chain?: string;
  readonly retries?: number;
  readonly auth?: Auth;
  readonly auther?: string;
  /** `auth` and all of the authers together; absent = everybody may, empty = nobody. */
  readonly auths?: readonly Auth[];
  readonly metadata: Metadata;
}

export interface ForwarderConfig {
  readonly nodes: readonly { readonly name: string; readonly addr: string }[];
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
  readonly bypass?: string;
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
  readonly bypass?: string;
  readonly connector: ConnectorConfig;
  readonly dialer: DialerConfig;
  readonly metadata: Metadata;
  readonly place: Place;
}

export interface HopConfig {
  readonly name: string;
  readonly nodes: readonly NodeConfig[];
  readonly selector?: SelectorConfig;
  readonly bypass?: string;
  /** `interface`, `so_mark` and what else the hop was given. */
  readonly metadata: Metadata;
}

export interface ChainConfig {
  readonly name: string;
  readonly hops: readonly HopConfig[];
}

export interface LogConfig {
  readonly level: "trace" | "debug" | "info" | "warn" | "error" | "fatal";
  readonly format: "json" | "text";
  readonly output: string;
}

export interface AutherConfig {
  readonly name: string;
  readonly auths: readonly Auth[];
}

export interface Config {
  readonly services: readonly ServiceConfig[];
  readonly chains: readonly ChainConfig[];
  readonly authers: readonly AutherConfig[];
  readonly log: LogConfig;
  /** Default server certificate. */
  readonly tls?: TlsConfig;
  /** Whole sections that are read, printed by -O and not acted upon yet, by key. */
  readonly rest: Readonly<Record<string, MetadataValue>>;
}
