/**
 * A real gost as a child process, and what the checks need around it: ports and targets.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { randomInt } from "node:crypto";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { mkdtempSync, readFileSync, readdirSync, rmSync } from "node:fs";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

const START_MS = 50_000;
/** For connections to close at the end. */
const END_MS = 10_000;

/** Below what the system gives to outgoing connections. */
const FIRST_PORT = 15_000;
const PORT_COUNT = 15_000;
let portOffset = randomInt(PORT_COUNT);

/** A port that was free for TCP and UDP a moment ago; never the same one soon again. */
export async function freePort(): Promise<number> {
  for (;;) {
    portOffset = (portOffset + 1) % PORT_COUNT;
    const port = FIRST_PORT + portOffset;
    if (await isFree(port)) return port;
  }
}

async function isFree(port: number): Promise<boolean> {
  const server = createServer();
  const socket = createSocket("udp4");
  try {
    server.listen(port, "127.0.0.1");
    await once(server, "listening");
    socket.bind(port, "127.0.0.1");
    await once(socket, "listening");
    return true;
  } catch {
    return false;
  } finally {
    server.close();
    socket.close();
  }
}

/** gost with a home of its own, so that certificates of the user stay untouched. */
export class Gost {
  readonly binary: string;
  /** Working folder and HOME of every gost. */
  readonly home = mkdtempSync(join(tmpdir(), "tsgost-interop-"));
  readonly #children = new Set<ChildProcess>();

  constructor(binary: string) {
    this.binary = binary;
  }

  async version(): Promise<string> {
    const child = this.#spawn(["-V"]);
    let text = "";
    child.stdout?.on("data", (chunk: Buffer) => (text += chunk.toString()));
    await once(child, "close");
    return text.trim();
  }

  /** Starts gost and waits until `port` accepts connections (0: does not wait). */
  async start(args: readonly string[], port: number): Promise<{ stop(): Promise<void> }> {
    const child = this.#spawn(args);
    const stop = async (): Promise<void> => {
      if (child.exitCode !== null || child.signalCode !== null) return;
      child.kill("SIGKILL");
      await once(child, "close");
    };
    const endMs = performance.now() + START_MS;
    while (port !== 0 && !(await accepts(port))) {
      if (child.exitCode !== null || performance.now() > endMs) {
        await stop();
        throw new Error(`gost ${args.join(" ")} does not listen`);
      }
      await sleepMs(20);
    }
    return { stop };
  }

  #spawn(args: readonly string[]): ChildProcess {
    const env = { ...process.env, HOME: this.home };
    const child = spawn(this.binary, args, {
      cwd: this.home,
      env,
      stdio: ["ignore", "pipe", "ignore"],
    });
    this.#children.add(child);
    child.once("close", () => this.#children.delete(child));
    child.stdout?.resume();
    return child;
  }

  close(): void {
    for (const child of this.#children) child.kill("SIGKILL");
    rmSync(this.home, { recursive: true, force: true });
  }
}

/**
 * What the checks should have ended and did not: processes that run with this home (all of gost
 * do), and sockets of ours.
 */
export async function leftovers(home: string): Promise<string[]> {
  const sockets = /^(TCP|UDP|Process|TLS)/;
  const found = (): string[] => [
    ...processesWith(`HOME=${home}`),
    ...process.getActiveResourcesInfo().filter((name) => sockets.test(name)),
  ];
  const endMs = performance.now() + END_MS;
  while (found().length > 0 && performance.now() < endMs) await sleepMs(100);
  return found();
}

function processesWith(setting: string): string[] {
  return readdirSync("/proc").filter((name) => {
    if (!/^\d+$/.test(name)) return false;
    try {
      return readFileSync(`/proc/${name}/environ`, "latin1").split("\0").includes(setting);
    } catch {
      return false;
    }
  });
}

export function sleepMs(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
}

/** A UDP echo on 127.0.0.1. */
export async function udpEcho(): Promise<{ port: number; close(): void }> {
  const socket = createSocket("udp4");
  socket.on("message", (data, source) => socket.send(data, source.port, source.address));
  socket.bind(0, "127.0.0.1");
  await once(socket, "listening");
  return { port: socket.address().port, close: () => socket.close() };
}
