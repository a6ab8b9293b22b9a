/**
 * The multiplexed transports, smux 1 and 2, in both directions: many streams of one session, a
 * server that speaks first, and bytes by the megabyte. Ends are apart from those of the plain
 * transports: GOST takes a FIN for both directions.
 */
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { connect } from "node:net";
import * as assert from "uvu/assert";
import type { Chain } from "../../src/chain/types.ts";
import {
  CertFiles,
  Reader,
  Target,
  chainOf,
  dialContext,
  echoTarget,
  eventually,
  portOf,
  send,
  startRelay,
} from "../chain/world.ts";
import { type Gost, freePort } from "./peer.ts";
import type { Spot, Table } from "./table.ts";

const TRANSPORTS = ["mtls", "mws", "mwss"] as const;
const AUTH = { username: "user", password: "secret" };
const STREAMS = 20;
const MANY = "relay, many streams";
const BIG_BYTES = 16 * 1024 * 1024;

interface World {
  readonly echo: number;
  readonly banner: number;
}

export async function checkMux(gost: Gost, table: Table): Promise<void> {
  const echo = echoTarget();
  const banner = new Target((socket) => socket.end("220 hi\r\n"));
  const world = { echo: await echo.listen(), banner: await banner.listen() };
  for (const transport of TRANSPORTS) {
    for (const version of [1, 2]) {
      await ourClient(gost, table, world, { transport, version });
      await theirClient(gost, table, world, { transport, version });
    }
  }
  echo.close();
  banner.close();
}

interface Kind {
  readonly transport: string;
  readonly version: number;
}

async function ourClient(gost: Gost, table: Table, world: World, kind: Kind): Promise<void> {
  const { transport, version } = kind;
  const port = await freePort();
  const url = `relay+${transport}://user:secret@127.0.0.1:${port}`;
  const server = await gost.start(["-L", `${url}?mux.version=${version}&nodelay=true`], port);
  const dialerMetadata = { "mux.version": version };
  const chain = chainOf([
    { addr: `127.0.0.1:${port}`, dialer: transport, auth: AUTH, dialerMetadata },
  ]);
  const spot: Spot = {
    pair: "tsgost -> gost",
    transport: `${transport}/${version}`,
    options: MANY,
  };
  await table.check(spot, `${STREAMS} streams at once`, async () => {
    const texts = Array.from({ length: STREAMS }, (_, index) => `hello ${index}`);
    const readers = await Promise.all(texts.map((text) => ask(chain, world.echo, text)));
    for (const { stream } of readers) stream.end();
    for (const reader of readers) await reader.until(() => reader.closed);
    assert.ok(readers.every((reader) => reader.error === undefined));
    return undefined;
  });
  await table.check(spot, "server speaks first", async () => {
    const target = { host: "127.0.0.1", port: world.banner };
    const reader = new Reader(await chain.connect(target, dialContext()));
    await reader.until(() => reader.ended);
    assert.is(reader.text, "220 hi\r\n");
    reader.stream.end();
    return undefined;
  });
  await table.check(spot, "16 MiB there and back, hash", async () => {
    const reader = await ask(chain, world.echo, "x");
    const hash = createHash("sha256").update("x");
    for (let bytes = 0; bytes < BIG_BYTES; bytes += 256 * 1024) {
      const part = randomBytes(256 * 1024);
      hash.update(part);
      await send(reader.stream, part);
    }
    await reader.until(() => reader.bytes === BIG_BYTES + 1, 15_000);
    const got = createHash("sha256").update(Buffer.concat(reader.chunks)).digest("hex");
    assert.is(got, hash.digest("hex"));
    reader.stream.reset();
    return undefined;
  });
  chain.close();
  await server.stop();
}

async function ask(chain: Chain, port: number, text: string): Promise<Reader> {
  const reader = new Reader(await chain.connect({ host: "127.0.0.1", port }, dialContext()));
  await send(reader.stream, text);
  await reader.until(() => reader.text === text);
  return reader;
}

async function theirClient(gost: Gost, table: Table, world: World, kind: Kind): Promise<void> {
  const { transport, version } = kind;
  const files = new CertFiles();
  const server = await startRelay({
    listener: transport,
    tls: files.tls,
    auth: AUTH,
    listenerMetadata: { "mux.version": version },
  });
  const port = await freePort();
  const node = `relay+${transport}://user:secret@127.0.0.1:${portOf(server.address)}`;
  const listen = `tcp://127.0.0.1:${port}/127.0.0.1:${world.echo}`;
  const client = await gost.start(["-L", listen, "-F", `${node}?mux.version=${version}`], port);
  const spot: Spot = {
    pair: "gost -> tsgost",
    transport: `${transport}/${version}`,
    options: MANY,
  };
  const open = async (): Promise<{ socket: ReturnType<typeof connect>; got(): Buffer }> => {
    const socket = connect(port, "127.0.0.1");
    const chunks: Buffer[] = [];
    socket.on("error", () => undefined);
    socket.on("data", (chunk: Buffer) => chunks.push(chunk));
    await once(socket, "connect");
    return { socket, got: () => Buffer.concat(chunks) };
  };
  await table.check(spot, `${STREAMS} streams at once`, async () => {
    const flows = await Promise.all(Array.from({ length: STREAMS }, open));
    flows.forEach(({ socket }, index) => socket.write(`hello ${index}`));
    await eventually(() => flows.every(({ got }, at) => got().toString() === `hello ${at}`));
    for (const { socket } of flows) socket.end();
    await eventually(() => flows.every(({ socket }) => socket.closed));
    return undefined;
  });
  await table.check(spot, "16 MiB there and back, hash", async () => {
    const { socket, got } = await open();
    const part = randomBytes(BIG_BYTES);
    socket.write(part);
    let bytes = 0;
    socket.on("data", (chunk: Buffer) => (bytes += chunk.length));
    await eventually(() => bytes === BIG_BYTES, 15_000);
    assert.ok(got().equals(part));
    socket.destroy();
    return undefined;
  });
  await client.stop();
  await server.close();
  files.remove();
}
