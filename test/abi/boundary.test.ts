/** What the core is to its host: no imports, no allocation after init, the map of abi.ts. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import * as assert from "uvu/assert";
import * as abi from "../../assembly/abi.ts";
import { pattern } from "../kit/bytes.ts";
import {
  BUILD_NAMES,
  coreFile,
  CoreHarness,
  coreModule,
  forBuilds,
  makeInstance,
  wasm,
} from "../kit/core.ts";
import { expectIcmp, icmpPacket, udpPacket } from "../kit/packet.ts";
import { suite } from "../kit/suite.ts";
import { ROOT } from "../lint/sources.ts";

const test = suite("abi/boundary");

const FUNCTIONS = [
  "init ingest events poll flush txDone deadline accept reject recvPeek recvConsume sendReserve",
  "sendCommit shutdown abort release stageSend udpClose closeAll xorMask",
  "rulesReserve rulesImage rulesBuild rulesFree rulesFind rulesVerdict rulesBytes",
]
  .join(" ")
  .split(" ");

test("release and SIMD builds import nothing, the debug build env.abort alone", () => {
  for (const build of BUILD_NAMES) {
    const imports = wasm.Module.imports(coreModule(build)).map((i) => `${i.module}.${i.name}`);
    assert.equal(imports, build === "debug" ? ["env.abort"] : [], build);
  }
});

test("exports the calls of the contract and its memory, nothing else", () => {
  for (const build of BUILD_NAMES) {
    const names = wasm.Module.exports(coreModule(build)).map(({ name }) => name);
    assert.equal(names.sort(), [...FUNCTIONS, "memory"].sort(), build);
  }
});

test("no runtime for managed objects is linked in", () => {
  for (const build of ["plain", "simd"] as const) {
    const listing = readFileSync(coreFile(build).replace(/wasm$/, "wat"), "utf8");
    assert.not.match(listing, "~lib/rt");
    assert.not.match(listing, "memory.grow (i32.const");
  }
});

test("asconfig.json and abi.ts agree where the core's own data begin", () => {
  const config = JSON.parse(readFileSync(join(ROOT, "asconfig.json"), "utf8")) as {
    options: { memoryBase: number; runtime: string };
    targets: Record<string, object>;
  };
  assert.is(config.options.memoryBase, abi.MEMORY_BASE);
  assert.is(config.options.runtime, "stub");
  assert.equal(Object.keys(config.targets).sort(), ["debug", "probe", "release", "simd"]);
  assert.ok(abi.FIXED_END <= abi.MEMORY_BASE, "fixed blocks reach into the core's data");
  assert.ok(abi.CONFIG_BASE >= 65536, "the first page is in use");
  assert.ok(abi.CFG_COUNT * 4 <= abi.CONFIG_BYTES && abi.STAT_COUNT * 8 <= abi.STATS_BYTES);
});

forBuilds(test, "memory is fixed by init and keeps its identity", (build) => {
  const core = new CoreHarness({ build });
  const { buffer } = core.exports.memory;
  for (let i = 0; i < 200; i++) {
    core.send(udpPacket({ sport: 1000 + i, payload: pattern(3000), fragment: 0 }));
    core.flush();
  }
  assert.is(core.exports.memory.buffer, buffer);
  assert.is(core.gauge("GAUGE_MEMORY_PAGES") * 65536, buffer.byteLength);
  core.tearDown();
});

forBuilds(test, "init refuses words out of range and says which", (build) => {
  const wrong: [number, number][] = [
    [abi.CFG_ABI_VERSION, abi.ABI_VERSION + 1],
    [abi.CFG_MTU, 1279],
    [abi.CFG_MTU, 65536],
    [abi.CFG_VNET_BYTES, 11],
    [abi.CFG_CONNECT_MODE, 2],
    [abi.CFG_RX_ENTRIES, 0],
    [abi.CFG_RX_ENTRIES, abi.RX_MAX + 1],
    [abi.CFG_FLOWS, 0],
    [abi.CFG_FLOWS, 0xffff_ffff],
    [abi.CFG_BUFFER_CAP_BYTES, 1000],
  ];
  for (const [word, value] of wrong) {
    const { exports } = makeInstance({ build, words: { [word]: value } });
    const view = new DataView(exports.memory.buffer);
    assert.is(exports.init(), abi.ERR_CONFIG, `word ${word} = ${value}`);
    const gauges = new DataView(exports.memory.buffer);
    assert.is(gauges.getUint32(abi.GAUGES_BASE + 4 * abi.GAUGE_CONFIG_ERROR, true), word);
    assert.is(view.buffer, gauges.buffer, "a refused init must not grow memory");
  }
});

forBuilds(test, "calls before init and a second init are refused", (build) => {
  const { exports } = makeInstance({ build });
  assert.ok(exports.ingest(0, 0) < 0);
  assert.ok(exports.events() <= 0);
  assert.ok(exports.poll(0, 1) <= 0);
  assert.ok(exports.flush(0) <= 0);
  assert.ok(exports.stageSend(0, 1, 0) < 0);
  assert.ok(exports.accept(1 << abi.HANDLE_GEN_SHIFT, 0) < 0);
  assert.ok(exports.closeAll(0) <= 0);
  assert.is(exports.deadline(), Infinity);
  assert.is(exports.init(), 0);
  assert.is(exports.init(), abi.ERR_STATE);
});

forBuilds(test, "counts an RX length that no slot can hold as a drop, and lives on", (build) => {
  const core = new CoreHarness({ build });
  const view = new DataView(core.exports.memory.buffer);
  for (const length of [abi.SLOT_BYTES + 1, 0x7fff_ffff, 0xffff_ffff]) {
    view.setUint32(abi.RX_BASE + 4, length, true);
    core.exports.ingest(1, core.nowUs);
  }
  assert.ok(core.exports.ingest(abi.RX_MAX + 1, core.nowUs) < 0);
  assert.ok(core.exports.ingest(-1, core.nowUs) < 0);
  const echo = icmpPacket({ payload: pattern(56) });
  core.send(echo);
  const [reply] = core.flush();
  assert.equal(expectIcmp(reply!).payload, pattern(56));
  core.tearDown();
});

forBuilds(test, "time that goes backwards is no time passed", (build) => {
  const core = new CoreHarness({ build, options: { reassembly4: 1000 } });
  core.send(udpPacket({ payload: pattern(8), fragment: 0x2000 }));
  const deadline = core.deadline();
  assert.is(deadline, core.nowUs + 1_000_000);
  core.exports.poll(core.nowUs - 5_000_000, 100);
  assert.is(core.deadline(), deadline);
  core.exports.poll(deadline - 1, 100);
  assert.is(core.deadline(), deadline, "a poll before the deadline changes nothing");
  core.exports.poll(deadline, 100);
  assert.is(core.deadline(), Infinity);
  core.tearDown();
});

forBuilds(test, "xorMask masks in place at every length, address and phase", (build) => {
  const core = new CoreHarness({ build });
  const scratch = new DataView(core.exports.memory.buffer).getUint32(abi.RX_BASE, true);
  const key = 0xa1b2c3d4;
  for (let length = 0; length < 70; length++) {
    for (const shift of [0, 1, 3, 15]) {
      for (let phase = 0; phase < 4; phase++) {
        const plain = pattern(length + 2, length + 1);
        core.bytes.set(plain, scratch + shift);
        core.exports.xorMask(scratch + shift + 1, length, key, phase);
        const want = plain.map((byte, i) => {
          if (i === 0 || i === length + 1) return byte;
          return byte ^ (key >>> (8 * ((i - 1 + phase) & 3)));
        });
        const got = core.bytes.slice(scratch + shift, scratch + shift + length + 2);
        assert.equal(got, want, `length ${length} shift ${shift} phase ${phase}`);
      }
    }
  }
});

test.run();
