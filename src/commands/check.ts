/** `tsgost check FILE…`: would this configuration start? Nothing is opened or made. */
import { load, modelOf } from "../config/load.ts";
import type { Loaded, LoadFlags } from "../config/load.ts";
import { prepareStart } from "../config/start.ts";
import { EXIT_OK, EXIT_SYSTEM, EXIT_USAGE } from "../errors.ts";
import { OPTIONS_PLACE, TsgostError, usageError } from "../errors.ts";
import { loadFlags, parseOptions } from "./common.ts";
import type { CommandSpec, CommandValues } from "./common.ts";
import { commandHelp } from "./help.ts";
import { printOut } from "./version.ts";

export const SPEC: CommandSpec = {
  name: "check",
  summary: "Check configurations: all errors and warnings with their places.",
  usage: "tsgost check [--strict] [--json] FILE… | -L URL… [-F URL…] [-C FILE…]",
  text: [
    "Each FILE (YAML or JSON, - for stdin, http(s)://…, or inline {…}) is one configuration; -L, -F " +
      "and -C together are one. Nothing is started and no privilege is needed.",
    "The exit code is 0 if all of them would start, 2 if one is wrong, 1 if one cannot be fetched.",
  ],
  options: [
    { name: "L", short: "L", value: "URL", repeat: true, help: "a service, as GOST writes it" },
    { name: "F", short: "F", value: "URL", repeat: true, help: "a hop, as GOST writes it" },
    { name: "C", short: "C", value: "FILE", repeat: true, help: "a file beside -L and -F" },
    { name: "strict", help: "take warnings for errors" },
    { name: "json", help: "print one JSON document instead of lines" },
    { name: "schema", help: "print the JSON Schema of configuration files, for editors" },
    { name: "help", short: "h", help: "this text" },
  ],
  examples: [
    "tsgost check /etc/gost/gost.yaml",
    "tsgost check --strict --json one.yaml two.yaml",
    'tsgost check -L "tungo://:0?net=192.168.123.1/24" -F relay+wss://SERVER:443',
  ],
  words: { min: 0, max: 1000 },
};

interface Note {
  readonly place: string;
  readonly message: string;
}

interface Result {
  readonly name: string;
  readonly errors: readonly Note[];
  readonly warnings: readonly Note[];
  readonly exitCode: number;
}

export async function run(argv: readonly string[]): Promise<number> {
  const values = parseOptions(SPEC, argv);
  if (values.has("help")) {
    printOut(commandHelp(SPEC));
    return EXIT_OK;
  }
  if (values.has("schema")) {
    const { jsonSchema } = await import("../config/json-schema.ts");
    printOut(JSON.stringify(jsonSchema(), null, 1));
    return EXIT_OK;
  }
  const results: Result[] = [];
  for (const [name, flags] of unitsOf(values)) results.push(await check(name, flags));
  if (values.has("json")) printOut(JSON.stringify(documentOf(results), null, 2));
  else for (const result of results) printResult(result);
  return Math.max(...results.map(({ exitCode }) => exitCode));
}

/** What is checked on its own: each file, or all options together. */
function unitsOf(values: CommandValues): (readonly [string, LoadFlags])[] {
  const base = { ...loadFlags(values), collect: true };
  const [services, nodes, sources] = [values.list("L"), values.list("F"), values.list("C")];
  const hasOptions = services.length + nodes.length + sources.length > 0;
  if (hasOptions && values.words.length > 0) {
    throw usageError("check: give files, or -L, -F and -C (-C FILE for a file beside them)");
  }
  if (hasOptions) return [["command line", { ...base, services, nodes, sources }]];
  if (values.words.length === 0) throw usageError(`usage: ${SPEC.usage}`);
  return values.words.map((file) => {
    const isInline = file.startsWith("{");
    return [isInline ? "-C" : file, { ...base, sources: [file] }] as const;
  });
}

async function check(name: string, flags: LoadFlags): Promise<Result> {
  const errors: TsgostError[] = [];
  let loaded: Loaded | undefined;
  try {
    loaded = await load(flags, process.env);
    const { document, reading } = loaded;
    const config = modelOf(loaded);
    // What a start needs is looked at only where the rest is right: else errors breed errors.
    if (reading.errors.length === 0) {
      prepareStart({ config, document, reading, environment: process.env });
    }
  } catch (error) {
    if (!(error instanceof TsgostError)) throw error;
    errors.push(error);
  }
  errors.unshift(...(loaded?.reading.errors ?? []));
  const isSystem = errors.length > 0 && errors.every(({ exitCode }) => exitCode === EXIT_SYSTEM);
  return {
    name,
    errors: errors.map(noteOf),
    warnings: (loaded?.reading.warnings ?? []).map(({ place, message }) => ({
      place: place === OPTIONS_PLACE ? "" : place,
      message,
    })),
    exitCode: errors.length === 0 ? EXIT_OK : isSystem ? EXIT_SYSTEM : EXIT_USAGE,
  };
}

function noteOf(error: TsgostError): Note {
  const { place, message } = error;
  const prefix = `${place}: `;
  const isPlaced = place !== "" && message.startsWith(prefix);
  return { place, message: isPlaced ? message.slice(prefix.length) : message };
}

function textOf({ place, message }: Note): string {
  return place === "" ? message : `${place}: ${message}`;
}

function printResult({ name, errors, warnings }: Result): void {
  for (const note of warnings) process.stderr.write(`tsgost: warning: ${textOf(note)}\n`);
  for (const note of errors) process.stderr.write(`tsgost: ${textOf(note)}\n`);
  const counts = [count(errors.length, "error"), count(warnings.length, "warning")];
  const told = counts.filter((text) => text !== "").join(", ");
  const verdict = errors.length > 0 ? told : told === "" ? "ok" : `ok, ${told}`;
  printOut(`${name}: ${verdict}`);
}

function count(number: number, word: string): string {
  return number === 0 ? "" : `${number} ${word}${number === 1 ? "" : "s"}`;
}

/** `file`, `line` and `column` are there where the place has them. */
function documentOf(results: readonly Result[]): object {
  const noteWithPlace = (note: Note): object => {
    const match = /^(.*):(\d+):(\d+)$/s.exec(note.place);
    if (match === null) return note;
    return { ...note, file: match[1], line: Number(match[2]), column: Number(match[3]) };
  };
  return {
    ok: results.every(({ errors }) => errors.length === 0),
    configurations: results.map(({ name, errors, warnings }) => ({
      name,
      ok: errors.length === 0,
      errors: errors.map(noteWithPlace),
      warnings: warnings.map(noteWithPlace),
    })),
  };
}
