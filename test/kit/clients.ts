/**
 * Clients that end-to-end tests run inside a namespace (`ask` of test/kit/netns.ts): the kernel's
 * own sockets, driven by Node. Every function answers plain values and has a deadline.
 */
import { createHash, randomBytes } from "node:crypto";
import { createSocket } from "node:dgram";
import { connect, type Socket } from "node:net";
import { runChild } from "../../src/commands/demo/children.ts";
import { DUPLEX_HEADER_BYTES, sendSeeded, stream } from "./servers.ts";

export { ping, resolve, tryConnect, udpRefused } from "../../src/commands/demo/clients.ts";

const FLOW_TIMEOUT_MS = 120_000;

export interface Outcome {
  /** "end" in order, or the code of the error. */
  readonly how: string;
  /** What came back, as text; cut at 64 KiB. */
  readonly text: string;
  readonly ms: number;
}

function codeOf(error: Error): string {
  return (error as NodeJS.ErrnoException).code ?? error.message;
}

interface Script {
  /** Text to send after connecting. */
  readonly send?: string;
  /** Half-close after sending. */
  readonly end?: boolean;
  /** Reset so long after connecting. */
  readonly resetAfterMs?: number;
  /** When the time is over, reset instead of closing. */
  readonly reset?: boolean;
  /** Destroy when this much text was received. */
  readonly stopAt?: number;
  /** Wait so long before sending. */
  readonly delayMs?: number;
  readonly timeoutMs?: number;
}

/** Connects, sends, reads until the end. */
export function converse(host: string, port: number, script: Script = {}): Promise<Outcome> {
  return new Promise((done) => {
    const from = performance.now();
    let text = "";
    const socket = connect({ host, port, allowHalfOpen: true });
    const finish = (how: string): void => {
      clearTimeout(timer);
      if (script.reset === true && how === "timeout") socket.resetAndDestroy();
      else socket.destroy();
      done({ how, text, ms: performance.now() - from });
    };
    const timer = setTimeout(() => finish("timeout"), script.timeoutMs ?? 20_000);
    socket.on("error", (error) => finish(codeOf(error)));
    socket.on("end", () => finish("end"));
    socket.on("data", (chunk) => {
      if (text.length < 65_536) text += chunk.toString("latin1");
      if (script.stopAt !== undefined && text.length >= script.stopAt) finish("enough");
    });
    const send = (): void => {
      if (script.send !== undefined) socket.write(script.send);
      if (script.end === true) socket.end();
    };
    socket.on("connect", () => {
      if (script.resetAfterMs !== undefined) {
        setTimeout(() => {
          socket.resetAndDestroy();
          finish("reset");
        }, script.resetAfterMs);
      }
      if (script.delayMs === undefined) send();
      else setTimeout(send, script.delayMs);
    });
  });
}

/** One flow with random data both ways; "" if both hashes are right. */
function duplexFlow(
  host: string,
  port: number,
  [seed, up, down]: readonly number[],
): Promise<string> {
  return new Promise((done) => {
    const seedOf = seed ?? 0;
    const bytesUp = up ?? 0;
    const bytesDown = down ?? 0;
    const tail: Buffer[] = [];
    const hash = createHash("sha256");
    let got = 0;
    const socket = connect({ host, port });
    const finish = (why: string): void => {
      clearTimeout(timer);
      socket.destroy();
      done(why);
    };
    const timer = setTimeout(() => finish(`timeout after ${got} bytes`), FLOW_TIMEOUT_MS);
    socket.on("error", (error) => finish(codeOf(error)));
    socket.on("data", (chunk) => {
      const body = chunk.subarray(0, Math.max(bytesDown - got, 0));
      hash.update(body);
      got += chunk.length;
      if (chunk.length > body.length) tail.push(chunk.subarray(body.length));
    });
    socket.on("end", () => {
      const wantedDown = createHash("sha256")
        .update(stream(seedOf + 1)(bytesDown))
        .digest("hex");
      const wantedUp = createHash("sha256").update(stream(seedOf)(bytesUp)).digest("hex");
      if (hash.digest("hex") !== wantedDown) finish(`down: wrong data, ${got} bytes`);
      else if (Buffer.concat(tail).toString("hex") !== wantedUp) finish("up: wrong data");
      else finish("");
    });
    socket.on("connect", () => {
      const head = Buffer.alloc(DUPLEX_HEADER_BYTES);
      [seedOf, bytesUp, bytesDown].forEach((word, index) => head.writeUInt32BE(word, 4 * index));
      socket.write(head);
      void sendSeeded(socket, seedOf, bytesUp);
    });
  });
}

interface Load {
  readonly hosts: readonly string[];
  readonly port: number;
  readonly flows: number;
  /** Most bytes of one direction; each flow has its own length. */
  readonly maxBytes: number;
}

/** Many flows at once with random data both ways; answers the failures by text. */
export async function duplexFlows(load: Load): Promise<{ good: number; errors: string[] }> {
  const one = (index: number): Promise<string> => {
    const host = load.hosts[index % load.hosts.length] ?? "";
    // Multiples of the golden ratio spread evenly over the lengths.
    const up = 1 + Math.floor((((index + 1) * 0.618034) % 1) * load.maxBytes);
    const down = 1 + Math.floor((((index + 7) * 0.618034) % 1) * load.maxBytes);
    return duplexFlow(host, load.port, [index * 2, up, down]);
  };
  const results = await Promise.all(Array.from({ length: load.flows }, (_, index) => one(index)));
  const errors = results.filter((why) => why !== "");
  return { good: results.length - errors.length, errors: [...new Set(errors)].slice(0, 10) };
}

/** Short connections one after another in `width` lanes; answers how many ended well. */
export async function shortFlows(
  host: string,
  port: number,
  [count, width]: readonly [number, number],
): Promise<{ good: number; errors: string[] }> {
  let left = count;
  let good = 0;
  const errors = new Set<string>();
  const lane = async (): Promise<void> => {
    while (left-- > 0) {
      const { how, text } = await converse(host, port, { send: "hi\n", end: true });
      if (how === "end" && text === "done\n") good++;
      else errors.add(how);
    }
  };
  await Promise.all(Array.from({ length: width }, lane));
  return { good, errors: [...errors].slice(0, 10) };
}

const held: Socket[] = [];
const heldEnds: { how: string; atMs: number }[] = [];

/**
 * Opens connections to the echo server and keeps them; answers how many stand. Each counts when its
 * first byte came back: Node reads a reset that comes along with data as an end.
 */
export async function holdOpen(host: string, port: number, count: number): Promise<number> {
  const one = (): Promise<boolean> =>
    new Promise((done) => {
      const socket = connect({ host, port });
      held.push(socket);
      let how = "";
      socket.setTimeout(30_000, () => done(false));
      socket.once("connect", () => socket.write("x"));
      socket.once("data", () => {
        socket.setTimeout(0);
        done(true);
      });
      socket.on("error", (error) => (how = codeOf(error)));
      socket.on("end", () => (how ||= "end"));
      socket.on("close", () => {
        heldEnds.push({ how: how || "closed", atMs: performance.now() });
        done(false);
      });
      socket.resume();
    });
  const results = await Promise.all(Array.from({ length: count }, one));
  return results.filter(Boolean).length;
}

/** Waits until all held connections ended (or the deadline); answers how, and forgets them. */
export async function heldOutcome(
  timeoutMs: number,
): Promise<{ ends: Record<string, number>; standing: number; ms: number }> {
  const from = performance.now();
  while (heldEnds.length < held.length && performance.now() - from < timeoutMs) {
    await new Promise((next) => setTimeout(next, 10));
  }
  const ends: Record<string, number> = {};
  for (const { how } of heldEnds) ends[how] = (ends[how] ?? 0) + 1;
  const standing = held.length - heldEnds.length;
  const last = Math.max(from, ...heldEnds.map((end) => end.atMs));
  for (const socket of held.splice(0)) socket.destroy();
  heldEnds.length = 0;
  return { ends, standing, ms: last - from };
}

/** Datagrams of given sizes to an echo server; answers the sizes that did not come back right. */
export async function udpSizes(
  host: string,
  port: number,
  sizes: readonly number[],
): Promise<number[]> {
  const socket = createSocket(host.includes(":") ? "udp6" : "udp4");
  socket.on("error", () => undefined);
  const missing: number[] = [];
  for (const size of sizes) {
    const data = stream(size)(size);
    let back: Buffer | undefined;
    for (let tries = 0; tries < 3 && back === undefined; tries++) {
      back = await exchange(socket, data, [host, port]);
    }
    if (back?.equals(data) !== true) missing.push(size);
  }
  socket.close();
  return missing;
}

/** The ports from which a host answers within `waitMs` of each of `count` datagrams, in order. */
export async function udpHeard(
  host: string,
  port: number,
  { count, waitMs }: { count: number; waitMs: number },
): Promise<number[]> {
  const socket = createSocket(host.includes(":") ? "udp6" : "udp4");
  const heard = new Set<number>();
  socket.on("error", () => undefined);
  socket.on("message", (_data, from) => heard.add(from.port));
  for (let sent = 0; sent < count; sent++) {
    socket.send("x", port, host);
    await new Promise((done) => setTimeout(done, waitMs));
  }
  socket.close();
  return [...heard].sort((one, other) => one - other);
}

let kept: ReturnType<typeof createSocket> | undefined;

/** Asks an echo server with one and the same socket in all calls; ms until it answered, or -1. */
export async function udpKept(host: string, port: number, timeoutMs: number): Promise<number> {
  const from = performance.now();
  kept ??= createSocket("udp4").on("error", () => undefined);
  while (performance.now() - from < timeoutMs) {
    const data = randomBytes(100);
    if ((await exchange(kept, data, [host, port], 500))?.equals(data) === true) {
      return performance.now() - from;
    }
  }
  return -1;
}

function exchange(
  socket: ReturnType<typeof createSocket>,
  data: Buffer,
  [host, port]: readonly [string, number],
  timeoutMs = 2000,
): Promise<Buffer | undefined> {
  return new Promise((done) => {
    const finish = (message?: Buffer): void => {
      clearTimeout(timer);
      socket.off("message", finish);
      done(message);
    };
    const timer = setTimeout(finish, timeoutMs);
    socket.on("message", finish);
    socket.send(data, port, host);
  });
}

/** Sends an echo request of each size with ping; answers the sizes without a reply. */
export async function pingSizes(host: string, sizes: readonly number[]): Promise<number[]> {
  const missing: number[] = [];
  for (const size of sizes) {
    const command = ["ping", "-n", "-c", "1", "-W", "3", "-s", String(size), host];
    const { code } = await runChild(command, { timeoutMs: 10_000 });
    if (code !== 0) missing.push(size);
  }
  return missing;
}
