/** Compiling and finding the addon, and the cache folders that are refused. */
import { suite } from "../kit/suite.ts";
import * as assert from "uvu/assert";
import { spawnSync } from "node:child_process";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as abi from "../../assembly/abi.ts";
import {
  abiHeader,
  cacheFolder,
  checkCacheFile,
  checkCacheFolder,
  packageRoot,
  target,
} from "../../src/sys/build.ts";

const test = suite("sys/build");
const uid = process.geteuid?.() ?? 0;
const work = fs.mkdtempSync(join(tmpdir(), "tsgost-build-"));
test.after(() => fs.rmSync(work, { recursive: true, force: true }));

function refused(run: () => unknown, words: RegExp): void {
  assert.throws(run, (error: { code?: string; message: string }) => {
    assert.is(error.code, "TSGOST_ERR_ADDON_CACHE");
    assert.match(error.message, words);
    assert.not.match(error.message, /\n/);
    return true;
  });
}

test("the C files get every number of abi.ts", () => {
  const lines = abiHeader().trim().split("\n");
  assert.is(lines.length, Object.keys(abi).length);
  assert.ok(lines.includes(`#define ABI_SLOT_BYTES ${abi.SLOT_BYTES}u`));
});

test("the C files compile without a warning", () => {
  fs.writeFileSync(join(work, "abi.h"), abiHeader());
  const root = packageRoot();
  const folder = join(root, "src", "sys", "native");
  const sources = fs.readdirSync(folder).filter((name) => name.endsWith(".c"));
  const run = spawnSync(
    "cc",
    [
      ..."-O2 -fsyntax-only -std=gnu11 -Wall -Wextra -Wconversion -Werror".split(" "),
      ..."-D_GNU_SOURCE -DNAPI_VERSION=8".split(" "),
      `-I${work}`,
      `-I${join(root, "node_modules", "node-api-headers", "include")}`,
      ...sources.map((name) => join(folder, name)),
    ],
    { encoding: "utf8" },
  );
  assert.is(run.status, 0, run.stderr);
});

test("the platform's name has no C library but musl", () => {
  assert.match(target(), /^linux-[a-z0-9]+(-musl)?$/);
});

test("a cache folder is made with mode 0700, and used again", () => {
  const before = process.env["XDG_CACHE_HOME"];
  process.env["XDG_CACHE_HOME"] = join(work, "made", "deep");
  try {
    const folder = cacheFolder();
    assert.is(folder, join(work, "made", "deep", "tsgost"));
    assert.is(fs.lstatSync(folder).mode & 0o7777, 0o700);
    assert.is(cacheFolder(), folder);
  } finally {
    if (before === undefined) delete process.env["XDG_CACHE_HOME"];
    else process.env["XDG_CACHE_HOME"] = before;
  }
});

test("a cache folder that others can read or write is refused", () => {
  const folder = join(work, "open");
  fs.mkdirSync(folder);
  for (const mode of [0o755, 0o770, 0o701, 0o1700, 0o500]) {
    fs.chmodSync(folder, mode);
    refused(() => checkCacheFolder(folder, uid), /has mode/);
  }
});

test("a symbolic link and a plain file are refused as a cache folder", () => {
  const folder = join(work, "real");
  fs.mkdirSync(folder, { mode: 0o700 });
  fs.symlinkSync(folder, join(work, "link"));
  refused(() => checkCacheFolder(join(work, "link"), uid), /symbolic link/);
  fs.writeFileSync(join(work, "file"), "");
  refused(() => checkCacheFolder(join(work, "file"), uid), /not a folder/);
});

test("a cache folder of another user is refused", () => {
  const folder = join(work, "other");
  fs.mkdirSync(folder, { mode: 0o700 });
  refused(() => checkCacheFolder(folder, uid + 1), /belongs to uid/);
});

test("a cache folder under one that others can write is refused", () => {
  const parent = join(work, "parent");
  const folder = join(parent, "tsgost");
  fs.mkdirSync(folder, { recursive: true, mode: 0o700 });
  fs.chmodSync(parent, 0o777);
  refused(() => checkCacheFolder(folder, uid), /can be written by others/);
  // The sticky bit keeps others from replacing what is not theirs.
  fs.chmodSync(parent, 0o1777);
  checkCacheFolder(folder, uid);
});

test.skipUnless(uid === 0, "needs root", "a folder in another user's home is refused", () => {
  const home = join(work, "home");
  const folder = join(home, "tsgost");
  fs.mkdirSync(folder, { recursive: true, mode: 0o700 });
  fs.chownSync(home, 12_345, 12_345);
  refused(() => checkCacheFolder(folder, 0), /belongs to uid 12345/);
  fs.chownSync(home, 0, 0);
});

test("a file that others can write, or a link, is not loaded", () => {
  const file = join(work, "addon.node");
  fs.writeFileSync(file, "");
  fs.chmodSync(file, 0o700);
  checkCacheFile(file, uid);
  fs.chmodSync(file, 0o722);
  refused(() => checkCacheFile(file, uid), /written by others/);
  refused(() => checkCacheFile(file, uid + 1), /belongs to/);
  fs.symlinkSync("/bin/true", join(work, "link.node"));
  refused(() => checkCacheFile(join(work, "link.node"), uid), /plain file/);
});

/** A copy of the package without a build: `checkout` decides where its addon goes. */
function copyPackage(name: string, checkout: boolean): string {
  const root = packageRoot();
  const copy = join(work, name);
  for (const part of ["package.json", "src/sys", "src/errors.ts", "assembly/abi.ts"]) {
    fs.cpSync(join(root, part), join(copy, part), { recursive: true });
  }
  if (checkout) fs.writeFileSync(join(copy, "asconfig.json"), "{}");
  fs.symlinkSync(fs.realpathSync(join(root, "node_modules")), join(copy, "node_modules"));
  return copy;
}

/** Loads the addon of a copy in a process of its own; what it printed. */
function load(
  copy: string,
  env: Record<string, string>,
): { status: number | null; output: string } {
  const code = `import("${join(copy, "src", "sys", "addon.ts")}").then((m) => {
    try { console.log(Object.keys(m.loadNative()).length > 20 ? "loaded" : "empty"); }
    catch (error) { console.log(error.code + ": " + error.message); }
  });`;
  const run = spawnSync(process.execPath, ["--import", "tsx", "-e", code], {
    cwd: copy,
    encoding: "utf8",
    env: { ...process.env, ...env },
  });
  return { status: run.status, output: (run.stdout + run.stderr).trim() };
}

test("a checkout compiles into build/ once", () => {
  const copy = copyPackage("checkout", true);
  assert.is(load(copy, {}).output, "loaded");
  const [file = "", ...more] = fs.readdirSync(join(copy, "build"));
  assert.equal(more, []);
  assert.match(file, /^tsgost-linux-.*-napi8-[0-9a-f]{16}\.node$/);
  const { mtimeMs } = fs.statSync(join(copy, "build", file));
  assert.is(load(copy, { PATH: "/nowhere" }).output, "loaded");
  assert.is(fs.statSync(join(copy, "build", file)).mtimeMs, mtimeMs);
});

test("an installed package compiles into the cache; changed sources get another file", () => {
  const copy = copyPackage("installed", false);
  const env = { XDG_CACHE_HOME: join(work, "cache") };
  assert.is(load(copy, env).output, "loaded");
  assert.not.ok(fs.existsSync(join(copy, "build")));
  const folder = join(work, "cache", "tsgost");
  assert.is(fs.readdirSync(folder).length, 1);
  fs.appendFileSync(join(copy, "src/sys/native/addon.c"), "/* changed */\n");
  assert.is(load(copy, env).output, "loaded");
  assert.is(fs.readdirSync(folder).length, 2);
});

test("a prebuilt file is preferred, and a broken one is passed over", () => {
  const copy = copyPackage("prebuilt", true);
  assert.is(load(copy, {}).output, "loaded");
  const [file = ""] = fs.readdirSync(join(copy, "build"));
  const folder = join(copy, "prebuilds", target());
  fs.mkdirSync(folder, { recursive: true });
  fs.renameSync(join(copy, "build", file), join(folder, "tsgost.node"));
  assert.is(load(copy, { PATH: "/nowhere" }).output, "loaded");
  assert.equal(fs.readdirSync(join(copy, "build")), []);
  fs.writeFileSync(join(folder, "tsgost.node"), "not a library");
  assert.is(load(copy, {}).output, "loaded");
  assert.equal(fs.readdirSync(join(copy, "build")), [file]);
});

test("without a compiler one line says what to install", () => {
  const copy = copyPackage("nocc", true);
  const { output } = load(copy, { PATH: "/nowhere" });
  assert.match(output, /^TSGOST_ERR_NO_COMPILER: no C compiler found: install gcc or clang/);
  assert.not.match(output, /\n/);
});

test("sources that do not compile are told in one line", () => {
  const copy = copyPackage("broken", true);
  fs.appendFileSync(join(copy, "src/sys/native/addon.c"), "\n#error broken on purpose\n");
  const { output } = load(copy, {});
  assert.match(output, /^TSGOST_ERR_ADDON_BUILD: cc could not build the addon: .*on purpose/);
  assert.not.match(output, /\n/);
  assert.equal(fs.readdirSync(join(copy, "build")), []);
});

test.run();
