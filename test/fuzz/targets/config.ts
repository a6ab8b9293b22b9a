/**
 * Configurations (src/config): command lines, YAML and JSON. Any text gives a model or a
 * TsgostError with its place; what is printed can be read again and means the same.
 */
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { type Flags, parseFlags } from "../../../src/config/flags.ts";
import { type Loaded, loadDocument, modelOf } from "../../../src/config/load.ts";
import { planOf } from "../../../src/config/plan.ts";
import { printDocument } from "../../../src/config/print.ts";
import { splitShellWords } from "../../../src/config/shell-words.ts";
import { prepareStart } from "../../../src/config/start.ts";
import { HostsTable, addHostsText } from "../../../src/dns/hosts.ts";
import { parseResolvConf } from "../../../src/dns/resolv-conf.ts";
import { TsgostError } from "../../../src/errors.ts";
import type { Random } from "../../kit/random.ts";
import { ROOT } from "../../lint/sources.ts";
import { type Target, check, checkEqual, randomOf } from "../target.ts";
import { bytesOf } from "./parts.ts";

/** A source that was fetched: no file is written. */
const SOURCE = "https://config.example/gost.yaml";

/** The message's kind, or "" where nothing was thrown; anything else goes on. */
function refusedAs(body: () => void): string {
  try {
    body();
    return "";
  } catch (error) {
    if (!(error instanceof TsgostError)) throw error;
    check(/^TSGOST_ERR_(CONFIG|USAGE)$/.test(error.code), `code ${error.code}`);
    check(error.message !== "" && error.message.length < 5000, "an error without a good message");
    return error.message
      .replace(/["'`].*/s, "")
      .replace(/[\d:]+/g, "#")
      .slice(0, 80);
  }
}

function runAll(flags: Flags, text: string | undefined): string {
  const fetched = text === undefined ? undefined : new Map([[SOURCE, text]]);
  let loaded: Loaded | undefined;
  const loadFault = refusedAs(() => {
    loaded = loadDocument(flags, {}, fetched);
  });
  if (loaded === undefined) return `load: ${loadFault}`;
  const { document, reading } = loaded;
  for (const format of ["yaml", "json"] as const) {
    printDocument(document, { format, showSecrets: false });
    checkPrinted(loaded, format, flags);
  }
  const fault = refusedAs(() => {
    const config = modelOf(loaded as Loaded);
    const ready = prepareStart({ config, document, reading, environment: {} });
    for (const service of ready.services) planOf({ ...ready, services: [service] });
  });
  const parts = Object.keys(document).sort().join(" ");
  return `${fault} ${parts} ${Math.min(3, reading.warnings.length)}`;
}

/** -O, then -C: the same document. */
function checkPrinted(loaded: Loaded, format: "yaml" | "json", flags: Flags): void {
  // GOST's reader of files changes the case of keys.
  if (flags.compat) return;
  const text = printDocument(loaded.document, { format, showSecrets: true });
  const quiet = { ...flags, services: [], nodes: [], sources: [SOURCE], api: "", metrics: "" };
  let again: Loaded | undefined;
  const fault = refusedAs(() => {
    again = loadDocument(quiet, {}, new Map([[SOURCE, text]]));
  });
  check(again !== undefined, `what -O ${format} prints is refused: ${fault}`);
  const second = printDocument(again.document, { format, showSecrets: true });
  checkEqual(second, text, `what -O ${format} prints reads otherwise`);
}

const FLAGS = ["--strict", "--compat"];

function flagsFor(input: Uint8Array, args: readonly string[]): Flags | undefined {
  const random = randomOf(input);
  const extra = random.chance(0.5) ? [] : [random.pick(FLAGS)];
  let flags: Flags | undefined;
  refusedAs(() => {
    flags = parseFlags([...extra, ...args]);
  });
  return flags;
}

const SCHEMES = "relay socks5 http tungo tun tcp udp auto relay+wss http+tls socks5+mws forward+ws";
const HOSTS = [":0", ":8080", "127.0.0.1:1", "[::1]:2", "h.example:443", ":8000-8003", "", "a:b"];
const QUERIES = [
  "net=192.168.123.1/24",
  "mtu=1420",
  "interface=eth0",
  "so_mark=7",
  "dns=1.1.1.1",
  "path=/ws",
  "retries=3",
  "timeout=10s",
  "bypass=~10.0.0.0/8,a.com",
  "auth=dTpw",
  "mux.version=2",
  "route=0.0.0.0/1,128.0.0.0/1",
  "secure=true",
  "metadata.x=y",
  "hop=round",
];

function randomUrl(random: Random): string {
  const user = random.pick(["", "", "u:p@", "u@", "%75:%70@"]);
  const path = random.pick(["", "", "/127.0.0.1:80", "/a:1,b:2"]);
  const query = Array.from({ length: random.below(4) }, () => random.pick(QUERIES)).join("&");
  const scheme = random.pick([...SCHEMES.split(" "), ""]);
  const head = scheme === "" ? "" : `${scheme}://`;
  return `${head}${user}${random.pick(HOSTS)}${path}${query === "" ? "" : `?${query}`}`;
}

export const url: Target = {
  name: "url",
  bytesMax: 2000,
  isText: true,
  dictionary: [...QUERIES, ...HOSTS, "%", "%zz", "?", "&", "=", "@", "://", "#", "+", ";", "\n"],
  generate(random) {
    const lines = Array.from({ length: 1 + random.below(3) }, (_, index) => {
      return `${random.pick(index === 0 ? ["-L"] : ["-L", "-F"])} ${randomUrl(random)}`;
    });
    return bytesOf(lines.join("\n"));
  },
  run(input) {
    const text = Buffer.from(input).toString("utf8");
    const args = text.split("\n").flatMap((line) => {
      const option = line.startsWith("-F ") ? "-F" : "-L";
      return [option, line.replace(/^-[LF] /, "")];
    });
    splitShellWords(text);
    const flags = flagsFor(input, args);
    return flags === undefined ? "flags" : runAll(flags, undefined);
  },
};

const FILES = "fixtures/config/files";
let files: string[] | undefined;

function fileTexts(): readonly string[] {
  files ??= readdirSync(join(ROOT, FILES))
    .filter((name) => /\.(ya?ml|json)$/.test(name))
    .sort()
    .map((name) => readFileSync(join(ROOT, FILES, name), "utf8"));
  return files;
}

export const config: Target = {
  name: "config",
  bytesMax: 6000,
  isText: true,
  dictionary: [
    "services:\n- name: s\n  addr: :0\n  handler: {type: relay}\n  listener: {type: tcp}\n",
    "chains:\n- name: c\n  hops:\n  - name: h\n    nodes:\n    - {addr: 'a:1'}\n",
    "bypasses:\n- name: b\n  matchers: [a.com, 10.0.0.0/8]\n",
    "resolvers:\n- name: r\n  nameservers:\n  - addr: 1.1.1.1\n",
    "hosts:\n- name: h\n  mappings:\n  - {ip: 192.0.2.1, hostname: a}\n",
    "metadata: {interface: eth0}\n",
    "&a",
    "*a",
    "<<: *a",
    "!!binary x",
    "{",
    "}",
    "[",
    "]",
    ": ",
    "- ",
    "? ",
    "|\n",
    ">-\n",
    "\t",
    "---\n",
    "...\n",
    "%YAML 1.1\n",
    "__proto__",
    "constructor",
    "null",
    "~",
    "1e999",
    ".inf",
    "0x10",
    "-1",
    "2001-01-01",
    "10s",
    "''",
    '""',
    "\ufeff",
  ],
  generate: (random) => bytesOf(random.pick(fileTexts())),
  run(input) {
    const text = Buffer.from(input).toString("utf8");
    addHostsText(new HostsTable(), { origin: "fuzz", bytes: input });
    parseResolvConf(text);
    const flags = flagsFor(input, ["-C", SOURCE]);
    return flags === undefined ? "flags" : runAll(flags, text);
  },
};
