/** Starts tsgost itself in a namespace and waits until it says that it is ready. */
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { TsgostError } from "../../errors.ts";
import type { Namespace, RemoteProcess, RunOptions } from "./namespace.ts";

const READY_TIMEOUT_MS = 20_000;

/** A server that makes a certificate keeps it in its home: here there shall be none. */
export const HOMELESS = { HOME: "/dev/null" } as const;

export interface Ready {
  /** The fields of the `ready` line. */
  readonly fields: Readonly<Record<string, unknown>>;
  readonly ms: number;
}

export interface Tsgost {
  readonly process: RemoteProcess;
  readonly ready: Ready;
  /** SIGTERM; SIGKILL if that does not help. */
  stop(): Promise<{ code: number | null; ms: number }>;
}

/** The compiled command line of this very package. */
export function cliFile(): string {
  const own = fileURLToPath(import.meta.url);
  const relative = own.endsWith(".ts") ? "../../../dist/src/cli.js" : "../../cli.js";
  return fileURLToPath(new URL(relative, import.meta.url));
}

export function cliCommand(...args: readonly string[]): string[] {
  const file = cliFile();
  if (!existsSync(file)) {
    throw new TsgostError("TSGOST_ERR_DEMO", `${file} is missing: run npm run build`);
  }
  return [process.execPath, file, ...args];
}

/** The fields of a log line in JSON form, or undefined. */
export function parseLine(line: string): Record<string, unknown> | undefined {
  if (!line.startsWith("{")) return undefined;
  try {
    return JSON.parse(line) as Record<string, unknown>;
  } catch {
    return undefined;
  }
}

function whenReady(process: RemoteProcess, from: number): Promise<Ready> {
  return new Promise((done, fail) => {
    const give = (why: string): void => {
      settle();
      const last = process.lines.slice(-3).join(" | ");
      fail(new TsgostError("TSGOST_ERR_DEMO", `tsgost ${why}: ${last || "it said nothing"}`));
    };
    const look = (line: string): void => {
      const fields = parseLine(line);
      if (fields?.["msg"] !== "ready") return;
      settle();
      done({ fields, ms: performance.now() - from });
    };
    const timer = setTimeout(() => give("did not become ready"), READY_TIMEOUT_MS);
    const off = process.onLine(look);
    const settle = (): void => {
      clearTimeout(timer);
      off();
    };
    for (const line of process.lines) look(line);
    void process.ended.then(({ code }) => give(`ended with ${String(code)}`));
  });
}

/** Starts it; an error has the last lines that it logged. */
export async function startTsgost(
  namespace: Namespace,
  args: readonly string[],
  options: RunOptions = {},
): Promise<Tsgost> {
  const from = performance.now();
  const process = await namespace.start(cliCommand(...args), options);
  let ready: Ready;
  try {
    ready = await whenReady(process, from);
  } catch (error) {
    await process.signal("SIGKILL");
    await process.ended;
    throw error;
  }
  return { process, ready, stop: () => stop(process) };
}

async function stop(process: RemoteProcess): Promise<{ code: number | null; ms: number }> {
  const from = performance.now();
  await process.signal("SIGTERM");
  const timer = setTimeout(() => void process.signal("SIGKILL"), 10_000);
  const { code } = await process.ended;
  clearTimeout(timer);
  return { code, ms: performance.now() - from };
}
