/**
 * Network namespaces without names: each is held by an agent process (agent.ts) and gone when that
 * ends, so neither a crash nor SIGKILL leaves anything behind. A user who is not root gets them in
 * a user namespace of his own, where the kernel allows it.
 */
import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import { accessSync, closeSync, constants, openSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { codeOf, TsgostError } from "../../errors.ts";
import type { Message, Request } from "./agent.ts";
import type { RunOptions, RunResult } from "./children.ts";

const START_TIMEOUT_MS = 15_000;
const CLOSE_TIMEOUT_MS = 3_000;

export type { RunOptions, RunResult };

/** A program that runs in a namespace until it ends or is told to. */
export interface RemoteProcess {
  readonly pid: number;
  /** All lines so far, of both streams, in the order they came. */
  readonly lines: readonly string[];
  /** Resolves when the program has ended. */
  readonly ended: Promise<{ code: number | null; signal: string | null }>;
  /** Calls back for each line from now on; answers how to stop that. */
  onLine(handler: (line: string) => void): () => void;
  signal(signal: NodeJS.Signals): Promise<void>;
}

interface Waiting {
  readonly done: (value: unknown) => void;
  readonly fail: (error: Error) => void;
}

class Remote implements RemoteProcess {
  pid = 0;
  readonly lines: string[] = [];
  readonly ended: Promise<{ code: number | null; signal: string | null }>;
  readonly handlers = new Set<(line: string) => void>();
  readonly #send: (signal: NodeJS.Signals) => Promise<unknown>;
  finish: (end: { code: number | null; signal: string | null }) => void = () => undefined;

  constructor(send: (signal: NodeJS.Signals) => Promise<unknown>) {
    this.#send = send;
    this.ended = new Promise((done) => {
      this.finish = done;
    });
  }

  onLine(handler: (line: string) => void): () => void {
    this.handlers.add(handler);
    return () => this.handlers.delete(handler);
  }

  async signal(signal: NodeJS.Signals): Promise<void> {
    await this.#send(signal);
  }

  take(line: string): void {
    if (this.lines.length < 100_000) this.lines.push(line);
    for (const handler of this.handlers) handler(line);
  }
}

/** One namespace and what runs in it. */
export class Namespace {
  readonly name: string;
  readonly pid: number;
  readonly #agent: ChildProcess;
  readonly #waiting = new Map<number, Waiting>();
  readonly #remotes = new Map<number, Remote>();
  #nextId = 1;

  constructor(name: string, agent: ChildProcess, pid: number) {
    this.name = name;
    this.pid = pid;
    this.#agent = agent;
    agent.on("message", (message) => this.#onMessage(message as Message));
    agent.on("exit", () => this.#onExit());
  }

  /** Runs a command to its end. */
  async run(command: readonly string[], options: RunOptions = {}): Promise<RunResult> {
    return (await this.#ask({ id: this.#nextId++, op: "run", command, options })) as RunResult;
  }

  /** Runs a command that must succeed; answers what it printed. */
  async must(...command: readonly string[]): Promise<string> {
    const result = await this.run(command);
    if (result.code === 0) return result.stdout;
    const why = result.stderr.trim() || `exit code ${String(result.code)}`;
    throw new TsgostError("TSGOST_ERR_DEMO", `${this.name}: ${command.join(" ")}: ${why}`);
  }

  /** Runs `ip` with the words of each line. */
  async ip(...lines: readonly string[]): Promise<void> {
    const input = lines.join("\n") + "\n";
    const result = await this.run(["ip", "-batch", "-"], { input });
    if (result.code === 0) return;
    throw new TsgostError("TSGOST_ERR_DEMO", `${this.name}: ip: ${result.stderr.trim()}`);
  }

  /** Starts a program that goes on; its lines are kept. */
  async start(command: readonly string[], options: RunOptions = {}): Promise<RemoteProcess> {
    const id = this.#nextId++;
    const remote = new Remote((signal) =>
      this.#ask({ id: this.#nextId++, op: "signal", process: id, signal }),
    );
    this.#remotes.set(id, remote);
    try {
      remote.pid = (await this.#ask({ id, op: "start", command, options })) as number;
    } catch (error) {
      this.#remotes.delete(id);
      throw error;
    }
    return remote;
  }

  /** Calls an exported function of a module inside the namespace; values cross as JSON. */
  async call(module: string, name: string, ...args: readonly unknown[]): Promise<unknown> {
    return this.#ask({ id: this.#nextId++, op: "call", module, name, args });
  }

  /** Ends the agent and all that runs in the namespace. */
  async close(): Promise<void> {
    const agent = this.#agent;
    if (agent.exitCode !== null || agent.signalCode !== null) return;
    await new Promise<void>((done) => {
      const timer = setTimeout(() => agent.kill("SIGKILL"), CLOSE_TIMEOUT_MS);
      agent.once("exit", () => {
        clearTimeout(timer);
        done();
      });
      if (agent.connected) agent.disconnect();
    });
  }

  #ask(request: Request): Promise<unknown> {
    return new Promise((done, fail) => {
      if (!this.#agent.connected) {
        fail(new TsgostError("TSGOST_ERR_DEMO", `namespace ${this.name} is gone`));
        return;
      }
      this.#waiting.set(request.id, { done, fail });
      this.#agent.send(request);
    });
  }

  #onMessage(message: Message): void {
    switch (message.kind) {
      case "answer":
        this.#waiting.get(message.id)?.done(message.value);
        this.#waiting.delete(message.id);
        return;
      case "failure": {
        const code = message.code === "" ? "TSGOST_ERR_DEMO" : message.code;
        this.#waiting.get(message.id)?.fail(new TsgostError(code, message.message));
        this.#waiting.delete(message.id);
        return;
      }
      case "line":
        this.#remotes.get(message.process)?.take(message.line);
        return;
      case "exit":
        this.#remotes.get(message.process)?.finish(message);
        this.#remotes.delete(message.process);
        return;
      case "up":
        return;
    }
  }

  #onExit(): void {
    for (const { fail } of this.#waiting.values()) {
      fail(new TsgostError("TSGOST_ERR_DEMO", `namespace ${this.name} is gone`));
    }
    this.#waiting.clear();
    for (const remote of this.#remotes.values()) remote.finish({ code: null, signal: "SIGKILL" });
    this.#remotes.clear();
  }
}

/** How this process may make namespaces, or why it cannot. */
export type Power =
  | { readonly kind: "root" | "user" }
  | { readonly kind: "none"; readonly reason: string; readonly remedy: string };

/** Finds out what is possible here, without leaving a trace. */
export function power(): Power {
  for (const [tool, hint] of [
    ["ip", "iproute2"],
    ["unshare", "util-linux"],
  ] as const) {
    if (spawnSync(tool, ["-V"]).error !== undefined) {
      return none(`the tool ${tool} is missing`, `install the package ${hint}`);
    }
  }
  const root = process.geteuid?.() === 0;
  const isolate = root ? ["--net"] : ["--user", "--map-root-user", "--net"];
  const tried = spawnSync("unshare", [...isolate, "true"], { encoding: "utf8" });
  if (tried.status !== 0) {
    const why = `namespaces cannot be made (${tried.stderr.trim()})`;
    return none(why, root ? "run it where CAP_SYS_ADMIN is granted" : "run it as root");
  }
  try {
    accessSync("/dev/net/tun");
    closeSync(openSync("/dev/net/tun", constants.O_RDWR | constants.O_NONBLOCK));
  } catch (error) {
    const code = codeOf(error);
    if (code === "ENOENT") return none("there is no /dev/net/tun", "modprobe tun");
    return none(`/dev/net/tun cannot be opened (${code})`, "run it as root");
  }
  return { kind: root ? "root" : "user" };
}

function none(reason: string, remedy: string): Power {
  return { kind: "none", reason, remedy };
}

/** A set of namespaces that end together. */
export class Lab {
  readonly #power: "root" | "user";
  readonly #all: Namespace[] = [];

  constructor(kind: "root" | "user") {
    this.#power = kind;
  }

  /** Makes a namespace with its loopback up. */
  async namespace(name: string): Promise<Namespace> {
    const agent = launch(this.#prefix(), name);
    const pid = await whenUp(agent, name);
    const made = new Namespace(name, agent, pid);
    this.#all.push(made);
    await made.ip("link set lo up");
    return made;
  }

  async close(): Promise<void> {
    await Promise.all(this.#all.map((one) => one.close()));
    this.#all.length = 0;
  }

  #prefix(): readonly string[] {
    if (this.#power === "root") return ["unshare", "--net"];
    const [first] = this.#all;
    if (first === undefined) return ["unshare", "--user", "--map-root-user", "--net"];
    const target = String(first.pid);
    const enter = ["nsenter", "--target", target, "--user", "--preserve-credentials"];
    return [...enter, "unshare", "--net"];
  }
}

/**
 * The agent's file and the flags that its kind of file needs (TypeScript in a checkout's tests).
 */
function launch(prefix: readonly string[], name: string): ChildProcess {
  const own = fileURLToPath(import.meta.url);
  const typed = own.endsWith(".ts");
  const agent = own.replace(/namespace\.([tj]s)$/, "agent.$1");
  const flags = typed ? ["--no-warnings", "--import", import.meta.resolve("tsx")] : [];
  const [program, ...args] = [...prefix, process.execPath, ...flags, agent, name];
  return spawn(program, args, { stdio: ["ignore", "inherit", "inherit", "ipc"] });
}

function whenUp(agent: ChildProcess, name: string): Promise<number> {
  return new Promise((done, fail) => {
    const give = (why: string): void => {
      clearTimeout(timer);
      agent.kill("SIGKILL");
      fail(new TsgostError("TSGOST_ERR_DEMO", `namespace ${name} cannot be made: ${why}`));
    };
    const timer = setTimeout(() => give("no answer"), START_TIMEOUT_MS);
    agent.once("error", (error) => give(error.message));
    agent.once("exit", (code) => give(`exit code ${String(code)}`));
    agent.once("message", (message) => {
      clearTimeout(timer);
      agent.removeAllListeners();
      done((message as Message & { kind: "up" }).pid);
    });
  });
}
