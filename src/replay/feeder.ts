/**
 * How a client's packets come into the core when the server is the recorded one.
 *
 * The core has sequence numbers and timestamps of its own, so acknowledgements are shifted by the
 * difference of both initial numbers. An acknowledgement of bytes that the core has not sent yet
 * waits, and with it all later packets of its connection. Meanwhile the client, which must have had
 * the bytes before, acknowledges what there is: else the core's congestion window would wait for
 * the packet that waits for it. When the capture lacks bytes that the client acknowledged, zeros
 * stand for them after a while.
 */
import { dissect, repairSums } from "../pcap/ip.ts";
import type { Conversation } from "./conversation.ts";
import type { Driver } from "./driver.ts";
import { RecordedStream } from "./recorded.ts";
import {
  ACK,
  RST,
  SYN,
  furthestAck,
  makeSegment,
  readSegment,
  seqDistance,
  translate,
  tsEcho,
  type TcpSegment,
} from "./segment.ts";

/** How long a packet waits for the core, in virtual time and in packets behind it. */
const HOLD_US = 1_000_000;
const HOLD_PACKETS = 64;
/** All that wait together. */
const HELD_BYTES_MAX = 64 * 1024 ** 2;
/** An acknowledgement of more than this beyond the server's bytes is no lost packet, but a lie. */
const AHEAD_MAX = 4 * 1024 ** 2;
/** Partial acknowledgements for one packet; each lets the core send on. */
const PARTIAL_MAX = 10_000;

export interface FeederContext {
  readonly driver: Driver;
  readonly feed: (packet: Uint8Array) => void;
  /** The recorded server answered the SYN. */
  readonly accept: (conversation: Conversation) => void;
  /** Writes what the server has to say, as far as the core takes it. */
  readonly pump: (conversation: Conversation) => void;
}

export class ClientFeeder {
  readonly #context: FeederContext;
  readonly #waiting = new Set<Conversation>();
  #heldBytes = 0;

  constructor(context: FeederContext) {
    this.#context = context;
  }

  /** Takes the client's next segment: feeds it now or later. */
  take(conversation: Conversation, segment: TcpSegment): void {
    if (conversation.tcp.held.length > 0 || !this.#tryFeed(conversation, segment, false)) {
      this.#hold(conversation, segment);
    }
  }

  /** Drops what waits. */
  forget(conversation: Conversation): void {
    for (const { segment } of conversation.tcp.held.splice(0)) {
      this.#heldBytes -= segment.ip.data.length;
    }
    this.#waiting.delete(conversation);
  }

  /** Feeds a segment; the payload of a SYN follows when the handshake is through. */
  feed(conversation: Conversation, segment: TcpSegment): void {
    const { tcp } = conversation;
    this.#context.feed(segment.ip.data);
    const isFirstAck = (segment.flags & (ACK | SYN | RST)) === ACK && tcp.irs !== undefined;
    if (tcp.synPayload === undefined || !isFirstAck || tcp.coreIss === undefined) return;
    // RFC 7413 §4.1.3: the core acknowledged the SYN alone, so the client sends the data again.
    const fields = { seq: (tcp.irs ?? 0) + 1, ack: tcp.coreIss + 1, window: 65_535 };
    const packet = makeSegment(segment, fields, tcp.synPayload);
    tcp.synPayload = undefined;
    this.#feedMade(packet);
  }

  #feedMade(packet: Uint8Array): void {
    const ip = dissect(packet, 0, packet.length);
    if (ip === undefined) return;
    repairSums(ip);
    this.#context.feed(packet);
  }

  /** Feeds a client's segment, translated; false if it has to wait. `force`: it may not. */
  #tryFeed(conversation: Conversation, segment: TcpSegment, force: boolean): boolean {
    const { tcp } = conversation;
    if ((segment.flags & (ACK | SYN)) !== ACK) {
      this.#context.feed(segment.ip.data);
      return true;
    }
    this.#inferServer(conversation, segment);
    if (tcp.coreIss === undefined || tcp.serverIss === undefined) {
      this.#context.feed(segment.ip.data);
      return true;
    }
    const isPlausible = this.#reach(conversation, segment, force);
    const shift = seqDistance(tcp.serverIss, tcp.coreIss);
    const furthest = (furthestAck(segment) + shift) >>> 0;
    const isAhead = seqDistance(tcp.coreSent, furthest) > 0;
    if (isPlausible && isAhead && !force && conversation.handle !== 0) return false;
    const ackMax = isPlausible ? tcp.coreSent : furthest;
    const ack = (segment.ack + shift) >>> 0;
    tcp.ackFed = seqDistance(ackMax, ack) > 0 ? ackMax : ack;
    const hasScale = tcp.serverScale === undefined || tcp.serverScale >= 0;
    translate(segment, {
      ackShift: shift,
      ackMax,
      echo:
        tcp.serverTs === undefined
          ? undefined
          : { shift: seqDistance(tcp.serverTs, tcp.coreTs), max: tcp.coreTsLast },
      windowShift: hasScale ? 0 : Math.min(14, Math.max(0, tcp.clientScale)),
    });
    this.feed(conversation, segment);
    return true;
  }

  /** A connection that the client goes on with had a SYN-ACK, whether the capture has it or not. */
  #inferServer(conversation: Conversation, segment: TcpSegment): void {
    const { tcp } = conversation;
    if (conversation.handle === 0 || (segment.flags & RST) !== 0 || tcp.irs === undefined) return;
    const chosen = (segment.ack - 1) >>> 0;
    if (tcp.ackFed === undefined && tcp.otherIss.includes(chosen)) {
      tcp.serverIss = chosen;
      tcp.otherIss = [];
      tcp.stream = new RecordedStream();
    }
    if (tcp.coreIss !== undefined) return;
    if (tcp.serverIss === undefined) {
      tcp.serverIss = chosen;
      if (segment.tsAt !== 0) tcp.serverTs = tsEcho(segment);
    }
    this.#context.accept(conversation);
  }

  /**
   * Brings the core to send what the segment acknowledges, as far as the capture has it. False if
   * no server can have sent so much.
   */
  #reach(conversation: Conversation, segment: TcpSegment, force: boolean): boolean {
    const { tcp } = conversation;
    const { stream } = tcp;
    const { driver } = this.#context;
    if (stream === undefined) return true;
    const base = (tcp.serverIss ?? 0) + 1;
    const wanted = seqDistance(base, furthestAck(segment));
    if (wanted - stream.next > AHEAD_MAX) return false;
    if (force) stream.fill(Math.min(wanted, stream.end ?? wanted));
    this.#context.pump(conversation);
    driver.settle();
    const target = (furthestAck(segment) + seqDistance(base - 1, tcp.coreIss ?? 0)) >>> 0;
    for (let round = 0; round < PARTIAL_MAX && conversation.handle !== 0; round++) {
      if (seqDistance(tcp.coreSent, target) <= 0 || tcp.ackFed === tcp.coreSent) break;
      this.#partialAck(conversation, segment, target);
      this.#context.pump(conversation);
      driver.settle();
    }
    return true;
  }

  /** The client acknowledges what there is, with the window that it must have had. */
  #partialAck(conversation: Conversation, segment: TcpSegment, target: number): void {
    const { tcp } = conversation;
    const { ip } = segment;
    const scale = tcp.serverScale === undefined || tcp.serverScale >= 0 ? tcp.clientScale : 0;
    const field = ((ip.data[ip.l4 + 14] ?? 0) << 8) | (ip.data[ip.l4 + 15] ?? 0);
    const shift = Math.min(14, Math.max(0, scale));
    const coreShift = Math.min(14, Math.max(0, tcp.clientScale));
    const bytes = field * 2 ** shift + seqDistance(tcp.coreSent, target);
    const fields = {
      seq: this.#clientNext(conversation),
      ack: tcp.coreSent,
      window: Math.min(65_535, Math.ceil(bytes / 2 ** coreShift)),
    };
    const packet = makeSegment(segment, fields, new Uint8Array(0));
    const made = dissect(packet, 0, packet.length);
    const read = made === undefined ? undefined : readSegment(made);
    if (read === undefined) return;
    if (read.tsAt !== 0) {
      const view = new DataView(packet.buffer);
      view.setUint32(read.tsAt + 4, tcp.coreTsLast);
    }
    tcp.ackFed = tcp.coreSent;
    this.#feedMade(packet);
  }

  /** The sequence number that the core expects of the client. */
  #clientNext(conversation: Conversation): number {
    const { irs, hasClientFin } = conversation.tcp;
    return ((irs ?? 0) + 1 + conversation.clientBytes + (hasClientFin ? 1 : 0)) >>> 0;
  }

  /* ---- packets that wait ---- */

  #hold(conversation: Conversation, segment: TcpSegment): void {
    const copy = readSegment({ ...segment.ip, data: segment.ip.data.slice() });
    if (copy === undefined) return;
    conversation.tcp.held.push({ segment: copy, atUs: this.#context.driver.nowUs });
    this.#heldBytes += copy.ip.data.length;
    this.#waiting.add(conversation);
  }

  /** When the first of the packets that wait has waited long enough; Infinity if none waits. */
  deadline(): number {
    let first = Infinity;
    for (const { tcp } of this.#waiting) {
      first = Math.min(first, (tcp.held[0]?.atUs ?? Infinity) + HOLD_US);
    }
    return first;
  }

  /** Feeds what need not wait any more; all of it if `force`. */
  drain(force = false): void {
    for (const conversation of this.#waiting) {
      this.#drainOne(conversation, force);
      if (conversation.tcp.held.length === 0) this.#waiting.delete(conversation);
    }
  }

  #drainOne(conversation: Conversation, force: boolean): void {
    const { held } = conversation.tcp;
    const { nowUs } = this.#context.driver;
    for (let head = held[0]; head !== undefined; head = held[0]) {
      if (!this.#tryFeed(conversation, head.segment, false)) {
        const isOver = nowUs - head.atUs >= HOLD_US || held.length > HOLD_PACKETS;
        if (!force && !isOver && this.#heldBytes <= HELD_BYTES_MAX) return;
        this.#tryFeed(conversation, head.segment, true);
      }
      held.shift();
      this.#heldBytes -= head.segment.ip.data.length;
    }
  }
}
