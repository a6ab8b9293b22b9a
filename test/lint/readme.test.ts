/**
 * The README's tables say what the sources say: the core's options, counters and drop reasons,
 * error codes, exit codes, and the names of files it points at.
 */
import { existsSync, readFileSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import * as assert from "uvu/assert";
import * as abi from "../../assembly/abi.ts";
import { COMMON_OPTIONS } from "../../src/commands/common.ts";
import { SPEC as RELAY } from "../../src/commands/relay.ts";
import { SPEC as TUNGO } from "../../src/commands/tungo.ts";
import { CORE_OPTIONS, type CoreOption } from "../../src/core/options.ts";
import * as errors from "../../src/errors.ts";
import { suite } from "../kit/suite.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const readme = readFileSync(join(ROOT, "README.md"), "utf8");
const test = suite("lint/readme");

function durationText(ms: number): string {
  const units: readonly [number, string][] = [
    [3_600_000, "h"],
    [60_000, "m"],
    [1000, "s"],
  ];
  const [size, unit] = units.find(([each]) => ms >= each && ms % each === 0) ?? [1, "ms"];
  return ms === 0 ? "0" : `${ms / size}${unit}`;
}

function bytesText(bytes: number): string {
  if (bytes >= 1024 ** 2 && bytes % 1024 ** 2 === 0) return `${bytes / 1024 ** 2} MiB`;
  if (bytes >= 65_536 && bytes % 1024 === 0) return `${bytes / 1024} KiB`;
  return String(bytes);
}

const CHOICES: Readonly<Record<string, readonly string[]>> = {
  connect: ["faithful", "immediate"],
  echo: ["auto", "host", "local", "drop"],
  congestion: ["cubic", "newreno"],
};

/** The README's row of an option. */
export function optionRow(option: CoreOption): string {
  const kebab = option.key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
  const choices = CHOICES[option.kind];
  const text = option.kind === "ms" ? durationText : option.kind === "bytes" ? bytesText : String;
  const value = choices === undefined ? text(option.default) : choices[0];
  const range =
    choices === undefined ? `${text(option.min)} … ${text(option.max)}` : choices.join(", ");
  return `| \`--${kebab}\` | ${value} | ${range} | ${option.help} |`;
}

test("every option of the core has its row", () => {
  const missing = CORE_OPTIONS.map(optionRow).filter((row) => !readme.includes(row));
  assert.is(missing.join("\n"), "");
});

test("every option of the sub-commands is told", () => {
  const names = [...TUNGO.options, ...RELAY.options, ...COMMON_OPTIONS].map(({ name }) => name);
  const missing = names.filter(
    (name) => !["F", "help"].includes(name) && !readme.includes(`\`--${name}\``),
  );
  assert.equal(missing, []);
});

test("every counter and drop reason of the core is told", () => {
  const names = Object.keys(abi).filter((name) => /^(STAT|DROP)_/.test(name));
  const told = names
    .filter((name) => !["STAT_COUNT"].includes(name))
    .map((name) => name.toLowerCase().replace(/^stat_/, ""));
  const missing = told.filter((name) => !readme.includes(`| \`${name}\` |`));
  assert.is(missing.join(" "), "");
  const rows = [...readme.matchAll(/^\| `([a-z0-9_]+)` \|/gm)].map(([, name]) => name);
  const stale = rows.filter((name) => /^drop_/.test(name ?? "") && !told.includes(name ?? ""));
  assert.is(stale.join(" "), "");
});

function sources(folder: string): string[] {
  return readdirSync(folder).flatMap((name) => {
    const path = join(folder, name);
    if (statSync(path).isDirectory()) return sources(path);
    return name.endsWith(".ts") ? [path] : [];
  });
}

/** The codes that chain/errors.ts makes of the reasons of chain/types.ts. */
function chainCodes(): string[] {
  const types = readFileSync(join(ROOT, "src/chain/types.ts"), "utf8");
  const union = /type Unreachable =([^;]+);/.exec(types)?.[1] ?? "";
  return [...union.matchAll(/"([a-z-]+)"/g)].map(
    ([, reason]) => `TSGOST_ERR_CHAIN_${(reason ?? "").toUpperCase().replaceAll("-", "_")}`,
  );
}

test("every error code of the sources is told, and no other", () => {
  const used = new Set([
    ...chainCodes(),
    ...sources(join(ROOT, "src")).flatMap((path) => [
      ...[...readFileSync(path, "utf8").matchAll(/"(TSGOST_ERR_[A-Z_]+)"/g)].map(
        ([, code]) => code,
      ),
    ]),
  ]);
  const told = new Set([...readme.matchAll(/`(TSGOST_ERR_[A-Z_]+)`/g)].map(([, code]) => code));
  assert.equal(
    [...used].filter((code) => !told.has(code)).sort(),
    [],
    "used, but not in the README",
  );
  assert.equal(
    [...told].filter((code) => !used.has(code)).sort(),
    [],
    "in the README, but not used",
  );
});

test("the exit codes are those of errors.ts", () => {
  for (const code of [errors.EXIT_OK, errors.EXIT_SYSTEM, errors.EXIT_USAGE, errors.EXIT_DEFECT]) {
    assert.match(readme, new RegExp(`^\\| ${code} \\|`, "m"));
  }
});

test("files that it links to exist", () => {
  const links = [...readme.matchAll(/\]\((?!https?:|#)([^)]+)\)/g)].map(([, path]) => path ?? "");
  assert.ok(links.length > 0);
  assert.equal(
    links.filter((path) => !existsSync(join(ROOT, path))),
    [],
  );
});

test.run();
