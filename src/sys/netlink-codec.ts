/**
 * Messages of NETLINK_ROUTE as bytes: requests built, answers and events read. Pure functions; who
 * sends them is `netlink.ts`. Layouts: RFC 3549 §2.3 and §3.1, and the kernel's rtnetlink(7).
 *
 *   message   | len u32 | type u16 | flags u16 | seq u32 | port u32 | fixed part | attributes … |
 *   attribute | len u16 | type u16 | value, padded to 4 |
 *
 * Numbers are in host order; addresses in network order. Every length is checked before it is used.
 * Longer than 400 lines: requests and answers share their layouts.
 */
import { endianness } from "node:os";

const LITTLE = endianness() === "LE";
const HEADER_BYTES = 16;
const ATTRIBUTE_BYTES = 4;

const NLMSG_ERROR = 2;
const RTM_NEWLINK = 16;
const RTM_DELLINK = 17;
const RTM_GETLINK = 18;
const RTM_NEWADDR = 20;
const RTM_DELADDR = 21;
const RTM_NEWROUTE = 24;
const RTM_DELROUTE = 25;
const RTM_GETROUTE = 26;

const FLAG_REQUEST = 1;
const FLAG_ACK = 4;
const FLAG_REPLACE = 0x100;
const FLAG_CREATE = 0x400;
const FLAG_DUMP = 0x300;
/** In an acknowledgement: the request is not repeated in it; attributes follow. */
const FLAG_CAPPED = 0x100;
const FLAG_ACK_TLVS = 0x200;

const IFLA_IFNAME = 3;
const IFLA_MTU = 4;
const IFLA_TXQLEN = 13;
const IFLA_NEW_NETNSID = 45;
const IFA_ADDRESS = 1;
const IFA_LOCAL = 2;
const RTA_DST = 1;
const RTA_SRC = 2;
const RTA_OIF = 4;
const RTA_GATEWAY = 5;
const RTA_PRIORITY = 6;
const RTA_PREFSRC = 7;
const RTA_TABLE = 15;
const RTA_MARK = 16;
const ERROR_TEXT = 1;

const AF_INET = 2;
const AF_INET6 = 10;
/** No duplicate address detection: a TUN has no neighbours, and the address works at once. */
const IFA_F_NODAD = 2;
const IFF_UP = 1;
const IFF_RUNNING = 64;
const TABLE_MAIN = 254;
const PROTOCOL_STATIC = 4;
const SCOPE_UNIVERSE = 0;
const SCOPE_LINK = 253;
const TYPE_UNICAST = 1;

/** An address: IPv4 in the first four bytes, or sixteen. */
export interface Address {
  readonly family: 4 | 6;
  readonly bytes: Uint8Array;
}

/** An address and how many of its first bits are the network's. */
export interface Prefix extends Address {
  readonly prefix: number;
}

export interface Route {
  /** Host bits are ignored. */
  readonly dst: Prefix;
  readonly gateway?: Address;
  /** Device's index; may be left out where a gateway tells it. */
  readonly device?: number;
  readonly metric?: number;
  /** Default: the main table. */
  readonly table?: number;
}

export interface RouteQuery {
  readonly dst: Address;
  /** As a socket bound to this address would ask; of the same family. */
  readonly src?: Address;
  readonly mark?: number;
  /** As a socket bound to this device would ask. */
  readonly device?: number;
}

export interface RouteAnswer {
  /** 1 unicast, 2 local, 6 blackhole, 7 unreachable, 8 prohibit. */
  readonly type: number;
  readonly device: number;
  readonly gateway?: Uint8Array;
  readonly source?: Uint8Array;
  readonly table: number;
}

export interface Link {
  readonly index: number;
  readonly name: string;
  readonly mtu: number;
  readonly txQueueLen: number;
  readonly up: boolean;
  readonly running: boolean;
}

/** What a monitor tells of a link. `moved`: into another network namespace. */
export interface LinkEvent {
  readonly kind: "up" | "down" | "gone" | "moved";
  readonly link: Link;
}

/** How the kernel answered: 0 or a positive errno, and its own words where it had any. */
export interface Ack {
  readonly errno: number;
  readonly text: string;
}

type Attribute = readonly [type: number, value: Uint8Array];

interface Message {
  readonly type: number;
  readonly flags: number;
  readonly seq: number;
  /** Fixed part and attributes. */
  readonly body: DataView;
}

function align(len: number): number {
  return len + (-len & 3);
}

function u32(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value, LITTLE);
  return bytes;
}

function text(value: string): Uint8Array {
  return new TextEncoder().encode(`${value}\0`);
}

/** The bytes of an address that count. */
function addressBytes(address: Address): Uint8Array {
  const len = address.family === 4 ? 4 : 16;
  if (address.bytes.length < len) throw new RangeError("an address is too short");
  return address.bytes.slice(0, len);
}

function networkBytes(net: Prefix): Uint8Array {
  const bytes = addressBytes(net);
  if (net.prefix < 0 || net.prefix > bytes.length * 8) throw new RangeError("a prefix is too long");
  return bytes.map((byte, index) => {
    const bits = Math.min(8, Math.max(0, net.prefix - index * 8));
    return byte & (0xff00 >> bits);
  });
}

function build(
  request: Omit<Message, "body">,
  fixed: Uint8Array,
  attributes: readonly Attribute[],
): Uint8Array {
  let size = HEADER_BYTES + align(fixed.length);
  for (const [, value] of attributes) size += align(ATTRIBUTE_BYTES + value.length);
  const bytes = new Uint8Array(size);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, size, LITTLE);
  view.setUint16(4, request.type, LITTLE);
  view.setUint16(6, request.flags | FLAG_REQUEST, LITTLE);
  view.setUint32(8, request.seq, LITTLE);
  bytes.set(fixed, HEADER_BYTES);
  let at = HEADER_BYTES + align(fixed.length);
  for (const [type, value] of attributes) {
    view.setUint16(at, ATTRIBUTE_BYTES + value.length, LITTLE);
    view.setUint16(at + 2, type, LITTLE);
    bytes.set(value, at + ATTRIBUTE_BYTES);
    at += align(ATTRIBUTE_BYTES + value.length);
  }
  return bytes;
}

function afOf(family: 4 | 6): number {
  return family === 4 ? AF_INET : AF_INET6;
}

/** ifinfomsg: family u8, pad, type u16, index i32, flags u32, change u32. */
function linkPart(index: number, flags: number, change: number): Uint8Array {
  const bytes = new Uint8Array(16);
  const view = new DataView(bytes.buffer);
  view.setInt32(4, index, LITTLE);
  view.setUint32(8, flags, LITTLE);
  view.setUint32(12, change, LITTLE);
  return bytes;
}

/** Asks for one link. */
export function getLink(seq: number, name: string): Uint8Array {
  const named: Attribute = [IFLA_IFNAME, text(name)];
  return build({ type: RTM_GETLINK, flags: FLAG_ACK, seq }, linkPart(0, 0, 0), [named]);
}

/** Asks for all links. */
export function dumpLinks(seq: number): Uint8Array {
  return build({ type: RTM_GETLINK, flags: FLAG_DUMP, seq }, linkPart(0, 0, 0), []);
}

/** Changes a link; what is undefined stays. */
export function setLink(
  seq: number,
  index: number,
  change: { readonly up?: boolean; readonly mtu?: number; readonly txQueueLen?: number },
): Uint8Array {
  const attributes: Attribute[] = [];
  if (change.mtu !== undefined) attributes.push([IFLA_MTU, u32(change.mtu)]);
  if (change.txQueueLen !== undefined) attributes.push([IFLA_TXQLEN, u32(change.txQueueLen)]);
  const flags = change.up === true ? IFF_UP : 0;
  const mask = change.up === undefined ? 0 : IFF_UP;
  const request = { type: RTM_NEWLINK, flags: FLAG_ACK, seq };
  return build(request, linkPart(index, flags, mask), attributes);
}

/** Adds (an address that is there already is no error) or deletes an address of a link. */
export function changeAddress(
  seq: number,
  action: "add" | "delete",
  index: number,
  address: Prefix,
): Uint8Array {
  const bytes = addressBytes(address);
  // ifaddrmsg: family u8, prefix length u8, flags u8, scope u8, index u32.
  const fixed = new Uint8Array(8);
  fixed[0] = afOf(address.family);
  fixed[1] = address.prefix;
  fixed[2] = address.family === 6 && action === "add" ? IFA_F_NODAD : 0;
  new DataView(fixed.buffer).setUint32(4, index, LITTLE);
  const add = action === "add";
  const flags = add ? FLAG_ACK | FLAG_CREATE | FLAG_REPLACE : FLAG_ACK;
  return build({ type: add ? RTM_NEWADDR : RTM_DELADDR, flags, seq }, fixed, [
    [IFA_LOCAL, bytes],
    [IFA_ADDRESS, bytes],
  ]);
}

/** rtmsg: family, dst_len, src_len, tos, table, protocol, scope, type, all u8; flags u32. */
function routePart(family: 4 | 6, prefix: number): Uint8Array {
  const bytes = new Uint8Array(12);
  bytes[0] = afOf(family);
  bytes[1] = prefix;
  return bytes;
}

/** Adds or replaces, or deletes, a route. */
export function changeRoute(seq: number, action: "replace" | "delete", route: Route): Uint8Array {
  const replace = action === "replace";
  const fixed = routePart(route.dst.family, route.dst.prefix);
  const table = route.table ?? TABLE_MAIN;
  fixed[4] = table < 256 ? table : 0;
  fixed[5] = replace ? PROTOCOL_STATIC : 0;
  fixed[6] = route.gateway === undefined && route.dst.family === 4 ? SCOPE_LINK : SCOPE_UNIVERSE;
  fixed[7] = TYPE_UNICAST;
  const attributes: Attribute[] = [[RTA_DST, networkBytes(route.dst)]];
  if (table >= 256) attributes.push([RTA_TABLE, u32(table)]);
  if (route.gateway !== undefined) attributes.push([RTA_GATEWAY, addressBytes(route.gateway)]);
  if (route.device !== undefined) attributes.push([RTA_OIF, u32(route.device)]);
  if (route.metric !== undefined) attributes.push([RTA_PRIORITY, u32(route.metric)]);
  const flags = replace ? FLAG_ACK | FLAG_CREATE | FLAG_REPLACE : FLAG_ACK;
  return build({ type: replace ? RTM_NEWROUTE : RTM_DELROUTE, flags, seq }, fixed, attributes);
}

/** Asks which way a packet would go. */
export function getRoute(seq: number, query: RouteQuery): Uint8Array {
  const bytes = addressBytes(query.dst);
  const attributes: Attribute[] = [[RTA_DST, bytes]];
  if (query.src !== undefined) attributes.push([RTA_SRC, addressBytes(query.src)]);
  if (query.mark !== undefined) attributes.push([RTA_MARK, u32(query.mark)]);
  if (query.device !== undefined) attributes.push([RTA_OIF, u32(query.device)]);
  const fixed = routePart(query.dst.family, bytes.length * 8);
  if (query.src !== undefined) fixed[2] = bytes.length * 8;
  return build({ type: RTM_GETROUTE, flags: FLAG_ACK, seq }, fixed, attributes);
}

/** Splits bytes into messages; what is cut off or lies about its length ends the list. */
function* messages(bytes: Uint8Array): Generator<Message> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = 0; at + HEADER_BYTES <= bytes.length;) {
    const len = view.getUint32(at, LITTLE);
    if (len < HEADER_BYTES || len > bytes.length - at) return;
    const start = bytes.byteOffset + at + HEADER_BYTES;
    yield {
      type: view.getUint16(at + 4, LITTLE),
      flags: view.getUint16(at + 6, LITTLE),
      seq: view.getUint32(at + 8, LITTLE),
      body: new DataView(bytes.buffer, start, len - HEADER_BYTES),
    };
    at += align(len);
  }
}

/** Attributes after `fixed` bytes, by type; a damaged one ends the list. */
function attributesOf(body: DataView, fixed: number): Map<number, DataView> {
  const found = new Map<number, DataView>();
  for (let at = align(fixed); at + ATTRIBUTE_BYTES <= body.byteLength;) {
    const len = body.getUint16(at, LITTLE);
    if (len < ATTRIBUTE_BYTES || len > body.byteLength - at) break;
    // The two top bits of the type are flags.
    const type = body.getUint16(at + 2, LITTLE) & 0x3fff;
    const start = body.byteOffset + at + ATTRIBUTE_BYTES;
    found.set(type, new DataView(body.buffer, start, len - ATTRIBUTE_BYTES));
    at += align(len);
  }
  return found;
}

function readU32(value: DataView | undefined): number {
  return value !== undefined && value.byteLength >= 4 ? value.getUint32(0, LITTLE) : 0;
}

function readBytes(value: DataView): Uint8Array {
  return new Uint8Array(value.buffer, value.byteOffset, value.byteLength).slice();
}

function readText(value: DataView | undefined): string {
  if (value === undefined) return "";
  const bytes = readBytes(value);
  const end = bytes.indexOf(0);
  return new TextDecoder().decode(end < 0 ? bytes : bytes.subarray(0, end));
}

/** The acknowledgement of request `seq`; undefined if it is not in the bytes (a dump has none). */
export function readAck(bytes: Uint8Array, seq: number): Ack | undefined {
  for (const message of messages(bytes)) {
    if (message.type !== NLMSG_ERROR || message.seq !== seq) continue;
    if (message.body.byteLength < 4) continue;
    const errno = -message.body.getInt32(0, LITTLE);
    if ((message.flags & FLAG_ACK_TLVS) === 0) return { errno, text: "" };
    // i32 errno and the request's header, then (unless capped) the rest of the request.
    const request = message.body.byteLength >= 8 ? message.body.getUint32(4, LITTLE) : 0;
    const capped = (message.flags & FLAG_CAPPED) !== 0;
    const fixed = 4 + (capped ? HEADER_BYTES : Math.max(HEADER_BYTES, request));
    return { errno, text: readText(attributesOf(message.body, fixed).get(ERROR_TEXT)) };
  }
  return undefined;
}

function readLink(body: DataView): Link | undefined {
  if (body.byteLength < 16) return undefined;
  const attributes = attributesOf(body, 16);
  const flags = body.getUint32(8, LITTLE);
  return {
    index: body.getInt32(4, LITTLE),
    name: readText(attributes.get(IFLA_IFNAME)),
    mtu: readU32(attributes.get(IFLA_MTU)),
    txQueueLen: readU32(attributes.get(IFLA_TXQLEN)),
    up: (flags & IFF_UP) !== 0,
    running: (flags & IFF_RUNNING) !== 0,
  };
}

/** All links told in an answer. */
export function readLinks(bytes: Uint8Array): Link[] {
  const told = [...messages(bytes)].filter((message) => message.type === RTM_NEWLINK);
  return told.map(({ body }) => readLink(body)).filter((link) => link !== undefined);
}

/** What a monitor read. */
export function readLinkEvents(bytes: Uint8Array): LinkEvent[] {
  const events: LinkEvent[] = [];
  for (const message of messages(bytes)) {
    if (message.type !== RTM_NEWLINK && message.type !== RTM_DELLINK) continue;
    const link = readLink(message.body);
    if (link === undefined) continue;
    if (message.type === RTM_NEWLINK) {
      events.push({ kind: link.up ? "up" : "down", link });
      continue;
    }
    const moved = attributesOf(message.body, 16).has(IFLA_NEW_NETNSID);
    events.push({ kind: moved ? "moved" : "gone", link });
  }
  return events;
}

/** The answer to getRoute. */
export function readRoute(bytes: Uint8Array): RouteAnswer | undefined {
  for (const message of messages(bytes)) {
    if (message.type !== RTM_NEWROUTE || message.body.byteLength < 12) continue;
    const attributes = attributesOf(message.body, 12);
    const gateway = attributes.get(RTA_GATEWAY);
    const source = attributes.get(RTA_PREFSRC);
    const table = attributes.get(RTA_TABLE);
    return {
      type: message.body.getUint8(7),
      device: readU32(attributes.get(RTA_OIF)),
      table: table === undefined ? message.body.getUint8(4) : readU32(table),
      ...(gateway === undefined ? {} : { gateway: readBytes(gateway) }),
      ...(source === undefined ? {} : { source: readBytes(source) }),
    };
  }
  return undefined;
}
