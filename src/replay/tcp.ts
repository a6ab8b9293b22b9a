/**
 * TCP connections of a replay. The client's packets go into the core; what the recorded server said
 * comes from the capture: its SYN-ACK accepts the connection, its bytes are written upstream's way,
 * its FIN ends them, its RST aborts.
 *
 * With any other upstream the server's packets count for nothing, and the client acknowledges
 * whatever the core has sent by then.
 */
import * as abi from "../../assembly/abi.ts";
import type { IpFacts } from "../pcap/ip.ts";
import { Conversation, TcpFacts, endKey, type ConversationTable } from "./conversation.ts";
import type { Driver } from "./driver.ts";
import { ClientFeeder } from "./feeder.ts";
import { closeVerdict, isFastOpen, isSameConnection, noteOtherIss, stateName } from "./judge.ts";
import { RecordedStream } from "./recorded.ts";
import {
  ACK,
  FIN,
  RST,
  SYN,
  readSegment,
  removeSack,
  seqDistance,
  translate,
  tsEcho,
  tsValue,
  type TcpSegment,
} from "./segment.ts";
import type { Hasher, Upstream } from "./types.ts";

const REFUSED = "refused";
/** Bytes on their way back, beyond which an echo reads no more. */
const ECHO_BYTES_MAX = 1024 ** 2;

export interface TcpContext {
  readonly driver: Driver;
  readonly table: ConversationTable;
  readonly upstream: Upstream;
  readonly makeHash: () => Hasher;
  /** Feeds a packet that counts as the client's. */
  readonly feed: (packet: Uint8Array) => void;
}

export class TcpReplay {
  readonly #context: TcpContext;
  readonly #flows = new Map<number, Conversation>();
  readonly #feeder: ClientFeeder;
  #emptyDigest: string | undefined;

  constructor(context: TcpContext) {
    this.#context = context;
    this.#feeder = new ClientFeeder({
      driver: context.driver,
      feed: context.feed,
      accept: (conversation) => this.#accept(conversation),
      pump: (conversation) => this.#pump(conversation),
    });
  }

  /** When the first of the packets that wait has waited long enough; Infinity if none waits. */
  deadline(): number {
    return this.#feeder.deadline();
  }

  /** Feeds what need not wait any more; all of it if `force`. */
  drain(force = false): void {
    this.#feeder.drain(force);
  }

  /* ---- packets of the capture ---- */

  /** A segment of the capture. `isWrong`: its checksum is, and the core is to see that. */
  segment(segment: TcpSegment, isWrong: boolean): "client" | "server" {
    const conversation = this.#conversation(segment);
    conversation.packets++;
    const { ip } = segment;
    const sender = endKey(ip.data, ip.src, ip.addressBytes, segment.sport);
    if (sender !== conversation.clientEnd) {
      if (this.#isRecorded && !isWrong) this.#server(conversation, segment);
      return "server";
    }
    conversation.tcp.hasSyn ||= (segment.flags & (SYN | ACK)) === SYN;
    if (isWrong) this.#context.feed(ip.data);
    else this.#client(conversation, segment);
    return "client";
  }

  /** The role that a segment's sender would have; nothing is noted. */
  isFromServer(segment: TcpSegment): boolean {
    const { ip } = segment;
    const sender = endKey(ip.data, ip.src, ip.addressBytes, segment.sport);
    const receiver = endKey(ip.data, ip.dst, ip.addressBytes, segment.dport);
    const known = this.#context.table.between(sender, receiver);
    return known !== undefined && known.proto === "tcp" && known.clientEnd !== sender;
  }

  #conversation(segment: TcpSegment): Conversation {
    const { ip, sport, dport, flags, seq } = segment;
    const { table } = this.#context;
    const sender = endKey(ip.data, ip.src, ip.addressBytes, sport);
    const receiver = endKey(ip.data, ip.dst, ip.addressBytes, dport);
    const known = table.between(sender, receiver);
    const isSyn = (flags & (SYN | ACK | RST)) === SYN;
    if (known !== undefined && (!isSyn || isSameConnection(known, sender, seq))) return known;
    const isAnswer = (flags & (SYN | ACK)) === (SYN | ACK);
    const isFromClient = isSyn || (!isAnswer && (sport >= 1024 || dport < 1024));
    const fresh = new Conversation("tcp", ip, [sport, dport], isFromClient);
    fresh.tcp = new TcpFacts(this.#isRecorded ? new RecordedStream() : undefined);
    if (known !== undefined && known.handle !== 0) {
      fresh.tcp.before = known;
      if (!this.#isRecorded) this.#abort(known);
    }
    table.add(fresh);
    return fresh;
  }

  #client(conversation: Conversation, segment: TcpSegment): void {
    const { flags, seq } = segment;
    const isSyn = (flags & (SYN | ACK)) === SYN;
    if (isSyn && conversation.verdict === REFUSED) {
      // The client tries again with the same number.
      conversation.verdict = "";
      conversation.tcp = new TcpFacts(this.#isRecorded ? new RecordedStream() : undefined);
    }
    const { tcp } = conversation;
    if (isSyn && tcp.irs === undefined) {
      tcp.irs = seq;
      tcp.clientScale = segment.scale;
      if (segment.payload.length > 0) tcp.synPayload = segment.payload.slice();
      if (tcp.before !== undefined) tcp.syn = segment.ip.data.slice();
    }
    if (tcp.irs !== undefined && segment.payloadBytes > 0) {
      const end = seqDistance(tcp.irs, seq) - (isSyn ? 0 : 1) + segment.payloadBytes;
      tcp.clientEnd = Math.max(tcp.clientEnd, end);
    }
    if (!this.#isRecorded) {
      this.#follow(conversation, segment);
      return;
    }
    this.#feeder.take(conversation, segment);
  }

  /** What the capture has of the server. */
  #server(conversation: Conversation, segment: TcpSegment): void {
    const { tcp } = conversation;
    const { flags, seq } = segment;
    if ((flags & RST) !== 0) {
      tcp.isServerReset = true;
      this.#abort(conversation);
      return;
    }
    if ((flags & (SYN | ACK)) === (SYN | ACK)) this.#serverSyn(conversation, segment);
    else if ((flags & SYN) !== 0) return;
    tcp.serverIss ??= (seq - 1) >>> 0;
    if (tcp.serverTs === undefined && segment.tsAt !== 0) tcp.serverTs = tsValue(segment);
    const { stream } = tcp;
    if (stream === undefined) return;
    const isSyn = (flags & SYN) !== 0;
    const from = seqDistance(tcp.serverIss, seq) - (isSyn ? 0 : 1);
    // What is far behind is an old connection's; a keep-alive's byte stands before the first.
    if (segment.payloadBytes > 0 && from >= 0) {
      stream.add(from, segment.payload, segment.payloadBytes);
    }
    if ((flags & FIN) !== 0 && from >= 0) stream.end ??= from + segment.payloadBytes;
    this.#pump(conversation);
    this.#context.driver.settle();
  }

  #serverSyn(conversation: Conversation, segment: TcpSegment): void {
    const { tcp } = conversation;
    if (tcp.hasServerSyn) {
      noteOtherIss(tcp, segment.seq);
      return;
    }
    if (tcp.irs !== undefined && segment.ack !== (tcp.irs + 1) >>> 0 && !isFastOpen(tcp, segment)) {
      return;
    }
    tcp.hasServerSyn = true;
    tcp.serverIss = segment.seq;
    tcp.serverScale = segment.scale;
    this.#accept(conversation);
  }

  /* ---- into the core ---- */

  get #isRecorded(): boolean {
    return this.#context.upstream === "recorded";
  }

  #accept(conversation: Conversation): void {
    const { driver } = this.#context;
    const { before } = conversation.tcp;
    conversation.tcp.before = undefined;
    if (before !== undefined && before.handle !== 0 && conversation.handle === 0) {
      // The ends were used again: the server had nothing of the old connection any more.
      this.#abort(before);
      const { syn } = conversation.tcp;
      conversation.tcp.syn = undefined;
      if (syn !== undefined) this.#context.feed(syn);
    }
    if (conversation.handle === 0) return;
    driver.core.x.accept(conversation.handle, driver.nowUs);
    driver.settle();
  }

  #abort(conversation: Conversation): void {
    const { driver } = this.#context;
    if (conversation.handle === 0) return;
    const { x } = driver.core;
    if (conversation.tcp.coreIss === undefined) {
      x.reject(conversation.handle, abi.REJECT_RST, driver.nowUs);
    } else {
      x.abort(conversation.handle, driver.nowUs);
    }
    driver.settle();
  }

  /** The network said that a pending connection's server cannot be reached (REJECT_…). */
  unreachable(conversation: Conversation, how: number): void {
    const { driver } = this.#context;
    if (conversation.handle === 0 || conversation.tcp.coreIss !== undefined) return;
    driver.core.x.reject(conversation.handle, how, driver.nowUs);
    driver.settle();
  }

  /** A client that acknowledges whatever the core has sent. */
  #follow(conversation: Conversation, segment: TcpSegment): void {
    const { tcp } = conversation;
    if (tcp.coreIss !== undefined && (segment.flags & (ACK | SYN)) === ACK) {
      removeSack(segment);
      const shift = seqDistance(segment.ack, tcp.coreSent);
      const echo = { shift: seqDistance(tsEcho(segment), tcp.coreTsLast), max: tcp.coreTsLast };
      const how = { ackShift: shift, ackMax: tcp.coreSent, echo, windowShift: 0 };
      translate({ ...segment, sackBlocks: 0 }, how);
    }
    this.#feeder.feed(conversation, segment);
  }

  /* ---- what the core says ---- */

  flowEvent(handle: number, flags: number, ptr: number, code: number): void {
    if ((flags & abi.EV_OPEN) !== 0) this.#open(handle, ptr);
    const conversation = this.#flows.get(handle);
    if (conversation === undefined) return;
    if ((flags & abi.EV_READABLE) !== 0) this.#read(conversation);
    if ((flags & abi.EV_WRITABLE) !== 0) {
      this.#pump(conversation);
      if (this.#context.upstream === "echo") this.#read(conversation);
    }
    if ((flags & abi.EV_FIN) !== 0) this.#clientEnded(conversation);
    if ((flags & abi.EV_CLOSED) === 0) return;
    this.#flows.delete(handle);
    this.#note(conversation, ptr);
    conversation.state = "closed";
    conversation.verdict = closeVerdict(code);
    if (conversation.verdict === "reset by server" && conversation.tcp.coreIss === undefined) {
      conversation.verdict = REFUSED;
    }
    this.#end(conversation);
  }

  #open(handle: number, ptr: number): void {
    const { core, nowUs } = this.#context.driver;
    const bytes = core.u8[ptr + abi.FLOW_FAMILY_OFF] === 6 ? 16 : 4;
    const local = core.u16[(ptr + abi.FLOW_LOCAL_PORT_OFF) >> 1] ?? 0;
    const remote = core.u16[(ptr + abi.FLOW_REMOTE_PORT_OFF) >> 1] ?? 0;
    const client = endKey(core.u8, ptr + abi.FLOW_REMOTE_OFF, bytes, remote);
    const server = endKey(core.u8, ptr + abi.FLOW_LOCAL_OFF, bytes, local);
    const conversation = this.#context.table.between(client, server);
    if (conversation === undefined || conversation.clientEnd !== client) {
      core.x.reject(handle, abi.REJECT_DROP, nowUs);
      return;
    }
    conversation.handle = handle;
    conversation.ptr = ptr;
    conversation.isOpened = true;
    this.#flows.set(handle, conversation);
    const { upstream } = this.#context;
    if (upstream === "refuse" || (this.#isRecorded && conversation.tcp.isServerReset)) {
      core.x.reject(handle, abi.REJECT_RST, nowUs);
    } else if (upstream !== "recorded" || conversation.tcp.hasServerSyn) {
      core.x.accept(handle, nowUs);
    }
  }

  #clientEnded(conversation: Conversation): void {
    const { tcp } = conversation;
    tcp.hasClientFin = true;
    if (this.#isRecorded) return;
    this.#read(conversation);
    const stream = (tcp.stream ??= new RecordedStream());
    stream.end = stream.next;
    this.#pump(conversation);
  }

  /** Bytes for upstream. */
  #read(conversation: Conversation): void {
    const { core, nowUs } = this.#context.driver;
    const { handle } = conversation;
    const isEcho = this.#context.upstream === "echo";
    while (!isEcho || (conversation.tcp.stream?.readyBytes ?? 0) < ECHO_BYTES_MAX) {
      const count = core.x.recvPeek(handle);
      if (count <= 0) return;
      let bytes = 0;
      for (const span of core.spans(count)) {
        conversation.hash ??= this.#context.makeHash();
        conversation.hash.update(span);
        bytes += span.length;
        if (isEcho) (conversation.tcp.stream ??= new RecordedStream()).say(span);
      }
      conversation.clientBytes += bytes;
      core.x.recvConsume(handle, bytes, nowUs);
      if (isEcho) this.#pump(conversation);
    }
  }

  /** Writes what upstream has to say, as far as the core takes it. */
  #pump(conversation: Conversation): void {
    const { core, nowUs } = this.#context.driver;
    const { handle, tcp } = conversation;
    const { stream } = tcp;
    if (handle === 0 || stream === undefined || tcp.coreIss === undefined) return;
    for (let first = stream.first; first !== undefined; first = stream.first) {
      const taken = core.write(handle, first, nowUs);
      if (taken <= 0) return;
      conversation.serverBytes += taken;
      stream.taken(taken);
      if (taken < first.length) return;
    }
    if (!stream.isEnded || tcp.isShut) return;
    tcp.isShut = core.x.shutdown(handle, nowUs) >= 0;
  }

  /** A packet of the core to a client. */
  sent(ip: IpFacts): void {
    const segment = readSegment(ip);
    if (segment === undefined || (segment.flags & RST) !== 0) return;
    const server = endKey(ip.data, ip.src, ip.addressBytes, segment.sport);
    const client = endKey(ip.data, ip.dst, ip.addressBytes, segment.dport);
    const conversation = this.#context.table.between(server, client);
    if (conversation === undefined || conversation.clientEnd !== client) return;
    const { tcp } = conversation;
    const isSyn = (segment.flags & SYN) !== 0;
    const own = (isSyn ? 1 : 0) + ((segment.flags & FIN) !== 0 ? 1 : 0);
    const end = (segment.seq + segment.payload.length + own) >>> 0;
    if (isSyn && tcp.irs !== undefined && segment.ack === (tcp.irs + 1) >>> 0) {
      tcp.coreIss ??= segment.seq;
      if (tcp.coreSent === 0) tcp.coreSent = end;
      tcp.coreTs = tsValue(segment);
    }
    if (tcp.coreIss === undefined) return;
    if (seqDistance(tcp.coreSent, end) > 0) tcp.coreSent = end;
    if (segment.tsAt !== 0) tcp.coreTsLast = tsValue(segment);
  }

  /* ---- the end ---- */

  /** Notes how a connection stands; the core's record is at `ptr`. */
  #note(conversation: Conversation, ptr: number): void {
    const { core } = this.#context.driver;
    conversation.state = stateName(core.u8[ptr + abi.FLOW_STATE_OFF] ?? 0);
    conversation.retransmissions = core.u32[(ptr + abi.FLOW_RETRANSMITS_OFF) >> 2] ?? 0;
  }

  /** Writes down how connections stand that are still open, and what became of all others. */
  finish(): void {
    for (const conversation of this.#context.table.all) {
      if (conversation.proto !== "tcp" || conversation.verdict !== "") continue;
      const { tcp } = conversation;
      if (conversation.handle === 0) {
        conversation.verdict = tcp.hasSyn ? "dropped" : "no start";
        continue;
      }
      this.#note(conversation, conversation.ptr);
      const hasGap = tcp.clientEnd > conversation.clientBytes;
      conversation.verdict = tcp.coreIss === undefined ? "unanswered" : hasGap ? "gap" : "open";
      this.#flows.delete(conversation.handle);
      this.#end(conversation);
    }
  }

  /** A conversation gave way in the table: its flow ends. */
  forget(conversation: Conversation): void {
    this.#feeder.forget(conversation);
    if (conversation.verdict !== "") return;
    this.#abort(conversation);
    conversation.verdict = "forgotten";
  }

  #end(conversation: Conversation): void {
    conversation.handle = 0;
    this.#emptyDigest ??= this.#context.makeHash().digest();
    conversation.digest = (conversation.hash?.digest() ?? this.#emptyDigest).slice(0, 16);
    conversation.hash = undefined;
    conversation.filled = conversation.tcp.stream?.filled ?? 0;
    conversation.tcp.stream = undefined;
  }
}
