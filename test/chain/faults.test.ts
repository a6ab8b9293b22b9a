/**
 * What goes wrong on the way: truthful reasons, one log line with a remedy, nothing left behind.
 * Longer than 400 lines because every case needs the same faulty servers.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { type Server, type Socket, type AddressInfo, createServer } from "node:net";
import * as assert from "uvu/assert";
import { ChainError } from "../../src/chain/errors.ts";
import type { Chain } from "../../src/chain/types.ts";
import { encodeReply } from "../../src/proto/relay.ts";
import { suite } from "../kit/suite.ts";
import {
  CertFiles,
  MemoryLog,
  Reader,
  chainOf,
  dialContext,
  echoTarget,
  eventually,
  pauseMs,
  portOf,
  send,
  startRelay,
} from "./world.ts";

const test = suite("chain/faults");
const files = new CertFiles();
test.after(() => files.remove());

const TARGET = { host: "127.0.0.1", port: 9 };

async function failure(promise: Promise<unknown>): Promise<ChainError> {
  try {
    await promise;
  } catch (error) {
    assert.instance(error, ChainError);
    return error as ChainError;
  }
  throw new Error("it succeeded");
}

/** A TCP server with a behaviour of its own; answers its address. */
async function serverOf(
  onSocket: (socket: Socket) => void,
): Promise<{ addr: string; server: Server }> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => undefined);
    socket.on("close", () => sockets.delete(socket));
    onSocket(socket);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  server.on("close", () => sockets.forEach((socket) => socket.destroy()));
  const { port } = server.address() as AddressInfo;
  const close = server.close.bind(server);
  server.close = (callback) => {
    sockets.forEach((socket) => socket.destroy());
    return close(callback);
  };
  return { addr: `127.0.0.1:${port}`, server };
}

test("a proxy that is down is told once, and used again when it is back", async () => {
  const log = new MemoryLog();
  const first = await startRelay({});
  const addr = first.address;
  await first.close();
  const chain = chainOf([{ addr }], log);
  for (let count = 0; count < 3; count++) {
    const error = await failure(chain.connect(TARGET, dialContext()));
    assert.is(error.reason, "refused");
    assert.is(error.party, "proxy");
    assert.is(error.code, "TSGOST_ERR_CHAIN_REFUSED");
  }
  assert.is(log.find(/node-0/).length, 1);
  const target = echoTarget();
  const port = await target.listen();
  const second = await startRelay({ addr });
  const reader = new Reader(await chain.connect({ host: "127.0.0.1", port }, dialContext()));
  await send(reader.stream, "back");
  await reader.until(() => reader.text === "back");
  reader.stream.reset();
  await second.close();
  target.close();
});

test("a wrong password is a failure of the proxy, logged with what to check", async () => {
  const log = new MemoryLog();
  const serverLog = new MemoryLog();
  const server = await startRelay({ auth: { username: "u", password: "p" }, log: serverLog });
  const auth = { username: "u", password: "q" };
  const chain = chainOf([{ addr: server.address, auth }], log);
  const error = await failure(chain.connect(TARGET, dialContext()));
  assert.is(error.reason, "auth");
  assert.is(error.party, "proxy");
  await failure(chain.connect(TARGET, dialContext()));
  assert.is(log.find(/^error .*user name and password/).length, 1);
  assert.is(serverLog.find(/wrong user name or password/).length, 1);
  assert.not.match(JSON.stringify([...log.lines, ...serverLog.lines]), /"q"/);
  await server.close();
});

const GARBAGE: [string, string, RegExp][] = [
  ["tcp", "HTTP/1.1 400 Bad Request\r\n\r\n", /does not answer as a relay server/],
  ["tcp", "\x01\x00\x00\x04\x02\x00", /without a reply|closed/],
  ["ws", "SSH-2.0-OpenSSH\r\n", /not HTTP/],
  ["ws", "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", /404.*path=/],
  ["ws", "HTTP/1.1 302 Found\r\nLocation: /\r\n\r\n", /302/],
  ["ws", "HTTP/1.1 101 OK\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", /Accept/],
  ["ws", `HTTP/1.1 200 OK\r\n${"X: y\r\n".repeat(5000)}`, /too long/],
  ["ws", "", /closed the connection/],
  ["tls", "220 smtp.example ESMTP\r\n", /TLS.*plain port/],
  ["tls", "", /closed the connection/],
  ["wss", "HTTP/1.1 400 Bad Request\r\n\r\n", /TLS.*plain port/],
];

for (const [dialer, text, pattern] of GARBAGE) {
  const said = JSON.stringify(text.slice(0, 24));
  test(`${dialer}: a peer that says ${said} is told as what it is`, async () => {
    const log = new MemoryLog();
    const { addr, server } = await serverOf((socket) => {
      socket.once("data", () => socket.end(text, "latin1"));
    });
    const chain = chainOf([{ addr, dialer }], log);
    const error = await failure(chain.connect(TARGET, dialContext()));
    assert.match(error.message, pattern);
    assert.is(error.party, "proxy");
    assert.is(log.find(/node-0/).filter((line) => !/not verified/.test(line)).length, 1);
    server.close();
  });
}

for (const dialer of ["tls", "ws", "wss"]) {
  test(`${dialer}: a peer that says nothing is given up in time`, async () => {
    let closed = 0;
    const { addr, server } = await serverOf((socket) => {
      socket.resume();
      socket.on("close", () => closed++);
    });
    const chain = chainOf([{ addr, dialer }]);
    const startMs = performance.now();
    const error = await failure(chain.connect(TARGET, { ...dialContext(), timeoutMs: 200 }));
    assert.is(error.reason, "timeout");
    assert.ok(performance.now() - startMs < 3000);
    await eventually(() => closed === 1);
    server.close();
  });
}

test("giving up ends the dial at once and closes its socket", async () => {
  let open = 0;
  const { addr, server } = await serverOf((socket) => {
    open++;
    socket.resume();
    socket.on("close", () => open--);
  });
  const chain = chainOf([{ addr, dialer: "wss" }]);
  const stop = new AbortController();
  const dialing = failure(chain.connect(TARGET, { signal: stop.signal }));
  await eventually(() => open === 1);
  stop.abort();
  assert.is((await dialing).reason, "aborted");
  await eventually(() => open === 0);
  server.close();
});

/** A relay server by hand: `act` gets the socket after the request. */
function scripted(act: (socket: Socket) => void): Promise<{ addr: string; server: Server }> {
  return serverOf((socket) => {
    socket.setNoDelay(true);
    socket.once("data", () => act(socket));
  });
}

const grace = { "relay.grace": "60ms" };

test("a server that keeps its reply is believed after the grace time", async () => {
  const { addr, server } = await scripted((socket) => {
    socket.on("data", () =>
      socket.write(Buffer.concat([encodeReply({ status: 0 }), Buffer.from("yes")])),
    );
  });
  const chain = chainOf([{ addr, connectorMetadata: grace }]);
  const reader = new Reader(await chain.connect(TARGET, dialContext()));
  await send(reader.stream, "question");
  await reader.until(() => reader.text === "yes");
  reader.stream.reset();
  server.close();
});

test("a server that keeps its reply and ends means the target's end, not a failure", async () => {
  const { addr, server } = await scripted((socket) => {
    setTimeout(() => socket.end(), 150);
  });
  const log = new MemoryLog();
  const chain = chainOf([{ addr, connectorMetadata: grace }], log);
  const reader = new Reader(await chain.connect(TARGET, dialContext()));
  await reader.until(() => reader.ended);
  assert.is(reader.text, "");
  assert.is(reader.error, undefined);
  assert.is(log.find(/is it a relay server/).length, 1, "it never said that it is one");
  reader.stream.reset();
  server.close();
});

test("half a reply at the end is a failure, also after the grace time", async () => {
  const { addr, server } = await scripted((socket) => {
    setTimeout(() => socket.end(Buffer.of(1, 0)), 150);
  });
  const chain = chainOf([{ addr, connectorMetadata: grace }]);
  const reader = new Reader(await chain.connect(TARGET, dialContext()));
  await reader.until(() => reader.closed);
  assert.is(reader.error instanceof ChainError, true);
  assert.not.ok(reader.ended);
  server.close();
});

test("a refusal after the grace time closes the stream with its reason", async () => {
  const { addr, server } = await scripted((socket) => {
    setTimeout(() => socket.write(encodeReply({ status: 7 })), 150);
  });
  const chain = chainOf([{ addr, connectorMetadata: grace }]);
  const reader = new Reader(await chain.connect(TARGET, dialContext()));
  await reader.until(() => reader.closed);
  assert.is((reader.error as ChainError).reason, "refused");
  assert.not.ok(reader.ended);
  server.close();
});

test("a node that once answered before its target is waited for in full", async () => {
  let isSlow = false;
  const { addr, server } = await scripted((socket) => {
    setTimeout(() => socket.write(encodeReply({ status: isSlow ? 6 : 0 })), isSlow ? 300 : 0);
  });
  const chain = chainOf([{ addr, connectorMetadata: grace }]);
  (await chain.connect(TARGET, dialContext())).reset();
  isSlow = true;
  const error = await failure(chain.connect(TARGET, dialContext()));
  assert.is(error.reason, "host-unreachable");
  assert.is(error.party, "destination");
  server.close();
});

test("nodelay=true waits for the reply, and connectTimeout bounds it", async () => {
  const { addr, server } = await scripted(() => undefined);
  const connectorMetadata = { nodelay: true, connectTimeout: "100ms" };
  const chain = chainOf([{ addr, connectorMetadata }]);
  const error = await failure(chain.connect(TARGET, dialContext()));
  assert.is(error.reason, "timeout");
  assert.is(error.party, "destination");
  server.close();
});

const STATUSES: [number, string][] = [
  [1, "protocol"],
  [2, "auth"],
  [3, "prohibited"],
  [4, "timeout"],
  [5, "refused"],
  [6, "host-unreachable"],
  [7, "refused"],
  [8, "closed"],
  [99, "closed"],
];

test("each status is told by its reason; tsgost's cause decides between them", async () => {
  for (const [status, reason] of STATUSES) {
    const { addr, server } = await scripted((socket) => socket.write(encodeReply({ status })));
    const error = await failure(chainOf([{ addr }]).connect(TARGET, dialContext()));
    assert.is(error.reason, reason, `status ${status}`);
    server.close();
  }
  const { addr, server } = await scripted((socket) =>
    socket.write(encodeReply({ status: 7, cause: 3 })),
  );
  const error = await failure(chainOf([{ addr }]).connect(TARGET, dialContext()));
  assert.is(error.reason, "network-unreachable");
  server.close();
});

test("a server killed with 1000 open flows closes them all, with errors, within 2 s", async () => {
  const target = echoTarget();
  const port = await target.listen();
  const server = await startRelay({ listener: "ws" });
  const chain = chainOf([{ addr: server.address, dialer: "ws" }]);
  const readers: Reader[] = [];
  for (let round = 0; round < 10; round++) {
    const streams = await Promise.all(
      Array.from({ length: 100 }, () => chain.connect({ host: "127.0.0.1", port }, dialContext())),
    );
    readers.push(...streams.map((stream) => new Reader(stream)));
  }
  await Promise.all(readers.map((reader) => send(reader.stream, "x")));
  await eventually(() => readers.every((reader) => reader.text === "x"), 10_000);
  const startMs = performance.now();
  await server.close();
  await eventually(() => readers.every((reader) => reader.closed));
  assert.ok(performance.now() - startMs < 2000);
  assert.ok(readers.every((reader) => reader.error !== undefined && !reader.ended));
  await eventually(() => target.events.filter((event) => event === "close").length === 1000);
  target.close();
});

for (const dialer of ["ws", "wss"]) {
  test(`${dialer}: a killed server is an abort of its flows, not their end`, async () => {
    const target = echoTarget();
    const port = await target.listen();
    const child = spawn(
      process.execPath,
      ["--import", "tsx", new URL("relay-child.ts", import.meta.url).pathname, dialer],
      { stdio: ["ignore", "pipe", "inherit"] },
    );
    const [line] = (await once(child.stdout, "data")) as [Buffer];
    const chain = chainOf([{ addr: line.toString().trim(), dialer }]);
    const streams = await Promise.all(
      Array.from({ length: 50 }, () => chain.connect({ host: "127.0.0.1", port }, dialContext())),
    );
    const readers = streams.map((stream) => new Reader(stream));
    await Promise.all(readers.map((reader) => send(reader.stream, "x")));
    await eventually(() => readers.every((reader) => reader.text === "x"), 10_000);
    child.kill("SIGKILL");
    await eventually(() => readers.every((reader) => reader.closed), 2000);
    assert.ok(readers.every((reader) => reader.error !== undefined && !reader.ended));
    target.close();
  });
}

for (const dialer of ["tcp", "tls", "ws", "wss"]) {
  test(`${dialer}: a reader that stopped stops the writer, and nothing piles up`, async () => {
    const target = echoTarget();
    const port = await target.listen();
    const server = await startRelay({ listener: dialer, tls: files.tls });
    const chain = chainOf([{ addr: server.address, dialer }]);
    const stream = await chain.connect({ host: "127.0.0.1", port }, dialContext());
    const reader = new Reader(stream);
    stream.pause();
    const chunk = 64 * 1024;
    let taken = 0;
    let sent = 0;
    // A well-behaved writer: at most one batch waits for its `done`.
    const writeNext = (): void => {
      sent += chunk;
      stream.write([new Uint8Array(chunk).fill(5)], (error) => {
        if (error !== undefined) return;
        taken += chunk;
        if (sent < 256 * 1024 * 1024) writeNext();
      });
    };
    writeNext();
    let before = -1;
    while (before !== taken) {
      before = taken;
      await pauseMs(300);
    }
    assert.ok(sent - taken <= chunk, "a write must be waiting");
    assert.ok(taken < 64 * 1024 * 1024, `${taken} bytes went somewhere`);
    assert.is(reader.bytes, 0, "nothing comes while paused");
    stream.resume();
    await reader.until(() => reader.bytes > 4 * 1024 * 1024);
    stream.reset();
    await server.close();
    target.close();
  });
}

function openSockets(): number {
  return process.getActiveResourcesInfo().filter((name) => name === "TCPSocketWrap").length;
}

for (const dialer of ["tcp", "tls", "ws", "wss"]) {
  test(`${dialer}: resets in the midst of ends leave no descriptor behind`, async () => {
    const before = openSockets();
    const target = echoTarget();
    const port = await target.listen();
    const server = await startRelay({ listener: dialer, tls: files.tls });
    const chain = chainOf([{ addr: server.address, dialer }]);
    for (let count = 0; count < 20; count++) {
      const stream = await chain.connect({ host: "127.0.0.1", port }, dialContext());
      const reader = new Reader(stream);
      await send(stream, "x");
      stream.end();
      if (count % 2 === 0) await reader.until(() => reader.ended);
      if (count % 4 < 2) await new Promise((resolve) => setImmediate(resolve));
      stream.reset();
      await reader.until(() => reader.closed);
    }
    await server.close();
    target.close();
    await eventually(() => openSockets() <= before);
  });
}

test("a closed chain refuses and ends what is being dialled", async () => {
  const { addr, server } = await serverOf((socket) => socket.resume());
  const chain: Chain = chainOf([{ addr, dialer: "tls" }]);
  const dialing = failure(chain.connect(TARGET, dialContext()));
  chain.close();
  assert.is((await dialing).reason, "aborted");
  assert.is((await failure(chain.connect(TARGET, dialContext()))).reason, "aborted");
  assert.ok(portOf(addr) > 0);
  server.close();
});

test.run();
