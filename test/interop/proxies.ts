/**
 * Part A, which needs no TUN: our chain against gost's relay server, and gost's chain against ours,
 * over every transport.
 */
import { createHash, randomBytes } from "node:crypto";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { type Socket, connect } from "node:net";
import * as assert from "uvu/assert";
import type { Chain } from "../../src/chain/types.ts";
import {
  CertFiles,
  Reader,
  chainOf,
  dialContext,
  eventually,
  portOf,
  send,
  startRelay,
} from "../chain/world.ts";
import { type Gost, freePort } from "./peer.ts";
import { SocksUdp } from "./socks-udp.ts";
import type { Spot, Table } from "./table.ts";
import { type Targets, openTargets } from "./targets.ts";

const TRANSPORTS = ["tcp", "tls", "ws", "wss"] as const;
const BIG_BYTES = 8 * 1024 * 1024;

export async function checkProxies(gost: Gost, table: Table): Promise<void> {
  const world = await openTargets();
  try {
    for (const transport of TRANSPORTS) {
      await ourClient(gost, table, world, transport);
      await theirClient(gost, table, world, transport);
    }
  } finally {
    world.close();
  }
}

/** tsgost -> gost. */
async function ourClient(
  gost: Gost,
  table: Table,
  world: Targets,
  transport: string,
): Promise<void> {
  for (const options of ["", "nodelay=true", "bind=true", "nodelay=true&bind=true"]) {
    const port = await freePort();
    const server = await gost.start(
      ["-L", `relay+${transport}://user:secret@127.0.0.1:${port}?${options}`],
      port,
    );
    const addr = `127.0.0.1:${port}`;
    const auth = { username: "user", password: "secret" };
    const where = { pair: "tsgost -> gost", transport, options: `server ${options || "plain"}` };
    const isWaiting = options.includes("nodelay");
    for (const nodelay of isWaiting ? [false, true] : [false]) {
      const connectorMetadata = { nodelay };
      const chain = chainOf([{ addr, dialer: transport, auth, connectorMetadata }]);
      const spot = { ...where, options: `${where.options}${nodelay ? ", client nodelay" : ""}` };
      await ourStreams(table, spot, chain, world);
      await ourDatagrams(table, spot, chain, world, options.includes("bind"));
      chain.close();
    }
    const wrong = chainOf([
      { addr, dialer: transport, auth: { username: "user", password: "wrong" } },
    ]);
    await table.check(where, "wrong password is told", async () => {
      const failure = await failureOf(wrong.connect(local(world.echo), dialContext()));
      assert.is(failure.reason, "auth");
      return undefined;
    });
    wrong.close();
    await server.stop();
  }
}

function local(port: number): { host: string; port: number } {
  return { host: "127.0.0.1", port };
}

async function failureOf(promise: Promise<unknown>): Promise<{ reason?: string; party?: string }> {
  try {
    await promise;
  } catch (error) {
    return error as { reason?: string };
  }
  throw new Error("it succeeded");
}

async function ourStreams(table: Table, spot: Spot, chain: Chain, world: Targets): Promise<void> {
  await table.check(spot, "TCP echo", async () => {
    const reader = new Reader(await chain.connect(local(world.echo), dialContext()));
    await send(reader.stream, "hello");
    await reader.until(() => reader.text === "hello");
    reader.stream.end();
    await reader.until(() => reader.ended && reader.closed, 15_000);
    assert.is(reader.error, undefined);
    return undefined;
  });
  await table.check(spot, "server speaks first", async () => {
    const reader = new Reader(await chain.connect(local(world.banner), dialContext()));
    await reader.until(() => reader.text === "220 hi\r\n");
    await send(reader.stream, "QUIT");
    await reader.until(() => reader.text.endsWith("250 QUIT"));
    reader.stream.reset();
    return undefined;
  });
  await table.check(spot, "half-close, then the answer", async () => {
    const reader = new Reader(await chain.connect(local(world.halfClose), dialContext()));
    await send(reader.stream, "request");
    reader.stream.end();
    await reader.until(() => reader.ended);
    assert.is(reader.text, "got request");
    reader.stream.destroy();
    return undefined;
  });
  await table.check(spot, "refused port is refused", async () => {
    const failure = await failureOf(chain.connect(local(world.closed), dialContext()));
    assert.is(failure.reason, "refused");
    assert.is(failure.party, "destination");
    return undefined;
  });
  await table.check(spot, "8 MiB each way, hashes", () => bigTransfer(chain, world));
}

async function bigTransfer(chain: Chain, world: Targets): Promise<string | undefined> {
  const startMs = performance.now();
  const up = new Reader(await chain.connect(local(world.sink), dialContext()));
  const hash = createHash("sha256");
  for (let bytes = 0; bytes < BIG_BYTES; bytes += 256 * 1024) {
    const part = randomBytes(256 * 1024);
    hash.update(part);
    await send(up.stream, part);
  }
  up.stream.end();
  const digest = hash.digest("hex");
  await up.until(() => up.ended, 15_000);
  assert.is(up.text, digest);
  const down = new Reader(await chain.connect(local(world.echo), dialContext()));
  const sent = createHash("sha256");
  for (let bytes = 0; bytes < BIG_BYTES; bytes += 256 * 1024) {
    const part = randomBytes(256 * 1024);
    sent.update(part);
    await send(down.stream, part);
  }
  await down.until(() => down.bytes === BIG_BYTES, 15_000);
  const got = createHash("sha256").update(Buffer.concat(down.chunks)).digest("hex");
  assert.is(got, sent.digest("hex"));
  down.stream.reset();
  up.stream.destroy();
  return `${Math.round(performance.now() - startMs)} ms`;
}

async function ourDatagrams(
  table: Table,
  spot: Spot,
  chain: Chain,
  world: Targets,
  isBind: boolean,
): Promise<void> {
  await table.check(spot, `UDP (${isBind ? "association" : "one CONNECT each"})`, async () => {
    const carrier = await chain.datagrams(dialContext());
    assert.is(carrier.constructor.name.startsWith(isBind ? "Association" : "Connect"), true);
    const got: string[] = [];
    carrier.attach({
      message: (data, source) => got.push(`${Buffer.from(data).toString()} ${source.port}`),
      close: () => undefined,
    });
    carrier.send(Buffer.from("hello"), local(world.udp));
    await eventually(() => got.includes(`hello ${world.udp}`));
    carrier.send(Buffer.alloc(1400, "x"), local(world.udp));
    await eventually(() => got.length === 2);
    assert.is(got[1]?.length, 1400 + 1 + String(world.udp).length);
    carrier.close();
    return undefined;
  });
}

/** gost -> tsgost. */
async function theirClient(
  gost: Gost,
  table: Table,
  world: Targets,
  transport: string,
): Promise<void> {
  const files = new CertFiles();
  const auth = { username: "user", password: "secret" };
  try {
    for (const bind of [false, true]) {
      const server = await startRelay({
        listener: transport,
        tls: files.tls,
        auth,
        metadata: { bind },
      });
      for (const nodelay of [false, true]) {
        const host = `127.0.0.1:${portOf(server.address)}`;
        const node = (password: string): string =>
          `relay+${transport}://user:${password}@${host}?nodelay=${nodelay}`;
        const options = `client nodelay=${nodelay}${bind ? ", bind" : ""}`;
        const spot = { pair: "gost -> tsgost", transport, options };
        await theirStreams(gost, table, spot, { world, node, nodelay });
        await theirDatagrams(gost, table, spot, { world, node, nodelay });
      }
      await server.close();
    }
  } finally {
    files.remove();
  }
}

interface Theirs {
  readonly world: Targets;
  readonly node: (password: string) => string;
  readonly nodelay: boolean;
}

/** A gost that forwards a local port to `target` through our server. */
async function forwarding(
  gost: Gost,
  theirs: Theirs,
  target: number,
  password = "secret",
): Promise<{ port: number; stop(): Promise<void> }> {
  const port = await freePort();
  const args = ["-L", `tcp://127.0.0.1:${port}/127.0.0.1:${target}`, "-F", theirs.node(password)];
  const child = await gost.start(args, port);
  return { port, stop: () => child.stop() };
}

async function ask(port: number, question: string, endAfter: boolean): Promise<Socket> {
  const socket = connect({ port, host: "127.0.0.1", allowHalfOpen: true });
  socket.on("error", () => undefined);
  await once(socket, "connect");
  if (question !== "") socket.write(question);
  if (endAfter) socket.end();
  return socket;
}

async function readUntil(socket: Socket, wanted: string): Promise<void> {
  let got = "";
  socket.on("data", (chunk: Buffer) => (got += chunk.toString()));
  await eventually(() => got === wanted, 15_000);
}

async function theirStreams(gost: Gost, table: Table, spot: Spot, theirs: Theirs): Promise<void> {
  const { world } = theirs;
  await table.check(spot, "TCP echo", async () => {
    const forward = await forwarding(gost, theirs, world.echo);
    const socket = await ask(forward.port, "hello", false);
    await readUntil(socket, "hello");
    socket.destroy();
    await forward.stop();
    return undefined;
  });
  await theirEnds(gost, table, spot, theirs);
  await table.check(spot, "8 MiB up, hash", async () => {
    const forward = await forwarding(gost, theirs, world.sink);
    const socket = await ask(forward.port, "", false);
    const hash = createHash("sha256");
    for (let bytes = 0; bytes < BIG_BYTES; bytes += 256 * 1024) {
      const part = randomBytes(256 * 1024);
      hash.update(part);
      if (!socket.write(part)) await once(socket, "drain");
    }
    socket.end();
    const digest = hash.digest("hex");
    await eventually(() => world.sunk() === digest, 15_000);
    socket.destroy();
    await forward.stop();
    return undefined;
  });
  await table.check(spot, "wrong password does not pass", async () => {
    const forward = await forwarding(gost, theirs, world.echo, "wrong");
    const socket = await ask(forward.port, "hello", false);
    let got = "";
    socket.on("data", (chunk: Buffer) => (got += chunk.toString()));
    let isOver = false;
    socket.on("close", () => (isOver = true));
    socket.on("end", () => (isOver = true));
    await eventually(() => isOver);
    assert.is(got, "");
    socket.destroy();
    await forward.stop();
    return undefined;
  });
}

/** What a gost client can only do with nodelay. */
async function theirEnds(gost: Gost, table: Table, spot: Spot, theirs: Theirs): Promise<void> {
  const { world, nodelay } = theirs;
  if (!nodelay) {
    const held = "gost's client sends its request with the first payload";
    table.notApplicable(spot, "server speaks first", held);
    const both = "gost's client closes both directions at a local end";
    table.notApplicable(spot, "half-close, then the answer", both);
    await table.check(spot, "the client's end is the flow's", async () => {
      const forward = await forwarding(gost, theirs, world.halfClose);
      const socket = await ask(forward.port, "request", false);
      setTimeout(() => socket.end(), 200);
      await once(socket.resume(), "close");
      await forward.stop();
      return undefined;
    });
    return;
  }
  await table.check(spot, "server speaks first", async () => {
    const forward = await forwarding(gost, theirs, world.banner);
    const socket = await ask(forward.port, "", false);
    await readUntil(socket, "220 hi\r\n");
    socket.destroy();
    await forward.stop();
    return undefined;
  });
  await table.check(spot, "half-close, then the answer", async () => {
    const forward = await forwarding(gost, theirs, world.halfClose);
    const socket = await ask(forward.port, "request", true);
    await readUntil(socket, "got request");
    socket.destroy();
    await forward.stop();
    return undefined;
  });
}

async function theirDatagrams(gost: Gost, table: Table, spot: Spot, theirs: Theirs): Promise<void> {
  const { world } = theirs;
  await table.check(spot, "UDP by CONNECT", async () => {
    const port = await freePort();
    const listen = `udp://127.0.0.1:${port}/127.0.0.1:${world.udp}?keepalive=true`;
    const child = await gost.start(["-L", listen, "-F", theirs.node("secret")], 0);
    const socket = createSocket("udp4");
    let got = "";
    socket.on("message", (data) => (got = data.toString()));
    const timer = setInterval(() => socket.send("hello", port, "127.0.0.1"), 100);
    await eventually(() => got === "hello", 10_000).finally(() => clearInterval(timer));
    socket.close();
    await child.stop();
    return undefined;
  });
  await table.check(spot, "UDP by association", async () => {
    const port = await freePort();
    const listen = `socks5://127.0.0.1:${port}?udp=true`;
    const child = await gost.start(["-L", listen, "-F", theirs.node("secret")], port);
    const client = await SocksUdp.open(port);
    const answer = await client.ask(world.udp, "hello");
    assert.is(answer, "hello");
    client.close();
    await child.stop();
    return undefined;
  });
}
