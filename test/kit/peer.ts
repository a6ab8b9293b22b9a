/**
 * A small client TCP for tests, written from the RFCs and apart from `assembly/`: one connection,
 * in virtual time, packets in and out as bytes. It also judges what it receives: options only as
 * agreed, no data beyond the window offered, acknowledgements of sent data alone. A breach throws.
 *
 * Use: `connect`, then in a loop `receive(packet)`, `poll(now)`, `take(now)`; `deadline()` says
 * when next. `write`, `finish`, `read`, `reset` are the application's calls.
 *
 * Longer than 400 lines, because it is one connection with all that it says and hears.
 */
import { seqAdd, seqDiff } from "./bytes.ts";
import { expectTcp, type TcpSeen } from "./expect.ts";
import { offloadedTcp, tcpPacket, withVnet, type TcpFields, type TcpOptions } from "./packet.ts";
import { PeerReceiver } from "./peer-receive.ts";
import { PeerSender, type Piece } from "./peer-send.ts";

export interface PeerSetup {
  src: string;
  dst: string;
  sport: number;
  dport: number;
  iss?: number;
  mss?: number;
  /** undefined: the option is not sent. */
  wscale?: number | undefined;
  sack?: boolean;
  timestamps?: boolean;
  mtu?: number;
  bufferBytes?: number;
  delayedAckUs?: number;
  vnetBytes?: 0 | 10 | 12;
  /** More than 0: data leaves in super-packets of up to so many bytes (needs a vnet header). */
  superBytes?: number;
  /** Probes an idle connection, so that a lost RST is found out. */
  keepaliveUs?: number;
  /** Makes other segments of the one that is to be sent: a hostile or strange end. */
  twist?: (fields: TcpFields) => readonly TcpFields[];
}

export type PeerState = "idle" | "syn-sent" | "open" | "reset" | "refused" | "gave-up";

const SYN_RETRIES_MAX = 8;
const WINDOW_MAX = 65535;
/** Without the option: RFC 9293 §3.7.1. */
const MSS_DEFAULT = 536;
const MSS_DEFAULT_6 = 1220;

export class TcpPeer {
  state: PeerState = "idle";
  readonly setup: PeerSetup;
  readonly sender = new PeerSender();
  readonly receiver: PeerReceiver;
  readonly #iss: number;
  #irs = 0;
  #out: Uint8Array[] = [];
  #ackNow = false;
  #ackAtUs = Infinity;
  #segmentsUnacked = 0;
  #synAtUs = Infinity;
  #synTries = 0;
  #sndScale = 0;
  #rcvScale = 0;
  #hasTs = false;
  #isServer = false;
  /** Our SYN-ACK was not acknowledged yet. */
  #isUnconfirmed = false;
  #tsRecent = 0;
  #heardUs = 0;
  #keepaliveUs = Infinity;

  constructor(setup: PeerSetup) {
    this.setup = setup;
    this.#iss = setup.iss ?? 0xffff_ff00;
    this.receiver = new PeerReceiver(setup.bufferBytes ?? 65535);
  }

  /** Sequence number of our FIN, once the application has finished. */
  get finSeq(): number | undefined {
    return this.sender.isFinished ? this.#seqOf(this.sender.stream.length) : undefined;
  }

  /** Both directions finished in order, and the far end knows it. */
  get isDone(): boolean {
    return this.sender.isFinAcked && this.receiver.isFinished;
  }

  get isOver(): boolean {
    return this.isDone || !["idle", "syn-sent", "open"].includes(this.state);
  }

  /* ---- the application ---- */

  connect(nowUs: number): void {
    this.state = "syn-sent";
    this.#sendSyn(nowUs);
  }

  /** The other side of an opening, so that two peers can be tried on each other. */
  answer(syn: Uint8Array, nowUs: number): void {
    const { vnetBytes = 0, timestamps, wscale } = this.setup;
    const seen = expectTcp(syn, { vnetBytes });
    this.#must(seen.flags === "S", `${seen.flags} is no SYN`);
    this.state = "open";
    this.#isServer = true;
    this.#isUnconfirmed = true;
    this.#irs = seen.seq;
    this.#hasTs = timestamps === true && seen.ts !== undefined;
    this.#tsRecent = seen.ts?.[0] ?? 0;
    if (seen.wscale !== undefined && wscale !== undefined) {
      this.#sndScale = Math.min(seen.wscale, 14);
      this.#rcvScale = Math.min(wscale, 14);
    }
    this.receiver.edge = Math.min(WINDOW_MAX, this.receiver.bufferBytes);
    this.#startSending(seen, seen.mss ?? MSS_DEFAULT);
    this.#sendSynAck(seen, nowUs);
  }

  write(bytes: Uint8Array): void {
    this.sender.append(bytes);
  }

  finish(): void {
    this.sender.finish();
  }

  read(most = Infinity): Uint8Array {
    const bytes = this.receiver.read(most);
    const worth = Math.min(2 * this.sender.mss, this.receiver.bufferBytes / 2);
    const step = Math.max(worth, 2 ** this.#rcvScale);
    const isOpen = this.state === "open" && !this.receiver.isFinished;
    if (isOpen && this.receiver.mayOpenBy(WINDOW_MAX * 2 ** this.#rcvScale) >= step) {
      this.#ackNow = true;
    }
    return bytes;
  }

  reset(nowUs: number): void {
    if (this.state === "open" || this.state === "syn-sent") {
      const seq = seqAdd(this.#iss, 1 + (this.state === "open" ? this.sender.max : 0));
      this.#emit({ flags: this.state === "open" ? "RA" : "R", seq, window: 0 }, nowUs);
    }
    this.state = "reset";
  }

  /* ---- time ---- */

  deadline(): number {
    if (this.state === "syn-sent") return this.#synAtUs;
    if (this.state !== "open") return Infinity;
    return Math.min(this.sender.timerUs, this.#ackAtUs, this.#keepaliveUs);
  }

  poll(nowUs: number): void {
    if (this.state === "syn-sent" && nowUs >= this.#synAtUs) {
      if (this.#synTries > SYN_RETRIES_MAX) this.state = "gave-up";
      else this.#sendSyn(nowUs);
    }
    if (this.state !== "open") return;
    this.sender.onTimer(nowUs);
    if (this.sender.gaveUp) this.state = "gave-up";
    if (nowUs >= this.#ackAtUs) this.#ackNow = true;
    if (nowUs >= this.#keepaliveUs) {
      this.#armKeepalive(nowUs);
      if (!this.isDone) this.#emit({ flags: "A", seq: this.#seqOf(this.sender.una - 1) }, nowUs);
    }
  }

  /** Packets to put on the link now. */
  take(nowUs: number): Uint8Array[] {
    if (this.state === "open" && !this.#isUnconfirmed) {
      for (let piece = this.sender.next(nowUs); piece; piece = this.sender.next(nowUs)) {
        this.#emitPiece(piece, nowUs);
      }
      if (this.#ackNow) this.#emit({ flags: "A", seq: this.#seqOf(this.sender.nxt) }, nowUs);
    }
    const out = this.#out;
    this.#out = [];
    return out;
  }

  /* ---- out ---- */

  #seqOf(off: number): number {
    return seqAdd(this.#iss, 1 + off);
  }

  #stamp(nowUs: number): number {
    return (Math.floor(nowUs / 1000) + (this.#iss & 0xffff)) >>> 0;
  }

  #sendSyn(nowUs: number): void {
    const { mss, wscale, sack, timestamps } = this.setup;
    const options: TcpOptions = {};
    if (mss !== undefined) options.mss = mss;
    if (wscale !== undefined) options.wscale = wscale;
    if (sack === true) options.sackOk = true;
    if (timestamps === true) options.ts = [this.#stamp(nowUs), 0];
    const window = Math.min(WINDOW_MAX, this.receiver.bufferBytes);
    this.#synAtUs = nowUs + 1_000_000 * 2 ** this.#synTries++;
    this.#packet({ flags: "S", seq: this.#iss, ack: 0, window, options });
  }

  #sendSynAck(seen: TcpSeen, nowUs: number): void {
    const { mtu = 1500, wscale } = this.setup;
    const options: TcpOptions = { mss: mtu - (seen.family === 4 ? 40 : 60) };
    if (this.sender.hasSack) options.sackOk = true;
    if (seen.wscale !== undefined && wscale !== undefined) options.wscale = wscale;
    if (this.#hasTs) options.ts = [this.#stamp(nowUs), this.#tsRecent];
    const window = Math.min(WINDOW_MAX, this.receiver.bufferBytes);
    const ack = seqAdd(this.#irs, 1);
    this.#packet({ flags: "SA", seq: this.#iss, ack, window, options });
  }

  #emitPiece({ off, bytes, fin }: Piece, nowUs: number): void {
    const isLast = off + bytes.length === this.sender.stream.length;
    const flags = `${fin ? "F" : ""}${isLast && bytes.length > 0 ? "P" : ""}A`;
    this.#emit({ flags, seq: this.#seqOf(off), payload: bytes }, nowUs);
  }

  /** A segment of the open connection; its ACK settles what was owed. */
  #emit(fields: TcpFields, nowUs: number): void {
    const options: TcpOptions = {};
    if (this.#hasTs) options.ts = [this.#stamp(nowUs), this.#tsRecent];
    if (this.sender.hasSack && !(fields.payload !== undefined && fields.payload.length > 0)) {
      const ranges = this.receiver.sackRanges(this.#hasTs ? 3 : 4);
      const toSeq = (off: number): number => seqAdd(this.#irs, 1 + off);
      if (ranges.length > 0) options.sack = ranges.map(([l, r]) => [toSeq(l), toSeq(r)] as const);
    }
    const window = this.receiver.offer(2 ** this.#rcvScale, WINDOW_MAX * 2 ** this.#rcvScale);
    const ack = seqAdd(this.#irs, 1 + this.receiver.nxt);
    this.#ackNow = false;
    this.#ackAtUs = Infinity;
    this.#segmentsUnacked = 0;
    this.#packet({ ack, window, options, ...fields });
  }

  #packet(fields: TcpFields): void {
    const { src, dst, sport, dport } = this.setup;
    const { twist } = this.setup;
    for (const one of twist === undefined ? [fields] : twist(fields)) {
      this.#build({ src, dst, sport, dport, ...one });
    }
  }

  #build(whole: TcpFields): void {
    const { vnetBytes = 0, superBytes = 0 } = this.setup;
    const length = whole.payload?.length ?? 0;
    if (vnetBytes === 0) this.#out.push(tcpPacket(whole));
    else if (superBytes > 0) {
      const gsoSize = length > this.sender.mss ? this.sender.mss : 0;
      this.#out.push(offloadedTcp(whole, gsoSize, vnetBytes));
    } else this.#out.push(withVnet(tcpPacket(whole), { bytes: vnetBytes }));
  }

  /* ---- in ---- */

  #must(condition: boolean, what: string): asserts condition {
    if (!condition) throw new Error(`peer ${this.setup.src}:${this.setup.sport}: ${what}`);
  }

  /** A packet of this connection, verified and judged. */
  receive(packet: Uint8Array, nowUs: number): void {
    const { vnetBytes = 0, mtu = 1500 } = this.setup;
    const seen = expectTcp(packet, { vnetBytes, mtu });
    this.#heardUs = nowUs;
    this.#armKeepalive(nowUs);
    if (this.state === "syn-sent") this.#receiveInSynSent(seen, nowUs);
    else if (this.state === "open") this.#receiveOpen(seen, nowUs);
    else if (!seen.flags.includes("R") && this.state !== "idle") {
      // No connection any more: RFC 9293 §3.10.7.1.
      this.#packet({ flags: "R", seq: seen.ack, ack: 0, window: 0 });
    }
  }

  /** An ICMP error that quotes our SYN: the connection is refused (RFC 1122 §4.2.3.9). */
  refuse(): void {
    if (this.state === "syn-sent") this.state = "refused";
  }

  #receiveInSynSent(seen: TcpSeen, nowUs: number): void {
    const isForSyn = seen.flags.includes("A") && seen.ack === seqAdd(this.#iss, 1);
    if (seen.flags.includes("R")) {
      if (isForSyn) this.state = "refused";
      return;
    }
    if (!isForSyn) {
      // An answer to an old connection of the same ports: RFC 9293 §3.10.7.3.
      this.#packet({ flags: "R", seq: seen.ack, ack: 0, window: 0 });
      return;
    }
    // Said to somebody else, while the answer is late or lost (RFC 9293 §3.10.7.3).
    if (!seen.flags.includes("S")) return;
    this.#must(seen.flags === "SA", `${seen.flags} in answer to a SYN`);
    const { mtu = 1500, mss, wscale, sack, timestamps } = this.setup;
    const fixed = seen.family === 4 ? 40 : 60;
    this.#must(seen.mss === Math.min(mtu - fixed, 65495), `MSS ${seen.mss} in the SYN-ACK`);
    this.#must(seen.wscale === undefined || wscale !== undefined, "window scale not asked for");
    this.#must(!seen.sackOk || sack === true, "SACK not asked for");
    this.#must(seen.ts === undefined || timestamps === true, "timestamps not asked for");
    this.state = "open";
    this.#irs = seen.seq;
    this.#hasTs = seen.ts !== undefined;
    this.#tsRecent = seen.ts?.[0] ?? 0;
    if (seen.wscale !== undefined && wscale !== undefined) {
      this.#sndScale = Math.min(seen.wscale, 14);
      this.#rcvScale = Math.min(wscale, 14);
    }
    this.receiver.edge = Math.min(WINDOW_MAX, this.receiver.bufferBytes);
    this.#startSending(seen, Math.min(seen.mss, mss ?? MSS_DEFAULT));
    this.#ackNow = true;
    this.poll(nowUs);
  }

  #startSending(seen: TcpSeen, mss: number): void {
    const { superBytes = 0 } = this.setup;
    this.sender.hasSack = seen.sackOk && this.setup.sack === true;
    this.sender.mss = mss - (this.#hasTs ? 12 : 0);
    this.sender.pieceBytes = Math.max(superBytes, this.sender.mss);
    this.sender.cwnd = 10 * this.sender.mss;
    this.sender.edge = seen.window;
  }

  #receiveOpen(seen: TcpSeen, nowUs: number): void {
    const off = seqDiff(seen.seq, seqAdd(this.#irs, 1 + this.receiver.nxt)) + this.receiver.nxt;
    if (seen.flags.includes("R")) {
      // RFC 5961 §3.2: exact, or answered by a challenge. After both FINs it is no news.
      if (this.isDone) return;
      if (off === this.receiver.nxt) this.state = "reset";
      else this.#ackNow = off > this.receiver.nxt && off < this.receiver.edge;
      return;
    }
    if (seen.flags.includes("S")) {
      // Again, or of a flow that took the evicted one's place: a challenge tells (RFC 5961 §4.2).
      if (this.#isServer) this.#sendSynAck(seen, nowUs);
      else this.#ackNow = true;
      return;
    }
    this.#must(seen.flags.includes("A"), "a segment without ACK");
    this.#isUnconfirmed = false;
    this.#judgeOptions(seen);
    this.#judgeData(seen, off);
    if (seen.ts !== undefined) {
      if (seqDiff(seen.ts[0], this.#tsRecent) < 0) {
        this.#ackNow = true;
        return;
      }
      if (off <= this.receiver.nxt) this.#tsRecent = seen.ts[0];
    }
    this.#takeAck(seen, nowUs);
    if (seen.payload.length > 0 || seen.flags.includes("F")) this.#takeData(seen, off, nowUs);
    else if (off < this.receiver.nxt) this.#ackNow = true;
  }

  #judgeOptions(seen: TcpSeen): void {
    this.#must((seen.ts !== undefined) === this.#hasTs, "timestamps not as agreed");
    this.#must(seen.sack.length === 0 || this.sender.hasSack, "SACK blocks not as agreed");
    this.#must(seen.mss === undefined && seen.wscale === undefined, "SYN options later");
    const { max } = this.sender;
    seen.sack.forEach(([left, right], i) => {
      const [low, high] = [this.#ackOff(left), this.#ackOff(right)];
      this.#must(low < high && high <= max, `SACK block ${low}…${high}, sent ${max}`);
      const isAbove = low >= this.#ackOff(seen.ack);
      this.#must(isAbove || i === 0, `SACK block ${i} below the acknowledgement`);
    });
  }

  #judgeData(seen: TcpSeen, off: number): void {
    const { mtu = 1500 } = this.setup;
    const { mss = seen.family === 4 ? MSS_DEFAULT : MSS_DEFAULT_6 } = this.setup;
    const fixed = seen.family === 4 ? 40 : 60;
    const optionBytes = seen.l4.length - seen.payload.length - 20;
    const most = Math.min(mss, mtu - fixed) - optionBytes;
    const wire = seen.gsoSize > 0 ? seen.gsoSize : seen.payload.length;
    this.#must(wire <= most, `${wire} bytes in a segment of at most ${most}`);
    const end = off + seen.payload.length;
    const isProbe = seen.payload.length <= 1;
    this.#must(end <= this.receiver.edge + (isProbe ? 1 : 0), `data to ${end} beyond the window`);
  }

  #ackOff(seq: number): number {
    return seqDiff(seq, this.#seqOf(this.sender.una)) + this.sender.una;
  }

  #takeAck(seen: TcpSeen, nowUs: number): void {
    const ack = this.#ackOff(seen.ack);
    this.#must(ack <= this.sender.max, `ACK of ${ack}, sent ${this.sender.max}`);
    const edge = ack + seen.window * 2 ** this.#sndScale;
    if (ack < this.sender.una) return;
    const ranges = seen.sack.map(([l, r]) => [this.#ackOff(l), this.#ackOff(r)] as const);
    const isPure = seen.payload.length === 0 && !seen.flags.includes("F");
    this.sender.onAck(ack, edge, ranges, isPure, nowUs);
  }

  #takeData(seen: TcpSeen, off: number, nowUs: number): void {
    const room = this.receiver.edge - off;
    const bytes = seen.payload.subarray(0, Math.max(0, room));
    const fin = seen.flags.includes("F") && bytes.length === seen.payload.length;
    const isUrgent = this.receiver.onData(off, bytes, fin);
    this.#segmentsUnacked += Math.ceil(seen.payload.length / this.sender.mss);
    const { delayedAckUs = 0 } = this.setup;
    if (isUrgent || bytes.length === 0 || this.#segmentsUnacked >= 2 || delayedAckUs === 0) {
      this.#ackNow = true;
    } else if (this.#ackAtUs === Infinity) {
      this.#ackAtUs = nowUs + delayedAckUs;
    }
  }

  #armKeepalive(nowUs: number): void {
    const { keepaliveUs = Infinity } = this.setup;
    this.#keepaliveUs = Math.max(nowUs, this.#heardUs) + keepaliveUs;
  }
}
