/**
 * What happens in one simulation, drawn from a seed: the links, the core's settings, and for each
 * client what both ends of its connection do.
 */
import * as abi from "../../assembly/abi.ts";
import type { CoreSetup } from "../kit/core.ts";
import type { LinkSetup } from "../kit/link.ts";
import type { PeerSetup } from "../kit/peer.ts";
import { Random } from "../kit/random.ts";
import { isSelfHarm, type TrickKind } from "./trick.ts";

export type Verdict = "accept" | "reject" | "unreachable" | "drop" | "never";

/** How an end moves its bytes. */
export interface Pace {
  /** At once when told, or so many bytes at a time. */
  readonly bytes: number;
  /** 0: driven by events. */
  readonly everyUs: number;
}

export interface ClientPlan {
  readonly peer: PeerSetup;
  readonly startUs: number;
  readonly upBytes: number;
  readonly downBytes: number;
  readonly verdict: Verdict;
  readonly dialUs: number;
  readonly clientWrite: Pace;
  readonly clientRead: Pace;
  readonly hostWrite: Pace;
  readonly hostRead: Pace;
  /** The client closes only after the host did, or the other way round. */
  readonly lastToClose: "client" | "host" | "none";
  readonly clientResetUs: number;
  readonly hostAbortUs: number;
  /** Instead of shutting down, the host releases the living flow: upstream is gone for good. */
  readonly hostLetsGo: boolean;
  /** What is strange about the client's segments. */
  readonly trick?: TrickKind;
  /** The client's machine is gone without a word. */
  readonly vanishUs: number;
}

/** Guessed and stray segments, SYNs of nobody, rubbish. */
export interface AttackPlan {
  readonly kinds: readonly ("guess" | "stray" | "flood" | "rubbish")[];
  readonly count: number;
  readonly everyUs: number;
}

export interface DatagramPlan {
  readonly clients: number;
  readonly count: number;
  readonly everyUs: number;
}

export interface MtuChange {
  readonly atUs: number;
  readonly mtu: number;
}

/** The clock jumps, as after a suspended machine. */
export interface Jump {
  readonly atUs: number;
  readonly byUs: number;
}

export interface Scenario {
  readonly seed: number;
  /** Pools suffice and nothing ends a flow but its ends: what nobody aborts has to arrive. */
  readonly isStrict: boolean;
  /** Pools so small that flows are refused and evicted. */
  readonly isTiny: boolean;
  /** The host's process stands still now and then, so that timers come late. */
  readonly hasStalls: boolean;
  readonly core: CoreSetup;
  readonly up: LinkSetup;
  readonly down: LinkSetup;
  readonly clients: readonly ClientPlan[];
  readonly attack: AttackPlan;
  readonly datagrams: DatagramPlan;
  readonly mtuChanges: readonly MtuChange[];
  readonly jumps: readonly Jump[];
  /** How often the host makes calls without sense, in a step. */
  readonly rudeness: number;
  /** The sequence numbers of the core's first flow begin just below 2^32. */
  readonly isWrapping: boolean;
}

/** Nobody aborts: every byte has to arrive. */
export function isQuiet(plan: ClientPlan): boolean {
  const ends = [plan.clientResetUs, plan.hostAbortUs, plan.vanishUs];
  const hasAbort = plan.hostLetsGo || Math.min(...ends) !== Infinity;
  const isHonest = plan.trick === undefined || !isSelfHarm(plan.trick);
  return plan.verdict === "accept" && !hasAbort && isHonest;
}

const EAGER: Pace = { bytes: Infinity, everyUs: 0 };

function drawPace(random: Random, slow: number): Pace {
  if (!random.chance(slow)) return EAGER;
  return { bytes: random.between(100, 20_000), everyUs: random.between(500, 50_000) };
}

function drawLink(random: Random, isHarsh: boolean, vnetBytes: number): LinkSetup {
  const maybe = (chance: number, most: number): number =>
    isHarsh && random.chance(chance) ? (random.below(1000) / 1000) * most : 0;
  const hasRate = isHarsh && random.chance(0.2);
  return {
    delayUs: random.pick([20, 100, 1000, 20_000, 80_000]),
    jitterUs: random.pick([0, 0, 50, 2000]),
    loss: maybe(0.6, 0.08),
    duplicate: maybe(0.3, 0.05),
    reorder: maybe(0.4, 0.1),
    flip: maybe(0.3, 0.03),
    rate: hasRate ? random.pick([1_000_000, 10_000_000]) : 0,
    queueBytes: 100_000,
    vnetBytes,
  };
}

function drawCore(random: Random, isTiny: boolean): CoreSetup {
  const vnetBytes = random.pick([0, 0, 10, 12] as const);
  const tso = abi.OFFLOAD_CSUM | abi.OFFLOAD_TSO4 | abi.OFFLOAD_TSO6;
  const mtu = random.pick([1280, 1420, 1500, 9000]);
  return {
    vnetBytes,
    offloads: vnetBytes === 0 ? 0 : random.pick([0, abi.OFFLOAD_CSUM, tso, tso]),
    seed: random.next(),
    startUs: random.pick([1_000_000, 2 ** 32 - 3_000_000, 2 ** 32 * 1000 - 3_000_000]),
    flags: random.pick([0, 0, 0, abi.FLAG_NO_FAST_PATH, abi.FLAG_NO_AUTOTUNE]),
    options: {
      mtu,
      connect: random.pick([abi.CONNECT_FAITHFUL, abi.CONNECT_FAITHFUL, abi.CONNECT_IMMEDIATE]),
      pendingTimeout: 5000,
      timeWait: random.pick([5000, 30_000]),
      finWait2: 5000,
      idleTimeout: 600_000,
      bufferCap: (isTiny ? 4 : 32) * 1024 ** 2,
      recvBuffer: random.pick([65536, 262_144]),
      recvBufferMax: random.pick([262_144, 1024 ** 2]),
      sendBuffer: random.pick([4096, 65536, 262_144]),
      sendBufferMax: random.pick([262_144, 1024 ** 2]),
      flows: isTiny ? 16 : 256,
      halfOpen: isTiny ? 4 : 64,
      dials: isTiny ? 2 : 64,
      timeWaits: isTiny ? 2 : 64,
    },
  };
}

function drawBytes(random: Random): number {
  return random.pick([0, 1, random.below(3000), random.below(60_000), random.below(400_000)]);
}

function drawPeer(random: Random, index: number, core: CoreSetup): PeerSetup {
  const isSix = random.chance(0.5);
  const mtu = core.options?.["mtu"] ?? 1500;
  const mss = random.pick([undefined, 100, 536, mtu - 60, mtu - 60, mtu - 60]);
  const bufferBytes = random.pick([2000, 20_000, 65_535, 500_000]);
  // A window smaller than its unit could never be told.
  const scales = [undefined, 0, 2, 7, 14].filter((scale) => 2 ** (scale ?? 0) * 8 <= bufferBytes);
  const isOffloading = (core.offloads ?? 0) > 1;
  return {
    src: isSix ? `2001:db8::${(index + 16).toString(16)}` : `192.0.2.${index + 10}`,
    dst: isSix ? "2001:db8::200" : "192.0.2.200",
    sport: 40_000 + index,
    dport: random.pick([80, 443, 22]),
    iss: random.pick([0xffff_ffff, 0xffff_fe00, 0x7fff_ff00, random.next()]),
    ...(mss === undefined ? {} : { mss }),
    wscale: random.pick(scales),
    sack: random.chance(0.7),
    timestamps: random.chance(0.6),
    mtu,
    bufferBytes,
    delayedAckUs: random.pick([0, 10_000, 40_000]),
    vnetBytes: core.vnetBytes ?? 0,
    superBytes: isOffloading ? random.pick([0, 16_000, 60_000]) : 0,
    keepaliveUs: 3_000_000,
  };
}

export function drawClient(
  random: Random,
  index: number,
  core: CoreSetup,
  isClean: boolean,
): ClientPlan {
  const often: Verdict[] = ["accept", "accept", "accept", "accept", "accept", "accept"];
  // In immediate mode nothing but the host would end a flow that it never decides on.
  const isFaithful = core.options?.["connect"] === abi.CONNECT_FAITHFUL;
  const never: Verdict[] = isFaithful ? ["never"] : [];
  const verdicts: Verdict[] = [...often, "reject", "unreachable", "drop", ...never];
  const slow = random.pick([0, 0, 0.5]);
  return {
    peer: drawPeer(random, index, core),
    startUs: random.below(2_000_000),
    upBytes: drawBytes(random),
    downBytes: drawBytes(random),
    verdict: isClean ? "accept" : random.pick(verdicts),
    dialUs: random.pick([0, 0, 5000, 300_000]),
    clientWrite: drawPace(random, slow),
    clientRead: drawPace(random, slow),
    hostWrite: drawPace(random, slow),
    hostRead: drawPace(random, slow),
    lastToClose: random.pick(["client", "host", "none"]),
    clientResetUs: !isClean && random.chance(0.15) ? random.below(4_000_000) : Infinity,
    hostAbortUs: !isClean && random.chance(0.15) ? random.below(4_000_000) : Infinity,
    hostLetsGo: !isClean && random.chance(0.1),
    vanishUs: Infinity,
  };
}

/** Clients, host and links that are ordinary, if not good. */
export function drawPlain(seed: number): Scenario {
  const random = new Random(seed);
  const isClean = random.chance(0.4);
  const isTiny = !isClean && random.chance(0.3);
  const isHarsh = random.chance(0.8);
  const core = drawCore(random, isTiny);
  const count = random.pick([1, 1, 2, 5, isTiny ? 30 : 12]);
  return {
    seed,
    isTiny,
    hasStalls: random.chance(0.2),
    core,
    up: drawLink(random, isHarsh, core.vnetBytes ?? 0),
    down: drawLink(random, isHarsh, core.vnetBytes ?? 0),
    clients: Array.from({ length: count }, (_, i) => drawClient(random, i, core, isClean)),
    isStrict: !isTiny,
    attack: { kinds: ["stray"], count: 0, everyUs: 1 },
    datagrams: { clients: 1, count: 0, everyUs: 1 },
    mtuChanges: [],
    jumps: [],
    rudeness: 0,
    isWrapping: false,
  };
}
