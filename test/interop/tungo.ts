/**
 * Part B, on TUN devices: tsgost's tungo through gost's relay server, and gost's tungo through
 * ours. Needs namespaces; says so where they cannot be had.
 */
import * as assert from "uvu/assert";
import { canRun, logged, PLACES, skipReason, type Tsgost } from "../kit/netns.ts";
import { PORT } from "../kit/servers.ts";
import * as flows from "./flows.ts";
import { HTTP_BUFFER } from "./matrix.ts";
import type { Gost } from "./peer.ts";
import { type Link, Place, type Running } from "./place.ts";
import type { Spot, Table } from "./table.ts";

/** gost's server reads datagrams into 32 KiB (CONNECT) or udpBufferSize (association). */
const CONNECT_SIZES = [1, 2, 511, 1200, 1372, 1393, 4097, 20_000, 32_768];
const SMALL_SIZES = [1, 2, 511, 1200, 1372, 1393, 4096];
const ALL_SIZES = [...CONNECT_SIZES, 60_000];
const BRIEF_TRANSPORTS = ["ws", "tls", "tcp", "mwss"] as const;
const MUXED = new Set(["mtls", "mws", "mwss"]);
/** Other ways than relay, with what each server needs. */
const OTHERS = [
  { connector: "socks5", transport: "tcp", server: "udp=true" },
  { connector: "socks5", transport: "mwss", server: "udp=true" },
  { connector: "http", transport: "tls", server: "udp=true" },
  { connector: "http", transport: "mwss", server: "udp=true" },
] as const;
const MUX_END = "gost takes the FIN of a smux stream for both directions";
const SOCKS_END = "gost's SOCKS5 client closes both directions at a local end";
const HALF_CLOSE = "half-close, then the answer";
const MIB = 1024 ** 2;
const LONG_MS = 60_000;

export async function checkTungo(gost: Gost, table: Table): Promise<void> {
  if (!canRun) {
    console.log(`skipped: ${skipReason}`);
    return;
  }
  const place = await Place.open(gost);
  try {
    await oursInFull(place, table);
    await oursWrong(place, table);
    await oursHeals(place, table);
    for (const transport of BRIEF_TRANSPORTS) {
      for (const server of ["nodelay=false", "bind=true&nodelay=true"]) {
        await oursInBrief(place, table, { transport, server });
      }
    }
    for (const link of OTHERS) await oursInBrief(place, table, link);
    for (const client of ["nodelay=false", "nodelay=true"]) {
      await theirs(place, table, { transport: "wss", client });
    }
    await theirsWrong(place, table);
    await theirsHeals(place, table);
    for (const transport of BRIEF_TRANSPORTS) {
      await theirs(place, table, { transport, client: "nodelay=true" });
    }
    for (const link of OTHERS) await theirs(place, table, { ...link, client: "nodelay=true" });
  } finally {
    await place.close();
  }
}

const OURS = "tsgost tungo -> gost";
const THEIRS = "gost tungo -> tsgost";

function spotOf(pair: string, link: Link): Spot {
  const server = `server ${link.server ?? "plain"}`;
  const client = `client ${link.client ?? "plain"}`;
  const connector = link.connector === undefined ? "" : `${link.connector}, `;
  const options = connector + (pair === THEIRS ? client : `${server}, ${client}`);
  const isMux = MUXED.has(link.transport);
  return { pair, transport: isMux ? `${link.transport}/1` : link.transport, options };
}

/** Starts server and client, does what is to be done, stops both. */
async function between(
  server: Promise<Running>,
  startClient: () => Promise<Running>,
  body: (client: Running, server: Running) => Promise<void>,
): Promise<void> {
  const far = await server;
  try {
    const near = await startClient();
    try {
      await body(near, far);
    } finally {
      await near.stop();
    }
  } finally {
    await far.stop();
  }
}

async function oursInFull(place: Place, table: Table): Promise<void> {
  const big = "udpBufferSize=65535";
  for (const server of ["", "nodelay=true", "bind=true", `bind=true&nodelay=true&${big}`]) {
    const waits = server.includes("nodelay=true");
    for (const client of waits ? ["nodelay=false", "nodelay=true"] : ["nodelay=false"]) {
      const link = { transport: "wss", server, client };
      const spot = spotOf(OURS, { ...link, server: server || "plain" });
      await between(
        place.gostServer(link),
        () => place.tsgostTungo(link),
        async (tungo) => {
          await ourStreams(place, table, spot);
          await ourDatagrams(place, table, spot, server);
          await table.check(spot, "a missing association is told once", () =>
            toldOnce(tungo as Tsgost, server.includes("bind=true") ? 0 : 1),
          );
        },
      );
    }
  }
  await oursDeadlocked(place, table);
}

/** A client that waits for the reply, and a server that keeps it until the target speaks. */
async function oursDeadlocked(place: Place, table: Table): Promise<void> {
  const { scene } = place;
  const link = { transport: "wss", server: "nodelay=false", client: "nodelay=true" };
  const spot = spotOf(OURS, { ...link, server: "plain" });
  await between(
    place.gostServer(link),
    () => place.tsgostTungo(link),
    async () => {
      for (const { host, family } of flows.FAMILIES) {
        await table.check(spot, `${family}: server speaks first`, flows.greeter(scene, host));
        await table.check(spot, `${family}: refused is ECONNREFUSED`, flows.refused(scene, host));
      }
      const fails = flows.connectFails(scene, PORT.echo);
      await table.check(spot, "client speaks first: the connect fails, in time", fails, 60_000);
    },
  );
  const deadlock = "gost's server answers only with the target's first data: both would wait";
  table.notApplicable(spot, "client speaks first, UDP", deadlock);
}

async function ourStreams(place: Place, table: Table, spot: Spot): Promise<void> {
  const { scene } = place;
  for (const { host, family } of flows.FAMILIES) {
    const mixed = flows.duplex(scene, host, 4, MIB);
    await table.check(spot, `${family}: TCP up and down, hashes`, mixed, LONG_MS);
    await table.check(spot, `${family}: server speaks first`, flows.greeter(scene, host));
    await table.check(spot, `${family}: half-close, then the answer`, flows.halfClose(scene, host));
    await table.check(spot, `${family}: server's end`, flows.serverEnds(scene, host));
    await table.check(spot, `${family}: refused is ECONNREFUSED`, flows.refused(scene, host));
  }
  await table.check(spot, "a server without a word ends", flows.silentEnd(scene));
  await table.check(spot, "client's reset ends the server's side", flows.clientResets(scene));
  await table.check(spot, "30 flows at once, hashes", flows.several(scene), LONG_MS);
  await table.check(spot, "one big flow, hashes", flows.big(scene), LONG_MS);
}

async function ourDatagrams(place: Place, table: Table, spot: Spot, server: string): Promise<void> {
  const { scene } = place;
  const isBound = server.includes("bind=true");
  const wide = server.includes("udpBufferSize") ? ALL_SIZES : SMALL_SIZES;
  const sizes = isBound ? wide : CONNECT_SIZES;
  for (const { host, family } of flows.FAMILIES) {
    await table.check(spot, `${family}: UDP`, flows.datagrams(scene, host, sizes));
  }
  await table.check(spot, "UDP behind an empty datagram", flows.afterEmpty(scene), 30_000);
  if (sizes !== ALL_SIZES) {
    const why = isBound ? "association cuts at 4096 bytes by default" : "CONNECT cuts at 32768";
    table.notApplicable(spot, "UDP of 60,000 bytes", `gost's ${why}`);
  }
}

async function toldOnce(tungo: Tsgost, times: number): Promise<undefined> {
  const found = logged(tungo, /"level":"(warn|info)".*bind/);
  assert.is(found.length, times, JSON.stringify(found));
  const bad = logged(tungo, /"level":"(error|fatal)"/);
  assert.is(bad.length, 0, JSON.stringify(bad));
  return undefined;
}

async function oursWrong(place: Place, table: Table): Promise<void> {
  for (const server of ["nodelay=false", "nodelay=true"]) {
    const link = { transport: "wss", server, password: "wrong" };
    const spot = { ...spotOf(OURS, link), options: `server ${server}, wrong password` };
    await between(
      place.gostServer(link),
      () => place.tsgostTungo(link),
      async (tungo) => {
        await table.check(spot, "TCP is refused", flows.refused(place.scene, PLACES.web4));
        await table.check(spot, "the log says why, once", async () => {
          const found = logged(tungo as Tsgost, /"level":"(warn|error)".*(auth|password)/i);
          assert.is(found.length, 1, JSON.stringify(found));
          return undefined;
        });
      },
    );
  }
}

/** The server dies under open flows, and comes back. */
async function oursHeals(place: Place, table: Table): Promise<void> {
  const { scene } = place;
  const count = 50;
  for (const server of ["nodelay=false", "bind=true&nodelay=true"]) {
    const link = { transport: "wss", server };
    const spot = { ...spotOf(OURS, link), options: `server ${server} restarts` };
    const first = await place.gostServer(link);
    const tungo = await place.tsgostTungo(link);
    await table.check(spot, "a socket's UDP before", flows.keptDatagrams(scene));
    await table.check(spot, "open flows end at once", async () => {
      assert.is(await scene.client("holdOpen", PLACES.web4, PORT.echo, count), count);
      await first.stop();
      const { ends, standing, ms } = await scene.client("heldOutcome", 10_000);
      assert.is(standing, 0, JSON.stringify(ends));
      return `${JSON.stringify(ends)} after ${Math.round(ms)} ms`;
    });
    const alike =
      "our limit: Node's TLS does not tell whether close_notify came before the FIN," +
      " so a killed gost looks like one that ended";
    table.notApplicable(spot, "open flows end with a reset", alike);
    await table.check(spot, "refused while it is away", flows.refused(scene, PLACES.web4));
    const second = await place.gostServer(link);
    await table.check(spot, "the same socket's UDP after", flows.keptDatagrams(scene));
    await healed(place, table, spot);
    await tungo.stop();
    await second.stop();
  }
}

async function healed(place: Place, table: Table, spot: Spot): Promise<void> {
  const { scene } = place;
  await table.check(spot, "works again: TCP", flows.duplex(scene, "", 10, 100_000), LONG_MS);
  const datagrams = flows.datagrams(scene, PLACES.web4, SMALL_SIZES);
  await table.check(spot, "works again: UDP", datagrams);
}

async function oursInBrief(place: Place, table: Table, link: Link): Promise<void> {
  const { scene } = place;
  const spot = spotOf(OURS, link);
  await between(
    place.gostServer(link),
    () => place.tsgostTungo(link),
    async () => {
      for (const { host, family } of flows.FAMILIES) {
        const mixed = flows.duplex(scene, host, 4, MIB);
        await table.check(spot, `${family}: TCP up and down, hashes`, mixed, LONG_MS);
        const datagrams = flows.datagrams(scene, host, SMALL_SIZES);
        await table.check(spot, `${family}: UDP`, datagrams);
      }
      const host = PLACES.web4;
      await table.check(spot, "server speaks first", flows.greeter(scene, host));
      if (MUXED.has(link.transport)) table.notApplicable(spot, HALF_CLOSE, MUX_END);
      else await table.check(spot, HALF_CLOSE, flows.halfClose(scene, host));
      await table.check(spot, "refused is ECONNREFUSED", flows.refused(scene, host));
    },
  );
}

async function theirs(place: Place, table: Table, link: Link): Promise<void> {
  const spot = spotOf(THEIRS, link);
  await between(
    place.tsgostServer(link),
    () => place.gostTungo(link),
    async () => {
      await theirStreams(place, table, spot, link);
      await theirDatagrams(place, table, spot);
    },
  );
}

async function theirStreams(place: Place, table: Table, spot: Spot, link: Link): Promise<void> {
  const { scene } = place;
  const nodelay = link.client === "nodelay=true";
  const noHalves = halfCloseLimit(link);
  for (const { host, family } of flows.FAMILIES) {
    const mixed = flows.duplex(scene, host, 4, MIB);
    await table.check(spot, `${family}: TCP up and down, hashes`, mixed, LONG_MS);
    const isLossy = link.connector === "http" && MUXED.has(link.transport);
    const early = async (check: string, body: () => Promise<string | undefined>): Promise<void> => {
      if (isLossy) table.notApplicable(spot, `${family}: ${check}`, HTTP_BUFFER);
      else await table.check(spot, `${family}: ${check}`, body);
    };
    await early("server's end", flows.serverEnds(scene, host));
    if (nodelay) {
      await early("server speaks first", flows.greeter(scene, host));
      const check = `${family}: ${HALF_CLOSE}`;
      if (noHalves !== undefined) table.notApplicable(spot, check, noHalves);
      else await table.check(spot, check, flows.halfClose(scene, host));
    } else {
      const held = "gost's client sends its request with the first payload";
      table.notApplicable(spot, `${family}: server speaks first`, held);
      const both = "gost's client closes both directions at a local end";
      table.notApplicable(spot, `${family}: half-close, then the answer`, both);
    }
  }
  const early = "gost's tungo answers every SYN before it dials";
  table.notApplicable(spot, "refused is ECONNREFUSED", early);
  const ends = flows.endsAtOnce(scene, PORT.closed);
  await table.check(spot, "a flow to a closed port ends at once", ends);
  await table.check(spot, "client's reset ends the server's side", flows.clientResets(scene));
  await table.check(spot, "30 flows at once, hashes", flows.several(scene), LONG_MS);
  await table.check(spot, "one big flow, hashes", flows.big(scene), LONG_MS);
}

function halfCloseLimit({ transport, connector }: Link): string | undefined {
  if (MUXED.has(transport)) return MUX_END;
  return connector === "socks5" ? SOCKS_END : undefined;
}

async function theirDatagrams(place: Place, table: Table, spot: Spot): Promise<void> {
  const { scene } = place;
  for (const { host, family } of flows.FAMILIES) {
    await table.check(spot, `${family}: UDP`, flows.datagrams(scene, host, SMALL_SIZES));
  }
  table.notApplicable(spot, "UDP above 4096 bytes", "gost's tungo cuts datagrams there");
  const ends = "gost's tungo ends the flow's direction there";
  table.notApplicable(spot, "UDP behind an empty datagram", ends);
  table.notApplicable(spot, "UDP by association", "gost's tungo uses CONNECT; see part A");
}

async function theirsWrong(place: Place, table: Table): Promise<void> {
  for (const client of ["nodelay=false", "nodelay=true"]) {
    const link = { transport: "wss", client, password: "wrong" };
    const spot = { ...spotOf(THEIRS, link), options: `client ${client}, wrong password` };
    await between(
      place.tsgostServer(link),
      () => place.gostTungo(link),
      () => table.check(spot, "no flow passes", flows.endsAtOnce(place.scene, PORT.greeter)),
    );
  }
}

async function theirsHeals(place: Place, table: Table): Promise<void> {
  const link = { transport: "wss", client: "nodelay=true" };
  const spot = { ...spotOf(THEIRS, link), options: "server restarts" };
  const first = await place.tsgostServer(link);
  const tungo = await place.gostTungo(link);
  await table.check(spot, "works", flows.duplex(place.scene, "", 10, 100_000), LONG_MS);
  await first.stop();
  const second = await place.tsgostServer(link);
  await healed(place, table, spot);
  await tungo.stop();
  await second.stop();
}
