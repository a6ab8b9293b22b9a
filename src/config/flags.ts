/**
 * Go's flag grammar, as GOST takes it: `-x v`, `-x=v`, `--x v`; booleans take a value only behind
 * `=`; the first word that is no flag ends the flags.
 */
import { usageError } from "../errors.ts";
import { parseGoBool } from "./metadata.ts";
import { parseDuration } from "./net.ts";
import { didYouMean } from "./suggest.ts";
import { maskUrl } from "./mask.ts";

export interface Flags {
  readonly services: readonly string[];
  readonly nodes: readonly string[];
  readonly sources: readonly string[];
  readonly debug: boolean;
  readonly trace: boolean;
  readonly version: boolean;
  readonly help: boolean;
  /** "" = not given. */
  readonly print: string;
  readonly api: string;
  readonly metrics: string;
  readonly reloadMs: number;
  readonly strict: boolean;
  readonly compat: boolean;
  readonly showSecrets: boolean;
  readonly dryRun: boolean;
  readonly logLevel: string;
  readonly logFormat: string;
}

type FlagKind = "text" | "list" | "bool" | "duration";

/** By name, without dashes; the second half is ours. */
const FLAGS: Readonly<Record<string, { readonly key: keyof Flags; readonly kind: FlagKind }>> = {
  L: { key: "services", kind: "list" },
  F: { key: "nodes", kind: "list" },
  C: { key: "sources", kind: "list" },
  D: { key: "debug", kind: "bool" },
  DD: { key: "trace", kind: "bool" },
  V: { key: "version", kind: "bool" },
  O: { key: "print", kind: "text" },
  R: { key: "reloadMs", kind: "duration" },
  api: { key: "api", kind: "text" },
  metrics: { key: "metrics", kind: "text" },
  h: { key: "help", kind: "bool" },
  help: { key: "help", kind: "bool" },
  version: { key: "version", kind: "bool" },
  strict: { key: "strict", kind: "bool" },
  compat: { key: "compat", kind: "bool" },
  "show-secrets": { key: "showSecrets", kind: "bool" },
  "dry-run": { key: "dryRun", kind: "bool" },
  "log-level": { key: "logLevel", kind: "text" },
  "log-format": { key: "logFormat", kind: "text" },
};

const ARGUMENTS_MAX = 10_000;

/** Parses what follows the program's name; throws TsgostError (exit code 2). */
export function parseFlags(argv: readonly string[]): Flags {
  if (argv.length > ARGUMENTS_MAX) throw usageError(`more than ${ARGUMENTS_MAX} arguments`);
  if (argv.includes("--")) {
    const remedy = "start one tsgost for each part, or put all -L in one";
    throw usageError(`" -- " (several processes in one command) is not supported; ${remedy}`);
  }
  const values = new Map<keyof Flags, string[]>();
  let index = 0;
  for (; index < argv.length; index++) {
    const word = argv[index] ?? "";
    const match = /^--?([^-=][^=]*)(=([\s\S]*))?$/.exec(word);
    if (match === null) break;
    const name = match[1] ?? "";
    const flag = Object.hasOwn(FLAGS, name) ? FLAGS[name] : undefined;
    if (flag === undefined) {
      const hint = didYouMean(
        name,
        Object.keys(FLAGS).filter((known) => known.length > 1),
      );
      const isCompat = argv.some((other) => /^--?compat$/.test(other));
      const remedy = isCompat ? "" : hint || " (see --help)";
      throw usageError(`flag provided but not defined: -${name}${remedy}`);
    }
    let value = match[2] === undefined ? undefined : (match[3] ?? "");
    if (value === undefined && flag.kind !== "bool") {
      value = argv[++index];
      if (value === undefined) throw usageError(`flag needs an argument: -${name}`);
    }
    checkValue(name, flag.kind, value);
    values.set(flag.key, [...(values.get(flag.key) ?? []), value ?? "true"]);
  }
  const flags = flagsOf(values);
  const rest = argv[index];
  if (rest !== undefined && !flags.compat) {
    // DEVIATION: GOST ignores this and all that follows, so a -F behind it would be lost.
    const why = `${JSON.stringify(maskUrl(rest))} is no flag and belongs to none`;
    throw usageError(`${why}; quote values with blanks, write flags as -L VALUE`);
  }
  return flags;
}

function checkValue(name: string, kind: FlagKind, value: string | undefined): void {
  if (kind === "bool" && value !== undefined && parseGoBool(value) === undefined) {
    throw usageError(`invalid boolean value ${JSON.stringify(value)} for -${name}`);
  }
  if (kind !== "duration" || value === undefined) return;
  const ms = parseDuration(value);
  if (ms === undefined || ms < 0) {
    throw usageError(`invalid value ${JSON.stringify(value)} for -${name}: use 10s, 1m30s …`);
  }
}

function flagsOf(values: ReadonlyMap<keyof Flags, readonly string[]>): Flags {
  const list = (key: keyof Flags): string[] =>
    (values.get(key) ?? []).filter((item) => item !== "");
  const text = (key: keyof Flags): string => values.get(key)?.at(-1) ?? "";
  const bool = (key: keyof Flags): boolean => parseGoBool(text(key)) ?? false;
  return {
    services: list("services"),
    nodes: list("nodes"),
    sources: list("sources"),
    debug: bool("debug"),
    trace: bool("trace"),
    version: bool("version"),
    help: bool("help"),
    print: text("print"),
    api: text("api"),
    metrics: text("metrics"),
    reloadMs: parseDuration(text("reloadMs") || "0") ?? 0,
    strict: bool("strict"),
    compat: bool("compat"),
    showSecrets: bool("showSecrets"),
    dryRun: bool("dryRun"),
    logLevel: text("logLevel"),
    logFormat: text("logFormat"),
  };
}
