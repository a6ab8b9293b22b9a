/** `tsgost check FILE…`: would this configuration start? Nothing is opened or made. */
import { loadDocument, modelOf } from "../config/load.ts";
import { prepareStart } from "../config/start.ts";
import { EXIT_OK, EXIT_USAGE, TsgostError } from "../errors.ts";
import { loadFlags, parseOptions, printWarnings } from "./common.ts";
import type { CommandSpec } from "./common.ts";
import { commandHelp } from "./help.ts";
import { printOut } from "./version.ts";

export const SPEC: CommandSpec = {
  name: "check",
  summary: "Check configuration files: errors and warnings with file, line and column.",
  usage: "tsgost check FILE…",
  text: ["FILE may be - for stdin. The exit code is 0 if every file would start, else 2."],
  options: [
    { name: "strict", help: "take warnings for errors" },
    { name: "help", short: "h", help: "this text" },
  ],
  examples: ["tsgost check /etc/gost/gost.yaml"],
  words: { min: 1, max: 1000 },
};

export function run(argv: readonly string[]): Promise<number> {
  const values = parseOptions(SPEC, argv);
  if (values.has("help")) {
    printOut(commandHelp(SPEC));
    return Promise.resolve(EXIT_OK);
  }
  let bad = 0;
  for (const file of values.words) {
    try {
      const loaded = loadDocument({ ...loadFlags(values), sources: [file] }, process.env);
      const { document, reading } = loaded;
      prepareStart({ config: modelOf(loaded), document, reading, environment: process.env });
      printWarnings(loaded);
      printOut(`${file}: ok`);
    } catch (error) {
      if (!(error instanceof TsgostError)) throw error;
      process.stderr.write(`tsgost: ${error.message}\n`);
      bad++;
    }
  }
  return Promise.resolve(bad === 0 ? EXIT_OK : EXIT_USAGE);
}
