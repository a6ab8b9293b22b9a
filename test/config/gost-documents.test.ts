/** -O with --compat: every recorded command line gives GOST's document. */
import { readFileSync } from "node:fs";
import * as assert from "uvu/assert";
import { parse } from "yaml";
import { parseFlags } from "../../src/config/flags.ts";
import { loadDocument } from "../../src/config/load.ts";
import { printDocument } from "../../src/config/print.ts";
import { suite } from "../kit/suite.ts";
import { refusal, withFiles } from "./read.ts";

interface Case {
  readonly args: readonly string[];
  readonly document?: unknown;
  readonly format?: "json";
  readonly error?: string;
  readonly exit?: number;
}

const path = new URL("../../fixtures/config/gost-documents.json", import.meta.url);
const fixture = JSON.parse(readFileSync(path, "utf8")) as {
  readonly files: Readonly<Record<string, string>>;
  readonly cases: readonly Case[];
};

function print(args: readonly string[], format: "yaml" | "json"): unknown {
  const { document } = loadDocument(parseFlags(["--compat", "--show-secrets", ...args]), {
    HOME: "/nowhere",
  });
  const text = printDocument(document, { format, showSecrets: true });
  return format === "json" ? JSON.parse(text) : parse(text);
}

const test = suite("config/gost-documents");

for (const [index, { args, document, format, error, exit }] of fixture.cases.entries()) {
  const named = args.map((word) => (Object.hasOwn(fixture.files, word) ? `FILE:${word}` : word));
  test(`${index}: ${args.join(" ")}`, () => {
    withFiles(fixture.files, named, (words) => {
      if (error === undefined) return assert.equal(print(words, format ?? "yaml"), document);
      const { message, exitCode } = refusal(() => print(words, "yaml"));
      assert.is(exitCode, exit);
      // The folders that were searched depend on the machine.
      const [start = "", cut] = error.split("…");
      const said = message.replace(/(?<=open )\S*\/(?=nonexist)/, "");
      if (cut === undefined) assert.is(said, error);
      else assert.ok(said.startsWith(start), said);
    });
  });
}

test("all recorded command lines are here", () => {
  assert.is(fixture.cases.length, 92);
});

test.run();
