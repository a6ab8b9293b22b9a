/** The handler http: plain requests, keep-alive, upgrades, refusals, hostile clients and servers. */
import { createServer } from "node:http";
import { type AddressInfo, type Socket, connect } from "node:net";
import { once } from "node:events";
import { rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as assert from "uvu/assert";
import type { RunningServer } from "../../src/serve/server.ts";
import {
  type StartParts,
  Target,
  echoTarget,
  eventually,
  pauseMs,
  portOf,
  startRelay,
} from "../chain/world.ts";
import { suite } from "../kit/suite.ts";

const test = suite("serve/http");

/** An origin server that tells what it got. */
const seen: { method: string; url: string; headers: Record<string, unknown>; body: string }[] = [];
const origin = createServer((request, response) => {
  let body = "";
  request.on("data", (chunk: Buffer) => (body += chunk.toString("latin1")));
  request.on("end", () => {
    const { method = "", url = "", headers } = request;
    seen.push({ method, url, headers, body });
    if (url === "/chunked") response.write("part one, ");
    response.end(url === "/chunked" ? "part two" : `${method} ${url} ${body}`);
  });
});
const echo = echoTarget();
let originPort = 0;
let echoPort = 0;
test.before(async () => {
  origin.listen(0, "127.0.0.1");
  await once(origin, "listening");
  originPort = (origin.address() as AddressInfo).port;
  echoPort = await echo.listen();
});
test.before.each(() => void (seen.length = 0));
test.after(() => {
  origin.closeAllConnections();
  origin.close();
  echo.close();
});

class Client {
  readonly socket: Socket;
  text = "";
  isOver = false;

  constructor(server: RunningServer) {
    this.socket = connect({ port: portOf(server.address), host: "127.0.0.1", allowHalfOpen: true });
    this.socket.on("data", (chunk: Buffer) => (this.text += chunk.toString("latin1")));
    this.socket.on("error", () => (this.isOver = true));
    this.socket.on("end", () => (this.isOver = true));
    this.socket.on("close", () => (this.isOver = true));
  }

  say(text: string): this {
    this.socket.write(Buffer.from(text, "latin1"));
    return this;
  }

  async until(pattern: RegExp): Promise<string> {
    await eventually(() => pattern.test(this.text)).catch(() => {
      throw new Error(`${String(pattern)} did not come: ${JSON.stringify(this.text)}`);
    });
    const text = this.text;
    this.text = "";
    return text;
  }

  async over(): Promise<string> {
    await eventually(() => this.isOver);
    this.socket.destroy();
    return this.text;
  }
}

async function withProxy(
  parts: StartParts,
  body: (server: RunningServer, open: () => Client) => Promise<void>,
): Promise<void> {
  const server = await startRelay({ handler: "http", ...parts });
  const clients: Client[] = [];
  try {
    await body(server, () => {
      const client = new Client(server);
      clients.push(client);
      return client;
    });
  } finally {
    for (const client of clients) client.socket.destroy();
    await server.close();
  }
}

const to = (path: string, more = ""): string =>
  `GET http://127.0.0.1:${originPort}${path} HTTP/1.1\r\nHost: wrong.example\r\n${more}\r\n`;

test("plain requests in absolute form, one after the other and pipelined", () =>
  withProxy({}, async (_server, open) => {
    const client = open().say(to("/a"));
    assert.match(await client.until(/GET \/a /), /^HTTP\/1\.1 200 OK\r\n/);
    client.say(to("/b") + to("/chunked") + to("/c"));
    const text = await client.until(/GET \/c /);
    assert.match(text, /GET \/b [\s\S]*part one, [\s\S]*part two[\s\S]*GET \/c /);
    assert.equal(
      seen.map(({ url }) => url),
      ["/a", "/b", "/chunked", "/c"],
    );
    assert.is(seen[0]?.headers["host"], `127.0.0.1:${originPort}`);
    assert.is(client.isOver, false);
  }));

test("bodies go through, with a length and in chunks, cut anywhere", () =>
  withProxy({}, async (_server, open) => {
    const client = open();
    const head = `POST http://127.0.0.1:${originPort}/p HTTP/1.1\r\nHost: h\r\n`;
    const both =
      `${head}Content-Length: 5\r\n\r\nhello` +
      `${head}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x\r\nde\r\n0\r\n\r\n${to("/end")}`;
    for (const byte of Buffer.from(both, "latin1")) {
      client.socket.write(Uint8Array.of(byte));
      if (byte === 13) await pauseMs(0);
    }
    await client.until(/POST \/p hello[\s\S]*POST \/p abcde[\s\S]*GET \/end/);
  }));

test("fields about the connection stay here, ours do not reach the server", () =>
  withProxy({ auth: { username: "u", password: "p" } }, async (_server, open) => {
    const more =
      "Proxy-Authorization: Basic dTpw\r\nProxy-Connection: keep-alive\r\nConnection: X-Hop\r\n" +
      "X-Hop: 1\r\nTE: trailers\r\nX-Kept: yes\r\n";
    await open()
      .say(to("/h", more))
      .until(/GET \/h/);
    const { headers = {} } = seen[0] ?? {};
    assert.equal(Object.keys(headers).sort(), ["connection", "host", "x-kept"]);
  }));

test("HTTP/1.0 gets one answer and the end; origin form goes to its Host", () =>
  withProxy({}, async (_server, open) => {
    const old = open().say(`GET http://127.0.0.1:${originPort}/old HTTP/1.0\r\n\r\n`);
    assert.match(await old.over(), /GET \/old /);
    const originForm = open().say(`GET /o HTTP/1.1\r\nHost: 127.0.0.1:${originPort}\r\n\r\n`);
    await originForm.until(/GET \/o /);
  }));

test("a server that ends its body with the connection, and one that breaks off", async () => {
  const target = new Target((socket) => {
    socket.once("data", (data: Buffer) => {
      const isCut = data.includes("/cut");
      const head = isCut ? "Content-Length: 100\r\n" : "";
      socket.end(`HTTP/1.1 200 OK\r\n${head}\r\nsome bytes`);
    });
  });
  const port = await target.listen();
  await withProxy({}, async (_server, open) => {
    const whole = open().say(`GET http://127.0.0.1:${port}/ HTTP/1.1\r\nHost: h\r\n\r\n`);
    assert.match(await whole.over(), /Connection: close\r\n\r\nsome bytes$/);
    const cut = open();
    const closed = once(cut.socket, "close").catch(() => undefined);
    let wasReset = false;
    cut.socket.on("error", () => (wasReset = true));
    cut.say(`GET http://127.0.0.1:${port}/cut HTTP/1.1\r\nHost: h\r\n\r\n`);
    await closed;
    assert.ok(wasReset, "a cut answer must not look complete");
  });
  target.close();
});

test("answers that could be read in two ways become 502", async () => {
  let answer = "";
  const target = new Target((socket) => {
    socket.once("data", () => socket.end(Buffer.from(answer, "latin1")));
  });
  const port = await target.listen();
  await withProxy({}, async (_server, open) => {
    const bad = [
      "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
      "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
      "HTTP/1.1 200 OK\nA: b\n\n",
      "SSH-2.0-x\r\n",
      "HTTP/1.1 101 Switching Protocols\r\n\r\n",
      "HTTP/1.1 100 Continue\r\n\r\n".repeat(40),
      "",
    ];
    for (answer of bad) {
      const client = open().say(`GET http://127.0.0.1:${port}/ HTTP/1.1\r\nHost: h\r\n\r\n`);
      assert.match(await client.over(), /HTTP\/1\.1 502 Bad Gateway\r\n/, JSON.stringify(answer));
    }
  });
  target.close();
});

test("requests that could be read in two ways are refused and reach no server", () =>
  withProxy({}, async (_server, open) => {
    const start = `POST http://127.0.0.1:${originPort}/x HTTP/1.1\r\nHost: h\r\n`;
    const bad = [
      `${start}Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
      `${start}Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc`,
      `${start}A: b\r\n c\r\n\r\n`,
      `${start}A: b\rc\r\n\r\n`,
      `${start}A : b\r\n\r\n`,
      `GET /x HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n`,
      `GET /x HTTP/1.1\r\n\r\n`,
      `GET https://127.0.0.1/ HTTP/1.1\r\nHost: h\r\n\r\n`,
      `CONNECT nothing:99999 HTTP/1.1\r\n\r\n`,
    ];
    for (const text of bad) {
      const answer = await open().say(text).over();
      assert.match(answer, /^HTTP\/1\.1 400 Bad Request\r\n/, text);
    }
    assert.is(seen.length, 0);
  }));

test("an upgrade to WebSocket becomes a pipe", async () => {
  const target = new Target((socket) => {
    socket.once("data", (data: Buffer) => {
      assert.match(data.toString("latin1"), /Connection: Upgrade\r\nUpgrade: websocket\r\n/);
      socket.write("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\nfirst");
      socket.on("data", (more: Buffer) => socket.write(more));
    });
  });
  const port = await target.listen();
  await withProxy({}, async (_server, open) => {
    const client = open().say(
      `GET http://127.0.0.1:${port}/ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\n` +
        "Upgrade: websocket\r\n\r\n",
    );
    assert.match(await client.until(/first$/), /^HTTP\/1\.1 101 [\s\S]*Upgrade: websocket\r\n/);
    client.say("\x81\x00frames");
    await client.until(/frames$/);
  });
  target.close();
});

test("a request that comes back to the proxy itself is stopped", () =>
  withProxy({}, async (server, open) => {
    const own = server.address;
    const answer = await open().say(`GET / HTTP/1.1\r\nHost: ${own}\r\n\r\n`).until(/508/);
    assert.match(answer, /^HTTP\/1\.1 508 Loop Detected\r\n/);
  }));

test("a UDP session to nowhere in particular has an empty target, as GOST's client writes it", () =>
  withProxy({ metadata: { udp: true }, refuses: () => true }, async (_server, open) => {
    const ask = "CONNECT  HTTP/1.1\r\nHost: \r\n";
    await open()
      .say(`${ask}X-Gost-Protocol: udp\r\n\r\n`)
      .until(/^HTTP\/1\.1 200 OK\r\n/);
    assert.match(await open().say(`${ask}\r\n`).over(), /^HTTP\/1\.1 400 /);
  }));

test("CONNECT keeps half-closes, and what a client says too early", () =>
  withProxy({}, async (_server, open) => {
    const client = open().say(`CONNECT 127.0.0.1:${echoPort} HTTP/1.1\r\n\r\nearly `);
    client.say("late");
    client.socket.end();
    assert.match(await client.over(), /established\r\nProxy-Agent: gost\/3.0\r\n\r\nearly late$/);
  }));

test("probe resistance shows something else, except at the secret door", async () => {
  const auth = { username: "u", password: "p" };
  const ask = (host: string): string => `GET http://${host}/ HTTP/1.1\r\nHost: h\r\n\r\n`;
  const file = join(tmpdir(), `tsgost-probe-${process.pid}.html`);
  writeFileSync(file, "<p>nothing here");
  const cases: [string, RegExp][] = [
    ["code:404", /^HTTP\/1\.1 404 Not Found\r\nServer: nginx/],
    [`file:${file}`, /^HTTP\/1\.1 200 OK\r\n[\s\S]*<p>nothing here$/],
    ["file:/nonexistent", /^HTTP\/1\.1 503 /],
    [`web:127.0.0.1:${originPort}/page`, /GET \/page /],
    [`host:127.0.0.1:${originPort}`, /GET http:\/\/any.example\/ /],
  ];
  for (const [probeResist, wanted] of cases) {
    const metadata = { probeResist, knock: "secret.example" };
    await withProxy({ auth, metadata }, async (_server, open) => {
      const probing = open().say(
        ask("any.example").replace("Host: h\r\n", "Host: h\r\nConnection: close\r\n"),
      );
      assert.match(await probing.over(), wanted, probeResist);
      const knocking = open().say(ask("secret.example"));
      assert.match(await knocking.over(), /^HTTP\/1\.1 407 /);
    });
  }
  rmSync(file);
  for (const probeResist of ["code", "code:99", "web:https://x/", "host:x", "other:1"]) {
    const error = await startRelay({ handler: "http", metadata: { probeResist } }).then(
      () => undefined,
      (thrown: unknown) => thrown,
    );
    assert.match(String(error), /probeResist/, probeResist);
  }
});

test("realm, agent and fields of the configuration; none can hide a line", async () => {
  const metadata = { authBasicRealm: "R", proxyAgent: "A/1", header: { "X-Own": "1" } };
  await withProxy({ metadata }, async (_server, open) => {
    const answer = await open().say("CONNECT 127.0.0.1:9 HTTP/1.1\r\n\r\n").over();
    assert.match(answer, /^HTTP\/1\.1 503 [\s\S]*Proxy-Agent: A\/1\r\nX-Own: 1\r\n/);
  });
  const auth = { username: "u", password: "p" };
  await withProxy({ metadata, auth }, async (_server, open) => {
    const answer = await open().say("CONNECT 127.0.0.1:9 HTTP/1.1\r\n\r\n").over();
    assert.match(answer, /Basic realm="R"\r\n/);
  });
  for (const bad of [
    { authBasicRealm: 'a"b' },
    { proxyAgent: "a\r\nb: c" },
    { header: { "a b": "c" } },
    { header: { a: "b\r\nc: d" } },
  ]) {
    const error = await startRelay({ handler: "http", metadata: bad }).catch((e: unknown) => e);
    assert.match(String(error), /authBasicRealm|not a field/);
  }
});

test("idle and slow clients, garbage and floods: others go on", () =>
  withProxy({ metadata: { idleTimeout: "1s" } }, async (_server, open) => {
    const idle = Array.from({ length: 200 }, () => open());
    const slow = open().say("GET http://h/ HTTP/1.1\r\nA: ");
    const dripping = setInterval(() => slow.say("x"), 20);
    const flood = open().say("GET http://h/ HTTP/1.1\r\n" + "A: bbbb\r\n".repeat(5000));
    const garbage = Array.from({ length: 20 }, (_, at) => open().say(String.fromCharCode(at)));
    await open()
      .say(to("/alive"))
      .until(/GET \/alive/);
    assert.match(await flood.over(), /^HTTP\/1\.1 431 /);
    for (const client of garbage) {
      const isLineEnd = garbage.indexOf(client) === 10 || garbage.indexOf(client) === 13;
      if (!isLineEnd) assert.is(await client.over(), "");
    }
    for (const client of idle) assert.is(await client.over(), "");
    clearInterval(dripping);
    const tunnel = open().say(`CONNECT 127.0.0.1:${echoPort} HTTP/1.1\r\n\r\n`);
    await tunnel.until(/established/);
    await eventually(() => tunnel.isOver, 8000);
  }));

test("the client's going away ends the dial and the exchange", async () => {
  const silent = new Target(() => undefined);
  const port = await silent.listen();
  await withProxy({}, async (_server, open) => {
    const client = open().say(`GET http://127.0.0.1:${port}/ HTTP/1.1\r\nHost: h\r\n\r\n`);
    await eventually(() => silent.sockets.length === 1);
    client.socket.resetAndDestroy();
    await eventually(() => silent.events.includes("close"));
  });
  silent.close();
});

test("a server that never answers costs readTimeout", async () => {
  const silent = new Target(() => undefined);
  const port = await silent.listen();
  await withProxy({ metadata: { readTimeout: "200ms" } }, async (_server, open) => {
    const client = open().say(`GET http://127.0.0.1:${port}/ HTTP/1.1\r\nHost: h\r\n\r\n`);
    assert.match(await client.over(), /^HTTP\/1\.1 504 Gateway Timeout\r\n/);
  });
  silent.close();
});

test.run();
