/**
 * UDP and echo in the simulation: clients send numbered datagrams, whole or in fragments; the host
 * answers, reports errors, closes mappings. What arrives at the host, and what the core sends for
 * the host, is what was sent; whether it arrives at all is the link's affair.
 */
import * as abi from "../../assembly/abi.ts";
import { get32, onesSum, pattern, put32, sameBytes } from "../kit/bytes.ts";
import type { CoreEvent, CoreHarness, Datagram } from "../kit/core.ts";
import { expectIcmp, expectUdp, joinFragments, type Packet } from "../kit/expect.ts";
import { fragment4, fragment6, icmpPacket, udpPacket, withVnet } from "../kit/packet.ts";
import type { Random } from "../kit/random.ts";
import type { DatagramPlan } from "./scenario.ts";

const UDP = 17;
const ERRORS = [
  abi.REJECT_NET_UNREACHABLE,
  abi.REJECT_HOST_UNREACHABLE,
  abi.REJECT_PROHIBITED,
  abi.REJECT_PORT_UNREACHABLE,
];

/** Bit flips in two fragments of one datagram, which no checksum tells. */
function isUnnoticed(payload: Uint8Array, wanted: Uint8Array): boolean {
  if (payload.length !== wanted.length || onesSum(payload) !== onesSum(wanted)) return false;
  return payload.filter((byte, at) => byte !== wanted[at]).length <= 4;
}

interface Ends {
  readonly src: string;
  readonly dst: string;
}

export class Datagrams {
  readonly #plan: DatagramPlan;
  readonly #random: Random;
  readonly #core: CoreHarness;
  #nextUs: number;
  #number = 0;
  /** Fragments of a datagram that the core is sending. */
  #pieces: Uint8Array[] = [];
  readonly mappings = new Set<number>();

  constructor(plan: DatagramPlan, random: Random, core: CoreHarness) {
    this.#plan = plan;
    this.#random = random;
    this.#core = core;
    this.#nextUs = core.nowUs + random.below(plan.everyUs);
  }

  deadline(): number {
    return this.#number < this.#plan.count ? this.#nextUs : Infinity;
  }

  /** Packets of the clients. */
  act(): Uint8Array[] {
    const out: Uint8Array[] = [];
    while (this.#core.nowUs >= this.deadline()) {
      this.#nextUs += this.#random.between(1, 2 * this.#plan.everyUs);
      out.push(...this.#make(this.#number++));
    }
    const bytes = this.#core.vnetBytes;
    return bytes === 0 ? out : out.map((packet) => withVnet(packet, { bytes }));
  }

  /** Number and size tell what a datagram has to hold. */
  #payload(number: number, size: number): Uint8Array {
    const bytes = pattern(Math.max(4, size), number + 7_000_000);
    put32(bytes, 0, number);
    return bytes;
  }

  #ends(): Ends {
    const index = this.#random.below(this.#plan.clients);
    return this.#random.chance(0.5)
      ? { src: `2001:db8::3:${index.toString(16)}`, dst: "2001:db8::200" }
      : { src: `192.0.2.${100 + index}`, dst: "192.0.2.200" };
  }

  #make(number: number): Uint8Array[] {
    const ends = this.#ends();
    const sizes = [4, 40, 500, 1200, 4000, 9000, 60_000];
    const payload = this.#payload(number, this.#random.pick(sizes));
    const sport = 50_000 + this.#random.below(this.#plan.clients);
    const dport = this.#random.pick([53, 7, 4433]);
    const packet = this.#random.chance(0.3)
      ? icmpPacket({ ...ends, echoId: number >>> 16, echoSeq: number & 0xffff, payload })
      : udpPacket({ ...ends, sport, dport, payload });
    return packet.length > this.#core.mtu ? this.#cut(packet, number) : [packet];
  }

  /** Fragments in any order, now and then with one missing, twice, or overlapping. */
  #cut(packet: Uint8Array, number: number): Uint8Array[] {
    const isSix = packet[0]! >> 4 === 6;
    const length = packet.length - (isSix ? 40 : 20);
    const step = this.#random.between(60, Math.floor((this.#core.mtu - 60) / 8)) * 8;
    const cuts = Array.from({ length: Math.ceil(length / step) - 1 }, (_, i) => (i + 1) * step);
    const pieces = isSix ? fragment6(packet, cuts, number) : fragment4(packet, cuts, number);
    if (this.#random.chance(0.1)) pieces.splice(this.#random.below(pieces.length), 1);
    if (this.#random.chance(0.1)) pieces.push(this.#random.pick(pieces));
    if (this.#random.chance(0.3)) pieces.sort(() => this.#random.between(-1, 1));
    return pieces;
  }

  /** What the core hands to the host. */
  onDatagram(datagram: Datagram): void {
    const { payload } = datagram;
    this.#check(payload, `${datagram.kind === abi.DGRAM_UDP ? "UDP" : "echo"} to the host`);
    if (datagram.kind === abi.DGRAM_UDP && !this.mappings.has(datagram.handle)) {
      this.mappings.add(datagram.handle);
    }
    if (!this.#random.chance(0.8)) return;
    if (datagram.kind === abi.DGRAM_ECHO) this.#stage(datagram);
    else this.#answer(datagram);
  }

  #answer(datagram: Datagram): void {
    const kind = this.#random.below(10);
    if (kind === 0) {
      const gso = this.#random.pick(ERRORS);
      this.#stage({ ...datagram, kind: abi.DGRAM_ERROR, gso, payload: new Uint8Array(0) });
    } else if (kind === 1) this.#stage({ ...datagram, port: this.#random.between(1, 65_535) });
    else if (kind === 2) {
      const size = this.#random.pick([4, 2000, 20_000, 65_000]);
      this.#stage({ ...datagram, payload: this.#payload(get32(datagram.payload, 0), size) });
    } else if (kind === 3) this.#core.exports.udpClose(datagram.handle, this.#core.nowUs);
    else this.#stage(datagram);
  }

  #stage(datagram: Datagram): void {
    const done = this.#core.stage(datagram);
    if (done > 1) throw new Error(`stageSend of one datagram answered ${done}`);
  }

  onEvent({ handle, flags }: CoreEvent): void {
    if ((flags & abi.EV_MAPPING_OPEN) !== 0) this.mappings.add(handle);
    if (!this.mappings.has(handle)) throw new Error(`event ${flags} of no mapping ${handle}`);
    if ((flags & abi.EV_MAPPING_CLOSED) === 0) return;
    this.mappings.delete(handle);
    this.#core.release(handle);
  }

  /** A packet of the core that is not TCP: whole, or a fragment of one that follows at once. */
  onSent(bytes: Uint8Array, seen: Packet): void {
    if (!seen.moreFragments && seen.fragOffset === 0) {
      this.#verify(bytes, seen, this.#core.vnetBytes);
      return;
    }
    this.#pieces.push(bytes);
    if (seen.moreFragments) return;
    const whole = joinFragments(this.#pieces, this.#core.framing);
    this.#pieces = [];
    this.#verify(whole, seen, 0);
  }

  #verify(bytes: Uint8Array, { proto }: Packet, vnetBytes: number): void {
    if (proto === UDP) {
      this.#check(expectUdp(bytes, { vnetBytes }).payload, "UDP to a client");
      return;
    }
    const { type, payload, echoId, echoSeq } = expectIcmp(bytes, { vnetBytes });
    if (type !== 0 && type !== 129) return;
    this.#check(payload, "echo to a client");
    const number = echoId * 65_536 + echoSeq;
    if (number !== get32(payload, 0)) throw new Error(`echo ${number} has other bytes`);
  }

  #check(payload: Uint8Array, what: string): void {
    const number = get32(payload, 0);
    const wanted = this.#payload(number, payload.length);
    const isRight = sameBytes(payload, wanted) || isUnnoticed(payload, wanted);
    if (!isRight || number >= this.#number) throw new Error(`${what}: rubbish, number ${number}`);
  }
}
