/**
 * Finds or compiles the addon. In order: a file in `prebuilds/PLATFORM-ARCH/`; in a checkout
 * `build/` (where `npm run build:addon`, that is this file as a program, puts it); in an
 * installed package a cache folder of the running user, filled at first use. The compiler is
 * plain `cc`, the headers are those of the package `node-api-headers`, and nothing is downloaded.
 *
 * A file's name holds a hash of all that goes into it, so that an old one is never loaded. A cache
 * folder that others can change is refused: root must not load what somebody else wrote.
 */
import { spawnSync } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import * as fs from "node:fs";
import { createRequire } from "node:module";
import { homedir, userInfo } from "node:os";
import { dirname, isAbsolute, join } from "node:path";
import { fileURLToPath } from "node:url";
import * as abi from "../../assembly/abi.ts";
import { TsgostError, messageOf } from "../errors.ts";

const NAPI_VERSION = 8;
const FLAGS = ["-O2", "-shared", "-fPIC", "-std=gnu11", "-fvisibility=hidden", "-Wall", "-Wextra"];
const COMPILERS = ["cc", "gcc", "clang"];
const COMPILE_TIMEOUT_MS = 120_000;

const NO_COMPILER =
  "no C compiler found: install gcc or clang " +
  "(Debian, Ubuntu: apt install gcc libc6-dev; Fedora: dnf install gcc; " +
  "Alpine: apk add gcc musl-dev)";

/** Where the package's own `package.json` is, from sources as from `dist/`. */
export function packageRoot(): string {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!fs.existsSync(join(folder, "package.json"))) {
    const parent = dirname(folder);
    if (parent === folder) {
      throw new TsgostError("TSGOST_ERR_ADDON", "the package's own files are incomplete");
    }
    folder = parent;
  }
  return folder;
}

interface Recipe {
  readonly sources: readonly string[];
  readonly headers: string;
  readonly abiHeader: string;
  /** Name of the file to make. */
  readonly name: string;
}

/** `abi.h`: the numbers of abi.ts for the C files. */
export function abiHeader(): string {
  const lines = Object.entries(abi)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, value]) => `#define ABI_${name} ${value}u`);
  return `${lines.join("\n")}\n`;
}

function makeRecipe(root: string): Recipe {
  const folder = join(root, "src", "sys", "native");
  const files = fs.readdirSync(folder).filter((name) => /\.[ch]$/.test(name));
  files.sort();
  const require = createRequire(import.meta.url);
  const headers = join(dirname(require.resolve("node-api-headers/package.json")), "include");
  const header = abiHeader();
  const hash = createHash("sha256").update(header).update(FLAGS.join(" "));
  for (const file of files) hash.update(file).update(fs.readFileSync(join(folder, file)));
  hash.update(fs.readFileSync(join(headers, "..", "package.json")));
  return {
    sources: files.filter((name) => name.endsWith(".c")).map((name) => join(folder, name)),
    headers,
    abiHeader: header,
    name: `tsgost-${target()}-napi${NAPI_VERSION}-${hash.digest("hex").slice(0, 16)}.node`,
  };
}

/** `linux-x64`, with `-musl` where Node itself was linked with that C library. */
export function target(): string {
  const plain = `${process.platform}-${process.arch}`;
  if (process.platform !== "linux") return plain;
  // The interpreter's path stands near the start of the file.
  const head = Buffer.alloc(4096);
  const fd = fs.openSync(process.execPath, "r");
  try {
    fs.readSync(fd, head, 0, head.length, 0);
  } finally {
    fs.closeSync(fd);
  }
  return head.includes("/ld-musl-") ? `${plain}-musl` : plain;
}

/** Runs the first compiler that exists; throws where none does or the sources do not compile. */
function runCompiler(args: readonly string[]): void {
  const own = (process.env["CC"] ?? "").split(/\s+/).filter((word) => word !== "");
  const choices = own.length > 0 ? [own] : COMPILERS.map((name) => [name]);
  for (const [command, ...before] of choices) {
    if (command === undefined) continue;
    const run = spawnSync(command, [...before, ...args], {
      encoding: "utf8",
      timeout: COMPILE_TIMEOUT_MS,
    });
    if (run.error !== undefined && "code" in run.error && run.error.code === "ENOENT") continue;
    if (run.status === 0) return;
    const said = run.stderr.split("\n").find((line) => /error/i.test(line)) ?? run.stderr;
    const why = run.error === undefined ? said.trim() : messageOf(run.error);
    throw new TsgostError("TSGOST_ERR_ADDON_BUILD", `${command} could not build the addon: ${why}`);
  }
  throw new TsgostError("TSGOST_ERR_NO_COMPILER", NO_COMPILER);
}

/** Compiles into `folder` and answers the file; another process may do the same meanwhile. */
function compile(recipe: Recipe, folder: string): string {
  const work = fs.mkdtempSync(join(folder, ".build-"));
  const file = join(folder, recipe.name);
  try {
    fs.writeFileSync(join(work, "abi.h"), recipe.abiHeader);
    const out = join(work, `${randomBytes(4).toString("hex")}.node`);
    const includes = [`-I${work}`, `-I${recipe.headers}`];
    const defines = ["-D_GNU_SOURCE", `-DNAPI_VERSION=${NAPI_VERSION}`];
    runCompiler([...FLAGS, ...defines, ...includes, "-o", out, ...recipe.sources]);
    // Everybody who may read the checkout may load it; only its owner may write it.
    fs.chmodSync(out, 0o755);
    fs.renameSync(out, file);
  } finally {
    fs.rmSync(work, { recursive: true, force: true });
  }
  return file;
}

function unsafe(path: string, why: string): TsgostError {
  return new TsgostError(
    "TSGOST_ERR_ADDON_CACHE",
    `${path} ${why}, so the addon is not loaded from there: ` +
      "set XDG_CACHE_HOME to a folder that only you can write",
  );
}

/** Owner that files of unmapped users seem to have in a user namespace; -1 outside of one. */
function overflowOwner(): number {
  try {
    const [first, outer, count] = fs
      .readFileSync("/proc/self/uid_map", "utf8")
      .trim()
      .split(/\s+/)
      .map(Number);
    if (first === 0 && outer === 0 && count === 4_294_967_295) return -1;
    return Number(fs.readFileSync("/proc/sys/kernel/overflowuid", "utf8"));
  } catch {
    return -1;
  }
}

/** Throws if somebody else could put another folder in the place of `folder`. */
function checkParents(folder: string, uid: number): void {
  const trusted = [0, uid, overflowOwner()];
  // A group of one's own is common for users; for root any other writer is one too many.
  const writers = uid === 0 ? 0o022 : 0o002;
  for (let path = dirname(folder); ; path = dirname(path)) {
    const found = fs.statSync(path);
    if (!trusted.includes(found.uid)) throw unsafe(path, `belongs to uid ${found.uid}`);
    if ((found.mode & writers) !== 0 && (found.mode & 0o1000) === 0) {
      throw unsafe(path, "can be written by others");
    }
    if (path === dirname(path)) return;
  }
}

/** Throws unless `folder` is a folder of mode 0700 that belongs to `uid`, in safe parents. */
export function checkCacheFolder(folder: string, uid: number): void {
  const found = fs.lstatSync(folder);
  if (found.isSymbolicLink()) throw unsafe(folder, "is a symbolic link");
  if (!found.isDirectory()) throw unsafe(folder, "is not a folder");
  if (found.uid !== uid) throw unsafe(folder, `belongs to uid ${found.uid}`);
  if ((found.mode & 0o7777) !== 0o700) {
    throw unsafe(folder, `has mode 0${(found.mode & 0o7777).toString(8)} instead of 0700`);
  }
  checkParents(folder, uid);
}

/** Throws unless `file` is a plain file that only `uid` can write. */
export function checkCacheFile(file: string, uid: number): void {
  const found = fs.lstatSync(file);
  if (!found.isFile()) throw unsafe(file, "is not a plain file");
  if (found.uid !== uid) throw unsafe(file, `belongs to uid ${found.uid}`);
  if ((found.mode & 0o022) !== 0) throw unsafe(file, "can be written by others");
}

/** The user's home, also under a `sudo` that kept another user's HOME. */
function homeOf(uid: number): string {
  const home = homedir();
  try {
    if (fs.statSync(home).uid === uid) return home;
  } catch {
    // Then the user's entry decides.
  }
  try {
    return userInfo().homedir;
  } catch {
    return home;
  }
}

/** The cache folder, made if missing and checked. */
export function cacheFolder(): string {
  const uid = process.geteuid?.() ?? 0;
  const wanted = process.env["XDG_CACHE_HOME"] ?? "";
  const base = isAbsolute(wanted) ? wanted : join(homeOf(uid), ".cache");
  const folder = join(base, "tsgost");
  try {
    fs.mkdirSync(base, { recursive: true, mode: 0o700 });
    fs.mkdirSync(folder, { mode: 0o700 });
  } catch (error) {
    if (!fs.existsSync(folder)) throw unsafe(folder, `cannot be made (${messageOf(error)})`);
  }
  checkCacheFolder(folder, uid);
  return folder;
}

/** A file that was shipped for this platform, if there is one. */
function findPrebuilt(root: string): string | undefined {
  const folder = join(root, "prebuilds", target());
  if (!fs.existsSync(folder)) return undefined;
  const name = fs.readdirSync(folder).find((entry) => entry.endsWith(".node"));
  return name === undefined ? undefined : join(folder, name);
}

/** Only a checkout has the settings of the core's compiler. */
function isCheckout(root: string): boolean {
  return fs.existsSync(join(root, "asconfig.json"));
}

/** The addon in `build/` of a checkout, compiled if it is not there. */
function checkoutAddon(root: string): string {
  const recipe = makeRecipe(root);
  const folder = join(root, "build");
  fs.mkdirSync(folder, { recursive: true });
  const file = join(folder, recipe.name);
  return fs.existsSync(file) ? file : compile(recipe, folder);
}

/** The addon in the user's cache, compiled if it is not there. */
function cachedAddon(root: string): string {
  const recipe = makeRecipe(root);
  const folder = cacheFolder();
  const file = join(folder, recipe.name);
  if (!fs.existsSync(file)) compile(recipe, folder);
  checkCacheFile(file, process.geteuid?.() ?? 0);
  return file;
}

/**
 * The files to try, best first, each as a function because it may have to be compiled. Throws
 * TSGOST_ERR_PLATFORM where there is no addon at all.
 */
export function addonFiles(): (() => string)[] {
  if (process.platform !== "linux") {
    throw new TsgostError(
      "TSGOST_ERR_PLATFORM",
      `devices and sockets of the addon need Linux; this is ${process.platform}`,
    );
  }
  const root = packageRoot();
  const prebuilt = findPrebuilt(root);
  const own = () => (isCheckout(root) ? checkoutAddon(root) : cachedAddon(root));
  return prebuilt === undefined ? [own] : [() => prebuilt, own];
}

/** Removes what earlier versions of the sources left in `build/`. */
function removeOld(root: string, keep: string): void {
  const folder = join(root, "build");
  for (const name of fs.readdirSync(folder)) {
    if (!/^tsgost-.*\.node$/.test(name) || join(folder, name) === keep) continue;
    fs.rmSync(join(folder, name), { force: true });
  }
}

/** `npm run build:addon`: no compiler is no failure, because much works without the addon. */
function main(): number {
  if (process.platform !== "linux") return 0;
  const root = packageRoot();
  try {
    removeOld(root, checkoutAddon(root));
    return 0;
  } catch (error) {
    const missing = error instanceof TsgostError && error.code === "TSGOST_ERR_NO_COMPILER";
    process.stderr.write(`tsgost: ${messageOf(error)}\n`);
    return missing ? 0 : 1;
  }
}

if (process.argv[1] !== undefined && fs.existsSync(process.argv[1])) {
  if (fs.realpathSync(process.argv[1]) === fileURLToPath(import.meta.url))
    process.exitCode = main();
}
