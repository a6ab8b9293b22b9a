/** Reads configurations as the command line does, without a process of its own. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { DocMap } from "../../src/config/document.ts";
import { parseFlags } from "../../src/config/flags.ts";
import { loadDocument, modelOf } from "../../src/config/load.ts";
import type { Config } from "../../src/config/model.ts";
import { prepareStart } from "../../src/config/start.ts";
import { TsgostError } from "../../src/errors.ts";

export interface Outcome {
  readonly document: DocMap;
  readonly config: Config;
  readonly warnings: readonly string[];
}

type Environment = Readonly<Record<string, string>>;

/** `FILE:name` in arguments is the path of the file that is made of `files[name]`. */
export function withFiles<T>(
  files: Readonly<Record<string, string>>,
  args: readonly string[],
  use: (args: readonly string[]) => T,
): T {
  const folder = mkdtempSync(join(tmpdir(), "tsgost-config-"));
  try {
    for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text);
    return use(args.map((word) => word.replace(/^FILE:/, `${folder}/`)));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Flags to a configuration that would start. */
export function start(args: readonly string[], environment: Environment = {}): Outcome {
  const loaded = loadDocument(parseFlags(args), environment);
  const { document, reading } = loaded;
  const config = prepareStart({ config: modelOf(loaded), document, reading, environment });
  const warnings = reading.warnings.map(({ place, message }) => `${place}: ${message}`);
  return { document, config, warnings };
}

/** A YAML text to a configuration that would start; it is called `gost.yaml`. */
export function startYaml(text: string, ...flags: readonly string[]): Outcome {
  return withFiles({ "gost.yaml": text }, [...flags, "-C", "FILE:gost.yaml"], start);
}

/** The TsgostError that `body` throws; another outcome fails. */
export function refusal(body: () => unknown): TsgostError {
  try {
    body();
  } catch (error) {
    if (error instanceof TsgostError) return error;
    throw error;
  }
  throw new Error("nothing was refused");
}
