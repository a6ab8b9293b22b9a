/**
 * `npm run test:corpus -- DIR [--all] [--propose]`: the captures of DIR against its truth.json; see
 * corpus.ts. `--all` also replays each with every upstream and way with checksums, on all builds of
 * the core, which must give the same bytes. `--propose` prints the differences as JSON.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { CHECKSUMS, UPSTREAMS } from "../../src/replay/types.ts";
import { BUILD_NAMES, coreModule } from "../kit/core-setup.ts";
import {
  comparable,
  countDifferences,
  hashDifferences,
  readTruth,
  replayFile,
  type Difference,
  type Exception,
  type TruthFile,
} from "./corpus.ts";

const EXCEPTIONS = fileURLToPath(new URL("../../fixtures/corpus-exceptions.json", import.meta.url));
/** Of the connections that are compared. */
const EXCEPTIONS_SHARE_MAX = 0.05;

const [folder = "", ...flags] = process.argv.slice(2);
const isThorough = flags.includes("--all");
const totals = { captures: 0, packets: 0, flows: 0, right: 0, excused: 0 };
const faults: string[] = [];
const used = new Set<Exception>();
const differences: Difference[] = [];

function wasmOf(name: (typeof BUILD_NAMES)[number]): WebAssembly.Module {
  return coreModule(name) as WebAssembly.Module;
}

/** Every upstream and way with checksums on every build: no trap, no leak, the same bytes. */
function checkBuilds(path: string): void {
  for (const upstream of UPSTREAMS) {
    for (const checksums of upstream === "recorded" ? CHECKSUMS : (["repair"] as const)) {
      const hashes = BUILD_NAMES.map((name) => {
        const { result } = replayFile(path, { wasm: wasmOf(name), upstream, checksums });
        if (result.leaks.length > 0) faults.push(`${path}: leaked ${result.leaks.join("; ")}`);
        return result.sha256;
      });
      if (new Set(hashes).size > 1) faults.push(`${path}: ${upstream}: builds differ`);
    }
  }
}

function check(truth: TruthFile, excused: readonly Exception[]): void {
  const path = join(folder, truth.file);
  const setting = { wasm: wasmOf("simd"), upstream: "recorded", checksums: "repair" } as const;
  const replayed = replayFile(path, setting);
  totals.captures++;
  totals.packets += replayed.result.packets;
  totals.flows += comparable(truth).length;
  if (replayed.result.leaks.length > 0) faults.push(`${truth.file}: leaked`);
  const hashes = hashDifferences(truth, replayed);
  totals.right += comparable(truth).length - hashes.length;
  for (const difference of [...countDifferences(truth, replayed), ...hashes]) {
    differences.push(difference);
    const exception = excused.find(
      ({ capture, field }) => capture === difference.capture && field === difference.field,
    );
    if (exception !== undefined && exception.ours === difference.ours) {
      used.add(exception);
      if (difference.field.startsWith("client_sha256")) totals.excused++;
      continue;
    }
    const { capture, field, truth: expected, ours, note } = difference;
    faults.push(`${capture}: ${field}: ${ours}, truth ${expected} (${note})`);
  }
  if (isThorough) checkBuilds(path);
}

if (folder === "") {
  console.error("usage: npm run test:corpus -- DIR [--all] [--propose]");
  process.exit(2);
}
const { exceptions } = JSON.parse(readFileSync(EXCEPTIONS, "utf8")) as {
  exceptions: readonly Exception[];
};
const seen = new Set<string>();
for (const truth of readTruth(folder)) {
  seen.add(truth.file);
  try {
    check(truth, exceptions);
  } catch (error) {
    faults.push(`${truth.file}: ${error instanceof Error ? (error.stack ?? "") : String(error)}`);
  }
}
for (const exception of exceptions) {
  if (used.has(exception) || !seen.has(exception.capture)) continue;
  faults.push(`${exception.capture}: ${exception.field}: the exception is not needed any more`);
}
if (flags.includes("--propose")) console.log(JSON.stringify(differences, null, 1));
for (const fault of faults) console.log(fault);
const share = totals.flows === 0 ? 0 : totals.excused / totals.flows;
console.log(
  `${totals.captures} captures, ${totals.packets} packets; ${totals.right} of ${totals.flows} ` +
    `flows with the right hash, ${totals.excused} excused (${(share * 100).toFixed(1)} %); ` +
    `${faults.length} faults`,
);
process.exitCode = faults.length > 0 || share > EXCEPTIONS_SHARE_MAX ? 1 : 0;
