/** Wires services from the model and runs them until a signal ends the process. */
import type { Config } from "./config/model.ts";
import { planOf } from "./config/plan.ts";
import { EXIT_OK, TsgostError } from "./errors.ts";

export interface RunOptions {
  /** Print what would be made, and make nothing. */
  readonly dryRun: boolean;
  /** Warnings are errors. */
  readonly strict: boolean;
}

/** Answers the exit code. */
export function run(config: Config, options: RunOptions): Promise<number> {
  if (options.dryRun) {
    process.stdout.write(planOf(config).join("\n") + "\n");
    return Promise.resolve(EXIT_OK);
  }
  throw new TsgostError("TSGOST_ERR_UNBUILT", "services cannot be run yet; use --dry-run");
}
