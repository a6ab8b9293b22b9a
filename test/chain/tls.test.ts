/** Client TLS: what is verified when, pins, names, versions, and the warning that is due once. */
import { X509Certificate, createHash } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TLSSocket, createServer } from "node:tls";
import { type AddressInfo } from "node:net";
import { once } from "node:events";
import * as assert from "uvu/assert";
import { ChainError } from "../../src/chain/errors.ts";
import { cipherList, tlsVersion } from "../../src/chain/tls-options.ts";
import type { TlsConfig } from "../../src/config/model.ts";
import { generateCertificate } from "../../src/serve/cert.ts";
import { suite } from "../kit/suite.ts";
import {
  CertFiles,
  MemoryLog,
  Reader,
  chainOf,
  dialContext,
  echoTarget,
  send,
  startRelay,
} from "./world.ts";

const test = suite("chain/tls");
const files = new CertFiles();
const target = echoTarget();
let port = 0;
test.before(async () => {
  port = await target.listen();
});
test.after(() => {
  files.remove();
  target.close();
});

/** Connects through a TLS server with these client settings; the error, or undefined. */
async function tryWith(
  tls: TlsConfig,
  log = new MemoryLog(),
  server: TlsConfig = files.tls,
): Promise<ChainError | undefined> {
  const relay = await startRelay({ listener: "tls", tls: server });
  const chain = chainOf([{ addr: relay.address, dialer: "tls", tls }], log);
  try {
    const reader = new Reader(await chain.connect({ host: "127.0.0.1", port }, dialContext()));
    await send(reader.stream, "x");
    await reader.until((one) => one.text === "x" || one.closed);
    reader.stream.reset();
    return reader.error as ChainError | undefined;
  } catch (error) {
    return error as ChainError;
  } finally {
    await relay.close();
  }
}

function pinOf(file: CertFiles): string {
  const key = new X509Certificate(file.tls.certFile === undefined ? "" : readPem(file)).publicKey;
  const der = key.export({ type: "spki", format: "der" });
  return `sha256/${createHash("sha256").update(der).digest("base64")}`;
}

function readPem(file: CertFiles): string {
  return process.getBuiltinModule("node:fs").readFileSync(file.certFile, "utf8");
}

test("without secure nothing is verified, and one warning a node names the remedies", async () => {
  const log = new MemoryLog();
  const relay = await startRelay({ listener: "tls", tls: files.tls });
  const chain = chainOf([{ addr: relay.address, dialer: "tls" }], log);
  for (let count = 0; count < 3; count++) {
    (await chain.connect({ host: "127.0.0.1", port }, dialContext())).reset();
  }
  assert.is(log.find(/^warn .*secure=true.*caFile.*pin=sha256/).length, 1);
  await relay.close();
});

test("secure=true refuses a certificate nobody vouches for, with advice", async () => {
  const log = new MemoryLog();
  const error = await tryWith({ secure: true }, log);
  assert.is(error?.reason, "protocol");
  assert.is(error?.party, "proxy");
  assert.match(error?.message ?? "", /not trusted.*caFile/);
  assert.is(log.find(/not verified/).length, 0);
});

test("secure=true with the CA and the name passes, with another name it does not", async () => {
  const caFile = files.certFile;
  assert.is(await tryWith({ secure: true, caFile, serverName: "gost.run" }), undefined);
  const error = await tryWith({ secure: true, caFile, serverName: "other.example" });
  assert.match(error?.message ?? "", /altnames|not trusted/i);
  assert.match((await tryWith({ secure: true, caFile }))?.message ?? "", /altnames|IP/i);
});

test("caFile without secure verifies the chain but not the name", async () => {
  assert.is(await tryWith({ caFile: files.certFile }), undefined);
  const other = new CertFiles();
  const error = await tryWith({ caFile: other.certFile });
  assert.match(error?.message ?? "", /not trusted/);
  other.remove();
});

test("a pin passes its key and fails every other, telling what was seen", async () => {
  const log = new MemoryLog();
  assert.is(await tryWith({ pin: pinOf(files) }, log), undefined);
  assert.is(log.find(/not verified/).length, 0);
  const other = new CertFiles();
  const error = await tryWith({ pin: pinOf(other) });
  assert.is(error?.reason, "protocol");
  assert.ok(error?.message.includes(pinOf(files)));
  other.remove();
});

test("unusable settings are configuration errors before anything is dialled", () => {
  const build = (tls: TlsConfig): void => {
    chainOf([{ addr: "127.0.0.1:1", dialer: "wss", tls }]);
  };
  const isConfig = (error: unknown): boolean =>
    (error as { code?: string }).code === "TSGOST_ERR_CONFIG";
  assert.throws(() => build({ pin: "sha256/short" }), isConfig);
  assert.throws(() => build({ caFile: "/nonexistent/ca.pem" }), isConfig);
  assert.throws(() => build({ certFile: files.certFile }), isConfig);
  assert.throws(() => build({ options: { minVersion: "TLS99" } }), isConfig);
  const broken = join(files.folder, "broken.pem");
  writeFileSync(broken, "not a certificate");
  assert.throws(() => build({ certFile: broken, keyFile: broken }), isConfig);
  assert.throws(() => chainOf([{ addr: "nowhere", dialer: "tcp" }]), isConfig);
  assert.throws(() => chainOf([{ addr: "127.0.0.1:1", dialer: "quic" }]), isConfig);
  assert.throws(() => chainOf([{ addr: "127.0.0.1:1", connector: "smtp" }]), isConfig);
});

test("versions and suites are read in Go's spelling", () => {
  assert.is(tlsVersion("VersionTLS13", ""), "TLSv1.3");
  assert.is(tlsVersion("tls1.2", ""), "TLSv1.2");
  const suites = [
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_RSA_WITH_AES_256_CBC_SHA",
  ];
  const usual =
    "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256:" +
    "ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-CHACHA20-POLY1305:AES256-SHA";
  assert.is(cipherList(suites, ""), usual);
  assert.is(
    cipherList(["TLS_AES_128_GCM_SHA256", "aes256-sha"], "").split(":").at(-1),
    "aes256-sha",
  );
  for (const unknown of ["TLS_ECDHE_RSA_WITH_AES_512", "TLS_RSA_WITH_RC4_128_SHA", "", "DEFAULT"]) {
    const isTold = (error: unknown): boolean =>
      String(error).includes(`node-1: cipher suite "${unknown}"`);
    assert.throws(() => cipherList([unknown], "node-1"), isTold, unknown);
  }
});

test("a client and a server without a common version fail with advice", async () => {
  const options = { maxVersion: "VersionTLS12" };
  const error = await tryWith({ options }, new MemoryLog(), {
    ...files.tls,
    options: { minVersion: "VersionTLS13" },
  });
  assert.match(error?.message ?? "", /alert|version/i);
  assert.is(await tryWith({ options }), undefined);
});

test("a name goes into SNI, an address does not, and no ALPN is offered", async () => {
  const { cert, key } = generateCertificate();
  const seen: [unknown, unknown][] = [];
  const server = createServer({ cert, key, ALPNProtocols: ["h2"] }, (socket: TLSSocket) => {
    seen.push([(socket as { servername?: unknown }).servername, socket.alpnProtocol]);
    socket.destroy();
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const addr = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  for (const tls of [{}, { serverName: "name.example" }]) {
    const chain = chainOf([{ addr, dialer: "tls", tls }]);
    await chain.connect({ host: "127.0.0.1", port }, dialContext()).catch(() => undefined);
  }
  assert.equal(seen, [
    [false, false],
    ["name.example", false],
  ]);
  server.close();
});

test("a server with caFile demands a client certificate of that CA", async () => {
  const server = { ...files.tls, caFile: files.certFile };
  const own = { certFile: files.certFile, keyFile: files.keyFile };
  assert.is(await tryWith(own, new MemoryLog(), server), undefined);
  const without = await tryWith({}, new MemoryLog(), server);
  assert.instance(without, ChainError);
  const foreign = new CertFiles();
  const wrong = await tryWith(foreign.tls, new MemoryLog(), server);
  assert.instance(wrong, ChainError);
  foreign.remove();
});

test("rejectUnknownSNI closes to clients without a name or with another one", async () => {
  const server = { ...files.tls, rejectUnknownSNI: true, serverNames: ["Good.example"] };
  assert.is(await tryWith({ serverName: "good.EXAMPLE" }, new MemoryLog(), server), undefined);
  assert.instance(await tryWith({}, new MemoryLog(), server), ChainError);
  assert.instance(
    await tryWith({ serverName: "bad.example" }, new MemoryLog(), server),
    ChainError,
  );
});

test.run();
