/** The log and the error type. */
import { gunzipSync } from "node:zlib";
import { mkdtempSync, readFileSync, readdirSync, readlinkSync, renameSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as assert from "uvu/assert";
import {
  TsgostError,
  codeOf,
  configError,
  defect,
  messageOf,
  usageError,
} from "../../src/errors.ts";
import { combineLoggers, createLogger } from "../../src/log.ts";
import { LogFile, type LogRotation } from "../../src/log-file.ts";
import type { LogFormat, Logger, LogLevel } from "../../src/log.ts";
import { suite } from "../kit/suite.ts";

/** What `use` logged, line by line. */
function logged(level: LogLevel, format: LogFormat, use: (logger: Logger) => void): string[] {
  const folder = mkdtempSync(join(tmpdir(), "tsgost-log-"));
  try {
    const output = join(folder, "log");
    use(createLogger({ level, format, output }, { kind: "service" }));
    return readFileSync(output, "utf8").split("\n").slice(0, -1);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const test = suite("log");

test("JSON lines have GOST's fields and those of the parents", () => {
  const [line] = logged("info", "json", (logger) => {
    logger.child({ service: "a" }).warn("trouble", { bytes: 3, cause: new Error("why") });
  });
  const { time, ...fields } = JSON.parse(line!) as Record<string, unknown>;
  assert.equal(fields, {
    kind: "service",
    service: "a",
    bytes: 3,
    cause: "why",
    level: "warn",
    msg: "trouble",
  });
  assert.match(String(time), /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}(Z|[+-]\d\d:\d\d)$/);
});

test("text lines begin with the message, other levels are named before it", () => {
  const lines = logged("trace", "text", (logger) => {
    logger.info("ready", { name: "tungo", why: "two words" });
    logger.error("line\nbreak");
  });
  assert.match(lines[0]!, /^ready kind=service name=tungo why="two words" time=/);
  assert.match(lines[1]!, /^error: line break kind=service time=/);
  assert.is(lines.length, 2);
});

test("levels below the chosen one are not written", () => {
  const lines = logged("warn", "json", (logger) => {
    for (const level of ["trace", "debug", "info", "warn", "error", "fatal"] as const) {
      logger[level](level);
      assert.is(logger.enabled(level), ["warn", "error", "fatal"].includes(level));
    }
  });
  assert.equal(
    lines.map((line) => (JSON.parse(line) as { msg: string }).msg),
    ["warn", "error", "fatal"],
  );
});

test("what a key calls a secret is masked, at any depth", () => {
  const [line] = logged("info", "json", (logger) => {
    logger.info("x", { password: "p1", node: { auth: "p2", Token: "p3", user: "u" } });
  });
  assert.not.match(line!, /p1|p2|p3/);
  assert.match(line!, /"user":"u"/);
});

test("a cause is logged once in its period, and how often it came meanwhile", () => {
  const lines = logged("info", "json", (logger) => {
    for (let count = 0; count < 5; count++) logger.once("a", 60_000, { message: "often" });
    logger.once("b", 60_000, { level: "error", message: "other" });
    logger.once("c", 0, { message: "again" });
    logger.once("c", 0, { message: "again" });
    logger.once("d", 1, { message: "held" });
    logger.once("d", 1, { message: "held" });
    const until = performance.now() + 5;
    while (performance.now() < until);
    logger.once("d", 1, { message: "held" });
  });
  const entries = lines.map((line) => JSON.parse(line) as { msg: string; repeated?: number });
  assert.equal(
    entries.map(({ msg }) => msg),
    ["often", "other", "again", "again", "held", "held"],
  );
  assert.is(entries[5]!.repeated, 1);
});

test("nothing that is logged makes the logger throw or write without bound", () => {
  const round: Record<string, unknown> = {};
  round["self"] = round;
  const hostile = {
    round,
    big: "x".repeat(100_000),
    number: NaN,
    long: 10n,
    call: () => 1,
    get bad(): string {
      throw new Error("no");
    },
  };
  const lines = logged("info", "json", (logger) => {
    logger.info("round", { round, big: hostile.big, number: hostile.number, long: hostile.long });
    logger.info("bad", { get: hostile });
    logger.info("symbol", { s: Symbol("s"), f: hostile.call, u: undefined });
  });
  assert.ok(lines.length >= 2);
  assert.ok(lines.every((line) => line.length < 20_000));
});

test("errors carry code and exit code", () => {
  const cause = new Error("cause");
  const error = new TsgostError("TSGOST_ERR_X", "text", { cause });
  assert.equal(
    [error.code, error.exitCode, error.cause, error.name],
    ["TSGOST_ERR_X", 1, cause, "TsgostError"],
  );
  assert.is(usageError("x").exitCode, 2);
  assert.is(configError("here", "x").message, "here: x");
  assert.is(defect("x").exitCode, 70);
});

test("every thrown thing has a message of one line", () => {
  assert.is(messageOf(new Error("a\nb")), "a b");
  assert.is(messageOf(new AggregateError([new Error("first")])), "first");
  assert.is(messageOf(Object.assign(new Error(""), { code: "EPERM" })), "EPERM");
  assert.is(messageOf("text"), "text");
  assert.is(messageOf(undefined), "undefined");
  assert.is(
    messageOf({
      toString: () => {
        throw new Error("no");
      },
    }),
    "unknown error",
  );
  assert.is(codeOf({ code: "E" }), "E");
  assert.is(codeOf(null), "");
});

const ROTATION: LogRotation = {
  maxBytes: 100,
  maxAgeMs: 0,
  maxBackups: 2,
  localTime: false,
  compress: false,
};

/** Runs `use` with a log file in a folder of its own; the clock is its argument. */
function withFile(
  rotation: LogRotation,
  use: (file: LogFile, clock: { ms: number }) => void,
): string {
  const folder = mkdtempSync(join(tmpdir(), "tsgost-log-"));
  const clock = { ms: Date.UTC(2026, 0, 2, 15, 4, 5, 123) };
  const file = new LogFile(join(folder, "app.log"), rotation, () => clock.ms);
  use(file, clock);
  return folder;
}

function fill(file: LogFile, text: string): void {
  const bytes = Buffer.from(text);
  file.makeRoom(bytes.length);
  file.write(bytes);
}

test("a file that grows too big is put aside under its time, and so many stay", () => {
  const folder = withFile(ROTATION, (file, clock) => {
    for (const letter of "abcde") {
      fill(file, letter.repeat(60));
      clock.ms += 1000;
    }
    file.close();
    assert.is(file.descriptor, -1);
  });
  const names = readdirSync(folder).sort();
  assert.equal(names, [
    "app-2026-01-02T15-04-08.123.log",
    "app-2026-01-02T15-04-09.123.log",
    "app.log",
  ]);
  const texts = names.map((name) => readFileSync(join(folder, name), "utf8").charAt(0));
  assert.equal(texts, ["c", "d", "e"]);
  rmSync(folder, { recursive: true });
});

test("old files go by age, and two of one moment get two names", () => {
  const rotation = { ...ROTATION, maxBackups: 0, maxAgeMs: 10_000 };
  const folder = withFile(rotation, (file, clock) => {
    fill(file, "a".repeat(90));
    fill(file, "b".repeat(90));
    fill(file, "c".repeat(90));
    assert.is(readdirSync(folderOf(file)).length, 3);
    clock.ms += 11_000;
    fill(file, "d".repeat(90));
    file.close();
  });
  assert.equal(readdirSync(folder).sort(), ["app-2026-01-02T15-04-16.123.log", "app.log"]);
  rmSync(folder, { recursive: true });
});

function folderOf(file: LogFile): string {
  return join(readlinkSync(`/proc/self/fd/${file.descriptor}`), "..");
}

test("files that are put aside are compressed if asked for", async () => {
  const folder = withFile({ ...ROTATION, compress: true }, (file) => {
    fill(file, "a".repeat(90));
    fill(file, "b".repeat(90));
    file.close();
  });
  const zipped = "app-2026-01-02T15-04-05.123.log.gz";
  const isPlain = (name: string): boolean => name.endsWith("123.log");
  for (let tries = 0; tries < 500 && readdirSync(folder).some(isPlain); tries++) {
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  assert.equal(readdirSync(folder).sort(), [zipped, "app.log"]);
  assert.is(gunzipSync(readFileSync(join(folder, zipped))).toString(), "a".repeat(90));
  rmSync(folder, { recursive: true });
});

test("a file that was moved away is opened anew when asked", () => {
  const folder = withFile(ROTATION, (file) => {
    fill(file, "one");
    const path = readlinkSync(`/proc/self/fd/${file.descriptor}`);
    renameSync(path, `${path}.old`);
    file.reopen();
    fill(file, "two");
    file.close();
  });
  assert.is(readFileSync(join(folder, "app.log"), "utf8"), "two");
  assert.is(readFileSync(join(folder, "app.log.old"), "utf8"), "one");
  rmSync(folder, { recursive: true });
});

test("DOS-14: a storm of lines is cut, and how much was cut is said", async () => {
  const folder = mkdtempSync(join(tmpdir(), "tsgost-log-"));
  const output = join(folder, "log");
  const log = createLogger({ level: "info", format: "json", output });
  for (let i = 0; i < 20_000; i++) log.info("storm");
  const stormed = readFileSync(output, "utf8").split("\n").length - 1;
  assert.ok(stormed >= 5000 && stormed < 20_000, `${stormed} lines`);
  await new Promise((resolve) => setTimeout(resolve, 50));
  log.info("after");
  const entries = readFileSync(output, "utf8")
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as { msg: string; leftOut?: number });
  assert.is(entries.at(-1)?.msg, "after");
  const leftOut = entries.reduce((sum, entry) => sum + (entry.leftOut ?? 0), 0);
  assert.is(entries.length + leftOut, 20_001);
  rmSync(folder, { recursive: true });
});

test("several loggers get each entry, each by its own level and with its name", () => {
  const folder = mkdtempSync(join(tmpdir(), "tsgost-log-"));
  const named = new Map(
    (["debug", "warn"] as const).map((level) => {
      const output = join(folder, level);
      return [level, createLogger({ level, format: "json", output })] as const;
    }),
  );
  const both = combineLoggers(named).child({ service: "s" });
  both.debug("one");
  both.error("two");
  both.once("key", 1000, { message: "three" });
  both.once("key", 1000, { message: "never" });
  assert.ok(both.enabled("debug"));
  assert.not(both.enabled("trace"));
  const read = (name: string): unknown[] =>
    readFileSync(join(folder, name), "utf8")
      .trimEnd()
      .split("\n")
      .map((line) => {
        const { msg, logger, service } = JSON.parse(line) as Record<string, unknown>;
        return [msg, logger, service];
      });
  assert.equal(
    read("debug"),
    ["one", "two", "three"].map((msg) => [msg, "debug", "s"]),
  );
  assert.equal(
    read("warn"),
    ["two", "three"].map((msg) => [msg, "warn", "s"]),
  );
  rmSync(folder, { recursive: true });
});

test.run();
