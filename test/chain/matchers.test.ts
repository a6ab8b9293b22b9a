/** Matchers, filters and priorities of nodes, chains of a group and targets of a forwarder. */
import * as assert from "uvu/assert";
import { buildChain } from "../../src/chain/chain.ts";
import { ChainGroup, Member } from "../../src/chain/group.ts";
import { Hop, type HopParts } from "../../src/chain/hop.ts";
import type { HopConfig, Metadata, NodeFilter } from "../../src/config/model.ts";
import { ruleOf } from "../../src/match/selection.ts";
import { ForwardTargets } from "../../src/serve/forward-targets.ts";
import { Random } from "../kit/random.ts";
import { suite } from "../kit/suite.ts";
import { refusal, startYaml } from "../config/read.ts";
import { DEAD, chainWith, failure, listOf, partsOf, routerOf } from "./router-world.ts";
import { dialContext, nodeOf, quiet, serviceOf } from "./world.ts";

const test = suite("chain/matchers");

interface Spec {
  readonly rule?: string;
  readonly priority?: number;
  readonly filter?: Partial<NodeFilter>;
  readonly metadata?: Metadata;
  readonly bypass?: string;
}

function configOf(specs: readonly Spec[], strategy = "fifo"): HopConfig {
  const nodes = specs.map(({ rule, priority = 0, filter, metadata = {}, bypass }, index) => ({
    ...nodeOf({ addr: DEAD, metadata }, `n${index}`),
    ...(rule === undefined && priority === 0 ? {} : { matcher: { rule: rule ?? "", priority } }),
    ...(filter === undefined ? {} : { filter: { host: "", protocol: "", path: "", ...filter } }),
    ...(bypass === undefined ? {} : { bypasses: [bypass] }),
  }));
  const selector = { strategy, maxFails: 1, failTimeoutMs: 10_000 };
  return { name: "hop-0", nodes, selector, metadata: {} };
}

function hopOf(specs: readonly Spec[], strategy = "fifo", parts: HopParts = {}): Hop {
  return new Hop(configOf(specs, strategy), { now: () => 0, ...parts });
}

interface Asked {
  readonly host?: string;
  readonly client?: string;
  readonly network?: "tcp" | "udp";
}

/** The name of the node for a destination; "-": there is none. */
function pick(hop: Hop, { host = "192.0.2.9", client, network = "tcp" }: Asked = {}): string {
  const request = { network, hosts: [host], port: 80, clientIp: client };
  return hop.choose(hop.candidates(request).nodes, request)?.config.name ?? "-";
}

test("a node is a candidate if its matcher takes the destination", () => {
  const hop = hopOf([
    { rule: "Host(`.example.com`)" },
    { rule: "HostRegexp(`^ads[0-9]+[.]`)" },
    { rule: "ClientIP(`10.0.0.0/8`) && Network(`udp`)" },
  ]);
  assert.is(pick(hop, { host: "www.example.com" }), "n0");
  assert.is(pick(hop, { host: "ads12.example.org" }), "n1");
  assert.is(pick(hop, { client: "10.1.1.1", network: "udp" }), "n2");
  assert.is(pick(hop, { client: "10.1.1.1" }), "-");
  assert.is(pick(hop, { network: "udp" }), "-");
  assert.ok(hop.hasRules);
});

test("without a matcher the filter decides; beside one it says nothing", () => {
  const hop = hopOf([
    { filter: { host: "*.example.com" } },
    { filter: { protocol: "udp" } },
    { rule: "Host(`other`)", filter: { host: "example.org" } },
  ]);
  assert.is(pick(hop, { host: "a.example.com" }), "n0");
  assert.is(pick(hop, { network: "udp" }), "n1");
  assert.is(pick(hop, { host: "example.org" }), "-");
  assert.is(pick(hop, { host: "other" }), "n2");
});

test("the highest priority is taken: as given, else by the length of the rule", () => {
  const short = "Host(`.com`)";
  const long = "Host(`.example.com`)";
  assert.is(pick(hopOf([{}, { rule: short }, { rule: long }]), { host: "a.example.com" }), "n2");
  assert.is(pick(hopOf([{}, { rule: short }, { rule: long }]), { host: "a.com" }), "n1");
  assert.is(pick(hopOf([{}, { rule: short }, { rule: long }])), "n0");
  const given = hopOf([{ rule: long }, { rule: short, priority: 100 }]);
  assert.is(pick(given, { host: "a.example.com" }), "n1");
  const negative = hopOf([{ rule: long, priority: -1 }, {}], "round");
  assert.is(pick(negative, { host: "a.example.com" }), "n1", "below those without any");
  const bare = hopOf([{}, { priority: 5 }]);
  assert.is(pick(bare), "n1", "a priority without a rule");
});

test("a single highest one is taken as it is, unless it is a backup", () => {
  const rule = "Host(`a`)";
  const hop = hopOf([{ rule, priority: 9 }, {}]);
  hop.nodes[0]?.markFailed();
  assert.is(pick(hop, { host: "a" }), "n0", "what is meant for it goes nowhere else");
  const backup = hopOf([{ rule, priority: 9, metadata: { backup: true } }, { rule }, {}]);
  assert.is(pick(backup, { host: "a" }), "n1");
});

test("nodes that share the highest priority take turns; the next ones when all have failed", () => {
  const rule = "Host(`a`)";
  const hop = hopOf(
    [9, 9, 3, 3].map((priority) => ({ rule, priority })),
    "round",
  );
  const names = (): string => [1, 2, 3, 4].map(() => pick(hop, { host: "a" })).join(" ");
  assert.is(names(), "n0 n1 n0 n1");
  hop.nodes[0]?.markFailed();
  assert.is(names(), "n1 n1 n1 n1");
  hop.nodes[1]?.markFailed();
  assert.is([...new Set(names().split(" "))].sort().join(" "), "n2 n3");
  hop.nodes[2]?.markFailed();
  hop.nodes[3]?.markFailed();
  assert.is(names(), "n0 n0 n0 n0", "the one that failed longest ago, never none");
});

/** §3 of the spec, step by step, over all nodes. */
function tierOf(specs: readonly Required<Pick<Spec, "priority">>[], hop: Hop): readonly string[] {
  const nodes = hop.nodes.map((node, index) => ({ node, priority: specs[index]!.priority }));
  const highest = Math.max(...nodes.map(({ priority }) => priority));
  const top = nodes.filter(({ priority }) => priority === highest);
  if (highest > 0 && top.length === 1 && !top[0]!.node.isBackup) return [top[0]!.node.config.name];
  const hasPrimary = nodes.some(({ node }) => !node.isBackup);
  for (const priority of [...new Set(nodes.map((one) => one.priority))].sort((a, b) => b - a)) {
    const tier = nodes.filter((one) => one.priority === priority).map(({ node }) => node);
    if (hasPrimary && tier.every(({ isBackup }) => isBackup)) continue;
    // The filters for failed ones and for backups leave a single one alone.
    const living = tier.length === 1 ? tier : tier.filter(({ isFailed }) => !isFailed);
    const primaries = living.filter(({ isBackup }) => !isBackup);
    const left = primaries.length > 0 ? primaries : living;
    if (left.length > 0) return left.map(({ config }) => config.name);
  }
  const living = hop.nodes.filter(({ isFailed }) => !isFailed);
  return (living.length > 0 ? living : hop.nodes).map(({ config }) => config.name);
}

test("random hops choose from the tier that the specification says", () => {
  const random = new Random(20);
  for (let round = 0; round < 2000; round++) {
    const specs = Array.from({ length: 2 + random.below(4) }, () => ({
      priority: random.pick([-1, 0, 5, 5, 9]),
      metadata: random.below(4) === 0 ? { backup: true } : {},
    }));
    const strategy = random.pick(["fifo", "round", "rand"]);
    const hop = hopOf(specs, strategy, { random: () => random.below(100) / 100 });
    for (const node of hop.nodes) if (random.below(3) === 0) node.markFailed();
    const tier = tierOf(specs, hop);
    for (let turn = 0; turn < 4; turn++) {
      const name = pick(hop);
      const what = `${JSON.stringify(specs)} ${hop.nodes.map((node) => node.isFailed).join(" ")}`;
      assert.ok(tier.includes(name), `${name} of ${tier.join(" ")}: ${what}`);
      if (strategy === "fifo") assert.is(name, tier[0], what);
    }
  }
});

test("where no matcher takes the destination the connection fails, never goes direct", async () => {
  const hop = configOf([{ rule: "Host(`a`)" }, { rule: "Host(`b`)" }]);
  const chain = buildChain({ name: "c", hops: [hop] }, { log: quiet });
  const router = routerOf(chain);
  const error = await failure(router.connect({ host: "127.0.0.1", port: 9 }, dialContext()));
  assert.match(error.message, /no node/);
  assert.is(router.isPlain, false);
  assert.is(router.verdict("tcp", { host: "127.0.0.1", port: 9 }), "chain");
});

test("a node's bypass means direct only if the node was meant for the destination", () => {
  const lists = partsOf({ all: listOf(["a", "b"]) });
  const target = (host: string) => ({ network: "tcp" as const, hosts: [host], port: 1 });
  const hop = hopOf([{ rule: "Host(`a`)", bypass: "all" }], "fifo", lists);
  assert.is(hop.candidates(target("a")).skipped?.by, "node");
  assert.is(hop.candidates(target("b")).skipped, undefined);
  assert.is(hop.candidates(target("b")).nodes.length, 0);
});

test("a route of datagrams serves only destinations that its nodes are first for", () => {
  const hops = [configOf([{ rule: "Host(`a`)" }, {}])];
  const chain = buildChain({ name: "c", hops }, { log: quiet });
  const ask = (host: string) => ({ network: "udp" as const, hosts: [host], port: 53 });
  const route = chain.route(ask("x"));
  assert.is(route.legs[0]?.node.config.name, "n1");
  assert.ok(chain.admits(route, ask("y")));
  assert.not.ok(chain.admits(route, ask("a")), "n0 has the higher priority");
});

function memberOf(name: string, rule: string): Member {
  const chain = buildChain({ name, hops: [configOf([{}])] }, { log: quiet });
  return new Member(chain, rule === "" ? undefined : { text: rule, accepts: ruleOf(rule, "") });
}

test("of a group's chains those are used whose rules take the destination", async () => {
  const group = new ChainGroup([
    memberOf("video", "Host(`.video.example`)"),
    memberOf("udp", "Network(`udp`)"),
  ]);
  const ask = (network: "tcp" | "udp", host: string): string | undefined =>
    group.select({ network, hosts: [host], port: 1 })?.chain.name;
  assert.is(ask("tcp", "a.video.example"), "video");
  assert.is(ask("udp", "b"), "udp");
  assert.is(ask("tcp", "b"), undefined);
  const router = routerOf(undefined, { chains: group });
  const error = await failure(router.connect({ host: "127.0.0.1", port: 9 }, dialContext()));
  assert.match(error.message, /no chain accepts/);
});

test("of a group it is known at once what all its chains leave out", () => {
  const hit = { network: "tcp" as const, hosts: ["127.0.0.1"], port: 9 };
  const lists = partsOf({ local: listOf(["127.0.0.1"]) });
  const bypassing = (): Member =>
    new Member(chainWith([{ addrs: [DEAD], bypass: "local" }], lists));
  const picky = { text: "Network(`udp`)", accepts: ruleOf("Network(`udp`)", "") };
  const plain = new Member(chainWith([{ addrs: [DEAD] }]), picky);
  const all = new ChainGroup([bypassing(), bypassing(), plain]);
  assert.ok(all.isDirect(hit));
  assert.not.ok(all.isDirect({ ...hit, network: "udp" }), "the third would carry it");
  assert.not.ok(all.isDirect({ ...hit, hosts: ["127.0.0.2"] }));
  const router = routerOf(undefined, { chains: all });
  const to = { host: "127.0.0.1", port: 9 };
  assert.is(router.verdict("tcp", to), "direct");
  assert.is(router.verdict("udp", to), "chain");
  assert.is(router.wayNow("tcp", to, {})?.via, undefined);
  const refusing = new ChainGroup([plain]);
  assert.is(refusing.isDirect(hit), false, "no chain at all is not direct");
});

test("a group's chains take turns also for what is asked at once", () => {
  const lists = partsOf({ local: listOf(["127.0.0.1"]) });
  const chains = new ChainGroup([
    new Member(chainWith([{ addrs: [DEAD], bypass: "local" }], lists)),
    new Member(chainWith([{ addrs: [DEAD] }])),
  ]);
  const router = routerOf(undefined, { chains });
  const ways = [1, 2, 3, 4].map(() => router.wayNow("tcp", { host: "127.0.0.1", port: 9 }, {}));
  const isDirect = ways.map((way) => way?.via === undefined);
  assert.equal(isDirect, [true, false, true, false]);
});

test("the first attempt takes the way that was found, the next one looks again", async () => {
  const chain = chainWith([{ addrs: [DEAD, "127.0.0.2:9"], strategy: "round" }]);
  const router = routerOf(chain, { retries: 1 });
  const to = { host: "127.0.0.1", port: 9 };
  const way = router.wayNow("tcp", to, {});
  await failure(router.connect(to, dialContext(), way));
  const nodes = chain.route({ network: "tcp", hosts: [to.host], port: 9 }).legs;
  assert.is(nodes[0]?.node.config.name, "n00", "two turns were taken, both failed");
});

test("explanations tell what matchers of nodes and of a group decided", async () => {
  const hop = configOf([{ rule: "Host(`a`)" }, { filter: { host: "b" } }, {}]);
  const chain = buildChain({ name: "c", hops: [hop] }, { log: quiet });
  const rule = { text: "Network(`tcp`)", accepts: ruleOf("Network(`tcp`)", "") };
  const chains = new ChainGroup([new Member(chain, rule)]);
  const told = await routerOf(undefined, { chains }).explain("tcp", { host: "a", port: 80 });
  assert.is(told.outcome, "chain");
  assert.equal(told.chains, [{ chain: "c", rule: "Network(`tcp`)", accepts: true }]);
  assert.match(told.hops[0]?.nodes[0] ?? "", /n0/);
  assert.equal(told.hops[0]?.matchers, [
    { node: "n0", matcher: "Host(`a`)", accepts: true, priority: 9 },
    { node: "n1", matcher: "host b", accepts: false, priority: 0 },
  ]);
  const refused = await routerOf(undefined, { chains }).explain("udp", { host: "a", port: 80 });
  assert.is(refused.outcome, "failed");
  assert.is(refused.chains?.[0]?.accepts, false);
});

test("targets of a forwarder are chosen by client and network, highest priority first", () => {
  const nodes = [
    { name: "near", addr: "h:1", matcher: { rule: "ClientIP(`10.0.0.0/8`)", priority: 0 } },
    { name: "udp", addr: "h:2", filter: { host: "", protocol: "udp", path: "" } },
    { name: "named", addr: "h:3", matcher: { rule: "Host(`x`)", priority: 99 } },
  ];
  const targets = new ForwardTargets({ ...serviceOf({}), forwarder: { nodes } });
  assert.is(targets.next("tcp", "10.1.1.1")?.endpoint.port, 1);
  assert.is(targets.next("udp", "10.1.1.1")?.endpoint.port, 1, "a rule beats a filter");
  assert.is(targets.next("udp", "192.0.2.1")?.endpoint.port, 2);
  assert.throws(() => targets.next("tcp", "192.0.2.1"), /no target of the forwarder/);
});

const yamlOf = (node: string, grouped = "", target = ""): string =>
  `services:
- name: a
  addr: "127.0.0.1:1"
  handler: {type: tcp, chainGroup: {chains: [{chain: c${grouped}}]}}
  listener: {type: tcp}
  forwarder: {nodes: [{name: t, addr: "h:1"${target}}]}
chains:
- name: c
  hops:
  - name: h
    nodes:
    - {name: n, addr: "h:1", connector: {type: relay}${node}}
`;

test("rules of nodes, grouped chains and targets are read into the configuration", () => {
  const matcher = ", matcher: {rule: 'Host(`a`)', priority: 7}";
  const text = yamlOf(matcher, ", matcher: {rule: 'Network(`tcp`)'}", ", filter: {protocol: tcp}");
  const { config, warnings } = startYaml(text);
  assert.equal(config.chains[0]?.hops[0]?.nodes[0]?.matcher, { rule: "Host(`a`)", priority: 7 });
  assert.is(config.services[0]?.handler.chainGroup?.chains[0]?.rule, "Network(`tcp`)");
  assert.is(config.services[0]?.forwarder?.nodes[0]?.filter?.protocol, "tcp");
  assert.equal(warnings, []);
});

const BAD: readonly (readonly [yaml: string, says: RegExp])[] = [
  [yamlOf(", matcher: {rule: 'Host(`a`'}"), /gost.yaml:12:\d+: matcher.rule .*wants \)/],
  [yamlOf(", matcher: {rule: 'Path(`/a`)'}"), /gost.yaml:12:\d+: .*Path is not supported/],
  [yamlOf(", filter: {protocol: http}"), /gost.yaml:12:\d+: filter.protocol: "http" would need/],
  [yamlOf(", filter: {path: /a}"), /gost.yaml:12:\d+: filter.path is not supported/],
  [yamlOf(", filter: {host: 'a:80'}"), /gost.yaml:12:\d+: filter.host: "a:80" is neither/],
  [yamlOf("", ", matcher: {rule: 'Hots(`a`)'}"), /gost.yaml:4:\d+: .*unknown function Hots/],
  [yamlOf("", "", ", matcher: {rule: 'Proto(`tls`)'}"), /gost.yaml:6:\d+: .*look into the traffic/],
];

for (const [yaml, says] of BAD) {
  test(`a start is refused with the place and the reason: ${String(says)}`, () => {
    const { message, exitCode } = refusal(() => startYaml(yaml));
    assert.match(message, says);
    assert.is(exitCode, 2);
  });
}

test("what has no effect beside a rule is warned of", () => {
  const node = ", filter: {host: x}, matcher: {rule: 'Host(`a`)', bodySize: 10}";
  const { warnings } = startYaml(yamlOf(node, ", matcher: {rule: 'Host(`a`)', priority: 3}"));
  assert.is(warnings.length, 3, warnings.join("\n"));
  assert.match(warnings.join("\n"), /filter has no effect[\s\S]*bodySize[\s\S]*priority has no/);
});

test("a chain of hops without rules stays plain", () => {
  assert.is(chainWith([{ addrs: [DEAD, DEAD] }]).hasRules, false);
});

test.run();
