/** Replaying the captures of fixtures/pcap/: golden results, the same on every build and run. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { captureReader, emptyPacket } from "../../src/pcap/reader.ts";
import { replayCore } from "../../src/replay/core.ts";
import { Replay } from "../../src/replay/engine.ts";
import { UPSTREAMS, type ReplayOptions } from "../../src/replay/types.ts";
import { BUILD_NAMES, coreModule } from "../kit/core-setup.ts";
import { expectTcp, tcpPacket, type TcpFields } from "../kit/packet.ts";
import { suite } from "../kit/suite.ts";
import { pcapFile } from "../kit/capture.ts";
import { CAPTURES } from "./captures.ts";
import { sha256 } from "./corpus.ts";
import { FOLDER, goldenOf, readGolden, replayed } from "./golden.ts";
import { bytesOf } from "./text.ts";

const test = suite("replay");

test("the captures are what their program makes", () => {
  for (const [name, make] of Object.entries(CAPTURES)) {
    assert.ok(Buffer.from(make()).equals(readFileSync(join(FOLDER, name))), name);
  }
});

for (const name of Object.keys(CAPTURES)) {
  for (const build of BUILD_NAMES) {
    test(`${name}: golden results, and no pool leaks [${build}]`, () => {
      const golden = readGolden()[name];
      for (const upstream of UPSTREAMS) {
        const result = replayed(name, build, upstream);
        assert.equal(goldenOf(result), golden?.[upstream], upstream);
        assert.equal(result.leaks, [], upstream);
      }
    });
  }
}

type Settings = Partial<Omit<ReplayOptions, "core" | "makeHash">>;

/** Replays packets of raw IP, 10 ms apart; answers the result and what came out. */
function replayPackets(packets: readonly Uint8Array[], settings: Settings = {}) {
  const records = packets.map((data, index) => ({ timeNs: BigInt(index) * 10_000_000n, data }));
  const file = pcapFile({ link: "raw" }, records);
  let at = 0;
  const source = {
    name: "test",
    read: (into: Uint8Array): number => {
      const part = file.subarray(at, at + into.length);
      into.set(part);
      at += part.length;
      return part.length;
    },
  };
  const out: Uint8Array[] = [];
  const replay = new Replay({
    core: replayCore(coreModule("debug") as WebAssembly.Module),
    upstream: "recorded",
    checksums: "verify",
    makeHash: sha256,
    onOutput: (packet) => out.push(packet.slice()),
    ...settings,
  });
  const reader = captureReader(source);
  const packet = emptyPacket();
  while (reader.next(packet)) replay.packet(packet);
  const result = replay.finish();
  assert.equal(result.leaks, []);
  return { result, out };
}

const SERVER: TcpFields = { src: "192.0.2.200", dst: "192.0.2.10", sport: 80, dport: 40000 };

function fromServer(fields: TcpFields): Uint8Array {
  return tcpPacket({ ...SERVER, ...fields });
}

const HANDSHAKE = [
  tcpPacket({ seq: 99, flags: "S", options: { mss: 1460 } }),
  fromServer({ seq: 499, ack: 100, flags: "SA", options: { mss: 1460 } }),
  tcpPacket({ seq: 100, ack: 500 }),
];

test("recorded: the client's ACK waits for the server's bytes, and fits the core's numbers", () => {
  const { result, out } = replayPackets([
    ...HANDSHAKE,
    // The capture has the acknowledgement, with data behind it, before what it acknowledges.
    tcpPacket({ seq: 100, ack: 510, payload: bytesOf("thanks") }),
    fromServer({ seq: 500, ack: 100, payload: bytesOf("here it is") }),
  ]);
  const [flow] = result.flows;
  assert.is(flow?.server_bytes, 10);
  assert.is(flow?.server_filled, undefined);
  assert.is(flow?.client_bytes, 6);
  assert.equal(result.drops, {});
  const framing = { vnetBytes: 0, mtu: 65_535 } as const;
  const data = out
    .map((packet) => expectTcp(packet, framing))
    .filter((seen) => seen.payload.length > 0);
  assert.is(data.length, 1, "sent once: the acknowledgement was understood");
});

test("recorded: zeros stand for bytes that the capture lacks", () => {
  const { result } = replayPackets([
    ...HANDSHAKE,
    tcpPacket({ seq: 100, ack: 2500, payload: bytesOf("got them") }),
    fromServer({ seq: 2500, ack: 108, flags: "FA" }),
    tcpPacket({ seq: 108, ack: 2501, flags: "FA" }),
    fromServer({ seq: 2501, ack: 109 }),
  ]);
  const [flow] = result.flows;
  assert.is(flow?.server_filled, 2000);
  assert.is(flow?.server_bytes, 2000);
  assert.is(flow?.client_bytes, 8);
});

test("recorded: a capture of the client's side alone still opens", () => {
  const packets = HANDSHAKE.filter((_, index) => index !== 1);
  const { result } = replayPackets([
    ...packets,
    tcpPacket({ seq: 100, ack: 500, payload: bytesOf("alone") }),
  ]);
  assert.is(result.flows[0]?.client_bytes, 5);
  assert.is(result.flows[0]?.verdict, "open");
});

test("recorded: the server's RST refuses a SYN, and a second try may succeed", () => {
  const [syn = new Uint8Array(0), ...rest] = HANDSHAKE;
  const refusal = fromServer({ seq: 0, ack: 100, flags: "RA" });
  const once = replayPackets([syn, refusal]).result;
  assert.is(once.flows[0]?.verdict, "refused");
  const data = tcpPacket({ seq: 100, ack: 500, payload: bytesOf("second") });
  const twice = replayPackets([syn, refusal, syn, ...rest, data]).result;
  assert.is(twice.flows.length, 1);
  assert.is(twice.flows[0]?.client_bytes, 6);
});

test("checksums: verify drops, repair counts, ignore says nothing", () => {
  const wrong = tcpPacket({ seq: 100, ack: 500, payload: bytesOf("wrong"), checksum: "bad" });
  const outcome = (checksums: "verify" | "ignore" | "repair") =>
    replayPackets([...HANDSHAKE, wrong], { checksums }).result;
  assert.is(outcome("verify").flows[0]?.client_bytes, 0);
  assert.equal(outcome("verify").drops, { drop_l4_checksum: 1 });
  assert.is(outcome("verify").capture.bad_tcp_checksum, 1);
  assert.is(outcome("repair").flows[0]?.client_bytes, 5);
  assert.is(outcome("repair").capture.repaired, 1);
  assert.is(outcome("ignore").flows[0]?.client_bytes, 5);
  assert.is(outcome("ignore").capture.repaired, 0);
});

test("echo: what the client sent comes back, and its own ACKs fit", () => {
  const hello = tcpPacket({ seq: 100, ack: 777, payload: bytesOf("hello") });
  const later = tcpPacket({ seq: 105, ack: 999_999, flags: "FA" });
  const { result } = replayPackets([...HANDSHAKE, hello, later], { upstream: "echo" });
  assert.is(result.flows[0]?.server_bytes, 5);
  assert.equal(result.drops, {});
});

test("a reused pair of ports is a flow of its own", () => {
  const again = [
    tcpPacket({ seq: 90_000, flags: "S", options: { mss: 1460 } }),
    fromServer({ seq: 70_000, ack: 90_001, flags: "SA", options: { mss: 1460 } }),
    tcpPacket({ seq: 90_001, ack: 70_001 }),
    tcpPacket({ seq: 90_001, ack: 70_001, payload: bytesOf("anew") }),
  ];
  const { result } = replayPackets([...HANDSHAKE, ...again]);
  assert.equal(
    result.flows.map((flow) => flow.client_bytes),
    [0, 4],
  );
});

test.run();
