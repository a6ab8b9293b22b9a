/** Servers, targets and chains on loopback, for the tests of chain and serve. */
import { type AddressInfo, type Server, type Socket, createServer } from "node:net";
import { type HopChain, buildChain } from "../../src/chain/chain.ts";
import { ChainGroup, Member } from "../../src/chain/group.ts";
import { ServiceRouter } from "../../src/chain/router.ts";
import type { UpStream } from "../../src/chain/types.ts";
import type {
  Config,
  ListenerConfig,
  Metadata,
  NodeConfig,
  ServiceConfig,
  TlsConfig,
} from "../../src/config/model.ts";
import { type Logger, createLogger } from "../../src/log.ts";
import { authenticatorOf } from "../../src/serve/auth.ts";
import { type RunningServer, startServer } from "../../src/serve/server.ts";
import type { Authenticator, Bypass, Names } from "../../src/types.ts";
import { generateCertificate } from "../../src/serve/cert.ts";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export const quiet: Logger = createLogger({ level: "error", format: "text", output: "none" });

/** A logger that keeps what was logged. */
export class MemoryLog implements Logger {
  readonly lines: string[] = [];
  #seen = new Set<string>();

  trace(): void {}
  debug(message: string): void {
    this.lines.push(`debug ${message}`);
  }
  info(message: string): void {
    this.lines.push(`info ${message}`);
  }
  warn(message: string): void {
    this.lines.push(`warn ${message}`);
  }
  error(message: string): void {
    this.lines.push(`error ${message}`);
  }
  fatal(message: string): void {
    this.lines.push(`fatal ${message}`);
  }
  enabled(): boolean {
    return true;
  }
  child(): Logger {
    return this;
  }
  once(key: string, _perMs: number, entry: { level?: string; message: string }): void {
    if (this.#seen.has(key)) return;
    this.#seen.add(key);
    this.lines.push(`${entry.level ?? "warn"} ${entry.message}`);
  }
  find(pattern: RegExp): string[] {
    return this.lines.filter((line) => pattern.test(line));
  }
}

/** A certificate in files of its own, so that no test touches ~/.gost. */
export class CertFiles {
  readonly folder = mkdtempSync(join(tmpdir(), "tsgost-cert-"));
  readonly certFile = join(this.folder, "cert.pem");
  readonly keyFile = join(this.folder, "key.pem");

  constructor() {
    const { cert, key } = generateCertificate();
    writeFileSync(this.certFile, cert);
    writeFileSync(this.keyFile, key);
  }

  get tls(): TlsConfig {
    return { certFile: this.certFile, keyFile: this.keyFile };
  }

  remove(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}

export interface ServiceParts {
  readonly addr?: string;
  readonly listener?: string;
  readonly listenerMetadata?: Metadata;
  readonly tls?: TlsConfig;
  readonly auth?: { username: string; password: string; file?: string };
  readonly metadata?: Metadata;
  readonly chain?: string;
  readonly forward?: readonly string[];
  /** The handler's type; default relay. */
  readonly handler?: string;
}

export function serviceOf(parts: ServiceParts): ServiceConfig {
  const listener: ListenerConfig = {
    type: parts.listener ?? "tcp",
    metadata: parts.listenerMetadata ?? {},
    ...(parts.tls === undefined ? {} : { tls: parts.tls }),
  };
  const nodes = (parts.forward ?? []).map((addr, index) => ({ name: `target-${index}`, addr }));
  return {
    name: "service-0",
    addr: parts.addr ?? "127.0.0.1:0",
    listener,
    handler: {
      type: parts.handler ?? "relay",
      metadata: parts.metadata ?? {},
      ...(parts.auth === undefined ? {} : { auth: parts.auth }),
      ...(parts.chain === undefined ? {} : { chain: parts.chain }),
    },
    ...(nodes.length === 0 ? {} : { forwarder: { nodes } }),
    metadata: {},
    place: "-L",
  };
}

export const emptyConfig: Config = {
  services: [],
  chains: [],
  authers: [],
  bypasses: [],
  admissions: [],
  resolvers: [],
  hosts: [],
  routers: [],
  loggers: [],
  log: { level: "error", format: "text", output: "none" },
  rest: {},
};

export interface StartParts extends ServiceParts {
  readonly log?: Logger;
  readonly refuses?: (network: "tcp" | "udp", host: string, port: number) => boolean;
  /** What `chain` leads to. */
  readonly through?: HopChain;
  readonly names?: Names;
}

/** A bypass of one rule. */
export function bypassOf(refuses: StartParts["refuses"]): Bypass | undefined {
  if (refuses === undefined) return undefined;
  const hit = { bypass: "bypass-0", rule: "rule" };
  return { match: (...target) => (refuses(...target) ? hit : undefined) };
}

/** The authenticator of `auth`. */
export function authenticatorFor(service: ServiceConfig): Authenticator | undefined {
  return authenticatorOf(service, [], { log: quiet });
}

export async function startRelay(parts: StartParts): Promise<RunningServer> {
  const service = serviceOf({ ...parts, ...(parts.through === undefined ? {} : { chain: "up" }) });
  const { log = quiet, through, names } = parts;
  return startServer(service, emptyConfig, {
    log,
    signal: new AbortController().signal,
    authenticator: authenticatorFor(service),
    router: new ServiceRouter({
      log,
      dialTimeoutMs: 15_000,
      local: {},
      bypass: bypassOf(parts.refuses),
      names,
      chains: through === undefined ? undefined : new ChainGroup([new Member(through)]),
    }),
  });
}

export interface NodeParts {
  readonly addr: string;
  readonly dialer?: string;
  readonly connector?: string;
  readonly auth?: { username: string; password: string };
  readonly tls?: TlsConfig;
  readonly connectorMetadata?: Metadata;
  readonly dialerMetadata?: Metadata;
  readonly metadata?: Metadata;
}

export function nodeOf(parts: NodeParts, name = "node-0"): NodeConfig {
  return {
    name,
    addr: parts.addr,
    connector: {
      type: parts.connector ?? "relay",
      metadata: parts.connectorMetadata ?? {},
      ...(parts.auth === undefined ? {} : { auth: parts.auth }),
    },
    dialer: {
      type: parts.dialer ?? "tcp",
      metadata: parts.dialerMetadata ?? {},
      ...(parts.tls === undefined ? {} : { tls: parts.tls }),
    },
    metadata: parts.metadata ?? {},
    place: "-F",
  };
}

/** A chain of one node a hop. */
export function chainOf(nodes: readonly NodeParts[], log: Logger = quiet): HopChain {
  const hops = nodes.map((parts, index) => ({
    name: `hop-${index}`,
    nodes: [nodeOf(parts, `node-${index}`)],
    metadata: {},
  }));
  return buildChain({ name: "chain-0", hops }, { log });
}

export function portOf(address: string): number {
  return Number(address.slice(address.lastIndexOf(":") + 1));
}

/** A TCP target on 127.0.0.1 and what became of its connections. */
export class Target {
  readonly server: Server;
  readonly sockets: Socket[] = [];
  readonly events: string[] = [];

  constructor(onSocket: (socket: Socket, target: Target) => void) {
    this.server = createServer({ allowHalfOpen: true }, (socket) => {
      this.sockets.push(socket);
      socket.on("error", (error: NodeJS.ErrnoException) => {
        this.events.push(error.code ?? "error");
      });
      socket.on("close", () => this.events.push("close"));
      onSocket(socket, this);
    });
  }

  async listen(host = "127.0.0.1"): Promise<number> {
    await new Promise<void>((resolve) => this.server.listen(0, host, resolve));
    return (this.server.address() as AddressInfo).port;
  }

  close(): void {
    for (const socket of this.sockets) socket.destroy();
    this.server.close();
  }
}

/** Echoes, and ends when the other side ends. */
export function echoTarget(): Target {
  return new Target((socket) => socket.pipe(socket));
}

/** Collects what a stream delivers. */
export class Reader {
  readonly chunks: Buffer[] = [];
  bytes = 0;
  ended = false;
  closed = false;
  error: Error | undefined;
  #wake: (() => void)[] = [];
  readonly stream: UpStream;

  constructor(stream: UpStream) {
    this.stream = stream;
    stream.attach({
      data: (chunk) => {
        this.chunks.push(Buffer.from(chunk));
        this.bytes += chunk.length;
        this.#wakeAll();
      },
      end: () => {
        this.ended = true;
        this.#wakeAll();
      },
      close: (error) => {
        this.closed = true;
        this.error = error;
        this.#wakeAll();
      },
    });
    stream.resume();
  }

  get text(): string {
    return Buffer.concat(this.chunks).toString("latin1");
  }

  #wakeAll(): void {
    for (const wake of this.#wake.splice(0)) wake();
  }

  /** Resolves when `condition` holds; rejects after `limitMs`. */
  async until(condition: (reader: Reader) => boolean, limitMs = 5000): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      const error = new Error("the stream did not get there in time");
      timer = setTimeout(() => reject(error), limitMs);
    });
    while (!condition(this)) {
      await Promise.race([new Promise<void>((resolve) => this.#wake.push(resolve)), late]);
    }
    clearTimeout(timer);
  }
}

export function send(stream: UpStream, data: string | Uint8Array): Promise<void> {
  const bytes = typeof data === "string" ? Buffer.from(data, "latin1") : data;
  return new Promise<void>((resolve, reject) => {
    stream.write([bytes], (error) => (error === undefined ? resolve() : reject(error)));
  });
}

export function dialContext(): { signal: AbortSignal } {
  return { signal: new AbortController().signal };
}

export function pauseMs(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Waits for something that is not a stream. */
export async function eventually(condition: () => boolean, limitMs = 5000): Promise<void> {
  const endMs = performance.now() + limitMs;
  while (!condition()) {
    if (performance.now() > endMs) throw new Error("it did not become true in time");
    await pauseMs(5);
  }
}
