/** Which tests know most about which files of the core, and which of the others are quick. */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { ROOT } from "../lint/sources.ts";

/** Folders of tests by folder of the core, those that know most first. */
const AREAS: Readonly<Record<string, readonly string[]>> = {
  wire: ["wire", "ip", "udp", "tcp"],
  ip: ["ip", "udp"],
  udp: ["udp"],
  flow: ["udp", "tcp", "abi"],
  tcp: ["tcp"],
};
const QUICK = ["tcp", "udp", "ip", "wire", "flow", "abi", "mem", "script"];
/** Tests of whole runs, the last resort. */
const LAST = ["test/mutants/last.ts"];

function testsIn(area: string): string[] {
  const folder = join("test", area);
  try {
    return readdirSync(join(ROOT, folder))
      .filter((name) => name.endsWith(".test.ts"))
      .sort()
      .map((name) => join(folder, name));
  } catch {
    return [];
  }
}

/** A test of the file's own name comes first: what tests tcp/holes.ts may be tcp/holes.test.ts. */
function nearFirst(tests: readonly string[], file: string): string[] {
  const stem = file.slice(file.lastIndexOf("/") + 1).replace(/\.ts$/, "");
  const isNear = (test: string): boolean => test.endsWith(`/${stem}.test.ts`);
  return [...tests.filter(isNear), ...tests.filter((test) => !isNear(test))];
}

/** Test files for a mutant of `file`, in the order to run them. */
export function testsFor(file: string): string[] {
  const area = file.split("/")[1] ?? "";
  const own = nearFirst((AREAS[area] ?? []).flatMap(testsIn), file);
  const all = [...own, ...QUICK.flatMap(testsIn), ...LAST];
  return [...new Set(all)].map((path) => join(ROOT, path));
}
