/** The codec of SOCKS5, and the server name of a ClientHello, with any bytes in any split. */
import { once } from "node:events";
import { type AddressInfo, createServer } from "node:net";
import { connect as connectTls } from "node:tls";
import * as assert from "uvu/assert";
import {
  type MessageReader,
  Socks5FormatError,
  decodeDatagram,
  encodeDatagram,
  encodeGreeting,
  encodePassword,
  encodeReply,
  encodeRequest,
  greetingReader,
  methodReader,
  passwordReader,
  passwordStatusReader,
  replyReader,
  requestReader,
} from "../../src/proto/socks5.ts";
import { HELLO_BYTES_MAX, serverNameOf } from "../../src/proto/tls-hello.ts";
import { Random } from "../kit/random.ts";
import { suite } from "../kit/suite.ts";

const test = suite("proto/socks5");

const dice = new Random(5);

function randomBytes(length: number): Buffer {
  return Buffer.from(Array.from({ length }, () => dice.below(256)));
}

const name = { host: "n".repeat(255), port: 65535 };
const user = { username: "u".repeat(255), password: "ü".repeat(127) };

interface Case {
  readonly what: string;
  readonly make: () => MessageReader<unknown>;
  readonly bytes: Uint8Array;
  readonly message: unknown;
}

const CASES: readonly Case[] = [
  {
    what: "a greeting with 255 methods",
    make: greetingReader,
    bytes: encodeGreeting(Array.from({ length: 255 }, (_, index) => index)),
    message: Uint8Array.from({ length: 255 }, (_, index) => index),
  },
  {
    what: "a greeting without methods",
    make: greetingReader,
    bytes: encodeGreeting([]),
    message: new Uint8Array(0),
  },
  { what: "a method", make: methodReader, bytes: Uint8Array.of(5, 0x82), message: 0x82 },
  { what: "a password", make: passwordReader, bytes: encodePassword(user), message: user },
  {
    what: "an empty password",
    make: passwordReader,
    bytes: Uint8Array.of(1, 0, 0),
    message: { username: "", password: "" },
  },
  { what: "a status", make: passwordStatusReader, bytes: Uint8Array.of(1, 0), message: true },
  {
    what: "a request for a name",
    make: requestReader,
    bytes: encodeRequest(1, name),
    message: { command: 1, address: name, addressType: 3 },
  },
  {
    what: "a request for IPv6",
    make: requestReader,
    bytes: encodeRequest(3, { host: "2001:db8::1", port: 53 }),
    message: { command: 3, address: { host: "2001:db8::1", port: 53 }, addressType: 4 },
  },
  {
    what: "a reply with an empty name",
    make: replyReader,
    bytes: encodeReply(5, { host: "", port: 0 }),
    message: { code: 5, address: { host: "", port: 0 } },
  },
];

for (const { what, make, bytes, message } of CASES) {
  test(`${what} is read in every split, and nothing behind it`, () => {
    const more = Buffer.concat([bytes, Buffer.from("rest")]);
    for (let split = 0; split <= bytes.length; split++) {
      const reader = make();
      const first = reader.push(more.subarray(0, split));
      assert.is(first.used, Math.min(split, bytes.length));
      if (split < bytes.length) assert.is(first.message, undefined);
      const second = first.message === undefined ? reader.push(more.subarray(split)) : first;
      assert.equal(second.message, message);
      if (second !== first) assert.is(second.used, bytes.length - split);
    }
  });

  test(`${what} is incomplete in every truncation`, () => {
    for (let length = 0; length < bytes.length; length++) {
      assert.is(make().push(bytes.subarray(0, length)).message, undefined);
    }
  });
}

test("wrong versions and address types are format errors", () => {
  const bad: readonly (readonly [() => MessageReader<unknown>, string])[] = [
    [greetingReader, "0401"],
    [methodReader, "0400"],
    [passwordReader, "0500"],
    [requestReader, "0401"],
    [requestReader, "0501000200"],
    [replyReader, "0500000700"],
  ];
  for (const [make, hex] of bad) {
    let failure: unknown;
    try {
      make().push(Buffer.from(hex, "hex"));
    } catch (error) {
      failure = error;
    }
    assert.instance(failure, Socks5FormatError, hex);
  }
});

test("any bytes give a message, a format error, or a wait for at most 513 bytes", () => {
  const makers = [greetingReader, methodReader, passwordReader, requestReader, replyReader];
  for (let round = 0; round < 2000; round++) {
    const bytes = randomBytes(1 + (round % 600));
    // Half of them get past the first look.
    if (round % 2 === 0) bytes[0] = round % 4 === 0 ? 5 : 1;
    for (const make of makers) {
      const reader = make();
      try {
        for (const byte of bytes) if (reader.push(Uint8Array.of(byte)).message !== undefined) break;
      } catch (error) {
        assert.instance(error, Socks5FormatError);
      }
      assert.ok(reader.taken <= 513);
    }
  }
});

test("texts above 255 bytes are refused", () => {
  assert.throws(() => encodePassword({ username: "u".repeat(256), password: "" }), /255/);
  assert.throws(() => encodeRequest(1, { host: "n".repeat(256), port: 1 }), /255/);
});

test("a datagram goes there and back, and no truncation of its header is one", () => {
  for (const host of ["192.0.2.1", "2001:db8::1", "example.com", ""]) {
    const address = { host, port: 53 };
    const bytes = encodeDatagram(Buffer.from("hello"), address);
    const back = decodeDatagram(bytes);
    assert.equal(back?.address, address);
    assert.is(Buffer.from(back?.payload ?? []).toString(), "hello");
    assert.is(back?.fragment, 0);
    for (let length = 0; length < bytes.length - 5; length++) {
      assert.is(decodeDatagram(bytes.subarray(0, length)), undefined);
    }
  }
  assert.is(decodeDatagram(Buffer.from("0000000200000000000000", "hex")), undefined);
});

/** A ClientHello as OpenSSL makes it. */
async function helloOf(servername: string): Promise<Buffer> {
  const server = createServer();
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const client = connectTls({ port, host: "127.0.0.1", servername });
  client.on("error", () => undefined);
  const [socket] = (await once(server, "connection")) as [import("node:net").Socket];
  const [hello] = (await once(socket, "data")) as [Buffer];
  client.destroy();
  socket.destroy();
  server.close();
  return hello;
}

test("a ClientHello tells its server name when it is whole, however it is cut into records", async () => {
  const hello = await helloOf("www.example.com");
  assert.is(serverNameOf(hello), "www.example.com");
  for (let length = 0; length < hello.length; length++) {
    assert.is(serverNameOf(hello.subarray(0, length)), undefined, String(length));
  }
  const body = hello.subarray(5);
  const record = (part: Uint8Array): Buffer =>
    Buffer.concat([Buffer.of(22, 3, 1, part.length >> 8, part.length & 255), part]);
  for (const cut of [1, 3, 4, 5, 40, 100]) {
    const cutUp = Buffer.concat([record(body.subarray(0, cut)), record(body.subarray(cut))]);
    assert.is(serverNameOf(cutUp), "www.example.com");
  }
});

test("what is no ClientHello, has no name, or a bad one, has none", async () => {
  assert.is(serverNameOf(Buffer.from("GET / HTTP/1.1\r\n")), "");
  assert.is(serverNameOf(Buffer.from("16030100050200000100", "hex")), "");
  assert.is(serverNameOf(Buffer.from("160301000401ffffff", "hex")), "");
  assert.is(serverNameOf(Buffer.from("1603010000", "hex")), "");
  assert.is(serverNameOf(await helloOf("")), "");
  const hello = await helloOf("www.example.com");
  for (let index = 5; index < hello.length; index++) {
    const broken = Buffer.from(hello);
    broken[index] = (broken[index] ?? 0) ^ 0xff;
    const found = serverNameOf(broken);
    assert.ok(found === undefined || found === "" || /^[a-z0-9_.-]+$/i.test(found));
  }
  for (let round = 0; round < 2000; round++) {
    const noise = randomBytes(round % 300);
    noise.set(Buffer.from("160301", "hex").subarray(0, noise.length));
    assert.type(serverNameOf(noise) ?? "", "string");
  }
  assert.ok(HELLO_BYTES_MAX <= 65536);
});

test.run();
