/**
 * One direction of a link in virtual time: delay, jitter, loss, duplication, reordering, bit flips,
 * a rate with a bounded queue. Everything comes from one seed.
 */
import type { Random } from "./random.ts";

export interface LinkSetup {
  delayUs?: number;
  jitterUs?: number;
  /** Probabilities a packet. */
  loss?: number;
  duplicate?: number;
  reorder?: number;
  /** How much later than others a reordered packet arrives at most; as much as a delay, if absent. */
  reorderUs?: number;
  flip?: number;
  /** Bytes a second, 0 = unlimited; and the most bytes that may wait. */
  rate?: number;
  queueBytes?: number;
  /** Every so often the link stands still for a while, and then delivers what it held. */
  stallEveryUs?: number;
  stallUs?: number;
  /** Bytes before the IP header that are never flipped. */
  vnetBytes?: number;
}

export interface Delivery {
  readonly bytes: Uint8Array;
  readonly isFlipped: boolean;
}

interface Waiting extends Delivery {
  readonly atUs: number;
}

const NEEDS_CSUM = 1;

export class Link {
  readonly setup: LinkSetup;
  readonly #random: Random;
  #waiting: Waiting[] = [];
  /** Index of the first that was not popped. */
  #first = 0;
  #freeUs = 0;
  #lastUs = 0;
  sent = 0;
  lost = 0;

  constructor(random: Random, setup: LinkSetup = {}) {
    this.#random = random;
    this.setup = setup;
  }

  get isEmpty(): boolean {
    return this.#first === this.#waiting.length;
  }

  push(packet: Uint8Array, nowUs: number): void {
    const { loss = 0, duplicate = 0, flip = 0 } = this.setup;
    this.sent++;
    if (this.#random.chance(loss)) {
      this.lost++;
      return;
    }
    const isFlipped = this.#random.chance(flip) && this.#mayFlip(packet);
    this.#enqueue(isFlipped ? this.#flipped(packet) : packet, isFlipped, nowUs);
    if (this.#random.chance(duplicate)) this.#enqueue(packet, false, nowUs);
  }

  /** A partial checksum would not notice a flipped payload, so such packets stay whole. */
  #mayFlip(packet: Uint8Array): boolean {
    const { vnetBytes = 0 } = this.setup;
    return vnetBytes === 0 || (packet[0]! & NEEDS_CSUM) === 0;
  }

  #flipped(packet: Uint8Array): Uint8Array {
    const { vnetBytes = 0 } = this.setup;
    const copy = Uint8Array.from(packet);
    const at = this.#random.between(vnetBytes, copy.length - 1);
    copy[at]! ^= 1 << this.#random.below(8);
    return copy;
  }

  #enqueue(bytes: Uint8Array, isFlipped: boolean, nowUs: number): void {
    const { delayUs = 0, jitterUs = 0, reorder = 0, rate = 0, queueBytes = Infinity } = this.setup;
    const { reorderUs = delayUs + jitterUs + 2000 } = this.setup;
    let leaves = nowUs;
    if (rate > 0) {
      const backlog = (Math.max(0, this.#freeUs - nowUs) * rate) / 1e6;
      if (backlog + bytes.length > queueBytes) {
        this.lost++;
        return;
      }
      this.#freeUs = Math.max(this.#freeUs, nowUs) + Math.ceil((bytes.length / rate) * 1e6);
      leaves = this.#freeUs;
    }
    leaves = this.#afterStall(leaves);
    let atUs = leaves + delayUs + this.#random.below(jitterUs + 1);
    // Jitter alone keeps the order, as one queue does; a reordered packet falls behind on purpose.
    if (this.#random.chance(reorder)) atUs += this.#random.below(reorderUs);
    else this.#lastUs = atUs = Math.max(atUs, this.#lastUs);
    this.#insert({ bytes: Uint8Array.from(bytes), isFlipped, atUs });
  }

  #afterStall(atUs: number): number {
    const { stallEveryUs = 0, stallUs = 0 } = this.setup;
    if (stallEveryUs === 0) return atUs;
    const since = atUs % stallEveryUs;
    return since < stallUs ? atUs - since + stallUs : atUs;
  }

  /** In the order of arrival; what arrives together, in the order of sending. */
  #insert(delivery: Waiting): void {
    let at = this.#waiting.length;
    while (at > this.#first && this.#waiting[at - 1]!.atUs > delivery.atUs) at--;
    if (at === this.#waiting.length) this.#waiting.push(delivery);
    else this.#waiting.splice(at, 0, delivery);
  }

  deadline(): number {
    return this.#waiting[this.#first]?.atUs ?? Infinity;
  }

  /** What has arrived by now, in order of arrival. */
  pop(nowUs: number): Delivery[] {
    const from = this.#first;
    while (this.deadline() <= nowUs) this.#first++;
    const due = this.#waiting.slice(from, this.#first);
    if (this.#first > 1000 || this.isEmpty) {
      this.#waiting = this.#waiting.slice(this.#first);
      this.#first = 0;
    }
    return due;
  }
}
