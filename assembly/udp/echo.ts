/**
 * Echo requests that the host answers (mode `host`): out as records, back as staged replies.
 */
import * as layout from "../layout";
import { be16, putAddress } from "../mem/bytes";
import { count } from "../mem/stats";
import { takeRecord } from "../flow/records";
import { Datagram } from "../ip/fragment";
import { sendEchoReply } from "../ip/icmp";
import { PKT_DF, Packet } from "../ip/packet";
import { ICMP_HEADER_BYTES } from "../wire/icmp";

/** Most bytes of data that a reply can carry, as UDP has a header of 8 bytes too. */
const DATA_MAX_4: u32 = 65507;
const DATA_MAX_6: u32 = 65527;

const reply = changetype<Datagram>(memory.data(48, 8));

/** Hands an echo request to the host. */
export function echoInput(p: Packet): void {
  const record = takeRecord();
  if (record == 0) return;
  store<u32>(record, layout.DGRAM_ECHO, layout.DGRAM_KIND_OFF);
  store<u32>(record, <u32>p.l4 + ICMP_HEADER_BYTES, layout.DGRAM_PTR_OFF);
  store<u32>(record, p.l4Len - ICMP_HEADER_BYTES, layout.DGRAM_LEN_OFF);
  store<u16>(record, <u16>p.family, layout.DGRAM_FAMILY_OFF);
  putAddress(p.family, record + layout.DGRAM_FAR_OFF, p.dst);
  putAddress(p.family, record + layout.DGRAM_CLIENT_OFF, p.src);
  store<u16>(record, <u16>be16(p.l4 + 4), layout.DGRAM_ID_OFF);
  store<u16>(record, <u16>be16(p.l4 + 6), layout.DGRAM_SEQ_OFF);
  const flags: u8 = (p.flags & PKT_DF) != 0 ? <u8>layout.DGRAM_FLAG_DF : 0;
  store<u8>(record, flags, layout.DGRAM_FLAGS_OFF);
  store<u8>(record, <u8>p.hops, layout.DGRAM_HOPS_OFF);
}

/** Sends a staged reply. False only if TX has no room. */
export function echoOutput(record: usize): bool {
  const family = <u32>load<u16>(record, layout.DGRAM_FAMILY_OFF);
  const len = load<u32>(record, layout.DGRAM_LEN_OFF);
  if (family != 4 && family != 6) {
    count(layout.DROP_STALE);
    return true;
  }
  if (len > (family == 4 ? DATA_MAX_4 : DATA_MAX_6)) {
    count(layout.DROP_TOO_BIG);
    return true;
  }
  reply.family = family;
  reply.src = record + layout.DGRAM_FAR_OFF;
  reply.dst = record + layout.DGRAM_CLIENT_OFF;
  reply.data = load<u32>(record, layout.DGRAM_PTR_OFF);
  reply.len = len;
  const id = <u32>load<u16>(record, layout.DGRAM_ID_OFF);
  return sendEchoReply(reply, (id << 16) | load<u16>(record, layout.DGRAM_SEQ_OFF));
}
