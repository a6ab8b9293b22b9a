/** Handles: index and generation. A stale one is an error, never another flow. */
import * as assert from "uvu/assert";
import * as abi from "../../assembly/abi.ts";
import { CoreHarness, forBuilds } from "../kit/core.ts";
import { expectTcp, tcpPacket, udpPacket } from "../kit/packet.ts";
import { suite } from "../kit/suite.ts";

const test = suite("abi/handles");

/** A SYN from `sport`; the handle of the flow it opened. */
function open(core: CoreHarness, sport: number): number {
  core.send(tcpPacket({ sport, seq: 100, flags: "S", options: { mss: 1460 } }));
  const event = core.events().find(({ flags }) => (flags & abi.EV_OPEN) !== 0);
  if (event === undefined) throw new Error("no open event");
  return event.handle;
}

/** What every call answers for a handle. */
function answers(core: CoreHarness, handle: number): number[] {
  const { exports: e, nowUs } = core;
  return [
    e.accept(handle, nowUs),
    e.reject(handle, abi.REJECT_RST, nowUs),
    e.recvPeek(handle),
    e.recvConsume(handle, 1, nowUs),
    e.sendReserve(handle, 1),
    e.sendCommit(handle, 0, nowUs),
    e.shutdown(handle, nowUs),
    e.abort(handle, nowUs),
    e.udpClose(handle, nowUs),
    e.release(handle),
  ];
}

forBuilds(
  test,
  "FLOW-10 DET-8: handles that never were answer ERR_STALE to every call",
  (build) => {
    const core = new CoreHarness({ build });
    const gen = 1 << abi.HANDLE_GEN_SHIFT;
    const mapping = abi.HANDLE_MAPPING;
    for (const handle of [
      0,
      1,
      gen,
      gen | 255,
      gen | 256,
      0x7fff_ffff,
      mapping,
      mapping | gen,
      -1,
    ]) {
      const got = answers(core, handle);
      assert.equal(
        got,
        got.map(() => abi.ERR_STALE),
        `handle ${handle}`,
      );
    }
    core.tearDown();
  },
);

forBuilds(
  test,
  "FLOW-10: a released flow's handle is stale, also when its record lives again",
  (build) => {
    const core = new CoreHarness({ build, options: { flows: 16 } });
    const seen = new Set<number>();
    for (let round = 0; round < 40; round++) {
      const handle = open(core, 40_000 + round);
      assert.not(seen.has(handle), "a handle came twice");
      seen.add(handle);
      core.reject(handle);
      core.flush();
      core.releaseClosed();
      for (const old of seen) assert.is(core.exports.accept(old, core.nowUs), abi.ERR_STALE);
    }
    core.tearDown();
  },
);

forBuilds(test, "calls that are out of order answer an error and do no harm", (build) => {
  const core = new CoreHarness({ build });
  const handle = open(core, 40_000);
  const { exports: e, nowUs } = core;
  assert.ok(e.recvConsume(handle, 1, nowUs) < 0, "consume of what was not received");
  assert.ok(e.recvConsume(handle, 0xffff_ffff, nowUs) < 0);
  assert.ok(e.sendCommit(handle, 1, nowUs) < 0, "commit of what was not reserved");
  assert.ok(e.reject(handle, 99, nowUs) < 0, "reject with an unknown kind");
  assert.is(e.udpClose(handle, nowUs), abi.ERR_STALE, "a flow is no mapping");
  core.accept(handle);
  const [synAck] = core.flush();
  assert.is(expectTcp(synAck!).flags, "SA");
  assert.ok(e.accept(handle, nowUs) < 0, "a second accept");
  core.tearDown();
});

forBuilds(test, "a mapping's handle is stale after its release", (build) => {
  const core = new CoreHarness({ build });
  const [datagram] = core.send(udpPacket({ dport: 5000 }));
  const { handle } = datagram!;
  assert.ok((handle & abi.HANDLE_MAPPING) !== 0);
  assert.is(core.exports.accept(handle, core.nowUs), abi.ERR_STALE);
  assert.is(core.exports.release(handle), abi.ERR_STATE, "release of a living mapping");
  core.udpClose(handle);
  core.releaseClosed();
  assert.is(core.exports.udpClose(handle, core.nowUs), abi.ERR_STALE);
  assert.is(core.exports.release(handle), abi.ERR_STALE);
  const [again] = core.send(udpPacket({ dport: 5000 }));
  assert.is.not(again!.handle, handle);
  core.tearDown();
});

test.run();
