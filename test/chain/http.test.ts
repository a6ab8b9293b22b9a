/** The connector http: through our own server, and against answers of any proxy. */
import * as assert from "uvu/assert";
import { suite } from "../kit/suite.ts";
import {
  MemoryLog,
  Reader,
  Target,
  chainOf,
  dialContext,
  echoTarget,
  send,
  startRelay,
} from "./world.ts";

const test = suite("chain/http");

const echo = echoTarget();
let echoPort = 0;
test.before(async () => {
  echoPort = await echo.listen();
});
test.after(() => echo.close());

test("a client of ours learns why: refused, unreachable, prohibited, wrong password", async () => {
  const refuses = (_network: string, host: string): boolean => host === "bad.example";
  const server = await startRelay({
    handler: "http",
    auth: { username: "u", password: "p" },
    refuses,
  });
  const auth = { username: "u", password: "p" };
  const chain = chainOf([{ addr: server.address, connector: "http", auth }]);
  const reasonOf = async (host: string, port: number): Promise<unknown> => {
    const error = await chain.connect({ host, port }, dialContext()).catch((e: unknown) => e);
    return (error as { reason?: string }).reason;
  };
  assert.is(await reasonOf("127.0.0.1", 9), "refused");
  assert.is(await reasonOf("nope.invalid", 80), "host-unreachable");
  assert.is(await reasonOf("255.255.255.255", 80), "network-unreachable");
  assert.is(await reasonOf("bad.example", 80), "prohibited");
  const udp = await chain.datagrams(dialContext()).catch((e: unknown) => e);
  assert.match(String(udp), /carries no UDP/);
  assert.is((udp as { reason?: string }).reason, "prohibited");
  const again = await chain.datagrams(dialContext()).catch((e: unknown) => e);
  assert.match(String(again), /refused UDP a moment ago/);
  const stream = await chain.connect({ host: "127.0.0.1", port: echoPort }, dialContext());
  const reader = new Reader(stream);
  await send(stream, "through");
  await reader.until(() => reader.text === "through");
  stream.end();
  await reader.until(() => reader.closed);
  chain.close();
  const log = new MemoryLog();
  const wrong = chainOf(
    [{ addr: server.address, connector: "http", auth: { username: "u", password: "x" } }],
    log,
  );
  const error = await wrong
    .connect({ host: "127.0.0.1", port: echoPort }, dialContext())
    .catch((e: unknown) => e);
  assert.is((error as { reason?: string }).reason, "auth");
  assert.is(log.find(/check the user name and password/).length, 1);
  wrong.close();
  await server.close();
});

test("answers of any proxy: odd ones are understood, wrong ones fail with the reason", async () => {
  let answer = "";
  const proxy = new Target((socket) => {
    socket.once("data", () => socket.write(Buffer.from(answer, "latin1")));
  });
  const addr = `127.0.0.1:${await proxy.listen()}`;
  const log = new MemoryLog();
  const node = { addr, connector: "http", connectorMetadata: { timeout: "300ms" } };
  const chain = chainOf([node], log);
  const dial = (): Promise<unknown> =>
    chain.connect({ host: "h.example", port: 1 }, dialContext()).then(
      (stream) => {
        const reader = new Reader(stream);
        return reader.until(() => reader.text === "x").then(() => stream.reset());
      },
      (error: unknown) => (error as { reason?: string }).reason,
    );
  const good = [
    "HTTP/1.1 200 OK\r\n\r\nx",
    "HTTP/1.0 204\r\n\r\nx",
    "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 x\r\nContent-Length: 9\r\n\r\nx",
  ];
  for (answer of good) assert.is(await dial(), undefined, answer);
  const bad: [string, string][] = [
    ["HTTP/1.1 407 x\r\n\r\n", "auth"],
    ["HTTP/1.1 403 x\r\n\r\n", "prohibited"],
    ["HTTP/1.1 503 x\r\n\r\n", "refused"],
    ["HTTP/1.1 502 x\r\nProxy-Status: p; error=dns_error\r\n\r\n", "host-unreachable"],
    ["HTTP/1.1 504 x\r\n\r\n", "timeout"],
    ["HTTP/1.1 302 x\r\n\r\n", "closed"],
    ["\x01\x05\x00\x00", "protocol"],
    ["HTTP/1.1 100 x\r\n\r\n".repeat(20), "protocol"],
    ["HTTP/1.1 200 OK\r\nA: " + "x".repeat(40_000), "protocol"],
    ["HTTP/1.1 200 OK\r\n", "timeout"],
    ["", "timeout"],
  ];
  for (const [text, reason] of bad) {
    answer = text;
    assert.is(await dial(), reason, text.slice(0, 60));
  }
  chain.close();
  proxy.close();
});

test.run();
