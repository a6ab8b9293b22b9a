/**
 * The conversations of a capture: who opened each, what the capture and the core say about it. The
 * table is bounded; the oldest gives way, and rows above a number are only counted.
 */
import { addressText } from "../core/core.ts";
import type { IpFacts } from "../pcap/ip.ts";
import type { RecordedStream } from "./recorded.ts";
import type { TcpSegment } from "./segment.ts";
import type { FlowRow, Hasher } from "./types.ts";

const LIVE_MAX = 65_536;
/** Entries of the queue of age that were dealt with, before it is made shorter. */
const PASSED_MAX = 65_536;
const ROWS_MAX = 200_000;

/** One end as a string of UTF-16 units: port, then the address. */
export function endKey(data: Uint8Array, at: number, addressBytes: number, port: number): string {
  let key = String.fromCharCode(port);
  for (let from = at; from < at + addressBytes; from += 2) {
    key += String.fromCharCode(((data[from] ?? 0) << 8) | (data[from + 1] ?? 0));
  }
  return key;
}

/** The same for both directions. */
export function pairKey(one: string, other: string): string {
  return one < other ? one + other : other + one;
}

/** A packet of the client that waits. */
export interface Held {
  readonly segment: TcpSegment;
  readonly atUs: number;
}

/** A TCP connection's numbers; those that are not known yet are undefined. */
export class TcpFacts {
  /** A SYN of the client was seen, whatever its checksum. */
  hasSyn = false;
  /** The number of the client's SYN. */
  irs: number | undefined;
  clientScale = -1;
  synPayload: Uint8Array | undefined;
  /** The furthest byte of the client, counted from the first after its SYN. */
  clientEnd = 0;
  /** The recorded server's initial sequence number, its first timestamp, and its SYN-ACK. */
  serverIss: number | undefined;
  serverTs: number | undefined;
  serverScale: number | undefined;
  hasServerSyn = false;
  /** Initial sequence numbers of other SYN-ACKs: two servers behind one address. */
  otherIss: number[] = [];
  isServerReset = false;
  /** The core's initial sequence number and timestamps, and the furthest that it sent. */
  coreIss: number | undefined;
  coreTs = 0;
  coreTsLast = 0;
  coreSent = 0;
  /** The latest acknowledgement that the core was given. */
  ackFed: number | undefined;
  isShut = false;
  hasClientFin = false;
  /** The connection before on the same ends, while the core may still have it. */
  before: Conversation | undefined;
  /** The SYN, to be sent again when that one is gone. */
  syn: Uint8Array | undefined;
  /** Taken away when the connection is over. */
  stream: RecordedStream | undefined;
  held: Held[] = [];

  constructor(stream?: RecordedStream) {
    this.stream = stream;
  }
}

/** For rows whose connection nobody will hear of again. */
const NO_FACTS = new TcpFacts();

export class Conversation {
  readonly proto: "tcp" | "udp";
  readonly clientEnd: string;
  readonly serverEnd: string;
  readonly src: string;
  readonly sport: number;
  readonly dst: string;
  readonly dport: number;
  tcp = new TcpFacts();
  packets = 0;
  /** The core's handle while it has the flow, else 0. */
  handle = 0;
  /** Address of its record. */
  ptr = 0;
  isOpened = false;
  /** Of the core's record; "none" if there never was one. */
  state = "none";
  verdict = "";
  clientBytes = 0;
  serverBytes = 0;
  retransmissions = 0;
  filled = 0;
  hash: Hasher | undefined;
  digest = "";

  /** Made from the first packet that was seen; `isFromClient` tells who sent it. */
  constructor(proto: "tcp" | "udp", ip: IpFacts, ports: readonly [number, number], from: boolean) {
    const { data, addressBytes, family } = ip;
    const [client, server] = from ? [ip.src, ip.dst] : [ip.dst, ip.src];
    const real = {
      src: ip.real?.src ?? data.subarray(ip.src, ip.src + addressBytes),
      dst: ip.real?.dst ?? data.subarray(ip.dst, ip.dst + addressBytes),
    };
    this.proto = proto;
    this.sport = from ? ports[0] : ports[1];
    this.dport = from ? ports[1] : ports[0];
    this.src = addressText(from ? real.src : real.dst, family);
    this.dst = addressText(from ? real.dst : real.src, family);
    this.clientEnd = endKey(data, client, addressBytes, this.sport);
    this.serverEnd = endKey(data, server, addressBytes, this.dport);
  }

  row(): FlowRow {
    const isTcp = this.proto === "tcp";
    return {
      proto: this.proto,
      src: this.src,
      sport: this.sport,
      dst: this.dst,
      dport: this.dport,
      packets: this.packets,
      state: this.state,
      verdict: this.verdict,
      client_bytes: this.clientBytes,
      server_bytes: this.serverBytes,
      retransmissions: this.retransmissions,
      ...(isTcp && this.digest !== "" ? { client_sha256: this.digest } : {}),
      ...(this.filled > 0 ? { server_filled: this.filled } : {}),
    };
  }
}

export class ConversationTable {
  readonly #live = new Map<string, Conversation>();
  readonly #all: Conversation[] = [];
  /** All that were added, the oldest first from `#oldest` on. */
  readonly #byAge: Conversation[] = [];
  #oldest = 0;
  readonly #onForgotten: (conversation: Conversation) => void;
  omitted = 0;

  /** `onForgotten`: a conversation gave way, whatever its state. */
  constructor(onForgotten: (conversation: Conversation) => void) {
    this.#onForgotten = onForgotten;
  }

  get all(): readonly Conversation[] {
    return this.#all;
  }

  /** The latest conversation between two ends. */
  between(one: string, other: string): Conversation | undefined {
    return this.#live.get(pairKey(one, other));
  }

  /** Adds a conversation; it takes the place of one with the same ends. */
  add(conversation: Conversation): void {
    const key = pairKey(conversation.clientEnd, conversation.serverEnd);
    this.#live.delete(key);
    if (this.#live.size >= LIVE_MAX) this.#forgetOldest();
    this.#live.set(key, conversation);
    this.#byAge.push(conversation);
    if (this.#all.length < ROWS_MAX) this.#all.push(conversation);
    else this.omitted++;
  }

  #forgetOldest(): void {
    for (;;) {
      const conversation = this.#byAge[this.#oldest++];
      if (conversation === undefined) return;
      if (this.#oldest > PASSED_MAX) {
        this.#byAge.splice(0, this.#oldest);
        this.#oldest = 0;
      }
      const key = pairKey(conversation.clientEnd, conversation.serverEnd);
      // Another may have its place by now.
      if (this.#live.get(key) !== conversation) continue;
      this.#live.delete(key);
      this.#onForgotten(conversation);
      conversation.tcp = NO_FACTS;
      return;
    }
  }
}
