/**
 * Runs test files in one process, in order: `worker.ts FILE…`. The kit reports each test to
 * TSGOST_TEST_FD; whoever started this ends it with the first that fails.
 */
import { pathToFileURL } from "node:url";

interface Uvu {
  UVU_DEFER?: number;
  UVU_INDEX?: number;
  UVU_QUEUE?: unknown[][];
}

const uvu = globalThis as Uvu;
uvu.UVU_DEFER = 1;
const { exec } = (await import("uvu")) as unknown as { exec(bail: boolean): Promise<void> };
for (const [index, file] of process.argv.slice(2).entries()) {
  uvu.UVU_QUEUE?.push([file]);
  uvu.UVU_INDEX = index;
  await import(pathToFileURL(file).href);
}
await exec(false);
