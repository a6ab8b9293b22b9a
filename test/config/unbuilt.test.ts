/** What has no place here is read and printed, and refused where a service uses it. */
import * as assert from "uvu/assert";
import { parseFlags } from "../../src/config/flags.ts";
import { loadDocument } from "../../src/config/load.ts";
import { printDocument } from "../../src/config/print.ts";
import { suite } from "../kit/suite.ts";
import { refusal, startYaml, withFiles } from "./read.ts";

const test = suite("config/unbuilt");

const service = (text: string): string =>
  `services: [{name: a, addr: "127.0.0.1:1", handler: {type: relay, chain: c}${text}}]
chains: [{name: c, hops: [{name: h, nodes: [NODE]}]}]
bypasses: [{name: b, redis: {addr: "h:6379"}}]
hosts: [{name: names, plugin: {addr: "h:1"}}]
`;
const NODE = "{name: n, addr: 'h:1', connector: {type: relay}}";

const REFUSED: readonly (readonly [what: string, text: string, says: RegExp])[] = [
  ["a bypass from redis", service(", bypass: b").replace("NODE", NODE), /3:22: redis of bypasses/],
  ["hosts by a plugin", service(", hosts: names").replace("NODE", NODE), /4:23: plugin of hosts/],
  [
    "a bypass of a target",
    service(", forwarder: {nodes: [{addr: 'h:1', bypass: b}]}").replace("NODE", NODE),
    /bypass of a target is not supported/,
  ],
  [
    "TLS of a connector",
    service("").replace("NODE", "{addr: 'h:1', connector: {type: relay, tls: {secure: true}}}"),
    /tls of a connector is not supported/,
  ],
  [
    "a user of a dialer",
    service("").replace(
      "NODE",
      "{addr: 'h:1', connector: {type: relay}, dialer: {auth: {username: u}}}",
    ),
    /auth of a dialer is not supported/,
  ],
  [
    "a limiter",
    service(", limiter: l").replace("NODE", NODE) +
      "limiters: [{name: l, limits: ['$ 1KB 1KB']}]\n",
    /limiter is not supported/,
  ],
  [
    "an observer",
    service(", observer: o").replace("NODE", NODE) +
      "observers: [{name: o, plugin: {addr: 'h:1'}}]\n",
    /observer is not supported/,
  ],
  [
    "a chain of a listener",
    service(", listener: {type: tcp, chain: c}").replace("NODE", NODE),
    /1:\d+: chain of a listener \(it belongs to the handler\) is not supported/,
  ],
  [
    "TLS of a handler",
    service("").replace("NODE", NODE).replace("type: relay,", "type: relay, tls: {secure: true},"),
    /tls of a handler \(it takes the listener's\) is not supported/,
  ],
  [
    "client certificates demanded by the section tls",
    service("").replace("NODE", NODE) + "tls: {caFile: ca.pem}\n",
    /5:7: caFile of the section tls .* is not supported/,
  ],
  [
    "a network namespace of a node",
    service("").replace("NODE", NODE.replace("{", "{netns: other, ")),
    /netns is not supported/,
  ],
  [
    "a hop of a forwarder beside its targets",
    service(", forwarder: {hop: h, nodes: [{addr: 'h:1'}]}").replace("NODE", NODE),
    /hop of a forwarder is not supported/,
  ],
  [
    "a user of a target",
    service(", forwarder: {nodes: [{addr: 'h:1', auth: {username: u}}]}").replace("NODE", NODE),
    /auth of a target is not supported/,
  ],
];

test("what a listener's or the section's tls cannot use is a warning", () => {
  const text =
    service(", listener: {type: tls, tls: {secure: true, validity: 9h}}").replace("NODE", NODE) +
    "tls: {serverName: x, commonName: y}\n";
  const { warnings } = startYaml(text);
  assert.equal(
    warnings.map((one) => one.replace(/^.*: /, "")),
    [
      "secure of a listener's tls has no effect",
      "validity of a listener's tls has no effect",
      "serverName of the section tls has no effect",
    ],
  );
});

for (const [what, text, says] of REFUSED) {
  test(`${what}: printed, and refused at start with its place`, () => {
    const { message, exitCode } = refusal(() => startYaml(text));
    assert.is(exitCode, 2);
    assert.match(message, says);
    assert.match(message, /gost\.yaml:\d+:\d+: /);
    withFiles({ "gost.yaml": text }, ["-C", "FILE:gost.yaml"], (args) => {
      const { document } = loadDocument(parseFlags(args), {});
      assert.match(printDocument(document, { format: "yaml", showSecrets: false }), /name: a/);
    });
  });
}

test("what no service uses is no hindrance", () => {
  const text = service("").replace("NODE", NODE);
  assert.is(startYaml(text).config.services.length, 1);
});

test.run();
