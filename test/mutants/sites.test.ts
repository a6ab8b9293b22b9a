/** What is changed in a module, where it says that it came from, and that the result is a module. */
import * as assert from "uvu/assert";
import { suite } from "../kit/suite.ts";
import { wasm } from "../kit/core.ts";
import { testsFor } from "./areas.ts";
import { assemble } from "./module.ts";
import { changed, findMutants, nameOf } from "./sites.ts";

const test = suite("mutants/sites");

const MODULE = `(module
 (type $0 (func (param i32 i32) (result i32)))
 (global $assembly/layout/LIMIT i32 (i32.const 7))
 (export "f" (func $assembly/tcp/x/f))
 (func $assembly/tcp/x/f (param $a i32) (param $b i32) (result i32)
  ;;@ assembly/tcp/x.ts:3:2
  (if
   ;;@ assembly/tcp/x.ts:3:6
   (i32.lt_u
    (local.get $a)
    ;;@ assembly/tcp/x.ts:3:10
    (global.get $assembly/layout/LIMIT)
   )
   (then
    ;;@ assembly/tcp/x.ts:3:20
    (return
     ;;@
     (i32.const 255)
    )
   )
  )
  ;;@ assembly/tcp/x.ts:4:2
  (return
   ;;@ assembly/tcp/x.ts:4:9
   (i32.add
    (local.get $a)
    ;;@ assembly/tcp/x.ts:4:13
    (i32.const 2)
   )
  )
 )
)`.split("\n");

type Call = (a: number, b: number) => number;

function callOf(text: string): Call {
  const instance = new wasm.Instance(new wasm.Module(assemble(text)), {});
  return (instance.exports as { f: Call }).f;
}

test("finds operators, constants, named ones too, and branches, each with its place", () => {
  assert.equal(findMutants(MODULE).map(nameOf), [
    "assembly/tcp/x.ts:3:3 a branch is negated in assembly/tcp/x/f",
    "assembly/tcp/x.ts:3:7 i32.lt_u becomes i32.le_u in assembly/tcp/x/f",
    "assembly/tcp/x.ts:3:11 LIMIT becomes 8 in assembly/tcp/x/f",
    "assembly/tcp/x.ts:3:11 LIMIT becomes 6 in assembly/tcp/x/f",
    "assembly/tcp/x.ts:4:10 i32.add becomes i32.sub in assembly/tcp/x/f",
    "assembly/tcp/x.ts:4:14 2 becomes 3 in assembly/tcp/x/f",
    "assembly/tcp/x.ts:4:14 2 becomes 1 in assembly/tcp/x/f",
  ]);
});

test("makes one change at a time, and nothing else", () => {
  const results = findMutants(MODULE).map((mutant) => {
    const call = callOf(changed(MODULE, mutant));
    return [call(6, 0), call(7, 0), call(100, 0)];
  });
  assert.equal(
    [6, 7, 100].map((a) => callOf(MODULE.join("\n"))(a, 0)),
    [255, 9, 102],
  );
  assert.equal(results, [
    [8, 255, 255],
    [255, 255, 102],
    [255, 255, 102],
    [8, 9, 102],
    [255, 5, 98],
    [255, 10, 103],
    [255, 8, 101],
  ]);
});

test("runs the tests of a file's own area first, each once", () => {
  const files = testsFor("assembly/ip/reassemble.ts").map((path) => path.replace(/.*\/test\//, ""));
  assert.is(files[0], "ip/reassemble.test.ts");
  assert.ok(files.findIndex((path) => path.startsWith("tcp/")) > files.indexOf("ip/vnet.test.ts"));
  assert.is(new Set(files).size, files.length);
  assert.is(files.at(-1), "mutants/last.ts");
});

test.run();
