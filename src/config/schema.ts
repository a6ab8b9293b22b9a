/**
 * The shape of GOST's config file: the one statement of its key names, kinds and order, from which
 * files are normalised and -O is printed. Metadata is free and has its own tables (keys.ts).
 */

export type Field =
  | { readonly kind: "string"; readonly secret?: boolean }
  | { readonly kind: "int" | "bool" | "any" | "metadata" }
  /** Milliseconds once normalised; bare numbers are seconds (GOST: nanoseconds). */
  | { readonly kind: "duration" }
  | { readonly kind: "list"; readonly of: Field }
  /** `short`: the key whose value may stand for the whole object. */
  | { readonly kind: "object"; readonly fields: Fields; readonly short?: string };

export interface Fields {
  readonly [key: string]: Field;
}

const text: Field = { kind: "string" };
const secret: Field = { kind: "string", secret: true };
const int: Field = { kind: "int" };
const bool: Field = { kind: "bool" };
const duration: Field = { kind: "duration" };
const any: Field = { kind: "any" };
const metadata: Field = { kind: "metadata" };
const texts: Field = { kind: "list", of: text };

function list(of: Field): Field {
  return { kind: "list", of };
}

function object(fields: Fields): Field {
  return { kind: "object", fields };
}

const auth = object({ username: text, password: secret, file: text, env: text });
const tlsOptions = object({
  minVersion: text,
  maxVersion: text,
  cipherSuites: texts,
  alpn: texts,
});
const nodeTls = object({ serverName: text, secure: bool, options: tlsOptions });
const plugin = object({ type: text, addr: text, tls: any, token: secret, timeout: duration });
const file = object({ path: text });
const redis = object({
  addr: text,
  db: int,
  username: text,
  password: secret,
  key: text,
  type: text,
});
const http = object({ url: text, timeout: duration });
const loaders = { reload: duration, file, redis, http, plugin };

const serverTls = object({
  validity: duration,
  commonName: text,
  organization: text,
  certFile: text,
  keyFile: text,
  caFile: text,
  secure: bool,
  serverName: text,
  options: tlsOptions,
  rejectUnknownSNI: bool,
  serverNames: texts,
});
const clientTls = object({
  certFile: text,
  keyFile: text,
  caFile: text,
  secure: bool,
  serverName: text,
  pin: text,
  options: tlsOptions,
});

const selector = object({
  strategy: text,
  maxFails: int,
  failTimeout: duration,
  maxLatency: duration,
});
const filter = object({ host: text, protocol: text, path: text });
const matcher = object({ rule: text, priority: int, bodySize: int });
const groupedChain: Field = {
  kind: "object",
  fields: { chain: text, matcher, probe: any },
  short: "chain",
};
const chainGroup = object({ chains: list(groupedChain), selector });
const sockopts = object({ mark: int });

const handler = object({
  type: text,
  retries: int,
  chain: text,
  chainGroup,
  auther: text,
  authers: texts,
  auth,
  tls: serverTls,
  limiter: text,
  observer: text,
  metadata,
});
const listener = object({
  type: text,
  chain: text,
  chainGroup,
  auther: text,
  authers: texts,
  auth,
  tls: serverTls,
  metadata,
});
const connector = object({ type: text, auth, tls: clientTls, metadata });
const dialer = connector;

const nodeHttp = object({
  host: text,
  header: metadata,
  requestHeader: metadata,
  responseHeader: metadata,
  auth,
  rewriteURL: any,
  rewriteRequestBody: any,
  rewriteResponseBody: any,
  rewrite: any,
  rewriteBody: any,
});

const forwardNode = object({
  name: text,
  addr: text,
  network: text,
  bypass: text,
  bypasses: texts,
  protocol: text,
  host: text,
  path: text,
  filter,
  matcher,
  auth,
  http: nodeHttp,
  tls: nodeTls,
  probe: any,
  metadata,
});

const node = object({
  name: text,
  addr: text,
  network: text,
  bypass: text,
  bypasses: texts,
  resolver: text,
  hosts: text,
  connector,
  dialer,
  interface: text,
  netns: text,
  sockopts,
  filter,
  matcher,
  http: nodeHttp,
  tls: nodeTls,
  probe: any,
  metadata,
});

export const HOP_FIELDS: Fields = {
  name: text,
  interface: text,
  sockopts,
  selector,
  bypass: text,
  bypasses: texts,
  resolver: text,
  hosts: text,
  nodes: list(node),
  reload: duration,
  file,
  redis,
  http,
  plugin,
  metadata,
};
const hop = object(HOP_FIELDS);

const service = object({
  name: text,
  addr: text,
  interface: text,
  sockopts,
  admission: text,
  admissions: texts,
  bypass: text,
  bypasses: texts,
  resolver: text,
  hosts: text,
  limiter: text,
  climiter: text,
  rlimiter: text,
  logger: text,
  loggers: texts,
  observer: text,
  recorders: list(object({ name: text, record: text, metadata })),
  handler,
  listener,
  forwarder: object({ name: text, hop: text, hopGroup: any, selector, nodes: list(forwardNode) }),
  metadata,
  status: any,
});

const matchers = { name: text, reverse: bool, whitelist: bool, matchers: texts, ...loaders };
const limits = { name: text, limits: texts, ...loaders };
const rotation = object({
  maxSize: int,
  maxAge: int,
  maxBackups: int,
  localTime: bool,
  compress: bool,
});
const log = object({
  output: text,
  level: text,
  format: text,
  rotation,
});

/** The whole document, keys in the order of printing. */
export const DOCUMENT_FIELDS: Fields = {
  services: list(service),
  chains: list(object({ name: text, hops: list(hop), metadata })),
  hops: list(hop),
  authers: list(
    object({
      name: text,
      auths: list(object({ username: text, password: secret })),
      ...loaders,
    }),
  ),
  admissions: list(object(matchers)),
  bypasses: list(object({ ...matchers, network: text })),
  resolvers: list(
    object({
      name: text,
      nameservers: list(
        object({
          addr: text,
          chain: text,
          prefer: text,
          only: text,
          clientIP: text,
          hostname: text,
          ttl: duration,
          timeout: duration,
          async: bool,
        }),
      ),
      plugin,
    }),
  ),
  hosts: list(
    object({
      name: text,
      mappings: list(object({ ip: text, hostname: text, aliases: texts })),
      ...loaders,
    }),
  ),
  ingresses: list(
    object({ name: text, rules: list(object({ hostname: text, endpoint: text })), ...loaders }),
  ),
  routers: list(
    object({
      name: text,
      routes: list(object({ net: text, dst: text, gateway: text })),
      ...loaders,
    }),
  ),
  sds: list(object({ name: text, plugin })),
  recorders: list(
    object({
      name: text,
      file: object({ path: text, sep: text, rotation }),
      tcp: object({ addr: text, timeout: duration }),
      http: object({ url: text, timeout: duration, header: metadata }),
      redis,
      plugin,
    }),
  ),
  caches: list(any),
  quotas: list(any),
  limiters: list(object(limits)),
  climiters: list(object(limits)),
  rlimiters: list(object(limits)),
  observers: list(object({ name: text, plugin })),
  loggers: list(object({ name: text, log })),
  tls: serverTls,
  log,
  profiling: object({ addr: text }),
  api: object({ addr: text, pathPrefix: text, accesslog: bool, auth, auther: text }),
  metrics: object({ addr: text, path: text, auth, auther: text }),
};
