/** Rules and targets that want to break, stall or fill the matcher. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as assert from "uvu/assert";
import * as abi from "../../assembly/abi.ts";
import { ALTERNATIVES_MAX, parseGlob } from "../../src/bypass/glob.ts";
import { RULE_CHARACTERS_MAX, parseRule } from "../../src/bypass/rule.ts";
import { createLogger } from "../../src/log.ts";
import { Random } from "../kit/random.ts";
import { suite } from "../kit/suite.ts";
import { makeBypass, makeEngine } from "./kit.ts";
import { naiveGlob } from "./naive.ts";
import { fuzzRule } from "../fuzz/bypass-rule.ts";

const test = suite("bypass/hostile");
test.timeout(60_000);

const folder = mkdtempSync(join(tmpdir(), "tsgost-bypass-"));
test.after(() => rmSync(folder, { recursive: true }));

let files = 0;
function fileWith(content: string | Uint8Array): string {
  const path = join(folder, `list-${files++}`);
  writeFileSync(path, content);
  return path;
}

test("wildcards of many stars end soon, on the longest names", async () => {
  const deep = `${"*a".repeat(200)}*b`;
  const bypass = await makeBypass([deep, "*a*a*a*b", `${"?*".repeat(100)}z`]);
  const name = "a".repeat(abi.ROUTE_NAME_MAX);
  for (let i = 0; i < 1000; i++) {
    assert.is(bypass.match("tcp", name, 80), undefined);
  }
  assert.is(bypass.match("tcp", `${name.slice(1)}b`, 80)?.rule, "*a*a*a*b");
  bypass.close();
});

test("random wildcards match as regular expressions do", async () => {
  const random = new Random(2718);
  const pieces = ["a", "b", ".", "*", "?", "[ab]", "[!a]", "[a-b]", "{a,b.}", "-"];
  for (let round = 0; round < 300; round++) {
    const length = 1 + random.below(7);
    const pattern = Array.from({ length }, () => random.pick(pieces)).join("") + "*";
    const bypass = await makeBypass([pattern], { compat: true });
    const regular = naiveGlob(pattern);
    for (let i = 0; i < 30; i++) {
      const name = Array.from({ length: 1 + random.below(8) }, () => random.pick([..."aabb.-"]));
      const text = name.join("");
      const hit = bypass.match("tcp", text, 80) !== undefined;
      assert.is(hit, regular.test(text), `${pattern} against ${text}`);
    }
    bypass.close();
  }
});

test("alternatives are bounded in number and depth", () => {
  assert.is(parseGlob("{a,b}".repeat(8))?.length, ALTERNATIVES_MAX);
  assert.is(parseGlob("{a,b}".repeat(9)), undefined);
  assert.is(parseGlob(`${"{".repeat(100)}a${"}".repeat(100)}`), undefined);
  for (const open of ["[a", "{a", "a\\", "[]", "{a,{b}"])
    assert.is(parseGlob(open), undefined, open);
});

test("long lines, NULs, commas and half UTF-8 in a file are left out or refused", async () => {
  const long = "x".repeat(100_000);
  const refused = await makeBypass([], {
    source: { file: { path: fileWith(`a.b\n${long}\n`) } },
  }).then(
    () => "",
    (error: Error) => error.message,
  );
  assert.match(refused, /list-\d+:2: the rule has more than 4096 bytes/);
  const output = join(folder, "log");
  const log = createLogger({ level: "warn", format: "json", output });
  const odd = Buffer.from("a\0b\n\xff\xfe\nok.example # c\n\r\n,,,,\n .b.example \r\n", "latin1");
  const bypass = await makeBypass([], { source: { file: { path: fileWith(odd) } }, log });
  assert.is(bypass.match("tcp", "ok.example", 80)?.rule, "ok.example");
  assert.is(bypass.match("tcp", "x.b.example", 80)?.rule, ".b.example");
  assert.is(bypass.match("tcp", "a\0b", 80), undefined);
  bypass.close();
  const commas = ",".repeat(1_000_000);
  assert.match(parseRule(commas, false).fault ?? "", /more than/);
  assert.is(parseRule(commas, true).rules[0]?.kind, "never");
});

test("one name with every port, and ports in every range, stay one look-up", async () => {
  const rules = Array.from({ length: 20_000 }, (_, port) => `a.example:${port + 1}`);
  const ranges = Array.from({ length: 500 }, (_, i) => `b.example:${i + 1}-${60_000 - i}`);
  const bypass = await makeBypass([...rules, ...ranges]);
  assert.is(bypass.match("tcp", "a.example", 12_345)?.rule, "a.example:12345");
  assert.is(bypass.match("tcp", "a.example", 20_001), undefined);
  assert.ok(bypass.match("tcp", "b.example", 60_000));
  assert.is(bypass.match("tcp", "b.example", 60_001), undefined);
  bypass.close();
});

test("targets of any text are answered", async () => {
  const bypass = await makeBypass(["*", "a.b", "10.0.0.0/8", ".c"], { whitelist: true });
  const random = new Random(31);
  const odd = ["", ".", "..", "[", "]", "[]", "::", "%", "fe80::1%eth0", "1.2.3", "\ud800", "é.é"];
  const long = ["a".repeat(100_000), ".".repeat(100_000), "a.".repeat(300), ":".repeat(5000)];
  const noise = Array.from({ length: 300 }, () =>
    String.fromCharCode(...random.bytes(random.below(60))),
  );
  for (const host of [...odd, ...long, ...noise]) {
    const answer = bypass.explain("udp", host, random.below(65536));
    assert.type(answer.bypassed, "boolean");
  }
  bypass.close();
});

test("names of other scripts are their ASCII form, digits of other scripts an address", async () => {
  const bypass = await makeBypass(["bücher.example", ".ЁЛКА.рф", "10.0.0.0/8", "*.MÜNCHEN.de"]);
  for (const [host, rule] of [
    ["xn--bcher-kva.example", "bücher.example"],
    ["BÜCHER.example.", "bücher.example"],
    ["www.ёлка.РФ", ".ЁЛКА.рф"],
    ["www.xn--mnchen-3ya.de", "*.MÜNCHEN.de"],
    ["１０.1.2.3", "10.0.0.0/8"],
    ["10.1.2.3.", "10.0.0.0/8"],
  ] as const) {
    assert.is(bypass.match("tcp", host, 80)?.rule, rule, host);
  }
  bypass.close();
});

test("rules of any text are parsed or refused, and found again", async () => {
  const random = new Random(37);
  for (let i = 0; i < 3000; i++) await fuzzRule(random.bytes(random.below(40)));
  const alphabet = Buffer.from("a1.*?[]{},-:/!~\\#\0 fF%");
  for (let i = 0; i < 5000; i++) {
    const length = random.below(24);
    await fuzzRule(Uint8Array.from({ length }, () => random.pick([...alphabet])));
  }
  await fuzzRule(Buffer.from("[".repeat(RULE_CHARACTERS_MAX)));
});

test("a file of a hundred thousand odd lines loads, within memory, and leaves no trace", async () => {
  const random = new Random(41);
  const lines = Array.from({ length: 100_000 }, () =>
    Buffer.from(random.bytes(1 + random.below(12)).map((byte) => 33 + (byte % 90))).toString(),
  );
  const engine = makeEngine();
  const source = { file: { path: fileWith(lines.join("\n")) } };
  const bypass = await makeBypass([], { source, engine, compat: true });
  assert.ok(engine.bytesInUse < 64 * 1024 * 1024, `${engine.bytesInUse}`);
  bypass.close();
  assert.is(engine.bytesInUse, 0);
});

test.run();
