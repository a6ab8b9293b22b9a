/** Signs of throughput on the wire, and the sizes of records (PERF-…, MEM-…). */
import * as assert from "uvu/assert";
import * as abi from "../../assembly/abi.ts";
import { pattern } from "../kit/bytes.ts";
import { CoreHarness } from "../kit/core.ts";
import { Link } from "../kit/link.ts";
import { TcpPeer } from "../kit/peer.ts";
import { Random } from "../kit/random.ts";
import { suite } from "../kit/suite.ts";
import { Client, connected, MS } from "./client.ts";

const test = suite("tcp/bulk");
const TSO = abi.OFFLOAD_CSUM | abi.OFFLOAD_TSO4 | abi.OFFLOAD_TSO6;
const DATA = pattern(1024 ** 2);
const IMMEDIATE = { connect: abi.CONNECT_IMMEDIATE };

test("PERF-1 TCP-46: after 100 ms of an upload the window is twice what is in flight", () => {
  const recvBufferMax = 4 * 1024 ** 2;
  const options = { ...IMMEDIATE, mtu: 1500, recvBuffer: 65_536, recvBufferMax };
  const core = new CoreHarness({ build: "simd", options: { ...options, bufferCap: 2 ** 26 } });
  const ends = { src: "192.0.2.10", dst: "192.0.2.200", sport: 1000, dport: 80 };
  const peer = new TcpPeer({ ...ends, mss: 1460, wscale: 10, sack: true, timestamps: true });
  const up = new Link(new Random(1), { delayUs: 1000 });
  const down = new Link(new Random(2), { delayUs: 1000 });
  const startUs = core.nowUs;
  peer.connect(startUs);
  let handle = 0;
  let widest = 0;
  for (let tick = 0; tick < 1400; tick++) {
    core.nowUs = startUs + tick * 100;
    // 50 MB a second, which a network of 2 ms holds 100 KB of.
    if (tick % 2 === 0) peer.write(DATA.subarray(0, 10_000));
    core.send(...up.pop(core.nowUs).map(({ bytes }) => bytes));
    core.poll();
    for (const event of core.events()) handle = event.handle;
    if (handle !== 0) core.read(handle);
    for (const packet of core.flush()) down.push(packet, core.nowUs);
    for (const { bytes } of down.pop(core.nowUs)) peer.receive(bytes, core.nowUs);
    peer.poll(core.nowUs);
    for (const packet of peer.take(core.nowUs)) up.push(packet, core.nowUs);
    const { una, nxt, edge } = peer.sender;
    if (tick < 1000) continue;
    widest = Math.max(widest, nxt - una);
    assert.ok(edge - una >= 2 * (nxt - una), `window ${edge - una}, in flight ${nxt - una}`);
  }
  assert.ok(widest >= 100_000, `${widest} bytes in flight`);
  core.tearDown();
});

test("PERF-2: a download fills the client's window, or the send buffer", () => {
  const options = { ...IMMEDIATE, bufferCap: 64 * 1024 ** 2, sendBufferMax: 4 * 1024 ** 2 };
  const client = { options: { mss: 1460, wscale: 7, sackOk: true }, window: 32_768 };
  const c = connected({ build: "simd", vnetBytes: 10, offloads: TSO, options }, client);
  let acked = 0;
  let widest = 0;
  for (let round = 0; round < 40; round++) {
    c.core.nowUs += 50 * MS;
    let end = acked;
    const out = c.send({ ack: c.theirs(acked) });
    while (c.core.write(c.handle, DATA) === DATA.length);
    for (const { seq, payload } of [...out, ...c.flush()]) {
      end = Math.max(end, ((seq - c.theirs(0)) >>> 0) + payload.length);
    }
    widest = Math.max(widest, end - acked);
    acked = end;
  }
  assert.ok(widest >= 0.95 * 4 * 1024 ** 2, `${widest} bytes in flight`);
  c.core.tearDown();
});

test("PERF-3 TCP-41: an upload in super-packets gets one ACK for 32 KB or more", () => {
  const c = connected({ build: "simd", vnetBytes: 10, offloads: TSO });
  let acks = 0;
  const size = 65_160;
  for (let sent = 0; sent < 100 * size; sent += size) {
    c.core.nowUs += 500;
    acks += c.sendSuper(DATA.slice(0, size), 1448, { seq: c.at(sent) }).length;
    c.core.read(c.handle);
    acks += c.flush().length;
  }
  assert.ok((100 * size) / acks >= 32_000, `${acks} ACKs`);
  c.core.tearDown();
});

test("PERF-4 TCP-53: a thousand questions and answers take no time of any timer", () => {
  const c = connected();
  const { nowUs } = c.core;
  for (let i = 0; i < 1000; i++) {
    c.core.send(c.packet({ seq: c.at(i), ack: c.theirs(i), payload: pattern(1) }));
    assert.is(c.core.read(c.handle).length, 1);
    c.core.write(c.handle, pattern(1));
    const [answer, ...more] = c.flush();
    assert.equal([answer!.payload.length, answer!.ack, more.length], [1, c.at(i + 1), 0]);
  }
  assert.is(c.core.nowUs, nowUs);
  c.core.tearDown();
});

test("MEM-1 MEM-4: an idle flow takes its record and no buffer, and records are small", () => {
  assert.ok(abi.FLOW_BYTES <= 2048, "flow");
  assert.ok(abi.TIME_WAIT_BYTES <= 64, "TIME-WAIT");
  assert.ok(abi.MAPPING_BYTES <= 512, "mapping");
  const c = connected({ build: "simd" });
  const before = c.core.levels();
  for (let sport = 1; sport <= 50; sport++) {
    const other = new Client(c.core, { sport }).connect();
    other.send({ payload: pattern(500) });
    c.core.read(other.handle);
    c.core.write(other.handle, pattern(500));
    c.flush();
    other.send({ seq: other.at(500), ack: other.theirs(500) });
  }
  const after = c.core.levels();
  for (const name of ["GAUGE_SLOTS_FREE", "GAUGE_CHUNKS_FREE", "GAUGE_BUFFERED_BYTES"]) {
    assert.is(after[name], before[name], name);
  }
  c.core.tearDown();
});

test.run();
