/**
 * What a hostile or strange client does to the segments it sends, between its TCP and the link
 * (RFC 3465 and RFC 5681 §3.1 on divided and early ACKs, RFC 2018 §8 on reneging, RFC 9293 §3.8.6
 * on shrinking and silly windows). Its TCP stays sound, so where a trick only slows the flow, every
 * byte still has to arrive.
 */
import { seqAdd, seqDiff } from "../kit/bytes.ts";
import type { TcpSeen } from "../kit/expect.ts";
import type { TcpFields } from "../kit/packet.ts";
import type { TcpPeer } from "../kit/peer.ts";
import type { Random } from "../kit/random.ts";

export type TrickKind =
  /** One ACK as many small ones. */
  | "divide"
  /** What was reported by SACK is dropped. */
  | "renege"
  /** The window goes back and forth. */
  | "shrink"
  /** Windows of a few bytes. */
  | "silly"
  /** SACK blocks of what never arrived, was never sent, or makes no sense. */
  | "sack-lies"
  /** ACKs of what was sent and did not arrive, or was never sent. */
  | "optimistic";

export const TRICKS: readonly TrickKind[] = [
  "divide",
  "renege",
  "shrink",
  "silly",
  "sack-lies",
  "optimistic",
];

/** Bytes may be lost for good: who lies about what arrived has no claim to it. */
export function isSelfHarm(kind: TrickKind): boolean {
  return kind === "optimistic";
}

export class Trick {
  readonly #kind: TrickKind;
  readonly #random: Random;
  /** The acknowledgement told last, and the end of what the core sent. */
  #told: number | undefined;
  #sent: number | undefined;
  #scale = 0;

  constructor(kind: TrickKind, random: Random) {
    this.#kind = kind;
    this.#random = random;
  }

  /** What the core sent, whether it arrives or not. */
  onSent(seen: TcpSeen): void {
    if (seen.flags.includes("R")) return;
    if (this.#sent === undefined || seqDiff(seen.end, this.#sent) > 0) this.#sent = seen.end;
  }

  /** Before the client's TCP looks for what to send. */
  act(peer: TcpPeer): void {
    if (this.#kind === "renege" && this.#random.chance(0.02)) peer.receiver.renege();
  }

  /** The segments that leave instead of one. */
  twist(fields: TcpFields): TcpFields[] {
    const flags = String(fields.flags ?? "");
    if (flags.includes("S")) {
      this.#scale = fields.options?.wscale ?? 0;
      return [fields];
    }
    if (flags.includes("R") || fields.ack === undefined) return [fields];
    if (this.#kind === "divide") return this.#divide(fields, fields.ack);
    if (this.#kind === "shrink") return [this.#narrow(fields, 0.3, fields.window ?? 0)];
    if (this.#kind === "silly") return [this.#narrow(fields, 0.7, 100 >> this.#scale)];
    if (this.#kind === "sack-lies") return [this.#lie(fields, fields.ack)];
    if (this.#kind === "optimistic") return [this.#anticipate(fields, fields.ack)];
    return [fields];
  }

  #divide(fields: TcpFields, ack: number): TcpFields[] {
    const told = this.#told ?? ack;
    const step = seqDiff(ack, told);
    this.#told = ack;
    if (step < 2 || step > 2 ** 24 || fields.payload !== undefined) return [fields];
    const parts = Math.min(step, this.#random.between(2, 40));
    const early = Array.from({ length: parts - 1 }, (_, i) => ({
      ...fields,
      ack: seqAdd(told, Math.floor((step * (i + 1)) / parts)),
    }));
    return [...early, fields];
  }

  #narrow(fields: TcpFields, chance: number, most: number): TcpFields {
    const { window = 0 } = fields;
    if (!this.#random.chance(chance)) return fields;
    return { ...fields, window: this.#random.below(Math.min(window, most) + 1) };
  }

  #lie(fields: TcpFields, ack: number): TcpFields {
    const { options = {} } = fields;
    const mayLie = this.#sent !== undefined && fields.payload === undefined;
    // Only who agreed on SACK may send blocks; its TCP puts in the true ones, if there are any.
    if (!mayLie || !this.#random.chance(0.2)) return fields;
    const room = options.ts === undefined ? 4 : 3;
    const flying = Math.max(1, seqDiff(this.#sent ?? ack, ack));
    const sack = Array.from({ length: this.#random.between(1, room) }, () => {
      const left = seqAdd(ack, this.#random.between(-3000, flying + 3000));
      return [left, seqAdd(left, this.#random.between(-500, 5000))] as const;
    });
    return { ...fields, options: { ...options, sack } };
  }

  #anticipate(fields: TcpFields, ack: number): TcpFields {
    if (this.#sent === undefined || !this.#random.chance(0.2)) return fields;
    const beyond = this.#random.chance(0.3) ? this.#random.between(1, 100_000) : 0;
    const { window = 0 } = fields;
    const unit = 2 ** this.#scale;
    // The right edge stays where its TCP put it, which would refuse what lies beyond.
    const ahead = Math.min(seqDiff(this.#sent, ack) + beyond, window * unit);
    if (ahead <= 0) return fields;
    return { ...fields, ack: seqAdd(ack, ahead), window: window - Math.ceil(ahead / unit) };
  }
}
