/** Regular expressions of hosts: Go's syntax, JavaScript's answers where both agree, and time. */
import * as assert from "uvu/assert";
import { PATTERN_BYTES_MAX } from "../../src/match/expression.ts";
import { HostExpression } from "../../src/match/program.ts";
import { Random } from "../kit/random.ts";
import { suite } from "../kit/suite.ts";

const test = suite("match/expression");

const MATCHES: readonly (readonly [pattern: string, yes: string, no: string])[] = [
  ["example", "an.example.com", "an.exam.ple"],
  ["^example", "example.com", "an.example.com"],
  ["com$", "example.com", "example.com.net"],
  [String.raw`^ads\d+\.example\.com$`, "ads17.example.com", "ads17xexample.com"],
  [String.raw`^\w{2,3}$`, "ab_", "abcd"],
  ["^(a|b|)c$", "c", "dc"],
  ["^[^a-z.]+$", "1234", "12a4"],
  ["^[]a-]+$", "]-a", "b"],
  ["^a{2}b{1,}c{0,2}$", "aabbc", "abbc"],
  ["^a{,2}$", "a{,2}", "aa"],
  ["(?i)EXAMPLE", "example", "exempel"],
  ["(?i)^[^A]$", "b", "a"],
  ["^(?i:A)b$", "ab", "aB"],
  ["^(?P<name>a+)(?:b)?$", "aab", "abb"],
  ["^[[:digit:]]+[[:^digit:]]$", "12a", "123"],
  [String.raw`^\Qa.b*\E+$`, "a.b**", "axb*"],
  [String.raw`^\x61\x{62}$`, "ab", "ba"],
  [String.raw`\bb\b`, "a.b.c", "abc"],
  [String.raw`a\Bb`, "ab", "a.b"],
  [String.raw`\Aa.c\z`, "abc", "xabc"],
  [String.raw`^[\d.]+$`, "1.2", "1a2"],
  ["^a*?b+?$", "aab", "aa"],
  ["^.$", "ü", "üü"],
  ["", "anything", "\u0000never"],
];

for (const [pattern, yes, no] of MATCHES) {
  test(`${JSON.stringify(pattern)} is read as Go reads it`, () => {
    const expression = new HostExpression(pattern);
    assert.ok(expression.matches(yes), yes);
    if (pattern !== "") assert.not.ok(expression.matches(no), no);
  });
}

const REFUSED: Record<string, RegExp> = {
  "(a": /without a \)/,
  "a)": /\) without a \(/,
  "[a": /\[ without a \]/,
  "[]": /\[ without a \]/,
  "[b-a]": /without an order/,
  "*a": /nothing in front of \*/,
  "a**": /repeats a repetition/,
  "a{2}{3}": /repeats a repetition/,
  "a{1001}": /at most 1000/,
  "a{3,2}": /repetition/,
  "(a)\\1": /back-reference/,
  "(?=a)": /ahead or behind/,
  "(?<!a)b": /ahead or behind/,
  "(?x)a": /unknown kind of group/,
  "\\p{Greek}": /class of Unicode/,
  "\\q": /unknown escape/,
  "a\\": /ends with a backslash/,
  "[[:latin:]]": /unknown class/,
  "\\xzz": /without a number/,
  ü: /beyond ASCII/,
  "((a{1000}){1000}){1000}": /too large/,
  "(((){1000}){1000}){1000}": /too large/,
};
REFUSED["(".repeat(200)] = /too many nested groups/;
REFUSED["a".repeat(PATTERN_BYTES_MAX + 1)] = /more than/;

for (const [pattern, says] of Object.entries(REFUSED)) {
  test(`${pattern.slice(0, 30)} is refused`, () => {
    assert.throws(
      () => new HostExpression(pattern),
      (error: unknown) => error instanceof Error && says.test(error.message),
    );
  });
}

test("random expressions answer as those of JavaScript do", () => {
  const random = new Random(31);
  const atoms = ["a", "b", ".", "[ab]", "[^a]", "\\d", "\\.", "^", "$", "\\b", "c"];
  const make = (depth: number): string => {
    const parts = Array.from({ length: 1 + random.below(4) }, () => {
      if (depth > 0 && random.below(4) === 0) {
        return `(${make(depth - 1)})${random.pick(["", "*", "+", "?", "{1,2}", "*?"])}`;
      }
      const atom = random.pick(atoms);
      return /^[\^$]$|\\b/.test(atom) ? atom : atom + random.pick(["", "", "*", "+", "?", "{2}"]);
    });
    return random.below(4) === 0 ? `${parts.join("")}|${random.pick(atoms)}` : parts.join("");
  };
  let matched = 0;
  for (let round = 0; round < 3000; round++) {
    const pattern = make(2);
    const own = new HostExpression(pattern);
    const theirs = new RegExp(pattern, "s");
    for (let i = 0; i < 4; i++) {
      const text = Array.from({ length: random.below(9) }, () => random.pick([..."aabbc.1"]));
      const want = theirs.test(text.join(""));
      assert.is(own.matches(text.join("")), want, `${pattern} on ${text.join("")}`);
      if (want) matched++;
    }
  }
  assert.ok(matched > 1000 && matched < 11_000, `${matched} matched`);
});

test("patterns that double the work of others with each character are harmless", () => {
  const text = `${"a".repeat(252)}!`;
  for (const pattern of ["^(a+)+$", "^(a|a)*$", "^(a|aa)+$", "(.*)*b", "^(a?){100}a{100}$"]) {
    assert.is(new HostExpression(pattern).matches(text), false, pattern);
  }
});

test("random texts are patterns or refused with a reason", () => {
  const random = new Random(77);
  const pieces = [..."ab()[]{}*+?|^$\\.-:,<>=!PQEdwx01i"];
  for (let round = 0; round < 20_000; round++) {
    const text = Array.from({ length: random.below(14) }, () => random.pick(pieces)).join("");
    try {
      new HostExpression(text).matches("a.b-c");
    } catch (error) {
      assert.ok(error instanceof Error && error.name === "Error" && error.message !== "", text);
    }
  }
});

test.run();
