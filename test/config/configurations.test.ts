/**
 * The documented examples, configurations as people have them, and wrong ones: the document that
 * GOST makes of each, and what we say to it. The JSON Schema takes the good files and refuses
 * wrong ones.
 */
import { readFileSync, readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { Ajv2020 } from "ajv/dist/2020.js";
import type { ValidateFunction } from "ajv";
import * as assert from "uvu/assert";
import { parse } from "yaml";
import { parseFlags } from "../../src/config/flags.ts";
import { jsonSchema } from "../../src/config/json-schema.ts";
import { loadDocument, modelOf } from "../../src/config/load.ts";
import { printDocument } from "../../src/config/print.ts";
import { prepareStart } from "../../src/config/start.ts";
import { suite } from "../kit/suite.ts";
import { refusal } from "./read.ts";

interface Case {
  readonly name: string;
  readonly args: readonly string[];
  /** What GOST prints, or says. */
  readonly document?: unknown;
  readonly gost?: string;
  /** Our document where it is another one. */
  readonly ours?: unknown;
  readonly warnings?: readonly string[];
  readonly error?: string;
  readonly start?: string;
}

const FOLDER = fileURLToPath(new URL("../../fixtures/config/files/", import.meta.url));
const path = new URL("../../fixtures/config/configurations.json", import.meta.url);
const { cases } = JSON.parse(readFileSync(path, "utf8")) as { readonly cases: readonly Case[] };

function flagsOf(args: readonly string[], ...more: readonly string[]) {
  return parseFlags([...more, ...args.map((word) => word.replace(/^FILE:/, FOLDER))]);
}

function print(args: readonly string[], ...more: readonly string[]): unknown {
  const { document } = loadDocument(flagsOf(args, ...more), { HOME: "/nowhere" });
  return parse(printDocument(document, { format: "yaml", showSecrets: true }));
}

const plain = (text: string): string => text.replaceAll(FOLDER, "");

/** What we say: warnings, and the error or what a start says. */
function judge(args: readonly string[]): Pick<Case, "warnings" | "error" | "start"> {
  let warnings: string[] = [];
  try {
    const loaded = loadDocument(flagsOf(args), {});
    const { document, reading } = loaded;
    const config = modelOf(loaded);
    warnings = reading.warnings.map(({ place, message }) => plain(`${place}: ${message}`));
    try {
      prepareStart({ config, document, reading, environment: {} });
    } catch (error) {
      return { warnings, start: plain((error as Error).message) };
    }
    return { warnings };
  } catch (error) {
    return { warnings, error: plain((error as Error).message) };
  }
}

const test = suite("config/configurations");

for (const { name, args, document, gost, ours, warnings = [], error, start } of cases) {
  test(`${name}: GOST's document, and ours`, () => {
    if (gost === undefined) assert.equal(print(args, "--compat"), document);
    else assert.is(refusal(() => print(args, "--compat")).exitCode, 1);
    const judged = judge(args);
    assert.is(judged.error, error);
    assert.equal(judged.warnings, warnings);
    // What a start says depends on what is built; these never are. Behind it is a list of those
    // that are.
    const cut = (text: string | undefined) => text?.replace(/ \(there are .*$/, "");
    if (start !== undefined) assert.is(cut(judged.start), cut(start));
    if (error === undefined) assert.equal(print(args), ours ?? document);
  });
}

test("every file is used, and there are enough of each kind", () => {
  const used = new Set(cases.flatMap(({ args }) => args).map((word) => word.replace("FILE:", "")));
  assert.equal(
    readdirSync(FOLDER).filter((name) => !used.has(name)),
    [],
  );
  const wrong = cases.filter(({ name }) => name.startsWith("bad: "));
  const documented = cases.filter(({ name }) => /^(V2|V3|TUNGO)-/.test(name));
  assert.ok(cases.length - wrong.length - documented.length >= 25);
  assert.ok(wrong.length >= 25);
  for (const { name, error, warnings } of wrong) {
    assert.ok(error !== undefined || warnings !== undefined, name);
  }
});

function validator(): ValidateFunction {
  return new Ajv2020({ allErrors: true, strict: false }).compile(jsonSchema());
}

/** Wrong, but not by its shape: names, and values whose meaning only the program knows. */
const BEYOND_SCHEMA = new Set(
  (
    "bad-api-auther bad-auther bad-bypass bad-chain bad-forwarder bad-group bad-hosts bad-interface " +
    "bad-metadata bad-net bad-network bad-port bad-resolver-chain bad-router bad-router-name bad-twice"
  ).split(" "),
);

test("the JSON Schema takes every good file and refuses wrong shapes", () => {
  const validate = validator();
  for (const name of readdirSync(FOLDER)) {
    const [stem = ""] = name.split(".");
    const value: unknown = parse(readFileSync(FOLDER + name, "utf8"), { merge: true });
    const isRight = !name.startsWith("bad-") || BEYOND_SCHEMA.has(stem);
    assert.is(validate(value), isRight, `${name}: ${JSON.stringify(validate.errors)}`);
  }
});

test("the JSON Schema names what is wrong", () => {
  const validate = validator();
  const faults = (value: unknown): string => {
    assert.is(validate(value), false, JSON.stringify(value));
    return JSON.stringify(validate.errors);
  };
  assert.match(faults({ servces: [] }), /servces/);
  assert.match(faults({ services: [{ name: "a", handler: { type: "rely" } }] }), /enum/);
  assert.match(faults({ bypasses: [{ name: "b", reload: "soon" }] }), /pattern/);
  assert.match(faults({ log: { level: "loud" } }), /enum/);
  const metadata = { keepalive: [1] };
  const service = { name: "a", listener: { type: "tcp", metadata } };
  assert.match(faults({ services: [service] }), /keepalive/);
  assert.is(validate({ services: [{ listener: { type: "tcp", metadata: { own: 1 } } }] }), true);
});

test("the JSON Schema tells what keys are for", () => {
  const text = JSON.stringify(jsonSchema());
  for (const part of [
    "limit for reading a request",
    "path of the WebSocket",
    "MTU of the device",
  ]) {
    assert.ok(text.includes(part), part);
  }
  assert.ok(text.length < 300_000, String(text.length));
});

test.run();
