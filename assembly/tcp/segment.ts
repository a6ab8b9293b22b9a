/**
 * A segment that arrived: its facts, taken from the packet once. Passed on by pointer; steps trim
 * it. A super-packet is one segment (TUN-5).
 */
import { DROP_L4_CHECKSUM, DROP_L4_HEADER } from "../layout";
import { count } from "../mem/stats";
import { Packet } from "../ip/packet";
import { addSum, isSumRight, pseudoSum } from "../wire/checksum";
import { PROTO_TCP } from "../wire/protocols";
import { FIN, SYN, TcpView } from "../wire/tcp";
import { OPTION_TIMESTAMPS, TcpOptions } from "../wire/tcp-options";

@unmanaged
export class Segment {
  packet: Packet;
  options: TcpOptions;
  srcPort: u32;
  dstPort: u32;
  seq: u32;
  ack: u32;
  /** As in the header: not scaled. */
  wnd: u32;
  flags: u32;
  /** Payload. */
  ptr: usize;
  len: u32;

  @inline has(flag: u32): bool {
    return (this.flags & flag) != 0;
  }

  @inline get hasTimestamps(): bool {
    return this.options.has(OPTION_TIMESTAMPS);
  }

  /** SEG.LEN: payload, SYN and FIN. */
  @inline get seqLen(): u32 {
    return this.len + (this.flags & FIN) + ((this.flags & SYN) >> 1);
  }

  /** Sequence number after the last payload byte. */
  @inline get end(): u32 {
    return this.seq + this.len;
  }
}

const segment: usize = memory.data(offsetof<Segment>(), 8);
const options: usize = memory.data(offsetof<TcpOptions>(), 8);

/** Reads a packet: its segment, valid until the next call, or null if it was dropped. */
export function readSegment(p: Packet): Segment | null {
  const view = TcpView.check(p.l4, p.l4Len);
  if (!view) {
    count(DROP_L4_HEADER);
    return null;
  }
  if (!p.isChecked) {
    const pseudo = pseudoSum(p.family, p.src, p.dst, PROTO_TCP, p.l4Len);
    if (!isSumRight(addSum(pseudo, p.l4, p.l4Len))) {
      count(DROP_L4_CHECKSUM);
      return null;
    }
  }
  const seg = changetype<Segment>(segment);
  const headerLen = view.headerLen;
  seg.packet = p;
  seg.options = changetype<TcpOptions>(options);
  seg.options.parse(p.l4 + 20, headerLen - 20);
  seg.srcPort = view.srcPort;
  seg.dstPort = view.dstPort;
  seg.seq = view.seq;
  seg.ack = view.ack;
  seg.wnd = view.window;
  seg.flags = view.flags;
  seg.ptr = p.l4 + headerLen;
  seg.len = p.l4Len - headerLen;
  return seg;
}
