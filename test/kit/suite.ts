/**
 * `suite(name)` over uvu: a registration function with timeouts, hooks that cannot be swallowed,
 * and skips that say why. A file creates suites, registers tests, and calls `run()` on each.
 *
 * Theory: uvu runs the bodies and prints them for a person who runs one file by hand. What the
 * runner (`test/run.ts`) counts are the records that this file writes, one JSON line each, to the
 * descriptor named in TSGOST_TEST_FD. The runner compares what was registered with what came to an
 * end, so a test that never returned, a hook that threw or a forgotten `run()` are failures.
 */
import { writeSync } from "node:fs";
import { suite as uvuSuite } from "uvu";

export type Body = () => void | Promise<void>;

/** One line of the report, child to runner. */
export type Report =
  | { kind: "suite"; suite: string }
  | { kind: "run"; suite: string; count: number }
  | { kind: "test"; suite: string; name: string; ok: boolean; ms: number; message: string }
  | { kind: "skip"; suite: string; name: string; reason: string };

export interface Hook {
  (body: Body): void;
  each(body: Body): void;
}

export interface Suite {
  /** Registers a test; its name says the behaviour. */
  (name: string, body: Body): void;
  /** Time allowed to each test that is registered after this call; 30 s unless told. */
  timeout(ms: number): void;
  /**
   * With two arguments: unless `condition` holds, tests registered after this call are recorded as
   * skipped. With a name and a body: the same for this one test.
   */
  skipUnless(condition: boolean, reason: string, name?: string, body?: Body): void;
  before: Hook;
  after: Hook;
  /** Runs what was registered; must be called, once. */
  run(): void;
}

const DEFAULT_TIMEOUT_MS = 30_000;

const reportFd = Number(process.env["TSGOST_TEST_FD"] ?? -1);
delete process.env["TSGOST_TEST_FD"];

function report(line: Report): void {
  if (reportFd >= 0) writeSync(reportFd, JSON.stringify(line) + "\n");
}

/**
 * uvu prints only real errors; everything else that may be thrown is turned into one. It prints the
 * message and all after the stack's first line, so the stack is cut to one line and our own frames.
 */
function asError(thrown: unknown): Error {
  const error = thrown instanceof Error ? thrown : new Error(`thrown: ${String(thrown)}`);
  const { message, stack = "" } = error;
  const frames = stack
    .slice(stack.indexOf(message) + message.length)
    .split("\n")
    .slice(1);
  const own = frames.filter((frame) => !/node_modules|node:|kit\/suite\.ts/.test(frame));
  error.stack = [`${error.name}: ${message.split("\n", 1)[0] ?? ""}`, ...own].join("\n");
  return error;
}

async function withTimeout(body: Body, ms: number, what: string): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} took more than ${ms} ms`)), ms);
  });
  try {
    await Promise.race([Promise.resolve().then(body), late]);
  } finally {
    clearTimeout(timer);
  }
}

class Registry {
  readonly beforeAll: Body[] = [];
  readonly afterAll: Body[] = [];
  readonly beforeEach: Body[] = [];
  readonly afterEach: Body[] = [];
  timeoutMs = DEFAULT_TIMEOUT_MS;
  skipReason = "";
  count = 0;
  skips = 0;
  hasRun = false;
  /** Why every test fails: a `before` hook did. */
  beforeFailure: Error | undefined;
  readonly names = new Set<string>();
  readonly name: string;

  constructor(name: string) {
    this.name = name;
  }

  add(name: string): void {
    if (this.hasRun) throw new Error(`${this.name}: "${name}" comes after run()`);
    if (this.names.has(name)) throw new Error(`${this.name}: two tests are called "${name}"`);
    this.names.add(name);
  }

  skip(name: string, reason: string): void {
    this.add(name);
    this.skips++;
    report({ kind: "skip", suite: this.name, name, reason });
    if (reportFd < 0) console.log(`skipped: ${this.name} "${name}": ${reason}`);
  }

  /** One test with its hooks; afterEach runs whatever happened before it. */
  async runOne(name: string, body: Body, timeoutMs: number): Promise<void> {
    const from = performance.now();
    let failure = this.beforeFailure;
    if (failure === undefined) {
      try {
        for (const hook of this.beforeEach) await withTimeout(hook, timeoutMs, "before.each");
        await withTimeout(body, timeoutMs, "the test");
      } catch (thrown) {
        failure = asError(thrown);
      }
      for (const hook of this.afterEach) {
        try {
          await withTimeout(hook, timeoutMs, "after.each");
        } catch (thrown) {
          failure ??= asError(thrown);
        }
      }
    }
    const ms = Math.round(performance.now() - from);
    const message = failure?.message ?? "";
    report({ kind: "test", suite: this.name, name, ok: failure === undefined, ms, message });
    if (failure !== undefined) throw failure;
  }

  async runBefore(): Promise<void> {
    try {
      for (const hook of this.beforeAll) await withTimeout(hook, this.timeoutMs, "before");
    } catch (thrown) {
      this.beforeFailure = asError(thrown);
    }
  }

  async runAfter(): Promise<void> {
    for (const hook of this.afterAll) {
      try {
        await withTimeout(hook, this.timeoutMs, "after");
      } catch (thrown) {
        const { message, stack } = asError(thrown);
        report({ kind: "test", suite: this.name, name: "after", ok: false, ms: 0, message });
        console.error(`${this.name}: after hook failed: ${stack ?? message}`);
        process.exitCode = 1;
      }
    }
  }
}

function hooks(all: Body[], each: Body[]): Hook {
  return Object.assign((body: Body) => void all.push(body), {
    each: (body: Body) => void each.push(body),
  });
}

/** A new suite; `name` is area/topic. */
export function suite(name: string): Suite {
  const registry = new Registry(name);
  const inner = uvuSuite(name);
  report({ kind: "suite", suite: name });
  inner.before(() => registry.runBefore());
  inner.after(() => registry.runAfter());

  const register = (testName: string, body: Body): void => {
    if (registry.skipReason !== "") {
      registry.skip(testName, registry.skipReason);
      return;
    }
    registry.add(testName);
    registry.count++;
    const timeoutMs = registry.timeoutMs;
    inner(testName, () => registry.runOne(testName, body, timeoutMs));
  };

  return Object.assign(register, {
    timeout(ms: number): void {
      registry.timeoutMs = ms;
    },
    skipUnless(condition: boolean, reason: string, testName?: string, body?: Body): void {
      if (testName === undefined || body === undefined) {
        if (!condition) registry.skipReason = reason;
      } else if (condition) {
        register(testName, body);
      } else {
        registry.skip(testName, reason);
      }
    },
    before: hooks(registry.beforeAll, registry.beforeEach),
    after: hooks(registry.afterAll, registry.afterEach),
    run(): void {
      if (registry.hasRun) throw new Error(`${name}: run() was called twice`);
      if (registry.count + registry.skips === 0) throw new Error(`${name}: no tests`);
      registry.hasRun = true;
      report({ kind: "run", suite: name, count: registry.count });
      inner.run();
    },
  });
}
