/**
 * ACKs that answer senseless or suspicious segments (RFC 5961 §3-5): so many a second and flow
 * (TCP-75). The limit is the flow's own, so nobody can observe one flow through another
 * (CVE-2016-5696).
 */
import { STAT_CHALLENGE_ACKS } from "../layout";
import { now } from "../mem/clock";
import { count } from "../mem/stats";
import { F_ACK_NOW, Tcb } from "./tcb";

const CHALLENGES_MAX: u32 = 10;
const INTERVAL_US: f64 = 1000000.0;

/** Makes an ACK due, if the flow has not sent its share of such already. */
export function challenge(tcb: Tcb): void {
  if (now() - tcb.challengeAt >= INTERVAL_US) {
    tcb.challengeAt = now();
    tcb.challenges = 0;
  }
  if (<u32>tcb.challenges >= CHALLENGES_MAX) return;
  tcb.challenges++;
  tcb.set(F_ACK_NOW);
  count(STAT_CHALLENGE_ACKS);
}
