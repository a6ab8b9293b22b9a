/**
 * Captures of a machine that talks to itself: both ends are loopback addresses, or one and the same
 * address. A stack behind a device drops such packets, so the ends get addresses of networks for
 * tests in their place: 198.18.0.0/15 (RFC 2544) and 2001:2::/48 (RFC 5180), the upper half for the
 * end with the lower port. Checksums are changed along.
 */
import { PROTO_TCP, PROTO_UDP, type IpFacts } from "../pcap/ip.ts";
import { be16, be32, patchBe32, putBe16, putBe32 } from "../pcap/sum.ts";

const HEADER_BYTES = { [PROTO_TCP]: 20, [PROTO_UDP]: 8 };
const LOOPBACK_4 = 127;
const TEST_4 = 0xc612_0000;
const TEST_6 = 0x2001_0002;

function isLoopback({ data, family }: IpFacts, at: number): boolean {
  if (family === 4) return data[at] === LOOPBACK_4;
  return (
    be32(data, at) + be32(data, at + 4) + be32(data, at + 8) === 0 && be32(data, at + 12) === 1
  );
}

function isSameAddress({ data, src, dst, addressBytes }: IpFacts): boolean {
  for (let at = 0; at < addressBytes; at++) {
    if (data[src + at] !== data[dst + at]) return false;
  }
  return true;
}

/** Puts other addresses in the place of a machine's own; `ip.real` has the ones it had. */
export function giveEnds(ip: IpFacts): void {
  const { data, l4, src, dst, addressBytes, proto } = ip;
  if ((proto !== PROTO_TCP && proto !== PROTO_UDP) || l4 + HEADER_BYTES[proto] > data.length)
    return;
  const [sport, dport] = [be16(data, l4), be16(data, l4 + 2)];
  // A packet from a socket to itself is an attack (or a very odd program).
  if (sport === dport) return;
  const isLocal = isLoopback(ip, src) && isLoopback(ip, dst);
  if (!isLocal && !isSameAddress(ip)) return;
  ip.real = { src: data.slice(src, src + addressBytes), dst: data.slice(dst, dst + addressBytes) };
  putEnd(ip, src, sport < dport);
  putEnd(ip, dst, dport < sport);
}

function putEnd(ip: IpFacts, at: number, isUpper: boolean): void {
  if (ip.family === 4) {
    put(ip, at, TEST_4 + (isUpper ? 0x1_0000 : 0) + be16(ip.data, at + 2));
    return;
  }
  put(ip, at, TEST_6);
  put(ip, at + 4, isUpper ? 1 : 0);
}

/** Writes a word of an address; it is in the IPv4 header's checksum and in the transport's. */
function put(ip: IpFacts, at: number, value: number): void {
  const { data, l4, proto, family } = ip;
  const sumAt = l4 + (proto === PROTO_TCP ? 16 : 6);
  const before = be32(data, at);
  // A UDP checksum of 0 is none.
  if (proto === PROTO_TCP || be16(data, sumAt) !== 0) {
    patchBe32(data, at, value, { base: 0, sumAt });
    if (proto === PROTO_UDP && be16(data, sumAt) === 0) putBe16(data, sumAt, 0xffff);
  }
  putBe32(data, at, before);
  if (family === 4) patchBe32(data, at, value, { base: 0, sumAt: 10 });
  else putBe32(data, at, value);
}
