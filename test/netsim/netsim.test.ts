/**
 * Goodput over the telling cells, in virtual time: exactly what the golden table says (TCP-56,
 * TCP-59, TCP-60). A change of loss recovery or congestion control shows here; `npm run netsim --
 * --full --update` writes the table anew, and the commit says why.
 */
import * as assert from "uvu/assert";
import { suite } from "../kit/suite.ts";
import { CELLS, TELLING_CELLS } from "./cells.ts";
import { measure, readGolden } from "./golden.ts";

const test = suite("netsim/goodput");
test.timeout(60_000);

const golden = readGolden();

test("the golden table has every cell once, in order", () => {
  assert.equal(
    [...golden.keys()],
    CELLS.map(({ name }) => name),
  );
});

for (const cell of TELLING_CELLS) {
  test(`${cell.name} is as in the golden table`, () => {
    assert.is(measure(cell), golden.get(cell.name));
  });
}

test("the debug build gives the same results", () => {
  const cell = TELLING_CELLS.find(({ name }) => name === "down 10M 50ms 3% ordered")!;
  assert.is(measure(cell, "debug"), golden.get(cell.name));
});

test.run();
