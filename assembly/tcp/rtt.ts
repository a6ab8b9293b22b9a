/**
 * Round trip time and retransmission timeout, RFC 6298. Measured in microseconds from the times of
 * transmission (sent.ts): timestamps of 1 ms would be too coarse for a link inside of one machine.
 */
import { CFG_RTO_INITIAL_MS, CFG_RTO_MAX_MS, CFG_RTO_MIN_MS } from "../layout";
import { config } from "../mem/config";
import { takeMinRtt } from "./rack";
import { seqLt } from "./seq";
import { Tcb } from "./tcb";

/**
 * RTT that is taken as measured at least, so that "no measurement" stays apart from "very fast".
 */
const RTT_US_MIN: f64 = 1.0;
const RTT_US_MAX: f64 = 60000000.0;

/** A new connection: RTO as configured, nothing measured. */
export function initRtt(tcb: Tcb): void {
  tcb.srttUs = 0;
  tcb.rttvarUs = 0;
  tcb.rtoUs = config(CFG_RTO_INITIAL_MS) * 1000;
  tcb.backoff = 0;
}

/**
 * A measurement from what an ACK newly acknowledged and what was sent once only (Karn, §3). All
 * make the minimum, one a round trip the average: RFC 6298's weights are made for that.
 */
export function sampleRtt(tcb: Tcb, us: u32): void {
  takeMinRtt(tcb, us);
  if (tcb.srttUs != 0 && seqLt(tcb.sndUna, tcb.rttSeq)) return;
  tcb.rttSeq = tcb.sndNxt;
  takeRtt(tcb, <f64>us);
}

/** RFC 6298 §2: SRTT, RTTVAR and RTO from a measurement. */
export function takeRtt(tcb: Tcb, us: f64): void {
  const rtt = <u32>min(max(us, RTT_US_MIN), RTT_US_MAX);
  if (tcb.srttUs == 0) {
    tcb.srttUs = rtt;
    tcb.rttvarUs = rtt >> 1;
  } else {
    const error = rtt > tcb.srttUs ? rtt - tcb.srttUs : tcb.srttUs - rtt;
    tcb.rttvarUs = tcb.rttvarUs - (tcb.rttvarUs >> 2) + (error >> 2);
    tcb.srttUs = max(tcb.srttUs - (tcb.srttUs >> 3) + (rtt >> 3), 1);
  }
  const rto = tcb.srttUs + max(tcb.rttvarUs << 2, 1000);
  tcb.rtoUs = min(max(rto, config(CFG_RTO_MIN_MS) * 1000), config(CFG_RTO_MAX_MS) * 1000);
}

/** The timeout with its doublings, §5.5 and §2.5. */
export function rtoNow(tcb: Tcb): f64 {
  const most = <f64>config(CFG_RTO_MAX_MS) * 1000.0;
  return min(<f64>tcb.rtoUs * <f64>((<u64>1) << min(tcb.backoff, 30)), most);
}
