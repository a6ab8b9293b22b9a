/** Small judgements about TCP connections: names of states and ends, and which SYN is whose. */
import * as abi from "../../assembly/abi.ts";
import type { Conversation, TcpFacts } from "./conversation.ts";
import { seqDistance, type TcpSegment } from "./segment.ts";

const STATES: Readonly<Record<number, string>> = Object.fromEntries(
  Object.entries(abi)
    .filter(([name]) => name.startsWith("TCP_"))
    .map(([name, value]) => [value, name.slice(4).toLowerCase().replaceAll("_", "-")]),
);

const VERDICTS: Readonly<Record<number, string>> = {
  [abi.CLOSE_DONE]: "done",
  [abi.CLOSE_RESET]: "reset by client",
  [abi.CLOSE_TIMEOUT]: "timeout",
  [abi.CLOSE_HOST]: "reset by server",
  [abi.CLOSE_PENDING]: "never answered",
  [abi.CLOSE_EVICTED]: "evicted",
  [abi.CLOSE_IDLE]: "idle",
  [abi.CLOSE_CANCELLED]: "taken back",
};

/** The name of a TCP_… state. */
export function stateName(state: number): string {
  return STATES[state] ?? "closed";
}

/** What an end (CLOSE_…) means for a replay. */
export function closeVerdict(code: number): string {
  return VERDICTS[code] ?? "closed";
}

/** Whether a SYN belongs to a known conversation. */
export function isSameConnection(known: Conversation, sender: string, seq: number): boolean {
  if (known.clientEnd !== sender) return false;
  const { irs, serverIss, hasServerSyn } = known.tcp;
  if (irs !== undefined) return irs === seq;
  // The SYN-ACK came first into the capture.
  return hasServerSyn && serverIss !== undefined;
}

/** A SYN-ACK that acknowledges the SYN's data as well. */
export function isFastOpen(
  { irs, synPayload }: { readonly irs: number | undefined; readonly synPayload?: unknown },
  segment: TcpSegment,
): boolean {
  const ahead = seqDistance(irs ?? 0, segment.ack);
  return synPayload !== undefined && ahead > 1 && ahead <= 65_536;
}

/** Different SYN-ACKs of one connection that are remembered. */
const OTHERS_MAX = 8;

/** Remembers a further SYN-ACK: two servers may stand behind one address. */
export function noteOtherIss(tcp: TcpFacts, iss: number): void {
  if (tcp.serverIss !== iss && tcp.otherIss.length < OTHERS_MAX) tcp.otherIss.push(iss);
}
