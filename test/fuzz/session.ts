/** Some targets one after the other, each for its share of the time, watched for hangs. */
import { join } from "node:path";
import { ROOT } from "../lint/sources.ts";
import { FOLDER, Fuzzer, type Outcome } from "./engine.ts";
import type { Target } from "./target.ts";
import { edgesHit } from "./targets/core.ts";
import { Watchdog } from "./watchdog.ts";

/** No run of any target may take so long. */
const HANG_MS = 30_000;

export async function fuzz(
  targets: readonly Target[],
  ms: number,
  seed: number,
): Promise<readonly Outcome[]> {
  const watchdog = new Watchdog(HANG_MS, join(ROOT, FOLDER, "found"));
  const outcomes: Outcome[] = [];
  try {
    for (const target of targets) {
      watchdog.name(target.name);
      outcomes.push(await new Fuzzer(target, seed, watchdog).run(ms / targets.length));
      watchdog.rest();
    }
  } finally {
    await watchdog.close();
  }
  return outcomes;
}

/** One line, and what is needed to repeat each finding. */
export function tell(outcome: Outcome, seed: number): string {
  const { target, executions, shapes, findings } = outcome;
  const { hit, of } = target === "core" ? edgesHit() : { hit: 0, of: 0 };
  const places = of === 0 ? "" : `, ${hit} of ${of} places`;
  const head = `${target}: seed ${seed}, ${executions} runs, ${shapes} shapes${places}`;
  const lines = findings.map(({ message, command }) => `  ${command}\n    ${message}`);
  return [`${head}, ${findings.length} findings`, ...lines].join("\n");
}
