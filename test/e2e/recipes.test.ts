/**
 * README's recipes, run as they stand: the fenced commands and files are read from the page, names
 * are put in the place of SERVER, USER and the like, and traffic shows that each does what it says.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import * as assert from "uvu/assert";
import { splitShellWords } from "../../src/config/shell-words.ts";
import { generateCertificate } from "../../src/serve/cert.ts";
import { canRun, HOSTS, PLACES, Scene, skipReason, type Tsgost, until } from "../kit/netns.ts";
import { PORT } from "../kit/servers.ts";
import { suite } from "../kit/suite.ts";

const readme = readFileSync(new URL("../../README.md", import.meta.url), "utf8");
const test = suite("e2e/recipes");
test.skipUnless(canRun, skipReason);
test.timeout(120_000);

const PASSWORD = "tell-nobody";
const OUTER = "10.77.2.2";
const folder = mkdtempSync(join(tmpdir(), "tsgost-recipes-"));
let scene: Scene;

test.before(async () => {
  const { cert, key } = generateCertificate();
  writeFileSync(join(folder, "fullchain.pem"), cert);
  writeFileSync(join(folder, "privkey.pem"), key);
  scene = await Scene.open();
});
test.after.each(async () => {
  await scene?.stopAll();
});
test.after(async () => {
  await scene?.close();
  rmSync(folder, { recursive: true, force: true });
});

interface Recipe {
  /** By what their first line says: "on the server", "on the client" … */
  readonly commands: ReadonlyMap<string, readonly string[]>;
  readonly files: ReadonlyMap<string, string>;
}

/** The fences below `### title`; files are written to the folder. */
function recipe(title: string): Recipe {
  const start = readme.indexOf(`\n### ${title}\n`);
  assert.ok(start > 0, `README has no recipe "${title}"`);
  const end = readme.slice(start + 1).search(/\n##/);
  const text = readme.slice(start, start + 1 + end);
  const commands = new Map<string, readonly string[]>();
  const files = new Map<string, string>();
  for (const [, kind, name, body] of text.matchAll(/^```(\w+) ?(\S*)\n([\s\S]*?)^```$/gm)) {
    if (kind === "sh") {
      const [head = "", ...lines] = (body ?? "").trim().split("\n");
      const words = splitShellWords(filled(lines.join("\n"))) ?? [];
      commands.set(head.replace(/^# /, ""), words);
    } else {
      const file = basename(name ?? "");
      files.set(file, filled(body ?? ""));
      writeFileSync(join(folder, file), filled(body ?? ""), { mode: 0o600 });
    }
  }
  return { commands, files };
}

/** The page's stand-ins replaced by what this world has. */
function filled(text: string): string {
  return text
    .replaceAll("SERVER", PLACES.relay)
    .replaceAll("PASSWORD", PASSWORD)
    .replaceAll("USER", "mira")
    .replaceAll("eth0", "wan0")
    .replaceAll(/\b(fullchain\.pem|privkey\.pem|users\.txt|home\.txt|split\.yml)\b/g, (file) =>
      join(folder, file),
    );
}

/** What stands behind `tsgost` in a command. */
function argsOf(words: readonly string[] | undefined): readonly string[] {
  const at = words?.findIndex((word) => basename(word) === "tsgost") ?? -1;
  assert.ok(words !== undefined && at >= 0, `no tsgost in ${String(words)}`);
  return words.slice(at + 1);
}

/** Runs the recipe's commands: on the servers first, then here. */
async function cook({ commands }: Recipe): Promise<Tsgost> {
  let client: Tsgost | undefined;
  for (const [where, words] of commands) {
    const isServer = /server$/.test(where);
    if (isServer) await scene.relay(...argsOf(words));
    else client = await scene.start(scene.world.gateway, argsOf(words));
  }
  assert.ok(client);
  return client;
}

/** Which address a host of the internet sees when the client connects to it. */
async function seenBy(host: string): Promise<string> {
  return (await scene.client("converse", host, PORT.whoami)).text.trim();
}

/** TCP and UDP go through a proxy in the internet, and what is refused is refused. */
async function tunnels(): Promise<void> {
  const [host] = HOSTS;
  assert.is(await seenBy(host), host);
  assert.equal(await scene.client("udpSizes", host, PORT.echo, [1, 1400, 4000]), []);
  const { outcome } = await scene.client("tryConnect", host, PORT.closed, 20_000);
  assert.is(outcome, "ECONNREFUSED");
}

async function runs(title: string): Promise<void> {
  const client = await cook(recipe(title));
  await tunnels();
  assert.is((await client.stop()).code, 0);
}

test("a server with users and a certificate, and a client that verifies it", async () => {
  const title = "A server with users and a certificate";
  await runs(title);
  // The wrong password, and a certificate that was not asked for, get nothing.
  await scene.stopAll();
  const { commands } = recipe(title);
  await scene.relay(...argsOf(commands.get("on the server")));
  const good = argsOf(commands.get("on the client"));
  for (const [from, to] of [
    [PASSWORD, "guessed"],
    ["serverName=gost.run", "serverName=example.org"],
  ] as const) {
    const client = await scene.start(
      scene.world.gateway,
      good.map((word) => word.replace(from, to)),
    );
    const { outcome } = await scene.client("tryConnect", HOSTS[0], PORT.short, 20_000);
    assert.not.equal(outcome, "connected");
    await client.stop();
  }
});

test("everything through the server, except the way to it", async () => {
  const title = "Everything through the server, except the way to it";
  const { commands } = recipe(title);
  await scene.relay("-L", `relay+wss://mira:${PASSWORD}@:443`);
  const client = await scene.start(scene.world.gateway, argsOf(commands.get("on the client")));
  await tunnels();
  const routes = await scene.world.gateway.must("ip", "-4", "route", "show", "dev", "tungo");
  for (const inside of ["10.0.0.0/8", "192.168.0.0/16"]) assert.not.match(routes, inside);
  assert.is((await client.stop()).code, 0);
});

test("split: what the list names goes direct, the rest through the server", async () => {
  const { commands } = recipe("Split: what a list names goes direct");
  await scene.relay("-L", `relay+wss://mira:${PASSWORD}@:443`);
  const args = argsOf(commands.get("on the client"));
  const client = await scene.start(scene.world.gateway, args);
  // 203.0.113.10 is of the branch office.
  assert.is(await seenBy(PLACES.web4), OUTER);
  writeFileSync(join(folder, "home.txt"), "10.0.0.0/8\n");
  await client.stop();
  const again = await scene.start(scene.world.gateway, args);
  assert.is(await seenBy(PLACES.web4), PLACES.web4);
  assert.is((await again.stop()).code, 0);
});

test("two hops", () => runs("Two hops"));

test("a SOCKS5 server as upstream", () => runs("A SOCKS5 server as upstream"));

test("the systemd unit's command serves, reloads and feeds the watchdog", async () => {
  recipe("Split: what a list names goes direct");
  const unit = recipe("A systemd unit").files.get("tsgost.service") ?? "";
  const valueOf = (key: string): string => {
    const value = new RegExp(`^${key}=(.*)$`, "m").exec(unit)?.[1];
    assert.ok(value, `no ${key}`);
    return value;
  };
  assert.is(valueOf("Type"), "notify");
  assert.is(valueOf("ExecReload"), "/bin/kill -HUP $MAINPID");
  const args = argsOf(splitShellWords(valueOf("ExecStart")));
  const told = join(folder, "notify");
  // An address nobody listens on: being told of it once shows that it was tried.
  const env = { NOTIFY_SOCKET: told, WATCHDOG_USEC: String(Number(valueOf("WatchdogSec")) * 1e6) };
  const started = await scene.start(scene.world.gateway, args, { env });
  const says = (pattern: RegExp): Promise<boolean> =>
    until(() => started.process.lines.some((line) => pattern.test(line)), 10_000);
  assert.ok(await says(/service manager at .*notify was not told: ENOENT/));
  await started.process.signal("SIGHUP");
  assert.ok(await says(/config reloaded/), started.process.lines.join("\n"));
  assert.is((await started.stop()).code, 0);
});

test("the container's command, with the capability that it names and no other", async () => {
  const { commands } = recipe("A container");
  const words = commands.get("on the host") ?? [];
  assert.ok(words.includes("/dev/net/tun"));
  assert.is(words[words.indexOf("--cap-add") + 1], "NET_ADMIN");
  await scene.relay("-L", `relay+wss://mira:${PASSWORD}@:443`);
  const client = await scene.start(scene.world.gateway, argsOf(words));
  await tunnels();
  assert.is((await client.stop()).code, 0);
});

test.run();
