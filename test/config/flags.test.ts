/** Go's flag grammar. */
import * as assert from "uvu/assert";
import { parseFlags } from "../../src/config/flags.ts";
import { suite } from "../kit/suite.ts";
import { refusal } from "./read.ts";

const test = suite("config/flags");

test("a value stands behind a blank or an equals sign, one dash or two", () => {
  assert.equal(parseFlags(["-L", ":1", "-L=:2", "--L", ":3", "--L=:4"]).services, [
    ":1",
    ":2",
    ":3",
    ":4",
  ]);
  assert.equal(parseFlags(["-F=a=b"]).nodes, ["a=b"]);
  assert.equal(parseFlags(["-L=", "-L", ":1"]).services, [":1"]);
  assert.equal(parseFlags(["-C", "-"]).sources, ["-"]);
  assert.equal(parseFlags(["-L", "-F"]).services, ["-F"]);
});

test("booleans take a value only behind an equals sign", () => {
  assert.is(parseFlags(["-D"]).debug, true);
  assert.is(parseFlags(["-D=false"]).debug, false);
  assert.is(parseFlags(["-DD"]).trace, true);
  assert.is(parseFlags(["--dry-run", "-V"]).version, true);
  assert.match(refusal(() => parseFlags(["-D=maybe"])).message, /maybe.*-D/);
});

test("-R is a duration, -O a word", () => {
  assert.is(parseFlags(["-R", "1m30s"]).reloadMs, 90_000);
  assert.is(parseFlags(["-O", "json"]).print, "json");
  assert.match(refusal(() => parseFlags(["-R", "soon"])).message, /"soon" for -R/);
});

test("what is no flag is refused, since all behind it would be lost", () => {
  const refused = refusal(() => parseFlags(["-L", ":1", "extra", "-F", "relay://u:secret@h:1"]));
  assert.match(refused.message, /"extra"/);
  assert.is(refused.exitCode, 2);
  assert.equal(parseFlags(["--compat", "-L", ":1", "extra", "-F", "x"]).nodes, []);
  const lost = refusal(() => parseFlags(["relay://u:secret@h:1"]));
  assert.not.match(lost.message, /secret/);
});

test("unknown flags, missing values and several processes are refused", () => {
  assert.match(refusal(() => parseFlags(["-X"])).message, /not defined: -X/);
  assert.match(refusal(() => parseFlags(["--strickt"])).message, /did you mean strict/);
  assert.match(refusal(() => parseFlags(["-L"])).message, /needs an argument: -L/);
  assert.match(
    refusal(() => parseFlags(["-L", ":1", "--", "-L", ":2"])).message,
    /several processes/,
  );
  assert.match(refusal(() => parseFlags(["-__proto__=1"])).message, /not defined/);
});

test.run();
