/**
 * What makes a simulation more than ordinary: hostile clients, foul links, datagrams beside the
 * flows, crowds. A profile takes the plain scenario of its seed and adds to it.
 */
import * as abi from "../../assembly/abi.ts";
import type { LinkSetup } from "../kit/link.ts";
import { Random } from "../kit/random.ts";
import {
  drawClient,
  drawPlain,
  type AttackPlan,
  type ClientPlan,
  type Scenario,
} from "./scenario.ts";
import { TRICKS, type TrickKind } from "./trick.ts";

export const PROFILES = ["plain", "hostile", "foul", "mixed", "crowd"] as const;
export type Profile = (typeof PROFILES)[number];

const SECOND = 1_000_000;
const DAY = 86_400 * SECOND;
/** Every so many seeds have a crowd. */
const CROWD_EVERY = 50;

export function profileOf(seed: number): Profile {
  if (seed % CROWD_EVERY === 0) return "crowd";
  return (["plain", "hostile", "foul", "mixed"] as const)[seed % 4]!;
}

/** Tricks that slow a flow down go with fewer bytes. */
const DOWN_MAX: Readonly<Partial<Record<TrickKind, number>>> = {
  silly: 2000,
  shrink: 60_000,
  "sack-lies": 60_000,
};

function withTrick(random: Random, plan: ClientPlan): ClientPlan {
  const trick = random.pick(TRICKS);
  const downBytes = Math.min(plan.downBytes, DOWN_MAX[trick] ?? Infinity);
  // Who lost bytes for good gives up in the end.
  const resetUs = trick === "optimistic" ? random.between(5, 60) * SECOND : Infinity;
  const clientResetUs = Math.min(plan.clientResetUs, resetUs);
  return { ...plan, trick, downBytes, clientResetUs };
}

function isQuietOf(scenario: Scenario): boolean {
  return scenario.clients.every(({ clientResetUs }) => clientResetUs === Infinity);
}

function drawAttack(random: Random, mayFlood: boolean): AttackPlan {
  const kinds = (["guess", "stray", "rubbish"] as AttackPlan["kinds"][number][]).filter(() =>
    random.chance(0.7),
  );
  if (mayFlood && random.chance(0.5)) kinds.push("flood");
  if (kinds.length === 0) kinds.push("guess");
  return { kinds, count: random.pick([20, 200, 600]), everyUs: random.pick([100, 3000, 20_000]) };
}

function makeHostile(random: Random, plain: Scenario): Scenario {
  const isCalm = isQuietOf(plain);
  const clients = plain.clients.map((plan) => {
    const tricky = random.chance(0.7) ? withTrick(random, plan) : plan;
    const isGoing = !isCalm && random.chance(0.2);
    return isGoing ? { ...tricky, vanishUs: random.below(5 * SECOND) } : tricky;
  });
  const attack = random.chance(0.6) ? drawAttack(random, !isCalm) : plain.attack;
  const isFlooded = attack.kinds.includes("flood");
  const isStrict = plain.isStrict && !isFlooded;
  return { ...plain, clients, attack, isStrict, rudeness: random.pick([0, 0.01, 0.1]) };
}

function foulLink(random: Random, plain: Scenario, link: LinkSetup): LinkSetup {
  const mtu = plain.core.options?.["mtu"] ?? 1500;
  const isOffloading = (plain.core.offloads ?? 0) > 1;
  const queues = isOffloading ? [140_000] : [3 * mtu, 8 * mtu, 100_000];
  const rate = random.chance(0.5) ? random.pick([200_000, 1_000_000, 10_000_000]) : 0;
  const stallUs = random.chance(0.4) ? random.between(1, 20) * 100_000 : 0;
  const stall =
    stallUs === 0 ? {} : { stallUs, stallEveryUs: stallUs + random.between(1, 8) * SECOND };
  return { ...link, rate, queueBytes: random.pick(queues), ...stall };
}

function makeFoul(random: Random, plain: Scenario): Scenario {
  const mtu = plain.core.options?.["mtu"] ?? 1500;
  const changes = random.pick([0, 1, 3]);
  const mtuChanges = Array.from({ length: changes }, () => ({
    atUs: random.below(4 * SECOND),
    mtu: random.between(Math.min(600, mtu), mtu),
  })).sort((a, b) => a.atUs - b.atUs);
  const isJumping = !isQuietOf(plain) || random.chance(0.2);
  const bys = [10 * SECOND, 3600 * SECOND, 25 * DAY, 2 ** 32 * 1000, 2 ** 31 * 1000];
  const jumps = isJumping ? [{ atUs: random.below(5 * SECOND), byUs: random.pick(bys) }] : [];
  return {
    ...plain,
    up: foulLink(random, plain, plain.up),
    down: foulLink(random, plain, plain.down),
    mtuChanges,
    jumps,
    isStrict: plain.isStrict && jumps.length === 0,
    isWrapping: random.chance(0.5),
  };
}

function makeMixed(random: Random, plain: Scenario): Scenario {
  const clients = plain.clients.map((plan) =>
    random.chance(0.3) ? withTrick(random, plan) : plan,
  );
  const udpMappings = random.pick([4, 64]);
  const options = {
    ...plain.core.options,
    echo: random.pick([abi.ECHO_LOCAL, abi.ECHO_HOST, abi.ECHO_DROP]),
    udpMappings,
    udpMappingsPerClient: random.pick([2, 32]),
    udpTimeout: random.pick([0, 1000, 5000]),
    reassemblyDatagrams: random.pick([2, 16]),
  };
  const flags = random.pick([0, abi.FLAG_UDP_ADDRESS_FILTER, abi.FLAG_UDP_NO_INBOUND_REFRESH]);
  return {
    ...plain,
    clients,
    core: { ...plain.core, options, flags: (plain.core.flags ?? 0) | flags },
    datagrams: {
      clients: random.pick([1, 3, 20]),
      count: random.pick([10, 60, 200]),
      everyUs: random.pick([500, 10_000, 100_000]),
    },
    rudeness: random.pick([0, 0.02]),
    isWrapping: random.chance(0.3),
  };
}

/** Flows by the hundred, each of few bytes; now and then more than there is room for. */
function makeCrowd(random: Random, plain: Scenario, most: number): Scenario {
  const count = Math.min(most, random.pick([300, 1000, 2000, 5000]));
  const hasRoom = random.chance(0.6);
  const room = hasRoom ? count + 64 : Math.ceil(count / 3);
  const core = {
    ...plain.core,
    options: {
      ...plain.core.options,
      bufferCap: 64 * 1024 ** 2,
      flows: room,
      halfOpen: room,
      dials: room,
      timeWaits: random.pick([64, count]),
    },
  };
  const clients = Array.from({ length: count }, (_, i) => {
    const plan = drawClient(random, i, core, random.chance(0.8));
    const isSix = plan.peer.src.includes(":");
    const src = isSix ? `2001:db8::5:${i.toString(16)}` : `192.0.2.${10 + (i % 180)}`;
    return {
      ...plan,
      peer: { ...plan.peer, src },
      startUs: random.below(count * 2000),
      upBytes: random.below(2000),
      downBytes: random.below(4000),
      hostLetsGo: false,
    };
  });
  return { ...plain, core, clients, isTiny: !hasRoom, isStrict: hasRoom, hasStalls: false };
}

/** `crowdMax` bounds the flows of a crowd. */
export function drawScenario(
  seed: number,
  profile: Profile = profileOf(seed),
  crowdMax = Infinity,
): Scenario {
  const plain = drawPlain(seed);
  const random = new Random(seed ^ 0x7777);
  if (profile === "hostile") return makeHostile(random, plain);
  if (profile === "foul") return makeFoul(random, plain);
  if (profile === "mixed") return makeMixed(random, plain);
  return profile === "crowd" ? makeCrowd(random, plain, crowdMax) : plain;
}
