/**
 * Links, addresses and routes of the system, by netlink messages. Errors are TsgostError
 * TSGOST_ERR_NETLINK that name the object and say the kernel's words, the cause has `code`
 * (`ENODEV`): `add route 100.64.0.0/10 via 172.31.9.9: network is unreachable`.
 */
import { TsgostError } from "../errors.ts";
import { errnoName, errnoText, systemText } from "./errno.ts";
import type { Native } from "./native.ts";
import * as codec from "./netlink-codec.ts";

export type {
  Address,
  Link,
  LinkEvent,
  Prefix,
  Route,
  RouteAnswer,
  RouteQuery,
} from "./netlink-codec.ts";

/** Subscription to changes of links, for Native.netlinkMonitor. */
export const GROUP_LINK = 1;

/** An address as text (RFC 5952 for IPv6). */
export function addressText(address: codec.Address): string {
  if (address.family === 4) return address.bytes.subarray(0, 4).join(".");
  const hex = Buffer.from(address.bytes.subarray(0, 16)).toString("hex");
  const groups = hex.match(/.{4}/g) ?? [];
  return new URL(`http://[${groups.join(":")}]/`).hostname.slice(1, -1);
}

export function prefixText(net: codec.Prefix): string {
  return `${addressText(net)}/${net.prefix}`;
}

function routeText(route: codec.Route): string {
  const via = route.gateway === undefined ? "" : ` via ${addressText(route.gateway)}`;
  return `route ${prefixText(route.dst)}${via}`;
}

/** What the kernel refused; `code` and `errno` as a system error has them. */
class KernelRefusal extends Error {
  readonly code: string;
  readonly errno: number;

  constructor(ack: codec.Ack) {
    super(ack.text === "" ? errnoText(ack.errno) : ack.text);
    this.name = "KernelRefusal";
    this.code = errnoName(ack.errno);
    this.errno = ack.errno;
  }
}

export class Netlink {
  readonly #native: Native;
  #seq = 0;

  constructor(native: Native) {
    this.#native = native;
  }

  /** A link by name; throws with cause code ENODEV if there is none. */
  link(name: string): codec.Link {
    const what = `link ${name}`;
    const answer = this.#ask(what, (seq) => codec.getLink(seq, name));
    const link = codec.readLinks(answer).find((candidate) => candidate.name === name);
    if (link !== undefined) return link;
    throw new TsgostError("TSGOST_ERR_NETLINK", `${what}: the kernel gave no answer`);
  }

  links(): codec.Link[] {
    return codec.readLinks(this.#ask("list links", (seq) => codec.dumpLinks(seq)));
  }

  setMtu(link: codec.Link, mtu: number): void {
    this.#ask(`set mtu ${mtu} of ${link.name}`, (seq) => codec.setLink(seq, link.index, { mtu }));
  }

  setTxQueueLen(link: codec.Link, txQueueLen: number): void {
    this.#ask(`set txqueuelen ${txQueueLen} of ${link.name}`, (seq) =>
      codec.setLink(seq, link.index, { txQueueLen }),
    );
  }

  setUp(link: codec.Link, up: boolean): void {
    this.#ask(`set ${link.name} ${up ? "up" : "down"}`, (seq) =>
      codec.setLink(seq, link.index, { up }),
    );
  }

  addAddress(link: codec.Link, address: codec.Prefix): void {
    this.#ask(`add address ${prefixText(address)} to ${link.name}`, (seq) =>
      codec.changeAddress(seq, "add", link.index, address),
    );
  }

  deleteAddress(link: codec.Link, address: codec.Prefix): void {
    this.#ask(`delete address ${prefixText(address)} of ${link.name}`, (seq) =>
      codec.changeAddress(seq, "delete", link.index, address),
    );
  }

  /** Adds a route or puts it in the place of the one with this destination and metric. */
  replaceRoute(route: codec.Route): void {
    this.#ask(`add ${routeText(route)}`, (seq) => codec.changeRoute(seq, "replace", route));
  }

  deleteRoute(route: codec.Route): void {
    this.#ask(`delete ${routeText(route)}`, (seq) => codec.changeRoute(seq, "delete", route));
  }

  /** The way that a packet to an address would take now. */
  routeTo(query: codec.RouteQuery): codec.RouteAnswer {
    const what = `find route to ${addressText(query.dst)}`;
    const answer = codec.readRoute(this.#ask(what, (seq) => codec.getRoute(seq, query)));
    if (answer !== undefined) return answer;
    throw new TsgostError("TSGOST_ERR_NETLINK", `${what}: the kernel gave no answer`);
  }

  #ask(what: string, make: (seq: number) => Uint8Array): Uint8Array {
    this.#seq = (this.#seq + 1) >>> 0;
    const seq = this.#seq;
    let answer: Uint8Array;
    try {
      answer = this.#native.netlink(make(seq));
    } catch (cause) {
      throw new TsgostError("TSGOST_ERR_NETLINK", `${what}: ${systemText(cause)}`, { cause });
    }
    const ack = codec.readAck(answer, seq);
    if (ack === undefined || ack.errno === 0) return answer;
    const cause = new KernelRefusal(ack);
    // Its own words say more, but the errno's are what people know.
    const more = ack.text === "" ? "" : ` (${ack.text.replace(/\.$/, "")})`;
    const message = `${what}: ${errnoText(ack.errno)}${more}`;
    throw new TsgostError("TSGOST_ERR_NETLINK", message, { cause });
  }
}
