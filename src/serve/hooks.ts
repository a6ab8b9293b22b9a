/**
 * The commands preUp, postUp, preDown and postDown of a service: one after another, without a shell
 * unless `hooks.shell=true`, each with a deadline. A failure is a warning and the next command
 * runs, as in GOST. What they print goes to the log, bounded. Their environment tells the service
 * and its device: TSGOST_HOOK, TSGOST_SERVICE, TSGOST_DEVICE, TSGOST_MTU, TSGOST_ADDRESSES (CIDRs
 * with blanks between them).
 */
import { type ChildProcess, spawn } from "node:child_process";
import type { HookCommands } from "../config/hooks.ts";
import { splitShellWords } from "../config/shell-words.ts";
import { messageOf } from "../errors.ts";
import type { Logger } from "../log.ts";

export type HookKind = "preUp" | "postUp" | "preDown" | "postDown";

/** What the commands are told. */
export interface HookFacts {
  readonly service: string;
  readonly device?: string;
  readonly mtu?: number;
  readonly addresses?: readonly string[];
}

/** As GOST names them in its log. */
const LABELS: Readonly<Record<HookKind, string>> = {
  preUp: "pre-up",
  postUp: "post-up",
  preDown: "pre-down",
  postDown: "post-down",
};

/** Of what one command prints; the rest is thrown away. */
const OUTPUT_BYTES_MAX = 16_384;
/** From SIGTERM to SIGKILL of a command that takes too long. */
const KILL_MS = 1000;

/** Resolves when the last command ended; never rejects. */
export async function runHooks(
  kind: HookKind,
  settings: HookCommands,
  facts: HookFacts,
  log: Logger,
): Promise<void> {
  for (const command of settings[kind]) {
    const label = LABELS[kind];
    log.info(command, { hook: label });
    try {
      await runCommand(command, settings, environmentOf(kind, facts), (line) => {
        log.info(line, { hook: label });
      });
    } catch (error) {
      log.warn(`[${label}] ${command}: ${messageOf(error)}`, { hook: label });
    }
  }
}

function environmentOf(kind: HookKind, facts: HookFacts): NodeJS.ProcessEnv {
  return {
    ...process.env,
    TSGOST_HOOK: kind,
    TSGOST_SERVICE: facts.service,
    ...(facts.device === undefined ? {} : { TSGOST_DEVICE: facts.device }),
    ...(facts.mtu === undefined ? {} : { TSGOST_MTU: String(facts.mtu) }),
    ...(facts.addresses === undefined ? {} : { TSGOST_ADDRESSES: facts.addresses.join(" ") }),
  };
}

function runCommand(
  command: string,
  settings: HookCommands,
  env: NodeJS.ProcessEnv,
  say: (line: string) => void,
): Promise<void> {
  const words = settings.shell ? ["/bin/sh", "-c", command] : splitShellWords(command);
  if (words === undefined) return Promise.reject(new Error("a quotation is not closed"));
  const [program, ...args] = words;
  if (program === undefined) return Promise.resolve();
  return new Promise((resolve, reject) => {
    // A group of its own: what the command started ends with it when it takes too long.
    const child = spawn(program, args, { env, stdio: ["ignore", "pipe", "pipe"], detached: true });
    const output = new Lines(say);
    child.stdout.on("data", (chunk: Buffer) => output.add(chunk));
    child.stderr.on("data", (chunk: Buffer) => output.add(chunk));
    let isLate = false;
    let killer: NodeJS.Timeout | undefined;
    const deadline = setTimeout(() => {
      isLate = true;
      signalGroup(child, "SIGTERM");
      killer = setTimeout(() => signalGroup(child, "SIGKILL"), KILL_MS);
    }, settings.timeoutMs);
    const settle = (error?: Error): void => {
      clearTimeout(deadline);
      clearTimeout(killer);
      // A daemon that the command left behind may hold the pipes: they are not waited for.
      setImmediate(() => {
        child.stdout.destroy();
        child.stderr.destroy();
        output.flush();
        if (error === undefined) resolve();
        else reject(error);
      });
    };
    child.on("error", settle);
    child.on("exit", (code, signal) => {
      if (isLate) settle(new Error(`not done after ${settings.timeoutMs} ms, ended`));
      else if (signal !== null) settle(new Error(`ended by ${signal}`));
      else if (code !== 0) settle(new Error(`exit status ${code ?? -1}`));
      else settle();
    });
  });
}

function signalGroup(child: ChildProcess, signal: NodeJS.Signals): void {
  if (child.pid === undefined) return;
  try {
    process.kill(-child.pid, signal);
  } catch {
    child.kill(signal);
  }
}

/** Turns output into lines for the log, up to a bound. */
class Lines {
  readonly #say: (line: string) => void;
  #partial = "";
  #left = OUTPUT_BYTES_MAX;

  constructor(say: (line: string) => void) {
    this.#say = say;
  }

  add(chunk: Buffer): void {
    if (this.#left <= 0) return;
    this.#partial += chunk.subarray(0, this.#left).toString("utf8");
    this.#left -= chunk.length;
    const lines = this.#partial.split("\n");
    this.#partial = lines.pop() ?? "";
    for (const line of lines) if (line.trim() !== "") this.#say(line.trimEnd());
    if (this.#left <= 0) this.#say("(more output is not logged)");
  }

  flush(): void {
    if (this.#partial.trim() !== "") this.#say(this.#partial.trimEnd());
    this.#partial = "";
  }
}
