/** GOST's own form of the command line: `tsgost -L … -F … -C …`. */
import { parseFlags } from "../config/flags.ts";
import type { Flags } from "../config/flags.ts";
import { EXIT_OK, usageError } from "../errors.ts";
import { programHelp } from "./help.ts";
import { printOut, versionLine } from "./version.ts";

/** `commands` are name and summary of the sub-commands, for the help. */
export async function run(
  argv: readonly string[],
  commands: readonly (readonly [string, string])[],
): Promise<number> {
  const flags = parseFlags(argv);
  if (flags.help) {
    printOut(programHelp(commands));
    return EXIT_OK;
  }
  if (flags.version) {
    printOut(versionLine());
    return EXIT_OK;
  }
  if (flags.print !== "") return printConfiguration(flags);
  if (flags.compat) {
    throw usageError("--compat is for -O only; to serve as GOST does would open or leak");
  }
  const [{ load }, { startLoaded }] = await Promise.all([
    import("../config/load.ts"),
    import("./common.ts"),
  ]);
  const loaded = await load(flags, process.env);
  const options = { dryRun: flags.dryRun, strict: flags.strict };
  return startLoaded(loaded, options, () => load(flags, process.env));
}

async function printConfiguration(flags: Flags): Promise<number> {
  const word = flags.print.toLowerCase();
  if (word !== "yaml" && word !== "json" && !flags.compat) {
    throw usageError(`-O ${JSON.stringify(flags.print)} is not yaml or json`);
  }
  const [{ load, modelOf }, { printDocument }, { printWarnings }] = await Promise.all([
    import("../config/load.ts"),
    import("../config/print.ts"),
    import("./common.ts"),
  ]);
  const loaded = await load(flags, process.env);
  // GOST prints what it would refuse to start; we do so only when asked to answer as GOST.
  if (!flags.compat) modelOf(loaded);
  printWarnings(loaded);
  const format = word === "json" ? "json" : "yaml";
  const { showSecrets, compat } = flags;
  printOut(printDocument(loaded.document, { format, showSecrets, compat }));
  return EXIT_OK;
}
