/** The program as a process: exit codes, one line of complaint, help, and closed pipes. */
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import * as assert from "uvu/assert";
import { connectorSchemes, dialerSchemes } from "../../src/chain/list.ts";
import { run as gost } from "../../src/commands/gost.ts";
import { programHelp } from "../../src/commands/help.ts";
import { run as relay } from "../../src/commands/relay.ts";
import { run as tungo } from "../../src/commands/tungo.ts";
import {
  CONNECTORS_BUILT,
  DIALERS_BUILT,
  HANDLERS_BUILT,
  LISTENERS_BUILT,
} from "../../src/config/words.ts";
import { TsgostError } from "../../src/errors.ts";
import { handlerTypes } from "../../src/serve/handlers.ts";
import { LISTENER_TYPES } from "../../src/serve/listen.ts";
import { suite } from "../kit/suite.ts";

const CLI = fileURLToPath(new URL("../../src/cli.ts", import.meta.url));
const ROOT = fileURLToPath(new URL("../..", import.meta.url));

interface Result {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

function tsgost(...args: readonly string[]): Result {
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    ["--import", "tsx", CLI, ...args],
    { cwd: ROOT, encoding: "utf8", timeout: 30_000, env: { ...process.env, HOME: "/nowhere" } },
  );
  return { code: status, stdout, stderr };
}

const test = suite("cli");
test.timeout(60_000);

test("-V tells version and platform", () => {
  const { code, stdout } = tsgost("-V");
  assert.is(code, 0);
  assert.match(stdout, /^tsgost \d+\.\d+\.\d+ \(node \d+\.\d+\.\d+ \w+\/\w+\)\n$/);
});

test("--help lists GOST's flags and the commands, and each command has its own", () => {
  const { code, stdout } = tsgost("--help");
  assert.is(code, 0);
  for (const part of [
    "-L URL",
    "-F URL",
    "-C FILE",
    "tungo",
    "relay",
    "check",
    "demo",
    "Examples",
  ]) {
    assert.ok(stdout.includes(part), part);
  }
  const own = tsgost("tungo", "--help");
  assert.is(own.code, 0);
  for (const part of ["--net CIDR", "--so-mark", "--pending-timeout DURATION", "Examples:"]) {
    assert.ok(own.stdout.includes(part), part);
  }
  assert.is(tsgost("help", "relay").stdout, tsgost("relay", "-h").stdout);
});

/** Commands as the program calls them, without a process of their own. */
const RUN = { tungo, relay } as const;

const BAD: readonly (readonly [readonly string[], RegExp])[] = [
  [["tungo", "--nett", "10.0.0.1/8"], /unknown option --nett; did you mean --net\?/],
  [["tungo", "--mtu"], /--mtu needs a value: --mtu BYTES/],
  [["tungo", "--mtu", "--name"], /--mtu needs a value/],
  [["tungo", "--mtu", "99999"], /^--mtu "99999" is outside 1280 … 65535/],
  [["tungo", "--mtu", "1400", "--mtu", "1500"], /--mtu is given twice/],
  [["tungo", "--dry-run=1"], /--dry-run takes no value/],
  [["tungo", "extra"], /"extra" belongs to no option/],
  [["tungo", "--udp-timeout", "soon"], /--udp-timeout "soon" is not a duration/],
  [["tungo", "--net", "10.0.0.1/8,10.1.0.1/16"], /^net: 10\.0\.0\.1\/8 and .* overlap/],
  [["relay", "--listen", ":70000"], /--listen ":70000"/],
  [["relay", "--transport", "quic"], /--transport "quic" is not tcp, tls, ws, wss/],
  [["relay", "--auth", "nobody"], /--auth is not USER:PASSWORD/],
  [["relay", "--auth", "a:b", "--auth-env", "x"], /give one of them/],
  [["-O", "xml", "-L", "tungo://:0"], /-O "xml" is not yaml or json/],
  [["--compat", "-L", "tungo://:0"], /--compat is for -O/],
];

for (const [args, says] of BAD) {
  test(`${args.join(" ")}: is refused with one line`, async () => {
    const [first = "", ...rest] = args;
    const run = Object.hasOwn(RUN, first) ? RUN[first as keyof typeof RUN] : undefined;
    try {
      await (run === undefined ? gost(args, []) : run(rest));
    } catch (error) {
      assert.instance(error, TsgostError);
      const { message, exitCode } = error as TsgostError;
      assert.is(exitCode, 2);
      assert.match(message, says);
      assert.not.match(message, /\n/);
      return;
    }
    assert.unreachable("it was not refused");
  });
}

test("the help names every protocol there is", () => {
  const help = programHelp([]).replace(/\n {20,}/g, " ");
  const rows: readonly (readonly [string, ReadonlySet<string>, readonly string[]])[] = [
    ["HANDLER", HANDLERS_BUILT, [...handlerTypes(), "tungo"]],
    ["LISTENER", LISTENERS_BUILT, [...LISTENER_TYPES, "udp", "tungo"]],
    ["CONNECTOR", CONNECTORS_BUILT, connectorSchemes()],
    ["DIALER", DIALERS_BUILT, dialerSchemes()],
  ];
  for (const [what, words, made] of rows) {
    for (const word of words) assert.match(help, new RegExp(`  ${what} .*\\b${word}\\b`));
    // What may start and what is made are one list.
    assert.equal(Array.from(words).sort(), [...made].sort(), what);
  }
});

test("relay listens by every transport of ours", async () => {
  for (const transport of ["tcp", "tls", "ws", "wss", "mtls", "mws", "mwss"]) {
    const args = ["--transport", transport, "--listen", "127.0.0.1:0", "--dry-run", "--strict"];
    assert.is(await relay(args), 0, transport);
  }
});

test("mistakes end the program with exit code 2 and one line", () => {
  const checked = tsgost("check", "/no/file.yml");
  assert.is(checked.code, 2);
  assert.match(checked.stderr, /^tsgost: [^\n]*\n$/);
  assert.is(checked.stdout, "/no/file.yml: 1 error\n");
  for (const args of [["tunga"], ["tungo", "--mtu", "5"], ["-Z"]]) {
    const { code, stdout, stderr } = tsgost(...args);
    assert.is(code, 2, stderr);
    assert.is(stdout, "");
    assert.match(stderr, /^tsgost: [^\n]*\n$/);
  }
});

test("-O prints the merged configuration", () => {
  const { code, stdout } = tsgost("-O", "json", "-L", "relay+wss://u:hunter2@127.0.0.1:443");
  assert.is(code, 0);
  const { services } = JSON.parse(stdout) as { services: { handler: { auth: object } }[] };
  assert.equal(services[0]!.handler.auth, { username: "u", password: "***" });
});

test("the sub-command and the URL are one plan", () => {
  const hop = "relay+wss://h.example:443";
  const command = tsgost(
    ...["tungo", "--dry-run", "--net", "192.168.123.1/24", "--route", "default"],
    ...["--interface", "lo", "--mtu", "1400", "--udp-timeout", "30s", "-F", hop],
  );
  const query = "net=192.168.123.1/24&route=default&interface=lo&mtu=1400&udpTimeout=30";
  const url = tsgost("--dry-run", "-L", `tungo://:0?${query}`, "-F", `${hop}?interface=lo`);
  assert.is(command.code, 0, command.stderr);
  assert.is(url.code, 0, url.stderr);
  assert.is(command.stdout, url.stdout);
  assert.match(command.stdout, /192\.168\.123\.1\/24/);
});

test("check tells what is wrong, and that all is well", () => {
  const good = '{"services":[{"name":"x","addr":"127.0.0.1:1","handler":{"type":"relay"}}]}';
  const fine = tsgost("check", good);
  assert.is(fine.code, 0, fine.stderr);
  assert.match(fine.stdout, /: ok\n$/);
});

test("a reader that goes away ends the program quietly", () => {
  const command = `"${process.execPath}" --import tsx "${CLI}" tungo --help | head -n 1; exit 0`;
  const { stdout, stderr } = spawnSync("sh", ["-c", command], { cwd: ROOT, encoding: "utf8" });
  assert.match(stdout, /^Usage: tsgost tungo/);
  assert.not.match(stderr, /EPIPE|defect/);
});

test.run();
