/** GOST's smux vectors against our sessions, in each role: we say the same of each stream. */
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import * as assert from "uvu/assert";
import { WebSocket, WebSocketServer } from "ws";
import type { Transport } from "../../src/chain/types.ts";
import { CMD_NOP, CMD_SYN, SmuxDecoder, type SmuxVersion } from "../../src/proto/smux.ts";
import { suite } from "../kit/suite.ts";
import { type Peer, peerOf, sessionPair } from "./mux-kit.ts";
import { type Ports, type Replay, matches, turnsOf, vectorsOf } from "./vectors.ts";
import {
  Reader,
  chainOf,
  dialContext,
  echoTarget,
  eventually,
  pauseMs,
  portOf,
  send,
  startRelay,
} from "./world.ts";

const test = suite("chain/mux-vectors");
const echo = echoTarget();
let ports: Ports = {};
test.before(async () => {
  ports = { echo: await echo.listen() };
});
test.after(() => echo.close());

/** What frames say of each stream; `??` are bytes that do not count. */
function summary(version: SmuxVersion, hex: string): string {
  const decoder = new SmuxDecoder(version);
  const streams = new Map<number, string>();
  const windows: string[] = [];
  const add = (id: number, text: string): void => {
    const before = streams.get(id) ?? "";
    const isRun = /[0-9a-f]$/.test(before) && /^[0-9a-f]/.test(text);
    streams.set(id, `${before}${isRun || before === "" ? "" : " "}${text}`);
  };
  const bytes = Buffer.from(hex, "hex");
  for (let offset = 0; offset < bytes.length;) {
    offset = decoder.decode(bytes, offset, {
      control: (command, id) => {
        if (command !== CMD_NOP) add(id, command === CMD_SYN ? "SYN:" : "FIN:");
      },
      data: (id, part) => add(id, Buffer.from(part).toString("hex")),
      update: (id, _consumed, window) => windows.push(`${id} ${window}`),
    });
  }
  const said = [...streams].sort(([one], [other]) => one - other);
  return [...said.map(([id, text]) => `${id}: ${text}`), ...new Set(windows)].join(" | ");
}

const MARK = "fefe";

/** Plays the side that is not ours; `act` is told before each turn of it which one it is. */
async function play(
  vector: Replay,
  peer: Peer,
  ours: "client" | "server",
  version: SmuxVersion,
): Promise<void> {
  for (const turn of turnsOf(vector, ports)) {
    if (turn.from !== ours) {
      peer.write(Buffer.from(turn.hex, "hex"));
      continue;
    }
    // Bytes that do not count stand for themselves on both sides.
    const wanted = turn.hex.replaceAll("????", MARK);
    const expected = summary(version, wanted);
    const now = (): string => summary(version, peer.got.toString("hex"));
    await eventually(() => matches(now(), expected)).catch(() => undefined);
    assert.is(now(), expected, vector.name);
    peer.got = Buffer.alloc(0);
  }
  await pauseMs(30);
  assert.is(summary(version, peer.got.toString("hex")), "", "nothing more may be said");
}

function versionOf(vector: Replay): SmuxVersion {
  return vector.peer.join(" ").includes("mux.version=2") ? 2 : 1;
}

function vectorOf(name: string): Replay {
  const found = vectorsOf("smux").find((vector) => vector.name === name);
  if (found === undefined) throw new Error(`no vector ${name}`);
  return found;
}

for (const name of ["smux-server-over-mws", "smux2-server-over-mws"]) {
  test(`${name}: our listener`, async () => {
    const vector = vectorOf(name);
    const version = versionOf(vector);
    const server = await startRelay({
      listener: "mws",
      listenerMetadata: { "mux.version": version },
    });
    const socket = new WebSocket(`ws://127.0.0.1:${portOf(server.address)}/ws`);
    const peer = peerOf(socket);
    await once(socket, "open");
    await play(vector, peer, "server", version);
    socket.terminate();
    await server.close();
  });
}

for (const name of ["smux-client-over-mws", "smux2-client-over-mws"]) {
  test(`${name}: our dialer`, async () => {
    const vector = vectorOf(name);
    const version = versionOf(vector);
    const server = new WebSocketServer({ port: 0, host: "127.0.0.1", path: "/ws" });
    await once(server, "listening");
    const addr = `127.0.0.1:${(server.address() as AddressInfo).port}`;
    const connected = once(server, "connection") as Promise<[WebSocket]>;
    const chain = chainOf([
      {
        addr,
        dialer: "mws",
        connectorMetadata: { "relay.grace": "30ms" },
        dialerMetadata: { "mux.version": version },
      },
    ]);
    const target = { host: "192.0.2.10", port: 22 };
    const acting = async (): Promise<void> => {
      const first = new Reader(await chain.connect(target, dialContext()));
      await send(first.stream, "hello");
      await first.until(() => first.text === "world");
      if (version === 2) return;
      const second = new Reader(await chain.connect(target, dialContext()));
      await send(second.stream, "two");
      first.stream.end();
      await second.until(() => second.ended);
    };
    const acted = acting();
    const [socket] = await connected;
    await play(vector, peerOf(socket), "client", version);
    await acted;
    chain.close();
    server.close();
    socket.terminate();
  });
}

/** The vector without the two steps in front that are not smux. */
function sessionPart(name: string): Replay {
  const vector = vectorOf(name);
  return { ...vector, steps: vector.steps.slice(2) };
}

for (const name of ["bind-tcp-smux", "bind-tcp-smux-v2"]) {
  test(`${name}: our session in the server's place, which opens the streams`, async () => {
    const vector = sessionPart(name);
    const { session, peer, close } = await sessionPair({
      version: versionOf(vector),
      opener: true,
    });
    const reply = Buffer.from(`0100000a020007017f000001${MARK}`, "hex");
    const acting = async (): Promise<void> => {
      const first = new Reader(session.open());
      await send(first.stream, reply);
      await send(first.stream, "hi");
      await first.until(() => first.text === "hello");
      first.stream.end();
      const second = new Reader(session.open());
      await send(second.stream, reply);
      await second.until(() => second.ended);
    };
    await Promise.all([play(vector, peer, "server", versionOf(vector)), acting()]);
    close();
  });
}

test("client-bind-tcp-smux: our session in the client's place, which takes streams", async () => {
  const vector = sessionPart("client-bind-tcp-smux");
  const replyBytes = 14;
  const streams: Transport[] = [];
  const { peer, close } = await sessionPair({
    accept: (stream) => {
      let skip = replyBytes;
      streams.push(stream);
      stream.attach({
        data: (chunk) => {
          const rest = Buffer.from(chunk.subarray(Math.min(skip, chunk.length)));
          skip -= chunk.length - rest.length;
          if (rest.length > 0) stream.write([rest], () => undefined);
        },
        end: () => stream.end(),
        close: () => undefined,
      });
      return true;
    },
  });
  await play(vector, peer, "client", 1);
  assert.is(streams.length, 1);
  close();
});

test("every vector is replayed here", () => {
  const names = vectorsOf("smux").map(({ name }) => name);
  assert.is(names.length, 7);
});

test.run();
