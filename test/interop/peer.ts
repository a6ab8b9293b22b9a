/**
 * A real gost as a child process, and what the checks need around it: ports and targets.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { connect, createServer, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

const START_MS = 10_000;

/** A port that was free a moment ago. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
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
    const options = { cwd: this.home, env, stdio: ["ignore", "pipe", "ignore"] as const };
    const child = spawn(this.binary, args, { ...options, stdio: ["ignore", "pipe", "ignore"] });
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
