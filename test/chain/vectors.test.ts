/**
 * GOST's wire vectors of its connector and dialer: our chain must say the same, deviations aside.
 */
import { once } from "node:events";
import { type AddressInfo, type Socket, createServer } from "node:net";
import * as assert from "uvu/assert";
import type { Chain, UpDatagrams } from "../../src/chain/types.ts";
import { suite } from "../kit/suite.ts";
import { type Replay, deviations, matches, turnsOf, vectorsOf, wsText } from "./vectors.ts";
import {
  type NodeParts,
  Reader,
  chainOf,
  dialContext,
  eventually,
  pauseMs,
  send,
} from "./world.ts";

const test = suite("chain/vectors");

/** A server that plays the other side: waits for the client's turns, then says its own. */
class Script {
  readonly #server = createServer();
  socket: Socket | undefined;
  got = Buffer.alloc(0);

  async listen(): Promise<number> {
    this.#server.on("connection", (socket) => {
      this.socket = socket;
      socket.on("data", (chunk: Buffer) => (this.got = Buffer.concat([this.got, chunk])));
      socket.on("error", () => undefined);
    });
    this.#server.listen(0, "127.0.0.1");
    await once(this.#server, "listening");
    return (this.#server.address() as AddressInfo).port;
  }

  /** The next bytes of the client. */
  async take(count: number): Promise<Buffer> {
    await eventually(() => this.got.length >= count).catch(() => undefined);
    const part = this.got.subarray(0, count);
    this.got = this.got.subarray(part.length);
    return part;
  }

  close(): void {
    this.socket?.destroy();
    this.#server.close();
  }
}

/** Plays a vector of the relay connector while `client` acts. */
async function play(
  vector: Replay,
  nodes: (port: number) => readonly NodeParts[],
  client: (chain: Chain) => Promise<void>,
): Promise<void> {
  const script = new Script();
  const chain = chainOf(nodes(await script.listen()));
  let failure: unknown;
  try {
    const acting = client(chain).catch((error: unknown) => {
      failure = error;
    });
    for (const turn of turnsOf(vector, {})) {
      if (turn.from === "server") {
        await eventually(() => script.socket !== undefined);
        script.socket?.write(Buffer.from(turn.hex, "hex"));
        continue;
      }
      const got = (await script.take(turn.hex.length / 2)).toString("hex");
      assert.ok(matches(got, turn.hex), `got ${got}, wanted ${turn.hex}`);
    }
    await acting;
    if (failure !== undefined) throw failure;
    await pauseMs(50);
    assert.is(script.got.toString("hex"), "", "nothing more may be sent");
  } finally {
    chain.close();
    script.close();
  }
}

const grace = { "relay.grace": "50ms" };

function plain(more: object = {}): (port: number) => readonly NodeParts[] {
  return (port) => [{ addr: `127.0.0.1:${port}`, connectorMetadata: grace, ...more }];
}

/** Connects, says `text`, and waits for `answer`. */
function exchange(
  host: string,
  port: number,
  text: string,
  answer: string,
): (chain: Chain) => Promise<void> {
  return async (chain) => {
    const reader = new Reader(await chain.connect({ host, port }, dialContext()));
    await send(reader.stream, text);
    await reader.until(() => reader.text === answer);
  };
}

function collect(carrier: UpDatagrams): string[] {
  const got: string[] = [];
  carrier.attach({
    message: (data, { host, port }) => got.push(`${Buffer.from(data).toString()} ${host} ${port}`),
    close: () => undefined,
  });
  return got;
}

const byConnect = { "relay.udp": "connect" };
const auth = { username: "user", password: "pass" };
const ACTS: Readonly<Record<string, (vector: Replay) => Promise<void>>> = {
  "client-connect-ipv4": (vector) =>
    play(vector, plain(), exchange("192.0.2.10", 22, "hello", "world")),
  "client-connect-domain": (vector) =>
    play(vector, plain(), exchange("example.com", 443, "hello", "world")),
  "client-connect-ipv6": (vector) =>
    play(vector, plain(), exchange("2001:db8::1", 80, "hello", "world")),
  "client-connect-domain-case": (vector) =>
    play(vector, plain(), exchange("Example.COM", 443, "hello", "")),
  "client-connect-auth": (vector) =>
    play(vector, plain({ auth }), exchange("192.0.2.10", 22, "hello", "world")),
  "client-connect-auth-empty-password": (vector) => {
    const node = plain({ auth: { username: "user", password: "" } });
    return play(vector, node, exchange("192.0.2.10", 22, "hello", "world"));
  },
  "client-connect-no-user": (vector) => {
    const node = plain({ auth: { username: "", password: "pass" } });
    return play(vector, node, exchange("192.0.2.10", 22, "hello", "world"));
  },
  "client-connect-nodelay": (vector) => {
    const node = plain({ auth, connectorMetadata: { nodelay: true, connectTimeout: "2s" } });
    return play(vector, node, exchange("192.0.2.10", 22, "hello", ""));
  },
  "client-two-relay-hops": (vector) =>
    play(
      vector,
      (port) => [
        { addr: `127.0.0.1:${port}` },
        { addr: "127.0.0.1:9999", connectorMetadata: grace },
      ],
      exchange("192.0.2.10", 22, "hello", "hi"),
    ),
  "client-server-first": (vector) =>
    play(vector, plain(), async (chain) => {
      const stream = await chain.connect({ host: "192.0.2.10", port: 22 }, dialContext());
      const reader = new Reader(stream);
      await reader.until(() => reader.text === "220 hi\r\n");
      await send(stream, "QUIT");
    }),
  "client-connect-udp": (vector) =>
    play(vector, plain({ connectorMetadata: byConnect }), async (chain) => {
      const carrier = await chain.datagrams(dialContext());
      const got = collect(carrier);
      const to = { host: "1.1.1.1", port: 53 };
      carrier.send(Buffer.from("hello"), to);
      carrier.send(Buffer.from("again"), to);
      await eventually(() => got.length === 1);
      assert.equal(got, ["world 1.1.1.1 53"]);
      carrier.send(Buffer.alloc(0), to);
    }),
  "client-connect-udp-empty-host": (vector) =>
    play(vector, plain({ connectorMetadata: byConnect }), async (chain) => {
      const carrier = await chain.datagrams(dialContext());
      carrier.send(Buffer.from("hello"), { host: "", port: 8421 });
    }),
  "client-connect-udp-nodelay": (vector) => {
    const connectorMetadata = { ...byConnect, nodelay: true };
    return play(vector, plain({ auth, connectorMetadata }), async (chain) => {
      const carrier = await chain.datagrams(dialContext());
      carrier.send(Buffer.from("hello"), { host: "1.1.1.1", port: 53 });
    });
  },
  "client-bind-udp-association": (vector) =>
    play(vector, plain(), async (chain) => {
      const carrier = await chain.datagrams(dialContext());
      const got = collect(carrier);
      carrier.send(Buffer.from("hello"), { host: "1.1.1.1", port: 53 });
      carrier.send(Buffer.from("hello"), { host: "example.com", port: 53 });
      await eventually(() => got.length === 2);
      assert.equal(got, ["world 1.1.1.1 53", "world example.com 53"]);
    }),
};

const viaHttp = { connector: "http", connectorMetadata: {} };
const HTTP_ACTS: Readonly<Record<string, (vector: Replay) => Promise<void>>> = {
  "client-connect": (vector) => play(vector, plain(viaHttp), serverFirst),
  "client-connect-auth": (vector) => play(vector, plain({ ...viaHttp, auth }), serverFirst),
  "client-connect-udp": (vector) =>
    play(vector, plain(viaHttp), async (chain) => {
      const carrier = await chain.datagrams(dialContext());
      const got = collect(carrier);
      carrier.send(Buffer.from("hello"), { host: "127.0.0.1", port: 53 });
      await eventually(() => got.length === 1);
      assert.equal(got, ["world 127.0.0.1 53"]);
    }),
};

/** The bytes right behind the head are the destination's. */
async function serverFirst(chain: Chain): Promise<void> {
  const stream = await chain.connect({ host: "example.com", port: 443 }, dialContext());
  const reader = new Reader(stream);
  await reader.until(() => reader.text === "220 hi\r\n");
  await send(stream, "hello");
}

for (const vector of vectorsOf("http-connect")) {
  if (!vector.name.startsWith("client-")) continue;
  const act = HTTP_ACTS[vector.name];
  test(`http-connect/${vector.name}: ${vector.about}`, async () => {
    assert.ok(act !== undefined, "nobody acts this vector");
    await act?.(vector);
  });
}

for (const vector of vectorsOf("relay")) {
  if (!vector.name.startsWith("client-") || vector.deviation?.instead !== undefined) continue;
  const act = ACTS[vector.name];
  test(`relay/${vector.name}: ${vector.about}`, async () => {
    assert.ok(act !== undefined, "nobody acts this vector");
    await act?.(vector);
  });
}

test("websocket/client-handshake-relay: the upgrade is GOST's, byte for byte", async () => {
  const vector = vectorsOf("websocket").find((entry) => entry.name === "client-handshake-relay");
  assert.ok(vector !== undefined);
  const [upgrade = "", , frames = ""] = turnsOf(vector!, {}).map((turn) => turn.hex);
  const script = new Script();
  const port = await script.listen();
  const node = { addr: `127.0.0.1:${port}`, dialer: "ws", connectorMetadata: grace };
  const chain = chainOf([node]);
  try {
    const acting = exchange("192.0.2.10", 22, "hello", "world")(chain);
    await eventually(() => script.got.includes("\r\n\r\n"));
    const request = script.got.toString("latin1");
    script.got = Buffer.alloc(0);
    const [key = ""] = /(?<=Sec-WebSocket-Key: )\S+/.exec(request) ?? [];
    assert.is(Buffer.from(key, "base64").length, 16);
    const wanted = Buffer.from(upgrade, "hex").toString("latin1");
    const ours = request.replace(key, "KEY").replace(String(port), "9160");
    assert.is(ours, wanted.replace("th7auv9JhX2p4dcAm74oXQ==", "KEY"));
    const { acceptOf } = await import("../../src/chain/ws-dialer.ts");
    script.socket?.write(
      "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
        `Sec-WebSocket-Accept: ${acceptOf(key)}\r\n\r\n`,
    );
    const said = wsText(Buffer.from(frames, "hex"), true);
    await eventually(() => wsText(script.got, true).data === said.data);
    assert.equal(wsText(script.got, true), said);
    script.socket?.write(Buffer.from("820901000000776f726c64", "hex"));
    await acting;
  } finally {
    chain.close();
    script.close();
  }
});

test("deviations name vectors that exist, once each, and say why", () => {
  const known = ["relay", "websocket", "http-connect", "socks5"].flatMap((file) =>
    vectorsOf(file).map((vector) => `${file}/${vector.name}`),
  );
  // test/bypass looks after its own.
  const names = deviations
    .map((entry) => entry.vector)
    .filter((name) => !name.startsWith("bypass/"));
  assert.equal(
    names.filter((name) => !known.includes(name)),
    [],
  );
  assert.is(new Set(names).size, names.length);
  for (const entry of deviations) {
    assert.ok(entry.divergence.length > 10, entry.vector);
    assert.ok((entry.steps === undefined) !== (entry.instead === undefined), entry.vector);
  }
});

test.run();
