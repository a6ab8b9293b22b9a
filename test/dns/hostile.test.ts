/** Resolvers against hostile and broken nameservers: nothing wrong is taken, nothing hangs. */
import { type AddressInfo, type Socket, createServer } from "node:net";
import * as assert from "uvu/assert";
import { TYPE } from "../../src/proto/dns.ts";
import { suite } from "../kit/suite.ts";
import { failure, namesWith, never, resolverOf } from "./help.ts";
import { TestNameserver, a, answerTo, cname, table } from "./servers.ts";

const test = suite("dns/hostile");
const one = { "web.test": ["192.0.2.1"] };

const open: { close(): void }[] = [];
function kept<T extends { close(): void }>(thing: T): T {
  open.push(thing);
  return thing;
}
test.after.each(() => {
  for (const thing of open.splice(0)) thing.close();
});

test("aliases that lead in a circle end, in one answer and over many", async () => {
  const server = new TestNameserver(({ question: { name } }) => {
    if (name.toLowerCase() === "inner.test") {
      return [{ answers: [cname(name, "b.test"), cname("b.test", name)] }];
    }
    const number = Number(/\d+/.exec(name)?.[0] ?? 0);
    return [{ answers: [cname(name, `n${(number + 1) % 3}.test`)] }];
  });
  kept(await server.udp());
  const names = kept(namesWith(resolverOf(`127.0.0.1:${server.port}`)));
  assert.match(await failure(names.resolve("inner.test", never())), /FAILED.*do not end/);
  assert.match(await failure(names.resolve("n0.test", never())), /FAILED.*do not end/);
  assert.ok(server.asked.length <= 10);
});

test("records of other names in an answer are not taken", async () => {
  const server = new TestNameserver(() => [{ answers: [a("evil.test", "192.0.2.66")] }]);
  kept(await server.udp());
  const names = kept(namesWith(resolverOf(`127.0.0.1:${server.port}`)));
  assert.match(await failure(names.resolve("web.test", never())), /NOT_FOUND/);
});

test("wrong ID, question, direction and rubbish are passed over until the true answer", async () => {
  const server = new TestNameserver(({ query, question }) => {
    const evil = { answers: [a(question.name, "192.0.2.66")] };
    const other = { ...question, name: "other.test" };
    return [
      Uint8Array.of(1, 2, 3),
      answerTo(query, { ...evil, id: query.id ^ 1 }),
      answerTo(query, { ...evil, qr: false }),
      answerTo(query, { ...evil, questions: [other] }),
      answerTo(query, { ...evil, questions: [{ ...question, type: TYPE.AAAA }] }),
      answerTo(query, { ...evil, questions: [question, question] }),
      answerTo(query, { ...evil, questions: [] }),
      answerTo(query, evil).subarray(0, 30),
      answerTo(query, { answers: [a(question.name, "192.0.2.1")] }),
    ];
  });
  kept(await server.udp());
  const names = kept(namesWith(resolverOf(`127.0.0.1:${server.port}`)));
  assert.equal(await names.resolve("web.test", never()), ["192.0.2.1"]);
});

test("a datagram from another port is not an answer", async () => {
  const liar = new TestNameserver(() => []);
  const server = new TestNameserver(table(one));
  kept(await liar.udp());
  kept(await server.udp());
  const real = server.sendUdp.bind(server);
  server.sendUdp = (socket, bytes, port, address) => {
    const evil = Uint8Array.from(bytes);
    evil[evil.length - 1] = 66;
    void new TestNameserver(() => []).udp().then((other) => {
      kept(other);
      real(socket, bytes, port, address);
    });
    liarSend(evil, port, address);
  };
  const { createSocket } = await import("node:dgram");
  const from = createSocket("udp4");
  kept({ close: () => from.close() });
  const liarSend = (bytes: Uint8Array, port: number, address: string): void => {
    from.send(bytes, port, address);
  };
  const names = kept(namesWith(resolverOf(`127.0.0.1:${server.port}`)));
  assert.equal(await names.resolve("web.test", never()), ["192.0.2.1"]);
});

test("a server that changes the case of names is asked a second time, and then believed", async () => {
  const server = new TestNameserver(({ question, query }) => {
    const lower = { ...question, name: question.name.toLowerCase() };
    return [answerTo(query, { questions: [lower], answers: [a(lower.name, "192.0.2.1")] })];
  });
  kept(await server.udp());
  const names = kept(namesWith(resolverOf(`127.0.0.1:${server.port}`)));
  const name = `${"abcdefghij".repeat(5)}.test`;
  assert.equal(await names.resolve(name, never()), ["192.0.2.1"]);
  assert.is(server.asked.length, 2);
});

test("TCP: an answer to nobody's question ends the connection and the question", async () => {
  const server = new TestNameserver(({ query, question }) => [
    answerTo(query, { id: query.id ^ 1, answers: [a(question.name, "192.0.2.66")] }),
  ]);
  kept(await server.tcp());
  const names = kept(namesWith(resolverOf(`tcp://127.0.0.1:${server.port}`)));
  assert.match(await failure(names.resolve("web.test", never())), /FAILED.*nobody asked/);
});

test("TCP: answers in pieces, several in one, empty ones and ones that never end", async () => {
  let framing: (message: Buffer) => readonly Buffer[] = (message) => [message];
  const connected: Socket[] = [];
  const inner = new TestNameserver(table({ ...one, "b.test": ["192.0.2.2"] }));
  const server = createServer((socket) => {
    connected.push(socket);
    socket.setNoDelay(true).on("error", () => undefined);
    socket.on("data", async (data: Buffer) => {
      const messages: Buffer[] = [];
      for (let at = 0; at + 2 <= data.length; at += 2 + data.readUInt16BE(at)) {
        const end = at + 2 + data.readUInt16BE(at);
        const [reply = new Uint8Array(0)] = await inner.replies(data.subarray(at + 2, end), "tcp");
        messages.push(Buffer.concat([Buffer.of(reply.length >> 8, reply.length & 255), reply]));
      }
      for (const piece of framing(Buffer.concat(messages))) {
        socket.write(piece);
        await new Promise((wake) => setTimeout(wake, 1));
      }
    });
  });
  await new Promise<void>((ready) => server.listen(0, "127.0.0.1", ready));
  kept({ close: () => connected.forEach((socket) => socket.destroy()) });
  kept(server);
  const addr = `tcp://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const ask = (host: string) =>
    kept(namesWith(resolverOf({ addr, timeoutMs: 300, only: "ip4" }))).resolve(host, never());
  framing = (message) => Array.from(message, (byte) => Buffer.of(byte));
  assert.equal(await ask("web.test"), ["192.0.2.1"]);
  framing = () => [Buffer.of(0, 0)];
  assert.match(await failure(ask("web.test")), /FAILED.*nobody asked/);
  framing = () => Array.from({ length: 50 }, () => Buffer.alloc(1000, 0xff));
  assert.match(await failure(ask("web.test")), /FAILED.*no answer within 300 ms/);
  framing = (message) => [Buffer.concat([message, message])];
  assert.equal(await ask("web.test"), ["192.0.2.1"]);
});

test.run();
