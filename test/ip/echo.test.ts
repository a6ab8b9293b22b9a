/** Echo requests, their modes and limits; ICMP that must not be answered. */
import * as assert from "uvu/assert";
import * as abi from "../../assembly/abi.ts";
import { CoreHarness, forBuilds } from "../kit/core.ts";
import {
  CLIENT_4,
  CLIENT_6,
  SERVER_4,
  SERVER_6,
  expectIcmp,
  fragment4,
  fragment6,
  icmpPacket,
  joinFragments,
} from "../kit/packet.ts";
import { Random } from "../kit/random.ts";
import { suite } from "../kit/suite.ts";

const test = suite("ip/echo");
const FAMILIES = [
  { family: 4, src: CLIENT_4, dst: SERVER_4, header: 20, reply: 0 },
  { family: 6, src: CLIENT_6, dst: SERVER_6, header: 40, reply: 129 },
] as const;

forBuilds(test, "ICMP-1: answers with the same identifier, sequence and data", (build) => {
  const core = new CoreHarness({ build });
  for (const { src, dst, reply } of FAMILIES) {
    for (const size of [0, 1, 56, 57, 1400]) {
      const payload = new Random(size).bytes(size);
      core.send(icmpPacket({ src, dst, echoId: 0xbeef, echoSeq: size, payload }));
      const out = core.flush();
      assert.is(out.length, 1);
      const seen = expectIcmp(out[0]!, core.framing);
      assert.equal([seen.type, seen.code, seen.src, seen.dst], [reply, 0, dst, src]);
      assert.equal([seen.echoId, seen.echoSeq], [0xbeef, size]);
      assert.equal(Buffer.from(seen.payload), Buffer.from(payload));
    }
  }
  core.tearDown();
});

forBuilds(
  test,
  "ICMP-14 FRAG-12: answers a request in fragments with a reply in fragments",
  (build) => {
    const core = new CoreHarness({ build });
    const payload = new Random(9).bytes(8000);
    const cuts = [1480, 2960, 4440, 5920, 7400];
    for (const { family, src, dst } of FAMILIES) {
      const packet = icmpPacket({ src, dst, payload });
      const pieces = family === 4 ? fragment4(packet, cuts) : fragment6(packet, cuts);
      core.send(...pieces);
      const out = core.flush();
      assert.ok(out.length > 5);
      const seen = expectIcmp(joinFragments(out, core.framing));
      assert.equal(Buffer.from(seen.payload), Buffer.from(payload));
    }
    core.tearDown();
  },
);

test("ICMP-1: is silent in mode drop, but for the device's own address", () => {
  const core = new CoreHarness({ options: { echo: abi.ECHO_DROP } });
  core.send(icmpPacket({ dst: SERVER_4 }), icmpPacket({ dst: SERVER_6, src: CLIENT_6 }));
  assert.equal(core.flush(), []);
  assert.is(core.stat("DROP_ECHO_OFF"), 2);
});

test("ICMP-1: hands requests to the host in mode host, and sends the host's replies", () => {
  const core = new CoreHarness({ options: { echo: abi.ECHO_HOST } });
  for (const { src, dst, reply } of FAMILIES) {
    const payload = new Random(1).bytes(100);
    const [request] = core.send(icmpPacket({ src, dst, echoId: 7, echoSeq: 9, payload }));
    assert.equal(core.flush(), []);
    assert.ok(request);
    assert.equal([request.kind, request.client, request.far], [abi.DGRAM_ECHO, src, dst]);
    assert.equal(core.stage(request), 1);
    const out = core.flush();
    assert.is(out.length, 1);
    const seen = expectIcmp(out[0]!, core.framing);
    assert.equal([seen.type, seen.echoId, seen.echoSeq], [reply, 7, 9]);
    assert.equal(Buffer.from(seen.payload), Buffer.from(payload));
  }
  core.tearDown();
});

test.run();
