/** The dialer `udp`: the node's own datagrams handed out, and nothing but datagrams. */
import { type Socket, createSocket } from "node:dgram";
import { once } from "node:events";
import { createServer } from "node:net";
import * as assert from "uvu/assert";
import { buildChain } from "../../src/chain/chain.ts";
import type { ChainError } from "../../src/chain/errors.ts";
import type { Endpoint, UpDatagrams } from "../../src/chain/types.ts";
import { refusal, start } from "../config/read.ts";
import { suite } from "../kit/suite.ts";
import {
  type NodeParts,
  chainOf,
  dialContext,
  eventually,
  nodeOf,
  portOf,
  quiet,
  startRelay,
} from "./world.ts";

const test = suite("chain/udp");

/** Echoes, and remembers who asked. */
class Echo {
  readonly socket: Socket = createSocket("udp4");
  readonly sources: string[] = [];

  async open(): Promise<string> {
    this.socket.on("message", (data, { port, address }) => {
      const source = `${address}:${port}`;
      if (!this.sources.includes(source)) this.sources.push(source);
      this.socket.send(data, port, address);
    });
    this.socket.bind(0, "127.0.0.1");
    await once(this.socket, "listening");
    return `127.0.0.1:${this.socket.address().port}`;
  }
}

let echo: Echo;
let addr = "";
test.before.each(async () => {
  echo = new Echo();
  addr = await echo.open();
});
test.after.each(() => {
  echo.socket.close();
});

class Collector {
  readonly got: string[] = [];
  readonly failed: string[] = [];

  constructor(carrier: UpDatagrams) {
    carrier.attach({
      message: (data, { host, port }) => this.got.push(`${data[0]} ${host}:${port}`),
      unreachable: ({ host }, reason) => this.failed.push(`${host} ${reason}`),
      close: () => this.got.push("closed"),
    });
  }
}

const node = (): NodeParts => ({ addr, connector: "forward", dialer: "udp" });
const to = (host: string): Endpoint => ({ host, port: 53 });

test("the node answers for every destination, and is taken for it", async () => {
  const chain = chainOf([node()]);
  const carrier = await chain.datagrams(dialContext());
  const { got } = new Collector(carrier);
  assert.ok(carrier.send(Buffer.from("a"), to("192.0.2.1")));
  assert.ok(carrier.send(Buffer.from("b"), to("name.example")));
  await eventually(() => got.length === 2);
  assert.equal(got.sort(), ["97 192.0.2.1:53", "98 name.example:53"]);
  assert.is(echo.sources.length, 2);
  carrier.send(Buffer.from("a"), to("192.0.2.1"));
  await eventually(() => got.length === 3);
  assert.is(echo.sources.length, 2);
  carrier.close();
  assert.is(got.at(-1), "closed");
  assert.is(carrier.send(Buffer.from("a"), to("192.0.2.1")), false);
  chain.close();
});

test("a node that refuses is told for its destination, and asked again", async () => {
  const port = echo.socket.address().port;
  echo.socket.close();
  const chain = chainOf([node()]);
  const carrier = await chain.datagrams(dialContext());
  const { got, failed } = new Collector(carrier);
  carrier.send(Buffer.from("a"), to("192.0.2.1"));
  await eventually(() => failed.length > 0);
  assert.is(failed[0], "192.0.2.1 refused");
  echo = new Echo();
  echo.socket.on("message", (data, source) => echo.socket.send(data, source.port, "127.0.0.1"));
  echo.socket.bind(port, "127.0.0.1");
  await once(echo.socket, "listening");
  carrier.send(Buffer.from("b"), to("192.0.2.1"));
  await eventually(() => got.length > 0);
  assert.is(got[0], "98 192.0.2.1:53");
  carrier.close();
  chain.close();
});

test("the node's interface decides where from; a missing device fails", async () => {
  for (const [own, source] of [
    ["127.0.0.2", /^127\.0\.0\.2:/],
    ["no-device", undefined],
  ] as const) {
    echo.sources.length = 0;
    const chain = chainOf([{ ...node(), metadata: { interface: own } }]);
    const carrier = await chain.datagrams(dialContext());
    const { got, failed } = new Collector(carrier);
    carrier.send(Buffer.from("a"), to("192.0.2.1"));
    await eventually(() => got.length + failed.length > 0);
    if (source === undefined) assert.equal([echo.sources, got.length], [[], 0]);
    else assert.match(echo.sources[0] ?? "", source);
    carrier.close();
    chain.close();
  }
});

test("a node that our own device leads to is refused", async () => {
  const asked: string[] = [];
  const hops = [{ name: "hop-0", nodes: [nodeOf(node())], metadata: {} }];
  const loopTo = (address: string): string => {
    asked.push(address);
    return "tungo";
  };
  const chain = buildChain({ name: "chain-0", hops }, { log: quiet, loopTo });
  const carrier = await chain.datagrams(dialContext());
  const { failed } = new Collector(carrier);
  carrier.send(Buffer.from("a"), to("192.0.2.1"));
  await eventually(() => failed.length > 0);
  assert.equal([failed, asked], [["192.0.2.1 prohibited"], ["127.0.0.1"]]);
  assert.equal(echo.sources, []);
  carrier.close();
  chain.close();
});

test("tcp over udp is refused without a single connection, as first, last and only hop", async () => {
  let connections = 0;
  const server = createServer((socket) => {
    connections++;
    socket.destroy();
  });
  server.listen(portOf(addr), "127.0.0.1");
  await once(server, "listening");
  const relay = { ...node(), connector: "relay" };
  const beside = { addr, connector: "relay", dialer: "tcp" };
  for (const nodes of [[node()], [node(), beside], [relay], [relay, beside]]) {
    const chain = chainOf(nodes);
    const error = (await chain
      .connect({ host: "192.0.2.1", port: 80 }, dialContext())
      .catch((thrown: unknown) => thrown)) as ChainError;
    assert.match(error.message, /tcp over udp: node node-\d carries datagrams only/);
    assert.is(error.reason, "prohibited");
    chain.close();
  }
  const chain = chainOf([relay]);
  const error: unknown = await chain.datagrams(dialContext()).catch((thrown: unknown) => thrown);
  assert.match(String(error), /tcp over udp/);
  chain.close();
  const behind = chainOf([beside, node()]);
  const why: unknown = await behind.datagrams(dialContext()).catch((thrown: unknown) => thrown);
  assert.match(String(why), /no UDP over the dialer udp/);
  behind.close();
  assert.equal([connections, echo.sources], [0, []]);
  server.close();
});

test("forward over a stream has no UDP", async () => {
  const chain = chainOf([{ addr, connector: "forward", dialer: "tcp" }]);
  const error: unknown = await chain.datagrams(dialContext()).catch((thrown: unknown) => thrown);
  assert.match(String(error), /no UDP over the dialer tcp/);
  chain.close();
});

test("-L udp:// -F forward+udp://: datagrams of a client reach the node, and answers come", async () => {
  const through = chainOf([node()]);
  const server = await startRelay({ handler: "udp", listener: "udp", through });
  const client = createSocket("udp4");
  const got: string[] = [];
  client.on("message", (data) => got.push(data.toString()));
  client.send("hello", portOf(server.address), "127.0.0.1");
  await eventually(() => got.length === 1);
  client.send("again", portOf(server.address), "127.0.0.1");
  await eventually(() => got.length === 2);
  assert.equal(got, ["hello", "again"]);
  assert.is(echo.sources.length, 1);
  client.close();
  await server.close();
  through.close();
});

test("what a start takes and what it refuses, with the place", () => {
  for (const connector of ["forward", "tcp"]) {
    const { config } = start(["-L", "udp://:53", "-F", `${connector}+udp://192.0.2.1:53`]);
    assert.is(config.chains[0]?.hops[0]?.nodes[0]?.dialer.type, "udp");
  }
  for (const connector of ["relay", "socks5", "http"]) {
    const { message } = refusal(() =>
      start(["-L", "udp://:53/h:53", "-F", `${connector}+udp://192.0.2.1:53`]),
    );
    assert.match(message, new RegExp(`^-F.*the connector ${connector} needs a stream`));
  }
  const first = ["-F", "forward+udp://192.0.2.1:53"];
  const other = ["-F", "relay://192.0.2.2:80"];
  for (const hops of [
    [...first, ...other],
    [...other, ...first],
  ]) {
    const { message } = refusal(() => start(["-L", "udp://:53/h:53", ...hops]));
    assert.match(message, /^-F.*the dialer udp must be the only hop of its chain/);
  }
});

test.run();
