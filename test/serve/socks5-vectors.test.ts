/** GOST's wire vectors against our SOCKS5 server: it says what GOST says, deviations aside. */
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { connect } from "node:net";
import * as assert from "uvu/assert";
import { type Ports, type Replay, matches, turnsOf, vectorsOf } from "../chain/vectors.ts";
import { CertFiles, echoTarget, pauseMs } from "../chain/world.ts";
import { suite } from "../kit/suite.ts";
import { Player, type Rule, type Running, routerOf, startSocks5 } from "./socks5-world.ts";

const test = suite("serve/socks5-vectors");
test.timeout(60_000);

const QUIET_MS = 80;
const echo = echoTarget();
const udp = createSocket("udp4");
const certs = new CertFiles();
let ports: Ports = {};

test.before(async () => {
  udp.on("message", (data, source) => udp.send(data, source.port, source.address));
  udp.bind(0, "127.0.0.1");
  await once(udp, "listening");
  const free = createSocket("udp4").bind(0, "127.0.0.1");
  await once(free, "listening");
  ports = { echo: await echo.listen(), udp: udp.address().port, free: free.address().port };
  free.close();
});

test.after(() => {
  echo.close();
  udp.close();
  certs.remove();
});

/** As little of a bypass as the vectors need: an address with a port, a suffix. */
function ruleOf(rules: readonly string[]): Rule {
  return (host, port) =>
    rules.some((rule) =>
      rule.startsWith(".")
        ? host.endsWith(rule)
        : rule.replace("9301", String(ports["echo"])) === `${host}:${port}`,
    );
}

/** Our service for a captured command line. */
function serve(command: string): Promise<Running> {
  const match = /^-L (?:socks5)?(?::\/\/)?(?:(\w+):(\w+)@)?:\d+(?:\?(.*))?$/.exec(command);
  if (match === null) throw new Error(command);
  const [, username, password = "", query = ""] = match;
  const options = new Map(query.split("&").map((part) => part.split("=") as [string, string]));
  const rules = (options.get("bypass") ?? "").split(",").filter((rule) => rule !== "");
  options.delete("bypass");
  return startSocks5({
    tls: certs.tls,
    metadata: Object.fromEntries(options),
    router: routerOf(ruleOf(rules)),
    ...(username === undefined ? {} : { auth: { username, password } }),
  });
}

async function replay(vector: Replay): Promise<void> {
  const server = await serve(vector.peer[0] ?? "");
  const player = await Player.open(server.port);
  try {
    for (const turn of turnsOf(vector, ports)) {
      if (turn.from === "client") {
        player.write(turn.hex);
        continue;
      }
      const got = await player.read(turn.hex.length / 2);
      assert.ok(matches(got, turn.hex), `got ${got}, wanted ${turn.hex}`);
    }
    if (vector.end === "open") {
      await pauseMs(QUIET_MS);
      assert.is(player.isOver, false, "the connection must stay open");
    } else {
      assert.is(await player.over(), true, "the connection must end");
    }
    assert.is(player.rest, "", "nothing more may come");
  } finally {
    player.close();
    await server.close();
  }
}

const vectors = vectorsOf("socks5").filter(({ name }) => !name.startsWith("client-"));
/** Played in a way of their own, below. */
const APART = new Set(["udp-associate-datagrams", "mux-bind-f2"]);

for (const vector of vectors) {
  if (APART.has(vector.name) || vector.deviation?.instead !== undefined) continue;
  const note = vector.deviation === undefined ? "" : ` (deviates: ${vector.deviation.divergence})`;
  test(`socks5/${vector.name}: ${vector.about}${note}`, () => replay(vector));
}

test("socks5/udp-associate-datagrams: each datagram is answered or dropped by itself", async () => {
  const vector = vectors.find(({ name }) => name === "udp-associate-datagrams");
  assert.ok(vector !== undefined);
  const server = await serve(vector!.peer[0] ?? "");
  const control = await Player.open(server.port);
  const client = createSocket("udp4");
  const got: string[] = [];
  client.on("message", (data) => got.push(data.toString("hex")));
  try {
    control.write("05010005030001000000000000");
    const reply = await control.read(12);
    assert.ok(reply.startsWith("0500050000017f000001"), reply);
    const port = parseInt(reply.slice(-4), 16);
    for (const step of vector!.steps) {
      const [turn] = turnsOf({ ...vector!, steps: [step] }, ports);
      const { from, hex } = turn!;
      if (from === "client") {
        client.send(Buffer.from(hex, "hex"), port, "127.0.0.1");
        await pauseMs(30);
        continue;
      }
      for (let wait = 0; got.length === 0 && wait < 200; wait++) await pauseMs(5);
      assert.is(got.shift(), hex);
    }
    await pauseMs(QUIET_MS);
    assert.equal(got, []);
    assert.is(control.isOver, false);
  } finally {
    client.close();
    control.close();
    await server.close();
  }
});

test("socks5/bind: the second reply names the peer, and its bytes follow", async () => {
  const server = await serve("-L socks5://:8801?udp=true&bind=true");
  const player = await Player.open(server.port);
  try {
    player.write("05010005020001000000000000");
    const reply = await player.read(12);
    assert.ok(reply.startsWith("0500050000017f000001"), reply);
    const peer = connect(parseInt(reply.slice(-4), 16), "127.0.0.1");
    peer.end("hi");
    await once(peer, "connect");
    const second = await player.read(12);
    const port = (peer.localPort ?? 0).toString(16).padStart(4, "0");
    assert.is(second, `050000017f000001${port}6869`);
    assert.is(await player.over(), true);
    player.socket.end();
    peer.destroy();
  } finally {
    player.close();
    await server.close();
  }
});

test.run();
