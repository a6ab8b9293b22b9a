/** Certificates that change while a service runs: of listeners, and of TLS inside SOCKS5. */
import { once } from "node:events";
import { copyFileSync, mkdtempSync, rmSync } from "node:fs";
import { type AddressInfo, type Socket, connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect as connectTls } from "node:tls";
import * as assert from "uvu/assert";
import { TlsAcceptor } from "../../src/serve/tls-accept.ts";
import { InnerTls } from "../../src/serve/tls-inner.ts";
import { CertFiles, MemoryLog, emptyConfig, pauseMs, serviceOf } from "../chain/world.ts";
import { SocketStream } from "../../src/chain/socket-stream.ts";
import { suite } from "../kit/suite.ts";
import { startSocks5 } from "./socks5-world.ts";

const test = suite("serve/renew");
test.timeout(30_000);

/** The fingerprint of what a server shows over this socket. */
async function shownBy(raw: Socket): Promise<string> {
  const socket = connectTls({ socket: raw, rejectUnauthorized: false });
  await once(socket, "secureConnect");
  const { fingerprint256 } = socket.getPeerCertificate();
  socket.destroy();
  raw.destroy();
  return fingerprint256;
}

async function dial(port: number): Promise<Socket> {
  const raw = connect({ port, host: "127.0.0.1" });
  await once(raw, "connect");
  return raw;
}

test("TLS inside SOCKS5 takes a replaced certificate, and keeps the old one for a broken", async () => {
  const [own, others] = [new CertFiles(), new CertFiles()];
  const log = new MemoryLog();
  const server = await startSocks5({ tls: own.tls, log });
  const seen = async (): Promise<string> => {
    const raw = await dial(server.port);
    raw.write(Buffer.from("050180", "hex"));
    await once(raw, "readable");
    assert.is((raw.read(2) as Buffer).toString("hex"), "0580");
    return shownBy(raw);
  };
  try {
    const first = await seen();
    copyFileSync(others.certFile, own.certFile);
    await pauseMs(1100);
    assert.is(await seen(), first, "key and certificate do not fit");
    assert.is(log.find(/going on with what was read before/).length, 1);
    copyFileSync(others.keyFile, own.keyFile);
    await pauseMs(1100);
    const second = await seen();
    assert.not.equal(second, first);
    assert.is(log.find(/read again/).length, 1);
  } finally {
    await server.close();
    own.remove();
    others.remove();
  }
});

/** Runs `body` with an empty home, where generated certificates are kept. */
async function withHome(body: () => Promise<void>): Promise<void> {
  const home = mkdtempSync(join(tmpdir(), "tsgost-home-"));
  const before = process.env["HOME"];
  process.env["HOME"] = home;
  try {
    await body();
  } finally {
    if (before === undefined) delete process.env["HOME"];
    else process.env["HOME"] = before;
    rmSync(home, { recursive: true });
  }
}

/** A server that shows what `accept` does with each connection. */
async function withServer(
  accept: (socket: Socket) => void,
  body: (port: number) => Promise<void>,
): Promise<void> {
  const server = createServer({ allowHalfOpen: true }, accept).listen(0, "127.0.0.1");
  await once(server, "listening");
  try {
    await body((server.address() as AddressInfo).port);
  } finally {
    server.close();
  }
}

/** The generated certificate lives for two seconds; a third one is not needed at once. */
async function checkRenewal(port: number, log: MemoryLog): Promise<void> {
  const seen = async (): Promise<string> => shownBy(await dial(port));
  const first = await seen();
  assert.is(await seen(), first);
  await pauseMs(2100);
  const second = await seen();
  assert.not.equal(second, first);
  assert.ok(log.find(/has expired/).length >= 1);
}

const SECTION = { validityMs: 2000 };

test("a listener renews its generated certificate when it expires", () =>
  withHome(async () => {
    const log = new MemoryLog();
    const config = { ...emptyConfig, tls: SECTION };
    const acceptor = new TlsAcceptor(undefined, config, { place: "-L", log });
    const ready = (stream: { destroy(): void; on: Socket["on"] }): void => {
      stream.on("error", () => undefined);
    };
    const accept = (socket: Socket): void => acceptor.accept(socket, ready, () => undefined);
    await withServer(accept, (port) => checkRenewal(port, log));
  }));

test("TLS inside SOCKS5 renews its generated certificate when it expires", () =>
  withHome(async () => {
    const log = new MemoryLog();
    const inner = new InnerTls(serviceOf({ handler: "socks5" }), SECTION, log);
    const { signal } = new AbortController();
    const accept = (socket: Socket): void => {
      inner.accept(new SocketStream(socket), signal).then(
        (stream) => stream.destroy(),
        () => undefined,
      );
    };
    await withServer(accept, (port) => checkRenewal(port, log));
  }));

test.run();
