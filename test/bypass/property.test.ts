/** Compiled rules against a matcher that looks at one rule after the other. */
import * as assert from "uvu/assert";
import { PLAIN_NOT, PlainReader } from "../../src/bypass/plain.ts";
import { parseGlob } from "../../src/bypass/glob.ts";
import { PatternReader } from "../../src/bypass/pattern.ts";
import { parseRule } from "../../src/bypass/rule.ts";
import { Random } from "../kit/random.ts";
import { suite } from "../kit/suite.ts";
import { makeBypass } from "./kit.ts";
import { naiveMatch } from "./naive.ts";
import { makeMaker } from "./random-rules.ts";

const test = suite("bypass/property");

for (const compat of [false, true]) {
  const mode = compat ? "with compat" : "without compat";
  test(`random lists answer as a naive matcher does, ${mode}`, async () => {
    for (let seed = 1; seed <= 40; seed++) {
      const random = new Random(seed * 7919);
      const maker = makeMaker(random);
      const count = [1, 2, 5, 20, 200][seed % 5]!;
      const rules = Array.from({ length: count }, () => maker.rule());
      const whitelist = random.below(2) === 0;
      const bypass = await makeBypass(rules, { compat, whitelist });
      for (let i = 0; i < 100; i++) {
        const { host, port } = maker.target();
        const matching = rules.filter((rule) => naiveMatch(rule, host, port, compat));
        const { bypassed, rule } = bypass.explain("tcp", host, port);
        const what = `seed ${seed} ${host}:${port} ${JSON.stringify(matching.slice(0, 3))} ${rule}`;
        assert.is(bypassed, matching.length > 0 !== whitelist, what);
        if (matching.length > 0) assert.ok(matching.includes(rule), what);
        else assert.is(rule, "", what);
      }
      bypass.close();
    }
  });
}

test("lines of files mean the same as rules of the configuration", () => {
  const reader = new PlainReader();
  const maker = makeMaker(new Random(4711));
  let plain = 0;
  for (let i = 0; i < 20_000; i++) {
    const text = maker.rule();
    const bytes = Buffer.from(text);
    const kind = reader.read(bytes, 0, bytes.length);
    if (kind === PLAIN_NOT) continue;
    plain++;
    for (const compat of [false, true]) {
      const [rule, ...more] = parseRule(text, compat).rules;
      assert.is(more.length, 0, text);
      assert.equal(plainAsRule(reader, bytes, kind), rule, text);
    }
  }
  assert.ok(plain > 5000, `${plain} were plain`);
});

test("wildcards read from bytes have the tokens and ends of those read from text", () => {
  const reader = new PatternReader();
  const random = new Random(99);
  for (let i = 0; i < 5000; i++) {
    const length = 1 + random.below(12);
    const text = Array.from({ length }, () => "ab.-*?"[random.below(6)]!).join("");
    const bytes = Buffer.from(`xx${text}yy`);
    const pattern = reader.read(bytes, 2, bytes.length - 2);
    const glob = parseGlob(text)?.[0];
    assert.equal(pattern.tokens.slice(0, pattern.length), Uint8Array.from(glob!.tokens), text);
    assert.is(pattern.headBytes, glob!.head.length, text);
    assert.is(pattern.tailBytes, glob!.tail.length, text);
  }
});

/** What the reader read in the words of rule.ts. */
function plainAsRule(reader: PlainReader, bytes: Uint8Array, kind: number): unknown {
  const name = Buffer.from(bytes.subarray(reader.nameFrom, reader.nameEnd)).toString();
  const ports = { min: reader.portMin, max: reader.portMax };
  const any = { min: 0, max: 65535 };
  const ip4 = (value: number): Uint8Array =>
    Uint8Array.of(value >>> 24, (value >>> 16) & 255, (value >>> 8) & 255, value & 255);
  const ip6 = Uint8Array.from(reader.address);
  switch (kind) {
    case 1:
    case 2:
    case 3:
      return { kind: ["name", "suffix", "below"][kind - 1], name, ports };
    case 4:
      return { kind: "net", address: ip4(reader.first), prefix: reader.prefix, ports: any };
    case 5:
      return { kind: "range", first: ip4(reader.first), last: ip4(reader.last) };
    case 6:
      return { kind: "net", address: ip6, prefix: reader.prefix, ports: any };
    case 8:
      return { kind: "glob", glob: parseGlob(name)?.[0], ports };
    default:
      return { kind: "range", first: ip6, last: ip6 };
  }
}

test.run();
