/**
 * Tells of wrong passwords in the log, once a minute for a client (a /64 in IPv6) with the number
 * of those since; clients beyond the table's bound share one line.
 */
import type { Logger } from "../log.ts";
import { ipBytes, ipText } from "../proto/address.ts";

const CLIENTS_MAX = 1024;
const PERIOD_MS = 60_000;

interface Client {
  readonly untilMs: number;
  held: number;
}

export class FailedLogins {
  readonly #log: Logger;
  readonly #nowMs: () => number;
  /** In the order of their ends. */
  readonly #clients = new Map<string, Client>();

  constructor(log: Logger, nowMs: () => number) {
    this.#log = log;
    this.#nowMs = nowMs;
  }

  note(clientIp: string): void {
    const nowMs = this.#nowMs();
    const name = networkName(clientIp);
    // The name of those for whom there is no room.
    const key = this.#clients.has(name) || this.#hasRoom(nowMs) ? name : "others";
    const known = this.#clients.get(key);
    if (known !== undefined && nowMs < known.untilMs) {
      known.held++;
      return;
    }
    this.#clients.delete(key);
    this.#clients.set(key, { untilMs: nowMs + PERIOD_MS, held: 0 });
    const repeated = known === undefined || known.held === 0 ? {} : { repeated: known.held };
    this.#log.warn("a client gave a wrong user or password", { client: key, ...repeated });
  }

  #hasRoom(nowMs: number): boolean {
    for (const [key, { untilMs }] of this.#clients) {
      if (nowMs < untilMs) break;
      this.#clients.delete(key);
    }
    return this.#clients.size < CLIENTS_MAX;
  }
}

function networkName(clientIp: string): string {
  const bytes = ipBytes(clientIp.replace(/%.*$/, ""));
  if (bytes?.length !== 16) return clientIp;
  return `${ipText(bytes.fill(0, 8))}/64`;
}
