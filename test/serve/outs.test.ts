/** The ways out that `interface` of a tungo service lists, in their order. */
import * as assert from "uvu/assert";
import { outsOf } from "../../src/serve/tungo/outs.ts";
import { suite } from "../kit/suite.ts";

const test = suite("serve/outs");

test("without a list there is one way, and it costs nothing", () => {
  assert.equal(outsOf(undefined, undefined), [{ options: {}, isBound: false, family: 0 }]);
  assert.equal(outsOf("", 7), [{ options: { mark: 7 }, isBound: false, family: 0 }]);
});

test("devices are bound to, addresses serve their family", () => {
  assert.equal(outsOf("eth0,10.0.0.2, 2001:db8::1", 7), [
    { options: { mark: 7, device: "eth0" }, isBound: true, family: 0 },
    {
      options: { mark: 7, localAddress: Uint8Array.of(10, 0, 0, 2) },
      isBound: false,
      family: 4,
    },
    {
      options: {
        mark: 7,
        localAddress: Uint8Array.from([0x20, 1, 0x0d, 0xb8, ...new Array<number>(11).fill(0), 1]),
      },
      isBound: false,
      family: 6,
    },
  ]);
});

test("nothing comes behind a strict entry", () => {
  const names = (list: string): unknown[] =>
    outsOf(list, undefined).map(({ options }) => options.device);
  assert.equal(names("eth0,nope!,eth1"), ["eth0", "nope"]);
  assert.equal(names("nope!"), ["nope"]);
  assert.equal(names("eth0,,eth1,"), ["eth0", "eth1"]);
});

test.run();
