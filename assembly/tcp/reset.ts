/**
 * Segments for no flow (RFC 9293 §3.10.7.1-2, TCP-17): a RST in answer, so many a second and family
 * (DOS-5), and no state.
 */
import { DROP_RST_LIMIT, DROP_TCP_FLAGS, DROP_TCP_NO_FLOW } from "../layout";
import { BUCKET_RST4, BUCKET_RST6, takeToken } from "../mem/bucket";
import { count } from "../mem/stats";
import { ACK, RST } from "../wire/tcp";
import { emitStrayReset } from "./emit";
import { Segment } from "./segment";

/** Answers a segment with ACK by a RST at SEG.ACK; one without by nothing: all ports listen. */
export function answerStray(seg: Segment): void {
  count(DROP_TCP_NO_FLOW);
  if (seg.has(RST)) return;
  if (!seg.has(ACK)) {
    count(DROP_TCP_FLAGS);
    return;
  }
  if (!takeToken(seg.packet.family == 4 ? BUCKET_RST4 : BUCKET_RST6)) {
    count(DROP_RST_LIMIT);
    return;
  }
  emitStrayReset(seg, seg.ack);
}
