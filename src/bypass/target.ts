/**
 * Targets as rules see them: an address or a name, and the text that wildcards are compared with.
 * Without `compat` names are normalised as those of rules are, and mapped addresses are IPv4.
 */
import * as abi from "../../assembly/abi.ts";
import { formatIp, parseIp } from "../config/net.ts";
import { asciiName } from "./rule.ts";

export interface TargetText {
  /** 0: a name. */
  readonly family: 0 | 4 | 6;
  /** Four or sixteen bytes; good until the next target is read. */
  readonly address: Uint8Array;
  /** One character a byte; "" where nothing can match it. */
  readonly name: string;
}

const NO_ADDRESS = new Uint8Array(0);
/** Used again and again: a look-up makes no garbage beside its answer. */
const four = new Uint8Array(4);

/** Reads `host`: IP text, in brackets or not, or a name. */
export function readTarget(host: string, compat: boolean): TargetText {
  const last = host.charCodeAt(host.length - 1);
  if (last >= 48 && last <= 57 && readIp4(host)) return { family: 4, address: four, name: host };
  if (host.includes(":")) {
    const bare = host.startsWith("[") && host.endsWith("]") ? host.slice(1, -1) : host;
    const ip = parseIp(bare);
    if (ip?.family === 6) {
      const text = compat ? bare.toLowerCase() : formatIp(ip).replace(/^::ffff:(?=.*\.)/, "");
      return { family: 6, address: ip.bytes, name: text };
    }
  }
  const name = bounded(compat ? byteText(host) : nameOf(host));
  // Digits of other scripts: who dials such a host dials an address.
  if (!compat && name !== host && readIp4(name)) return { family: 4, address: four, name };
  return { family: 0, address: NO_ADDRESS, name };
}

function bounded(name: string): string {
  return name.length > abi.ROUTE_NAME_MAX ? "" : name;
}

/** Lower case, one dot at the end less, IDNA as ASCII. */
function nameOf(host: string): string {
  const ascii = asciiName(host);
  return ascii.endsWith(".") ? ascii.slice(0, -1) : ascii;
}

/** GOST compares the bytes of the lower-case text. */
function byteText(host: string): string {
  const lower = host.toLowerCase();
  return /[^\x00-\x7f]/.test(lower) ? Buffer.from(lower).toString("latin1") : lower;
}

/** Reads `a.b.c.d` without leading zeros into `four`. */
function readIp4(text: string): boolean {
  if (text.length > 15) return false;
  let part = 0;
  let value = -1;
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code >= 48 && code <= 57) {
      if (value === 0) return false;
      value = (value < 0 ? 0 : value * 10) + code - 48;
      if (value > 255) return false;
    } else if (code === 46 && value >= 0 && part < 3) {
      four[part++] = value;
      value = -1;
    } else return false;
  }
  if (part !== 3 || value < 0) return false;
  four[3] = value;
  return true;
}
