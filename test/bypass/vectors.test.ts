/** What GOST answered for 1276 pairs of rules and targets, and where we answer otherwise. */
import { readFileSync } from "node:fs";
import * as assert from "uvu/assert";
import { codeOf } from "../../src/errors.ts";
import { suite } from "../kit/suite.ts";
import { makeBypass, splitAddress } from "./kit.ts";

const test = suite("bypass/vectors");

interface Vector {
  readonly rules: readonly string[];
  readonly whitelist: boolean;
  /** A character for each address: `+` bypassed, `-` not, `.` not asked. */
  readonly answers: string;
}

interface Vectors {
  readonly addresses: readonly string[];
  readonly vectors: readonly Vector[];
}

interface Deviation {
  readonly vector: string;
  readonly divergence: string;
  readonly instead?: string;
}

function load(name: string): unknown {
  const url = new URL(`../../fixtures/vectors/${name}.json`, import.meta.url);
  return JSON.parse(readFileSync(url, "utf8"));
}

const { addresses, vectors } = load("bypass") as Vectors;
const deviations = new Map(
  (load("deviations") as readonly Deviation[])
    .filter(({ vector }) => vector.startsWith("bypass/"))
    .map((entry) => [entry.vector, entry]),
);

function nameOf({ rules, whitelist }: Vector): string {
  return `bypass/${whitelist ? "whitelist " : ""}${JSON.stringify(rules)}`;
}

async function answersOf({ rules, whitelist, answers }: Vector, compat: boolean): Promise<string> {
  try {
    const bypass = await makeBypass(rules, { whitelist, compat });
    const said = addresses.map((address, index) => {
      if (answers[index] === ".") return ".";
      const { host, port } = splitAddress(address);
      return bypass.match("tcp", host, port) === undefined ? "-" : "+";
    });
    bypass.close();
    return said.join("");
  } catch (error) {
    if (codeOf(error) !== "TSGOST_ERR_CONFIG") throw error;
    return "refused";
  }
}

test("there are 1276 of them", () => {
  const asked = vectors.map(({ answers }) => answers.replaceAll(".", "").length);
  assert.is(
    asked.reduce((sum, count) => sum + count, 0),
    1276,
  );
  for (const { answers } of vectors) assert.is(answers.length, addresses.length);
});

test("with compat every answer is GOST's", async () => {
  for (const vector of vectors) {
    assert.is(await answersOf(vector, true), vector.answers, nameOf(vector));
  }
});

test("without compat every answer is GOST's, listed deviations aside", async () => {
  for (const vector of vectors) {
    const want = deviations.get(nameOf(vector))?.instead ?? vector.answers;
    assert.is(await answersOf(vector, false), want, nameOf(vector));
  }
});

test("deviations name vectors that exist, say why, and differ", () => {
  const known = new Map(vectors.map((vector) => [nameOf(vector), vector]));
  assert.is(known.size, vectors.length);
  for (const [name, { divergence, instead }] of deviations) {
    assert.match(divergence, /^chain-and-bypass\.md, divergence \d: /);
    assert.is.not(known.get(name)?.answers, undefined, name);
    assert.is.not(known.get(name)?.answers, instead, name);
  }
});

test.run();
