/**
 * Somebody who is not on the path: segments with guessed numbers for connections that exist (RFC
 * 5961), stray ones for connections that do not, SYNs from invented sources, rubbish. Nothing of it
 * may hurt a connection, so guesses that could hit are left out: data and RSTs lie outside of the
 * window, or at the end of it, where the next byte never is.
 */
import { seqAdd } from "../kit/bytes.ts";
import { ipPacket, tcpPacket, withVnet, type TcpFields } from "../kit/packet.ts";
import type { Random } from "../kit/random.ts";
import type { Client } from "./client.ts";
import type { AttackPlan } from "./scenario.ts";

export class Attacker {
  readonly #plan: AttackPlan;
  readonly #random: Random;
  readonly #clients: readonly Client[];
  readonly #vnetBytes: number;
  #nextUs: number;
  #left: number;

  constructor(plan: AttackPlan, random: Random, clients: readonly Client[], startUs: number) {
    this.#plan = plan;
    this.#random = random;
    this.#clients = clients;
    this.#vnetBytes = clients[0]?.plan.peer.vnetBytes ?? 0;
    this.#nextUs = startUs + random.below(plan.everyUs);
    this.#left = plan.count;
  }

  deadline(): number {
    return this.#left > 0 ? this.#nextUs : Infinity;
  }

  act(nowUs: number): Uint8Array[] {
    const out: Uint8Array[] = [];
    while (this.#left > 0 && nowUs >= this.#nextUs) {
      this.#left--;
      this.#nextUs += this.#random.between(1, 2 * this.#plan.everyUs);
      const packet = this.#packet();
      if (packet.length > 0) out.push(packet);
    }
    const bytes = this.#vnetBytes;
    return bytes === 0 ? out : out.map((packet) => withVnet(packet, { bytes }));
  }

  #packet(): Uint8Array {
    const kind = this.#random.pick(this.#plan.kinds);
    if (kind === "flood") return this.#flood();
    if (kind === "stray") return this.#stray();
    if (kind === "rubbish") return this.#rubbish();
    return this.#guess();
  }

  #stranger(): TcpFields {
    const isSix = this.#random.chance(0.5);
    const number = this.#random.between(1, 250);
    return {
      src: isSix ? `2001:db8:1::${number.toString(16)}` : `198.51.100.${number}`,
      dst: isSix ? "2001:db8::200" : "192.0.2.200",
      sport: this.#random.between(1024, 39_999),
      dport: this.#random.pick([80, 443, 22, 9]),
    };
  }

  #flood(): Uint8Array {
    const options = this.#random.chance(0.5) ? { mss: 1460, sackOk: true, wscale: 7 } : {};
    return tcpPacket({ ...this.#stranger(), flags: "S", seq: this.#random.next(), options });
  }

  #stray(): Uint8Array {
    const flags = this.#random.pick(["A", "RA", "R", "F", "FA", "SA", "PA", "", "SF", "SR"]);
    const payload = new Uint8Array(this.#random.pick([0, 0, 1, 500]));
    const numbers = { seq: this.#random.next(), ack: this.#random.next() };
    return tcpPacket({ ...this.#stranger(), flags, payload, ...numbers });
  }

  #rubbish(): Uint8Array {
    const { src = "", dst = "" } = this.#stranger();
    const proto = this.#random.pick([6, 17, 1, 58, 0, 44, 60, 132, 255]);
    const bytes = this.#random.bytes(this.#random.pick([0, 1, 8, 20, 60, 400]));
    return ipPacket({ src, dst }, proto, bytes);
  }

  /** A segment for a living connection, by somebody who guesses its numbers well. */
  #guess(): Uint8Array {
    const { watch, plan } = this.#random.pick(this.#clients);
    const { src, dst, sport, dport } = plan.peer;
    const window = watch.window;
    if (window === undefined || window.isEnding) return new Uint8Array(0);
    const { ack, edge, sent } = window;
    const below = seqAdd(ack, -this.#random.between(100_000, 10_000_000));
    const beyond = seqAdd(edge, this.#random.between(100_000, 10_000_000));
    const seq = this.#random.pick([below, beyond]);
    const flags = this.#random.pick(["R", "RA", "A", "PA", "FA", "S", "SA", "SR", "SFPU", ""]);
    const payload = new Uint8Array(this.#random.pick([0, 0, 1, 1000])).fill(0xee);
    const told = this.#random.pick([sent, seqAdd(sent, 1_000_000), seqAdd(sent, -2_000_000_000)]);
    return tcpPacket({ src, dst, sport, dport, seq, ack: told, flags, payload, window: 0 });
  }
}
