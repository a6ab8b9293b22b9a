/**
 * `tsgost route`: what would become of a destination. With `--bypass` rules are tried without any
 * configuration; nothing is opened and no name is looked up.
 */
import { BypassSet } from "../bypass/set.ts";
import type { MatcherConfig } from "../config/model.ts";
import { coreModule } from "../core/load.ts";
import { EXIT_OK, usageError } from "../errors.ts";
import { logger } from "../log.ts";
import type { Network } from "../types.ts";
import { parseOptions } from "./common.ts";
import type { CommandSpec, CommandValues } from "./common.ts";
import { commandHelp } from "./help.ts";
import { printOut } from "./version.ts";

export const SPEC: CommandSpec = {
  name: "route",
  summary: "Tell what rules say about destinations.",
  usage: "tsgost route --bypass [~]RULE,RULE… ADDRESS…",
  text: [
    "ADDRESS is HOST, HOST:PORT or [IPV6]:PORT. A rule is a name (example.com), a name with all below " +
      "(.example.com), a wildcard (*.example.com), an address, a range (10.0.0.1-10.0.0.9) or a " +
      "network (10.0.0.0/8), with :PORT or :PORT-PORT behind it if need be; ~ in front of the list " +
      "makes it a whitelist.",
  ],
  options: [
    {
      name: "bypass",
      value: "[~]RULE,…",
      repeat: true,
      mayBeEmpty: true,
      help: "rules as in bypass= of -L and -F; several act together as several bypasses do",
    },
    { name: "network", value: "WORD", help: "tcp (default) or udp" },
    { name: "compat", help: "answer exactly as GOST does" },
    { name: "json", help: "one object a line: address, bypassed, rule" },
    { name: "help", short: "h", help: "this text" },
  ],
  examples: [
    "tsgost route --bypass '10.0.0.0/8,.example.com:443' www.example.com:443 10.1.2.3:22",
    "tsgost route --bypass '~*.example.org' --json example.org:80",
  ],
  words: { min: 1, max: 100_000 },
};

export async function run(argv: readonly string[]): Promise<number> {
  const values = parseOptions(SPEC, argv);
  if (values.has("help")) {
    printOut(commandHelp(SPEC));
    return EXIT_OK;
  }
  if (!values.has("bypass")) throw usageError("route needs --bypass (see tsgost route --help)");
  return tryRules(values);
}

function networkOf(values: CommandValues): Network {
  const text = values.text("network") || "tcp";
  if (text === "tcp" || text === "udp") return text;
  throw usageError(`--network ${JSON.stringify(text)} is neither tcp nor udp`);
}

/** Every address against the rules of --bypass. */
async function tryRules(values: CommandValues): Promise<number> {
  const network = networkOf(values);
  const configs = values.list("bypass").map(configOf);
  const compat = values.has("compat");
  const bypasses = new BypassSet(configs, { wasm: coreModule, log: logger, compat });
  try {
    const names = configs.map(({ name }) => name);
    const all = bypasses.of(names, "--bypass");
    await bypasses.start();
    for (const address of values.words) {
      const { host, port } = splitAddress(address);
      const bypassed = all?.match(network, host, port) !== undefined;
      const rule = names
        .map((name) => bypasses.one(name, "").explain(network, host, port).rule)
        .find((text) => text !== "");
      const answer = { address, bypassed, rule: rule ?? "" };
      printOut(values.has("json") ? JSON.stringify(answer) : sentence(answer));
    }
  } finally {
    bypasses.close();
  }
  return EXIT_OK;
}

interface RuleAnswer {
  readonly address: string;
  readonly bypassed: boolean;
  readonly rule: string;
}

function sentence({ address, bypassed, rule }: RuleAnswer): string {
  const why = rule === "" ? "no rule matches" : `rule ${rule}`;
  return `${address}: ${bypassed ? "bypassed" : "not bypassed"} (${why})`;
}

function configOf(text: string, index: number): MatcherConfig {
  const whitelist = text.startsWith("~");
  return {
    name: `bypass-${index}`,
    whitelist,
    matchers: splitRules(whitelist ? text.slice(1) : text),
    network: "",
    source: { place: "--bypass" },
  };
}

/** At commas, those between braces of a wildcard aside. */
export function splitRules(text: string): string[] {
  const pieces = text.match(/(?:\{[^{}]*\}|[^,])+/g) ?? [];
  return [...pieces];
}

/** Host and port; without a port 0, which no rule for a port means. */
export function splitAddress(text: string): { host: string; port: number } {
  const match = /^(?:\[([^\]]+)\]|([^:]*))(?::(\d{1,5}))?$/.exec(text);
  const host = match?.[1] ?? match?.[2] ?? (text.includes("[") ? "" : text);
  const port = Number(match?.[3] ?? 0);
  if (host === "" || port > 65535) {
    throw usageError(`${JSON.stringify(text)} is not HOST, HOST:PORT or [IPV6]:PORT`);
  }
  return { host, port };
}
