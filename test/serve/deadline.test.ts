/** One timer for all dials: each ends at its own time, removed ones never. */
import * as assert from "uvu/assert";
import { DialDeadlines } from "../../src/serve/tungo/deadline.ts";
import { suite } from "../kit/suite.ts";

const test = suite("serve/deadline");

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

test("tells each dial once that its time is over, in order, and not the removed ones", async () => {
  const told: string[] = [];
  const dial = (name: string) => ({ dialTimedOut: () => void told.push(name) });
  const dials = new DialDeadlines(40);
  const [first, removed, later] = [dial("first"), dial("removed"), dial("later")];
  dials.add(first);
  dials.add(removed);
  await sleep(20);
  dials.add(later);
  dials.remove(removed);
  await sleep(25);
  assert.equal(told.slice(0, 1), ["first"]);
  await sleep(100);
  assert.equal(told, ["first", "later"]);
  dials.close();
});

test("is quiet after close", async () => {
  let told = 0;
  const dials = new DialDeadlines(5);
  dials.add({ dialTimedOut: () => void told++ });
  dials.close();
  await sleep(30);
  assert.is(told, 0);
});

test.run();
