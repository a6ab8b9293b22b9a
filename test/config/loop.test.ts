/** When tsgost's own sockets could be routed into its own device. */
import * as assert from "uvu/assert";
import * as abi from "../../assembly/abi.ts";
import { mayLoop, serviceChains } from "../../src/config/plan.ts";
import { tungoOptions } from "../../src/config/tungo.ts";
import { suite } from "../kit/suite.ts";
import { start, startYaml } from "./read.ts";

const test = suite("config/loop");

const CASES: readonly (readonly [string, string | undefined, boolean])[] = [
  ["tungo://:0?net=192.0.2.1/24", undefined, false],
  ["tungo://:0?route=0.0.0.0/1,128.0.0.0/1", undefined, true],
  ["tungo://:0?route=0.0.0.0/1,128.0.0.0/1&interface=lo", undefined, false],
  ["tungo://:0?route=0.0.0.0/1,128.0.0.0/1&so_mark=7", undefined, false],
  ["tungo://:0?route=0.0.0.0/1,128.0.0.0/1", "relay+wss://198.51.100.1:443", true],
  ["tungo://:0?route=0.0.0.0/1,128.0.0.0/1", "relay+wss://proxy.example:443", true],
  ["tungo://:0?route=10.0.0.0/8", "relay+wss://198.51.100.1:443", false],
  ["tungo://:0?route=10.0.0.0/8", "relay+wss://10.1.1.1:443", true],
  ["tungo://:0?route=10.0.0.0/8&exclude=10.1.1.1/32", "relay+wss://10.1.1.1:443", false],
  ["tungo://:0?route=10.0.0.0/8", "relay+wss://10.1.1.1:443?interface=lo", false],
  ["tungo://:0?route=10.0.0.0/8", "relay+wss://10.1.1.1:443?so_mark=7", false],
  // The service's interface is not the chain's.
  ["tungo://:0?route=10.0.0.0/8&interface=lo", "relay+wss://10.1.1.1:443", true],
];

for (const [service, node, expected] of CASES) {
  test(`${service} ${node ?? "direct"}: ${expected ? "may loop" : "is safe"}`, () => {
    const args = ["-L", service, ...(node === undefined ? [] : ["-F", node])];
    const { config } = start(args);
    const { options } = tungoOptions(config.services[0]!);
    assert.is(mayLoop(options, serviceChains(config.services[0]!, config)), expected);
  });
}

const GROUP = (second: string): string => `services:
- name: s
  addr: ":0"
  handler: {type: tungo, chainGroup: {chains: [safe, other]}}
  listener: {type: tungo}
  metadata: {route: 10.0.0.0/8, net: 192.0.2.1/24}
chains:
- name: safe
  hops: [{name: h, nodes: [{name: n, addr: "198.51.100.1:1", connector: {type: relay}}]}]
- name: other
  hops: [{name: h, nodes: [{name: n, addr: "${second}", connector: {type: relay}}]}]
`;

test("pings of a service with a group of chains do not leave directly", () => {
  const { config } = startYaml(GROUP("198.51.100.2:443"));
  const { options } = tungoOptions(config.services[0]!);
  assert.is(options.words.get(abi.CFG_ECHO_MODE), abi.ECHO_LOCAL);
});

test("every chain of a group is looked at", () => {
  for (const [second, expected] of [
    ["10.1.1.1:443", true],
    ["198.51.100.2:443", false],
  ] as const) {
    const { config } = startYaml(GROUP(second));
    const [service] = config.services;
    const { options } = tungoOptions(service!);
    const chains = serviceChains(service!, config);
    assert.is(chains.length, 2);
    assert.is(mayLoop(options, chains), expected, second);
  }
});

test.run();
