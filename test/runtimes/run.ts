/**
 * `npm run test:runtimes [-- FOLDER]`: replays of fixtures/pcap/ (or of a folder's captures) give
 * the same sha256 in wasmtime (Python) as in Node, on the SIMD build and on the plain one. Exits
 * with 77 and a reason where wasmtime is missing; PYTHON names another interpreter.
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import * as abi from "../../assembly/abi.ts";
import { messageOf } from "../../src/errors.ts";
import { coreFile, coreModule } from "../kit/core-setup.ts";
import { FOLDER } from "../replay/golden.ts";
import { tapeOf } from "./tape.ts";

const EXIT_MISSING = 77;
const PLAYER = fileURLToPath(new URL("player.py", import.meta.url));
const { TX_BASE, TX_BYTES, GAUGES_BASE } = abi;
const CONSTANTS = Object.entries({ TX_BASE, TX_BYTES, GAUGES_BASE })
  .map(([name, value]) => `${name}=${value}`)
  .join(",");
/** Tapes that one process of the player gets. */
const BATCH = 20;

const python = process.env["PYTHON"] ?? "python3";
const folder = process.argv[2] ?? FOLDER;
const work = mkdtempSync(join(tmpdir(), "runtimes-"));

function missing(reason: string): never {
  console.log(`test:runtimes: not run: ${reason}`);
  rmSync(work, { recursive: true });
  process.exit(EXIT_MISSING);
}

const probe = spawnSync(
  python,
  ["-c", "import wasmtime, importlib.metadata as m; print(m.version('wasmtime'))"],
  {
    encoding: "utf8",
  },
);
if (probe.error !== undefined) missing(`${python}: ${messageOf(probe.error)}`);
if (probe.status !== 0) missing(`${python} has no module wasmtime (pip install wasmtime)`);
console.log(`wasmtime ${probe.stdout.trim()}`);

const files = readdirSync(folder).filter((name) => /\.pcap(ng)?$/.test(name));
let failed = files.length === 0;
for (const build of ["simd", "plain"] as const) {
  for (let first = 0; first < files.length; first += BATCH) {
    const tapes = files.slice(first, first + BATCH).flatMap((name) => {
      const tape = join(work, `${name}.tape`);
      try {
        writeFileSync(tape, tapeOf(join(folder, name), coreModule(build) as WebAssembly.Module));
      } catch (error) {
        console.log(`${name}: left out: ${messageOf(error)}`);
        return [];
      }
      return [tape];
    });
    const { status } = spawnSync(python, [PLAYER, CONSTANTS, coreFile(build), ...tapes], {
      stdio: "inherit",
    });
    failed ||= status !== 0;
    for (const tape of tapes) rmSync(tape);
  }
}
rmSync(work, { recursive: true });
console.log(failed ? "some replays differ" : `${files.length} captures: the same in both runtimes`);
process.exitCode = failed ? 1 : 0;
