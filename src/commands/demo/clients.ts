/**
 * What the client's namespace does: the same jobs with ordinary tools (curl, dig, ping) where they
 * are, with Node where they are not. Called by the agent there; every wait has a deadline.
 */
import { createHash } from "node:crypto";
import { createSocket } from "node:dgram";
import { Resolver } from "node:dns/promises";
import { request as httpRequest } from "node:http";
import { connect } from "node:net";
import { pipeline } from "node:stream/promises";
import { Readable } from "node:stream";
import { runChild, signalGroup, startChild } from "./children.ts";
import { content } from "./content.ts";

export interface Transfer {
  readonly bytes: number;
  readonly sha256: string;
  readonly ms: number;
  readonly tool: string;
  readonly error: string;
}

export interface Attempt {
  /** "connected", or the error's code such as ECONNREFUSED. */
  readonly outcome: string;
  readonly ms: number;
}

const TRANSFER_TIMEOUT_MS = 600_000;
/** Longest silence of a connection that should carry something. */
const IDLE_TIMEOUT_MS = 30_000;
const CURL = ["curl", "--silent", "--show-error", "--fail", "--globoff", "--noproxy", "*"].concat([
  "--connect-timeout",
  "20",
  "--speed-limit",
  "1",
  "--speed-time",
  "30",
]);

async function has(tool: string): Promise<boolean> {
  return (await runChild(["sh", "-c", `command -v ${tool}`])).code === 0;
}

/** Fetches a URL and hashes it. */
export async function download(url: string, range = ""): Promise<Transfer> {
  const from = performance.now();
  const hash = createHash("sha256");
  let bytes = 0;
  const take = (chunk: Buffer): void => {
    hash.update(chunk);
    bytes += chunk.length;
  };
  const curl = await has("curl");
  const tool = curl ? "curl" : "node";
  const error = await (curl ? curlGet(url, range, take) : nodeGet(url, range, take));
  return { bytes, sha256: hash.digest("hex"), ms: performance.now() - from, tool, error };
}

async function curlGet(url: string, range: string, take: (chunk: Buffer) => void): Promise<string> {
  const ranged = range === "" ? [] : ["--range", range];
  const child = startChild([...CURL, ...ranged, url], ["ignore", "pipe", "pipe"]);
  return watchCurl(child, take);
}

function watchCurl(
  child: ReturnType<typeof startChild>,
  take: (chunk: Buffer) => void,
): Promise<string> {
  return new Promise((done) => {
    let complaint = "";
    const timer = setTimeout(() => signalGroup(child, "SIGKILL"), TRANSFER_TIMEOUT_MS);
    child.stdout?.on("data", take);
    child.stderr?.setEncoding("utf8").on("data", (text: string) => (complaint += text));
    child.once("error", (error) => done(error.message));
    child.once("close", (code) => {
      clearTimeout(timer);
      done(code === 0 ? "" : complaint.trim() || `curl ended with ${String(code)}`);
    });
  });
}

function nodeGet(url: string, range: string, take: (chunk: Buffer) => void): Promise<string> {
  return new Promise((done) => {
    const headers = range === "" ? {} : { Range: `bytes=${range}` };
    const asked = httpRequest(url, { headers, agent: false }, (response) => {
      response.on("data", take);
      response.on("error", (error) => done(error.message));
      response.on("end", () => done((response.statusCode ?? 500) < 300 ? "" : "refused"));
    });
    asked.setTimeout(IDLE_TIMEOUT_MS, () => asked.destroy(new Error("timeout")));
    asked.on("error", (error) => done(error.message)).end();
  });
}

/** Sends `size` bytes of the big file; the hash is the one that the server saw. */
export async function upload(url: string, size: number): Promise<Transfer> {
  const from = performance.now();
  const body = Readable.from(content(0, size), { objectMode: false, highWaterMark: 4 * 1024 ** 2 });
  const curl = await has("curl");
  const tool = curl ? "curl" : "node";
  const { text, error } = await (curl ? curlPut(url, body) : nodePut(url, body, size));
  const ms = performance.now() - from;
  try {
    const seen = JSON.parse(text) as { bytes: number; sha256: string };
    return { bytes: seen.bytes, sha256: seen.sha256, ms, tool, error };
  } catch {
    return { bytes: 0, sha256: "", ms, tool, error: error || "no answer" };
  }
}

async function curlPut(url: string, body: Readable): Promise<{ text: string; error: string }> {
  const child = startChild(
    ["curl", "--silent", "--show-error", "--fail", "--globoff", "--noproxy", "*"].concat([
      "--header",
      "Expect:",
      "--upload-file",
      "-",
      url,
    ]),
    ["pipe", "pipe", "pipe"],
  );
  let text = "";
  const result = watchCurl(child, (chunk) => (text += chunk.toString("latin1")));
  if (child.stdin !== null) await pipeline(body, child.stdin).catch(() => undefined);
  const error = await result;
  return { text, error };
}

function nodePut(
  url: string,
  body: Readable,
  size: number,
): Promise<{ text: string; error: string }> {
  return new Promise((done) => {
    const headers = { "Content-Length": size };
    let text = "";
    const asked = httpRequest(url, { method: "PUT", headers, agent: false }, (response) => {
      response.on("data", (chunk: Buffer) => (text += chunk.toString("latin1")));
      response.on("end", () => done({ text, error: "" }));
    });
    const fail = (error: Error): void => done({ text, error: error.message });
    asked.setTimeout(IDLE_TIMEOUT_MS, () => asked.destroy(new Error("timeout")));
    asked.on("error", fail);
    pipeline(body, asked).catch(fail);
  });
}

/** A page as text, or what went wrong. */
export async function page(url: string): Promise<{ text: string; error: string; ms: number }> {
  const from = performance.now();
  let text = "";
  const take = (chunk: Buffer): void => {
    text += chunk.toString("utf8");
  };
  const error = (await has("curl")) ? await curlGet(url, "", take) : await nodeGet(url, "", take);
  return { text, error, ms: performance.now() - from };
}

/** `count` requests at once, a connection each; answers how many came back right. */
export async function parallel(
  url: string,
  count: number,
): Promise<{ good: number; ms: number; slowestMs: number; error: string }> {
  const from = performance.now();
  let good = 0;
  let error = "";
  let slowestMs = 0;
  const one = async (number: number): Promise<void> => {
    let text = "";
    const why = await nodeGet(`${url}?n=${number}`, "", (chunk) => {
      text += chunk.toString("latin1");
    });
    if (why === "" && text.length === 4096 && text.startsWith(`page ${number}\n`)) good++;
    else error = why || "wrong page";
    slowestMs = Math.max(slowestMs, performance.now() - from);
  };
  await Promise.all(Array.from({ length: count }, (_, number) => one(number)));
  return { good, ms: performance.now() - from, slowestMs, error };
}

/** Connects and tells how that went. */
export function tryConnect(host: string, port: number, timeoutMs: number): Promise<Attempt> {
  return new Promise((done) => {
    const from = performance.now();
    const socket = connect({ host, port });
    const finish = (outcome: string): void => {
      socket.destroy();
      done({ outcome, ms: performance.now() - from });
    };
    socket.setTimeout(timeoutMs, () => finish("timeout"));
    socket.once("connect", () => finish("connected"));
    socket.once("error", (error) => finish((error as NodeJS.ErrnoException).code ?? error.message));
  });
}

/** Sends a datagram of each size to an echo server; answers the sizes that did not come back. */
export async function udpEcho(
  host: string,
  port: number,
  sizes: readonly number[],
): Promise<{ missing: number[]; ms: number; error: string }> {
  const from = performance.now();
  const socket = createSocket(host.includes(":") ? "udp6" : "udp4");
  let error = "";
  socket.on("error", (problem) => (error = problem.message));
  const missing: number[] = [];
  try {
    for (const size of sizes) {
      const data = Buffer.alloc(size, size & 255);
      const back = await echoed(socket, data, { host, port });
      if (back?.equals(data) !== true) missing.push(size);
    }
  } finally {
    socket.close();
  }
  return { missing, ms: performance.now() - from, error };
}

/** The next datagram after sending one; UDP may lose it, so up to three tries. */
async function echoed(
  socket: ReturnType<typeof createSocket>,
  data: Buffer,
  to: { host: string; port: number },
): Promise<Buffer | undefined> {
  for (let tries = 0; tries < 3; tries++) {
    const back = await new Promise<Buffer | undefined>((done) => {
      const finish = (message?: Buffer): void => {
        clearTimeout(timer);
        socket.off("message", finish);
        done(message);
      };
      const timer = setTimeout(finish, 1000);
      socket.on("message", finish);
      socket.send(data, to.port, to.host);
    });
    if (back !== undefined) return back;
  }
  return undefined;
}

/** A UDP datagram to a closed port: the error that the socket was given, or "silence". */
export function udpRefused(host: string, port: number): Promise<Attempt> {
  return new Promise((done) => {
    const from = performance.now();
    const socket = createSocket(host.includes(":") ? "udp6" : "udp4");
    const finish = (outcome: string): void => {
      clearTimeout(timer);
      clearInterval(again);
      socket.close();
      done({ outcome, ms: performance.now() - from });
    };
    const timer = setTimeout(() => finish("silence"), 3000);
    const again = setInterval(() => socket.send("?"), 300);
    socket.on("error", (error) => finish((error as NodeJS.ErrnoException).code ?? error.message));
    socket.connect(port, host, () => socket.send("?"));
  });
}

/** Asks a DNS server for the addresses of a name. */
export async function resolve(
  server: string,
  name: string,
  type: "A" | "AAAA",
): Promise<{ addresses: string[]; ms: number; tool: string; error: string }> {
  const from = performance.now();
  if (await has("dig")) {
    const command = ["dig", "+short", "+time=2", "+tries=2", `@${server}`, name, type];
    const result = await runChild(command, { timeoutMs: 10_000 });
    const addresses = result.stdout.split("\n").filter((line) => /^[0-9a-f.:]+$/i.test(line));
    const error = result.code === 0 ? "" : result.stdout.trim() || result.stderr.trim();
    return { addresses, ms: performance.now() - from, tool: "dig", error };
  }
  const resolver = new Resolver({ timeout: 2000, tries: 2 });
  resolver.setServers([server.includes(":") ? `[${server}]` : server]);
  try {
    const addresses = await (type === "A" ? resolver.resolve4(name) : resolver.resolve6(name));
    return { addresses, ms: performance.now() - from, tool: "node", error: "" };
  } catch (error) {
    const text = error instanceof Error ? error.message : String(error);
    return { addresses: [], ms: performance.now() - from, tool: "node", error: text };
  }
}

/** Pings once or more; answers the replies, or undefined where there is no ping. */
export async function ping(
  host: string,
  count: number,
): Promise<{ replies: number; ms: number; text: string } | undefined> {
  if (!(await has("ping"))) return undefined;
  const from = performance.now();
  const result = await runChild(
    ["ping", "-n", "-c", String(count), "-i", "0.2", "-W", "1", "-w", "2", host],
    { timeoutMs: 15_000 },
  );
  const match = /(\d+) received/.exec(result.stdout);
  const round = /time=([\d.]+) ms/.exec(result.stdout);
  const text = round?.[1] === undefined ? result.stderr.trim() : `${round[1]} ms`;
  return { replies: Number(match?.[1] ?? 0), ms: performance.now() - from, text };
}
