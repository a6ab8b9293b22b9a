/**
 * One transfer over one cell in virtual time: the core against the test peer (test/kit/peer.ts)
 * over a seeded link. The same cell, congestion control and seed give the same result, bit for bit.
 *
 * Goodput counts from the SYN until the receiving application has the last byte.
 */
import * as abi from "../../assembly/abi.ts";
import { pattern, sameBytes } from "../kit/bytes.ts";
import { CoreHarness, type Build } from "../kit/core.ts";
import { Link } from "../kit/link.ts";
import { TcpPeer } from "../kit/peer.ts";
import { Random } from "../kit/random.ts";
import { BUFFER_BYTES, linkOf, MTU, type Cell, type Congestion } from "./cells.ts";

export interface Outcome {
  /** Kilobits a second, rounded. */
  readonly kbit: number;
  readonly virtualMs: number;
  /** Of the sender. */
  readonly retransmits: number;
  /** Of the core. */
  readonly timeouts: number;
  readonly probes: number;
  readonly spurious: number;
}

export interface TransferSetup {
  readonly congestion: Congestion;
  readonly seed?: number;
  readonly build?: Build;
  /** Called each millisecond of virtual time. */
  readonly onTick?: (transfer: Transfer) => void;
}

const STEPS_MAX = 10_000_000;
const LIMIT_US = 600_000_000;

export class Transfer {
  readonly cell: Cell;
  readonly core: CoreHarness;
  readonly peer: TcpPeer;
  readonly #setup: TransferSetup;
  readonly #up: Link;
  readonly #down: Link;
  readonly #data: Uint8Array;
  #handle = 0;
  #sent = 0;
  #got = 0;

  constructor(cell: Cell, setup: TransferSetup) {
    const { congestion, seed = 1, build = "simd" } = setup;
    this.cell = cell;
    this.#setup = setup;
    const random = new Random(seed);
    this.#up = new Link(random, linkOf(cell));
    this.#down = new Link(random, linkOf(cell));
    this.#data = pattern(cell.bytes);
    this.core = new CoreHarness({
      build,
      seed,
      options: {
        mtu: MTU,
        connect: abi.CONNECT_IMMEDIATE,
        congestion: congestion === "cubic" ? abi.CONGESTION_CUBIC : abi.CONGESTION_NEWRENO,
        bufferCap: 64 * 1024 ** 2,
        recvBuffer: 256 * 1024,
        recvBufferMax: BUFFER_BYTES,
        sendBuffer: 256 * 1024,
        sendBufferMax: BUFFER_BYTES,
      },
    });
    this.peer = new TcpPeer({
      src: "192.0.2.1",
      dst: "198.51.100.1",
      sport: 40_000,
      dport: 80,
      mss: MTU - 40,
      wscale: 10,
      sack: true,
      timestamps: true,
      mtu: MTU,
      bufferBytes: BUFFER_BYTES,
      delayedAckUs: 40_000,
    });
  }

  run(): Outcome {
    const { core, peer, cell } = this;
    const startUs = core.nowUs;
    let tickUs = startUs;
    peer.connect(startUs);
    if (cell.direction === "up") peer.write(this.#data);
    for (let step = 0; step < STEPS_MAX; step++) {
      this.#step();
      if (this.#got === cell.bytes) return this.#outcome(core.nowUs - startUs);
      const links = Math.min(this.#up.deadline(), this.#down.deadline());
      const nextUs = Math.min(core.deadline(), peer.deadline(), links);
      if (nextUs - startUs > LIMIT_US || peer.state === "gave-up") break;
      core.nowUs = Math.max(core.nowUs, nextUs);
      if (this.#setup.onTick !== undefined && core.nowUs >= tickUs) {
        tickUs = core.nowUs + 1000;
        this.#setup.onTick(this);
      }
    }
    throw new Error(`${cell.name}: ${this.#got} of ${cell.bytes} bytes arrived, then no more`);
  }

  #outcome(us: number): Outcome {
    const { core, peer, cell } = this;
    const isDown = cell.direction === "down";
    return {
      kbit: Math.round((cell.bytes * 8000) / us),
      virtualMs: Math.round(us / 1000),
      retransmits: isDown ? core.stat("STAT_RETRANSMITS") : peer.sender.retransmits,
      timeouts: core.stat("STAT_RTO_FIRED"),
      probes: core.stat("STAT_TLP_PROBES"),
      spurious: core.stat("STAT_SPURIOUS"),
    };
  }

  #step(): void {
    const { core, peer } = this;
    const arrived = this.#up.pop(core.nowUs);
    if (arrived.length > 0) core.send(...arrived.map(({ bytes }) => bytes));
    core.poll();
    this.#serve();
    for (const packet of core.flush()) this.#down.push(packet, core.nowUs);
    for (const { bytes } of this.#down.pop(core.nowUs)) peer.receive(bytes, core.nowUs);
    peer.poll(core.nowUs);
    if (this.cell.direction === "down") this.#take(peer.read());
    for (const packet of peer.take(core.nowUs)) this.#up.push(packet, core.nowUs);
  }

  /** The host: writes as much as fits, reads all there is. */
  #serve(): void {
    const { core } = this;
    let isReadable = false;
    let isWritable = false;
    for (const { handle, flags } of core.events()) {
      this.#handle = handle;
      if ((flags & abi.EV_CLOSED) !== 0) throw new Error(`${this.cell.name}: the flow ended`);
      isReadable ||= (flags & abi.EV_READABLE) !== 0;
      isWritable ||= (flags & abi.EV_WRITABLE) !== 0;
    }
    if (this.cell.direction === "up") {
      if (isReadable) this.#take(core.read(this.#handle));
    } else if (isWritable && this.#sent < this.cell.bytes) {
      this.#sent += core.write(this.#handle, this.#data.subarray(this.#sent));
    }
  }

  /** The receiving application: every byte as it was sent. */
  #take(bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    const end = this.#got + bytes.length;
    if (!sameBytes(bytes, this.#data.subarray(this.#got, end))) {
      throw new Error(`${this.cell.name}: bytes ${this.#got}…${end} are not those sent`);
    }
    this.#got = end;
  }
}

export function transfer(cell: Cell, setup: TransferSetup): Outcome {
  return new Transfer(cell, setup).run();
}
