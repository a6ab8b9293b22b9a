/**
 * A connection that is over in order, while the host has not taken all its bytes: EV_CLOSED waits,
 * and an abort or the end of everything does not lose it.
 */
import * as assert from "uvu/assert";
import * as abi from "../../assembly/abi.ts";
import { pattern } from "../kit/bytes.ts";
import { CoreHarness, forBuilds, type Build } from "../kit/core.ts";
import { TcpPeer } from "../kit/peer.ts";
import { suite } from "../kit/suite.ts";

const test = suite("tcp/draining");

/** A client that sent 1000 bytes and closed, a host that closed and took none of them. */
function drained(build: Build): { core: CoreHarness; handle: number } {
  const core = new CoreHarness({ build, options: { connect: abi.CONNECT_IMMEDIATE } });
  const ends = { src: "192.0.2.10", dst: "192.0.2.200", sport: 40_000, dport: 80 };
  const peer = new TcpPeer({ ...ends, mss: 1460 });
  peer.connect(core.nowUs);
  peer.write(pattern(1000));
  peer.finish();
  let handle = 0;
  for (let round = 0; round < 10 && !peer.isDone; round++) {
    core.send(...peer.take(core.nowUs));
    for (const event of core.events()) {
      assert.is(event.flags & abi.EV_CLOSED, 0, "closed before the host took all");
      handle = event.handle;
      if ((event.flags & abi.EV_FIN) !== 0) core.shutdown(handle);
    }
    for (const packet of core.flush()) peer.receive(packet, core.nowUs);
  }
  assert.ok(peer.isDone);
  core.send(...peer.take(core.nowUs));
  return { core, handle };
}

function closeCodes(core: CoreHarness): number[] {
  const closed = core.events().filter(({ flags }) => (flags & abi.EV_CLOSED) !== 0);
  for (const { handle } of closed) core.release(handle);
  return closed.map(({ code }) => code);
}

forBuilds(test, "the last bytes are there to be taken, then the flow is done", (build) => {
  const { core, handle } = drained(build);
  assert.equal(closeCodes(core), []);
  assert.equal(core.read(handle, 400), pattern(1000).subarray(0, 400));
  assert.equal(closeCodes(core), []);
  assert.equal(core.read(handle), pattern(1000).subarray(400));
  assert.equal(closeCodes(core), [abi.CLOSE_DONE]);
  core.tearDown();
});

forBuilds(test, "an abort gives the rest up and closes the flow without a packet", (build) => {
  const { core, handle } = drained(build);
  core.flush();
  core.abort(handle);
  assert.equal(core.flush(), []);
  assert.equal(closeCodes(core), [abi.CLOSE_HOST]);
  core.tearDown();
});

forBuilds(test, "what is lent stays through an abort until the release", (build) => {
  const { core, handle } = drained(build);
  const lent = core.peek(handle);
  const [span] = core.spans(abi.SPANS_BASE, 1);
  core.abort(handle);
  assert.equal(span!.slice(), lent);
  assert.equal(closeCodes(core), [abi.CLOSE_HOST]);
  core.tearDown();
});

forBuilds(test, "the end of everything closes such flows too", (build) => {
  const { core } = drained(build);
  core.exports.closeAll(core.nowUs);
  assert.equal(closeCodes(core), [abi.CLOSE_HOST]);
  core.tearDown();
});

test.run();
