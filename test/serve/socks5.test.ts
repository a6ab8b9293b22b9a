/** The handler `socks5` among clients of every kind: slow, rude, many, wrong and strange. */
import { type Socket as UdpSocket, createSocket } from "node:dgram";
import { once } from "node:events";
import { connect } from "node:net";
import { connect as connectTls } from "node:tls";
import * as assert from "uvu/assert";
import { AutoHandler } from "../../src/serve/auto.ts";
import { HttpHandler } from "../../src/serve/http.ts";
import { Socks5Handler } from "../../src/serve/socks5.ts";
import {
  CertFiles,
  MemoryLog,
  Target,
  chainOf,
  dialContext,
  echoTarget,
  eventually,
  pauseMs,
  Reader,
  send,
} from "../chain/world.ts";
import { suite } from "../kit/suite.ts";
import { type Make, Player, type Running, routerOf, startSocks5 } from "./socks5-world.ts";

const test = suite("serve/socks5");
test.timeout(60_000);

const echo = echoTarget();
const certs = new CertFiles();
const udp = createSocket("udp4");
const auth = { username: "user", password: "pass" };
let connectEcho = "";

function hex16(port: number): string {
  return port.toString(16).padStart(4, "0");
}

test.before(async () => {
  udp.on("message", (data, source) => udp.send(data, source.port, source.address));
  udp.bind(0, "127.0.0.1");
  await once(udp, "listening");
  connectEcho = `050100017f000001${hex16(await echo.listen())}`;
});

test.after(() => {
  echo.close();
  udp.close();
  certs.remove();
});

async function withPlayer(server: Running, act: (player: Player) => Promise<void>): Promise<void> {
  const player = await Player.open(server.port);
  try {
    await act(player);
  } finally {
    player.close();
    await server.close();
  }
}

/** An association: its control connection and port. */
async function associate(player: Player): Promise<number> {
  player.write("05010005030001000000000000");
  const reply = await player.read(12);
  assert.ok(reply.startsWith("050005000001"), reply);
  return parseInt(reply.slice(-4), 16);
}

async function udpClient(address = "127.0.0.1"): Promise<{ socket: UdpSocket; got: string[] }> {
  const socket = createSocket("udp4");
  const got: string[] = [];
  socket.on("message", (data) => got.push(data.toString("hex")));
  socket.bind(0, address);
  await once(socket, "listening");
  return { socket, got };
}

function wrapped(payload: string, port = udp.address().port): Buffer {
  return Buffer.from(`000000017f000001${hex16(port)}${payload}`, "hex");
}

test("greeting and request byte by byte, and payload behind them, are carried", async () => {
  await withPlayer(await startSocks5({}), async (player) => {
    for (const byte of Buffer.from(`050100${connectEcho}6869`, "hex")) {
      player.socket.write(Buffer.of(byte));
      await pauseMs(1);
    }
    assert.match(await player.read(14), /^0500050000017f000001....6869$/);
  });
});

test("half-closes go through: the answer to a client that has ended arrives", async () => {
  const late = new Target((socket) => {
    socket.on("end", () => socket.end("bye"));
    socket.resume();
  });
  const port = await late.listen();
  await withPlayer(await startSocks5({}), async (player) => {
    player.write(`050100050100017f000001${hex16(port)}`);
    player.socket.end();
    assert.match(await player.read(15), /^0500050000017f000001....627965$/);
    assert.ok(await player.over());
  });
  late.close();
});

test("a client that says too little is closed at the deadline, wherever it stops", async () => {
  const server = await startSocks5({ auth, tls: certs.tls, metadata: { readTimeout: "150ms" } });
  const starts = ["", "05", "050102", "0501020104757365720470617373", "050182", "05010201047573"];
  const players = await Promise.all(starts.map(() => Player.open(server.port)));
  for (const [index, player] of players.entries()) player.write(starts[index] ?? "");
  for (const player of players) assert.ok(await player.over());
  for (const player of players) player.close();
  await server.close();
});

test("one byte now and then does not put the deadline off", async () => {
  await withPlayer(await startSocks5({ metadata: { readTimeout: "200ms" } }), async (player) => {
    player.write("05ff");
    const fromMs = performance.now();
    while (!player.isOver && performance.now() - fromMs < 3000) {
      player.write("00");
      await pauseMs(20);
    }
    assert.ok(player.isOver);
  });
});

test("1,000 half-open clients and 100 wrong passwords disturb nobody", async () => {
  const log = new MemoryLog();
  const server = await startSocks5({ auth, log, metadata: { notls: true } });
  const sockets = Array.from({ length: 1000 }, () => connect(server.port, "127.0.0.1"));
  for (const socket of sockets) {
    socket.on("error", () => undefined);
    socket.write(Buffer.from("0501", "hex"));
  }
  await Promise.all(sockets.map((socket) => once(socket, "connect")));
  for (let round = 0; round < 10; round++) {
    const wrong = await Promise.all(Array.from({ length: 10 }, () => Player.open(server.port)));
    for (const player of wrong) player.write("0501020104757365720362616400");
    for (const player of wrong) {
      assert.is(await player.read(4), "05020101");
      player.close();
    }
  }
  await withPlayer(server, async (player) => {
    player.write(`0501020104757365720470617373${connectEcho}`);
    assert.match(await player.read(14), /^05020100050000017f000001....$/);
  });
  for (const socket of sockets) socket.destroy();
  assert.is(log.find(/^warn wrong user name/).length, 1);
  assert.is(log.find(/\bbad\b|\bpass\b/).length, 0, "no secrets in the log");
});

test("rubbish of any kind ends its own connection only", async () => {
  const server = await startSocks5({ metadata: { udp: true, bind: true } });
  const rubbish = ["00", "04010050", "474554202f", "05ff", "ff".repeat(3000), "050100" + "ff"];
  for (const hex of rubbish) {
    const player = await Player.open(server.port);
    player.write(hex);
    player.socket.end();
    assert.ok(await player.over(), hex.slice(0, 8));
    player.close();
  }
  await withPlayer(server, async (player) => {
    player.write(`050100${connectEcho}`);
    assert.match(await player.read(12), /^0500050000/);
  });
});

test("TLS inside: also when the ClientHello follows the greeting at once", async () => {
  const server = await startSocks5({ tls: certs.tls });
  const raw = connect({ port: server.port, host: "127.0.0.1" });
  await once(raw, "connect");
  raw.write(Buffer.from("050180", "hex"));
  // Takes the method's answer off before TLS reads.
  const secure = new Promise<void>((resolve) => {
    raw.once("readable", () => {
      assert.is((raw.read(2) as Buffer).toString("hex"), "0580");
      const tls = connectTls({ socket: raw, rejectUnauthorized: false });
      tls.on("error", () => undefined);
      let got = "";
      tls.on("data", (chunk: Buffer) => {
        got += chunk.toString("hex");
        if (got.endsWith("6869")) resolve();
      });
      tls.write(Buffer.from(`${connectEcho}6869`, "hex"));
    });
  });
  await secure;
  raw.destroy();
  await server.close();
});

test("our client and server: TLS inside by default, verified where asked, with a user", async () => {
  const server = await startSocks5({ auth, tls: certs.tls });
  const addr = `127.0.0.1:${server.port}`;
  const to = { host: "127.0.0.1", port: parseInt(connectEcho.slice(-4), 16) };
  const node = { addr, connector: "socks5", auth };
  for (const tls of [{}, { caFile: certs.certFile }]) {
    const chain = chainOf([{ ...node, tls }]);
    const reader = new Reader(await chain.connect(to, dialContext()));
    await send(reader.stream, "hello");
    await reader.until(() => reader.text === "hello");
    reader.stream.end();
    await reader.until(() => reader.ended);
    chain.close();
  }
  const strict = chainOf([{ ...node, tls: { secure: true } }]);
  let message = "";
  await strict.connect(to, dialContext()).catch((error: unknown) => (message = String(error)));
  assert.match(message, /not trusted/);
  strict.close();
  await server.close();
});

test("an association hears only its client's IP, and only whole datagrams for it", async () => {
  await withPlayer(await startSocks5({ metadata: { udp: true } }), async (player) => {
    const port = await associate(player);
    const mine = await udpClient();
    const stranger = await udpClient("127.0.0.2");
    stranger.socket.send(wrapped("6576696c"), port, "127.0.0.1");
    const bad = ["", "00", "0000000300", "000000ff01", "00000003ff61", "000000017f0000010000"];
    for (const hex of bad) mine.socket.send(Buffer.from(hex, "hex"), port, "127.0.0.1");
    const name = `00000003ff${"ff".repeat(255)}0035aa`;
    mine.socket.send(Buffer.from(name, "hex"), port, "127.0.0.1");
    mine.socket.send(Buffer.from("000001017f0000010035aa", "hex"), port, "127.0.0.1");
    mine.socket.send(wrapped("6f6b"), port, "127.0.0.1");
    await eventually(() => mine.got.length > 0);
    await pauseMs(50);
    assert.equal(mine.got, [wrapped("6f6b").toString("hex")]);
    assert.equal(stranger.got, []);
    assert.is(player.isOver, false);
    mine.socket.close();
    stranger.socket.close();
  });
});

test("40,000 bytes come back whole, by association and by tunnel", async () => {
  const payload = "61".repeat(40_000);
  const server = await startSocks5({ metadata: { udp: true } });
  const tunnel = await Player.open(server.port);
  tunnel.write("05010005f30003000000");
  assert.match(await tunnel.read(24), /^050005000004/);
  const frame = `9c40ff017f000001${hex16(udp.address().port)}${payload}`;
  tunnel.write(frame);
  assert.is(await tunnel.read(frame.length / 2), frame);
  tunnel.close();
  await withPlayer(server, async (player) => {
    const port = await associate(player);
    const mine = await udpClient();
    mine.socket.send(wrapped(payload), port, "127.0.0.1");
    await eventually(() => mine.got.length > 0);
    assert.is(mine.got[0], wrapped(payload).toString("hex"));
    mine.socket.close();
  });
});

test("an association ends with its TCP connection, and idle", async () => {
  const server = await startSocks5({ metadata: { udp: true, "udp.timeout": "100ms" } });
  const idle = await Player.open(server.port);
  await associate(idle);
  assert.ok(await idle.over());
  idle.close();
  await withPlayer(server, async (player) => {
    const port = await associate(player);
    player.socket.end();
    assert.ok(await player.over());
    // Its port is free again.
    const again = createSocket("udp4").bind({ port, address: "127.0.0.1", exclusive: true });
    await once(again, "listening");
    again.close();
  });
});

test("associations keep to their range of ports; when it is used up they are refused", async () => {
  const free = createSocket("udp4").bind(0, "127.0.0.1");
  await once(free, "listening");
  const only = free.address().port;
  free.close();
  const metadata = { udp: true, "udp.minPort": only, "udp.maxPort": only, publicAddr: "192.0.2.7" };
  const server = await startSocks5({ metadata });
  const other = await Player.open(server.port);
  other.write("05010005030001000000000000");
  assert.is(await other.read(12), `050005000001c0000207${hex16(only)}`);
  await withPlayer(server, async (player) => {
    player.write("05010005030001000000000000");
    assert.is(await player.read(12), "050005010001000000000000");
    assert.ok(await player.over());
  });
  other.close();
});

test("a tunnel whose way out fails is answered", async () => {
  const router = {
    ...routerOf(),
    datagrams: () => Promise.reject(Object.assign(new Error("no"), { code: "ENETUNREACH" })),
  };
  await withPlayer(await startSocks5({ router, metadata: { udp: true } }), async (player) => {
    player.write("05010005f30001000000000000");
    assert.is(await player.read(12), "050005030001000000000000");
    assert.ok(await player.over());
  });
});

test("mux bind: each connection is a stream that begins with a reply naming its peer", async () => {
  for (const comp of [false, true]) {
    await withPlayer(await startSocks5({ metadata: { bind: true, comp } }), async (player) => {
      player.write("05010005f200017f0000010000");
      const reply = await player.read(12);
      const repliedMs = performance.now();
      assert.ok(reply.startsWith("0500050000017f000001"), reply);
      // The NOP by which two tsgost know each other.
      assert.match(await player.read(8), /^01030000/);
      const peer = connect(parseInt(reply.slice(-4), 16), "127.0.0.1");
      await once(peer, "connect");
      peer.write("hi");
      const named = `01020a0003000000050000017f000001${hex16(peer.localPort ?? 0)}`;
      const wanted = `0100000003000000${comp ? "" : named}01020200030000006869`;
      assert.is(await player.read(wanted.length / 2), wanted);
      // GOST's client would lose what it finds behind the reply.
      assert.ok(performance.now() - repliedMs > 100);
      player.write("0102030003000000796573");
      const [answer] = (await once(peer, "data")) as [Buffer];
      assert.is(answer.toString(), "yes");
      peer.destroy();
    });
  }
});

test("a client whose address needs no password is let in without, and others are not", async () => {
  for (const free of [true, false]) {
    const authenticator = { accepts: (given: unknown) => given === undefined && free };
    await withPlayer(await startSocks5({ authenticator }), async (player) => {
      player.write("050100");
      assert.is(await player.read(2), free ? "0500" : "05ff");
    });
  }
});

test("options that cannot be are configuration errors", async () => {
  for (const metadata of [{ publicAddr: "me" }, { "udp.minPort": 70000 }, { "mux.version": 3 }]) {
    let failure = "";
    await startSocks5({ metadata }).catch((error: unknown) => (failure = String(error)));
    assert.match(failure, /publicAddr|bindRange|mux.version/);
  }
});

const makeAuto: Make = (service, context) =>
  new AutoHandler(service, context, {
    socks5: (one, other) => new Socks5Handler(one, other),
    http: (one, other) => new HttpHandler(one, other),
  });

test("auto: the first byte decides, and has a deadline", async () => {
  const log = new MemoryLog();
  const server = await startSocks5({ log, metadata: { readTimeout: "300ms" } }, makeAuto);
  const play = async (hex: string, bytes: number): Promise<string> => {
    const player = await Player.open(server.port);
    if (hex !== "") player.write(hex);
    const got = await player.read(bytes);
    player.close();
    return got;
  };
  assert.match(await play(`050100${connectEcho}`, 12), /^0500050000/);
  assert.is(await play("0401005000000001", 1), "");
  assert.is(log.find(/SOCKS4 is not supported; /).length, 1);
  const target = `127.0.0.1:${parseInt(connectEcho.slice(-4), 16)}`;
  const request = Buffer.from(`CONNECT ${target} HTTP/1.1\r\nHost: ${target}\r\n\r\n`);
  assert.is(Buffer.from(await play(request.toString("hex"), 12), "hex").toString(), "HTTP/1.1 200");
  assert.is(await play("", 1), "");
  await server.close();
});

test("auto: TLS goes to port 443 of the name it gives, unless a user is needed", async () => {
  for (const isOpen of [true, false]) {
    const asked: string[] = [];
    const router = {
      ...routerOf(),
      connect: ({ host, port }: { host: string; port: number }) => {
        asked.push(`${host}:${port}`);
        return Promise.reject(new Error("not here"));
      },
    };
    const parts = isOpen ? { router } : { router, auth };
    const server = await startSocks5(parts, makeAuto);
    const client = connectTls({ port: server.port, host: "127.0.0.1", servername: "a.example" });
    client.on("error", () => undefined);
    await new Promise((resolve) => client.once("close", resolve));
    assert.equal(asked, isOpen ? ["a.example:443"] : []);
    await server.close();
  }
});

test.run();
