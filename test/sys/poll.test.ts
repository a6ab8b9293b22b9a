/** The dispatcher over a scripted addon: who is called, in which order, and who is not any more. */
import { suite } from "../kit/suite.ts";
import * as assert from "uvu/assert";
import type { Native, Watch } from "../../src/sys/native.ts";
import { READABLE } from "../../src/sys/native.ts";
import { Poller } from "../../src/sys/poll.ts";

const test = suite("sys/poll");

/** An addon that has only readiness; `turn` plays one turn of the loop. */
class Script {
  readonly ids = new Map<number, number>();
  readonly sets: string[] = [];
  handlers = 0;
  #list: Int32Array = new Int32Array();
  #handler: (count: number) => void = () => undefined;

  onReady(list: Int32Array, handler: (count: number) => void): void {
    this.handlers++;
    this.#list = list;
    this.#handler = handler;
  }

  watch(fd: number, id: number, events: number): Watch {
    if (fd < 0) throw new Error("EBADF");
    this.ids.set(fd, id);
    this.sets.push(`${fd}=${events}`);
    return {
      set: (wanted) => void this.sets.push(`${fd}=${wanted}`),
      close: () => void this.sets.push(`${fd} closed`),
    };
  }

  turn(...fds: readonly number[]): void {
    fds.forEach((fd, index) => {
      this.#list[2 * index] = this.ids.get(fd) ?? -1;
      this.#list[2 * index + 1] = READABLE;
    });
    this.#handler(fds.length);
  }
}

function make(): { script: Script; poller: Poller } {
  const script = new Script();
  return { script, poller: new Poller(script as unknown as Native) };
}

test("callbacks run in the list's order, the end of the turn once after all", () => {
  const { script, poller } = make();
  const calls: string[] = [];
  for (const fd of [10, 11, 12])
    poller.watch(fd, READABLE, (events) => calls.push(`${fd}:${events}`));
  const stop = poller.endOfTurn(() => calls.push("end"));
  script.turn(12, 10);
  assert.equal(calls, ["12:1", "10:1", "end"]);
  stop();
  script.turn(11);
  assert.equal(calls.slice(3), ["11:1"]);
});

test("a watch closed in the turn is not called any more; its id stays unused till the end", () => {
  const { script, poller } = make();
  const calls: string[] = [];
  const second = { watch: undefined as Watch | undefined };
  poller.watch(10, READABLE, () => {
    second.watch?.close();
    second.watch?.close();
    poller.watch(12, READABLE, () => calls.push("new"));
  });
  second.watch = poller.watch(11, READABLE, () => calls.push("old"));
  const old = script.ids.get(11);
  script.turn(10, 11);
  assert.equal(calls, []);
  assert.is.not(script.ids.get(12), old);
  assert.equal(
    script.sets.filter((line) => line === "11 closed"),
    ["11 closed"],
  );
  poller.watch(13, READABLE, () => calls.push("later"));
  assert.is(script.ids.get(13), old);
});

test("one callback's error keeps neither the others nor the end of the turn from running", () => {
  const { script, poller } = make();
  const calls: string[] = [];
  poller.watch(10, READABLE, () => {
    throw new Error("first");
  });
  poller.watch(11, READABLE, () => {
    calls.push("second");
    throw new Error("second");
  });
  poller.endOfTurn(() => calls.push("end"));
  assert.throws(() => script.turn(10, 11), /^first$/);
  assert.equal(calls, ["second", "end"]);
  script.ids.delete(10);
  assert.throws(() => script.turn(11), /second/);
});

test("all pollers of one addon share its only handler", () => {
  const { script, poller } = make();
  const other = new Poller(script as unknown as Native);
  const calls: number[] = [];
  poller.watch(10, READABLE, () => calls.push(10));
  other.watch(11, READABLE, () => calls.push(11));
  script.turn(10, 11);
  assert.equal(calls, [10, 11]);
  assert.is(script.handlers, 1);
});

test("a descriptor that cannot be watched leaves nothing behind", () => {
  const { script, poller } = make();
  assert.throws(() => poller.watch(-1, READABLE, () => undefined), /EBADF/);
  poller.watch(10, READABLE, () => undefined);
  assert.is(script.ids.get(10), 0);
});

test.run();
