/** Rules of matchers: functions, operators, what they say of destinations, what is refused. */
import * as assert from "uvu/assert";
import { parseRule } from "../../src/match/rule.ts";
import { Random } from "../kit/random.ts";
import { suite } from "../kit/suite.ts";

const test = suite("match/rule");

interface Case {
  readonly host?: string;
  readonly names?: readonly string[];
  readonly client?: string;
  readonly network?: "tcp" | "udp";
}

function matches(rule: string, { host = "", names = [], client, network = "tcp" }: Case): boolean {
  return parseRule(rule)({ network, hosts: [host, ...names], clientIp: client });
}

const YES: readonly (readonly [rule: string, subject: Case])[] = [
  ["Host(`example.com`)", { host: "example.com" }],
  ['Host("example.com")', { host: "EXAMPLE.com." }],
  ["Host(`.example.com`)", { host: "www.example.com" }],
  ["Host(`.example.com`)", { host: "example.com" }],
  ["Host(`*.example.com`)", { host: "a.b.example.com" }],
  ["Host(`*example.com`)", { host: "example.com" }],
  ["Host(`*`)", { host: "any.where" }],
  ["Host(`192.0.2.1`)", { host: "192.0.2.1" }],
  ["Host(`2001:db8::1`)", { host: "2001:0db8:0::1" }],
  ["Host(`example.com`)", { host: "192.0.2.1", names: ["example.com"] }],
  ["HostRegexp(`^ads[0-9]+\\.`)", { host: "ADS7.example.com" }],
  ['HostRegexp("^ads\\\\d\\\\.")', { host: "ads7.example.com" }],
  ["ClientIP(`10.0.0.0/8`)", { client: "10.1.2.3" }],
  ["ClientIP(`10.1.2.3`)", { client: "::ffff:10.1.2.3" }],
  ["ClientIP(`2001:db8::/32`)", { client: "2001:db8::7" }],
  ["Network(`tcp`)", {}],
  ["Network(`UDP`)", { network: "udp" }],
  ["Proto(`udp`)", { network: "udp" }],
  ["!Host(`example.com`)", { host: "example.org" }],
  ["!Host(`example.com`)", {}],
  ["!ClientIP(`10.0.0.0/8`)", {}],
  ["HOST(`a`) || host(`b`)", { host: "b" }],
  ["Host(`a`) || Host(`b`) && Network(`udp`)", { host: "a" }],
  ["!(Host(`a`) && Network(`udp`))", { host: "a" }],
  ["!!Host(`a`)", { host: "a" }],
  [" Host ( `a` )\n  && ( Network(`tcp`) ) ", { host: "a" }],
];

const NO: readonly (readonly [rule: string, subject: Case])[] = [
  ["Host(`example.com`)", { host: "www.example.com" }],
  ["Host(`.example.com`)", { host: "notexample.com" }],
  ["Host(`*`)", {}],
  ["Host(`192.0.2.1`)", { host: "192.0.2.11" }],
  ["HostRegexp(`^ads`)", { host: "www.ads" }],
  ["HostRegexp(`.*`)", {}],
  ["ClientIP(`10.0.0.0/8`)", { client: "11.0.0.1" }],
  ["ClientIP(`0.0.0.0/0`)", {}],
  ["Network(`udp`)", {}],
  ["!Host(`example.com`)", { host: "192.0.2.1", names: ["example.com"] }],
  ["(Host(`a`) || Host(`b`)) && Network(`udp`)", { host: "a" }],
  ["Host(`a`) && Host(`b`)", { host: "a" }],
];

for (const [rule, subject] of YES) {
  test(`${rule} takes ${JSON.stringify(subject)}`, () => assert.ok(matches(rule, subject)));
}

for (const [rule, subject] of NO) {
  test(`${rule} does not take ${JSON.stringify(subject)}`, () => {
    assert.not.ok(matches(rule, subject));
  });
}

const REFUSED: Record<string, RegExp> = {
  "": /wants a function/,
  Host: /wants \( at the end/,
  "Host(`a`": /wants \) at the end/,
  "Host(`a`) Host(`b`)": /wants && or \|\| at "Host/,
  "Host(`a`) & Host(`b`)": /wants && or \|\|/,
  "Host(a)": /a text in ` or "/,
  "Host('a')": /a text in ` or "/,
  "Host()": /takes one text, not 0/,
  "Host(`a`, `b`)": /takes one text, not 2/,
  "Host(``)": /empty text/,
  "Host(`a:80`)": /neither a host nor/,
  "Host(`bücher.example`)": /ASCII/,
  'HostRegexp("\\d")': /unknown escape \\d; texts between `/,
  "HostRegexp(`(a`)": /without a \)/,
  "HostRegexp(`(?=a)`)": /looks ahead/,
  "ClientIP(`nobody`)": /neither an address nor a network/,
  "ClientIP(`10.0.0.0/33`)": /neither an address nor a network/,
  "Network(`tls`)": /neither tcp nor udp/,
  "Proto(`http`)": /look into the traffic/,
  "Path(`/a`)": /Path is not supported: it would need a look into HTTP/,
  "HEADER(`a`, `b`)": /Header is not supported/,
  "Bypass(`list`)": /use `bypass`/,
  "Hots(`a`)": /unknown function Hots/,
  "&& Host(`a`)": /wants a function/,
  "Host(`a`) &&": /wants a function/,
  "!": /wants a function/,
};
REFUSED[`${"(".repeat(100)}Host(\`a\`)`] = /nested too deeply/;
REFUSED[`${"!".repeat(100_000)}Host(\`a\`)`] = /more than/;
REFUSED["!".repeat(5000)] = /nested too deeply/;

for (const [rule, says] of Object.entries(REFUSED)) {
  test(`${JSON.stringify(rule.slice(0, 40))} (${rule.length}) is refused with the reason`, () => {
    assert.throws(
      () => parseRule(rule),
      (error: unknown) => error instanceof Error && says.test(error.message),
    );
  });
}

test("&& binds before ||, and ! before both", () => {
  const random = new Random(5);
  const hosts = ["a", "b", "c"];
  const make = (depth: number): { readonly rule: string; holds(host: string): boolean } => {
    const kind = depth === 0 ? 0 : random.below(4);
    if (kind === 1) {
      const inner = make(depth - 1);
      return { rule: `!(${inner.rule})`, holds: (host) => !inner.holds(host) };
    }
    if (kind === 0) {
      const wanted = random.pick(hosts);
      return { rule: `Host(\`${wanted}\`)`, holds: (host) => host === wanted };
    }
    const [one, two] = [make(depth - 1), make(depth - 1)];
    // Without brackets only where the operators bind as the tree does.
    if (kind === 2) {
      return {
        rule: `(${one.rule}) && (${two.rule})`,
        holds: (host) => one.holds(host) && two.holds(host),
      };
    }
    return {
      rule: `${one.rule} || ${two.rule}`,
      holds: (host) => one.holds(host) || two.holds(host),
    };
  };
  for (let round = 0; round < 500; round++) {
    const { rule, holds } = make(4);
    for (const host of hosts) assert.is(matches(rule, { host }), holds(host), `${rule} on ${host}`);
  }
});

test("random texts are rules or refused", () => {
  const random = new Random(9);
  const pieces = ["Host", "(", ")", "`", '"', "a", "!", "&&", "||", ",", " ", "\\", "ClientIP"];
  for (let round = 0; round < 10_000; round++) {
    const text = Array.from({ length: random.below(12) }, () => random.pick(pieces)).join("");
    try {
      parseRule(text)({ network: "tcp", hosts: ["a"] });
    } catch (error) {
      assert.is((error as Error).constructor.name, "RuleError", text);
    }
  }
});

test.run();
