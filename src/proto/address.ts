/**
 * Addresses in SOCKS5 form (RFC 1928 §5), as the relay protocol and SOCKS5 carry them:
 *
 *   | ATYP 1 | address 4, 16, or length byte + name | port 2 |
 *
 * Host texts are IP text without brackets, a name, or "" (a name of length 0: the peer's own host).
 */
import { isIP } from "node:net";

export interface SocksAddress {
  readonly host: string;
  readonly port: number;
}

export const ATYP_IPV4 = 1;
export const ATYP_NAME = 3;
export const ATYP_IPV6 = 4;
/** ATYP, length byte, 255 bytes of name, port. */
export const ADDRESS_BYTES_MAX = 1 + 1 + 255 + 2;

/** The bytes of IP text: 4 or 16; undefined for a name. Mapped IPv4 text gives 4 bytes. */
export function ipBytes(text: string): Uint8Array | undefined {
  const family = isIP(text);
  if (family === 4) return ip4Bytes(text);
  if (family !== 6 || text.includes("%")) return undefined;
  const bytes = ip6Bytes(text);
  return isMapped(bytes, 0) ? bytes.subarray(12) : bytes;
}

function ip4Bytes(text: string): Uint8Array {
  return Uint8Array.from(text.split("."), Number);
}

/** `text` is valid IPv6 without a zone. */
function ip6Bytes(text: string): Uint8Array {
  const bytes = new Uint8Array(16);
  const [head = "", tail] = text.split("::");
  const front = groupBytes(head);
  const back = tail === undefined ? [] : groupBytes(tail);
  bytes.set(front, 0);
  bytes.set(back, 16 - back.length);
  return bytes;
}

function groupBytes(text: string): number[] {
  if (text === "") return [];
  return text.split(":").flatMap((group) => {
    if (group.includes(".")) return [...ip4Bytes(group)];
    const value = parseInt(group, 16);
    return [value >> 8, value & 255];
  });
}

/** ::ffff:0:0/96 (RFC 4291 §2.5.5.2). */
function isMapped(bytes: Uint8Array, offset: number): boolean {
  for (let index = 0; index < 10; index++) if (bytes[offset + index] !== 0) return false;
  return bytes[offset + 10] === 255 && bytes[offset + 11] === 255;
}

/** Text of 4 or 16 bytes; RFC 5952 for IPv6, and mapped addresses as IPv4. */
export function ipText(bytes: Uint8Array): string {
  if (bytes.length === 4) return bytes.join(".");
  if (isMapped(bytes, 0)) return bytes.subarray(12, 16).join(".");
  const groups: number[] = [];
  for (let index = 0; index < 16; index += 2) {
    groups.push(((bytes[index] ?? 0) << 8) | (bytes[index + 1] ?? 0));
  }
  let start = -1;
  let length = 1;
  for (let from = 0; from < 8; from++) {
    let to = from;
    while (to < 8 && groups[to] === 0) to++;
    if (to - from > length) [start, length] = [from, to - from];
  }
  const text = (part: number[]): string => part.map((group) => group.toString(16)).join(":");
  if (start < 0) return text(groups);
  return `${text(groups.slice(0, start))}::${text(groups.slice(start + length))}`;
}

/** ATYP, address and port; throws RangeError for a name above 255 bytes or a bad port. */
export function encodeAddress(address: SocksAddress): Uint8Array {
  const { host, port } = address;
  if (!Number.isInteger(port) || port < 0 || port > 65535) {
    throw new RangeError(`port ${port} is out of range`);
  }
  const ip = ipBytes(host);
  const name = ip === undefined ? Buffer.from(host, "utf8") : undefined;
  if (name !== undefined && name.length > 255) throw new RangeError("name above 255 bytes");
  const body = ip ?? name ?? new Uint8Array(0);
  const skip = name === undefined ? 1 : 2;
  const bytes = new Uint8Array(skip + body.length + 2);
  bytes[0] = name !== undefined ? ATYP_NAME : body.length === 4 ? ATYP_IPV4 : ATYP_IPV6;
  if (name !== undefined) bytes[1] = name.length;
  bytes.set(body, skip);
  bytes[bytes.length - 2] = port >> 8;
  bytes[bytes.length - 1] = port & 255;
  return bytes;
}

/**
 * How long the address at `offset` is, port included; 0 while `bytes` are too few to tell, and -1
 * for an unknown ATYP.
 */
export function addressLength(bytes: Uint8Array, offset: number): number {
  const type = bytes[offset];
  if (type === undefined) return 0;
  if (type === ATYP_IPV4) return 7;
  if (type === ATYP_IPV6) return 19;
  if (type !== ATYP_NAME) return -1;
  const length = bytes[offset + 1];
  return length === undefined ? 0 : 4 + length;
}

/** The address at `offset`; undefined if it is malformed or does not fit. */
export function decodeAddress(bytes: Uint8Array, offset: number): SocksAddress | undefined {
  const length = addressLength(bytes, offset);
  if (length <= 0 || offset + length > bytes.length) return undefined;
  const end = offset + length;
  const port = ((bytes[end - 2] ?? 0) << 8) | (bytes[end - 1] ?? 0);
  if (bytes[offset] === ATYP_NAME) {
    return { host: Buffer.from(bytes.subarray(offset + 2, end - 2)).toString("utf8"), port };
  }
  return { host: ipText(bytes.subarray(offset + 1, end - 2)), port };
}
