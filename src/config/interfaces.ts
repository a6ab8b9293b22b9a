/**
 * `interface` of a service, a hop or a node, as GOST has it: a comma list of devices and addresses
 * that are tried in order, each with `!` behind it where nothing after it may be tried. Read by
 * start.ts (is it right?) and by those who open sockets.
 */
import { configError } from "../errors.ts";
import { findMeta } from "./metadata.ts";
import type { Metadata, Place } from "./model.ts";
import { parseIp } from "./net.ts";
import type { IpAddress } from "./net.ts";

/** One way out: exactly one of `name`, `ip` and `auto`. */
export interface OutInterface {
  /** A device: sockets are bound to it. */
  readonly name?: string;
  /** A local address: sockets are bound to it and to no device. */
  readonly ip?: IpAddress;
  /** The local address that the client connected to. */
  readonly auto?: true;
  /** Nothing that follows may be tried. */
  readonly strict: boolean;
}

const INTERFACES_MAX = 64;

/** The items of `interface`, in order; empty without the key. Throws, with place, for others. */
export function interfacesOf(metadata: Metadata, place: Place = ""): OutInterface[] {
  const found = findMeta(metadata, "interface");
  if (found === undefined || found.value === null || found.value === "") return [];
  const items = Array.isArray(found.value) ? found.value : [found.value];
  const texts = items.flatMap((item) => {
    if (typeof item === "string" || typeof item === "number") return String(item).split(",");
    throw configError(place, "interface: is neither a text nor a list of texts");
  });
  if (texts.length > INTERFACES_MAX) {
    throw configError(place, `interface: more than ${INTERFACES_MAX} items`);
  }
  return texts.flatMap((text) => itemOf(text.trim(), place));
}

function itemOf(text: string, place: Place): OutInterface[] {
  if (text === "") return [];
  const strict = text.endsWith("!");
  const word = strict ? text.slice(0, -1) : text;
  if (word === "auto") return [{ auto: true, strict }];
  const ip = parseIp(word.replace(/^\[(.*)\]$/, "$1"));
  if (ip !== undefined) return [{ ip, strict }];
  const isName = /^[^\s/:,!%]+$/.test(word) && word !== "." && word !== "..";
  if (isName && Buffer.byteLength(word) <= 15) return [{ name: word, strict }];
  throw configError(
    place,
    `interface: ${JSON.stringify(text)} is neither a network device nor an IP address`,
  );
}

/** SO_MARK; 0 and absent are none. Throws for what is no mark, with place. */
export function soMarkOf(metadata: Metadata, place: Place = ""): number | undefined {
  const found = findMeta(metadata, ["so_mark", "soMark"]);
  if (found === undefined || found.value === null || found.value === "") return undefined;
  const text = typeof found.value === "object" ? "" : String(found.value);
  const mark = /^(0x[0-9a-f]{1,8}|\d{1,10})$/i.test(text) ? Number(text) : Number.NaN;
  if (mark >= 0 && mark <= 0xffffffff) return mark === 0 ? undefined : mark;
  throw configError(place, `so_mark: ${JSON.stringify(found.value)} is not 0 … 4294967295`);
}
