/**
 * UDP of a replay: a client's datagrams go into the core, which makes mappings; what the recorded
 * servers answered is sent to the mapping of the socket that it went to, if there is one.
 */
import * as abi from "../../assembly/abi.ts";
import type { IpFacts } from "../pcap/ip.ts";
import { be16 } from "../pcap/sum.ts";
import { Conversation, endKey, type ConversationTable } from "./conversation.ts";
import type { Driver } from "./driver.ts";
import type { Upstream } from "./types.ts";

const HEADER_BYTES = 8;
/** Who speaks from these ports to others answers. */
const SERVER_PORTS: readonly number[] = [53, 80, 443];

export interface UdpContext {
  readonly driver: Driver;
  readonly table: ConversationTable;
  readonly upstream: Upstream;
  readonly feed: (packet: Uint8Array) => void;
}

/** A datagram on its way to a mapping's client. */
interface Answer {
  readonly handle: number;
  readonly kind: number;
  readonly family: number;
  readonly far: Uint8Array;
  readonly port: number;
  readonly data: Uint8Array;
  /** For errors: REJECT_…. */
  readonly how: number;
}

export class UdpReplay {
  readonly #context: UdpContext;
  /** Mappings by the client's socket, and the other way round. */
  readonly #mappings = new Map<string, number>();
  readonly #clients = new Map<number, string>();

  constructor(context: UdpContext) {
    this.#context = context;
  }

  isFromServer(ip: IpFacts): boolean {
    const known = this.#known(ip);
    return known !== undefined && known.clientEnd !== senderOf(ip);
  }

  /** A datagram of the capture; `isWrong` as for TCP. */
  datagram(ip: IpFacts, isWrong: boolean): "client" | "server" {
    const conversation = this.#conversation(ip);
    conversation.packets++;
    if (conversation.clientEnd === senderOf(ip)) {
      this.#context.feed(ip.data);
      return "client";
    }
    if (this.#context.upstream === "recorded" && !isWrong) this.#answer(conversation, ip);
    return "server";
  }

  #known(ip: IpFacts): Conversation | undefined {
    const { data, l4 } = ip;
    const receiver = endKey(data, ip.dst, ip.addressBytes, be16(data, l4 + 2));
    const known = this.#context.table.between(senderOf(ip), receiver);
    return known?.proto === "udp" ? known : undefined;
  }

  #conversation(ip: IpFacts): Conversation {
    const known = this.#known(ip);
    if (known !== undefined) return known;
    const [sport, dport] = [be16(ip.data, ip.l4), be16(ip.data, ip.l4 + 2)];
    const isAnswer = SERVER_PORTS.includes(sport) && !SERVER_PORTS.includes(dport);
    const fresh = new Conversation("udp", ip, [sport, dport], !isAnswer);
    this.#context.table.add(fresh);
    return fresh;
  }

  #answer(conversation: Conversation, ip: IpFacts): void {
    const handle = this.#mappings.get(conversation.clientEnd);
    const { data, l4 } = ip;
    const claimed = be16(data, l4 + 4);
    if (handle === undefined || claimed < HEADER_BYTES || l4 + claimed > data.length) return;
    conversation.serverBytes += claimed - HEADER_BYTES;
    this.#stage({
      handle,
      kind: abi.DGRAM_UDP,
      family: ip.family,
      far: data.subarray(ip.src, ip.src + ip.addressBytes),
      port: be16(data, l4),
      data: data.subarray(l4 + HEADER_BYTES, l4 + claimed),
      how: 0,
    });
  }

  /** The network said that what a client wrote to cannot be reached (REJECT_…). */
  unreachable(conversation: Conversation, family: number, how: number): void {
    const handle = this.#mappings.get(conversation.clientEnd);
    if (handle === undefined) return;
    conversation.verdict = "refused";
    const bytes = new Uint8Array(family === 4 ? 4 : 16);
    const key = conversation.serverEnd;
    for (let at = 0; at < bytes.length; at++) {
      const unit = key.charCodeAt(1 + (at >> 1));
      bytes[at] = at % 2 === 0 ? unit >> 8 : unit;
    }
    const none = new Uint8Array(0);
    const port = conversation.dport;
    this.#stage({ handle, kind: abi.DGRAM_ERROR, family, far: bytes, port, data: none, how });
  }

  #stage(answer: Answer): void {
    const { driver } = this.#context;
    const { core } = driver;
    const record = abi.STAGE_BASE;
    core.u32[record >> 2] = answer.kind;
    core.u32[(record + abi.DGRAM_HANDLE_OFF) >> 2] = answer.handle;
    core.u8.set(answer.data, core.u32[(record + abi.DGRAM_PTR_OFF) >> 2] ?? 0);
    core.u32[(record + abi.DGRAM_LEN_OFF) >> 2] = answer.data.length;
    core.u32[(record + abi.DGRAM_GSO_OFF) >> 2] = answer.how;
    core.u16[(record + abi.DGRAM_FAMILY_OFF) >> 1] = answer.family;
    core.u16[(record + abi.DGRAM_PORT_OFF) >> 1] = answer.port;
    core.u8.set(answer.far, record + abi.DGRAM_FAR_OFF);
    driver.stage();
  }

  /* ---- what the core says ---- */

  mappingEvent(handle: number, flags: number, ptr: number): void {
    const { core } = this.#context.driver;
    if ((flags & abi.EV_MAPPING_OPEN) !== 0) {
      const bytes = core.u8[ptr + abi.FLOW_FAMILY_OFF] === 6 ? 16 : 4;
      const port = core.u16[(ptr + abi.FLOW_REMOTE_PORT_OFF) >> 1] ?? 0;
      const client = endKey(core.u8, ptr + abi.FLOW_REMOTE_OFF, bytes, port);
      this.#mappings.set(client, handle);
      this.#clients.set(handle, client);
    }
    if ((flags & abi.EV_MAPPING_CLOSED) === 0) return;
    const client = this.#clients.get(handle);
    this.#clients.delete(handle);
    if (client !== undefined && this.#mappings.get(client) === handle) {
      this.#mappings.delete(client);
    }
  }

  /** A datagram record out of the core: what upstream gets. */
  fromCore(record: number): void {
    const { core } = this.#context.driver;
    if (core.u32[record >> 2] !== abi.DGRAM_UDP) return;
    const handle = core.u32[(record + abi.DGRAM_HANDLE_OFF) >> 2] ?? 0;
    const family = core.u16[(record + abi.DGRAM_FAMILY_OFF) >> 1] ?? 4;
    const port = core.u16[(record + abi.DGRAM_PORT_OFF) >> 1] ?? 0;
    const farBytes = family === 4 ? 4 : 16;
    const server = endKey(core.u8, record + abi.DGRAM_FAR_OFF, farBytes, port);
    const conversation = this.#context.table.between(this.#clients.get(handle) ?? "", server);
    if (conversation === undefined) return;
    const ptr = core.u32[(record + abi.DGRAM_PTR_OFF) >> 2] ?? 0;
    const length = core.u32[(record + abi.DGRAM_LEN_OFF) >> 2] ?? 0;
    conversation.isOpened = true;
    conversation.state = "mapped";
    conversation.clientBytes += length;
    if (this.#context.upstream === "refuse") {
      this.unreachable(conversation, family, abi.REJECT_PORT_UNREACHABLE);
    }
    if (this.#context.upstream !== "echo") return;
    conversation.serverBytes += length;
    this.#stage({
      handle,
      kind: abi.DGRAM_UDP,
      family,
      far: core.u8.slice(record + abi.DGRAM_FAR_OFF, record + abi.DGRAM_FAR_OFF + farBytes),
      port,
      data: core.u8.slice(ptr, ptr + length),
      how: 0,
    });
  }

  finish(): void {
    for (const conversation of this.#context.table.all) {
      if (conversation.proto !== "udp" || conversation.verdict !== "") continue;
      const isAnswered = conversation.serverBytes > 0;
      conversation.verdict = !conversation.isOpened
        ? "dropped"
        : isAnswered
          ? "answered"
          : "unanswered";
    }
  }
}

function senderOf(ip: IpFacts): string {
  return endKey(ip.data, ip.src, ip.addressBytes, be16(ip.data, ip.l4));
}
