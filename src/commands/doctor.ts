/** `tsgost doctor`: what a user would be asked for, looked at, with what to do about it. */
import { load, modelOf } from "../config/load.ts";
import { prepareStart } from "../config/start.ts";
import type { Config } from "../config/model.ts";
import { EXIT_OK, EXIT_SYSTEM, messageOf } from "../errors.ts";
import { loadFlags, parseOptions, type CommandSpec, type CommandValues } from "./common.ts";
import type { Finding } from "./doctor/finding.ts";
import { commandHelp } from "./help.ts";
import { printOut } from "./version.ts";

export const SPEC: CommandSpec = {
  name: "doctor",
  summary: "Check this machine, and what a configuration needs from it and from the network.",
  usage: "tsgost doctor [-C FILE | -L URL… [-F URL…]] [--json]",
  text: [
    "Without a configuration: Node, clock, privileges, /dev/net/tun, the addon, the kernel's " +
      "offloads, routes, limits. With one also: its devices, the names and ports of its first " +
      "proxies, their certificates; and with --target whether the whole chain reaches it.",
    "Nothing is changed. The exit code is 0 if nothing is wrong, 1 if something is.",
  ],
  options: [
    { name: "L", value: "URL", repeat: true, help: "a service, as tsgost -L" },
    { name: "F", value: "URL", repeat: true, help: "a hop of the chain, as tsgost -F" },
    { name: "C", value: "FILE", repeat: true, help: "a configuration file, - for stdin" },
    { name: "target", value: "HOST:PORT", help: "connect to it through each chain" },
    { name: "json", help: "one object a finding: level, check, text, remedy" },
    { name: "help", short: "h", help: "this text" },
  ],
  examples: [
    "sudo tsgost doctor",
    "sudo tsgost doctor -C /etc/gost/gost.yaml --target example.com:443",
    'sudo tsgost doctor -L "tungo://:0?net=192.168.123.1/24" -F relay+wss://SERVER:443',
  ],
};

export async function run(argv: readonly string[]): Promise<number> {
  const values = parseOptions(SPEC, argv);
  if (values.has("help")) {
    printOut(commandHelp(SPEC));
    return EXIT_OK;
  }
  const config = await readConfig(values);
  const { checkMachine } = await import("./doctor/machine.ts");
  const nowMs = Date.now();
  const findings = checkMachine(nowMs);
  if (config !== undefined) {
    const { checkServers, checkTarget } = await import("./doctor/servers.ts");
    findings.push(...(await checkServers(config, nowMs)));
    const target = values.text("target");
    if (target !== "") findings.push(...(await checkTarget(config, target)));
  }
  for (const finding of findings) {
    printOut(values.has("json") ? JSON.stringify(finding) : lineOf(finding));
  }
  return findings.some(({ level }) => level === "fail") ? EXIT_SYSTEM : EXIT_OK;
}

/** undefined: none was given. Throws TsgostError (exit code 2) if it could not start. */
async function readConfig(values: CommandValues): Promise<Config | undefined> {
  const [services, nodes, sources] = [values.list("L"), values.list("F"), values.list("C")];
  if (services.length + nodes.length + sources.length === 0) return undefined;
  const flags = { ...loadFlags(values), services, nodes, sources };
  const loaded = await load(flags, process.env);
  const { document, reading } = loaded;
  return prepareStart({ config: modelOf(loaded), document, reading, environment: process.env });
}

const MARKS = { ok: "✓", note: "!", fail: "✗" } as const;
const CHECK_WIDTH = 14;

function lineOf(finding: Finding): string {
  const { level, check, text, remedy } = finding;
  const head = `${MARKS[level]} ${check.padEnd(CHECK_WIDTH)} ${messageOf(text)}`;
  return remedy === undefined ? head : `${head}\n  → ${remedy}`;
}
