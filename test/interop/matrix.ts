/**
 * Every dialer under every connector, with a password and without, both ways: the near program
 * serves an application (SOCKS5, HTTP, a forwarded TCP and UDP port) and carries what it asks for
 * to the far one. Both are started with command lines in GOST's form.
 */
import * as assert from "uvu/assert";
import { CertFiles } from "../chain/world.ts";
import { type Engine, during, gostEngine, tsgostEngine } from "./engine.ts";
import { type Doors, doorArgs, openDoors } from "./doors.ts";
import {
  Datagrams,
  Flow,
  echoBytes,
  httpConnect,
  httpGet,
  socksConnect,
  socksReply,
} from "./entry.ts";
import { type Gost, freePort } from "./peer.ts";
import type { Spot, Table } from "./table.ts";
import { type Targets, openTargets } from "./targets.ts";

const PLAIN_DIALERS = ["tcp", "tls", "ws", "wss"] as const;
const MUX_DIALERS = ["mtls", "mws", "mwss"] as const;
const CONNECTORS = ["relay", "socks5", "http"] as const;
const BIG_BYTES = 4 * 1024 * 1024;
const SMALL_BYTES = 200_000;
/** What both programs carry by default: 4096 bytes, as GOST cuts datagrams there. */
const DATAGRAM_SIZES = [1, 2, 511, 1372, 4000];
const FLOWS = 8;
const HALF_CLOSE = "half-close, then the answer";
const BANNER = "server speaks first";
const BRIEF = "server's end arrives";

interface Cell {
  readonly from: Engine;
  readonly to: Engine;
  readonly connector: string;
  readonly dialer: string;
  /** Version of smux, 0 = none. */
  readonly smux: number;
  readonly auth: boolean;
}

/** The handler's keys that make a server of GOST do all it can. */
const SERVER_KEYS: Readonly<Record<string, string>> = {
  relay: "nodelay=true&bind=true",
  socks5: "udp=true&bind=true",
  http: "udp=true",
};

export async function checkMatrix(gost: Gost, table: Table): Promise<void> {
  const files = new CertFiles();
  const targets = await openTargets();
  const ours = tsgostEngine(files);
  const theirs = gostEngine(gost);
  try {
    for (const cell of cells(ours, theirs)) await checkCell(table, targets, cell);
  } finally {
    targets.close();
    files.remove();
  }
}

/** gost with gost: shows whose limit it is that a check meets. */
export async function checkControl(gost: Gost, table: Table): Promise<void> {
  const targets = await openTargets();
  const theirs = gostEngine(gost);
  try {
    for (const cell of cells(theirs, theirs)) await checkCell(table, targets, cell);
  } finally {
    targets.close();
  }
}

function cells(one: Engine, other: Engine): Cell[] {
  const pairs = [{ from: one, to: other }];
  if (one !== other) pairs.push({ from: other, to: one });
  const transports = [
    ...PLAIN_DIALERS.map((dialer) => ({ dialer, smux: 0 })),
    ...MUX_DIALERS.flatMap((dialer) => [1, 2].map((smux) => ({ dialer, smux }))),
  ];
  return pairs.flatMap((pair) =>
    CONNECTORS.flatMap((connector) =>
      [false, true].flatMap((auth) =>
        transports.map((transport) => ({ ...pair, connector, auth, ...transport })),
      ),
    ),
  );
}

function spotOf(cell: Cell): Spot {
  const { from, to, connector, auth, dialer, smux } = cell;
  return {
    pair: `${from.name} -> ${to.name}`,
    transport: smux === 0 ? dialer : `${dialer}/${smux}`,
    options: `${connector}, ${auth ? "password" : "no password"}`,
  };
}

/** Of the server or the node; more keys can follow. */
function urlOf(cell: Cell, port: number, password: string): string {
  const { connector, dialer, smux, auth } = cell;
  const user = auth ? `user:${password}@` : "";
  const mux = smux === 0 ? "" : `mux.version=${smux}&`;
  const notls = breaksInnerTls(cell) ? "notls=true&" : "";
  return `${connector}+${dialer}://${user}127.0.0.1:${port}?${mux}${notls}`;
}

/** TLS inside of a multiplexed stream: both programs want it where the transport does not encrypt. */
function breaksInnerTls({ connector, dialer }: Cell): boolean {
  return connector === "socks5" && dialer === "mws";
}

const INNER_TLS =
  "gost: the end of TLS inside SOCKS5 sets a write deadline on the connection of the whole smux" +
  " session, which is dead from then on (gost with itself, too); notls=true avoids it";
const MUX_END = "gost takes the FIN of a smux stream for both directions";
const SOCKS_END = "gost's SOCKS5 client closes both directions at a local end";
export const HTTP_BUFFER =
  "gost's HTTP client loses bytes that come in one read with the 200 of a CONNECT";

/** Why a check cannot pass with gost, whatever the other side does. */
function limitOf(cell: Cell, check: string): string | undefined {
  const { from, connector, dialer, smux } = cell;
  if (check === HALF_CLOSE && smux !== 0) return MUX_END;
  if (from.name !== "gost") return undefined;
  if (check === HALF_CLOSE && connector === "socks5") return SOCKS_END;
  const isEarly = check === BANNER || check === BRIEF;
  if (isEarly && connector === "http" && (dialer === "tcp" || smux !== 0)) return HTTP_BUFFER;
  return undefined;
}

async function checkCell(table: Table, targets: Targets, cell: Cell): Promise<void> {
  const { from, to, connector, auth } = cell;
  const port = await freePort();
  const keys = `${SERVER_KEYS[connector] ?? ""}&${to.certQuery}`;
  const server = ["-L", `${urlOf(cell, port, "secret")}${keys}`];
  const doors = await openDoors();
  const near = (password: string, at: Doors): string[] => [
    ...doorArgs(at, targets),
    ...["-F", `${urlOf(cell, port, password)}nodelay=true`],
  ];
  const spot = spotOf(cell);
  try {
    await during([() => to.start(server, port)], async () => {
      await during([() => from.start(near("secret", doors), doors.socks)], async () => {
        if (breaksInnerTls(cell)) table.notApplicable(spot, "TLS inside", INNER_TLS);
        await checkStreams(table, spot, { cell, doors, targets });
        await checkDatagrams(table, spot, { cell, doors, targets });
        await checkWeb(table, spot, { cell, doors, targets });
      });
      if (!auth) return;
      const others = await openDoors();
      await during([() => from.start(near("wrong", others), others.socks)], async () => {
        await table.check(spot, "a wrong password is refused", async () => {
          const reply = await socksReply(others.socks, targets.echo);
          assert.is.not(reply, 0);
          return undefined;
        });
      });
    });
  } catch (error) {
    await table.check(spot, "both start", () => Promise.reject(error as Error));
  }
}

interface Scene {
  readonly cell: Cell;
  readonly doors: Doors;
  readonly targets: Targets;
}

async function checkStreams(table: Table, spot: Spot, scene: Scene): Promise<void> {
  const { cell, doors, targets } = scene;
  const bytes = cell.auth ? BIG_BYTES : SMALL_BYTES;
  const size = cell.auth ? "4 MiB" : "200 kB";
  await table.check(spot, `TCP echo, ${size} each way, hashes`, async () => {
    await echoBytes(await socksConnect(doors.socks, targets.echo), bytes);
    return undefined;
  });
  await table.check(spot, "TCP by a forwarded port", async () => {
    await echoBytes(await Flow.open(doors.tcp), SMALL_BYTES);
    return undefined;
  });
  await table.check(spot, `${FLOWS} flows at once`, async () => {
    const flows = Array.from({ length: FLOWS }, () => socksConnect(doors.socks, targets.echo));
    await Promise.all(flows.map(async (flow) => echoBytes(await flow, 20_000)));
    return undefined;
  });
  await unlessLimited(table, spot, cell, BANNER, async () => {
    const flow = await socksConnect(doors.socks, targets.banner);
    await flow.until(() => flow.text === "220 hi\r\n");
    await flow.send("QUIT");
    await flow.until(() => flow.text.endsWith("250 QUIT"));
    flow.destroy();
  });
  await unlessLimited(table, spot, cell, HALF_CLOSE, async () => {
    const flow = await socksConnect(doors.socks, targets.halfClose);
    await flow.send("request");
    flow.end();
    await flow.until(() => flow.text === "got request");
    flow.destroy();
  });
  await unlessLimited(table, spot, cell, BRIEF, async () => {
    const flow = await socksConnect(doors.socks, targets.brief);
    await flow.until(() => flow.text === "done\n" && flow.isOver);
    flow.destroy();
  });
  await table.check(spot, "a refused target is refused", async () => {
    const reply = await socksReply(doors.socks, targets.closed);
    assert.is.not(reply, 0);
    return `reply ${reply}`;
  });
}

async function unlessLimited(
  table: Table,
  spot: Spot,
  cell: Cell,
  check: string,
  body: () => Promise<void>,
): Promise<void> {
  const limit = limitOf(cell, check);
  if (limit !== undefined) {
    table.notApplicable(spot, check, limit);
    return;
  }
  await table.check(spot, check, async () => {
    await body();
    return undefined;
  });
}

async function checkDatagrams(table: Table, spot: Spot, scene: Scene): Promise<void> {
  const { doors, targets } = scene;
  await table.check(spot, "UDP by a forwarded port", () =>
    Datagrams.forwarded(doors.udp).echoAll(DATAGRAM_SIZES),
  );
  await table.check(spot, "UDP by association", async () =>
    (await Datagrams.associated(doors.socks, targets.udp)).echoAll(DATAGRAM_SIZES),
  );
}

async function checkWeb(table: Table, spot: Spot, { doors, targets }: Scene): Promise<void> {
  await table.check(spot, "HTTP: plain request", async () => {
    const { status, body } = await httpGet(doors.http, targets.web);
    assert.equal([status, body], [200, `/x 127.0.0.1:${targets.web}`]);
    return undefined;
  });
  await table.check(spot, "HTTP: CONNECT, and a refused target", async () => {
    const { status, flow } = await httpConnect(doors.http, targets.echo);
    assert.is(status, 200);
    await echoBytes(flow, 20_000);
    const refused = await httpConnect(doors.http, targets.closed);
    refused.flow.destroy();
    assert.is(refused.status, 503);
    return undefined;
  });
}
