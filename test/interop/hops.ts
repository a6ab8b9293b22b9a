/**
 * Chains of several hops with both programs in turn, hops that a bypass leaves out, and hops with
 * several nodes of which some are dead.
 */
import * as assert from "uvu/assert";
import { CertFiles } from "../chain/world.ts";
import { type Doors, doorArgs, openDoors } from "./doors.ts";
import { type Engine, type Running, during, gostEngine, tsgostEngine } from "./engine.ts";
import { Datagrams, echoBytes, httpGet, socksConnect, socksReply } from "./entry.ts";
import { type Gost, freePort } from "./peer.ts";
import type { Spot, Table } from "./table.ts";
import { type Targets, openTargets } from "./targets.ts";

const BYTES = 1024 * 1024;
const SIZES = [1, 511, 1372, 4000];
const FLOWS = 6;
const KEYS = "nodelay=true&bind=true&udp=true";

/** Schemes of the hops, in order of travel. */
const WAYS: readonly (readonly string[])[] = [
  ["relay+wss", "relay+wss"],
  ["socks5+tcp", "relay+tls"],
  ["http+ws", "socks5+wss"],
  ["relay+mwss", "http+mtls"],
  ["http+tcp", "relay+mws"],
  ["relay+wss", "socks5+tls", "http+tcp"],
  ["http+wss", "relay+mtls", "socks5+ws"],
  ["socks5+tls", "http+mwss", "relay+tls"],
  ["relay+mtls", "relay+mwss", "relay+tcp"],
];

const TLS_IN_MUX =
  "gost: the end of a TLS connection inside a smux stream sets a write deadline on the connection" +
  " of the whole session, which is dead from then on (gost with itself, too: part hops-control)";

/** A connection of TLS of its own, each inside a stream of the hop before. */
function hasTlsInMux(way: readonly string[]): boolean {
  return way.some(
    (scheme, index) => /\+(tls|wss)$/.test(scheme) && /\+m/.test(way[index - 1] ?? ""),
  );
}

interface Stage {
  readonly table: Table;
  readonly targets: Targets;
  readonly near: Engine;
  readonly far: Engine;
}

export async function checkHops(gost: Gost, table: Table): Promise<void> {
  const files = new CertFiles();
  const targets = await openTargets();
  const ours = tsgostEngine(files);
  const theirs = gostEngine(gost);
  try {
    for (const [near, far] of [
      [ours, theirs],
      [theirs, ours],
    ] as const) {
      const stage = { table, targets, near, far };
      for (const way of WAYS) await several(stage, way);
      await bypassed(stage);
      await deadNodes(stage);
    }
  } finally {
    targets.close();
    files.remove();
  }
}

/** gost alone: shows whose limit it is that a check meets. */
export async function checkHopsControl(gost: Gost, table: Table): Promise<void> {
  const targets = await openTargets();
  const theirs = gostEngine(gost);
  try {
    for (const way of WAYS) await several({ table, targets, near: theirs, far: theirs }, way);
  } finally {
    targets.close();
  }
}

async function between(
  { table }: Stage,
  spot: Spot,
  starts: readonly (() => Promise<Running>)[],
  body: () => Promise<void>,
): Promise<void> {
  try {
    await during(starts, body);
  } catch (error) {
    await table.check(spot, "all start", () => Promise.reject(error as Error));
  }
}

/** The hops' programs change in turn: the near one's neighbour is the other program. */
async function several(stage: Stage, way: readonly string[]): Promise<void> {
  const { table, targets, near, far } = stage;
  const programs = way.map((_, index) => (index % 2 === 0 ? far : near));
  const starts: (() => Promise<Running>)[] = [];
  const nodes: string[] = [];
  for (const [index, scheme] of way.entries()) {
    const program = programs[index] ?? far;
    const port = await freePort();
    const at = `${scheme}://user:secret@127.0.0.1:${port}`;
    starts.push(() => program.start(["-L", `${at}?${KEYS}&${program.certQuery}`], port));
    nodes.push("-F", `${at}?nodelay=true`);
  }
  const doors = await openDoors();
  starts.push(() => near.start([...doorArgs(doors, targets), ...nodes], doors.socks));
  const pair = [near, ...programs].map(({ name }) => name).join(" -> ");
  const spot = { pair, transport: "mixed", options: way.join(", ") };
  if (near.name === "gost" && far.name !== "gost" && hasTlsInMux(way)) {
    table.notApplicable(spot, "all", TLS_IN_MUX);
    return;
  }
  await between(stage, spot, starts, () => checkWay(table, spot, doors, targets));
}

async function checkWay(table: Table, spot: Spot, doors: Doors, targets: Targets): Promise<void> {
  await table.check(spot, "TCP echo, 1 MiB each way, hashes", async () => {
    await echoBytes(await socksConnect(doors.socks, targets.echo), BYTES);
    return undefined;
  });
  await table.check(spot, `${FLOWS} flows at once`, async () => {
    const flows = Array.from({ length: FLOWS }, () => socksConnect(doors.socks, targets.echo));
    await Promise.all(flows.map(async (flow) => echoBytes(await flow, 20_000)));
    return undefined;
  });
  await table.check(spot, "a refused target is refused", async () => {
    assert.is.not(await socksReply(doors.socks, targets.closed), 0);
    return undefined;
  });
  await table.check(spot, "UDP by a forwarded port", () =>
    Datagrams.forwarded(doors.udp).echoAll(SIZES),
  );
  await table.check(spot, "UDP by association", async () =>
    (await Datagrams.associated(doors.socks, targets.udp)).echoAll(SIZES),
  );
  await table.check(spot, "HTTP: plain request", async () => {
    assert.is((await httpGet(doors.http, targets.web)).status, 200);
    return undefined;
  });
}

/** An application's CONNECT by a near program with these hops: 0 = it works. */
async function replyBy({ near, targets }: Stage, nodes: readonly string[]): Promise<number> {
  const doors = await openDoors();
  const args = [...doorArgs(doors, targets), ...nodes.flatMap((node) => ["-F", node])];
  const running = await near.start(args, doors.socks);
  try {
    const reply = await socksReply(doors.socks, targets.echo);
    if (reply === 0) await echoBytes(await socksConnect(doors.socks, targets.echo), 1000);
    return reply;
  } finally {
    await running.stop();
  }
}

/** A hop that is dead matters only where no bypass leaves it out. */
async function bypassed(stage: Stage): Promise<void> {
  const { table, near, far } = stage;
  const port = await freePort();
  const living = `relay+tcp://127.0.0.1:${port}?nodelay=true`;
  const dead = `relay+tcp://127.0.0.1:${await freePort()}?nodelay=true`;
  const pair = `${near.name} -> ${far.name}`;
  const spot = { pair, transport: "mixed", options: "bypass of a hop" };
  const cases: readonly (readonly [string, readonly string[], boolean])[] = [
    ["matches at the first hop: direct", [`${dead}&bypass=127.0.0.1`], true],
    ["does not match at the first hop: by it", [`${dead}&bypass=127.0.0.2`], false],
    ["matches at the second hop: left out", [living, `${dead}&bypass=127.0.0.0/8`], true],
    ["does not match at the second hop", [living, `${dead}&bypass=*.example`], false],
    ["whitelist, the address is not in it", [`${dead}&bypass=~127.0.0.2`], true],
    ["whitelist, the address is in it", [`${dead}&bypass=~127.0.0.1`], false],
  ];
  await between(stage, spot, [() => far.start(["-L", living], port)], async () => {
    for (const [check, nodes, works] of cases) {
      await table.check(spot, check, async () => {
        assert.is((await replyBy(stage, nodes)) === 0, works);
        return undefined;
      });
    }
  });
  const refusing = `relay+tcp://127.0.0.1:${port}?nodelay=true`;
  const server = ["-L", `${refusing}&bypass=127.0.0.1`];
  await between(stage, spot, [() => far.start(server, port)], async () => {
    await table.check(spot, "of the server's service: refused", async () => {
      assert.is.not(await replyBy(stage, [refusing]), 0);
      return undefined;
    });
  });
}

/** With retries every request works; the dead node is tried no more than it must. */
async function deadNodes(stage: Stage): Promise<void> {
  const { table, targets, near, far } = stage;
  const pair = `${near.name} -> ${far.name}`;
  for (const strategy of ["round", "fifo", "rand"]) {
    const [living, dead] = [await freePort(), await freePort()];
    const server = ["-L", `relay+wss://127.0.0.1:${living}?nodelay=true&${far.certQuery}`];
    const doors = await openDoors();
    const selector = `strategy=${strategy}&maxFails=1&failTimeout=30s`;
    const addresses = `127.0.0.1:${dead},127.0.0.1:${living}`;
    const args = [
      ...["-L", `socks5://127.0.0.1:${doors.socks}?retries=5`],
      ...["-F", `relay+wss://${addresses}?nodelay=true&${selector}`],
    ];
    const spot = { pair, transport: "wss", options: `two nodes, one dead, ${strategy}` };
    const starts = [() => far.start(server, living), () => near.start(args, doors.socks)];
    await between(stage, spot, starts, async () => {
      await table.check(spot, `${FLOWS} flows, one after the other`, async () => {
        for (let count = 0; count < FLOWS; count++) {
          await echoBytes(await socksConnect(doors.socks, targets.echo), 1000);
        }
        return undefined;
      });
    });
  }
}
