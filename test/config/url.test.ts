/** URLs of -L and -F read as we do it: GOST's meaning, but nothing is guessed or lost. */
import * as assert from "uvu/assert";
import { boundDevices } from "../../src/config/start.ts";
import { maskUrl } from "../../src/config/mask.ts";
import { suite } from "../kit/suite.ts";
import { refusal, start, withFiles } from "./read.ts";

const service = (...args: readonly string[]) => start(args).config.services[0]!;
const node = (url: string) =>
  start(["-L", "tungo://:0", "-F", url]).config.chains[0]!.hops[0]!.nodes[0]!;
const refused = (...args: readonly string[]): string => refusal(() => start(args)).message;
const refusedNode = (url: string): string => refused("-L", "tungo://:0", "-F", url);

const test = suite("config/url");

test("userinfo is decoded, and split at the first colon", () => {
  const { auth } = node("relay+wss://us%40er:p%3Aa%2Fss@h.example:443").connector;
  assert.equal(auth, { username: "us@er", password: "p:a/ss" });
  assert.equal(node("relay://h.example:1?auth=dXNlcjpwYXNz").connector.auth, {
    username: "user",
    password: "pass",
  });
});

test("keys go where GOST puts them", () => {
  const hop = start([
    "-L",
    "tungo://:0",
    "-F",
    "relay+wss://h.example:443?interface=eth0&so_mark=7&nodelay=true&dialer.path=/x&node.weight=2",
  ]).config.chains[0]!.hops[0]!;
  assert.equal(hop.metadata, { interface: "eth0", so_mark: 7, nodelay: "true" });
  const [only] = hop.nodes;
  assert.equal(only!.connector.metadata, { nodelay: "true" });
  assert.equal(only!.dialer.metadata, { path: "/x", nodelay: "true" });
  assert.equal(only!.metadata, { weight: "2", nodelay: "true" });
});

test("every node of a list has its own name for TLS", () => {
  const { nodes } = start(["-L", "tungo://:0", "-F", "relay+wss://a.example:1,[::1]:2"]).config
    .chains[0]!.hops[0]!;
  assert.equal(
    nodes.map(({ addr, dialer }) => [addr, dialer.tls?.serverName]),
    [
      ["a.example:1", "a.example"],
      ["[::1]:2", "::1"],
    ],
  );
  const named = node("relay+tls://h.example:1?serverName=x.example&secure=true");
  assert.equal(named.dialer.tls, { secure: true, serverName: "x.example" });
});

test("the name of a transport alone is auto over it, with a target forward", () => {
  for (const word of ["tls", "ws", "wss", "mtls", "mws", "mwss"]) {
    const { handler, listener } = service("-L", `${word}://:443`);
    assert.equal([handler.type, listener.type], ["auto", word]);
    assert.is(service("-L", `${word}://:443/192.0.2.1:80`).handler.type, "forward");
  }
});

test("unknown schemes are refused with the nearest known one", () => {
  assert.match(refused("-L", "tungoo://:0"), /"tungoo"; did you mean tungo\?/);
  assert.match(refused("-L", "relay+wsss://:443"), /no listener "wsss"; did you mean wss\?/);
  assert.match(refused("-L", "rely+wss://:443"), /no service type "rely"; did you mean relay\?/);
  assert.match(refused("-L", "relay+wss+x://:443"), /one word or two/);
  assert.match(
    refusedNode("relai+wss://h.example:1"),
    /no connector "relai"; did you mean relay\?/,
  );
  assert.match(refusedNode("relay+wxs://h.example:1"), /no dialer "wxs"; did you mean w/);
  assert.match(refused("-L", "1x://:443"), /no scheme/);
});

test("what is not built is refused, not replaced", () => {
  assert.match(refused("-L", "ss://:1080"), /handler ss is not supported yet/);
  assert.match(refused("-L", "relay+quic://:1"), /listener quic is not supported yet/);
  assert.match(refused("-L", "sni://:8080"), /handler sni is not supported yet/);
  assert.match(refusedNode("ssu://h.example:443"), /connector ssu is not supported yet/);
  assert.match(refusedNode("relay+kcp://h.example:443"), /dialer kcp is not supported yet/);
  assert.match(refused("-L", "tungo://:0?netns=x"), /netns is not supported yet/);
  assert.match(
    refused("-L", "tungo://:0?admission=1.1.1.1"),
    /admission is not supported by tungo/,
  );
});

test("ports are checked", () => {
  assert.match(refused("-L", "relay://:70000"), /"70000" is no port; use a number from 0 to 65535/);
  assert.match(refused("-L", "relay://:abc"), /"abc" is no port/);
  assert.match(refused("-L", "relay://:9000-8000"), /"9000-8000" is no range of ports/);
  assert.match(refused("-L", "relay://:1-65535"), /at most 4096/);
  assert.match(refused("-L", "8080"), /did you mean :8080\?/);
  assert.match(refused("-L", "tungo?name=x"), /did you mean tungo:\/\/:0\?/);
  assert.match(refusedNode("relay://h.example"), /"h\.example" has no port/);
  assert.match(refusedNode("relay://h.example:70000"), /h\.example:70000/);
  assert.match(refusedNode("relay://::1:80"), /brackets/);
  assert.match(refusedNode("relay://"), /there is no HOST:PORT/);
});

test("port ranges make services, with a target each", () => {
  const { services } = start(["-L", "relay://127.0.0.1:8000-8002/10.0.0.1:9000-9002"]).config;
  assert.equal(
    services.map(({ addr, forwarder }) => [addr, forwarder?.nodes]),
    [0, 1, 2].map((index) => [
      `127.0.0.1:800${index}`,
      [{ name: `target-${index}`, addr: `10.0.0.1:900${index}` }],
    ]),
  );
});

test("malformed escapes and separators are refused instead of dropped", () => {
  assert.match(refused("-L", "relay://127.0.0.1:1?auth=%%%"), /is no percent-escape/);
  assert.match(refused("-L", "relay://127.0.0.1:1?a=1;b=2"), /use "&"/);
  assert.match(refused("-L", "relay://u%zz:p@127.0.0.1:1"), /"%zz" is no percent-escape/);
  assert.match(refused("-L", "relay://127.0.0.1:1?auth=!!!"), /not base64/);
  assert.match(refusedNode("relay+tls://h.example:1?secure=yes"), /secure: "yes"/);
  assert.match(refusedNode("relay://h.example:1?failTimeout=soon"), /failTimeout: "soon"/);
  assert.match(refusedNode("relay://h.example:1?strategy=rond"), /did you mean round\?/);
});

test("messages never show passwords", () => {
  assert.is(maskUrl("relay://u:p@h:1?auth=x&a=b"), "relay://u:***@h:1?auth=***&a=b");
  assert.is(maskUrl("u:p@:1"), "u:***@:1");
  assert.not.match(refused("-L", "relay://u:secret@127.0.0.1:x?auth=secret"), /secret/);
  assert.not.match(refusedNode("relay://u:secret@h.example:x"), /secret/);
});

test("unknown keys are warnings with a suggestion, and errors with --strict", () => {
  const args = ["-L", "tungo://:0?mut=1400", "-F", "relay+wss://h.example:1?secur=true"];
  const { warnings } = start(args);
  assert.is(warnings.length, 2);
  assert.match(warnings.join("\n"), /"mut"; did you mean mtu\?/);
  assert.match(warnings.join("\n"), /"secur"; did you mean secure\?/);
  assert.match(refusal(() => start(["--strict", ...args])).message, /"(mut|secur)"/);
  assert.equal(start(["-L", "tungo://:0?MTU=1400&tun.NAME=x"]).warnings, []);
});

test("a repeated key is joined where it is a list, else the first counts with a warning", () => {
  assert.is(
    service("-L", "tungo://:0?net=10.0.0.1/8&net=fd00::1/64").listener.metadata["net"],
    "10.0.0.1/8,fd00::1/64",
  );
  const { config, warnings } = start(["-L", "tungo://:0?mtu=1400&mtu=1300"]);
  assert.is(config.services[0]!.listener.metadata["mtu"], "1400");
  assert.match(warnings[0]!, /mtu is given twice/);
});

test("a user without a password, and a certificate without encryption, are refused", () => {
  assert.match(refused("-L", "relay://u@127.0.0.1:1"), /"u" has no password/);
  assert.is(start(["-L", "relay://u@127.0.0.1:1?auth.anyPassword=true"]).config.services.length, 1);
  withFiles({ c: "x", k: "y" }, ["FILE:c", "FILE:k"], ([cert, key]) => {
    const url = (scheme: string): string => `${scheme}://127.0.0.1:1?cert=${cert}&key=${key}`;
    assert.match(refused("-L", url("relay")), /tcp does not encrypt; use the listener tls/);
    assert.is(service("-L", url("relay+tls")).listener.tls?.certFile, cert);
    assert.match(refused("-L", `relay+tls://127.0.0.1:1?cert=${cert}`), /belong together/);
  });
  assert.match(
    refused("-L", "relay+tls://127.0.0.1:1?cert=/no.pem&key=/no.key"),
    /no\.pem: no such file/,
  );
});

test("interface is a list of devices and addresses everywhere", () => {
  const url = (name: string): string => `relay://h.example:1?interface=${name}`;
  for (const name of ["eth0,eth1!", "10.0.0.1", "nope!,10.0.0.2,eth0"]) {
    start(["-L", `tungo://:0?interface=${name}`]);
    start(["-L", "tungo://:0", "-F", url(name)]);
    start(["-L", `relay://127.0.0.1:0?interface=${name}`]);
  }
  assert.match(refused("-L", "tungo://:0?interface=eth0,auto"), /auto means nothing to tungo/);
  start(["-L", "relay://127.0.0.1:0?interface=eth0,auto"]);
  const long = refusedNode(url("a-name-that-is-too-long"));
  assert.match(long, /neither a network device nor an IP address/);
});

test("the devices of a service, its hops and nodes are known before a start", () => {
  const hop = "relay://h.example:1?interface=eth1";
  const { config } = start(["-L", "tungo://:0?interface=eth0", "-F", hop]);
  assert.equal(
    boundDevices(config.services[0]!, config).map(({ name }) => name),
    ["eth0", "eth1"],
  );
  assert.equal(boundDevices(service("-L", "tungo://:0"), config), []);
});

test("no text makes the reader throw anything but its own error", () => {
  const pieces = [
    ":",
    "/",
    "?",
    "@",
    "=",
    "&",
    "%",
    "[",
    "]",
    "#",
    ",",
    "+",
    "a",
    "1",
    "__proto__",
  ];
  for (const option of ["-L", "-F"]) {
    for (const one of pieces) {
      for (const two of pieces) {
        for (const three of pieces) {
          const text = `relay://${one}${two}${three}:1?${three}${one}=${two}`;
          const args = option === "-L" ? ["-L", text] : ["-L", "tungo://:0", "-F", text];
          try {
            start(args);
          } catch (error) {
            assert.is((error as { exitCode?: number }).exitCode, 2, `${text}: ${String(error)}`);
          }
        }
      }
    }
  }
});

test.run();
