/** Readers of captures: every form, every truncation, lying lengths, strange times. */
import * as assert from "uvu/assert";
import { TsgostError } from "../../src/errors.ts";
import { LINK_UNSUPPORTED, NOT_IP, ipOffset } from "../../src/pcap/link.ts";
import { captureReader, emptyPacket } from "../../src/pcap/reader.ts";
import { concat } from "../kit/bytes.ts";
import {
  framed,
  LINK,
  pcapFile,
  pcapngBlock,
  pcapngFile,
  type CaptureRecord,
  type LinkName,
} from "../kit/capture.ts";
import { CLIENT_6, SERVER_6, udpPacket } from "../kit/packet.ts";
import { suite } from "../kit/suite.ts";

const test = suite("pcap/reader");

interface Seen {
  readonly data: string;
  readonly timeUs: number;
  readonly linkType: number;
  readonly wireBytes: number;
}

/** Reads a file that comes in pieces of `step` bytes; what was read, and the error's message. */
function readAll(file: Uint8Array, step = 7): { packets: Seen[]; error: string } {
  let at = 0;
  const source = {
    name: "FILE",
    read: (into: Uint8Array): number => {
      const part = file.subarray(at, at + Math.min(step, into.length));
      into.set(part);
      at += part.length;
      return part.length;
    },
  };
  const packets: Seen[] = [];
  try {
    const reader = captureReader(source);
    const packet = emptyPacket();
    while (reader.next(packet)) {
      const { data, timeUs, linkType, wireBytes } = packet;
      packets.push({ data: Buffer.from(data).toString("hex"), timeUs, linkType, wireBytes });
    }
    return { packets, error: "" };
  } catch (error) {
    assert.instance(error, TsgostError);
    assert.is((error as TsgostError).code, "TSGOST_ERR_PCAP");
    return { packets, error: (error as TsgostError).message };
  }
}

const TIME_NS = 1_234_567_890_123_456_789n;
const DATA = [Uint8Array.of(1, 2, 3), new Uint8Array(0), new Uint8Array(70).fill(9)];
const RECORDS: CaptureRecord[] = DATA.map((data, index) => ({
  timeNs: TIME_NS + BigInt(index) * 1_000_000n,
  data,
  wireBytes: data.length + index,
}));

for (const isLittle of [true, false]) {
  for (const isNano of [true, false]) {
    const form = `${isLittle ? "little" : "big"} endian, ${isNano ? "nano" : "micro"}seconds`;
    test(`pcap, ${form}: packets, times, lengths`, () => {
      const file = pcapFile({ link: "ethernet", isLittle, isNano }, RECORDS);
      const { packets, error } = readAll(file);
      assert.is(error, "");
      assert.equal(
        packets.map(({ data }) => data),
        DATA.map((data) => Buffer.from(data).toString("hex")),
      );
      assert.equal(
        packets.map(({ timeUs }) => timeUs),
        [1_234_567_890_123_456, 1_234_567_890_124_456, 1_234_567_890_125_456],
      );
      assert.is(packets[2]?.wireBytes, 72);
      assert.is(packets[0]?.linkType, 1);
    });
  }
  test(`pcapng, ${isLittle ? "little" : "big"} endian: interfaces with their own clocks`, () => {
    const faces = [
      { link: "raw" },
      { link: "sll2", resolution: 9 },
      { link: "null", resolution: 0x80 + 20, offsetSeconds: 1_000_000n },
    ] as const;
    const records = RECORDS.map((record, face) => ({ ...record, face }));
    const { packets, error } = readAll(pcapngFile(faces, records, isLittle));
    assert.is(error, "");
    assert.equal(
      packets.map(({ linkType }) => linkType),
      [101, 276, 0],
    );
    assert.is(packets[1]?.timeUs, 1_234_567_890_124_456);
    // Units of 2^-20 seconds are about a microsecond.
    assert.ok(Math.abs((packets[2]?.timeUs ?? 0) - 1_234_567_890_125_456) <= 1);
  });
}

test("pcapng: sections may differ in byte order, and other blocks are passed over", () => {
  const first = pcapngFile([{ link: "raw" }], RECORDS.slice(0, 1), true);
  const second = pcapngFile([{ link: "ethernet" }], RECORDS.slice(0, 1), false);
  const unknown = pcapngBlock(0x0bad, new Uint8Array(600_000));
  const { packets, error } = readAll(concat(first, unknown, second), 100_000);
  assert.is(error, "");
  assert.equal(
    packets.map(({ linkType }) => linkType),
    [101, 1],
  );
});

test("pcapng: a simple packet has the time of the one before, and obsolete packets are read", () => {
  const base = pcapngFile([{ link: "raw" }], RECORDS.slice(0, 1));
  const simple = pcapngBlock(3, Uint8Array.of(5, 0, 0, 0, 0x45, 1, 2, 3, 4));
  const obsolete = pcapngBlock(
    2,
    concat(new Uint8Array(12), Uint8Array.of(1, 0, 0, 0, 1, 0, 0, 0, 0x46)),
  );
  const { packets, error } = readAll(concat(base, simple, obsolete));
  assert.is(error, "");
  assert.is(packets[1]?.data, "4501020304");
  assert.is(packets[1]?.timeUs, packets[0]?.timeUs);
  assert.is(packets[2]?.data, "46");
});

const FILES: Readonly<Record<string, Uint8Array>> = {
  pcap: pcapFile({ link: "raw" }, RECORDS),
  pcapng: pcapngFile([{ link: "raw" }, { link: "null", resolution: 9 }], RECORDS),
};

for (const [name, file] of Object.entries(FILES)) {
  test(`${name}: cut anywhere, what is whole is read and the error names the place`, () => {
    const whole = readAll(file);
    for (let length = 0; length < file.length; length++) {
      const { packets, error } = readAll(file.subarray(0, length), 1000);
      assert.equal(packets, whole.packets.slice(0, packets.length), `${length}`);
      if (error === "") continue;
      assert.match(error, /^FILE: offset \d+: /);
      assert.ok(Number(/offset (\d+)/.exec(error)?.[1]) <= length);
    }
  });

  test(`${name}: every word at 0, 1 and all ones ends in packets or an error, never worse`, () => {
    for (let at = 0; at + 4 <= file.length; at += 4) {
      for (const value of [0, 1, 0x7fff_ffff, 0xffff_ffff]) {
        const changed = file.slice();
        new DataView(changed.buffer).setUint32(at, value, true);
        const { packets, error } = readAll(changed, 1000);
        assert.ok(packets.length <= 3, `${at}`);
        if (error !== "") assert.match(error, /^FILE: offset \d+: /);
      }
    }
  });
}

test("lying lengths are told with their offset", () => {
  const classic = FILES["pcap"]!.slice();
  new DataView(classic.buffer).setUint32(24 + 8, 300_000, true);
  assert.is(readAll(classic).error, "FILE: offset 24: a record claims 300000 bytes (most: 262144)");
  const packet = FILES["pcapng"]!.slice();
  const at = 28 + 2 * 44;
  new DataView(packet.buffer).setUint32(at + 8 + 12, 60, true);
  assert.is(readAll(packet).error, `FILE: offset ${at}: a packet claims 60 bytes, its block has 4`);
  const face = FILES["pcapng"]!.slice();
  new DataView(face.buffer).setUint16(28 + 8 + 8 + 2, 999, true);
  assert.is(readAll(face).error, "FILE: offset 28: option 9 of an interface claims 999 bytes");
});

test("what is no capture is told so", () => {
  assert.is(readAll(new Uint8Array(0)).error, "FILE: offset 0: the file is empty");
  assert.is(readAll(new Uint8Array(50)).error, "FILE: offset 0: neither pcap nor pcapng");
});

const SIX = udpPacket({ src: CLIENT_6, dst: SERVER_6 });
const FOUR = udpPacket({});

for (const link of Object.keys(LINK) as LinkName[]) {
  test(`link type ${link}: finds both families, and never looks past the end`, () => {
    for (const packet of [FOUR, SIX]) {
      const frame = framed(link, packet);
      assert.is(ipOffset(LINK[link], frame), frame.length - packet.length);
      for (let length = 0; length < frame.length; length++) {
        assert.ok(ipOffset(LINK[link], frame.subarray(0, length)) < Math.max(length, 1));
      }
    }
  });
}

test("Ethernet: VLAN tags in each other, LLC/SNAP, PPPoE, MPLS, ARP, nothing but tags", () => {
  const mac = new Uint8Array(12);
  const at = (...head: number[]): number =>
    ipOffset(LINK.ethernet, concat(mac, Uint8Array.from(head), FOUR));
  assert.is(ipOffset(LINK.ethernet, framed("ethernet", FOUR, [1, 2, 3])), 14 + 12);
  assert.is(at(0, 60, 0xaa, 0xaa, 3, 0, 0, 0, 8, 0), 22);
  assert.is(at(0x88, 0x64, 0x11, 0, 0, 1, 0, 60, 0, 0x21), 22);
  assert.is(at(0x88, 0x47, 0, 0, 0, 64, 0, 0, 1, 64), 22);
  assert.is(at(0x08, 0x06), NOT_IP);
  const tags = Uint8Array.from({ length: 400 }, (_, index) => (index % 4 === 0 ? 0x81 : 0));
  assert.is(ipOffset(LINK.ethernet, concat(mac, tags)), NOT_IP);
  assert.is(ipOffset(147, FOUR), LINK_UNSUPPORTED);
});

test.run();
