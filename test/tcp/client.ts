/**
 * A client made of hand-written segments, for tests that say exactly what arrives and what must go
 * out. It keeps the numbers of one connection; nothing is sent or acknowledged unless a test says
 * so. Sequence numbers start just below the wrap.
 */
import * as abi from "../../assembly/abi.ts";
import { CoreHarness, type CoreEvent, type CoreSetup } from "../kit/core.ts";
import {
  CLIENT_4,
  CLIENT_6,
  expectTcp,
  offloadedTcp,
  SERVER_4,
  SERVER_6,
  tcpPacket,
  withVnet,
  type TcpFields,
  type TcpOptions,
  type TcpSeen,
} from "../kit/packet.ts";

export const MS = 1000;
export const SECOND = 1_000_000;

export interface ClientSetup {
  family?: 4 | 6;
  sport?: number;
  dport?: number;
  iss?: number;
  /** Options of the SYN; timestamps begin at `tsval`. */
  options?: TcpOptions;
  window?: number;
}

/** The usual options of Linux, without timestamps. */
export const SYN_OPTIONS: TcpOptions = { mss: 1460, sackOk: true, wscale: 7 };

export class Client {
  readonly core: CoreHarness;
  readonly fields: TcpFields;
  readonly iss: number;
  readonly synOptions: TcpOptions;
  /** What the next segment carries. */
  seq: number;
  ack = 0;
  window: number;
  handle = 0;
  /** The core's initial sequence number. */
  peerIss = 0;
  readonly events: CoreEvent[] = [];

  constructor(core: CoreHarness, setup: ClientSetup = {}) {
    const { family = 4, sport = 40_000, dport = 80, iss = 0xffff_ff00 } = setup;
    this.core = core;
    const src = family === 4 ? CLIENT_4 : CLIENT_6;
    this.fields = { src, dst: family === 4 ? SERVER_4 : SERVER_6, sport, dport };
    this.iss = iss;
    this.seq = iss;
    this.synOptions = setup.options ?? SYN_OPTIONS;
    this.window = setup.window ?? 65_535;
  }

  /** Sends segments of this connection in one batch; fields left out are the usual ones. */
  send(...segments: readonly TcpFields[]): TcpSeen[] {
    this.core.send(...segments.map((fields) => this.packet(fields)));
    return this.flush();
  }

  packet(fields: TcpFields): Uint8Array {
    const { vnetBytes } = this.core;
    const common = { seq: this.seq, ack: this.ack, flags: "A", window: this.window };
    const bytes = tcpPacket({ ...this.fields, ...common, ...fields });
    return vnetBytes === 0 ? bytes : withVnet(bytes, { bytes: vnetBytes });
  }

  /** One super-packet of `payload`, cut into `gsoSize`. */
  sendSuper(payload: Uint8Array, gsoSize: number, fields: TcpFields = {}): TcpSeen[] {
    const common = { seq: this.seq, ack: this.ack, flags: "A", window: this.window };
    const whole = { ...this.fields, ...common, ...fields, payload };
    this.core.send(offloadedTcp(whole, gsoSize, this.core.vnetBytes));
    return this.flush();
  }

  /** All that the core sends now, events taken. */
  flush(): TcpSeen[] {
    this.events.push(...this.core.events());
    return this.seen(this.core.flush());
  }

  /** Lets time pass; what was sent meanwhile. */
  run(us: number): TcpSeen[] {
    const out = this.seen(this.core.run(us));
    this.events.push(...this.core.events());
    return out;
  }

  seen(packets: readonly Uint8Array[]): TcpSeen[] {
    return packets.map((bytes) => expectTcp(bytes, this.core.framing));
  }

  /** Sends the SYN; in faithful mode the flow is pending then. */
  syn(fields: TcpFields = {}): TcpSeen[] {
    const out = this.send({ flags: "S", ack: 0, options: this.synOptions, ...fields });
    const event = this.events.find(({ flags }) => (flags & abi.EV_OPEN) !== 0);
    if (event !== undefined) this.handle = event.handle;
    this.onSynAck(out);
    return out;
  }

  /** Accepts the pending flow; the SYN-ACK. */
  accept(): TcpSeen {
    this.core.accept(this.handle);
    const out = this.flush();
    this.onSynAck(out);
    return out[0]!;
  }

  onSynAck(out: readonly TcpSeen[]): void {
    const synAck = out.find(({ flags }) => flags === "SA");
    if (synAck === undefined) return;
    this.peerIss = synAck.seq;
    this.ack = (synAck.seq + 1) >>> 0;
    this.seq = (this.iss + 1) >>> 0;
  }

  /** The whole handshake. */
  connect(): this {
    this.syn();
    if (this.ack === 0) this.accept();
    this.send({});
    return this;
  }

  /** Sequence number `offset` bytes into the client's stream. */
  at(offset: number): number {
    return (this.iss + 1 + offset) >>> 0;
  }

  /** Sequence number `offset` bytes into the core's stream. */
  theirs(offset: number): number {
    return (this.peerIss + 1 + offset) >>> 0;
  }

  /** Event bits that came since the last call. */
  bits(): number {
    const bits = this.events.reduce((all, { flags }) => all | flags, 0);
    this.events.length = 0;
    return bits;
  }

  /** Code of the closed event, 0 if none came; releases the flow. */
  closed(): number {
    this.events.push(...this.core.events());
    const event = this.events.find(({ flags }) => (flags & abi.EV_CLOSED) !== 0);
    this.events.length = 0;
    if (event === undefined) return 0;
    this.core.release(event.handle);
    return event.code;
  }
}

/** A core and a client; options by the keys of the option table. */
export function makeClient(core: CoreSetup = {}, client: ClientSetup = {}): Client {
  return new Client(new CoreHarness(core), client);
}

/** A core and a client with an established connection. */
export function connected(core: CoreSetup = {}, client: ClientSetup = {}): Client {
  return makeClient(core, client).connect();
}
