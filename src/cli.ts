#!/usr/bin/env node
/**
 * The program: argv to a command, errors to one line and an exit code. Kept lean: what a command
 * needs is loaded when it is called. Exit codes: 2 argv and configuration, 1 the system, 70 a
 * defect of ours.
 */
import { EXIT_DEFECT, EXIT_OK, TsgostError, codeOf, messageOf, usageError } from "./errors.ts";

type Run = (argv: readonly string[]) => Promise<number>;

interface Command {
  readonly summary: string;
  readonly load: () => Promise<Run>;
}

const COMMANDS: Readonly<Record<string, Command>> = {
  tungo: {
    summary: "serve a TUN device through a chain of servers, or direct",
    load: async () => (await import("./commands/tungo.ts")).run,
  },
  relay: {
    summary: "serve the relay protocol: the other end",
    load: async () => (await import("./commands/relay.ts")).run,
  },
  check: {
    summary: "check configuration files",
    load: async () => (await import("./commands/check.ts")).run,
  },
  doctor: {
    summary: "check this machine and what a configuration needs",
    load: async () => (await import("./commands/doctor.ts")).run,
  },
  route: {
    summary: "tell which way destinations would take, and why",
    load: async () => (await import("./commands/route.ts")).run,
  },
  replay: {
    summary: "replay a capture into the stack and tell what came of it",
    load: async () => (await import("./commands/replay.ts")).run,
  },
  demo: {
    summary: "show in namespaces of this machine that it works",
    load: async () => (await import("./commands/demo.ts")).runDemo,
  },
};

const SUMMARIES = Object.entries(COMMANDS).map(([name, { summary }]) => [name, summary] as const);

async function main(argv: readonly string[]): Promise<number> {
  const [first = "", ...rest] = argv;
  if (first === "" || first.startsWith("-")) {
    const { run } = await import("./commands/gost.ts");
    return run(argv, SUMMARIES);
  }
  const name = first === "help" ? (rest[0] ?? "") : first;
  if (first === "help" && name === "") return main(["--help"]);
  const command = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
  if (command === undefined) {
    const { didYouMean } = await import("./config/suggest.ts");
    const hint = didYouMean(name, Object.keys(COMMANDS));
    throw usageError(`there is no command ${JSON.stringify(name)}${hint || " (see --help)"}`);
  }
  const run = await command.load();
  return run(first === "help" ? ["--help"] : rest);
}

/** One line on stderr; a stack only for a defect, and only with -D or -DD. */
function report(error: unknown): number {
  if (error instanceof TsgostError && error.exitCode !== EXIT_DEFECT) {
    process.stderr.write(`tsgost: ${messageOf(error)}\n`);
    return error.exitCode;
  }
  const debug = process.argv.some((word) => /^--?DD?$/.test(word));
  process.stderr.write(`tsgost: a defect of tsgost, please report it: ${messageOf(error)}\n`);
  if (debug && error instanceof Error && error.stack !== undefined) {
    process.stderr.write(error.stack + "\n");
  }
  return EXIT_DEFECT;
}

/** A reader that goes away (`tsgost … | head`) ends the program quietly. */
function guardStream(stream: NodeJS.WriteStream): void {
  stream.on("error", (error) => {
    process.exit(codeOf(error) === "EPIPE" ? EXIT_OK : EXIT_DEFECT);
  });
}

/** How long what is left open may keep a finished program. */
const LINGER_MS = 1000;

guardStream(process.stdout);
guardStream(process.stderr);
process.on("uncaughtException", (error) => process.exit(report(error)));
process.on("unhandledRejection", (error) => process.exit(report(error)));

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  process.exitCode = report(error);
}
setTimeout(() => process.exit(), LINGER_MS).unref();
