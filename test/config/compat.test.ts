/** Bad input, row by row: GOST's answer with --compat, ours without. */
import * as assert from "uvu/assert";
import { parseFlags } from "../../src/config/flags.ts";
import { loadDocument, modelOf } from "../../src/config/load.ts";
import { printDocument } from "../../src/config/print.ts";
import { suite } from "../kit/suite.ts";
import { refusal, start, withFiles } from "./read.ts";

interface Row {
  readonly what: string;
  readonly args: readonly string[];
  /** Part of what GOST prints; its message where it refuses. */
  readonly gost: RegExp;
  readonly gostRefuses?: true;
  /** Our error, or our warning. */
  readonly ours: RegExp;
  readonly onlyWarns?: true;
}

const FILE = (text: string): readonly string[] => ["-C", `YAML:${text}`];
const SERVICE = "services: [{name: a, addr: ':1', handler: {type: relay}";
const NODE = "{name: n, addr: 'h:1', connector: {type: relay}}";

const ROWS: readonly Row[] = [
  {
    what: "unknown scheme of a service",
    args: ["-L", "sokcs5://:1080"],
    gost: /type: auto/,
    ours: /no service type "sokcs5"; did you mean socks5\?/,
  },
  {
    what: "unknown scheme of a hop",
    args: ["-L", "relay://:1", "-F", "rely+wsx://h:1"],
    gost: /type: http\n.*\n *type: tcp/s,
    ours: /no connector "rely"; did you mean relay\?/,
  },
  {
    what: "unknown type in a file",
    args: FILE("services: [{name: a, addr: ':1', handler: {type: rely}}]"),
    gost: /type: rely/,
    ours: /gost\.yaml:1:\d+: there is no handler "rely"; did you mean relay\?/,
  },
  {
    what: "unknown key of a URL",
    args: ["-L", "relay://:1?nodlay=true"],
    gost: /nodlay: "true"/,
    ours: /nothing here knows the key "nodlay"; did you mean nodelay\?/,
    onlyWarns: true,
  },
  {
    what: "unknown key of a file",
    args: FILE(`${SERVICE}, lisener: {type: tcp}}]`),
    gost: /^((?!lisener)[^])*$/,
    ours: /services\[0\]\.lisener is no key of the configuration; did you mean listener\?/,
    onlyWarns: true,
  },
  {
    what: "a number that is none",
    args: ["-L", "relay+mws://:1?mux.version=two"],
    gost: /mux\.version: two/,
    ours: /mux\.version: "two" is not a whole number/,
  },
  {
    what: "a bool that is none",
    args: ["-L", "relay://:1?nodelay=yes"],
    gost: /nodelay: "?yes"?/,
    ours: /nodelay: "yes" is not true or false/,
  },
  {
    what: "a duration that is none",
    args: ["-L", "relay://:1?readTimeout=soon"],
    gost: /readTimeout: soon/,
    ours: /readTimeout: "soon" is not a duration/,
  },
  {
    what: "unknown strategy",
    args: ["-L", "relay://:1", "-F", "relay://a:1,b:1?strategy=rount"],
    gost: /strategy: rount/,
    ours: /no strategy "rount".*did you mean round\?/,
  },
  {
    what: "a port that is none",
    args: ["-L", "relay://:70000"],
    gost: /addr: :0/,
    ours: /"70000" is no port; use a number from 0 to 65535/,
  },
  {
    what: "net= that is no CIDR",
    args: ["-L", "tun://:0?net=192.168.123.2/24/64"],
    gost: /net: 192\.168\.123\.2\/24\/64/,
    ours: /net: "192.168.123.2\/24\/64" is not ADDRESS\/PREFIX; did you mean 192.168.123.2\/24\?/,
  },
  {
    what: "gw= that is no address",
    args: ["-L", "tun://:0?net=10.0.0.1/8&gw=10.0.0"],
    gost: /gw: (10\.0\.0|"10\.0\.0")/,
    ours: /gw: "10\.0\.0" is not an IP address/,
  },
  {
    what: "a host with no address",
    args: ["-L", "relay://:1?hosts=a.example:nowhere"],
    gost: /ip: nowhere/,
    ours: /ip: "nowhere" is no IP address/,
  },
  {
    what: "auth= that is no base64",
    args: ["-L", "relay://:1?auth=!!!"],
    gost: /^illegal base64 data at input byte 0$/,
    gostRefuses: true,
    ours: /auth= is not base64 of user:password/,
  },
  {
    what: "an escape that is none",
    args: ["-L", "relay://u%zz@:1"],
    gost: /^parse "relay:\/\/u%zz@": invalid URL escape "%zz"$/,
    gostRefuses: true,
    ours: /"%zz" is no percent-escape/,
  },
  {
    what: "a port of a hop that is no number",
    args: ["-L", "relay://:1", "-F", "relay://h:http"],
    gost: /^parse "relay:\/\/h:http": invalid port ":http" after host$/,
    gostRefuses: true,
    ours: /"h:http" is not HOST:PORT/,
  },
  {
    what: "a certificate that cannot be read",
    args: ["-L", "relay+tls://:1?cert=/no/c.pem&key=/no/k.pem"],
    gost: /certFile: \/no\/c\.pem/,
    ours: /certFile: \/no\/c\.pem: no such file/,
  },
  {
    what: "a certificate where nothing is encrypted",
    args: ["-L", "relay+ws://:1?cert=/dev/null&key=/dev/null"],
    gost: /certFile: \/dev\/null/,
    ours: /a certificate is given, and ws does not encrypt; use the listener wss/,
  },
  ...(
    [
      ["chain", "handler: {type: relay, chain: nope}", "chains"],
      ["auther", "handler: {type: relay, auther: nope}", "authers"],
      ["bypass", "bypass: nope", "bypasses"],
      ["admission", "admission: nope", "admissions"],
      ["resolver", "resolver: nope", "resolvers"],
      ["hosts", "hosts: nope", "hosts"],
      ["logger", "logger: nope", "loggers"],
    ] as const
  ).map(([what, text, section]): Row => {
    const fields = text.startsWith("handler") ? text : `handler: {type: relay}, ${text}`;
    return {
      what: `a missing ${what}`,
      args: FILE(`services: [{name: a, addr: ':1', ${fields}}]`),
      gost: /nope/,
      ours: new RegExp(`gost\\.yaml:1:\\d+: ${what}: there is no "nope" in ${section}`),
    };
  }),
  {
    what: "a missing hop",
    args: FILE(`${SERVICE}}]\nchains: [{name: c, hops: [{name: nope}]}]`),
    gost: /name: nope/,
    ours: /gost\.yaml:2:\d+: the hop "nope" has no nodes and is none of hops/,
  },
  {
    what: "a name twice",
    args: FILE(`${SERVICE}}]\nhops: [{name: h, nodes: [${NODE}]}, {name: h, nodes: [${NODE}]}]`),
    gost: /name: h\n[^]*name: h\n/,
    ours: /gost\.yaml:2:\d+: hops: the name "h" is taken already/,
  },
  {
    what: "a generated name that a file has",
    args: [...FILE(`${SERVICE.replace("name: a", "name: service-0")}}]`), "-L", "relay://:2"],
    gost: /name: service-0\n[^]*name: service-0\n/,
    ours: /^$/,
    onlyWarns: true,
  },
  {
    what: "words behind the flags",
    args: ["-L", "relay://:1", "extra", "-F", "relay://h:1"],
    gost: /^((?!chains)[^])*$/,
    ours: /"extra" is no flag and belongs to none/,
  },
  {
    what: "a file that is not there",
    args: ["-C", "/no/such.yaml"],
    gost: /^open \/no\/such\.yaml: no such file or directory$/,
    gostRefuses: true,
    ours: /-C \/no\/such\.yaml: no such file/,
  },
];

/** Runs `use` with files made of the YAML in arguments. */
function withYaml<T>(args: readonly string[], use: (args: readonly string[]) => T): T {
  const text = args.find((word) => word.startsWith("YAML:"))?.slice(5) ?? "";
  const named = args.map((word) => (word.startsWith("YAML:") ? "FILE:gost.yaml" : word));
  return withFiles({ "gost.yaml": text }, named, use);
}

function printCompat(args: readonly string[]): string {
  const loaded = loadDocument(parseFlags(["--compat", ...args]), { HOME: "/nowhere" });
  // Also where a model is asked for, GOST's way is not refused.
  modelOf(loaded);
  assert.equal(loaded.reading.warnings, []);
  return printDocument(loaded.document, { format: "yaml", showSecrets: false });
}

const test = suite("config/compat");

for (const { what, args, gost, gostRefuses, ours, onlyWarns } of ROWS) {
  test(`${what}: as GOST with --compat, told without`, () => {
    withYaml(args, (words) => {
      if (gostRefuses === true) {
        const { message, exitCode } = refusal(() => printCompat(words));
        assert.is(exitCode, 1);
        assert.match(message, gost);
      } else {
        assert.match(printCompat(words), gost);
      }
      if (onlyWarns === true) return assert.match(start(words).warnings.join("\n"), ours);
      const { message, exitCode } = refusal(() => start(words));
      assert.is(exitCode, 2);
      assert.match(message, ours);
      return undefined;
    });
  });
}

test("what is a warning ends a start with --strict", () => {
  for (const { args, ours, onlyWarns } of ROWS) {
    if (onlyWarns !== true || ours.source === "^$") continue;
    withYaml(args, (words) => {
      assert.match(refusal(() => start(["--strict", ...words])).message, ours);
    });
  }
});

test.run();
