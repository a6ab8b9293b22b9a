/** TLS of listeners and dialers together: client certificates, names, ALPN, suites, new files. */
import { once } from "node:events";
import { copyFileSync, readFileSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import { type ConnectionOptions, type TLSSocket, connect } from "node:tls";
import * as assert from "uvu/assert";
import type { TlsConfig } from "../../src/config/model.ts";
import {
  CertFiles,
  MemoryLog,
  type NodeParts,
  Reader,
  type StartParts,
  chainOf,
  dialContext,
  echoTarget,
  eventually,
  pauseMs,
  portOf,
  send,
  startRelay,
} from "../chain/world.ts";
import { suite } from "../kit/suite.ts";

const test = suite("serve/tls");
const files = new CertFiles();
const others = new CertFiles();
const target = echoTarget();
let port = 0;
test.before(async () => {
  port = await target.listen();
});
test.after(() => {
  files.remove();
  others.remove();
  target.close();
});

/** What a client says of an echo through such a server; undefined: it worked. */
async function outcome(
  server: Partial<TlsConfig>,
  client: TlsConfig,
  node: Partial<NodeParts> = {},
): Promise<string | undefined> {
  const relay = await startRelay({ listener: "tls", tls: { ...files.tls, ...server } });
  const chain = chainOf([{ addr: relay.address, dialer: "tls", tls: client, ...node }]);
  try {
    const reader = new Reader(await chain.connect({ host: "127.0.0.1", port }, dialContext()));
    await send(reader.stream, "x");
    await reader.until(() => reader.text === "x" || reader.closed);
    reader.stream.reset();
    return reader.text === "x" ? undefined : String(reader.error);
  } catch (error) {
    return String(error);
  } finally {
    chain.close();
    await relay.close();
  }
}

/** A handshake by Node's own client; the socket, or the error's message. */
async function handshake(at: number, options: ConnectionOptions): Promise<TLSSocket | string> {
  const socket = connect({ port: at, host: "127.0.0.1", rejectUnauthorized: false, ...options });
  return new Promise((resolve) => {
    socket.once("secureConnect", () => resolve(socket));
    socket.once("error", (error) => resolve(error.message));
    socket.once("close", () => resolve("closed"));
  });
}

async function withTls(
  parts: StartParts,
  body: (at: number, log: MemoryLog) => Promise<void>,
): Promise<void> {
  const log = new MemoryLog();
  const server = await startRelay({ listener: "tls", tls: files.tls, log, ...parts });
  try {
    await body(portOf(server.address), log);
  } finally {
    await server.close();
  }
}

for (const maxVersion of ["VersionTLS12", "VersionTLS13"]) {
  test(`${maxVersion}: caFile of a listener demands a client certificate of that CA`, async () => {
    const options = { maxVersion };
    const server = { caFile: others.certFile };
    assert.is(await outcome(server, { ...others.tls, options }), undefined);
    assert.match((await outcome(server, { options })) ?? "", /alert|closed|certificate/i);
    assert.match((await outcome(server, { ...files.tls, options })) ?? "", /alert|closed|ca/i);
  });
}

test("rejectUnknownSNI: no name and unknown names fail, known ones pass in any case", () =>
  withTls(
    { tls: { ...files.tls, rejectUnknownSNI: true, serverNames: ["Good.example"] } },
    async (at) => {
      const good = await handshake(at, { servername: "gOOD.example" });
      assert.ok(typeof good !== "string", String(good));
      good.destroy();
      const bad = await handshake(at, { servername: "bad.example" });
      assert.is(typeof bad, "string");
      const none = await handshake(at, {});
      // TLS 1.3: the client is done before the server has judged.
      if (typeof none !== "string") await once(none, "close");
    },
  ));

test("ALPN is answered only where the listener has a list", async () => {
  await withTls({}, async (at) => {
    const socket = await handshake(at, { ALPNProtocols: ["h2", "http/1.1"] });
    assert.ok(typeof socket !== "string");
    assert.is(socket.alpnProtocol, false);
    socket.destroy();
  });
  await withTls({ tls: { ...files.tls, options: { alpn: ["x", "http/1.1"] } } }, async (at) => {
    const socket = await handshake(at, { ALPNProtocols: ["h2", "http/1.1"] });
    assert.ok(typeof socket !== "string");
    assert.is(socket.alpnProtocol, "http/1.1");
    socket.destroy();
  });
});

test("suites under Go's names bind TLS 1.2 and leave 1.3; versions bound both ends", async () => {
  const suites = ["TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"];
  await withTls({ tls: { ...files.tls, options: { cipherSuites: suites } } }, async (at) => {
    const old = await handshake(at, { maxVersion: "TLSv1.2" });
    assert.ok(typeof old !== "string", String(old));
    assert.is(old.getCipher().name, "ECDHE-ECDSA-CHACHA20-POLY1305");
    old.destroy();
    const now = await handshake(at, {});
    assert.ok(typeof now !== "string", String(now));
    assert.is(now.getProtocol(), "TLSv1.3");
    now.destroy();
    const other = await handshake(at, {
      maxVersion: "TLSv1.2",
      ciphers: "ECDHE-ECDSA-AES128-GCM-SHA256",
    });
    assert.is(typeof other, "string");
  });
  const low = { minVersion: "VersionTLS10", maxVersion: "VersionTLS11" };
  assert.is(await outcome({ options: low }, { options: low }), undefined);
  assert.match((await outcome({}, { options: low })) ?? "", /alert|version/i);
});

test("settings that contradict each other are configuration errors with their place", async () => {
  const cases: [TlsConfig, RegExp][] = [
    [{ options: { minVersion: "VersionTLS13", maxVersion: "VersionTLS12" } }, /-L: no TLS version/],
    [{ options: { minVersion: "SSLv3" } }, /-L: TLS version "SSLv3"/],
    [{ options: { cipherSuites: ["TLS_NULL"] } }, /-L: cipher suite "TLS_NULL"/],
    [{ caFile: "/nonexistent/ca.pem" }, /-L: caFile/],
  ];
  for (const [tls, pattern] of cases) {
    const error = await startRelay({ listener: "tls", tls: { ...files.tls, ...tls } }).then(
      () => undefined,
      (thrown: unknown) => thrown,
    );
    assert.match(String(error), pattern);
  }
});

test("a certificate that is replaced counts for new connections; a broken one does not", () => {
  const own = new CertFiles();
  return withTls({ tls: own.tls }, async (at, log) => {
    const seen = async (): Promise<string> => {
      const socket = await handshake(at, {});
      if (typeof socket === "string") throw new Error(socket);
      const { fingerprint256 } = socket.getPeerCertificate();
      socket.destroy();
      return fingerprint256;
    };
    const first = await seen();
    copyFileSync(others.certFile, own.certFile);
    await pauseMs(1100);
    assert.is(await seen(), first, "key and certificate do not fit");
    assert.is(log.find(/going on with what was read before/).length, 1);
    copyFileSync(others.keyFile, own.keyFile);
    await pauseMs(1100);
    const second = await seen();
    assert.not.equal(second, first);
    assert.is(await seen(), second);
    assert.is(log.find(/read again/).length, 1);
  }).finally(() => own.remove());
});

test("a client's caFile that is replaced counts for new connections", async () => {
  const own = new CertFiles();
  const log = new MemoryLog();
  const relay = await startRelay({ listener: "tls", tls: files.tls });
  const tls = { caFile: own.certFile };
  const chain = chainOf([{ addr: relay.address, dialer: "tls", tls }], log);
  const dial = async (): Promise<string> =>
    chain.connect({ host: "127.0.0.1", port }, dialContext()).then(
      (stream) => {
        stream.reset();
        return "connected";
      },
      (error: unknown) => String(error),
    );
  assert.match(await dial(), /not trusted/);
  copyFileSync(files.certFile, own.certFile);
  await pauseMs(1100);
  assert.is(await dial(), "connected");
  chain.close();
  await relay.close();
  own.remove();
});

for (const dialer of ["tls", "ws", "wss", "mtls", "mwss"]) {
  test(`${dialer}: handshakeTimeout ends a dial to a server that is silent`, async () => {
    const server = createServer((socket) => socket.on("error", () => undefined));
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const addr = `127.0.0.1:${(server.address() as AddressInfo).port}`;
    const chain = chainOf([{ addr, dialer, dialerMetadata: { handshakeTimeout: "100ms" } }]);
    const startMs = performance.now();
    const error = await chain.connect({ host: "127.0.0.1", port }, dialContext()).then(
      () => undefined,
      (thrown: unknown) => thrown as { reason?: string },
    );
    assert.is(error?.reason, "timeout");
    assert.ok(performance.now() - startMs < 5000);
    chain.close();
    server.close();
  });
}

/** What the kernel's keep-alive timer of a connection to `at` is set to, in hundredths. */
function timerOf(local: number, remote: number): number | undefined {
  const hex = (number: number): string => number.toString(16).toUpperCase().padStart(4, "0");
  for (const line of readFileSync("/proc/net/tcp", "utf8").split("\n")) {
    const [, near = "", far = "", state, , timer = ""] = line.trim().split(/\s+/);
    const isIt = near.endsWith(`:${hex(local)}`) && far.endsWith(`:${hex(remote)}`);
    if (!isIt || state !== "01") continue;
    return timer.startsWith("02:") ? parseInt(timer.slice(3), 16) : 0;
  }
  return undefined;
}

test("keepalive keys set the sockets of dialers and listeners", async () => {
  const idle = async (
    listenerMetadata: Record<string, string | boolean | number>,
    dialerMetadata: Record<string, string | boolean | number>,
  ): Promise<[number, number]> => {
    const relay = await startRelay({ listenerMetadata });
    const chain = chainOf([{ addr: relay.address, dialer: "tcp", dialerMetadata }]);
    const reader = new Reader(await chain.connect({ host: "127.0.0.1", port }, dialContext()));
    await send(reader.stream, "x");
    await reader.until(() => reader.text === "x");
    const at = portOf(relay.address);
    const { socket } = reader.stream as unknown as { socket?: { localPort?: number } };
    const near = socket?.localPort ?? nearPortOf(at);
    // The timer of data that is not acknowledged yet stands before the one of keep-alive.
    await eventually(() => timerOf(near, at) !== undefined && timerOf(at, near) !== undefined);
    await pauseMs(300);
    const found: [number, number] = [timerOf(near, at) ?? -1, timerOf(at, near) ?? -1];
    reader.stream.reset();
    chain.close();
    await relay.close();
    return found;
  };
  const given = { keepalive: true, "keepalive.idle": "30s", "keepalive.interval": 5 };
  const [dialed, accepted] = await idle(given, { ...given, "keepalive.idle": "40s" });
  assert.ok(dialed > 3500 && dialed <= 4000, `${dialed}`);
  assert.ok(accepted > 2500 && accepted <= 3000, `${accepted}`);
  assert.equal(await idle({ keepalive: false }, { keepalive: "false" }), [0, 0]);
});

/** The client's port of the one connection to `at`. */
function nearPortOf(at: number): number {
  const hex = at.toString(16).toUpperCase().padStart(4, "0");
  for (const line of readFileSync("/proc/net/tcp", "utf8").split("\n")) {
    const [, near = "", far = "", state] = line.trim().split(/\s+/);
    if (far.endsWith(`:${hex}`) && state === "01") return parseInt(near.slice(-4), 16);
  }
  return 0;
}

test.run();
