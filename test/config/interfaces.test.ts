/** `interface` and `so_mark` of services, hops and nodes. */
import * as assert from "uvu/assert";
import { interfacesOf, soMarkOf } from "../../src/config/interfaces.ts";
import type { OutInterface } from "../../src/config/interfaces.ts";
import { formatIp } from "../../src/config/net.ts";
import { suite } from "../kit/suite.ts";
import { refusal } from "./read.ts";

const test = suite("config/interfaces");

function shown({ name, ip, auto, strict }: OutInterface): string {
  const word = name ?? (ip === undefined ? (auto === true ? "(auto)" : "?") : `=${formatIp(ip)}`);
  return word + (strict ? "!" : "");
}

function list(value: string | string[]): string[] {
  return interfacesOf({ Interface: value }).map(shown);
}

test("interface: a list of devices and addresses, in order, each strict or not", () => {
  assert.equal(list("eth0"), ["eth0"]);
  assert.equal(list("eth0,10.0.0.2!"), ["eth0", "=10.0.0.2!"]);
  assert.equal(list(" eth0! , 2001:db8::1, [::1] ,"), ["eth0!", "=2001:db8::1", "=::1"]);
  assert.equal(list("auto"), ["(auto)"]);
  assert.equal(list(["wlan0.5", "auto!"]), ["wlan0.5", "(auto)!"]);
  assert.equal(list(""), []);
  assert.equal(interfacesOf({}), []);
});

test("interface: what is neither a device nor an address is refused", () => {
  for (const bad of ["a/b", "a b", "sixteen-letters-x", "..", "eth0:1", "fe80::g"]) {
    const { message, exitCode } = refusal(() => interfacesOf({ interface: bad }, "f.yaml:1:2"));
    assert.is(exitCode, 2);
    assert.match(message, /^f\.yaml:1:2: interface: .* neither a network device nor an IP address/);
  }
  assert.match(refusal(() => interfacesOf({ interface: { a: 1 } })).message, /neither a text/);
  const many = new Array(65).fill("a").join(",");
  assert.match(refusal(() => interfacesOf({ interface: many })).message, /more than 64/);
});

test("so_mark: a number, decimal or hexadecimal; 0 is none", () => {
  assert.is(soMarkOf({ so_mark: "100" }), 100);
  assert.is(soMarkOf({ soMark: "0x10" }), 16);
  assert.is(soMarkOf({ SO_MARK: 4294967295 }), 4294967295);
  assert.is(soMarkOf({ so_mark: 0 }), undefined);
  assert.is(soMarkOf({}), undefined);
  for (const bad of ["-1", "4294967296", "x", "1.5"]) {
    assert.match(
      refusal(() => soMarkOf({ so_mark: bad }, "-L x")).message,
      /^-L x: so_mark: .* not/,
    );
  }
});

test.run();
