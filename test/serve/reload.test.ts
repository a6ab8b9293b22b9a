/** A running program and its configuration: SIGHUP, the API, metrics, and what fails. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { connect, createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import * as assert from "uvu/assert";
import { suite } from "../kit/suite.ts";

const test = suite("serve/reload");
test.timeout(60_000);

const CLI = fileURLToPath(new URL("../../src/cli.ts", import.meta.url));
const WAIT_MS = 15_000;

let folder = "";
let file = "";
let child: ChildProcess | undefined;
let lines: Record<string, unknown>[] = [];

test.before.each(() => {
  folder = mkdtempSync(join(tmpdir(), "tsgost-reload-"));
  file = join(folder, "gost.yml");
  lines = [];
});
test.after.each(async () => {
  if (child?.exitCode === null && child.signalCode === null) {
    child.kill("SIGTERM");
    await once(child, "exit");
  }
  rmSync(folder, { recursive: true, force: true });
});

async function start(args: readonly string[]): Promise<void> {
  child = spawn(process.execPath, ["--import", "tsx", CLI, ...args], {
    stdio: ["ignore", "ignore", "pipe"],
    env: { ...process.env, HOME: folder },
  });
  let partial = "";
  child.stderr?.on("data", (chunk: Buffer) => {
    const parts = (partial + chunk.toString()).split("\n");
    partial = parts.pop() ?? "";
    for (const line of parts) {
      lines.push(line.startsWith("{") ? (JSON.parse(line) as Record<string, unknown>) : { line });
    }
  });
  await seen(({ msg }) => msg === "ready");
}

async function seen(
  match: (line: Record<string, unknown>) => boolean,
  after = 0,
): Promise<Record<string, unknown>> {
  const until = performance.now() + WAIT_MS;
  for (;;) {
    const found = lines.slice(after).find(match);
    if (found !== undefined) return found;
    if (performance.now() > until) throw new Error(`not in the log:\n${JSON.stringify(lines)}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** SIGHUP, and the log line that tells how it went. */
async function reload(): Promise<string> {
  const after = lines.length;
  child?.kill("SIGHUP");
  const { msg } = await seen(({ msg }) => /reload/.test(String(msg)), after);
  return String(msg);
}

/** A TCP echo server on loopback; its port. */
async function echoServer(): Promise<{ server: Server; port: number }> {
  const server = createServer((socket) => {
    socket.on("error", () => undefined);
    socket.pipe(socket);
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  return { server, port: (server.address() as { port: number }).port };
}

async function freePort(): Promise<number> {
  const { server, port } = await echoServer();
  server.close();
  await once(server, "close");
  return port;
}

/** A relay service that only forwards to `target`. */
function forward(name: string, port: number, target: number): string {
  return (
    `- name: ${name}\n  addr: 127.0.0.1:${port}\n  handler: {type: relay}\n` +
    `  listener: {type: tcp}\n  forwarder: {nodes: [{name: t, addr: "127.0.0.1:${target}"}]}\n`
  );
}

/** A connection through the relay's forward mode. */
async function open(port: number): Promise<Socket> {
  const socket = connect(port, "127.0.0.1");
  await once(socket, "connect");
  // Version 1, CONNECT, no features: the target is the service's own.
  socket.write(Uint8Array.of(1, 1, 0, 0));
  return socket;
}

/** Resolves when it is over, however it ends. */
function closed(socket: Socket): Promise<void> {
  socket.on("error", () => undefined);
  return new Promise((resolve) => socket.once("close", () => resolve()));
}

/** Sends a word and answers what has come back by then. */
async function talk(socket: Socket, word: string): Promise<string> {
  socket.write(word);
  let text = "";
  while (!text.endsWith(word)) {
    const [chunk] = (await once(socket, "data")) as [Buffer];
    text += chunk.toString("latin1");
  }
  return text;
}

test("SIGHUP: what stays the same keeps its flows, what is new serves, what is gone ends", async () => {
  const { server, port: target } = await echoServer();
  const [one, two, three] = [await freePort(), await freePort(), await freePort()];
  writeFileSync(file, `services:\n${forward("one", one, target)}${forward("two", two, target)}`);
  await start(["-C", file]);
  const [kept, ended] = [await open(one), await open(two)];
  await talk(kept, "hello");
  await talk(ended, "hello");
  const gone = closed(ended);

  writeFileSync(
    file,
    `services:\n${forward("one", one, target)}${forward("three", three, target)}`,
  );
  assert.is(await reload(), "config reloaded");
  await gone;
  await talk(kept, "still here");
  const fresh = await open(three);
  await talk(fresh, "hello");
  const refused = connect(two, "127.0.0.1");
  const [error] = (await once(refused, "error")) as [NodeJS.ErrnoException];
  assert.is(error.code, "ECONNREFUSED");
  for (const socket of [kept, fresh]) socket.destroy();
  server.close();
});

test("a configuration that fails leaves the old one running, and says so", async () => {
  const { server, port: target } = await echoServer();
  const [one, two] = [await freePort(), await freePort()];
  const good = `services:\n${forward("one", one, target)}${forward("two", two, target)}`;
  writeFileSync(file, good);
  await start(["-C", file]);
  const kept = await open(one);
  await talk(kept, "hello");

  writeFileSync(file, "services:\n- name: x\n  addr: nonsense\n");
  assert.match(await reload(), /^reload failed, the old configuration goes on: .*gost\.yml:3:/);
  await talk(kept, "after bad text");

  // The port of the test's own server is taken: known only when it is opened.
  writeFileSync(file, `services:\n${forward("one", one, target)}${forward("two", target, target)}`);
  assert.match(await reload(), /^reload failed, .*cannot listen on/);
  await talk(kept, "after a port that is taken");
  const again = await open(two);
  await talk(again, "two is back");

  writeFileSync(file, good);
  assert.is(await reload(), "config reloaded");
  await talk(again, "nothing changed");
  for (const socket of [kept, again]) socket.destroy();
  server.close();
});

test("-R reads again by itself", async () => {
  const { server, port: target } = await echoServer();
  const [one, two] = [await freePort(), await freePort()];
  writeFileSync(file, `services:\n${forward("one", one, target)}`);
  await start(["-R", "1s", "-C", file]);
  writeFileSync(file, `services:\n${forward("one", one, target)}${forward("two", two, target)}`);
  await seen(({ msg }) => msg === "config reloaded");
  const until = performance.now() + WAIT_MS;
  let works = false;
  while (!works && performance.now() < until) {
    works = await open(two).then(
      (socket) => {
        socket.destroy();
        return true;
      },
      () => false,
    );
  }
  assert.ok(works);
  server.close();
});

test("the API changes what runs; metrics count it", async () => {
  const { server, port: target } = await echoServer();
  const [one, two, api, metrics] = [
    await freePort(),
    await freePort(),
    await freePort(),
    await freePort(),
  ];
  writeFileSync(file, `services:\n${forward("one", one, target)}`);
  const web = ["-api", `u:p@127.0.0.1:${api}?pathPrefix=/v1`, "-metrics", `127.0.0.1:${metrics}`];
  await start(["-C", file, ...web]);
  const kept = await open(one);
  await talk(kept, "hello");
  const call = async (method: string, path: string, body?: unknown): Promise<unknown> => {
    const answer = await fetch(`http://127.0.0.1:${api}/v1${path}`, {
      method,
      headers: { authorization: `Basic ${Buffer.from("u:p").toString("base64")}` },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    return answer.json();
  };
  const service = {
    name: "two",
    addr: `127.0.0.1:${two}`,
    handler: { type: "relay" },
    listener: { type: "tcp" },
    forwarder: { nodes: [{ name: "t", addr: `127.0.0.1:${target}` }] },
  };
  assert.equal(await call("POST", "/config/services", service), { msg: "OK" });
  const made = await open(two);
  await talk(made, "made by the API");
  const { data } = (await call("GET", "/config/services/two")) as {
    data: { status: { state: string; stats: { currentConns: number } } };
  };
  assert.equal([data.status.state, data.status.stats.currentConns], ["ready", 1]);
  const bad = { ...service, name: "three", addr: `127.0.0.1:${target}` };
  assert.match(JSON.stringify(await call("POST", "/config/services", bad)), /40003.*cannot listen/);
  await talk(made, "a bad one harms nobody");
  assert.equal(await call("POST", "/config"), { msg: "OK" });
  assert.match(readFileSync(file, "utf8"), /name: two/);
  const gone = closed(made);
  assert.equal(await call("DELETE", "/config/services/two"), { msg: "OK" });
  await gone;
  await talk(kept, "still here");

  const text = await (await fetch(`http://127.0.0.1:${metrics}/metrics`)).text();
  assert.match(text, /gost_services\{[^}]*\} 1\n/);
  assert.match(
    text,
    /gost_service_requests_in_flight\{[^}]*service="one",client="127.0.0.1"\} 1\n/,
  );
  assert.is((await fetch(`http://127.0.0.1:${metrics}/other`)).status, 404);
  kept.destroy();
  server.close();
  await seen(({ msg }) => /^127\.0\.0\.1:\d+ >< 127\.0\.0\.1:\d+$/.test(String(msg)));
  const end = lines.findLast(({ msg }) => / >< /.test(String(msg)));
  assert.is(end?.["kind"], "handler");
  assert.match(String(end?.["sid"]), /^[0-9a-z]{20}$/);
  assert.ok(Number(end?.["inputBytes"]) > 0 && Number(end?.["duration"]) > 0);
});

test.run();
