/** Addresses, networks, host:port, sizes and durations as text. */
import * as assert from "uvu/assert";
import {
  covers,
  formatCidr,
  formatDuration,
  formatIp,
  isCovered,
  joinHostPort,
  networkOf,
  overlaps,
  parseBytes,
  parseCidr,
  parseDuration,
  parseHostPort,
  parseIp,
  parseNetwork,
  subtractNet,
} from "../../src/config/net.ts";
import type { Cidr } from "../../src/config/net.ts";
import { suite } from "../kit/suite.ts";

function cidr(text: string): Cidr {
  const parsed = parseCidr(text);
  assert.ok(parsed, text);
  return parsed;
}

function printed(text: string): string | undefined {
  const address = parseIp(text);
  return address && formatIp(address);
}

const test = suite("config/net");

const ADDRESSES: readonly (readonly [string, string | undefined])[] = [
  ["1.2.3.4", "1.2.3.4"],
  ["0.0.0.0", "0.0.0.0"],
  ["255.255.255.255", "255.255.255.255"],
  ["::", "::"],
  ["::1", "::1"],
  ["1::", "1::"],
  ["2001:DB8::1:0:0:1", "2001:db8::1:0:0:1"],
  ["2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"],
  ["1:0:0:2:0:0:0:3", "1:0:0:2::3"],
  ["1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8"],
  ["1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:0"],
  ["::ffff:1.2.3.4", "::ffff:1.2.3.4"],
  ["::1.2.3.4", "::102:304"],
  ["fe80::1%eth0", "fe80::1"],
  ["01.2.3.4", undefined],
  ["1.2.3", undefined],
  ["1.2.3.4.5", undefined],
  ["256.1.1.1", undefined],
  ["1.2.3.4 ", undefined],
  ["", undefined],
  [":", undefined],
  [":::", undefined],
  ["1::2::3", undefined],
  ["1:2:3:4:5:6:7:8:9", undefined],
  ["1:2:3:4:5:6:7", undefined],
  ["12345::", undefined],
  ["::g", undefined],
  ["::1.2.3", undefined],
  ["1.2.3.4::", undefined],
  ["2001:db8::1%eth0", undefined],
  ["[::1]", undefined],
];

test("addresses are read strictly and printed in one form", () => {
  for (const [text, want] of ADDRESSES) assert.is(printed(text), want, text);
});

test("an address keeps its zone and its bytes", () => {
  assert.is(parseIp("fe80::1%eth0")?.zone, "eth0");
  const bytes = Array.from(parseIp("10.1.2.3")!.bytes);
  assert.equal(bytes, [10, 1, 2, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
});

test("a CIDR keeps its host bits, and needs a prefix that fits", () => {
  assert.is(formatCidr(cidr("192.168.123.1/24")), "192.168.123.1/24");
  assert.is(formatCidr(networkOf(cidr("192.168.123.1/24"))), "192.168.123.0/24");
  assert.is(formatCidr(networkOf(cidr("fd00:ffff::1/20"))), "fd00:f000::/20");
  for (const text of ["1.2.3.4", "1.2.3.4/33", "::/129", "1.2.3.4/", "1.2.3.4/24/64", "/8"]) {
    assert.is(parseCidr(text), undefined, text);
  }
  assert.is(formatCidr(parseNetwork("1.2.3.4")!), "1.2.3.4/32");
  assert.is(formatCidr(parseNetwork("::1")!), "::1/128");
});

test("networks contain and overlap each other", () => {
  assert.ok(covers(cidr("10.0.0.0/8"), cidr("10.1.2.3/32")));
  assert.not(covers(cidr("10.1.0.0/16"), cidr("10.0.0.0/8")));
  assert.not(covers(cidr("0.0.0.0/0"), cidr("::/0")));
  assert.ok(overlaps(cidr("10.1.0.1/16"), cidr("10.0.0.1/8")));
  assert.not(overlaps(cidr("10.0.0.0/9"), cidr("10.128.0.0/9")));
});

test("a network less some others is what is left, in order", () => {
  const left = (net: string, ...holes: string[]): string[] =>
    subtractNet(cidr(net), holes.map(cidr)).map(formatCidr);
  assert.equal(left("0.0.0.0/0"), ["0.0.0.0/0"]);
  assert.equal(left("10.0.0.0/8", "10.0.0.0/8"), []);
  assert.equal(left("10.0.0.0/8", "11.0.0.0/8"), ["10.0.0.0/8"]);
  assert.equal(left("10.0.0.0/30", "10.0.0.1/32"), ["10.0.0.0/32", "10.0.0.2/31"]);
  assert.is(left("::/0", "2001:db8::1/128").length, 128);
  assert.ok(isCovered(cidr("0.0.0.0/0"), [cidr("0.0.0.0/1"), cidr("128.0.0.0/1")]));
  assert.not(isCovered(cidr("0.0.0.0/0"), [cidr("0.0.0.0/1"), cidr("128.0.0.0/2")]));
});

test("host:port has a port from 0 to 65535 and brackets around IPv6", () => {
  assert.equal(parseHostPort(":443"), { host: "", port: 443 });
  assert.equal(parseHostPort("a.example:0"), { host: "a.example", port: 0 });
  assert.equal(parseHostPort("[::1]:65535"), { host: "::1", port: 65535 });
  for (const text of [
    "h",
    "h:",
    "h:x",
    "h:65536",
    "h:-1",
    "::1:80",
    "[::1]",
    "[1.2.3.4]:1",
    "[h:1",
  ]) {
    assert.is(parseHostPort(text), undefined, text);
  }
  for (const text of ["a b:1", "a/b:1", "a@b:1", "[::1]x:1"]) {
    assert.is(parseHostPort(text), undefined, text);
  }
  assert.is(joinHostPort("::1", 80), "[::1]:80");
  assert.is(joinHostPort("h", 80), "h:80");
});

const DURATIONS: readonly (readonly [string, number | undefined, string?])[] = [
  ["30", 30_000, "30s"],
  ["0", 0, "0s"],
  ["1.5", 1500, "1.5s"],
  ["300ms", 300, "300ms"],
  ["1h2m3.5s", 3_723_500, "1h2m3.5s"],
  ["1.5h", 5_400_000, "1h30m0s"],
  ["1m30s", 90_000, "1m30s"],
  [".5s", 500, "500ms"],
  ["-5s", -5000, "-5s"],
  ["+3s", 3000, "3s"],
  ["10ns", 0.00001, "10ns"],
  ["2us", 0.002, "2\u00b5s"],
  ["2\u00b5s", 0.002, "2\u00b5s"],
  ["", undefined],
  ["s", undefined],
  ["5x", undefined],
  ["1e3", undefined],
  ["5 s", undefined],
  ["1h-5m", undefined],
  ["soon", undefined],
  ["9999999999h", undefined],
  ["NaN", undefined],
];

test("durations are Go's, and bare numbers seconds", () => {
  for (const [text, ms, go] of DURATIONS) {
    assert.is(parseDuration(text), ms, text);
    if (ms !== undefined) assert.is(formatDuration(ms), go, text);
  }
});

test("sizes take binary and decimal units", () => {
  assert.is(parseBytes("4096"), 4096);
  assert.is(parseBytes("256KiB"), 262_144);
  assert.is(parseBytes("8M"), 8_388_608);
  assert.is(parseBytes("1kb"), 1000);
  for (const text of ["", "x", "1.5M", "-1", "1Q", "99999999999G"]) {
    assert.is(parseBytes(text), undefined, text);
  }
});

test("no text makes the parsers throw", () => {
  const pieces = ["", ":", "::", "[", "]", "%", "/", ".", "0", "f", "65536", "-", "\u0000", "ms"];
  for (const one of pieces) {
    for (const two of pieces) {
      for (const three of pieces) {
        const text = one + two + three + one;
        parseIp(text);
        parseCidr(text);
        parseHostPort(text);
        parseDuration(text);
        parseBytes(text);
      }
    }
  }
  assert.ok(true);
});

test.run();
