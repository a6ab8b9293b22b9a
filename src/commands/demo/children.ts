/**
 * Child processes that cannot outlive this one: each has a process group of its own, every wait has
 * a deadline, `killAll` ends what is left, and where setpriv can say so the kernel ends them when
 * this process is killed.
 */
import { spawn, spawnSync, type ChildProcess, type StdioOptions } from "node:child_process";

export interface RunResult {
  /** Exit code; null if a signal ended it, -1 if it could not be started. */
  readonly code: number | null;
  readonly signal: string | null;
  readonly stdout: string;
  readonly stderr: string;
  readonly ms: number;
}

export interface RunOptions {
  readonly timeoutMs?: number;
  /** Written to standard input, which is empty otherwise. */
  readonly input?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
}

const OUTPUT_MAX_BYTES = 4 * 1024 ** 2;
const RUN_TIMEOUT_MS = 60_000;

const living = new Set<ChildProcess>();
let guard: readonly string[] | undefined;

/** What to put before a command so that it dies with this process. */
function deathGuard(): readonly string[] {
  if (guard === undefined) {
    const words = ["setpriv", "--pdeathsig", "KILL"];
    guard = spawnSync("setpriv", [...words.slice(1), "true"]).status === 0 ? words : [];
  }
  return guard;
}

/** Starts a command in a process group of its own and keeps it in the list of `killAll`. */
export function startChild(
  command: readonly string[],
  stdio: StdioOptions,
  options: RunOptions = {},
): ChildProcess {
  const [program = "", ...args] = [...deathGuard(), ...command];
  const child = spawn(program, args, {
    stdio,
    detached: true,
    cwd: options.cwd,
    env: { ...process.env, ...options.env },
  });
  living.add(child);
  child.once("exit", () => living.delete(child));
  child.once("error", () => living.delete(child));
  return child;
}

/** Sends a signal to the child's whole group; a group that is gone is no error. */
export function signalGroup(child: ChildProcess, signal: NodeJS.Signals): void {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  try {
    process.kill(-child.pid, signal);
  } catch {
    child.kill(signal);
  }
}

export function killAll(): void {
  for (const child of living) signalGroup(child, "SIGKILL");
}

/** Runs a command to its end (or its deadline, then SIGKILL) and keeps what it printed. */
export function runChild(command: readonly string[], options: RunOptions = {}): Promise<RunResult> {
  return new Promise((done) => {
    const from = performance.now();
    const child = startChild(command, ["pipe", "pipe", "pipe"], options);
    const texts = { stdout: "", stderr: "" };
    const timer = setTimeout(
      () => signalGroup(child, "SIGKILL"),
      options.timeoutMs ?? RUN_TIMEOUT_MS,
    );
    const finish = (code: number | null, signal: string | null): void => {
      clearTimeout(timer);
      done({ code, signal, ...texts, ms: performance.now() - from });
    };
    for (const name of ["stdout", "stderr"] as const) {
      child[name]?.setEncoding("utf8").on("data", (text: string) => {
        if (texts[name].length < OUTPUT_MAX_BYTES) texts[name] += text;
      });
    }
    child.stdin?.on("error", () => undefined).end(options.input ?? "");
    child.once("error", (error) => {
      texts.stderr += error.message;
      finish(-1, null);
    });
    child.once("close", finish);
  });
}
