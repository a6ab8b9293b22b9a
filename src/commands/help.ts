/** The help texts: of one command from its specification, and of the program. */
import {
  CONNECTORS_BUILT,
  DIALERS_BUILT,
  HANDLERS_BUILT,
  LISTENERS_BUILT,
} from "../config/words.ts";
import type { CommandSpec, OptionSpec } from "./common.ts";

const WIDTH = 96;
const COLUMN = 30;

/** Words into lines of at most `width` characters. */
function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(" ")) {
    if (line !== "" && line.length + 1 + word.length > width) {
      lines.push(line);
      line = word;
    } else {
      line = line === "" ? word : `${line} ${word}`;
    }
  }
  return line === "" ? lines : [...lines, line];
}

function row(left: string, text: string): string[] {
  const lines = wrap(text, WIDTH - COLUMN);
  const indent = " ".repeat(COLUMN);
  const head = `  ${left}`;
  if (head.length >= COLUMN) return [head, ...lines.map((line) => indent + line)];
  return lines.map((line, index) => (index === 0 ? head.padEnd(COLUMN) : indent) + line);
}

function optionRow(option: OptionSpec): string[] {
  // One letter alone is an option of its own, as GOST has it.
  const long = option.name.length === 1 ? `-${option.name}` : `--${option.name}`;
  const short = option.short === undefined || long === `-${option.short}` ? "" : option.short;
  const value = option.value === undefined ? "" : ` ${option.value}`;
  const text = option.repeat === true ? `${option.help}; repeatable` : option.help;
  return row(`${short === "" ? "" : `-${short}, `}${long}${value}`, text);
}

/** The text of `tsgost COMMAND --help`. */
export function commandHelp(spec: CommandSpec): string {
  const groups = new Map<string, OptionSpec[]>();
  for (const option of spec.options) {
    const group = option.group ?? "Options";
    groups.set(group, [...(groups.get(group) ?? []), option]);
  }
  const sections = Array.from(groups, ([title, options]) => [
    `${title}:`,
    ...options.flatMap(optionRow),
    "",
  ]);
  const examples = spec.examples.map((example) => `  ${example}`);
  return [
    `Usage: ${spec.usage}`,
    "",
    ...[spec.summary, ...(spec.text ?? [])].flatMap((text) => wrap(text, WIDTH)),
    "",
    ...sections.flat(),
    ...(examples.length === 0 ? [] : ["Examples:", ...examples]),
  ]
    .join("\n")
    .trimEnd();
}

const FLAG_ROWS: readonly (readonly [string, string])[] = [
  ["-L URL", "a service: HANDLER+LISTENER://[USER:PASSWORD@][HOST]:PORT[?key=value…]; repeatable"],
  ["-F URL", "a hop of the chain, in the order of travel: CONNECTOR+DIALER://…; repeatable"],
  ["-C FILE", "a configuration (YAML or JSON): a file, a URL, - for stdin, inline {…}; repeatable"],
  ["-D, -DD", "log level debug, trace"],
  ["-O yaml|json", "print the merged configuration and end (--show-secrets shows passwords)"],
  ["-V", "print the version and end"],
  ["-R DURATION", "read all sources again so often, as SIGHUP does"],
  [
    "-api, -metrics ADDRESS",
    "serve GOST's web API, Prometheus' metrics: [USER:PASSWORD@]HOST:PORT",
  ],
  ["--dry-run", "say what would be made, and make nothing"],
  ["--strict", "take warnings (such as unknown keys) for errors"],
  ["--compat", "with -O: read the command line exactly as GOST does"],
  ["--log-level LEVEL", "trace, debug, info, warn, error or fatal; also GOST_LOGGER_LEVEL"],
  ["--log-format FORMAT", "json (default) or text"],
];

/** What can stand in the URLs' schemes, and in `type` of files. */
const TYPE_ROWS: readonly (readonly [string, ReadonlySet<string>])[] = [
  ["HANDLER", HANDLERS_BUILT],
  ["LISTENER", LISTENERS_BUILT],
  ["CONNECTOR", CONNECTORS_BUILT],
  ["DIALER", DIALERS_BUILT],
];

const AUTH_TEXT =
  "Passwords need not stand in argv: ?authFile=PATH (its first line: user password) or " +
  "?authEnv=NAME (the variable TSGOST_AUTH_NAME holds user:password) take the place of " +
  "USER:PASSWORD@.";

/** The text of `tsgost --help`; `commands` are name and summary. */
export function programHelp(commands: readonly (readonly [string, string])[]): string {
  return [
    "Usage: tsgost -L URL [-F URL]… [flags]     GOST's command lines",
    "       tsgost COMMAND [options]            the same for people",
    "",
    "Commands (each has --help):",
    ...commands.flatMap(([name, summary]) => row(name, summary)),
    "",
    "Flags:",
    ...FLAG_ROWS.flatMap(([flag, text]) => row(flag, text)),
    "",
    "Protocols:",
    ...TYPE_ROWS.flatMap(([what, words]) => row(what, Array.from(words).sort().join(", "))),
    "",
    ...wrap(AUTH_TEXT, WIDTH),
    "",
    "Examples:",
    '  sudo tsgost -L "tungo://:0?name=tungo&net=192.168.123.1/24&mtu=1420" \\',
    '              -F "relay+wss://SERVER:443?interface=eth0"',
    "  sudo tsgost tungo --net 192.168.123.1/24 --route default --interface eth0 \\",
    "              -F relay+wss://SERVER:443",
    '  tsgost -L "relay+wss://USER:PASSWORD@:443"',
    "  tsgost check /etc/gost/gost.yaml",
  ].join("\n");
}
