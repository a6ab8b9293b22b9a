/**
 * The relay codec: shapes of the specification, every split and truncation, and lengths that lie.
 */
import * as assert from "uvu/assert";
import { decodeAddress, encodeAddress, ipBytes, ipText } from "../../src/proto/address.ts";
import {
  CAUSE_REFUSED,
  CMD_BIND,
  CMD_CONNECT,
  HeadReader,
  NETWORK_TCP,
  NETWORK_UDP,
  RelayFormatError,
  encodeReply,
  encodeRequest,
  parseReply,
  parseRequest,
} from "../../src/proto/relay.ts";
import { suite } from "../kit/suite.ts";

const address = suite("proto/address");

address("IP text and bytes are each other's inverse, in the form of RFC 5952", () => {
  const texts = ["0.0.0.0", "192.0.2.1", "255.255.255.255", "::", "::1", "2001:db8::1"];
  texts.push("1:0:0:2::3", "fe80::1:2:3:4", "1:2:3:4:5:6:7:8", "0:1::");
  for (const text of texts) {
    const bytes = ipBytes(text);
    assert.ok(bytes !== undefined, text);
    assert.equal(ipBytes(ipText(bytes!)), bytes, text);
  }
  assert.is(ipText(ipBytes("2001:DB8:0:0:1:0:0:1")!), "2001:db8::1:0:0:1");
  assert.is(ipText(ipBytes("::ffff:192.0.2.1")!), "192.0.2.1");
  assert.is(ipBytes("fe80::1%eth0"), undefined);
  assert.is(ipBytes("example.com"), undefined);
});

address("names have a length byte, and 255 bytes are the limit", () => {
  const name = "a".repeat(255);
  assert.equal(decodeAddress(encodeAddress({ host: name, port: 1 }), 0), { host: name, port: 1 });
  assert.equal(decodeAddress(encodeAddress({ host: "", port: 9 }), 0), { host: "", port: 9 });
  assert.throws(() => encodeAddress({ host: `${name}a`, port: 1 }), /255/);
  assert.throws(() => encodeAddress({ host: "a", port: 65536 }), /port/);
});

address("an address that is cut anywhere is refused", () => {
  for (const host of ["192.0.2.1", "2001:db8::1", "example.com", ""]) {
    const bytes = encodeAddress({ host, port: 443 });
    for (let length = 0; length < bytes.length; length++) {
      assert.is(decodeAddress(bytes.subarray(0, length), 0), undefined, `${host} ${length}`);
    }
  }
  assert.is(decodeAddress(Buffer.of(2, 0, 0, 0, 0, 0, 0), 0), undefined);
});

address.run();

const codec = suite("proto/relay");

codec("requests are as the specification shows them", () => {
  const auth = { username: "user", password: "pass" };
  const hex = (fields: Parameters<typeof encodeRequest>[0]): string =>
    encodeRequest(fields).toString("hex");
  assert.is(
    hex({ command: CMD_CONNECT, address: { host: "example.com", port: 443 } }),
    "0101001202000f030b6578616d706c652e636f6d01bb",
  );
  assert.is(
    hex({ command: CMD_CONNECT, auth, address: { host: "192.0.2.10", port: 22 } }),
    "0101001701000a0475736572047061737302000701c000020a0016",
  );
  const udp = { udp: true, network: NETWORK_UDP };
  assert.is(
    hex({ command: CMD_CONNECT, ...udp, auth, address: { host: "1.1.1.1", port: 53 } }),
    "0181001c040002000101000a0475736572047061737302000701010101010035",
  );
  assert.is(
    hex({ command: CMD_BIND, ...udp, address: { host: "0.0.0.0", port: 0 } }),
    "0182000f040002000102000701000000000000",
  );
  assert.is(
    hex({ command: CMD_BIND, network: NETWORK_TCP, address: { host: "0.0.0.0", port: 2222 } }),
    "0102000f0400020000020007010000000008ae",
  );
});

codec("replies carry address and cause, and unknown features are skipped", () => {
  const bytes = encodeReply({ status: 0, address: { host: "::", port: 41000 } });
  assert.is(bytes.toString("hex"), `01000016020013 04${"00".repeat(16)}a028`.replace(" ", ""));
  assert.is(parseReply(encodeReply({ status: 5, cause: CAUSE_REFUSED })).cause, CAUSE_REFUSED);
  const foreign = Buffer.from("01070006e7000361626309", "hex");
  assert.throws(() => parseReply(foreign), /length/);
  const skipped = parseReply(Buffer.from("01070006e70003616263", "hex"));
  assert.is(skipped.cause, undefined);
  assert.is(skipped.status, 7);
});

function readAll(chunks: readonly Uint8Array[]): { bytes: Uint8Array; rest: number } | undefined {
  const reader = new HeadReader();
  let rest = 0;
  for (const chunk of chunks) rest += chunk.length - reader.push(chunk);
  return reader.done ? { bytes: reader.bytes, rest } : undefined;
}

const SAMPLE = encodeRequest({
  command: CMD_CONNECT,
  udp: true,
  network: NETWORK_UDP,
  auth: { username: "u", password: "" },
  address: { host: "example.com", port: 53 },
});

codec("a message is the same at every split, and what follows is left", () => {
  const all = Buffer.concat([SAMPLE, Buffer.from("tail")]);
  const whole = parseRequest(SAMPLE);
  for (let one = 0; one <= all.length; one++) {
    for (let two = one; two <= all.length; two += 3) {
      const parts = [all.subarray(0, one), all.subarray(one, two), all.subarray(two)];
      const read = readAll(parts);
      assert.ok(read !== undefined);
      assert.is(read?.rest, 4);
      assert.equal(parseRequest(read!.bytes), whole);
    }
  }
  const bytewise = readAll([...all].map((byte) => Uint8Array.of(byte)));
  assert.equal(parseRequest(bytewise!.bytes), whole);
});

codec("a cut message is not done, and never more than its length is kept", () => {
  for (let length = 0; length < SAMPLE.length; length++) {
    assert.is(readAll([SAMPLE.subarray(0, length)]), undefined);
  }
  const reader = new HeadReader();
  reader.push(Buffer.of(1, 1, 0xff, 0xff));
  assert.is(reader.push(Buffer.alloc(100_000)), 65535);
  assert.ok(reader.done);
});

codec("a wrong version is refused at its first byte", () => {
  assert.throws(() => new HeadReader().push(Buffer.from("H")), /version/);
});

codec(
  "each feature length at 0, 1, one less, one more and at its maximum is refused or sane",
  () => {
    let offset = 4;
    while (offset < SAMPLE.length) {
      const length = SAMPLE.readUInt16BE(offset + 1);
      for (const lie of [0, 1, length - 1, length + 1, 65535]) {
        const bytes = Buffer.from(SAMPLE);
        bytes.writeUInt16BE(lie, offset + 1);
        try {
          const { addresses } = parseRequest(bytes);
          assert.ok(addresses.length <= 3);
        } catch (error) {
          assert.instance(error, RelayFormatError);
        }
      }
      offset += 3 + length;
    }
  },
);

codec("random bytes parse or throw the format's error", () => {
  let seed = 7;
  const dice = (): number => (seed = (Math.imul(seed, 1103515245) + 12345) >>> 0) >>> 16;
  for (let round = 0; round < 5000; round++) {
    const bytes = Buffer.alloc(4 + (dice() % 60));
    for (let index = 4; index < bytes.length; index++) bytes[index] = dice() % 24;
    try {
      parseRequest(bytes);
    } catch (error) {
      assert.instance(error, RelayFormatError);
    }
  }
});

codec("the last of several addresses and the flag for udp are told", () => {
  const bytes = Buffer.from("01010014020007017f0000010009020007017f0000012329", "hex");
  const request = parseRequest(bytes);
  assert.equal(request.addresses.at(-1), { host: "127.0.0.1", port: 9001 });
  assert.is(request.udp, false);
  assert.is(parseRequest(Buffer.from("01800000", "hex")).udp, true);
  assert.is(parseRequest(Buffer.from("01000000", "hex")).command, CMD_CONNECT);
  assert.is(parseRequest(Buffer.from("010100050400020001", "hex")).udp, true);
});

codec.run();
