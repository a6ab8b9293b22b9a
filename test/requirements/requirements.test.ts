/**
 * Every requirement that is a must is cited by a test, and nothing cites what is not on the list.
 */
import * as assert from "uvu/assert";
import { suite } from "../kit/suite.ts";
import { citedIn, citedPlaces, citingTests, requirements, traceability } from "./collect.ts";

const test = suite("requirements/traceability");

test("the list names each requirement once, and says why if one does not apply", () => {
  const all = requirements();
  assert.is(new Set(all.map(({ id }) => id)).size, all.length);
  for (const { id, class: level, text, why } of all) {
    assert.ok(text.length > 10, id);
    assert.is(why !== undefined, level === "-", id);
  }
});

test("ids are read from the beginning of a name", () => {
  assert.equal(citedIn("TCP-14 MUST-22: the SYN-ACK, as in TCP-2"), ["TCP-14", "MUST-22"]);
  assert.equal(citedIn("TCP-59 RFC 8985 §6.2: what"), ["TCP-59"]);
  assert.equal(citedIn("the SYN-ACK of TCP-14"), []);
  assert.equal(citedIn("TCP-14a: no"), []);
});

test("every must has a test", () => {
  const missing = traceability()
    .filter(({ requirement, tests }) => requirement.class === "M" && tests.length === 0)
    .map(({ requirement }) => requirement.id);
  assert.equal(missing, []);
});

test("tests and comments cite what is on the list", () => {
  const known = new Set(requirements().map(({ id }) => id));
  const unknown = citingTests().flatMap(({ path, line, ids }) =>
    ids.filter((id) => !known.has(id)).map((id) => `${path}:${line} ${id}`),
  );
  for (const [id, places] of citedPlaces()) {
    if (id.startsWith("RFC") || known.has(id)) continue;
    unknown.push(...places.map(({ path, line }) => `${path}:${line} ${id}`));
  }
  assert.equal(unknown, []);
});

test("what does not apply is not cited", () => {
  const cited = new Set(citingTests().flatMap(({ ids }) => ids));
  const wrong = requirements().filter(({ id, class: level }) => level === "-" && cited.has(id));
  assert.equal(wrong, []);
});

test.run();
