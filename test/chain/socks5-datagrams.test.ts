/** Datagrams of the connector `socks5`: GOST's tunnel, associations, and which is taken when. */
import { type Socket as UdpSocket, createSocket } from "node:dgram";
import { once } from "node:events";
import * as assert from "uvu/assert";
import { suite } from "../kit/suite.ts";
import { HELLO, OK, Script, TO, collect, failureOf, world } from "./socks5-world.ts";
import { dialContext, eventually, pauseMs } from "./world.ts";

const test = suite("chain/socks5-datagrams");

const TUNNEL = "05f30003000000";
const TUNNEL4 = "05f30001000000000000";
const ASSOCIATE = "05030001000000000000";
const NO_COMMAND = "05070001000000000000";

/** A UDP server that unwraps, echoes and wraps as RFC 1928 §7. */
async function associateServer(): Promise<UdpSocket> {
  const socket = createSocket("udp4");
  socket.on("message", (data, source) => socket.send(data, source.port, source.address));
  socket.bind(0, "127.0.0.1");
  await once(socket, "listening");
  return socket;
}

async function overAssociation(script: (bound: string) => Script, more = {}): Promise<string[]> {
  const server = await associateServer();
  const port = server.address().port.toString(16).padStart(4, "0");
  const { chain, close } = await world(script(port), more);
  const carrier = await chain.datagrams(dialContext());
  const got = collect(carrier);
  carrier.send(Buffer.from("hello"), { host: "example.com", port: 53 });
  await eventually(() => got.length === 1);
  const heard = [...got];
  carrier.close();
  server.close();
  close();
  return heard;
}

test("relay=udp associates; a reply without an address means the server's own", async () => {
  const got = await overAssociation(
    (port) => new Script([HELLO, [ASSOCIATE, `0500000100000000${port}`]]),
    { connectorMetadata: { notls: true, relay: "udp" } },
  );
  assert.equal(got, ["hello example.com 53"]);
});

test("a server without the tunnel's command is asked for an association", async () => {
  const got = await overAssociation(
    (port) =>
      new Script([HELLO, [TUNNEL, NO_COMMAND]], [HELLO, [ASSOCIATE, `050000017f000001${port}`]]),
  );
  assert.equal(got, ["hello example.com 53"]);
});

test("a server that knows no empty name is asked again with 0.0.0.0", async () => {
  for (const said of ["close", "05010001000000000000", "05080001000000000000"]) {
    const script = new Script([HELLO, [TUNNEL, said]], [HELLO, [TUNNEL4, OK]]);
    const { chain, close } = await world(script);
    const carrier = await chain.datagrams(dialContext());
    carrier.close();
    assert.is(script.count, 2);
    assert.equal(script.failures, []);
    close();
  }
});

test("the way that served is taken at once the next time", async () => {
  const script = new Script([HELLO, [TUNNEL, "close"]], [HELLO, [TUNNEL4, OK]]);
  const { chain, close } = await world(script);
  for (let round = 0; round < 3; round++) (await chain.datagrams(dialContext())).close();
  assert.is(script.count, 4);
  assert.equal(script.failures, []);
  close();
});

test("a server that refuses UDP is left alone for a while", async () => {
  const script = new Script([HELLO, [TUNNEL, "05020001000000000000"]]);
  const { chain, close } = await world(script);
  assert.is((await failureOf(chain.datagrams(dialContext()))).reason, "prohibited");
  assert.is((await failureOf(chain.datagrams(dialContext()))).reason, "prohibited");
  assert.is(script.count, 1);
  close();
});

test("an association ends with its TCP connection, and hears only the server", async () => {
  const server = await associateServer();
  const port = server.address().port.toString(16).padStart(4, "0");
  const script = new Script([HELLO, [ASSOCIATE, `050000017f000001${port}`]]);
  const metadata = { notls: true, relay: "udp" };
  const { chain, close } = await world(script, { connectorMetadata: metadata });
  let from = 0;
  server.removeAllListeners("message");
  server.on("message", (_data, source) => (from = source.port));
  const carrier = await chain.datagrams(dialContext());
  const got = collect(carrier);
  carrier.send(Buffer.from("hello"), TO);
  await eventually(() => from !== 0);
  const stranger = createSocket("udp4");
  const forged = Buffer.from("000000017f0000010035666f72676564", "hex");
  const fragment = Buffer.from("000001017f000001003566726167", "hex");
  stranger.send(forged, from, "127.0.0.1");
  server.send(fragment, from, "127.0.0.1");
  server.send(Buffer.from("00", "hex"), from, "127.0.0.1");
  server.send(Buffer.from("000000017f00000100356f6b", "hex"), from, "127.0.0.1");
  await eventually(() => got.length > 0);
  assert.equal(got, ["ok 127.0.0.1 53"]);
  script.sockets[0]?.end();
  await eventually(() => got.includes("closed"));
  assert.is(carrier.send(Buffer.from("late"), TO), false);
  stranger.close();
  server.close();
  close();
});

test("datagrams that cannot be carried are refused, and end nothing", async () => {
  const { chain, close } = await world(new Script([HELLO, [TUNNEL, OK]]));
  const carrier = await chain.datagrams(dialContext());
  const got = collect(carrier);
  assert.is(carrier.send(Buffer.from("x"), { host: "n".repeat(256), port: 1 }), false);
  assert.is(carrier.send(Buffer.alloc(65536), TO), false);
  assert.is(carrier.send(Buffer.from("x"), TO), true);
  await pauseMs(20);
  assert.equal(got, []);
  close();
});

test.run();
