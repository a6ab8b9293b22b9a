/** Forwarding of TCP and UDP, the UDP listener's sessions, and BIND of the relay handler. */
import { type Socket as UdpSocket, createSocket } from "node:dgram";
import { once } from "node:events";
import { type Socket, connect } from "node:net";
import * as assert from "uvu/assert";
import { MuxSession } from "../../src/chain/mux-session.ts";
import { MUX_DEFAULTS } from "../../src/chain/mux-settings.ts";
import { SocketStream } from "../../src/chain/socket-stream.ts";
import type { Transport } from "../../src/chain/types.ts";
import { isFrom } from "../../src/serve/forward-source.ts";
import type { RunningServer } from "../../src/serve/server.ts";
import {
  MemoryLog,
  Reader,
  type StartParts,
  Target,
  chainOf,
  echoTarget,
  eventually,
  pauseMs,
  portOf,
  send,
  startRelay,
} from "../chain/world.ts";
import { suite } from "../kit/suite.ts";

const test = suite("serve/forward");

/** A UDP server that answers `count` times and remembers who asked. */
class UdpTarget {
  readonly socket: UdpSocket = createSocket("udp4");
  readonly sources: number[] = [];
  readonly got: string[] = [];
  answers = 1;

  async listen(): Promise<number> {
    this.socket.on("message", (data, { port, address }) => {
      if (!this.sources.includes(port)) this.sources.push(port);
      this.got.push(data.toString("latin1"));
      for (let count = 0; count < this.answers; count++) this.socket.send(data, port, address);
    });
    this.socket.bind(0, "127.0.0.1");
    await once(this.socket, "listening");
    return this.socket.address().port;
  }
}

class UdpClient {
  readonly socket: UdpSocket = createSocket("udp4");
  readonly got: string[] = [];
  readonly #port: number;

  constructor(server: RunningServer) {
    this.#port = portOf(server.address);
    this.socket.on("message", (data) => this.got.push(data.toString("latin1")));
  }

  say(text: string): void {
    this.socket.send(Buffer.from(text, "latin1"), this.#port, "127.0.0.1");
  }
}

async function withServer(
  parts: StartParts,
  body: (server: RunningServer) => Promise<void>,
): Promise<void> {
  const server = await startRelay(parts);
  try {
    await body(server);
  } finally {
    await server.close();
  }
}

async function withUdp(
  parts: StartParts,
  body: (target: UdpTarget, open: () => UdpClient) => Promise<void>,
): Promise<void> {
  const target = new UdpTarget();
  const forward = [`127.0.0.1:${await target.listen()}`];
  const clients: UdpClient[] = [];
  try {
    await withServer({ handler: "udp", listener: "udp", forward, ...parts }, (server) =>
      body(target, () => {
        const client = new UdpClient(server);
        clients.push(client);
        return client;
      }),
    );
  } finally {
    for (const { socket } of clients) socket.close();
    target.socket.close();
  }
}

async function talk(server: RunningServer, text: string): Promise<string> {
  const socket = connect({ port: portOf(server.address), host: "127.0.0.1" });
  let got = "";
  socket.on("data", (chunk: Buffer) => (got += chunk.toString("latin1")));
  socket.on("error", () => (got += "!"));
  socket.end(Buffer.from(text, "latin1"));
  await new Promise((resolve) => socket.once("close", resolve));
  return got;
}

test("a TCP client reaches the target, halves close, also through a chain", async () => {
  const echo = echoTarget();
  const forward = [`127.0.0.1:${await echo.listen()}`];
  await withServer({ handler: "tcp", forward }, async (server) => {
    assert.is(await talk(server, "hello"), "hello");
  });
  await withServer({}, async (relay) => {
    const through = chainOf([{ addr: relay.address }]);
    await withServer({ handler: "forward", forward, through }, async (server) => {
      assert.is(await talk(server, "through"), "through");
    });
    through.close();
  });
  echo.close();
});

test("a target that fails is marked and passed over; the client is reset", async () => {
  const echo = echoTarget();
  const good = `127.0.0.1:${await echo.listen()}`;
  await withServer({ handler: "tcp", forward: ["127.0.0.1:9", good] }, async (server) => {
    const answers: string[] = [];
    for (let count = 0; count < 5; count++) answers.push(await talk(server, "x"));
    assert.equal(answers, ["!", "x", "x", "x", "x"]);
  });
  const relay = { forward: ["127.0.0.1:9", good] };
  await withServer(relay, async (server) => {
    const replies: string[] = [];
    for (let count = 0; count < 3; count++) {
      replies.push(Buffer.from(await talk(server, "\x01\x01\x00\x00y"), "latin1").toString("hex"));
    }
    assert.match(replies[0] ?? "", /^0105/);
    assert.equal(replies.slice(1), ["0100000079", "0100000079"]);
  });
  echo.close();
});

test("idleTimeout ends a silent connection", async () => {
  const silent = new Target(() => undefined);
  const forward = [`127.0.0.1:${await silent.listen()}`];
  const metadata = { idleTimeout: "150ms" };
  await withServer({ handler: "tcp", forward, metadata }, async (server) => {
    const socket = connect({ port: portOf(server.address), host: "127.0.0.1" });
    socket.on("error", () => undefined);
    const fromMs = performance.now();
    await new Promise((resolve) => socket.once("close", resolve));
    assert.ok(performance.now() - fromMs > 100);
    await eventually(() => silent.events.length > 0);
  });
  silent.close();
});

test("a service that leads nowhere does not start", async () => {
  for (const parts of [{ handler: "tcp" }, { handler: "tcp", forward: ["host"] }]) {
    const error = await startRelay(parts).catch((thrown: unknown) => thrown);
    assert.match(String(error), /leads nowhere|not HOST:PORT/);
  }
  const error = await startRelay({ handler: "http", listener: "udp" }).catch((e: unknown) => e);
  assert.match(String(error), /needs a stream/);
});

test("UDP: each client has a session that outlives its answers", () =>
  withUdp({}, async (target, open) => {
    target.answers = 2;
    const [one, two] = [open(), open()];
    for (const text of ["a", "b"]) {
      one.say(text);
      two.say(text);
      await eventually(() => one.got.length >= (text === "a" ? 2 : 4));
    }
    await eventually(() => two.got.length === 4);
    assert.equal(one.got, ["a", "a", "b", "b"]);
    assert.is(target.sources.length, 2);
  }));

test("UDP: whole datagrams of every size, empty ones too", () =>
  withUdp({}, async (_target, open) => {
    const client = open();
    for (const size of [0, 1, 4097, 60_000]) {
      client.say("x".repeat(size));
      await eventually(() => client.got.at(-1)?.length === size);
    }
  }));

test("UDP: keepalive=false ends with the first answer; ttl ends the silent", async () => {
  await withUdp({ listenerMetadata: { keepalive: false } }, async (target, open) => {
    const client = open();
    for (const text of ["a", "b", "c"]) {
      client.say(text);
      await eventually(() => client.got.includes(text));
    }
    assert.is(target.sources.length, 3);
  });
  await withUdp({ listenerMetadata: { ttl: "120ms" } }, async (target, open) => {
    const client = open();
    for (let count = 0; count < 8; count++) {
      client.say("x");
      await pauseMs(40);
    }
    assert.is(target.sources.length, 1, "a session in use lives");
    await pauseMs(400);
    client.say("late");
    await eventually(() => client.got.includes("late"));
    assert.is(target.sources.length, 2);
  });
});

test("UDP: stateless, a datagram is a session", () =>
  withUdp({ listenerMetadata: { stateless: true } }, async (target, open) => {
    target.answers = 2;
    const client = open();
    client.say("a");
    client.say("b");
    await eventually(() => client.got.length === 2);
    await pauseMs(50);
    assert.equal(client.got.sort(), ["a", "b"]);
    assert.is(target.sources.length, 2);
  }));

test("UDP: strangers cannot speak to a client", () =>
  withUdp({}, async (target, open) => {
    const client = open();
    client.say("hello");
    await eventually(() => client.got.length === 1);
    const stranger = createSocket("udp4");
    const [port = 0] = target.sources;
    stranger.send("evil", port, "127.0.0.1");
    await pauseMs(50);
    client.say("again");
    await eventually(() => client.got.includes("again"));
    assert.equal(client.got, ["hello", "again"]);
    stranger.close();
  }));

test("whose datagrams a target's are", () => {
  const at = (host: string, port: number): { host: string; port: number } => ({ host, port });
  assert.ok(isFrom(at("::ffff:192.0.2.1", 53), at("192.0.2.1", 53)));
  assert.ok(isFrom(at("2001:db8:0::1", 53), at("2001:DB8::1", 53)));
  assert.ok(isFrom(at("192.0.2.1", 53), at("name.example", 53)));
  assert.ok(isFrom(at("127.0.0.1", 53), at("0.0.0.0", 53)));
  assert.not.ok(isFrom(at("192.0.2.1", 54), at("192.0.2.1", 53)));
  assert.not.ok(isFrom(at("192.0.2.2", 53), at("192.0.2.1", 53)));
});

test("UDP: sessions that wait are bounded, their queue too", async () => {
  const silent = new Target(() => undefined);
  const addr = `127.0.0.1:${await silent.listen()}`;
  const log = new MemoryLog();
  const through = chainOf([{ addr }], log);
  const listenerMetadata = { backlog: 3, readQueueSize: 2 };
  await withUdp({ through, log, listenerMetadata }, async (_target, open) => {
    const clients = Array.from({ length: 10 }, open);
    for (const client of clients) for (let count = 0; count < 5; count++) client.say("x");
    await eventually(() => log.find(/too many clients/).length === 1);
    await eventually(() => log.find(/recv queue is full/).length === 1);
    await eventually(() => silent.sockets.length === 3);
    await pauseMs(50);
    assert.is(silent.sockets.length, 3);
  });
  through.close();
  silent.close();
});

test("UDP through a relay chain, and towards a target of TCP", async () => {
  const relay = await startRelay({});
  const through = chainOf([{ addr: relay.address }]);
  await withUdp({ through }, async (_target, open) => {
    const client = open();
    client.say("through");
    await eventually(() => client.got.includes("through"));
  });
  through.close();
  await relay.close();
});

test("relay BIND for TCP: peers are streams, each named, in both directions", async () => {
  await withServer({ metadata: { bind: true } }, async (server) => {
    const socket = connect({ port: portOf(server.address), host: "127.0.0.1" });
    await once(socket, "connect");
    const control = new SocketStream(socket);
    await send(control, Buffer.from("0102000a020007017f0000010000", "hex"));
    const reply = new Reader(control);
    await reader(reply, 14);
    const bytes = Buffer.concat(reply.chunks);
    assert.is(bytes.toString("hex").slice(0, 22), "0100000a020007017f0000");
    const port = bytes.readUInt16BE(12);
    control.detach();
    control.unshift(bytes.subarray(14));
    const streams: Reader[] = [];
    const accept = (stream: Transport): boolean => streams.push(new Reader(stream)) > 0;
    const session = new MuxSession(control, { opener: false, settings: MUX_DEFAULTS, accept });
    const peers = await Promise.all([peerOf(port), peerOf(port)]);
    peers.forEach((peer, at) => peer.socket.write(`peer ${at}`));
    await eventually(() => streams.length === 2 && streams.every(({ bytes: n }) => n === 20));
    for (const stream of streams) {
      const all = Buffer.concat(stream.chunks);
      const { text } = stream;
      const from = peers.find(({ socket: one }) => one.localPort === all.readUInt16BE(12));
      assert.is(all.toString("hex").slice(0, 20), "0100000a020007017f00".slice(0, 20));
      await send(stream.stream, `for ${text.slice(14)}`);
      await eventually(() => from?.text() === `for ${text.slice(14)}`);
    }
    peers[0]?.socket.resetAndDestroy();
    socket.destroy();
    await eventually(() => peers.every(({ socket: one }) => one.destroyed));
    assert.ok(session.isClosed);
    const late = connect({ port, host: "127.0.0.1" });
    const [error] = (await once(late, "error")) as [NodeJS.ErrnoException];
    assert.is(error.code, "ECONNREFUSED");
  });
});

async function reader(from: Reader, bytes: number): Promise<void> {
  await from.until((one) => one.bytes >= bytes);
}

async function peerOf(port: number): Promise<{ socket: Socket; text: () => string }> {
  const socket = connect({ port, host: "127.0.0.1" });
  let text = "";
  socket.on("data", (chunk: Buffer) => (text += chunk.toString("latin1")));
  socket.on("error", () => undefined);
  await once(socket, "connect");
  return { socket, text: () => text };
}

test("BIND of a port needs bind=true, an association only a reason to trust", async () => {
  await withServer({}, async (server) => {
    const ask = async (hex: string): Promise<string> => {
      const bytes = Buffer.from(hex, "hex").toString("latin1");
      return Buffer.from(await talk(server, bytes), "latin1")
        .toString("hex")
        .slice(0, 8);
    };
    assert.is(await ask("0102000a020007017f0000010000"), "01030000");
    assert.is(await ask("0182000a020007017f0000010000"), "01030000");
    assert.is((await ask("0182000a02000701000000000000")).slice(0, 4), "0100");
  });
});

test.run();
