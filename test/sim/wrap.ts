/**
 * A time to start at, so that the first client's connection gets an initial sequence number just
 * below 2^32. RFC 6528 §3: the number is a secret function of the ends, plus a clock of 4 µs; so
 * one trial tells how long to wait.
 */
import { seqDiff } from "../kit/bytes.ts";
import { CoreHarness, type CoreSetup } from "../kit/core.ts";
import { expectTcp, tcpPacket, withVnet } from "../kit/packet.ts";
import type { ClientPlan } from "./scenario.ts";

const TICK_US = 4;
const BELOW_WRAP = 30_000;
const MODULUS = 2 ** 32;

export function startBeforeWrap(setup: CoreSetup, clients: readonly ClientPlan[]): CoreSetup {
  const [first] = clients;
  if (first === undefined) return setup;
  const core = new CoreHarness(setup);
  const { src, dst, sport, dport, vnetBytes = 0 } = first.peer;
  const syn = tcpPacket({ src, dst, sport, dport, flags: "S", seq: 1 });
  core.send(vnetBytes === 0 ? syn : withVnet(syn, { bytes: vnetBytes }));
  const [opened] = core.events();
  if (opened === undefined) return setup;
  // In immediate mode the answer is on its way already.
  core.exports.accept(opened.handle, core.nowUs);
  const [answer] = core.flush();
  if (answer === undefined) return setup;
  const { seq } = expectTcp(answer, core.framing);
  const wanted = MODULUS - BELOW_WRAP;
  const ticks = (seqDiff(wanted, seq) + MODULUS) % MODULUS;
  const waitUs = ticks * TICK_US - first.startUs;
  return { ...setup, startUs: core.nowUs + (waitUs < 0 ? waitUs + MODULUS * TICK_US : waitUs) };
}
