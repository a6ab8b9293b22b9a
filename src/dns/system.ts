/**
 * The system's names, asked for by sockets of our own: what getaddrinfo does with /etc/hosts and
 * /etc/resolv.conf, but bound to the device and mark of what is served, and never through a device
 * of ours. For whoever sends all traffic into a TUN and still must resolve names beside it.
 *
 * Both files are looked at again when they change. Left out: other sources of nsswitch.conf (mDNS,
 * LDAP). Without device, mark and loop check nothing needs this; getaddrinfo knows more.
 */
import { readFile, stat } from "node:fs/promises";
import { isIP } from "node:net";
import { codeOf, messageOf } from "../errors.ts";
import type { Logger } from "../log.ts";
import type { Names } from "../types.ts";
import { parseNameserver } from "./address.ts";
import { DnsCache } from "./cache.ts";
import { HostsTable, addHostsText } from "./hosts.ts";
import { lookUp, normalName } from "./lookup.ts";
import { Nameserver } from "./nameserver.ts";
import { dnsError } from "./query.ts";
import { type LocalEnds, directReach } from "./reach.ts";
import { type ResolvConf, candidates, parseResolvConf } from "./resolv-conf.ts";

export interface SystemDeps {
  readonly log: Logger;
  readonly ends: LocalEnds;
  readonly nowMs?: () => number;
  /** Other files than /etc/resolv.conf and /etc/hosts. */
  readonly resolvConfFile?: string;
  readonly hostsFile?: string;
  /** Other than 53. */
  readonly port?: number;
}

export interface SystemNames extends Names {
  close(): void;
}

/** Answers for every name (undefined only for addresses); throws NOT_FOUND, FAILED or NAME. */
export function systemNames(deps: SystemDeps): SystemNames {
  return new StubResolver(deps);
}

const CHECK_EVERY_MS = 2000;
const FILE_BYTES_MAX = 16 * 1024 * 1024;
const LOOPBACK = ["127.0.0.1", "::1"] as const;

/** A file of the system and what was made of it. */
class Watched<T> {
  readonly #path: string;
  readonly #nowMs: () => number;
  readonly #parse: (text: Buffer) => T;
  #value: T;
  #stamp = "";
  #checkMs = -Infinity;

  constructor(path: string, nowMs: () => number, empty: T, parse: (bytes: Buffer) => T) {
    this.#path = path;
    this.#nowMs = nowMs;
    this.#value = empty;
    this.#parse = parse;
  }

  /** A file that is missing or cannot be read leaves what was known. */
  async get(log: Logger): Promise<T> {
    if (this.#nowMs() - this.#checkMs < CHECK_EVERY_MS) return this.#value;
    this.#checkMs = this.#nowMs();
    try {
      const { mtimeMs, size, ino } = await stat(this.#path);
      const stamp = `${mtimeMs} ${size} ${ino}`;
      if (stamp === this.#stamp || size > FILE_BYTES_MAX) return this.#value;
      const bytes = await readFile(this.#path);
      this.#value = this.#parse(bytes);
      this.#stamp = stamp;
    } catch (error) {
      if (codeOf(error) !== "ENOENT") {
        log.once(`system names ${this.#path}`, 60_000, { message: messageOf(error) });
      }
    }
    return this.#value;
  }
}

class StubResolver implements SystemNames {
  readonly #deps: SystemDeps;
  readonly #nowMs: () => number;
  readonly #hosts: Watched<HostsTable>;
  readonly #conf: Watched<ResolvConf>;
  #usedConf: ResolvConf | undefined;
  #servers: readonly Nameserver[] = [];
  #turn = 0;

  constructor(deps: SystemDeps) {
    this.#deps = deps;
    this.#nowMs = deps.nowMs ?? (() => performance.now());
    const { hostsFile = "/etc/hosts", resolvConfFile = "/etc/resolv.conf" } = deps;
    this.#hosts = new Watched(hostsFile, this.#nowMs, new HostsTable(), (bytes) => {
      const table = new HostsTable();
      addHostsText(table, { origin: hostsFile, bytes });
      return table;
    });
    this.#conf = new Watched(resolvConfFile, this.#nowMs, parseResolvConf(""), (bytes) =>
      parseResolvConf(bytes.toString("utf8")),
    );
  }

  async resolve(host: string, signal: AbortSignal): Promise<readonly string[] | undefined> {
    if (host === "" || isIP(host) !== 0) return undefined;
    const name = normalName(host);
    const found = (await this.#hosts.get(this.#deps.log)).exact(name);
    if (found !== undefined) return found;
    if (name === "localhost" || name.endsWith(".localhost")) return LOOPBACK;
    const conf = await this.#conf.get(this.#deps.log);
    const servers = this.#serversOf(conf);
    const failures: string[] = [];
    for (const candidate of candidates(name, conf, host.endsWith("."))) {
      const addresses = await this.#ask(candidate, servers, failures, signal);
      if (addresses.length > 0) return addresses;
    }
    if (failures.length > 0) {
      throw dnsError("FAILED", `cannot resolve ${name} (${failures.join("; ")})`);
    }
    throw dnsError("NOT_FOUND", `domain ${name} does not exist`);
  }

  close(): void {
    for (const server of this.#servers) server.close();
    this.#servers = [];
    this.#usedConf = undefined;
  }

  /** IPv4 first; empty if the first nameserver that answers has none, or all failed. */
  async #ask(
    name: string,
    servers: readonly Nameserver[],
    failures: string[],
    signal: AbortSignal,
  ): Promise<readonly string[]> {
    for (const server of servers) {
      const both = await Promise.allSettled([
        lookUp(server, name, 4, signal),
        lookUp(server, name, 6, signal),
      ]);
      signal.throwIfAborted();
      const answers = both.filter((result) => result.status === "fulfilled");
      const addresses = answers.flatMap(({ value }) => value.addresses);
      if (addresses.length > 0 || answers.length === both.length) return addresses;
      const failed = both.find((result) => result.status === "rejected");
      const text = `${server.text}: ${messageOf(failed?.reason)}`;
      if (!failures.includes(text)) failures.push(text);
    }
    return [];
  }

  #serversOf(conf: ResolvConf): readonly Nameserver[] {
    if (conf !== this.#usedConf) {
      this.close();
      this.#usedConf = conf;
      const cache = new DnsCache(this.#nowMs);
      this.#servers = conf.nameservers.map((host) => this.#serverOf(host, conf, cache));
    }
    const turn = conf.rotate ? this.#turn++ % this.#servers.length : 0;
    const order = [...this.#servers.slice(turn), ...this.#servers.slice(0, turn)];
    return Array.from({ length: conf.attempts }, () => order).flat();
  }

  #serverOf(host: string, conf: ResolvConf, cache: DnsCache): Nameserver {
    const text = `${conf.useVc ? "tcp" : "udp"}://[${host}]:${this.#deps.port ?? 53}`;
    const address = parseNameserver(host.includes(":") ? text : text.replace(/[[\]]/g, ""), "");
    return new Nameserver({
      address,
      reach: directReach({ host, port: address.port }, this.#deps.ends),
      cache,
      timeoutMs: conf.timeoutMs,
      ttlMs: 0,
      isAsync: false,
      hostname: "",
      verify: true,
      options: [],
    });
  }
}
