/**
 * The package as its users get it: `npm pack`, installed into an empty folder without install
 * scripts, then the command, the stack in memory, and one real connection through a TUN.
 */
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import * as assert from "uvu/assert";
import { runChild, type RunResult } from "../../src/commands/demo/children.ts";
import { canRun, HOSTS, Scene, skipReason, TUNGO } from "../kit/netns.ts";
import { PORT } from "../kit/servers.ts";
import { suite } from "../kit/suite.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "tsgost-pack-"));
const home = join(folder, "home");
const installed = join(folder, "app", "node_modules", "tsgost");
const command = join(folder, "app", "node_modules", ".bin", "tsgost");

const test = suite("package/pack");
test.timeout(240_000);

function run(words: readonly string[], cwd: string): Promise<RunResult> {
  return runChild(words, {
    cwd,
    timeoutMs: 180_000,
    env: { XDG_CACHE_HOME: join(home, ".cache") },
  });
}

async function must(words: readonly string[], cwd: string): Promise<string> {
  const result = await run(words, cwd);
  assert.is(result.code, 0, `${words.join(" ")}: ${result.stdout}${result.stderr}`);
  return result.stdout;
}

test.before(async () => {
  mkdirSync(join(folder, "app"), { recursive: true });
  mkdirSync(home);
  const words = ["npm", "pack", "--silent", "--ignore-scripts", "--pack-destination", folder];
  await must(words, ROOT);
  const [tarball = ""] = readdirSync(folder).filter((name) => name.endsWith(".tgz"));
  const app = { name: "app", version: "1.0.0", private: true };
  writeFileSync(join(folder, "app", "package.json"), JSON.stringify(app));
  const install = ["npm", "install", "--ignore-scripts", "--prefer-offline", "--no-audit"];
  await must([...install, "--no-fund", join(folder, tarball)], join(folder, "app"));
});
test.after(() => rmSync(folder, { recursive: true }));

test("it holds what it needs and no sources of tests", () => {
  for (const name of [
    "dist/src/cli.js",
    "build/core.wasm",
    "build/schema.json",
    "package.json",
    "README.md",
  ]) {
    assert.ok(existsSync(join(installed, name)), `${name} is missing`);
  }
  for (const name of ["test", "assembly", "fixtures", "dist/test", "build/probe.wasm"]) {
    assert.not.ok(existsSync(join(installed, name)), `${name} is in the package`);
  }
});

test("tsgost -V runs", async () => {
  const text = await must([command, "-V"], join(folder, "app"));
  assert.match(text, /^tsgost \d+\.\d+\.\d+ \(node /);
});

test("a flow through tsgost/stack, in memory, without addon or device", async () => {
  const script = join(folder, "app", "flow.mjs");
  cpSync(join(dirname(fileURLToPath(import.meta.url)), "flow.mjs"), script);
  const text = await must([process.execPath, script], join(folder, "app"));
  assert.is(text.trim(), "flow: hello back");
});

test.skipUnless(canRun, skipReason, "opens a TUN and carries a real connection", async () => {
  const scene = await Scene.open();
  try {
    const words = [process.execPath, join(installed, "dist/src/cli.js"), ...TUNGO];
    const env = { XDG_CACHE_HOME: join(home, ".cache") };
    const tungo = await scene.world.gateway.start(words, { env, cwd: folder });
    await new Promise<void>((done, fail) => {
      tungo.onLine((line) => line.includes('"msg":"ready"') && done());
      void tungo.ended.then(() => fail(new Error(tungo.lines.join("\n"))));
    });
    const [host] = HOSTS;
    const { text } = await scene.client("converse", host, PORT.short);
    assert.is(text, "done\n");
    await tungo.signal("SIGTERM");
    assert.is((await tungo.ended).code, 0);
  } finally {
    await scene.close();
  }
});

test.run();
