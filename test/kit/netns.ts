/**
 * End-to-end worlds: the three namespaces of the demo (src/commands/demo/world.ts) with the servers
 * of test/kit/servers.ts in the internet, tsgost where a test puts it, and the clients of
 * test/kit/clients.ts. All of it hangs on processes that end with the test's own, however that
 * ends.
 */
import { existsSync, readFileSync } from "node:fs";
import { power, type Namespace, type RunOptions } from "../../src/commands/demo/namespace.ts";
import { HOMELESS, parseLine, startTsgost, type Tsgost } from "../../src/commands/demo/tsgost.ts";
import { buildWorld, PLACES, type World } from "../../src/commands/demo/world.ts";
import type * as clients from "./clients.ts";
import type { ServerOptions } from "./servers.ts";

export { PLACES } from "../../src/commands/demo/world.ts";
export { cliCommand, cliFile, parseLine } from "../../src/commands/demo/tsgost.ts";
export { inventory } from "../../src/commands/demo/world.ts";
export type { Namespace, Tsgost };

const SERVERS = new URL("./servers.ts", import.meta.url).href;
const CLIENTS = new URL("./clients.ts", import.meta.url).href;

const able = power();
const isRoot = process.geteuid?.() === 0;

/**
 * May these tests be skipped? Only where there is no root (nor a user namespace that would do) or
 * no device node; anything else that is missing makes them fail.
 */
export const canRun = able.kind !== "none" || (isRoot && existsSync("/dev/net/tun"));
export const skipReason =
  able.kind === "none" ? `${able.reason}; ${able.remedy} to have these tests` : "";

type Clients = typeof clients;

/** Calls a function of test/kit/clients.ts in a namespace. */
export function ask<K extends keyof Clients>(
  namespace: Namespace,
  name: K,
  ...args: Clients[K] extends (...all: infer A) => unknown ? A : never
): Promise<Clients[K] extends (...all: never[]) => Promise<infer R> ? R : never> {
  return namespace.call(CLIENTS, name, ...args) as Promise<never>;
}

/** The world with its servers, and every tsgost that a test started in it. */
export class Scene {
  readonly world: World;
  readonly #started: Tsgost[] = [];
  constructor(world: World) {
    this.world = world;
  }

  static async open(options: Partial<ServerOptions> = {}): Promise<Scene> {
    if (able.kind === "none") throw new Error(`no namespaces: ${able.reason}; ${able.remedy}`);
    const world = await buildWorld(able.kind);
    try {
      await world.internet.call(SERVERS, "serve", {
        hosts: HOSTS,
        relay: PLACES.relay,
        ...options,
      });
    } catch (error) {
      await world.close();
      throw error;
    }
    return new Scene(world);
  }

  /** Client functions in the client's namespace. */
  client<K extends keyof Clients>(
    name: K,
    ...args: Clients[K] extends (...all: infer A) => unknown ? A : never
  ): Promise<Clients[K] extends (...all: never[]) => Promise<infer R> ? R : never> {
    return ask(this.world.client, name, ...args);
  }

  /** Connections of a test server: open now, and all there ever were. */
  async serverCounts(port: number): Promise<{ open: number; total: number }> {
    return (await this.world.internet.call(SERVERS, "counts", port)) as never;
  }

  /** Waits up to 10 s until a test server has no more than `open` connections. */
  async whenServerHas(port: number, open: number): Promise<{ open: number; total: number }> {
    await until(async () => (await this.serverCounts(port)).open <= open, 10_000);
    return this.serverCounts(port);
  }

  /** `tsgost tungo` in the gateway: whole world through the TUN. */
  tungo(args: readonly string[] = [], options: RunOptions = {}): Promise<Tsgost> {
    return this.start(this.world.gateway, [...TUNGO, ...args], options);
  }

  /** A relay+wss server in the internet. */
  relay(...args: readonly string[]): Promise<Tsgost> {
    return this.start(this.world.internet, args.length > 0 ? args : ["-L", RELAY_URL]);
  }

  async start(
    namespace: Namespace,
    args: readonly string[],
    options: RunOptions = {},
  ): Promise<Tsgost> {
    const home = namespace === this.world.internet ? HOMELESS : {};
    const env = { ...home, ...options.env };
    const started = await startTsgost(namespace, args, { ...options, env });
    this.#started.push(started);
    return started;
  }

  /** Ends every tsgost that is still there; the namespaces stay. */
  async stopAll(): Promise<void> {
    await Promise.all(
      this.#started.splice(0).map(async (one) => {
        await one.process.signal("SIGKILL");
        await one.process.ended;
      }),
    );
  }

  async close(): Promise<void> {
    await this.world.close();
  }
}

export const HOSTS = [PLACES.web4, PLACES.web6] as const;
export const USER = "mira:secret";
export const RELAY_URL = `relay+wss://${USER}@${PLACES.relay}:443`;
export const PROXY = ["-F", RELAY_URL] as const;
export const TUNGO = [
  "tungo",
  "--net",
  PLACES.tunNet,
  "--route",
  "default",
  "--interface",
  "wan0",
] as const;

/** Resident memory of a process in bytes. */
export function residentBytes(pid: number): number {
  const match = /VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, "latin1"));
  return Number(match?.[1] ?? 0) * 1024;
}

/** JSON log entries whose message or fields match; for assertions about what was logged. */
export function logged(tsgost: Tsgost, pattern: RegExp): Record<string, unknown>[] {
  return tsgost.process.lines
    .filter((line) => pattern.test(line))
    .map((line) => parseLine(line) ?? { msg: line });
}

/** Waits until `condition` holds, at most `timeoutMs`; answers whether it did. */
export async function until(
  condition: () => boolean | Promise<boolean>,
  timeoutMs: number,
): Promise<boolean> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    if (await condition()) return true;
    if (performance.now() > deadline) return false;
    await new Promise((next) => setTimeout(next, 20));
  }
}
