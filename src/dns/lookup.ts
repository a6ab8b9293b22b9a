/**
 * From names to addresses through one nameserver: which family first, CNAMEs followed inside the
 * answer and, where a nameserver leaves the rest out, by further questions (RFC 1034 §5.3.3).
 */
import { domainToASCII } from "node:url";
import { type DnsMessage, RCODE, TYPE, addressOf, targetOf } from "../proto/dns.ts";
import { labelsOf, sameName } from "../proto/dns-name.ts";
import { dnsError } from "./query.ts";
import type { Nameserver } from "./nameserver.ts";

/** CNAMEs from one name to its addresses. */
const ALIASES_MAX = 16;
/** Questions for one name, where answers end in a CNAME. */
const QUESTIONS_MAX = 8;
const ADDRESSES_MAX = 64;

export type Family = 4 | 6;

/** The addresses of a name; empty where the nameserver says that there are none. */
export async function lookUp(
  nameserver: Nameserver,
  name: string,
  family: Family,
  signal: AbortSignal,
): Promise<{ readonly addresses: readonly string[]; readonly exists: boolean }> {
  const type = family === 4 ? TYPE.A : TYPE.AAAA;
  let asked = name;
  for (let count = 0; count < QUESTIONS_MAX; count++) {
    const message = await nameserver.ask(asked, type, signal);
    const { addresses, last } = follow(message, asked, type);
    const isEnd = sameName(last, asked) || message.authorities.length > 0;
    if (addresses.length > 0 || message.rcode === RCODE.NXDOMAIN || isEnd) {
      return { addresses, exists: message.rcode !== RCODE.NXDOMAIN };
    }
    asked = last;
  }
  throw dnsError("PROTOCOL", `the aliases of ${name} do not end`);
}

/** The addresses at the end of the answer's aliases, and the name that they end in. */
function follow(
  message: DnsMessage,
  name: string,
  type: number,
): { readonly addresses: readonly string[]; readonly last: string } {
  let last = name;
  for (let count = 0; count <= ALIASES_MAX; count++) {
    const own = message.answers.filter((record) => sameName(record.name, last));
    const addresses = own
      .filter((record) => record.type === type)
      .flatMap((record) => addressOf(record) ?? [])
      .slice(0, ADDRESSES_MAX);
    const alias = own.find((record) => record.type === TYPE.CNAME);
    if (addresses.length > 0 || alias === undefined) return { addresses, last };
    last = targetOf(alias) ?? "";
  }
  throw dnsError("PROTOCOL", `the aliases of ${name} do not end`);
}

/** The family words of `prefer` and `only`: those to ask for, in order; undefined: unknown word. */
export function familiesOf(prefer: string, only: string): readonly Family[] | undefined {
  const pinned = familyOf(only);
  const first = familyOf(prefer);
  if (pinned === undefined || first === undefined) return undefined;
  if (pinned !== 0) return [pinned];
  return first === 6 ? [6, 4] : [4, 6];
}

function familyOf(word: string): 0 | Family | undefined {
  switch (word.toLowerCase()) {
    case "":
      return 0;
    case "ip4":
    case "ipv4":
      return 4;
    case "ip6":
    case "ipv6":
      return 6;
    default:
      return undefined;
  }
}

/**
 * A host name as it is asked for: ASCII (IDNA), lower case, no trailing dot. Throws a DNS error for
 * what cannot be one.
 */
export function normalName(host: string): string {
  const text = host.replace(/\.$/, "");
  const isAscii = /^[\u0021-\u007e]*$/.test(text);
  const name = isAscii ? text.toLowerCase() : domainToASCII(text);
  if (name === "" || name.includes("\\") || labelsOf(name) === undefined) {
    throw dnsError("NAME", `${JSON.stringify(host.slice(0, 300))} is not a host name`);
  }
  return name;
}
