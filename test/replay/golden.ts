/**
 * The golden results of fixtures/pcap/. `node --import tsx test/replay/golden.ts` writes captures
 * and results anew, after a change of the core that is meant to change what it puts out.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { join, resolve } from "node:path";
import { UPSTREAMS, type ReplayResult, type Upstream } from "../../src/replay/types.ts";
import { coreModule, type Build } from "../kit/core-setup.ts";
import { CAPTURES } from "./captures.ts";
import { replayFile } from "./corpus.ts";

export const FOLDER = fileURLToPath(new URL("../../fixtures/pcap/", import.meta.url));
const GOLDEN = join(FOLDER, "golden.json");

export type Golden = Pick<ReplayResult, "packets" | "flows" | "drops" | "sha256" | "out">;

interface GoldenFile {
  readonly about: string;
  readonly results: Readonly<Record<string, Readonly<Record<Upstream, Golden>>>>;
}

const ABOUT =
  "What replaying each capture of this folder gives, by upstream. Written by test/replay/golden.ts.";

export function replayed(name: string, build: Build, upstream: Upstream): ReplayResult {
  const wasm = coreModule(build) as WebAssembly.Module;
  return replayFile(join(FOLDER, name), { wasm, upstream, checksums: "verify" }).result;
}

export function goldenOf({ packets, flows, drops, sha256, out }: ReplayResult): Golden {
  return { packets, flows, drops, sha256, out };
}

export function readGolden(): GoldenFile["results"] {
  return (JSON.parse(readFileSync(GOLDEN, "utf8")) as GoldenFile).results;
}

function write(): void {
  const results: Record<string, Record<string, Golden>> = {};
  for (const [name, make] of Object.entries(CAPTURES)) {
    writeFileSync(join(FOLDER, name), make());
    const byUpstream = UPSTREAMS.map((upstream) => [
      upstream,
      goldenOf(replayed(name, "simd", upstream)),
    ]);
    results[name] = Object.fromEntries(byUpstream) as Record<string, Golden>;
  }
  writeFileSync(GOLDEN, JSON.stringify({ about: ABOUT, results }, null, 1) + "\n");
}

if (process.argv[1] !== undefined && resolve(process.argv[1]) === fileURLToPath(import.meta.url)) {
  write();
}
