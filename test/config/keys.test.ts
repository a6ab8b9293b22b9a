/** Which metadata keys take effect, which are GOST's without effect, and where they stand. */
import * as assert from "uvu/assert";
import {
  connectorKeys,
  dialerKeys,
  handlerKeys,
  listenerKeys,
} from "../../src/config/key-check.ts";
import { keyInfo } from "../../src/config/key-kinds.ts";
import {
  CONNECTORS_BUILT,
  DIALERS_BUILT,
  HANDLERS_BUILT,
  LISTENERS_BUILT,
} from "../../src/config/words.ts";
import { suite } from "../kit/suite.ts";
import { refusal, start, startYaml } from "./read.ts";

const test = suite("config/keys");

const TO = ["-F", "relay://h:1"];

/** A command line, and the keys in it that have no effect. */
const WITHOUT_EFFECT: readonly (readonly [args: readonly string[], keys: readonly string[]])[] = [
  [
    [
      "-L",
      "socks5://127.0.0.1:1?tor=true&enableTor=1&socks5.tor=t&udp.bufferSize=9&udpBufferSize=9",
    ],
    ["tor", "enableTor", "socks5.tor", "udp.bufferSize", "udpBufferSize"],
  ],
  [
    ["-L", "socks5://127.0.0.1:1?sniffing=true&mux.maxStreamWindow=9"],
    ["sniffing", "mux.maxStreamWindow"],
  ],
  [
    ["-L", "http://127.0.0.1:1?compression=true&http.keepalive=1"],
    ["compression", "http.keepalive"],
  ],
  [
    ["-L", "relay://127.0.0.1:1?udpBufferSize=9&sniffing.timeout=1s"],
    ["udpBufferSize", "sniffing.timeout"],
  ],
  [
    ["-L", "auto://127.0.0.1:1?compression=1&tor=1&mptcp=1"],
    ["compression", "tor", "mptcp"],
  ],
  [
    ["-L", "tcp://127.0.0.1:1/h:1?readTimeout=1s&readBufferSize=9&reuseport=true"],
    ["readTimeout", "readBufferSize", "reuseport"],
  ],
  [
    ["-L", "udp://127.0.0.1:1/h:1?bufferSize=9&readBufferSize=9"],
    ["bufferSize", "readBufferSize"],
  ],
  [
    ["-L", "relay+ws://127.0.0.1:1?ws.readBufferSize=9&enableCompression=true&ttl=9s"],
    ["ws.readBufferSize", "enableCompression", "ttl"],
  ],
  [
    ["-L", "relay+mwss://127.0.0.1:1?mptcp=true&writeBufferSize=9"],
    ["mptcp", "writeBufferSize"],
  ],
  [["-L", "relay+mtls://127.0.0.1:1?mux.maxStreamWindow=9"], ["mux.maxStreamWindow"]],
  [
    ["-L", "http://127.0.0.1:1?observer.period=5s&limiter.scope=service"],
    ["observer.period", "limiter.scope"],
  ],
  [
    [
      "-L",
      "tcp://127.0.0.1:1/h:1",
      "-F",
      "socks5://h:1?udp.timeout=9s&udp.bufferSize=9&mux.version=2",
    ],
    ["udp.timeout", "udp.bufferSize", "mux.version"],
  ],
  [
    [
      "-L",
      "tcp://127.0.0.1:1/h:1",
      "-F",
      "relay+ws://h:1?backlog=9&readHeaderTimeout=9s&enableCompression=1",
    ],
    ["backlog", "readHeaderTimeout", "enableCompression"],
  ],
  [["-L", "udp://127.0.0.1:1", "-F", "forward+udp://h:1"], []],
];

for (const [args, keys] of WITHOUT_EFFECT) {
  test(`${args.join(" ")}: ${keys.join(", ") || "nothing"} has no effect`, () => {
    const { warnings } = start(args);
    assert.equal(
      warnings.filter((text) => text.includes("effect")).map((text) => text.replace(/^.*: /, "")),
      keys.map((key) => `${key} has no effect`),
    );
    if (keys.length === 0) return;
    assert.match(refusal(() => start(["--strict", ...args])).message, /has no effect/);
  });
}

/** What takes effect somewhere in its service or node is no cause for a warning. */
const WITH_EFFECT: readonly (readonly string[])[] = [
  ["-L", "http://127.0.0.1:1?keepalive=true&keepalive.idle=9s&hash=host&skipauth=127.0.0.1"],
  ["-L", "udp://127.0.0.1:1/h:1?stateless=true&readTimeout=2s&keepalive=true&ttl=9s&backlog=9"],
  [
    "-L",
    "relay+ws://127.0.0.1:1?path=/x&readHeaderTimeout=9s&bind=true&mux.version=2&nodelay=true",
  ],
  ["-L", "socks5+mtls://127.0.0.1:1?mux.version=2&udp=true&comp=true&handshakeTimeout=3s"],
  [
    "-L",
    "tcp://127.0.0.1:1/h:1",
    "-F",
    "relay+wss://h:1?keepalive=true&ttl=9s&host=x&tcp.keepalive=1",
  ],
  [
    "-L",
    "tcp://127.0.0.1:1/h:1",
    "-F",
    "relay+mwss://h:1?mux.version=2&connectTimeout=2s&soMark=7",
  ],
  // Switched off as it is: nobody misses anything.
  ["-L", "socks5://127.0.0.1:1?sniffing=false&tor=0&mptcp=f", ...TO],
];

for (const args of WITH_EFFECT) {
  test(`${args.join(" ")}: all of it takes effect`, () => {
    const { warnings } = start(args);
    assert.equal(
      warnings.filter((text) => /effect|knows/.test(text)),
      [],
    );
  });
}

test("keys in the wrong part of a file, or without effect, are told with their places", () => {
  const { warnings } = startYaml(`services:
  - name: a
    addr: "127.0.0.1:1"
    handler: {type: udp, metadata: {stateless: true, bufferSize: 9}}
    listener: {type: udp}
    forwarder: {nodes: [{name: t, addr: "h:1"}]}
`);
  const said = warnings.map((text) => text.replace(/^.*gost\.yaml/, "gost.yaml"));
  assert.equal(said, [
    "gost.yaml:4:37: stateless has no effect here; it belongs into listener.metadata",
    "gost.yaml:4:54: bufferSize has no effect",
  ]);
});

test("the PROXY protocol is refused where a handler would speak it", () => {
  const { message } = refusal(() =>
    startYaml(`services:
  - name: a
    addr: "127.0.0.1:1"
    handler: {type: tcp, metadata: {proxyProtocol: 1}}
    listener: {type: tcp}
    forwarder: {nodes: [{name: t, addr: "h:1"}]}
`),
  );
  assert.match(message, /4:37: proxyProtocol is not supported yet/);
});

test("each key has a kind, by which values are checked and the schema describes them", () => {
  const free = /^(mitm\.|header|http\.header|labels|retries|prefer|multicastGroups)/;
  const tables = [
    ...Array.from(HANDLERS_BUILT, (type) => [type, handlerKeys(type)] as const),
    ...Array.from(LISTENERS_BUILT, (type) => [type, listenerKeys(type)] as const),
    ...Array.from(CONNECTORS_BUILT, (type) => [type, connectorKeys(type)] as const),
    ...Array.from(DIALERS_BUILT, (type) => [type, dialerKeys(type)] as const),
  ].filter(([type]) => type !== "tungo");
  const missing = new Set<string>();
  for (const [type, known] of tables) {
    assert.ok(known !== undefined, type);
    for (const key of [...(known?.keys ?? []), ...(known?.idle ?? [])]) {
      if (keyInfo(key, false) === undefined && !free.test(key)) missing.add(key);
    }
  }
  assert.equal([...missing], []);
});

test.run();
