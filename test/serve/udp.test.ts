/** Datagrams through our server: associations, the fallback, limits, and what must not end them. */
import { type Socket, createSocket } from "node:dgram";
import { once } from "node:events";
import * as assert from "uvu/assert";
import type { Chain, Endpoint, UpDatagrams } from "../../src/chain/types.ts";
import type { Names } from "../../src/types.ts";
import {
  MemoryLog,
  type StartParts,
  chainOf,
  dialContext,
  eventually,
  pauseMs,
  startRelay,
} from "../chain/world.ts";
import { suite } from "../kit/suite.ts";

const test = suite("serve/udp");

/** An echo that counts who speaks to it. */
class UdpEcho {
  readonly socket: Socket = createSocket("udp4");
  readonly sources = new Set<number>();
  port = 0;

  async open(): Promise<void> {
    this.socket.on("message", (data, { port, address }) => {
      this.sources.add(port);
      this.socket.send(data, port, address);
    });
    this.socket.bind(0, "127.0.0.1");
    await once(this.socket, "listening");
    this.port = this.socket.address().port;
  }
}

const one = new UdpEcho();
const two = new UdpEcho();
test.before.each(async () => {
  one.sources.clear();
  two.sources.clear();
  if (one.port === 0) await one.open();
  if (two.port === 0) await two.open();
});
test.after(() => {
  one.socket.close();
  two.socket.close();
});

class Collector {
  readonly got: string[] = [];
  readonly failed: string[] = [];
  bytes = 0;
  isClosed = false;

  constructor(carrier: UpDatagrams) {
    carrier.attach({
      message: (data, { host, port }) => {
        this.bytes += data.length;
        this.got.push(`${Buffer.from(data).toString("latin1").slice(0, 20)} ${host} ${port}`);
      },
      unreachable: ({ port }, reason) => this.failed.push(`${port} ${reason}`),
      close: () => (this.isClosed = true),
    });
  }
}

async function withCarrier(
  parts: StartParts,
  node: object,
  body: (carrier: UpDatagrams, collector: Collector, log: MemoryLog, chain: Chain) => Promise<void>,
): Promise<void> {
  const server = await startRelay(parts);
  const log = new MemoryLog();
  const chain = chainOf([{ addr: server.address, ...node }], log);
  try {
    const carrier = await chain.datagrams(dialContext());
    await body(carrier, new Collector(carrier), log, chain);
    carrier.close();
  } finally {
    chain.close();
    await server.close();
  }
}

function to(echo: UdpEcho): Endpoint {
  return { host: "127.0.0.1", port: echo.port };
}

test("an association carries all destinations from one port, and survives refused ones", () =>
  withCarrier({}, {}, async (carrier, collector) => {
    carrier.send(Buffer.from("refused"), { host: "127.0.0.1", port: 9 });
    carrier.send(Buffer.from("no name"), { host: "nope.invalid", port: 9 });
    await pauseMs(30);
    carrier.send(Buffer.from("a"), to(one));
    carrier.send(Buffer.from("b"), to(two));
    carrier.send(Buffer.from("c"), { host: "localhost", port: one.port });
    await eventually(() => collector.got.length === 3, 10_000);
    assert.equal(collector.got.sort(), [
      `a 127.0.0.1 ${one.port}`,
      `b 127.0.0.1 ${two.port}`,
      `c 127.0.0.1 ${one.port}`,
    ]);
    assert.equal([...one.sources], [...two.sources]);
  }));

test("an answer from a port that was never asked comes through an association", () =>
  withCarrier({}, {}, async (carrier, collector) => {
    carrier.send(Buffer.from("a"), to(one));
    await eventually(() => one.sources.size === 1);
    const [port = 0] = one.sources;
    two.socket.send("uninvited", port, "127.0.0.1");
    await eventually(() => collector.got.includes(`uninvited 127.0.0.1 ${two.port}`));
  }));

test("datagrams of every size up to the largest come back whole, empty ones are dropped", () =>
  withCarrier({}, {}, async (carrier, collector) => {
    carrier.send(Buffer.alloc(0), to(one));
    for (const size of [1, 4096, 4097, 32_769, 65_507]) {
      carrier.send(Buffer.alloc(size, "s"), to(one));
      collector.bytes = 0;
      await eventually(() => collector.bytes === size);
    }
    assert.is(carrier.send(Buffer.alloc(65_536), to(one)), false);
  }));

test("a server without bind gets one CONNECT a destination, told once", async () => {
  const refusing = { addr: "0.0.0.0:0" };
  const server = await startRelay(refusing);
  const addr = server.address.replace("0.0.0.0", "127.0.0.1");
  const log = new MemoryLog();
  const chain = chainOf([{ addr }], log);
  for (let count = 0; count < 3; count++) {
    const carrier = await chain.datagrams(dialContext());
    const collector = new Collector(carrier);
    carrier.send(Buffer.from("a"), to(one));
    carrier.send(Buffer.alloc(0), to(one));
    carrier.send(Buffer.from("b"), to(two));
    await eventually(() => collector.got.length === 3);
    assert.equal(collector.got.sort(), [
      ` 127.0.0.1 ${one.port}`,
      `a 127.0.0.1 ${one.port}`,
      `b 127.0.0.1 ${two.port}`,
    ]);
    carrier.close();
    assert.ok(collector.isClosed);
  }
  assert.is(log.find(/no UDP association/).length, 1);
  chain.close();
  await server.close();
});

test("with authentication or bind=true a public server offers associations", async () => {
  const auth = { username: "u", password: "p" };
  for (const parts of [{ auth }, { metadata: { bind: true } }]) {
    const server = await startRelay({ addr: "0.0.0.0:0", ...parts });
    const addr = server.address.replace("0.0.0.0", "127.0.0.1");
    const node = { addr, auth, connectorMetadata: { "relay.udp": "association" } };
    const chain = chainOf([node]);
    const carrier = await chain.datagrams(dialContext());
    const collector = new Collector(carrier);
    carrier.send(Buffer.from("x"), to(one));
    await eventually(() => collector.got.length === 1);
    carrier.close();
    chain.close();
    await server.close();
  }
});

test("a mapping that is quiet for the idle time is closed by the server", () =>
  withCarrier({ metadata: { "udp.timeout": "150ms" } }, {}, async (carrier, collector) => {
    for (let count = 0; count < 6; count++) {
      carrier.send(Buffer.from("x"), to(one));
      await pauseMs(60);
    }
    assert.is(collector.isClosed, false, "traffic keeps it open");
    await eventually(() => collector.isClosed, 2000);
    assert.is(carrier.send(Buffer.from("x"), to(one)), false);
  }));

test("a destination that is refused by the service is dropped, or told for a CONNECT", async () => {
  const refuses = (_network: string, _host: string, port: number): boolean => port === two.port;
  await withCarrier({ refuses }, {}, async (carrier, collector) => {
    carrier.send(Buffer.from("b"), to(two));
    carrier.send(Buffer.from("a"), to(one));
    await eventually(() => collector.got.length === 1);
    assert.is(two.sources.size, 0);
  });
  const node = { connectorMetadata: { "relay.udp": "connect" } };
  await withCarrier({ refuses }, node, async (carrier, collector) => {
    carrier.send(Buffer.from("b"), to(two));
    await eventually(() => collector.failed.length === 1);
    assert.equal(collector.failed, [`${two.port} prohibited`]);
  });
});

test("a wrong password fails the carrier, it does not fall back", async () => {
  const server = await startRelay({ auth: { username: "u", password: "p" } });
  const chain = chainOf([{ addr: server.address, auth: { username: "u", password: "x" } }]);
  const error = await chain.datagrams(dialContext()).then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  assert.is((error as { reason?: string }).reason, "auth");
  await server.close();
});

test("a flood towards a stalled client is dropped, not kept", () =>
  withCarrier({}, {}, async (carrier, collector) => {
    let refused = 0;
    for (let count = 0; count < 2000; count++) {
      if (!carrier.send(Buffer.alloc(16_384), to(one))) refused++;
    }
    assert.ok(refused > 0, "the queue must have a bound");
    await eventually(() => collector.bytes > 0);
  }));

test("datagrams go through a direct node and through a server behind a chain", async () => {
  const direct = chainOf([{ addr: ":0", connector: "direct", dialer: "direct" }]);
  const carrier = await direct.datagrams(dialContext());
  const collector = new Collector(carrier);
  carrier.send(Buffer.from("d"), to(one));
  await eventually(() => collector.got.length === 1);
  carrier.close();
  const inner = await startRelay({});
  await withCarrier({ through: chainOf([{ addr: inner.address }]) }, {}, async (through, seen) => {
    through.send(Buffer.from("t"), to(one));
    await eventually(() => seen.got.length === 1);
  });
  await inner.close();
});

test("names of datagrams are the service's, for associations and for CONNECT", async () => {
  const asked: string[] = [];
  const names: Names = {
    resolve: (host) => {
      asked.push(host);
      if (host === "gone.example") return Promise.reject(new Error("no such name"));
      return Promise.resolve(host === "echo.example" ? ["127.0.0.1"] : ["192.0.2.66"]);
    },
  };
  const refuses = (_network: string, host: string): boolean => host === "192.0.2.66";
  for (const mode of ["association", "connect"]) {
    const node = { connectorMetadata: { "relay.udp": mode } };
    asked.length = 0;
    await withCarrier({ names, refuses }, node, async (carrier, seen) => {
      carrier.send(Buffer.from("x"), { host: "echo.example", port: one.port });
      await eventually(() => seen.got.length === 1);
      assert.equal(asked, ["echo.example"], mode);
      if (mode === "association") return;
      carrier.send(Buffer.from("x"), { host: "gone.example", port: 7 });
      carrier.send(Buffer.from("x"), { host: "bad.example", port: 9 });
      await eventually(() => seen.failed.length === 2);
      assert.ok(seen.failed.includes("9 prohibited"), seen.failed.join());
    });
  }
});

test.run();
