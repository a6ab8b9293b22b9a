/**
 * Bad input: exit code 2 (1 where the system refuses), one line that names it, no stack, no
 * device.
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { runChild } from "../../src/commands/demo/children.ts";
import { canRun, cliCommand, inventory, Scene, skipReason } from "../kit/netns.ts";
import { suite } from "../kit/suite.ts";

const folder = mkdtempSync(join(tmpdir(), "tsgost-bad-"));
const badYaml = join(folder, "bad.yml");
const oddYaml = join(folder, "odd.yml");
writeFileSync(badYaml, "services:\n  - name: [unclosed\n");
writeFileSync(oddYaml, "services:\n  - name: a\n    addr: :1\n    handler: {type: nonsense}\n");

interface Case {
  readonly what: string;
  readonly args: readonly string[];
  readonly code: number;
  /** Each must be in what is printed. */
  readonly says: readonly RegExp[];
}

const net = ["--net", "192.168.123.1/24"];
const CASES: readonly Case[] = [
  {
    what: "a device name of 16 bytes",
    args: ["tungo", "--name", "sixteen-bytes-00"],
    code: 2,
    says: [/name/, /sixteen-bytes-00/, /15/],
  },
  {
    what: "an address that is no CIDR",
    args: ["tungo", "--net", "192.168.123.2/24/64"],
    code: 2,
    says: [/net/, /192\.168\.123\.2\/24\/64/],
  },
  {
    what: "a prefix too long",
    args: ["tungo", "--net", "192.168.123.2/33"],
    code: 2,
    says: [/net/, /192\.168\.123\.2\/33/],
  },
  {
    what: "overlapping networks",
    args: ["tungo", "--net", "10.0.0.1/8,10.1.0.1/16"],
    code: 2,
    says: [/net/, /10\.1\.0\.1\/16/, /overlap/i],
  },
  {
    what: "a route that is no network",
    args: ["tungo", ...net, "--route", "everything"],
    code: 2,
    says: [/route/, /everything/],
  },
  {
    what: "an MTU below 1280",
    args: ["tungo", ...net, "--mtu", "500"],
    code: 2,
    says: [/mtu/, /500/, /1280/],
  },
  {
    what: "an unknown option",
    args: ["tungo", "--nett", "10.0.0.1/8"],
    code: 2,
    says: [/--nett/],
  },
  { what: "an unknown flag", args: ["-Z"], code: 2, says: [/-Z/] },
  { what: "an unknown command", args: ["tunga"], code: 2, says: [/tunga/] },
  {
    what: "an unknown scheme of a service",
    args: ["-L", "tungoo://:0"],
    code: 2,
    says: [/tungoo/],
  },
  {
    what: "an unknown scheme of a hop",
    args: ["tungo", "-F", "relai+wss://127.0.0.1:443"],
    code: 2,
    says: [/relai/],
  },
  {
    what: "a port out of range",
    args: ["tungo", "-F", "relay+wss://127.0.0.1:70000"],
    code: 2,
    says: [/70000/],
  },
  {
    what: "a listening port out of range",
    args: ["-L", "relay+wss://127.0.0.1:70000"],
    code: 2,
    says: [/70000/],
  },
  {
    what: "a duration that is none",
    args: ["tungo", "--udp-timeout", "soon"],
    code: 2,
    says: [/udp-?timeout/i, /soon/],
  },
  {
    what: "a choice that is none",
    args: ["tungo", "--connect", "maybe"],
    code: 2,
    says: [/connect/, /maybe/, /faithful/],
  },
  { what: "two workers", args: ["tungo", "--workers", "2"], code: 2, says: [/workers/] },
  {
    what: "a missing configuration file",
    args: ["-C", join(folder, "none.yml")],
    code: 2,
    says: [/none\.yml/],
  },
  { what: "bad YAML", args: ["-C", badYaml], code: 2, says: [/bad\.yml/] },
  { what: "an unknown handler in YAML", args: ["-C", oddYaml], code: 2, says: [/nonsense/] },
  {
    what: "an unknown URL key with --strict",
    args: ["--strict", "-L", "tungo://:0?nettt=10.0.0.1/8"],
    code: 2,
    says: [/nettt/],
  },
  {
    what: "a missing certificate file",
    args: ["-L", `relay+tls://127.0.0.1:9?certFile=${folder}/no.pem&keyFile=${folder}/no.key`],
    code: 2,
    says: [/no\.pem/],
  },
  {
    what: "a --tun-fd that is no TUN",
    args: ["tungo", "--tun-fd", "0"],
    code: 1,
    says: [/tun-fd|descriptor/i],
  },
];

/** One line for people: no stack, nothing but the complaint (in either log form). */
function complaint(stdout: string, stderr: string): string[] {
  return `${stdout}\n${stderr}`.split("\n").filter((line) => line.trim() !== "");
}

function assertOneLine(lines: readonly string[]): void {
  const loud = lines.filter((line) => !/"level":"(info|debug|warn)"/.test(line));
  assert.is(loud.length, 1, lines.join("\n"));
  assert.not.match(lines.join("\n"), /^\s+at /m);
}

const test = suite("e2e/bad-input");

for (const { what, args, code, says } of CASES) {
  test(`${what}: exit ${code} and one line that names it`, async () => {
    const result = await runChild(cliCommand(...args), { timeoutMs: 20_000 });
    const lines = complaint(result.stdout, result.stderr);
    assert.is(result.code, code, lines.join("\n"));
    assertOneLine(lines);
    for (const pattern of says) assert.match(lines.join("\n"), pattern);
  });
}

test("an unknown URL key is a warning that names it", async () => {
  const args = ["tungo", "--dry-run", "--interface", "lo", "-F", "relay+wss://127.0.0.1:1?secur=1"];
  const result = await runChild(cliCommand(...args), { timeoutMs: 20_000 });
  assert.is(result.code, 0, result.stderr);
  assert.match(result.stderr + result.stdout, /secur/);
});

test("-V prints the version and the platform", async () => {
  const { code, stdout } = await runChild(cliCommand("-V"));
  assert.is(code, 0);
  assert.match(stdout, /^tsgost \d+\.\d+\.\d+ \(node v?\d+\.\d+\.\d+ linux\/\w+\)\n$/);
});

const rooted = suite("e2e/bad-input with a device");
rooted.skipUnless(canRun, skipReason);
rooted.timeout(60_000);
let scene: Scene;
rooted.before(async () => {
  scene = await Scene.open();
});
rooted.after(async () => {
  await scene?.close();
});

rooted("no CAP_NET_ADMIN: exit 1, and how to get it", async () => {
  const { gateway } = scene.world;
  const before = await inventory(gateway);
  const drop = ["setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin"];
  const command = [...drop, ...cliCommand("tungo", ...net)];
  const { code, stdout, stderr } = await gateway.run(command, { timeoutMs: 20_000 });
  assert.is(code, 1, stdout + stderr);
  assert.match(stdout + stderr, /root|CAP_NET_ADMIN/);
  assertOneLine(complaint(stdout, stderr));
  assert.equal(await inventory(gateway), before);
});

rooted("no /dev/net/tun: exit 1, and what to do", async () => {
  const hide = 'mount -t tmpfs none /dev/net && exec "$@"';
  const command = ["unshare", "--mount", "sh", "-c", hide, "sh", ...cliCommand("tungo", ...net)];
  const { code, stdout, stderr } = await scene.world.gateway.run(command, { timeoutMs: 20_000 });
  assert.is(code, 1, stdout + stderr);
  assert.match(stdout + stderr, /\/dev\/net\/tun/);
  assertOneLine(complaint(stdout, stderr));
});

rooted("an interface that does not exist: exit 1 or 2, its name, and no device left", async () => {
  const { gateway } = scene.world;
  const before = await inventory(gateway);
  const command = cliCommand("tungo", ...net, "--route", "default", "--interface", "nope9");
  const { code, stdout, stderr } = await gateway.run(command, { timeoutMs: 20_000 });
  assert.ok(code === 1 || code === 2, `exit code ${String(code)}`);
  assert.match(stdout + stderr, /nope9/);
  assert.equal(await inventory(gateway), before);
});

rooted("a route that the kernel refuses: exit 1, the route's text, nothing left", async () => {
  const { gateway } = scene.world;
  const before = await inventory(gateway);
  const command = cliCommand("tungo", ...net, "--route", "100.64.0.0/10 172.31.9.9");
  const { code, stdout, stderr } = await gateway.run(command, { timeoutMs: 20_000 });
  assert.is(code, 1, stdout + stderr);
  assert.match(stdout + stderr, /100\.64\.0\.0\/10/);
  assert.equal(await inventory(gateway), before);
});

test.after(() => rmSync(folder, { recursive: true }));
test.run();
rooted.run();
