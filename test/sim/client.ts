/** A client of the simulation: a peer with an application that writes, reads and closes by plan. */
import { pattern, sameBytes } from "../kit/bytes.ts";
import { TcpPeer } from "../kit/peer.ts";
import { Random } from "../kit/random.ts";
import type { ClientPlan } from "./scenario.ts";
import { Trick } from "./trick.ts";
import { WindowWatch } from "./watch.ts";

export class Client {
  readonly plan: ClientPlan;
  readonly peer: TcpPeer;
  readonly watch: WindowWatch;
  readonly trick: Trick | undefined;
  /** What the host will send; the bytes received must be a prefix of it. */
  readonly expected: Uint8Array;
  readonly upStream: Uint8Array;
  got = 0;
  #written = 0;
  #finished = false;
  #nextUs: number;
  #readUs = 0;
  #writeUs = 0;
  #resetUs: number;
  readonly #vanishUs: number;
  #isGone = false;

  /** `windowMax`: the most that the core may offer. */
  constructor(plan: ClientPlan, startUs: number, windowMax: number) {
    this.plan = plan;
    const { sport } = plan.peer;
    const trick = plan.trick === undefined ? undefined : new Trick(plan.trick, new Random(sport));
    this.trick = trick;
    this.watch = new WindowWatch(windowMax);
    this.peer = new TcpPeer(
      trick === undefined ? plan.peer : { ...plan.peer, twist: (fields) => trick.twist(fields) },
    );
    this.upStream = pattern(plan.upBytes, plan.peer.sport);
    this.expected = pattern(plan.downBytes, plan.peer.sport + 1_000_000);
    this.#nextUs = startUs + plan.startUs;
    this.#resetUs = startUs + plan.startUs + plan.clientResetUs;
    this.#vanishUs = startUs + plan.startUs + plan.vanishUs;
  }

  get isOver(): boolean {
    const { peer } = this;
    if (this.#isGone) return true;
    return peer.isOver && (peer.state !== "open" || peer.receiver.unreadBytes === 0);
  }

  /** All bytes and the FIN; a late RST may still have met the last of our segments. */
  get hasAll(): boolean {
    return this.peer.receiver.isFinished && this.got === this.expected.length;
  }

  deadline(): number {
    if (this.isOver) return Infinity;
    if (this.peer.state === "idle") return this.#nextUs;
    const appUs = this.peer.state === "open" ? this.#nextUs : Infinity;
    const resetUs = this.peer.isOver ? Infinity : this.#resetUs;
    return Math.min(this.peer.deadline(), appUs, resetUs, this.#vanishUs);
  }

  /** A packet of the core arrives; nobody hears it if the client's machine is gone. */
  receive(packet: Uint8Array, nowUs: number): void {
    if (!this.#isGone) this.peer.receive(packet, nowUs);
  }

  /** Lets the application act; answers the packets to send. */
  act(nowUs: number): Uint8Array[] {
    const { peer, plan } = this;
    this.#isGone ||= nowUs >= this.#vanishUs;
    if (this.#isGone) return [];
    this.trick?.act(peer);
    if (peer.state === "idle" && nowUs >= this.#nextUs) peer.connect(nowUs);
    peer.poll(nowUs);
    if (peer.state !== "idle" && !peer.isOver && nowUs >= this.#resetUs) {
      this.#resetUs = Infinity;
      peer.reset(nowUs);
    }
    if (peer.state === "open" || peer.state === "reset") this.#read(nowUs);
    if (peer.state === "open") {
      this.#write(nowUs);
      const mayClose = plan.lastToClose !== "client" || peer.receiver.isFinished;
      if (!this.#finished && this.#written === this.upStream.length && mayClose) {
        this.#finished = true;
        peer.finish();
      }
      this.#nextUs = this.#nextAct(nowUs);
    }
    return peer.take(nowUs);
  }

  #nextAct(nowUs: number): number {
    const { clientRead, clientWrite } = this.plan;
    const hasWrite = this.#written < this.upStream.length && clientWrite.everyUs > 0;
    const hasRead = this.peer.receiver.unreadBytes > 0 && clientRead.everyUs > 0;
    const next = Math.min(hasWrite ? this.#writeUs : Infinity, hasRead ? this.#readUs : Infinity);
    return Math.max(next, nowUs + 1);
  }

  #read(nowUs: number): void {
    const { clientRead } = this.plan;
    if (nowUs < this.#readUs) return;
    this.#readUs = nowUs + clientRead.everyUs;
    const bytes = this.peer.read(clientRead.bytes);
    const end = this.got + bytes.length;
    if (end > this.expected.length || !sameBytes(bytes, this.expected.subarray(this.got, end))) {
      throw new Error(
        `client ${this.plan.peer.sport}: bytes ${this.got}…${end} are not the host's`,
      );
    }
    this.got = end;
  }

  #write(nowUs: number): void {
    const { clientWrite } = this.plan;
    const left = this.upStream.length - this.#written;
    if (nowUs < this.#writeUs || left === 0) return;
    this.#writeUs = nowUs + clientWrite.everyUs;
    const count = Math.min(left, clientWrite.bytes);
    this.peer.write(this.upStream.subarray(this.#written, this.#written + count));
    this.#written += count;
  }
}
