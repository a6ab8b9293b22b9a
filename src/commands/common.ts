/**
 * What the sub-commands share: their options (node:util parseArgs with messages of our own), and
 * the way from a loaded configuration to the running program.
 */
import { parseArgs } from "node:util";
import { modelOf } from "../config/load.ts";
import type { ConfigSource, Prepared } from "../app.ts";
import { Reading } from "../config/document.ts";
import type { Loaded, LoadFlags } from "../config/load.ts";
import { OPTIONS_PLACE } from "../config/model.ts";
import type { Config } from "../config/model.ts";
import { prepareStart } from "../config/start.ts";
import { didYouMean } from "../config/suggest.ts";
import { TsgostError, configError, messageOf, usageError } from "../errors.ts";
import { configureLog, logger } from "../log.ts";

export interface OptionSpec {
  /** Without dashes. */
  readonly name: string;
  readonly short?: string;
  /** Name of the value in the help; absent = a switch without a value. */
  readonly value?: string;
  readonly repeat?: boolean;
  /** The value may be "". */
  readonly mayBeEmpty?: boolean;
  readonly help: string;
  /** Heading in the help; default: Options. */
  readonly group?: string;
}

export interface CommandSpec {
  readonly name: string;
  readonly summary: string;
  readonly usage: string;
  readonly text?: readonly string[];
  readonly options: readonly OptionSpec[];
  readonly examples: readonly string[];
  /** How many words that are no options it takes. */
  readonly words?: { readonly min: number; readonly max: number };
}

/** Options as given; a switch has the value "true". */
export interface CommandValues {
  readonly words: readonly string[];
  has(name: string): boolean;
  /** The last value, "" where it was not given. */
  text(name: string): string;
  list(name: string): readonly string[];
}

export const COMMON_OPTIONS: readonly OptionSpec[] = [
  { name: "dry-run", help: "say what would be made, and make nothing", group: "General" },
  { name: "strict", help: "take warnings for errors", group: "General" },
  {
    name: "log-level",
    value: "LEVEL",
    help: "trace, debug, info, warn, error or fatal (default info)",
    group: "General",
  },
  { name: "log-format", value: "FORMAT", help: "json (default) or text", group: "General" },
  { name: "help", short: "h", help: "this text", group: "General" },
];

/** Parses the words behind the command's name; throws TsgostError (exit code 2). */
export function parseOptions(spec: CommandSpec, argv: readonly string[]): CommandValues {
  const byName = new Map(spec.options.map((option) => [option.name, option]));
  const { tokens } = parseArgs({
    args: [...argv],
    options: Object.fromEntries(spec.options.map(parserOption)),
    strict: false,
    allowPositionals: true,
    tokens: true,
  });
  const values = new Map<string, string[]>();
  const words: string[] = [];
  for (const token of tokens) {
    if (token.kind === "positional") words.push(token.value);
    if (token.kind !== "option") continue;
    const option = byName.get(token.name);
    if (option === undefined) throw unknownOption(spec, token.rawName);
    const given = values.get(option.name) ?? [];
    if (given.length > 0 && option.repeat !== true) {
      throw usageError(`${token.rawName} is given twice`);
    }
    // GOST's -L=URL: one letter takes its value behind "=", too.
    const value = token.rawName.startsWith("--") ? token.value : token.value?.replace(/^=/, "");
    given.push(checkedValue(option, token.rawName, value, token.inlineValue === true));
    values.set(option.name, given);
  }
  if (!values.has("help")) checkWords(spec, words);
  return {
    words,
    has: (name) => values.has(name),
    text: (name) => values.get(name)?.at(-1) ?? "",
    list: (name) => values.get(name) ?? [],
  };
}

function parserOption(
  option: OptionSpec,
): [string, { type: "boolean" | "string"; multiple: true; short?: string }] {
  const type = option.value === undefined ? "boolean" : "string";
  const short = option.short === undefined ? {} : { short: option.short };
  return [option.name, { type, multiple: true, ...short }];
}

function unknownOption(spec: CommandSpec, rawName: string): TsgostError {
  const known = spec.options.map((option) => `--${option.name}`);
  const hint = didYouMean(rawName, known) || ` (see tsgost ${spec.name} --help)`;
  return usageError(`${spec.name}: unknown option ${rawName}${hint}`);
}

function checkedValue(
  option: OptionSpec,
  rawName: string,
  value: string | undefined,
  inline: boolean,
): string {
  if (option.value === undefined) {
    if (value !== undefined) throw usageError(`${rawName} takes no value`);
    return "true";
  }
  if (value === undefined || (value === "" && option.mayBeEmpty !== true)) {
    throw usageError(`${rawName} needs a value: ${rawName} ${option.value}`);
  }
  if (!inline && /^-[^\d]/.test(value)) {
    throw usageError(`${rawName} needs a value; write ${rawName}=${value} if ${value} is one`);
  }
  return value;
}

function checkWords(spec: CommandSpec, words: readonly string[]): void {
  const { min = 0, max = 0 } = spec.words ?? {};
  const extra = words[max];
  if (extra !== undefined) {
    throw usageError(`${spec.name}: ${JSON.stringify(extra)} belongs to no option (see --help)`);
  }
  if (words.length < min) throw usageError(`usage: ${spec.usage}`);
}

/** The flags of GOST's form that a sub-command's options stand for. */
export function loadFlags(values: CommandValues): LoadFlags {
  return {
    services: [],
    nodes: [],
    sources: [],
    debug: false,
    trace: false,
    api: "",
    metrics: "",
    strict: values.has("strict"),
    compat: false,
    logLevel: values.text("log-level"),
    logFormat: values.text("log-format"),
  };
}

export interface StartOptions {
  readonly dryRun: boolean;
  readonly strict: boolean;
}

/**
 * Checks what a start needs, sets the log up, says the warnings and runs until the end. `again`
 * reads all sources anew, for reloads; absent: they are what they are.
 */
export async function startLoaded(
  loaded: Loaded,
  options: StartOptions,
  again?: () => Promise<Loaded>,
): Promise<number> {
  const { config, document } = preparedOf(loaded);
  setUpLog(config);
  sayWarnings(loaded);
  const { run } = await import("../app.ts");
  const source: ConfigSource = {
    document,
    file: loaded.file ?? "",
    read: async () => {
      const fresh = again === undefined ? loaded : await again();
      const prepared = preparedOf(fresh);
      sayWarnings(fresh);
      return prepared;
    },
    prepare: (changed) => {
      const reading = new Reading({ strict: options.strict });
      const fresh = { ...loaded, document: changed, reading };
      const prepared = preparedOf(fresh);
      sayWarnings(fresh);
      return prepared;
    },
  };
  return run(config, { ...options, source });
}

/** Throws TsgostError (exit code 2) if it could not start. */
function preparedOf(loaded: Loaded): Prepared {
  const { document, reading } = loaded;
  const model = modelOf(loaded);
  const config = prepareStart({ config: model, document, reading, environment: process.env });
  return { config, document };
}

function sayWarnings({ reading }: Loaded): void {
  for (const { place, message } of reading.warnings) {
    logger.warn(place === "" || place === OPTIONS_PLACE ? message : `${place}: ${message}`);
  }
}

function setUpLog(config: Config): void {
  try {
    configureLog(config.log);
  } catch (error) {
    throw configError("", `log.output: ${config.log.output}: ${messageOf(error)}`, error);
  }
}

/** Prints the warnings of a configuration that is not started, to stderr. */
export function printWarnings(loaded: Loaded): void {
  for (const { place, message } of loaded.reading.warnings) {
    const where = place === "" || place === OPTIONS_PLACE ? "" : `${place}: `;
    process.stderr.write(`tsgost: warning: ${where}${message}\n`);
  }
}
