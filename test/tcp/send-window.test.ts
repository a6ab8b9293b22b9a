/** Which segments the send window is taken from (RFC 9293 §3.10.7.4, TCP-50, TCP-66). */
import * as assert from "uvu/assert";
import * as abi from "../../assembly/abi.ts";
import { pattern, seqAdd } from "../kit/bytes.ts";
import { CoreHarness, forBuilds, type Build } from "../kit/core.ts";
import { expectTcp, tcpPacket, type TcpFields, type TcpSeen } from "../kit/packet.ts";
import { suite } from "../kit/suite.ts";

const test = suite("tcp/send-window");
const ISS = 0xffff_fff0;

interface Open {
  core: CoreHarness;
  handle: number;
  /** Sequence number of the core's first byte. */
  first: number;
  /** Sends a segment at offset `off` of the client's stream. */
  send(off: number, fields: TcpFields): TcpSeen[];
  write(count: number): TcpSeen[];
}

function open(build: Build): Open {
  const core = new CoreHarness({ build, options: { connect: abi.CONNECT_IMMEDIATE } });
  core.send(tcpPacket({ seq: ISS, flags: "S", window: 5000, options: { mss: 1460 } }));
  const { handle } = core.events()[0]!;
  const flush = (): TcpSeen[] => core.flush().map((packet) => expectTcp(packet, core.framing));
  const [synAck] = flush();
  const first = seqAdd(synAck!.seq, 1);
  const send = (off: number, fields: TcpFields): TcpSeen[] => {
    core.send(tcpPacket({ seq: seqAdd(ISS, 1 + off), ack: first, window: 5000, ...fields }));
    return flush();
  };
  const write = (count: number): TcpSeen[] => {
    core.write(handle, pattern(count));
    return flush();
  };
  send(0, {});
  return { core, handle, first, send, write };
}

function bytesOf(packets: readonly TcpSeen[]): number {
  return packets.reduce((sum, { payload }) => sum + payload.length, 0);
}

forBuilds(
  test,
  "TCP-66: the segment that fills a hole brings its window, though it is older",
  (build) => {
    const { core, first, send, write } = open(build);
    assert.is(bytesOf(write(2000)), 2000);
    send(100, { payload: pattern(100) });
    const ack = seqAdd(first, 2000);
    send(0, { payload: pattern(100), ack, window: 300 });
    // Less than a segment may also be held back (RFC 9293 §3.8.6.2.1).
    assert.ok(bytesOf(write(1000)) <= 300);
    core.tearDown();
  },
);

forBuilds(test, "TCP-66: an old segment without news does not change the window", (build) => {
  const { core, send, write } = open(build);
  send(0, { payload: pattern(100), window: 4000 });
  send(0, { window: 10 });
  assert.is(bytesOf(write(2000)), 2000);
  core.tearDown();
});

test.run();
