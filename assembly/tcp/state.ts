/**
 * Connection states (RFC 9293 §3.3.2) and the only writer of them. We never open actively, so
 * LISTEN and SYN-SENT do not exist; every free tuple listens. PENDING stands before SYN-RECEIVED: a
 * SYN that the host has not decided on.
 *
 * The gauges of pending and half-open flows follow the states.
 */
import {
  GAUGE_HALF_OPEN,
  GAUGE_PENDING,
  TCP_CLOSE_WAIT,
  TCP_CLOSED,
  TCP_CLOSING,
  TCP_ESTABLISHED,
  TCP_FIN_WAIT_1,
  TCP_FIN_WAIT_2,
  TCP_LAST_ACK,
  TCP_PENDING,
  TCP_SYN_RECEIVED,
  TCP_TIME_WAIT,
} from "../layout";
import { gauge, setGauge } from "../mem/stats";
import { Tcb } from "./tcb";

/** For each state, a bit for each state that may follow (RFC 9293 §3.3.2, figure 5). */
function successors(state: u32): u32 {
  switch (state) {
    case TCP_CLOSED:
      return bit(TCP_PENDING) | bit(TCP_SYN_RECEIVED);
    case TCP_PENDING:
      return bit(TCP_SYN_RECEIVED) | bit(TCP_CLOSED);
    case TCP_SYN_RECEIVED:
      return bit(TCP_ESTABLISHED) | bit(TCP_CLOSED);
    case TCP_ESTABLISHED:
      return bit(TCP_FIN_WAIT_1) | bit(TCP_CLOSE_WAIT) | bit(TCP_CLOSED);
    case TCP_FIN_WAIT_1:
      return bit(TCP_FIN_WAIT_2) | bit(TCP_CLOSING) | bit(TCP_TIME_WAIT) | bit(TCP_CLOSED);
    case TCP_FIN_WAIT_2:
      return bit(TCP_TIME_WAIT) | bit(TCP_CLOSED);
    case TCP_CLOSE_WAIT:
      return bit(TCP_LAST_ACK) | bit(TCP_CLOSED);
    case TCP_CLOSING:
      return bit(TCP_TIME_WAIT) | bit(TCP_CLOSED);
    case TCP_LAST_ACK:
      return bit(TCP_CLOSED);
    case TCP_TIME_WAIT:
      return bit(TCP_CLOSED);
    default:
      return 0;
  }
}

/** Whether `to` may follow `from`. */
function mayFollow(from: u32, to: u32): bool {
  return (successors(from) & bit(to)) != 0;
}

/** Changes the state; a change that the table lacks is our own defect and traps. */
export function setState(tcb: Tcb, to: u32): void {
  const from = <u32>tcb.state;
  assert(mayFollow(from, to));
  if (from == TCP_PENDING) setGauge(GAUGE_PENDING, gauge(GAUGE_PENDING) - 1);
  if (from == TCP_SYN_RECEIVED) setGauge(GAUGE_HALF_OPEN, gauge(GAUGE_HALF_OPEN) - 1);
  if (to == TCP_PENDING) setGauge(GAUGE_PENDING, gauge(GAUGE_PENDING) + 1);
  if (to == TCP_SYN_RECEIVED) setGauge(GAUGE_HALF_OPEN, gauge(GAUGE_HALF_OPEN) + 1);
  tcb.state = <u8>to;
}

/** States in which the client's data is taken. */
export function mayReceive(state: u32): bool {
  return state == TCP_ESTABLISHED || state == TCP_FIN_WAIT_1 || state == TCP_FIN_WAIT_2;
}

/** RFC 9293's synchronised states, TIME-WAIT apart. */
export function isSynchronised(state: u32): bool {
  return state >= TCP_ESTABLISHED && state <= TCP_LAST_ACK;
}

function bit(state: u32): u32 {
  return 1 << state;
}
