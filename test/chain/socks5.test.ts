/** The connector `socks5`: GOST's wire vectors, and how it bears servers of other kinds. */
import * as assert from "uvu/assert";
import { suite } from "../kit/suite.ts";
import { CONNECT, HELLO, OK, Script, TO, auth, collect, failureOf, world } from "./socks5-world.ts";
import { type Replay, turnsOf, vectorsOf } from "./vectors.ts";
import {
  type NodeParts,
  Reader,
  chainOf,
  dialContext,
  eventually,
  pauseMs,
  send,
} from "./world.ts";

const test = suite("chain/socks5");

/** What the captured command lines ask of the node. */
function nodeOf(vector: Replay): Partial<NodeParts> {
  const url = vector.peer[1] ?? "";
  return {
    connectorMetadata: url.includes("notls=true") ? { notls: true } : {},
    ...(url.includes("user:pass") ? { auth } : {}),
  };
}

async function replay(vector: Replay): Promise<void> {
  const turns = turnsOf(vector, {});
  const pairs: [string, string][] = [];
  for (const { from, hex } of turns) {
    if (from === "client") pairs.push([hex, ""]);
    else pairs[pairs.length - 1]![1] = hex;
  }
  const { chain, script, close } = await world(new Script(pairs), nodeOf(vector));
  try {
    if (vector.name.includes("udp")) {
      const carrier = await chain.datagrams(dialContext());
      const got = collect(carrier);
      const to = { host: "127.0.0.1", port: 53 };
      carrier.send(Buffer.from("hello"), to);
      carrier.send(Buffer.from("again"), to);
      await eventually(() => got.length === 1);
      assert.equal(got, ["world 127.0.0.1 53"]);
    } else {
      const stream = await chain.connect({ host: "example.com", port: 443 }, dialContext());
      await send(stream, "hello");
    }
    await pauseMs(50);
    assert.equal(script.failures, []);
  } finally {
    close();
  }
}

for (const vector of vectorsOf("socks5")) {
  if (!vector.name.startsWith("client-")) continue;
  test(`socks5/${vector.name}: ${vector.about}`, () => replay(vector));
}

const REASONS: readonly (readonly [string, string, string])[] = [
  ["01", "closed", "destination"],
  ["02", "prohibited", "destination"],
  ["03", "refused", "destination"],
  ["04", "host-unreachable", "destination"],
  ["05", "refused", "destination"],
  ["06", "timeout", "destination"],
  ["07", "protocol", "proxy"],
  ["08", "network-unreachable", "destination"],
  ["ff", "closed", "destination"],
];
for (const [code, reason, party] of REASONS) {
  test(`a reply ${code} is ${reason}, told of the ${party}`, async () => {
    const script = new Script([HELLO, [CONNECT, `05${code}0001000000000000`]]);
    const { chain, close } = await world(script);
    const failure = await failureOf(chain.connect(TO, dialContext()));
    assert.is(failure.reason, reason);
    assert.is(failure.party, party);
    close();
  });
}

test("network unreachable is believed from a server that told another reason before", async () => {
  const answer = (code: string): (readonly [string, string])[] => [
    HELLO,
    [CONNECT, `05${code}0001000000000000`],
  ];
  const { chain, close } = await world(new Script(answer("03"), answer("05"), answer("03")));
  const reasons: string[] = [];
  for (let attempt = 0; attempt < 3; attempt++) {
    reasons.push((await failureOf(chain.connect(TO, dialContext()))).reason);
  }
  assert.equal(reasons, ["refused", "refused", "network-unreachable"]);
  close();
});

test("what comes with the reply, and all lengths of its address, reach the user", async () => {
  for (const bound of [
    "01000000000000",
    "04" + "00".repeat(18),
    "0305" + "61".repeat(5) + "0001",
  ]) {
    const { chain, close } = await world(new Script([HELLO, [CONNECT, `050000${bound}686921`]]));
    const reader = new Reader(await chain.connect(TO, dialContext()));
    await reader.until(() => reader.text === "hi!");
    close();
  }
});

test("an answer byte by byte is understood", async () => {
  const script = new Script([]);
  const { chain, close } = await world(script);
  const connecting = chain.connect(TO, dialContext());
  await eventually(() => script.sockets.length === 1);
  for (const byte of Buffer.from(`0500${OK}6869`, "hex")) {
    script.sockets[0]?.write(Buffer.of(byte));
    await pauseMs(3);
  }
  const reader = new Reader(await connecting);
  await reader.until(() => reader.text === "hi");
  close();
});

const BAD_SERVERS: readonly (readonly [string, string, RegExp])[] = [
  ["0400", "protocol", /does not answer as a SOCKS5 server: version 4/],
  ["485454502f312e31", "protocol", /version 72/],
  ["05ff", "auth", /may want a user name/],
  ["0580", "protocol", /not offered/],
  ["0502", "protocol", /not offered/],
  ["close", "closed", /closed/],
  ["reset", "closed", /ECONNRESET/],
];
for (const [said, reason, message] of BAD_SERVERS) {
  test(`a server that answers the greeting with ${said} fails as ${reason}`, async () => {
    const { chain, close } = await world(new Script([["050100", said]]));
    const failure = await failureOf(chain.connect(TO, dialContext()));
    assert.is(failure.reason, reason);
    assert.is(failure.party, "proxy");
    assert.match(failure.message, message);
    close();
  });
}

test("a reply with an unknown address type or version fails as protocol", async () => {
  for (const reply of ["05000002", "040000010000"]) {
    const { chain, close } = await world(new Script([HELLO, [CONNECT, `${reply}0000000000`]]));
    assert.is((await failureOf(chain.connect(TO, dialContext()))).reason, "protocol");
    close();
  }
});

test("wrong credentials fail as auth, and are not in the message", async () => {
  const turns: (readonly [string, string])[] = [
    ["05020002", "0502"],
    ["0104757365720470617373", "0101"],
  ];
  const { chain, close } = await world(new Script(turns), { auth });
  const failure = await failureOf(chain.connect(TO, dialContext()));
  assert.is(failure.reason, "auth");
  assert.not.match(failure.message, /pass$|user:pass/);
  close();
});

test("timeout= ends the wait for a server that says nothing", async () => {
  const connectorMetadata = { notls: true, timeout: "80ms" };
  const { chain, close } = await world(new Script([HELLO]), { connectorMetadata });
  assert.is((await failureOf(chain.connect(TO, dialContext()))).reason, "timeout");
  close();
});

test("a node that demands a verified server offers nothing but TLS", async () => {
  const script = new Script([["050280820000", ""]], []);
  const { chain, close } = await world(script, {
    auth,
    tls: { secure: true },
    connectorMetadata: {},
  });
  const connecting = failureOf(chain.connect(TO, dialContext()));
  await eventually(() => script.sockets.length === 1);
  script.sockets[0]?.write(Buffer.from("0500", "hex"));
  const failure = await connecting;
  assert.is(failure.reason, "protocol");
  assert.match(failure.message, /not offered/);
  close();
});

test("secure with notls is a configuration error, for it could not be kept", () => {
  const node = { addr: "127.0.0.1:1", connector: "socks5", connectorMetadata: { notls: true } };
  assert.throws(() => chainOf([{ ...node, tls: { secure: true } }]), /need TLS/);
  const long = { ...node, auth: { username: "u".repeat(256), password: "p" } };
  assert.throws(() => chainOf([long]), /255 bytes/);
});

test("given up by its user, a handshake closes its connection", async () => {
  const script = new Script([HELLO]);
  const { chain, close } = await world(script);
  const stop = new AbortController();
  const connecting = failureOf(chain.connect(TO, { signal: stop.signal }));
  await eventually(() => script.sockets.length === 1);
  let isClosed = false;
  script.sockets[0]?.on("close", () => (isClosed = true));
  stop.abort(new Error("enough"));
  assert.is((await connecting).reason, "aborted");
  await eventually(() => isClosed);
  close();
});

test.run();
