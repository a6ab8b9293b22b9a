/**
 * `tsgost route`: what would become of a destination. With `--bypass` rules are tried without any
 * configuration, nothing is opened and no name is looked up; without it the services of a
 * configuration are asked (explain.ts).
 */
import { randomBytes } from "node:crypto";
import * as abi from "../../assembly/abi.ts";
import { RuleBypass, combineBypasses } from "../bypass/bypass.ts";
import { RuleEngine } from "../bypass/engine.ts";
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
  summary: "Tell which way destinations would take, and because of which rule.",
  usage: "tsgost route [-C FILE | -L URL … -F URL …] ADDRESS…  |  --bypass [~]RULE,… ADDRESS…",
  text: [
    "The first form asks each service of a configuration: refused, direct or through which chain, hop, " +
      "node and interface, the rule that decides, and what would happen if only the address of a name " +
      "were known. Nothing is dialled; names are looked up. The second form tries rules alone.",
    "ADDRESS is HOST, HOST:PORT or [IPV6]:PORT. A rule is a name (example.com), a name with all below " +
      "(.example.com), a wildcard (*.example.com), an address, a range (10.0.0.1-10.0.0.9) or a " +
      "network (10.0.0.0/8), with :PORT or :PORT-PORT behind it if need be; ~ in front of the list " +
      "makes it a whitelist.",
  ],
  options: [
    { name: "C", short: "C", value: "FILE", repeat: true, help: "a configuration, as for tsgost" },
    { name: "L", short: "L", value: "URL", repeat: true, help: "a service" },
    { name: "F", short: "F", value: "URL", repeat: true, help: "a hop of the chain" },
    { name: "no-lookup", help: "do not look names up to say what an address alone would do" },
    {
      name: "bypass",
      value: "[~]RULE,…",
      repeat: true,
      mayBeEmpty: true,
      help: "rules as in bypass= of -L and -F; several act together as several bypasses do",
    },
    { name: "network", value: "WORD", help: "tcp (default) or udp" },
    { name: "client", value: "IP", help: "who asks, for ClientIP of matchers and for hash" },
    { name: "compat", help: "with --bypass: answer exactly as GOST does" },
    { name: "json", help: "one object a line; with --bypass: address, bypassed, rule" },
    { name: "help", short: "h", help: "this text" },
  ],
  examples: [
    "tsgost route -C gost.yaml www.example.com:443 192.0.2.7:22",
    "tsgost route -F 'relay+wss://server:443?bypass=.example.com' www.example.com",
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
  const network = networkOf(values);
  if (values.has("bypass")) {
    const other = ["C", "L", "F", "no-lookup", "client"].find((name) => values.has(name));
    if (other !== undefined) throw usageError(`--bypass tries rules alone, without ${other}`);
    return tryRules(values, network);
  }
  if (values.has("compat")) throw usageError("--compat goes with --bypass");
  const destinations = values.words.map((word) => {
    const { host, port } = splitAddress(word);
    return { host, port: port === 0 ? HTTPS : port };
  });
  const { explainAll } = await import("./explain.ts");
  return explainAll(values, network, destinations);
}

/** The port of what is given without one. */
const HTTPS = 443;

function networkOf(values: CommandValues): Network {
  const text = values.text("network") || "tcp";
  if (text === "tcp" || text === "udp") return text;
  throw usageError(`--network ${JSON.stringify(text)} is neither tcp nor udp`);
}

/** Every address against the rules of --bypass. */
async function tryRules(values: CommandValues, network: Network): Promise<number> {
  const engine = new RuleEngine(coreModule(), randomBytes(abi.ENTROPY_BYTES));
  const options = { engine, log: logger, compat: values.has("compat") };
  const bypasses = values.list("bypass").map((text, index) => {
    return new RuleBypass(configOf(text, index), options);
  });
  const all = combineBypasses(bypasses);
  await Promise.all(bypasses.map((bypass) => bypass.start()));
  for (const address of values.words) {
    const { host, port } = splitAddress(address);
    const bypassed = all?.match(network, host, port) !== undefined;
    const rule = bypasses
      .map((bypass) => bypass.explain(network, host, port).rule)
      .find((text) => text !== "");
    const answer = { address, bypassed, rule: rule ?? "" };
    printOut(values.has("json") ? JSON.stringify(answer) : sentence(answer));
  }
  for (const bypass of bypasses) bypass.close();
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
