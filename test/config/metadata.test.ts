/** Look-up in metadata: names, aliases, GOST's conversions, strict readers. */
import * as assert from "uvu/assert";
import {
  kebabCase,
  metaBool,
  metaDurationMs,
  metaHas,
  metaInt,
  metaList,
  metaMap,
  metaString,
  MetadataReader,
} from "../../src/config/metadata.ts";
import { OPTIONS_PLACE } from "../../src/config/model.ts";
import { suite } from "../kit/suite.ts";
import { refusal } from "./read.ts";

const test = suite("config/metadata");

test("keys ignore case, and the first name that exists decides", () => {
  assert.is(metaString({ NoDelay: "x" }, "nodelay"), "x");
  assert.is(metaString({ "tun.name": "b", name: "a" }, ["name", "tun.name"]), "a");
  assert.is(metaInt({ mtu: "junk", "tun.mtu": 1300 }, ["mtu", "tun.mtu"], 1420), 1420);
  assert.not(metaHas({}, "__proto__"));
  assert.not(metaHas({}, "constructor"));
});

test("booleans are Go's", () => {
  for (const value of [true, 1, "1", "t", "T", "TRUE", "true", "True"]) {
    assert.is(metaBool({ key: value }, "key"), true, String(value));
  }
  for (const value of [false, 0, "0", "f", "False", "yes", "on", "", "tRUE", null]) {
    assert.is(metaBool({ key: value }, "key"), false, String(value));
  }
  assert.is(metaBool({}, "key", true), true);
});

test("integers come from numbers, booleans and decimal text", () => {
  assert.is(metaInt({ key: 5 }, "key"), 5);
  assert.is(metaInt({ key: true }, "key"), 1);
  assert.is(metaInt({ key: "-12" }, "key"), -12);
  for (const value of ["", "1.5", "0x10", "99999999999999999999", 1.5, null]) {
    assert.is(metaInt({ key: value }, "key", 7), 7, String(value));
  }
});

test("durations: numbers are seconds, text is Go's", () => {
  assert.is(metaDurationMs({ key: 10 }, "key"), 10_000);
  assert.is(metaDurationMs({ key: "1m" }, "key"), 60_000);
  assert.is(metaDurationMs({ key: "soon" }, "key", 5), 5);
});

test("lists come from lists and from text with commas", () => {
  assert.equal(metaList({ key: "a, b,,c" }, "key"), ["a", "b", "c"]);
  assert.equal(metaList({ key: ["a", 1, true] }, "key"), ["a", "1", "true"]);
  assert.equal(metaList({ key: [["a"]] }, "key"), []);
  assert.equal(metaList({}, "key"), []);
  assert.equal(metaMap({ key: { a: "b" } }, "KEY"), { a: "b" });
  assert.equal(metaMap({ key: "a" }, "key"), {});
});

test("strict readers answer nothing for absent keys and name key and value otherwise", () => {
  const reader = new MetadataReader({ mtu: "big", ttl: "-1", wait: "soon" }, "gost.yml:3:1");
  assert.is(reader.int("absent"), undefined);
  const refused = refusal(() => reader.int("MTU"));
  assert.is(refused.message, 'gost.yml:3:1: mtu: "big" is not a whole number');
  assert.is(refused.exitCode, 2);
  assert.match(
    refusal(() => reader.int("ttl", { min: 1, max: 255 })).message,
    /ttl: "-1".*1 … 255/,
  );
  assert.match(refusal(() => reader.durationMs("wait")).message, /wait: "soon".*30s/);
});

test("places of keys win, and options are named as they are typed", () => {
  const placed = new MetadataReader({ mtu: "x" }, "gost.yml:1:1", () => "gost.yml:7:9");
  assert.match(refusal(() => placed.int("mtu")).message, /^gost\.yml:7:9: mtu/);
  const typed = new MetadataReader({ udpTimeout: "x" }, OPTIONS_PLACE);
  assert.match(refusal(() => typed.durationMs("udpTimeout")).message, /^--udp-timeout "x"/);
  assert.is(kebabCase("so_mark"), "so-mark");
});

test("long values are cut in messages", () => {
  const reader = new MetadataReader({ mtu: "9x".repeat(5000) }, "");
  assert.ok(refusal(() => reader.int("mtu")).message.length < 200);
});

test.run();
