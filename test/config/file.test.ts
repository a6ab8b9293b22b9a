/** Files: places, names, kinds, and how several are merged. */
import * as assert from "uvu/assert";
import { printDocument } from "../../src/config/print.ts";
import { suite } from "../kit/suite.ts";
import { refusal, start, startYaml, withFiles } from "./read.ts";

const RELAY = "services:\n- name: a\n  addr: 127.0.0.1:1\n  handler: {type: relay}\n";

function refused(text: string): string {
  const { message, exitCode } = refusal(() => startYaml(text));
  assert.is(exitCode, 2);
  return message.replace(/^\S*\/gost\.yaml/, "gost.yaml");
}

const test = suite("config/file");

test("broken YAML and JSON are errors with line and column", () => {
  assert.match(refused("services:\n  - name: [unclosed\n"), /^gost\.yaml:3:1: /);
  assert.match(refused("services:\n\t- name: a\n"), /^gost\.yaml:2:1: .*(tab|Tab)/);
  assert.match(refused('{"services": [}'), /^gost\.yaml:1:15: /);
  assert.match(refused("a: 1\na: 2\n"), /^gost\.yaml:2:1: /);
  assert.match(refused("just text"), /^gost\.yaml:1:1: .*not a map/);
  assert.match(refused("services: *nothing"), /^gost\.yaml:1:11: /);
});

test("JSON with tabs, comments in YAML, anchors and merges are read", () => {
  const json =
    '{\n\t"services": [\n\t\t{"name": "a", "addr": "127.0.0.1:1", ' +
    '"handler": {"type": "relay"}}\n\t]\n}';
  assert.is(startYaml(json).config.services[0]!.name, "a");
  const merged = RELAY.replace("{type: relay}", "{<<: *h} # the same");
  const yaml = `x-common: &h {type: relay}\n${merged}`;
  const { config, warnings } = startYaml(yaml);
  assert.is(config.services[0]!.handler.type, "relay");
  assert.match(warnings.join(), /x-common is no key/);
});

test("a bomb of aliases is refused", () => {
  const lines = ["a: &a [x,x,x,x,x,x,x,x,x,x]"];
  for (const [index, name] of [..."bcdefghi"].entries()) {
    const before = "abcdefghi"[index]!;
    lines.push(`${name}: &${name} [${Array(10).fill(`*${before}`).join(",")}]`);
  }
  assert.match(refused(lines.join("\n")), /too deep or too large/);
});

test("unknown keys are warnings with place and suggestion, errors with --strict", () => {
  const { warnings } = startYaml(RELAY.replace("addr:", "adr: x\n  addr:"));
  assert.match(warnings[0]!, /gost\.yaml:3:3: services\[0\]\.adr is no key.*did you mean addr\?/);
  const strict = refusal(() => startYaml(RELAY + "serviecs: []\n", "--strict"));
  assert.match(strict.message, /gost\.yaml:5:1: serviecs is no key.*services/);
});

test("names of keys ignore case", () => {
  const { config } = startYaml(RELAY.replace("addr", "ADDR").replace("handler", "Handler"));
  assert.is(config.services[0]!.addr, "127.0.0.1:1");
});

test("kinds are converted or refused with the place", () => {
  const handler = (text: string): string =>
    RELAY.replace("{type: relay}", `{type: relay, ${text}}`);
  assert.is(startYaml(handler('retries: "3"')).config.services[0]!.handler.retries, 3);
  assert.match(refused(handler("retries: many")), /4:26: services\[0\]\.handler\.retries: "many"/);
  assert.match(refused(handler("metadata: text")), /is not a map of keys and values/);
  assert.match(refused("services: {name: [a]}"), /name: \["a"\] is not a text/);
  assert.match(refused("bypasses: [{name: b, reload: soon}]"), /reload: "soon" is not a duration/);
});

test("names that are missing, taken or not found are errors with the place", () => {
  assert.match(
    refused(RELAY + RELAY.replace("services:\n", "")),
    /5:3: services: the name "a" is taken/,
  );
  assert.match(refused("services: [{addr: ':1'}]"), /an object of services has no name/);
  const chain = RELAY.replace("{type: relay}", "{type: relay, chain: chian}");
  const chains = "chains: [{name: chain, hops: [{name: h, nodes: [{addr: 'h:1'}]}]}]\n";
  assert.match(
    refused(chain + chains),
    /4:26: chain: there is no "chian" in chains; did you mean chain\?/,
  );
  const auther = RELAY.replace("{type: relay}", "{type: relay, auther: nobody}");
  assert.match(refused(auther), /auther: there is no "nobody" in authers/);
  const hop = chain.replace("chian", "c") + "chains: [{name: c, hops: [{name: nope}]}]\n";
  assert.match(refused(hop), /the hop "nope" has no nodes and is none of hops/);
});

test("types that do not exist are errors with a suggestion", () => {
  assert.match(
    refused(RELAY.replace("{type: relay}", "{type: rely}")),
    /4:13: there is no handler "rely"; did you mean relay\?/,
  );
  const chains =
    "chains: [{name: c, hops: [{name: h, nodes: [{addr: 'h:1', dialer: {type: xyz}}]}]}]\n";
  assert.match(refused(RELAY + chains), /there is no dialer "xyz"/);
  assert.match(
    refused(RELAY.replace("127.0.0.1:1", "127.0.0.1")),
    /3:3: addr: "127\.0\.0\.1" is not/,
  );
});

test("hops are shared by name, older fields become metadata", () => {
  const text =
    RELAY.replace("{type: relay}", "{type: relay, chain: c}") +
    "chains: [{name: c, hops: [{name: h}]}]\n" +
    "hops: [{name: h, interface: eth0, sockopts: {mark: 5}, " +
    "nodes: [{name: n, addr: 'h:1', connector: {type: relay}}]}]\n";
  const [hop] = startYaml(text).config.chains[0]!.hops;
  assert.equal(hop!.metadata, { interface: "eth0", so_mark: 5 });
  assert.is(hop!.nodes[0]!.dialer.type, "tcp");
});

test("a handler names its authers beside a user of its own", () => {
  const text =
    RELAY.replace("{type: relay}", "{type: relay, auther: x, auth: {username: a, password: b}}") +
    "authers: [{name: x, auths: [{username: c, password: d}]}]\n";
  const { handler } = startYaml(text).config.services[0]!;
  assert.equal(handler.auths, [{ username: "a", password: "b" }]);
  assert.equal(handler.authers, ["x"]);
  const only = startYaml(text.replace(", auth: {username: a, password: b}", "")).config;
  assert.equal(only.services[0]!.handler.auths, []);
});

test("files are merged from left to right, and generated names never collide", () => {
  const files = {
    "one.yaml": RELAY.replace("name: a", "name: service-0") + "log: {level: debug, format: text}\n",
    "two.yaml": RELAY.replace("name: a", "name: b") + "log: {level: error}\n",
  };
  const args = ["-C", "FILE:one.yaml", "-C", "FILE:two.yaml", "-L", "relay://127.0.0.1:9"];
  withFiles(files, args, (words) => {
    const { config } = start(words);
    assert.equal(
      config.services.map(({ name }) => name),
      ["service-0", "b", "service-1"],
    );
    assert.equal(config.log, { level: "error", format: "json", output: "stderr" });
  });
});

test("inline JSON is a source", () => {
  const inline = '{"services":[{"name":"x","addr":"127.0.0.1:1","handler":{"type":"relay"}}]}';
  assert.is(start(["-C", inline]).config.services[0]!.name, "x");
});

test("the log level comes from the file, then GOST_LOGGER_LEVEL, then -D, then --log-level", () => {
  const url = ["-L", "relay://127.0.0.1:1"];
  const level = (args: readonly string[], variable?: string): string =>
    start([...url, ...args], variable === undefined ? {} : { GOST_LOGGER_LEVEL: variable }).config
      .log.level;
  assert.is(level([]), "info");
  assert.is(level([], "warning"), "warn");
  assert.is(level(["-D"], "error"), "debug");
  assert.is(level(["-D", "-DD"]), "trace");
  assert.is(level(["-DD", "--log-level", "fatal"]), "fatal");
  assert.match(refusal(() => level([], "loud")).message, /GOST_LOGGER_LEVEL: "loud"/);
  assert.match(
    refusal(() => start([...url, "--log-format", "xml"])).message,
    /"xml" is not json or text/,
  );
});

test("missing files, folders and addresses of files are refused", () => {
  assert.match(
    refusal(() => start(["-C", "/nowhere/gost.yml"])).message,
    /-C \/nowhere\/gost\.yml: no such file/,
  );
  assert.match(refusal(() => start(["-C", "/"])).message, /is a directory/);
  assert.match(refusal(() => start([], { HOME: "/nowhere" })).message, /nothing to do/);
});

test("sections without effect are warnings", () => {
  const document = '{"services":[{"name":"s","addr":":1","handler":{"type":"relay"}}],';
  const { warnings } = start(["-C", `${document}"profiling":{"addr":":6060"}}`]);
  assert.match(warnings.join("\n"), /profiling has no effect yet/);
});

test("durations that -O json prints are read again, and those without an end are refused", () => {
  const yaml = (value: string): string => `${RELAY}tls: {validity: ${value}}\n`;
  for (const [value, ms] of [
    ["30s", 30_000],
    ["250us", 0.25],
    ["7", 7000],
    ["31536000000000000", 31_536_000_000],
  ] as const) {
    const { document } = startYaml(yaml(value));
    assert.equal(document["tls"], { validity: ms });
    const printed = printDocument(document, { format: "json", showSecrets: true });
    assert.equal(startYaml(printed).document["tls"], { validity: ms }, printed);
  }
  for (const value of [".inf", "-.inf", ".nan", "1e400", "1e300"]) {
    assert.match(refused(yaml(value)), /validity: .* is not a duration/);
  }
});

test.run();
