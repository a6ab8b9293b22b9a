/** Recordings: what is in the file, read back by the kit and by tshark where there is one. */
import { suite } from "../kit/suite.ts";
import * as assert from "uvu/assert";
import { spawnSync } from "node:child_process";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { MemoryDevice } from "../../src/tun/memory.ts";
import { PcapDevice } from "../../src/tun/pcap.ts";
import { readPcapng } from "../kit/pcapng.ts";
import { PlainMemory } from "./help.ts";

const test = suite("tun/pcap");
const work = fs.mkdtempSync(join(tmpdir(), "tsgost-pcap-"));
test.after(() => fs.rmSync(work, { recursive: true, force: true }));

const VNET = 12;

/** An IPv4 UDP datagram of `len` bytes of data, behind an empty virtio header. */
function datagram(len: number, port: number): Uint8Array {
  const bytes = new Uint8Array(VNET + 28 + len);
  const view = new DataView(bytes.buffer, VNET);
  view.setUint16(0, 0x4500);
  view.setUint16(2, 28 + len);
  view.setUint16(8, 0x4011);
  view.setUint32(12, 0xc0000201);
  view.setUint32(16, 0xc0000202);
  view.setUint16(20, 1000);
  view.setUint16(22, port);
  view.setUint16(24, 8 + len);
  for (let at = 28; at < 28 + len; at++) view.setUint8(at, at & 255);
  return bytes;
}

function record(name: string): {
  file: string;
  inner: MemoryDevice;
  device: PcapDevice;
  memory: PlainMemory;
} {
  const file = join(work, name);
  const inner = new MemoryDevice({ name: "tun9", vnetBytes: VNET });
  const device = new PcapDevice(inner, { file });
  const memory = new PlainMemory();
  device.attach(memory);
  return { file, inner, device, memory };
}

/** Passes packets of these sizes in and out. */
function pass(from: ReturnType<typeof record>, sizes: readonly number[]): void {
  const { inner, device, memory } = from;
  for (const size of sizes) {
    inner.push(datagram(size, 7));
    assert.is(device.read(1), 1);
    const out = datagram(size, 9);
    memory.set(700_000, out);
    memory.tx(0, [700_000, 40], [700_040, out.length - 40]);
    assert.is(device.write(1), 0);
    assert.equal(inner.take(), out);
  }
}

test("both directions are recorded without the virtio header; the device is unchanged", () => {
  const all = record("both.pcapng");
  assert.is(all.device.name, "tun9");
  assert.is(all.device.vnetBytes, VNET);
  assert.is(all.device.mtu, 1500);
  const sizes = [1, 2, 3, 4, 1400];
  pass(all, sizes);
  all.device.close();
  all.device.close();
  assert.ok(all.inner.closed);
  const packets = readPcapng(fs.readFileSync(all.file));
  const expected = sizes.flatMap((size) => [datagram(size, 7), datagram(size, 9)]);
  assert.is(packets.length, expected.length);
  packets.forEach(({ data, length }, index) => {
    assert.equal(new Uint8Array(data), expected[index]?.slice(VNET));
    assert.is(length, data.length);
  });
  const ageMs =
    performance.timeOrigin + performance.now() - Number((packets[0]?.timestamp ?? 0n) / 1000n);
  assert.ok(Math.abs(ageMs) < 60_000, `${ageMs} ms old`);
});

test("super-packets are recorded whole, and more than the buffer holds is written on", () => {
  const all = record("large.pcapng");
  const sizes = Array.from({ length: 30 }, () => 65_000);
  pass(all, sizes);
  // Bounded: most of it must be in the file by now.
  assert.ok(fs.statSync(all.file).size > 55 * 65_000 - 600_000);
  all.device.close();
  assert.is(readPcapng(fs.readFileSync(all.file)).length, 60);
});

test("a file is complete after a while without a close", async () => {
  const all = record("live.pcapng");
  pass(all, [100]);
  for (let tries = 0; tries < 100; tries++) {
    await new Promise((done) => setTimeout(done, 50));
    if (readPcapng(fs.readFileSync(all.file)).length === 2) break;
  }
  assert.is(readPcapng(fs.readFileSync(all.file)).length, 2);
  all.device.close();
});

test("a device that came back goes on in the same file; else an old file is replaced", () => {
  const first = record("again.pcapng");
  pass(first, [10]);
  first.device.close();
  const inner = new MemoryDevice({ vnetBytes: VNET });
  const memory = new PlainMemory();
  const device = new PcapDevice(inner, { file: first.file, append: true });
  device.attach(memory);
  pass({ file: first.file, inner, device, memory }, [20]);
  device.close();
  const sizes = readPcapng(fs.readFileSync(first.file)).map(({ length }) => length);
  assert.equal(sizes, [38, 38, 48, 48]);
  record("again.pcapng").device.close();
  assert.is(readPcapng(fs.readFileSync(first.file)).length, 0);
});

test("only the owner may read a recording", () => {
  const all = record("mode.pcapng");
  assert.is(fs.statSync(all.file).mode & 0o777, 0o600);
  all.device.close();
});

test("a file that cannot be made is an error that names it", () => {
  const file = join(work, "none", "x.pcapng");
  assert.throws(
    () => new PcapDevice(new MemoryDevice(), { file }),
    (error: { code: string; message: string }) =>
      error.code === "TSGOST_ERR_PCAP" &&
      error.message === `cannot write ${file}: no such file or directory`,
  );
});

test("a full disk ends the recording, is told once, and leaves the device alone", () => {
  const errors: string[] = [];
  const inner = new MemoryDevice({ vnetBytes: VNET });
  const memory = new PlainMemory();
  // The header goes to the full device in the constructor, so that is where it is told.
  const device = new PcapDevice(inner, {
    file: "/dev/full",
    onError: (error) => errors.push(error.message),
  });
  device.attach(memory);
  inner.push(datagram(10, 7));
  assert.is(device.read(1), 1);
  device.flush();
  device.close();
  assert.is(errors.length, 1);
  assert.match(errors[0] ?? "", /^cannot write \/dev\/full: no space left on device$/);
});

const tshark = spawnSync("tshark", ["--version"]).status === 0;
test.skipUnless(
  tshark,
  "tshark is not installed",
  "tshark reads it: directions, device, ports",
  () => {
    const all = record("tshark.pcapng");
    pass(all, [5, 60_000]);
    all.device.close();
    const fields = [
      "frame.packet_flags_direction",
      "frame.interface_name",
      "udp.dstport",
      "ip.len",
    ];
    const { status, stdout, stderr } = spawnSync(
      "tshark",
      ["-r", all.file, "-T", "fields", ...fields.flatMap((field) => ["-e", field])],
      { encoding: "utf8" },
    );
    assert.is(status, 0, stderr);
    const rows = stdout
      .trim()
      .split("\n")
      .map((row) => row.split("\t").map((cell) => cell.replace(/^0x0*/, "")));
    assert.equal(rows, [
      ["1", "tun9", "7", "33"],
      ["2", "tun9", "9", "33"],
      ["1", "tun9", "7", "60028"],
      ["2", "tun9", "9", "60028"],
    ]);
  },
);

test.run();
