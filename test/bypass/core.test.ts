/** Sets of rules in the core: memory, handles, images that make no sense, all builds alike. */
import * as assert from "uvu/assert";
import * as abi from "../../assembly/abi.ts";
import { RuleImage } from "../../src/bypass/image.ts";
import { type Build, CoreHarness, forBuilds, makeInstance } from "../kit/core.ts";
import { Random } from "../kit/random.ts";
import { suite } from "../kit/suite.ts";
import { makeMaker } from "./random-rules.ts";

const test = suite("bypass/core");
test.timeout(60_000);

interface RuleExports {
  readonly memory: { readonly buffer: ArrayBuffer };
  init(): number;
  rulesReserve(bytes: number): number;
  rulesImage(handle: number): number;
  rulesBuild(handle: number, budget: number): number;
  rulesFree(handle: number): number;
  rulesFind(handle: number, what: number, port: number, nameBytes: number): number;
  rulesVerdict(handle: number, what: number, port: number, nameBytes: number): number;
  rulesBytes(): number;
}

const FLAGS = { whitelist: false, network: "", compat: false, emptyBypasses: false };

function rulesOf(build: Build): RuleExports {
  return makeInstance({ build }).exports as unknown as RuleExports;
}

function imageOf(rules: readonly string[]): RuleImage {
  const image = new RuleImage(false, () => undefined);
  for (const rule of rules) image.addText(rule, "");
  return image;
}

/** Writes an image; answers the handle. */
function put(x: RuleExports, image: RuleImage): number {
  const handle = x.rulesReserve(image.byteLength);
  assert.ok(handle > 0, `reserve answered ${handle}`);
  image.write(new Uint8Array(x.memory.buffer), x.rulesImage(handle) >>> 0, FLAGS);
  return handle;
}

function build(x: RuleExports, handle: number, budget = 1000): number {
  for (;;) {
    const answer = x.rulesBuild(handle, budget);
    if (answer !== 1) return answer;
  }
}

function ask(x: RuleExports, handle: number, name: string, port = 443): number {
  const bytes = Buffer.from(name);
  new Uint8Array(x.memory.buffer).set(bytes, abi.ROUTE_BASE + abi.ROUTE_NAME_OFF);
  return x.rulesFind(handle, abi.TARGET_TCP, port, bytes.length);
}

forBuilds(test, "builds in steps of any size to the same tables", (name) => {
  const maker = makeMaker(new Random(99));
  const image = imageOf(Array.from({ length: 500 }, () => maker.rule()));
  const x = rulesOf(name);
  const handles = [1, 7, 100_000].map((budget) => {
    const handle = put(x, image);
    assert.is(build(x, handle, budget), 0);
    return handle;
  });
  for (let i = 0; i < 500; i++) {
    const { host, port } = maker.target();
    const answers = handles.map((handle) => ask(x, handle, host.toLowerCase(), port));
    assert.is(new Set(answers).size, 1, `${host}:${port} ${answers.join(" ")}`);
  }
});

forBuilds(test, "a thousand reloads take no more memory than two", (name) => {
  const x = rulesOf(name);
  const maker = makeMaker(new Random(5));
  const make = (count: number): RuleImage =>
    imageOf(Array.from({ length: count }, () => maker.rule()));
  const images = [make(300), make(3), make(1200), make(50)];
  let current = 0;
  let settled = 0;
  for (let round = 0; round < 1000; round++) {
    const next = put(x, images[round % images.length]!);
    assert.is(build(x, next, 5000), 0);
    if (current !== 0) assert.is(x.rulesFree(current), 0);
    current = next;
    if (round === 20) settled = x.memory.buffer.byteLength;
  }
  assert.is(x.memory.buffer.byteLength, settled);
  assert.is(x.rulesFree(current), 0);
  assert.is(x.rulesBytes(), 0);
});

forBuilds(test, "handles of freed and unbuilt sets are refused", (name) => {
  const x = rulesOf(name);
  const image = imageOf(["a.b"]);
  const handle = put(x, image);
  assert.is(ask(x, handle, "a.b"), abi.ERR_STALE);
  assert.is(x.rulesBuild(handle, 0), abi.ERR_RANGE);
  assert.is(build(x, handle), 0);
  assert.is(x.rulesImage(handle), 0, "a built image is not to be written to");
  assert.is(ask(x, handle, "a.b"), 1);
  assert.is(x.rulesFind(handle, 0, 65536, 3), abi.ERR_RANGE);
  assert.is(x.rulesFind(handle, 5 << abi.TARGET_FAMILY_SHIFT, 1, 3), abi.ERR_RANGE);
  assert.is(x.rulesFind(handle, 0, 1, abi.ROUTE_NAME_MAX + 1), abi.ERR_RANGE);
  assert.is(x.rulesFree(handle), 0);
  const next = put(x, image);
  assert.is.not(next, handle);
  for (const stale of [handle, 0, -1, 0x7fff_ffff]) {
    assert.is(ask(x, stale, "a.b"), abi.ERR_STALE);
    assert.is(x.rulesBuild(stale, 1), abi.ERR_STALE);
    assert.is(x.rulesFree(stale), abi.ERR_STALE);
    assert.is(x.rulesImage(stale), 0);
  }
});

forBuilds(test, "sets are limited in size and number", (name) => {
  const x = rulesOf(name);
  for (const bytes of [0, abi.RULES_HEADER_BYTES - 1, abi.RULES_BYTES_MAX, 0xffff_ffff]) {
    assert.is(x.rulesReserve(bytes), abi.ERR_RANGE, String(bytes));
  }
  const handles = Array.from({ length: abi.RULE_SETS_MAX }, () => x.rulesReserve(64));
  assert.is(new Set(handles).size, abi.RULE_SETS_MAX);
  assert.ok(handles.every((handle) => handle > 0));
  assert.is(x.rulesReserve(64), abi.ERR_FULL);
  for (const handle of handles) assert.is(x.rulesFree(handle), 0);
  assert.is(x.rulesBytes(), 0);
});

forBuilds(test, "images with bytes changed are refused or harmless", (name) => {
  const maker = makeMaker(new Random(17));
  const random = new Random(18);
  const x = rulesOf(name);
  for (let round = 0; round < 300; round++) {
    const handle = put(x, imageOf(Array.from({ length: 30 }, () => maker.rule())));
    const at = x.rulesImage(handle) >>> 0;
    const bytes = new Uint8Array(x.memory.buffer);
    const end = abi.RULES_HEADER_BYTES + 30 * abi.RULE_BYTES;
    for (let i = 0; i < 1 + random.below(4); i++) {
      bytes[at + random.below(end)] = random.pick([0, 1, 255, random.below(256)]);
    }
    const answer = build(x, handle);
    assert.ok(answer === 0 || answer === abi.ERR_RANGE || answer === abi.ERR_MEMORY);
    if (answer === 0) for (let i = 0; i < 20; i++) ask(x, handle, maker.target().host);
    assert.is(x.rulesFree(handle), 0);
  }
  assert.is(x.rulesBytes(), 0);
});

forBuilds(test, "init comes before rules, and memory grows for rules alone", (name) => {
  const late = rulesOf(name);
  put(late, imageOf(["a"]));
  assert.is(late.init(), abi.ERR_STATE);

  const core = new CoreHarness({ build: name });
  const x = core.exports as unknown as RuleExports;
  const before = x.memory.buffer;
  assert.is(x.rulesBytes(), 0);
  const handle = put(x, imageOf(["a.example", ".b.example"]));
  assert.is.not(x.memory.buffer, before);
  assert.is(build(x, handle), 0);
  assert.is(ask(x, handle, "x.b.example"), 2);
  const grown = x.memory.buffer;
  for (let i = 0; i < 1000; i++) ask(x, handle, `${i}.example`);
  assert.is(x.memory.buffer, grown);
});

test.run();
