/** The DNS message codec: what is written is read again, and hostile bytes cost nothing. */
import * as assert from "uvu/assert";
import {
  CLASS_IN,
  type DnsMessage,
  RCODE,
  RECORDS_MAX,
  TYPE,
  addressOf,
  clientSubnet,
  decodeHeader,
  decodeMessage,
  encodeMessage,
  negativeTtl,
  queryOf,
  targetOf,
} from "../../src/proto/dns.ts";
import { decodeName, encodeName, labelsOf, sameName } from "../../src/proto/dns-name.ts";
import { suite } from "../kit/suite.ts";

const test = suite("proto/dns");

function hex(text: string): Uint8Array {
  return Uint8Array.from(Buffer.from(text.replace(/\s/g, ""), "hex"));
}

const question = { name: "www.example.com", type: TYPE.A, class: CLASS_IN };

/** An answer as servers write it: CNAME and A, all names compressed, and an OPT record. */
const ANSWER = hex(`
  1234 8180 0001 0002 0000 0001
  03777777 07 6578616d706c65 03636f6d 00 0001 0001
  c00c 0005 0001 0000012c 0006 0363646e c010
  c02d 0001 0001 0000003c 0004 c0000201
  00 0029 04d0 00 00 8000 0008 000a 0004 01020304`);

test("reads an answer with compressed names", () => {
  const message = decodeMessage(ANSWER);
  assert.is(message?.id, 0x1234);
  assert.ok(message?.qr === true && message.rd && message.ra && !message.tc && !message.aa);
  assert.equal(message?.questions, [question]);
  const [alias, address] = message?.answers ?? [];
  assert.is(alias?.name, "www.example.com");
  assert.is(alias === undefined ? "" : targetOf(alias), "cdn.example.com");
  assert.is(address?.name, "cdn.example.com");
  assert.is(address?.ttl, 60);
  assert.is(address === undefined ? "" : addressOf(address), "192.0.2.1");
  assert.is(message?.edns?.udpBytes, 1232);
  assert.is(message?.edns?.dnssecOk, true);
  assert.equal(message?.additionals, []);
  assert.is(message?.edns?.options[0]?.code, 10);
});

test("what is written is read again, and short", () => {
  const message = decodeMessage(ANSWER) as DnsMessage;
  const bytes = encodeMessage(message);
  assert.equal(decodeMessage(bytes), message);
  // The alias's target is written in full, as RDATA of any type may be.
  assert.is(bytes.length, ANSWER.length + 11 + 4);
});

test("a query is what servers expect", () => {
  const bytes = encodeMessage(queryOf(7, { ...question, type: TYPE.AAAA }));
  assert.equal(
    bytes,
    hex("0007 0100 0001 0000 0000 0000 03777777 07 6578616d706c65 03636f6d 00 001c 0001"),
  );
});

test("RCODE has twelve bits with EDNS, and SOA tells how long a negative answer holds", () => {
  const message: DnsMessage = {
    ...queryOf(1, question),
    qr: true,
    rcode: 16,
    authorities: [
      {
        name: "example.com",
        type: TYPE.SOA,
        class: CLASS_IN,
        ttl: 900,
        data: Buffer.concat([
          encodeName("ns.example.com"),
          encodeName("root.example.com"),
          hex("00000001 00000002 00000003 00000004 0000003c"),
        ]),
      },
    ],
    edns: { udpBytes: 512, version: 0, dnssecOk: false, options: [] },
  };
  const read = decodeMessage(encodeMessage(message));
  assert.is(read?.rcode, 16);
  assert.is(read === undefined ? 0 : negativeTtl(read), 60);
  assert.is(negativeTtl(queryOf(1, question)), undefined);
});

test("a TTL with the highest bit is 0 (RFC 2181 §8)", () => {
  const bytes = Uint8Array.from(ANSWER);
  const at = bytes.length - 19 - 4 - 2 - 4;
  bytes[at] = 0x80;
  assert.is(decodeMessage(bytes)?.answers[1]?.ttl, 0);
});

test("names: escapes, case, limits", () => {
  for (const name of ["", "a", "a.b", "a\\.b.c", "\\000\\255.x", "x\\\\y", "a".repeat(63)]) {
    assert.is(decodeName(encodeName(name), 0)?.name, name);
  }
  assert.is(decodeName(encodeName("WwW.Example."), 0)?.name, "WwW.Example");
  for (const name of [".a", "a..b", "a".repeat(64), "ab.".repeat(85), "ü.test\u0100", "a\\"]) {
    assert.is(labelsOf(name), undefined, name);
    assert.throws(() => encodeName(name), /not a domain name/);
  }
  assert.ok(labelsOf("a.".repeat(127)) !== undefined);
  assert.is(labelsOf("a.".repeat(128)), undefined);
  assert.ok(sameName("A.b", "a.B") && !sameName("a.b", "a.c"));
});

test("pointers: to themselves, forward, in circles, past the end, and names too long by them", () => {
  assert.is(decodeName(hex("c000"), 0), undefined);
  assert.is(decodeName(hex("c002 0000"), 0), undefined);
  assert.is(decodeName(hex("0161 c000"), 0), undefined);
  assert.is(decodeName(hex("c002 c000"), 2), undefined);
  assert.is(decodeName(hex("00 c0"), 1), undefined);
  assert.is(decodeName(hex("00 c0ff"), 1), undefined);
  assert.is(decodeName(hex("40"), 0), undefined);
  assert.is(decodeName(hex("80 00"), 0), undefined);
  assert.is(decodeName(hex("0161"), 0), undefined);
  assert.is(decodeName(hex("05 6161"), 0), undefined);
  const label = `3f${"61".repeat(63)}`;
  const long = hex(`${label.repeat(3)} 00 ${label} c000`);
  assert.is(decodeName(long, 193), undefined);
  assert.is(decodeName(hex(`${label} 00 ${label} c000`), 65)?.end, 65 + 64 + 2);
});

test("a chain of thousands of pointers is walked once, and no more", () => {
  const bytes = Buffer.alloc(16_000);
  for (let at = 2; at < bytes.length; at += 2) bytes.writeUInt16BE(0xc000 | (at - 2), at);
  assert.equal(decodeName(bytes, 15_998), { name: "", end: 16_000 });
});

test("every truncation and every lying count gives nothing, without harm", () => {
  for (let length = 0; length < ANSWER.length; length++) {
    assert.is(decodeMessage(ANSWER.subarray(0, length)), undefined, `${length} bytes`);
  }
  for (let at = 4; at < 12; at++) {
    for (const value of [0, 1, 2, 3, 4, 127, 255]) {
      if (ANSWER[at] === value) continue;
      const bytes = Uint8Array.from(ANSWER);
      bytes[at] = value;
      const message = decodeMessage(bytes);
      const asked = message?.questions.length ?? 0;
      assert.ok(asked <= 1, `byte ${at} = ${value}`);
    }
  }
  assert.is(decodeMessage(new Uint8Array(70_000)), undefined);
  assert.is(decodeHeader(new Uint8Array(11)), undefined);
});

test("every byte changed to 0, 1, 0x3f, 0xc0 and 0xff is read or refused", () => {
  for (let at = 0; at < ANSWER.length; at++) {
    for (const value of [0, 1, 0x3f, 0xc0, 0xff]) {
      const bytes = Uint8Array.from(ANSWER);
      bytes[at] = value;
      const message = decodeMessage(bytes);
      if (message !== undefined) encodeMessage(message);
    }
  }
});

test("what a truncated message still has is kept", () => {
  const bytes = Uint8Array.from(ANSWER);
  bytes[2] = 0x83;
  const message = decodeMessage(bytes.subarray(0, 60));
  assert.ok(message?.tc);
  assert.is(message?.answers.length, 1);
  assert.is(decodeMessage(bytes.subarray(0, 30)), undefined);
});

test("more records than the bound, two OPT records and OPT with an owner are refused", () => {
  const record = { name: "", type: 1, class: 1, ttl: 0, data: new Uint8Array(4) };
  const answers = Array.from({ length: RECORDS_MAX }, () => record);
  assert.is(decodeMessage(encodeMessage({ ...queryOf(1, question), answers })), undefined);
  const opt = { ...record, type: TYPE.OPT, data: new Uint8Array(0) };
  const two = { ...queryOf(1, question), additionals: [opt, opt] };
  assert.is(decodeMessage(encodeMessage(two)), undefined);
  const owned = { ...queryOf(1, question), additionals: [{ ...opt, name: "x" }] };
  assert.is(decodeMessage(encodeMessage(owned)), undefined);
  const torn = { ...queryOf(1, question), additionals: [{ ...opt, data: hex("000800ff00") }] };
  assert.is(decodeMessage(encodeMessage(torn)), undefined);
});

test("RDATA whose name ends elsewhere than RDLENGTH says is refused", () => {
  for (const [type, data] of [
    [TYPE.CNAME, "0161 00 00"],
    [TYPE.MX, "000a"],
    [TYPE.SOA, "00 00 0000"],
    [TYPE.NS, "0261"],
  ] as const) {
    const answers = [{ name: "", type, class: 1, ttl: 0, data: hex(data) }];
    assert.is(decodeMessage(encodeMessage({ ...queryOf(1, question), answers })), undefined);
  }
});

test("addresses of a wrong length or class are none", () => {
  const record = { name: "a", type: TYPE.A, class: CLASS_IN, ttl: 1, data: hex("c0000201") };
  assert.is(addressOf(record), "192.0.2.1");
  assert.is(addressOf({ ...record, data: hex("c00002") }), undefined);
  assert.is(addressOf({ ...record, type: TYPE.AAAA }), undefined);
  assert.is(addressOf({ ...record, class: 3 }), undefined);
  assert.is(addressOf({ ...record, type: TYPE.AAAA, data: new Uint8Array(16) }), "::");
});

test("the client subnet has the bits of its prefix and no more", () => {
  assert.equal(clientSubnet(hex("cb0071ff"), 20).data, Buffer.from("00011400cb0070", "hex"));
  assert.equal(clientSubnet(hex("cb0071ff"), 0).data, Buffer.from("00010000", "hex"));
});

test("fields that do not fit are refused when written", () => {
  assert.throws(() => encodeMessage(queryOf(0x1_0000, question)), RangeError);
  const data = new Uint8Array(60_000);
  const answers = [1, 2].map(() => ({ name: "", type: 16, class: 1, ttl: 0, data }));
  assert.throws(() => encodeMessage({ ...queryOf(1, question), answers }), /too long/);
  assert.is(
    decodeMessage(encodeMessage({ ...queryOf(1, question), rcode: RCODE.REFUSED }))?.rcode,
    5,
  );
});

test("names that end in an escaped dot are names, also inside of records", () => {
  for (const name of ["a\\.", "b.c\\.", "\\.", "a\\\\."]) {
    const labels = labelsOf(name);
    assert.ok(labels !== undefined && labels.length > 0, name);
  }
  const wire = hex("02612e 00");
  assert.is(decodeName(wire, 0)?.name, "a\\.");
  assert.equal(encodeName("a\\.", 0), wire);
  const name = encodeName("a\\.", 0);
  const record = { name: "a\\.", type: TYPE.PTR, class: CLASS_IN, ttl: 1, data: name };
  const message = { ...queryOf(1, question), qr: true, answers: [record] };
  assert.equal(decodeMessage(encodeMessage(message))?.answers, [record]);
});

test("records do not change when the buffer they came in is used again", () => {
  const buffer = Buffer.from(ANSWER);
  const message = decodeMessage(buffer);
  buffer.fill(0xff);
  assert.equal(message, decodeMessage(ANSWER));
});

test.run();
