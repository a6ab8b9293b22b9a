/**
 * Rules of matchers as GOST has them (chain-and-bypass.md §3): functions with quoted arguments,
 * joined by && and || (which binds less), ! in front, and brackets:
 *
 *   Host(`.example.com`) && !ClientIP("10.0.0.0/8") || HostRegexp(`^ads\d+\.`)
 *
 * A rule is parsed once. What would never match, or only match after a look into the traffic, is
 * refused: a rule that is ignored in silence leads traffic elsewhere.
 */
import { BlockList, isIP } from "node:net";
import type { Network } from "../types.ts";
import { ExpressionError } from "./expression.ts";
import { HostExpression } from "./program.ts";

/** What a rule is asked about. */
export interface Subject {
  readonly network: Network;
  /** All texts of the destination: as asked for, its address, names; "" = unknown. */
  readonly hosts: readonly string[];
  /** IP text; undefined: unknown, and no ClientIP matches. */
  readonly clientIp?: string | undefined;
}

export type Matches = (subject: Subject) => boolean;

/** The message says what is wrong with a rule. */
export class RuleError extends Error {}

const RULE_CHARACTERS_MAX = 16_384;
const DEPTH_MAX = 64;

/** Throws a RuleError. */
export function parseRule(text: string): Matches {
  if (text.length > RULE_CHARACTERS_MAX) {
    throw new RuleError(`has more than ${RULE_CHARACTERS_MAX} characters`);
  }
  return new RuleParser(text).parse();
}

/** `Host`, and `host` of a filter: a name, or one with all below it (`.name`, `*.name`). */
export function hostMatches(text: string): Matches {
  const given = normalHost(text);
  if (!/^[\x21-\x7e]+$/.test(given)) {
    throw new RuleError(`host: ${JSON.stringify(text)} is no host (in ASCII: xn--…)`);
  }
  if (isIP(given) !== 0) return addressMatches(given);
  const wanted = given.startsWith("*") ? given.replace(/^\*\.?/, ".") : given;
  if (/[*?:/]/.test(wanted)) {
    throw new RuleError(`host: ${JSON.stringify(text)} is neither a host nor .host`);
  }
  const bare = wanted.replace(/^\./, "");
  const below = wanted.startsWith(".") ? wanted : undefined;
  return ({ hosts }) =>
    hosts.some((raw) => {
      const host = normalHost(raw);
      if (host === "") return false;
      return host === bare || (below !== undefined && (bare === "" || host.endsWith(below)));
    });
}

/** `Network`, and `protocol` as far as nothing has to be looked at. */
export function networkMatches(what: string, text: string): Matches {
  const wanted = text.toLowerCase();
  if (wanted === "tcp" || wanted === "udp") return ({ network }) => network === wanted;
  const why =
    what === "Network"
      ? "is neither tcp nor udp"
      : "would need a look into the traffic, which is not supported; tcp and udp are possible";
  throw new RuleError(`${what}: ${JSON.stringify(text)} ${why}`);
}

/** Lower case, without brackets and the dot at the end. */
function normalHost(text: string): string {
  return text
    .trim()
    .toLowerCase()
    .replace(/^\[(.*)\]$/, "$1")
    .replace(/(.)\.$/, "$1");
}

function addressMatches(ip: string): Matches {
  const list = new BlockList();
  list.addAddress(ip, familyOf(ip));
  return ({ hosts }) => hosts.some((raw) => isListed(list, normalHost(raw)));
}

function familyOf(ip: string): "ipv4" | "ipv6" {
  return isIP(ip) === 6 ? "ipv6" : "ipv4";
}

function isListed(list: BlockList, text: string): boolean {
  const ip = text.replace(/%.*$/, "");
  return isIP(ip) !== 0 && list.check(ip, familyOf(ip));
}

function clientMatches(text: string): Matches {
  const match = /^([^/]*)(?:\/(\d{1,3}))?$/.exec(text);
  const ip = match?.[1] ?? "";
  const bits = isIP(ip) === 6 ? 128 : 32;
  const prefix = Number(match?.[2] ?? bits);
  if (isIP(ip) === 0 || ip.includes("%") || prefix > bits) {
    throw new RuleError(`ClientIP: ${JSON.stringify(text)} is neither an address nor a network`);
  }
  const list = new BlockList();
  list.addSubnet(ip, prefix, familyOf(ip));
  return ({ clientIp }) => clientIp !== undefined && isListed(list, clientIp);
}

function expressionMatches(text: string): Matches {
  try {
    const expression = new HostExpression(text);
    return ({ hosts }) =>
      hosts.some((raw) => {
        const host = normalHost(raw);
        return host !== "" && expression.matches(host);
      });
  } catch (error) {
    if (!(error instanceof ExpressionError)) throw error;
    throw new RuleError(`HostRegexp: ${JSON.stringify(text)} ${error.message}`);
  }
}

const FUNCTIONS: Readonly<Record<string, (argument: string) => Matches>> = {
  ClientIP: clientMatches,
  Network: (text) => networkMatches("Network", text),
  Proto: (text) => networkMatches("Proto", text),
  Host: hostMatches,
  HostRegexp: expressionMatches,
};

/** GOST's other functions: most ask for a look into HTTP. */
const OTHERS: Readonly<Record<string, string>> = {
  Bypass: "use `bypass` of the node",
  Admission: "use `admission` of the service",
};
const OF_HTTP =
  "Method Path PathRegexp PathPrefix Header HeaderRegexp Query QueryRegexp BodyJSON BodyRegexp";
for (const name of OF_HTTP.split(" ")) {
  (OTHERS as Record<string, string>)[name] = "it would need a look into HTTP requests";
}

class RuleParser {
  readonly #text: string;
  #at = 0;
  #depth = 0;

  constructor(text: string) {
    this.#text = text;
  }

  parse(): Matches {
    const matches = this.#either();
    this.#skipBlanks();
    if (this.#at < this.#text.length) throw this.#unexpected("&& or ||");
    return matches;
  }

  #either(): Matches {
    const parts = [this.#all()];
    while (this.#take("||")) parts.push(this.#all());
    const [only] = parts;
    if (parts.length === 1 && only !== undefined) return only;
    return (subject) => parts.some((part) => part(subject));
  }

  #all(): Matches {
    const parts = [this.#one()];
    while (this.#take("&&")) parts.push(this.#one());
    const [only] = parts;
    if (parts.length === 1 && only !== undefined) return only;
    return (subject) => parts.every((part) => part(subject));
  }

  #one(): Matches {
    if (++this.#depth > DEPTH_MAX) throw new RuleError("is nested too deeply");
    const matches = this.#negated() ?? this.#bracketed() ?? this.#call();
    this.#depth--;
    return matches;
  }

  #negated(): Matches | undefined {
    if (!this.#take("!")) return undefined;
    const inner = this.#one();
    return (subject) => !inner(subject);
  }

  #bracketed(): Matches | undefined {
    if (!this.#take("(")) return undefined;
    const inner = this.#either();
    if (!this.#take(")")) throw this.#unexpected(")");
    return inner;
  }

  #call(): Matches {
    this.#skipBlanks();
    const word = /^[A-Za-z_]\w*/.exec(this.#text.slice(this.#at))?.[0];
    if (word === undefined) throw this.#unexpected("a function such as Host(`example.com`)");
    this.#at += word.length;
    const same = (name: string): boolean => name.toLowerCase() === word.toLowerCase();
    const name = Object.keys(FUNCTIONS).find(same);
    const make = name === undefined ? undefined : FUNCTIONS[name];
    if (name === undefined || make === undefined) throw unknownFunction(word, same);
    const values = this.#arguments();
    const [value, ...more] = values;
    if (value === undefined || more.length > 0) {
      throw new RuleError(`${name} takes one text, not ${values.length}`);
    }
    if (value === "") throw new RuleError(`${name} has an empty text`);
    return make(value);
  }

  #arguments(): readonly string[] {
    if (!this.#take("(")) throw this.#unexpected("(");
    const values: string[] = [];
    if (this.#take(")")) return values;
    do values.push(this.#string());
    while (this.#take(","));
    if (!this.#take(")")) throw this.#unexpected(")");
    return values;
  }

  /** Between back-quotes as it stands, between quotes with escapes. */
  #string(): string {
    this.#skipBlanks();
    const rest = this.#text.slice(this.#at);
    const raw = /^`([^`]*)`/.exec(rest);
    const quoted = /^"((?:[^"\\\n]|\\.)*)"/.exec(rest);
    const found = raw ?? quoted;
    if (found === null) throw this.#unexpected('a text in ` or "');
    this.#at += found[0].length;
    return raw === null ? unescape(found[1] ?? "") : (found[1] ?? "");
  }

  #skipBlanks(): void {
    while (/\s/.test(this.#text[this.#at] ?? "")) this.#at++;
  }

  #take(word: string): boolean {
    this.#skipBlanks();
    if (!this.#text.startsWith(word, this.#at)) return false;
    this.#at += word.length;
    return true;
  }

  #unexpected(wanted: string): RuleError {
    const rest = this.#text.slice(this.#at, this.#at + 20);
    const here = rest === "" ? "at the end" : `at ${JSON.stringify(rest)}`;
    return new RuleError(`wants ${wanted} ${here}`);
  }
}

function unknownFunction(word: string, same: (name: string) => boolean): RuleError {
  const known = Object.keys(FUNCTIONS).join(", ");
  const other = Object.keys(OTHERS).find(same);
  if (other === undefined) return new RuleError(`has the unknown function ${word} (${known})`);
  const why = OTHERS[other] ?? "";
  return new RuleError(`${other} is not supported: ${why} (there are ${known})`);
}

const ESCAPES: Readonly<Record<string, string>> = {
  a: "\x07",
  b: "\b",
  f: "\f",
  n: "\n",
  r: "\r",
  t: "\t",
  v: "\v",
  "\\": "\\",
  '"': '"',
};

/** Go's interpreted strings. */
function unescape(text: string): string {
  const form = /\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|([0-7]{3})|(.))/gs;
  return text.replace(form, (whole, hex?: string, wide?: string, octal?: string, one?: string) => {
    const digits = hex ?? wide;
    if (digits !== undefined) return String.fromCharCode(Number.parseInt(digits, 16));
    if (octal !== undefined) return String.fromCharCode(Number.parseInt(octal, 8));
    const plain = ESCAPES[one ?? ""];
    if (plain === undefined) {
      throw new RuleError(`has the unknown escape ${whole}; texts between \` have no escapes`);
    }
    return plain;
  });
}
