/** `tsgost doctor` as a process: this machine, proxies, and their certificates. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createServer as createTlsServer } from "node:tls";
import { fileURLToPath } from "node:url";
import * as assert from "uvu/assert";
import { generateCertificate } from "../../src/serve/cert.ts";
import { suite } from "../kit/suite.ts";

const test = suite("commands/doctor");
test.timeout(60_000);

const CLI = fileURLToPath(new URL("../../src/cli.ts", import.meta.url));

interface Finding {
  readonly level: string;
  readonly check: string;
  readonly text: string;
  readonly remedy?: string;
}

let folder = "";
const open: Server[] = [];
test.before(() => {
  folder = mkdtempSync(join(tmpdir(), "tsgost-doctor-"));
});
test.after(() => {
  for (const server of open) server.close();
  rmSync(folder, { recursive: true, force: true });
});

async function doctor(...args: readonly string[]): Promise<{ code: number; text: string }> {
  const child = spawn(process.execPath, ["--import", "tsx", CLI, "doctor", ...args]);
  let text = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.on("data", (chunk: Buffer) => (text += chunk.toString()));
  }
  const [code] = (await once(child, "close")) as [number];
  return { code, text };
}

async function findings(...args: readonly string[]): Promise<{ code: number; all: Finding[] }> {
  const { code, text } = await doctor("--json", ...args);
  const all = text
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Finding);
  return { code, all };
}

async function listen(server: Server): Promise<number> {
  open.push(server);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return (server.address() as { port: number }).port;
}

test("the machine: every line has a mark, every trouble a remedy", async () => {
  const { all } = await findings();
  const checks = all.map(({ check }) => check);
  for (const check of ["node", "clock", "privileges", "/dev/net/tun", "addon", "open files"]) {
    assert.ok(checks.includes(check), check);
  }
  for (const { level, check, remedy } of all) {
    assert.match(level, /^(ok|note|fail)$/);
    assert.is(remedy === undefined, level === "ok", check);
  }
  const { code, text } = await doctor();
  assert.is(code, /^✗/m.test(text) ? 1 : 0);
  assert.match(text, /^✓ node {11}version \d+/m);
});

test("a proxy that does not answer, and one without TLS, are failures", async () => {
  const quiet = await listen(
    createServer((socket) => {
      socket.on("error", () => undefined);
      socket.end("SSH-2.0-x\r\n");
    }),
  );
  const closed = await listen(createServer());
  const last = open.pop();
  last?.close();
  const args = ["-L", "socks5://127.0.0.1:0"];
  const one = await findings(...args, "-F", `relay+wss://127.0.0.1:${closed}`);
  assert.is(one.code, 1);
  const refused = one.all.find(({ check }) => check === "chain-0/node-0");
  assert.is(refused?.level, "fail");
  assert.match(refused?.text ?? "", /ECONNREFUSED/);
  const two = await findings(...args, "-F", `relay+tls://127.0.0.1:${quiet}`);
  const noTls = two.all.findLast(({ check }) => check === "chain-0/node-0");
  assert.is(noTls?.level, "fail");
  assert.match(noTls?.text ?? "", /^no TLS: /);
});

test("certificates: not verified is a note, one that does not hold a failure", async () => {
  const { cert, key } = generateCertificate();
  const port = await listen(
    createTlsServer({ cert, key }, (socket) => {
      socket.on("error", () => undefined);
      socket.end();
    }),
  );
  const about = async (query: string): Promise<Finding | undefined> => {
    const node = `relay+tls://127.0.0.1:${port}${query}`;
    const { all } = await findings("-L", "socks5://127.0.0.1:0", "-F", node);
    return all.findLast(({ check }) => check === "chain-0/node-0");
  };
  const plain = await about("");
  assert.is(plain?.level, "note");
  assert.match(plain?.text ?? "", /^TLSv1\.3, certificate until .*, and not verified$/);
  const secure = await about("?secure=true");
  assert.is(secure?.level, "fail");
  assert.match(secure?.text ?? "", /does not hold/);
  const ca = join(folder, "ca.pem");
  writeFileSync(ca, cert);
  assert.is((await about(`?secure=true&serverName=gost.run&caFile=${ca}`))?.level, "ok");
  assert.is((await about(`?secure=true&serverName=example.org&caFile=${ca}`))?.level, "fail");
  writeFileSync(ca, generateCertificate().cert);
  assert.is((await about(`?secure=true&serverName=gost.run&caFile=${ca}`))?.level, "fail");
});

test("a target is reached through the chain, or not", async () => {
  const echo = await listen(
    createServer((socket) => socket.on("error", () => undefined).pipe(socket)),
  );
  const args = ["-L", "socks5://127.0.0.1:0", "-F", "forward+tcp://127.0.0.1:" + String(echo)];
  const good = await findings(...args, "--target", "192.0.2.1:80");
  assert.match(good.all.find(({ check }) => check === "chain-0")?.text ?? "", /answers through/);
  assert.is(good.code, good.all.some(({ level }) => level === "fail") ? 1 : 0);
  const bad = await doctor(...args, "--target", "nonsense");
  assert.is(bad.code, 2);
  assert.match(bad.text, /--target nonsense is not HOST:PORT/);
});

test("a configuration that could not start is an error with its place", async () => {
  const { code, text } = await doctor("-L", "tungo://:0?mtu=12");
  assert.is(code, 2);
  assert.match(text, /mtu: "12" is outside/);
});

test.run();
