/**
 * Runs tests against a module until the first fails, in a process of its own: a mutant may hang,
 * trap, or fill memory.
 */
import { spawn } from "node:child_process";
import { join } from "node:path";
import { ROOT } from "../lint/sources.ts";
import type { Report } from "../kit/suite.ts";

export interface Verdict {
  /** The test that failed, "hang", "crash", or "" if the module survived. */
  readonly killer: string;
  readonly message: string;
  readonly tests: number;
  readonly ms: number;
}

export interface Trial {
  readonly wasm: string;
  readonly files: readonly string[];
  /** No sign of life for so long is a hang. */
  readonly silenceMs: number;
  /** Tests that fail without a mutant too. */
  readonly ignored: ReadonlySet<string>;
  /** How many tests there are: fewer, and the process ended before its end. */
  readonly expected: number;
}

const STARTUP_MS = 60_000;

export function judge({ wasm, files, silenceMs, ignored, expected }: Trial): Promise<Verdict> {
  const worker = join(ROOT, "test/mutants/worker.ts");
  const node = ["--no-warnings", "--max-old-space-size=1024", "--import", "tsx"];
  return new Promise((done) => {
    const from = performance.now();
    let [killer, message, tests, rest] = ["", "", 0, ""];
    const child = spawn(process.execPath, [...node, worker, ...files], {
      cwd: ROOT,
      stdio: ["ignore", "ignore", "ignore", "pipe"],
      env: { ...process.env, TSGOST_CORE_WASM: wasm, TSGOST_TEST_FD: "3" },
    });
    const end = (why: string, text: string): void => {
      if (killer !== "") return;
      [killer, message] = [why, text];
      child.kill("SIGKILL");
    };
    let timer = setTimeout(() => end("hang", "did not start"), STARTUP_MS);
    const onLine = (line: string): void => {
      clearTimeout(timer);
      timer = setTimeout(() => end("hang", `nothing for ${silenceMs} ms`), silenceMs);
      const report = JSON.parse(line) as Report;
      if (report.kind !== "test") return;
      tests++;
      const name = `${report.suite} "${report.name}"`;
      if (!report.ok && !ignored.has(name)) end(name, report.message);
    };
    child.stdio[3]?.on("data", (data: Buffer) => {
      const lines = (rest + data.toString("utf8")).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) onLine(line);
    });
    child.on("close", (code, signal) => {
      clearTimeout(timer);
      if (killer === "" && tests < expected)
        [killer, message] = ["crash", `exit ${code ?? signal ?? ""}`];
      done({
        killer,
        message: message.slice(0, 300),
        tests,
        ms: Math.round(performance.now() - from),
      });
    });
  });
}
