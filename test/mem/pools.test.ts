/** Configuration checks, blocks and their cap, timers, token buckets. */
import * as assert from "uvu/assert";
import * as abi from "../../assembly/abi.ts";
import { CORE_OPTIONS } from "../../src/core/options.ts";
import { Random } from "../kit/random.ts";
import { suite } from "../kit/suite.ts";
import { makeProbe } from "./probe.ts";

const test = suite("mem/pools");

test("init refuses each word out of range and names it", () => {
  const cases: [number, number][] = [
    [abi.CFG_ABI_VERSION, 0],
    [abi.CFG_MTU, 1279],
    [abi.CFG_MTU, 65536],
    [abi.CFG_VNET_BYTES, 11],
    [abi.CFG_OFFLOADS, abi.OFFLOAD_CSUM],
    [abi.CFG_CONNECT_MODE, 2],
    [abi.CFG_ECHO_MODE, 3],
    [abi.CFG_FLAGS, 32],
    [abi.CFG_RX_ENTRIES, 0],
    [abi.CFG_RX_ENTRIES, abi.RX_MAX + 1],
    [abi.CFG_BUFFER_CAP_BYTES, 0],
    [abi.CFG_FLOWS, 0],
    [abi.CFG_MAPPINGS, abi.HANDLE_INDEX_MASK],
    [abi.CFG_RTO_MAX_MS, 1],
  ];
  for (const option of CORE_OPTIONS) cases.push([option.word, 0xffffffff]);
  for (const [word, value] of cases) {
    const probe = makeProbe({ [word]: value }, false);
    assert.is(probe.exports.init(), abi.ERR_CONFIG, `word ${word} = ${value}`);
    const named = probe.gauge(abi.GAUGE_CONFIG_ERROR);
    const isPair = word === abi.CFG_RECV_BUFFER_BYTES || word === abi.CFG_SEND_BUFFER_BYTES;
    if (!isPair && word !== abi.CFG_RTO_MIN_MS) assert.is(named, word);
  }
});

test("init takes every option at both ends of its range", () => {
  for (const option of CORE_OPTIONS) {
    for (const value of [option.min, option.max]) {
      if (option.word === abi.CFG_BUFFER_CAP_BYTES && value === option.max) continue;
      const words: Record<number, number> = { [option.word]: value };
      if (option.word === abi.CFG_RTO_MIN_MS) words[abi.CFG_RTO_MAX_MS] = 600_000;
      if (option.word === abi.CFG_RECV_BUFFER_BYTES) words[abi.CFG_RECV_BUFFER_MAX_BYTES] = value;
      if (option.word === abi.CFG_SEND_BUFFER_BYTES) words[abi.CFG_SEND_BUFFER_MAX_BYTES] = value;
      if (option.word === abi.CFG_RECV_BUFFER_MAX_BYTES) words[abi.CFG_RECV_BUFFER_BYTES] = 65536;
      if (option.word === abi.CFG_SEND_BUFFER_MAX_BYTES) words[abi.CFG_SEND_BUFFER_BYTES] = 4096;
      assert.is(makeProbe(words, false).exports.init(), 0, `${option.key} = ${value}`);
    }
  }
});

test("MEM-3: init places the largest pools, or says that memory does not suffice, and works once", () => {
  const probe = makeProbe({ [abi.CFG_BUFFER_CAP_BYTES]: 2 ** 31 }, false);
  assert.ok([0, abi.ERR_MEMORY].includes(probe.exports.init()));
  const small = makeProbe();
  assert.is(small.exports.init(), abi.ERR_STATE);
  assert.is(small.gauge(abi.GAUGE_MEMORY_PAGES), small.bytes().length / 65536);
});

test("DOS-12: blocks stay under the cap, are distinct, and come back", () => {
  const cap = 4 * 1024 ** 2;
  const { exports, gauge } = makeProbe({ [abi.CFG_BUFFER_CAP_BYTES]: cap });
  const slotsFree = gauge(abi.GAUGE_SLOTS_FREE);
  const chunksFree = gauge(abi.GAUGE_CHUNKS_FREE);
  for (let round = 0; round < 3; round++) {
    const blocks: number[] = [];
    for (let block = exports.probeTakeSlot(); block !== 0; block = exports.probeTakeSlot()) {
      blocks.push(block);
    }
    for (let block = exports.probeTakeChunk(); block !== 0; block = exports.probeTakeChunk()) {
      blocks.push(block);
    }
    assert.ok(exports.probeBuffered() <= cap);
    assert.ok(exports.probeBuffered() > cap * 0.9);
    assert.is(new Set(blocks.map((block) => exports.probeBlockData(block))).size, blocks.length);
    for (const block of blocks) exports.probeGive(block);
    assert.is(exports.probeBuffered(), 0);
    assert.is(gauge(abi.GAUGE_SLOTS_FREE), slotsFree);
    assert.is(gauge(abi.GAUGE_CHUNKS_FREE), chunksFree);
  }
});

test("an RX entry's slot can be taken over until no slot is free", () => {
  const { exports, view, gauge } = makeProbe();
  const ptr = (): number => view().getUint32(abi.RX_BASE + abi.RX_ENTRY_BYTES, true);
  const kept: number[] = [];
  for (;;) {
    const before = ptr();
    const block = exports.probeKeepRx(1);
    if (block === 0) {
      assert.is(ptr(), before);
      break;
    }
    assert.is(exports.probeBlockData(block), before);
    assert.is.not(ptr(), before);
    kept.push(block);
  }
  assert.ok(kept.length > 10);
  assert.is(exports.probeKeepRx(-1), 0);
  assert.is(exports.probeKeepRx(4), 0);
  for (const block of kept) exports.probeGive(block);
  assert.is(gauge(abi.GAUGE_BUFFERED_BYTES), 0);
});

test("DET-3: timers fire in order of deadline and id, whatever was armed, moved and cancelled", () => {
  const { exports } = makeProbe();
  const random = new Random(5);
  const model = new Map<number, number>();
  for (let step = 0; step < 20_000; step++) {
    const id = random.below(1000);
    const action = random.below(10);
    if (action < 6) {
      const at = random.below(5000);
      exports.probeArm(id, at);
      model.set(id, at);
    } else if (action < 8) {
      exports.probeCancel(id);
      model.delete(id);
    } else {
      const now = random.below(2000);
      let first: [number, number] | undefined;
      for (const [key, at] of model) {
        if (first === undefined || at < first[1] || (at === first[1] && key < first[0])) {
          first = [key, at];
        }
      }
      const due = first !== undefined && first[1] <= now ? first[0] : -1;
      assert.is(exports.probePop(now), due);
      model.delete(due);
    }
    assert.is(exports.probeTimerDeadline(id), model.get(id) ?? Number.MAX_VALUE);
  }
  assert.is(exports.probeNext(), model.size === 0 ? Number.MAX_VALUE : Math.min(...model.values()));
});

test("a token bucket gives its burst, then its rate, and nothing for time going back", () => {
  const { exports } = makeProbe({ [abi.CFG_ICMP_RATE]: 10, [abi.CFG_ICMP_BURST]: 5 });
  const take = (at: number): number => {
    let taken = 0;
    while (taken < 100 && exports.probeToken(0, at) === 1) taken++;
    return taken;
  };
  assert.is(take(1_000_000), 5);
  assert.is(take(1_050_000), 0);
  assert.is(take(1_100_000), 1);
  assert.is(take(0), 0);
  assert.is(take(9_000_000), 5);
});

test.run();
