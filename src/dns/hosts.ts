/**
 * Tables of hosts: from names to addresses, without asking anybody. A look-up takes the exact
 * name, then `.name`, then shorter suffixes (`.example.com`), then `.`, which is every name. Case
 * does not count (in GOST it does). Files hold lines `IP name [name…]`, `#` starts a comment.
 */
import { isIP } from "node:net";
import type { HostsConfig } from "../config/model.ts";
import { configError } from "../errors.ts";
import type { Logger } from "../log.ts";
import { SourceList, type SourcePart, linesOf } from "../sys/source-list.ts";

/** Names of one table. */
const NAMES_MAX = 1_000_000;
/** Of one name; more are not looked at. */
const ADDRESSES_MAX = 64;
const WARN_EVERY_MS = 60_000;

export class HostsTable {
  readonly #names = new Map<string, string[]>();
  readonly #matchCase: boolean;

  constructor(matchCase = false) {
    this.#matchCase = matchCase;
  }

  get size(): number {
    return this.#names.size;
  }

  /** False where the table is full. */
  add(ip: string, name: string): boolean {
    const key = this.#key(name);
    const known = this.#names.get(key);
    if (known === undefined) {
      if (this.#names.size >= NAMES_MAX) return false;
      this.#names.set(key, [ip]);
    } else if (known.length < ADDRESSES_MAX && !known.includes(ip)) {
      known.push(ip);
    }
    return true;
  }

  find(name: string): readonly string[] | undefined {
    const key = this.#key(name);
    const exact = this.#names.get(key);
    if (exact !== undefined) return exact;
    for (let rest = `.${key}`; rest !== "";) {
      const found = this.#names.get(rest);
      if (found !== undefined) return found;
      const dot = rest.indexOf(".", 1);
      rest = dot < 0 ? "" : rest.slice(dot);
    }
    return this.#names.get(".");
  }

  /** Of that name only, as in the system's file. */
  exact(name: string): readonly string[] | undefined {
    return this.#names.get(this.#key(name));
  }

  #key(name: string): string {
    const text = name.length > 1 ? name.replace(/\.$/, "") : name;
    return this.#matchCase ? text : text.toLowerCase();
  }
}

export interface HostsDeps {
  readonly log: Logger;
  readonly compat: boolean;
}

/** A table of the configuration with its file or URL. */
export class Hosts {
  readonly #config: HostsConfig;
  readonly #deps: HostsDeps;
  readonly #list: SourceList<HostsTable>;
  #table: HostsTable;

  /** Throws a configuration error. */
  constructor(config: HostsConfig, deps: HostsDeps) {
    this.#config = config;
    this.#deps = deps;
    this.#table = this.#inline();
    this.#list = new SourceList({
      label: `hosts ${config.name}`,
      source: config.source,
      log: deps.log,
      parse: (parts) => this.#parse(parts),
      onUpdate: (table) => {
        this.#table = table;
      },
    });
  }

  start(): Promise<void> {
    return this.#list.isEmpty ? Promise.resolve() : this.#list.start();
  }

  /** False if a source could not be read. */
  reload(): Promise<boolean> {
    return this.#list.isEmpty ? Promise.resolve(true) : this.#list.reload();
  }

  find(name: string): readonly string[] | undefined {
    return this.#table.find(name);
  }

  close(): void {
    this.#list.close();
  }

  #inline(): HostsTable {
    const table = new HostsTable(this.#deps.compat);
    for (const { ip, hostname, aliases } of this.#config.mappings) {
      if (isIP(ip) === 0) {
        // GOST leaves such an entry out.
        if (this.#deps.compat) continue;
        const { place } = this.#config.source;
        throw configError(place, `hosts ${this.#config.name}: "${ip}" is not an address`);
      }
      for (const name of [hostname, ...aliases]) if (name !== "") table.add(ip, name);
    }
    return table;
  }

  #parse(parts: readonly SourcePart[]): HostsTable {
    const table = this.#inline();
    for (const part of parts) {
      const bad = addHostsText(table, part);
      if (bad === 0) continue;
      this.#deps.log.once(`hosts ${this.#config.name} ${part.origin}`, WARN_EVERY_MS, {
        message: `hosts ${this.#config.name}: ${part.origin}: ${bad} lines are not "IP name…"`,
      });
    }
    return table;
  }
}

/** Adds lines `IP name [name…]`; answers how many were none. */
export function addHostsText(table: HostsTable, part: SourcePart): number {
  let bad = 0;
  const onFault = (): void => {
    bad++;
  };
  for (const { text } of linesOf(part, onFault)) {
    const [ip = "", ...names] = text.split(/\s+/);
    if (isIP(ip) === 0 || names.length === 0) bad++;
    else for (const name of names) if (!table.add(ip, name)) bad++;
  }
  return bad;
}
