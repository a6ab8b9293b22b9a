/** The log and the error type. */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
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
import { createLogger } from "../../src/log.ts";
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

test.run();
