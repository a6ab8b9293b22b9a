/**
 * Facts about a packet, filled once by ip/ingress and passed on by pointer. All addresses point
 * into the slot that the packet was received in.
 */
import { be16 } from "../mem/bytes";

/**
 * The L4 checksum field holds only the pseudo-header's sum, and the kernel vouches for the rest.
 */
export const PKT_PARTIAL_CSUM: u32 = 1;
/** The kernel checked the L4 checksum. */
export const PKT_CSUM_VALID: u32 = 2;
/** IPv4 "don't fragment". */
export const PKT_DF: u32 = 4;
/** Put together from fragments. */
export const PKT_REASSEMBLED: u32 = 8;
/** ECN field is CE: of the packet, or of any of its fragments. */
export const PKT_CE: u32 = 16;
/** Destination is a multicast group. */
export const PKT_MULTICAST: u32 = 32;

@unmanaged
export class Packet {
  /** 4 or 6. */
  family: u32;
  proto: u32;
  /** The IP header, and bytes from it to the end of the packet, padding excluded. */
  ip: usize;
  ipLen: u32;
  /** Addresses: 4 or 16 bytes. */
  src: usize;
  dst: usize;
  /** The L4 header, and bytes from it to the end. */
  l4: usize;
  l4Len: u32;
  /** Segment size of a super-packet, else 0. */
  gso: u32;
  /** PKT_…. */
  flags: u32;
  /** TTL or hop limit. */
  hops: u32;
  /** RX entry whose slot holds the packet. */
  rxIndex: i32;
  /** vnet header: type, place of the L4 header, place of the checksum in it. */
  gsoType: u32;
  csumStart: u32;
  csumOffset: u32;
  /** IPv6: offset in the packet of the byte that names `proto`. */
  protoOff: u32;

  /** What an ICMP error quotes: the packet. */
  @inline get quote(): usize {
    return this.ip;
  }

  @inline get quoteLen(): u32 {
    return this.ipLen;
  }

  /** DSCP and ECN: type of service or traffic class. */
  @inline get tos(): u32 {
    return this.family == 4 ? load<u8>(this.ip, 1) : (be16(this.ip) >> 4) & 255;
  }

  @inline get isPartial(): bool {
    return (this.flags & PKT_PARTIAL_CSUM) != 0;
  }

  /** Whether the L4 checksum need not be looked at. */
  @inline get isChecked(): bool {
    return (this.flags & (PKT_PARTIAL_CSUM | PKT_CSUM_VALID)) != 0;
  }
}
