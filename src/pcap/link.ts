/**
 * Link layers of captures: where in a frame the IP packet begins. Raw IP, null/loopback, Ethernet
 * with any number of VLAN tags (IEEE 802.1Q, 802.1ad) and LLC/SNAP, PPPoE and MPLS in it, PPP,
 * Cisco HDLC, and Linux's "cooked" headers (SLL, SLL2).
 */

/** Answers of ipOffset besides an offset. */
export const LINK_UNSUPPORTED = -2;
export const NOT_IP = -1;

const NULL = 0;
const ETHERNET = 1;
const PPP = 9;
const RAW_TYPES: readonly number[] = [12, 14, 101];
const PPP_HDLC = 50;
const CISCO_HDLC = 104;
const LOOP = 108;
const SLL = 113;
const RAW_4 = 228;
const RAW_6 = 229;
const SLL2 = 276;

const TYPE_4 = 0x0800;
const TYPE_6 = 0x86dd;
const TAGS: readonly number[] = [0x8100, 0x88a8, 0x9100, 0x9200];
const TYPE_PPPOE = 0x8864;
const TYPE_MPLS: readonly number[] = [0x8847, 0x8848];
const LENGTH_MAX = 1500;
const TAGS_MAX = 16;

/** The systems' numbers for address families. */
const FAMILY_4 = 2;
const FAMILIES_6: readonly number[] = [10, 24, 28, 30];

function be16(data: Uint8Array, at: number): number {
  return ((data[at] ?? 0) << 8) | (data[at + 1] ?? 0);
}

/** Where the IP packet begins in `frame`; NOT_IP or LINK_UNSUPPORTED where there is none. */
export function ipOffset(linkType: number, frame: Uint8Array): number {
  if (RAW_TYPES.includes(linkType)) return rawAt(frame, 0);
  switch (linkType) {
    case RAW_4:
    case RAW_6:
      return frame.length > 0 ? 0 : NOT_IP;
    case NULL:
    case LOOP:
      return loopbackAt(frame);
    case ETHERNET:
      return typedAt(frame, 12);
    case SLL:
      return typedAt(frame, 14);
    case SLL2:
      return frame.length < 20 ? NOT_IP : typeAt(frame, be16(frame, 0), 20);
    case PPP:
    case PPP_HDLC:
      return pppAt(frame, be16(frame, 0) === 0xff03 ? 2 : 0);
    case CISCO_HDLC:
      return typedAt(frame, 2);
    default:
      return LINK_UNSUPPORTED;
  }
}

function rawAt(frame: Uint8Array, at: number): number {
  const version = (frame[at] ?? 0) >> 4;
  return version === 4 || version === 6 ? at : NOT_IP;
}

/** The family stands in the byte order of the machine that captured. */
function loopbackAt(frame: Uint8Array): number {
  if (frame.length <= 4) return NOT_IP;
  const isBig = frame[0] === 0 && frame[1] === 0;
  const family = isBig ? be16(frame, 2) : ((frame[1] ?? 0) << 8) | (frame[0] ?? 0);
  return family === FAMILY_4 || FAMILIES_6.includes(family) ? 4 : NOT_IP;
}

/** A frame whose type stands at `at`. */
function typedAt(frame: Uint8Array, at: number): number {
  return frame.length <= at + 2 ? NOT_IP : typeAt(frame, be16(frame, at), at + 2);
}

/** What a type says that follows at `at`; tags and labels are passed over. */
function typeAt(frame: Uint8Array, type: number, at: number): number {
  for (let tags = 0; tags < TAGS_MAX && TAGS.includes(type); tags++) {
    type = be16(frame, at + 2);
    at += 4;
  }
  // LLC with SNAP: aa aa 03, a number of who assigned the type (0), the type.
  if (type <= LENGTH_MAX && be16(frame, at) === 0xaaaa && frame[at + 2] === 3) {
    if (be16(frame, at + 3) !== 0 || frame[at + 5] !== 0) return NOT_IP;
    type = be16(frame, at + 6);
    at += 8;
  }
  if (at >= frame.length) return NOT_IP;
  if (type === TYPE_4 || type === TYPE_6) return at;
  if (type === TYPE_PPPOE) return pppAt(frame, at + 6);
  return TYPE_MPLS.includes(type) ? labelledAt(frame, at) : NOT_IP;
}

function pppAt(frame: Uint8Array, at: number): number {
  const protocol = be16(frame, at);
  return (protocol === 0x21 || protocol === 0x57) && at + 2 < frame.length ? at + 2 : NOT_IP;
}

function labelledAt(frame: Uint8Array, at: number): number {
  for (let labels = 0; labels < TAGS_MAX && at + 4 < frame.length; labels++) {
    const isLast = ((frame[at + 2] ?? 0) & 1) !== 0;
    at += 4;
    if (isLast) return rawAt(frame, at);
  }
  return NOT_IP;
}
