/**
 * Admissions: which clients may connect at all, by their address, asked before any handshake. A
 * blacklist refuses what it lists, a whitelist everything else. Of several, all must admit.
 *
 * Fails closed, unlike GOST's: an entry that cannot be read is an error, and so is a source that
 * cannot be read at the start (later, the previous list stays); an empty whitelist admits nobody.
 */
import type { MatcherConfig } from "../config/model.ts";
import { configError } from "../errors.ts";
import type { Logger } from "../log.ts";
import { SourceList, type SourcePart, linesOf } from "../sys/source-list.ts";
import type { Admission } from "../types.ts";
import { IpSet } from "./ip-set.ts";
import { demandAllParts } from "./sources.ts";

const ENTRIES_MAX = 1_000_000;

export interface AdmissionDeps {
  readonly log: Logger;
  /** As GOST: entries that cannot be read are left out, an empty whitelist admits everybody. */
  readonly compat?: boolean;
}

export class AdmissionList implements Admission {
  readonly #config: MatcherConfig;
  readonly #deps: AdmissionDeps;
  readonly #list: SourceList<IpSet>;
  #set: IpSet;
  #hasStarted = false;

  /** Throws a configuration error. */
  constructor(config: MatcherConfig, deps: AdmissionDeps) {
    this.#config = config;
    this.#deps = deps;
    this.#set = this.#inline();
    this.#list = new SourceList({
      label: `admission ${config.name}`,
      source: config.source,
      log: deps.log,
      parse: (parts) => this.#parse(parts),
      onUpdate: (set) => {
        this.#set = set;
      },
    });
  }

  /** Reads the sources; throws a configuration error if one cannot be read. */
  async start(): Promise<void> {
    if (!this.#list.isEmpty) await this.#list.start();
    this.#hasStarted = true;
  }

  /** False if a source could not be read, or has a bad entry. */
  reload(): Promise<boolean> {
    return this.#list.isEmpty ? Promise.resolve(true) : this.#list.reload();
  }

  admits(clientIp: string): boolean {
    const { whitelist } = this.#config;
    if (this.#deps.compat === true && this.#set.isEmpty) return true;
    return this.#set.has(clientIp) === whitelist;
  }

  close(): void {
    this.#list.close();
  }

  #inline(): IpSet {
    const set = new IpSet();
    for (const entry of this.#config.matchers) this.#add(set, entry, this.#config.source.place);
    return set;
  }

  #parse(parts: readonly SourcePart[]): IpSet {
    const { source, name } = this.#config;
    if (!this.#hasStarted && this.#deps.compat !== true) {
      demandAllParts(parts, source, `admission ${name}`);
    }
    const set = this.#inline();
    let count = 0;
    const fault = (place: string, message: string): void => {
      if (this.#deps.compat !== true) throw configError(place, message);
    };
    for (const part of parts) {
      for (const { text, place } of linesOf(part, fault)) {
        if (++count > ENTRIES_MAX) throw configError(place, `more than ${ENTRIES_MAX} entries`);
        this.#add(set, text, place);
      }
    }
    return set;
  }

  #add(set: IpSet, entry: string, place: string): void {
    if (set.add(entry) || this.#deps.compat === true) return;
    const what = `admission ${this.#config.name}: ${JSON.stringify(entry.slice(0, 100))}`;
    throw configError(place, `${what} is no address, network or range of addresses`);
  }
}

/** All must admit; undefined for none. */
export function allOf(admissions: readonly Admission[]): Admission | undefined {
  if (admissions.length <= 1) return admissions[0];
  return { admits: (clientIp) => admissions.every((one) => one.admits(clientIp)) };
}
