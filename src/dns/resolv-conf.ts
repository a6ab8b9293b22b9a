/** What resolv.conf(5) says: nameservers, search list and options, bounded as in the C library. */
import { parseIp } from "../config/net.ts";

export interface ResolvConf {
  /** IP text, at least one. */
  readonly nameservers: readonly string[];
  readonly search: readonly string[];
  /** A name with fewer dots is tried below `search` first. */
  readonly ndots: number;
  /** Of one try of one nameserver. */
  readonly timeoutMs: number;
  readonly attempts: number;
  /** Ask over TCP. */
  readonly useVc: boolean;
  readonly rotate: boolean;
}

const NAMESERVERS_MAX = 3;
const SEARCH_MAX = 32;
const LINES_MAX = 1000;

export function parseResolvConf(text: string): ResolvConf {
  const nameservers: string[] = [];
  let search: string[] = [];
  const options = new Map<string, string>();
  for (const line of text.split(/\r?\n/, LINES_MAX)) {
    if (/^\s*[#;]/.test(line)) continue;
    const [keyword = "", ...words] = line.trim().split(/\s+/);
    switch (keyword) {
      case "nameserver":
        if (isUsable(words[0]) && nameservers.length < NAMESERVERS_MAX) nameservers.push(words[0]);
        break;
      case "domain":
        search = words.slice(0, 1);
        break;
      case "search":
        search = words.slice(0, SEARCH_MAX);
        break;
      case "options":
        for (const word of words) {
          const [name = "", value = ""] = word.split(":", 2);
          options.set(name, value);
        }
        break;
    }
  }
  const number = (name: string, standard: number, least: number, most: number): number => {
    const text = options.get(name) ?? "";
    if (!/^\d{1,5}$/.test(text)) return standard;
    return Math.min(Math.max(Number(text), least), most);
  };
  return {
    nameservers: nameservers.length === 0 ? ["127.0.0.1"] : nameservers,
    search: search.map((name) => name.replace(/\.$/, "")).filter((name) => name !== ""),
    ndots: number("ndots", 1, 0, 15),
    timeoutMs: number("timeout", 5, 1, 30) * 1000,
    attempts: number("attempts", 2, 1, 5),
    useVc: options.has("use-vc"),
    rotate: options.has("rotate"),
  };
}

function isUsable(text: string | undefined): text is string {
  return text !== undefined && parseIp(text) !== undefined;
}

/** The names to ask for, in order. */
export function candidates(name: string, conf: ResolvConf, isAbsolute: boolean): readonly string[] {
  if (isAbsolute) return [name];
  const below = conf.search.map((domain) => `${name}.${domain}`);
  const dots = name.split(".").length - 1;
  return dots >= conf.ndots ? [name, ...below] : [...below, name];
}
