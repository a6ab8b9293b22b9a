/**
 * The process that holds a network namespace: started by namespace.ts under `unshare --net`, it
 * does there what its parent asks over the IPC channel. The namespace has no name anywhere, so it
 * ends with this process and its children, and this process ends when the channel does, whatever
 * became of the parent.
 */
import type { ChildProcess } from "node:child_process";
import { createInterface } from "node:readline";
import { killAll, runChild, signalGroup, startChild, type RunOptions } from "./children.ts";

export type Request =
  | { id: number; op: "run"; command: readonly string[]; options: RunOptions }
  | { id: number; op: "start"; command: readonly string[]; options: RunOptions }
  | { id: number; op: "signal"; process: number; signal: NodeJS.Signals }
  | { id: number; op: "call"; module: string; name: string; args: readonly unknown[] };

export type Message =
  | { kind: "up"; pid: number }
  | { kind: "answer"; id: number; value: unknown }
  | { kind: "failure"; id: number; message: string; code: string }
  | { kind: "line"; process: number; stream: "stdout" | "stderr"; line: string }
  | { kind: "exit"; process: number; code: number | null; signal: string | null };

const started = new Map<number, ChildProcess>();

function tell(message: Message): void {
  if (process.connected) process.send?.(message, () => undefined);
}

function start(id: number, command: readonly string[], options: RunOptions): Promise<number> {
  return new Promise((done, fail) => {
    const child = startChild(command, ["ignore", "pipe", "pipe"], options);
    child.once("error", fail);
    child.once("spawn", () => {
      started.set(id, child);
      done(child.pid ?? 0);
    });
    for (const stream of ["stdout", "stderr"] as const) {
      const input = child[stream];
      if (input === null) continue;
      createInterface({ input }).on("line", (line) =>
        tell({ kind: "line", process: id, stream, line }),
      );
    }
    child.once("close", (code, signal) => {
      started.delete(id);
      tell({ kind: "exit", process: id, code, signal });
    });
  });
}

async function call(module: string, name: string, args: readonly unknown[]): Promise<unknown> {
  const loaded = (await import(module)) as Record<string, unknown>;
  const target = loaded[name];
  if (typeof target !== "function") throw new Error(`${module} has no function ${name}`);
  return await (target as (...all: readonly unknown[]) => unknown)(...args);
}

function perform(request: Request): Promise<unknown> {
  switch (request.op) {
    case "run":
      return runChild(request.command, request.options);
    case "start":
      return start(request.id, request.command, request.options);
    case "call":
      return call(request.module, request.name, request.args);
    case "signal": {
      const child = started.get(request.process);
      if (child !== undefined) signalGroup(child, request.signal);
      return Promise.resolve(child !== undefined);
    }
  }
}

function isRequest(message: unknown): message is Request {
  return typeof message === "object" && message !== null && "op" in message && "id" in message;
}

process.on("message", (message: unknown) => {
  if (!isRequest(message)) return;
  const { id } = message;
  perform(message).then(
    (value) => tell({ kind: "answer", id, value }),
    (error: unknown) => {
      const text = error instanceof Error ? error.message : String(error);
      const code = (error as { code?: unknown } | null)?.code;
      tell({ kind: "failure", id, message: text, code: typeof code === "string" ? code : "" });
    },
  );
});

// Signals often reach the whole process group; the parent decides what happens then.
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => undefined);
process.on("disconnect", () => {
  killAll();
  process.exit(0);
});

tell({ kind: "up", pid: process.pid });
