/** HTTP/1.x heads and bodies: every split, every truncation, bounds, and what smuggles requests. */
import * as assert from "uvu/assert";
import { BodyReader, requestBody, responseBody } from "../../src/proto/http1-body.ts";
import {
  FIELDS_MAX,
  HEAD_BYTES_MAX,
  HttpFormatError,
  type RequestHead,
  RequestReader,
  ResponseReader,
  encodeBasic,
  encodeHead,
  endToEnd,
  isPersistent,
  parseAuthority,
  parseBasic,
  parseHttpUrl,
} from "../../src/proto/http1.ts";
import { Random } from "../kit/random.ts";
import { suite } from "../kit/suite.ts";

const test = suite("proto/http1");

const bytesOf = (text: string): Buffer => Buffer.from(text, "latin1");

function request(text: string): RequestHead {
  const reader = new RequestReader();
  reader.push(bytesOf(text));
  assert.ok(reader.head !== undefined, "the head must be complete");
  return reader.head!;
}

function faultOf(text: string, reader: { push(chunk: Uint8Array): number }): HttpFormatError {
  try {
    reader.push(bytesOf(text));
  } catch (error) {
    assert.instance(error, HttpFormatError);
    return error as HttpFormatError;
  }
  throw new Error(`it was accepted: ${JSON.stringify(text)}`);
}

const SAMPLE =
  "POST http://example.com/a?b HTTP/1.1\r\nHost: example.com\r\nX-Empty:\r\n" +
  "X-Wide: \t a b \t\r\nConnection: close, X-Named\r\nX-Named: 1\r\n\r\n";

test("a head is the same at every split, and what follows it is left", () => {
  const whole = bytesOf(`${SAMPLE}rest`);
  const wanted = request(SAMPLE);
  assert.is(wanted.method, "POST");
  assert.is(wanted.target, "http://example.com/a?b");
  assert.equal(wanted.fields[1], { name: "X-Empty", value: "" });
  assert.equal(wanted.fields[2], { name: "X-Wide", value: "a b" });
  for (let at = 0; at <= whole.length; at++) {
    const reader = new RequestReader();
    let used = reader.push(whole.subarray(0, at));
    if (used === at) used += reader.push(whole.subarray(at));
    assert.is(used, SAMPLE.length);
    assert.equal(reader.head, wanted);
  }
  const single = new RequestReader();
  for (const byte of bytesOf(SAMPLE)) single.push(Uint8Array.of(byte));
  assert.equal(single.head, wanted);
});

test("a truncated head is never complete", () => {
  for (let at = 0; at < SAMPLE.length; at++) {
    const reader = new RequestReader();
    reader.push(bytesOf(SAMPLE.slice(0, at)));
    assert.is(reader.head, undefined);
  }
});

test("what is not HTTP is told at its first byte, without an answer", () => {
  for (const text of ["\x16\x03\x01", "\x05\x01\x00", " GET / HTTP/1.1\r\n", "\x00"]) {
    assert.is(faultOf(text, new RequestReader()).status, undefined, text);
  }
  const lines = [
    "hello\r\n",
    "GET /\r\n",
    "GET / HTTP/1.1 x\r\n",
    "GET  / HTTP/1.1\r\n",
    "\r\n\r\n\r\n",
  ];
  for (const text of lines) assert.is(faultOf(text, new RequestReader()).status, undefined, text);
  assert.is(faultOf("PRI * HTTP/2.0\r\n", new RequestReader()).status, 400);
  assert.is(request("CONNECT  HTTP/1.1\r\nHost: \r\n\r\n").target, "");
  assert.is(request("\r\nGET / HTTP/1.0\r\n\r\n").minor, 0);
});

test("fields that two readers could read differently are refused", () => {
  const start = "GET / HTTP/1.1\r\n";
  const bad = [
    "A: b\n",
    "A: b\r\r\n",
    "A: b\rc\r\n",
    "A : b\r\n",
    " A: b\r\n",
    "A: b\r\n folded\r\n",
    "A\r\n",
    ": b\r\n",
    "A: b\0c\r\n",
    "A: b\x7f\r\n",
    "\n",
    "A\u00e9: b\r\n",
  ];
  for (const text of bad) assert.is(faultOf(start + text, new RequestReader()).status, 400, text);
  assert.is(faultOf("GET / HTTP/1.1\n", new RequestReader()).status, undefined);
});

test("a head has bounds in bytes and fields", () => {
  const many = "GET / HTTP/1.1\r\n" + "a: b\r\n".repeat(FIELDS_MAX + 1);
  assert.is(faultOf(many, new RequestReader()).status, 431);
  const endless = new RequestReader();
  endless.push(bytesOf("GET / HTTP/1.1\r\nA: "));
  let given = 0;
  assert.throws(() => {
    for (; given < 1e6; given += 1000) endless.push(Buffer.alloc(1000, "x"));
  });
  assert.ok(given < HEAD_BYTES_MAX);
});

test("a response's status line", () => {
  const reader = new ResponseReader();
  reader.push(bytesOf("HTTP/1.0 204\r\nA: b\r\n\r\n"));
  assert.equal(reader.head, {
    minor: 0,
    status: 204,
    reason: "",
    fields: [{ name: "A", value: "b" }],
  });
  for (const text of ["HTTP/1.1 20\r\n", "HTTP/1.1 099 x\r\n", "HTTP/2 200\r\n", "\x01\x00"]) {
    assert.is(faultOf(text, new ResponseReader()).status, undefined, text);
  }
});

test("a length that is told twice or in two ways is refused", () => {
  const of = (fields: string): unknown => requestBody(request(`POST / HTTP/1.1\r\n${fields}\r\n`));
  assert.equal(of(""), { kind: "none" });
  assert.equal(of("Content-Length: 12\r\n"), { kind: "length", bytes: 12 });
  assert.equal(of("Transfer-Encoding: Chunked\r\n"), { kind: "chunked" });
  const bad = [
    "Content-Length: 1\r\nContent-Length: 1\r\n",
    "Content-Length: 1, 1\r\n",
    "Content-Length: +1\r\n",
    "Content-Length: 0x1\r\n",
    "Content-Length:\r\n",
    "Content-Length: 9999999999999999\r\n",
    "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n",
    "Transfer-Encoding: identity\r\n",
    "Transfer-Encoding:\r\n",
    "Transfer-Encoding: chunked, chunked\r\n",
    "Transfer-Encoding: gzip, chunked\r\n",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
  ];
  for (const fields of bad) assert.throws(() => of(fields), /length|coding/i, fields);
  const old = request("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n");
  assert.throws(() => requestBody(old));
});

test("bodies of answers end as RFC 9112 §6.3 says", () => {
  const of = (status: number, fields: string, method = "GET"): string => {
    const reader = new ResponseReader();
    reader.push(bytesOf(`HTTP/1.1 ${status} x\r\n${fields}\r\n`));
    return responseBody(reader.head!, method).kind;
  };
  assert.is(of(200, ""), "close");
  assert.is(of(200, "Content-Length: 3\r\n"), "length");
  assert.is(of(200, "Transfer-Encoding: chunked\r\n"), "chunked");
  assert.is(of(200, "Content-Length: 3\r\n", "HEAD"), "none");
  for (const status of [100, 103, 204, 304]) assert.is(of(status, "Content-Length: 3\r\n"), "none");
});

const CHUNKED = '5\r\nhello\r\n00a;name="x"\r\n0123456789\r\n0\r\nTrailer: t\r\n\r\n';

test("a chunked body ends at the same byte at every split", () => {
  const whole = bytesOf(`${CHUNKED}GET`);
  for (let at = 0; at <= whole.length; at++) {
    const reader = new BodyReader({ kind: "chunked" });
    let used = reader.push(whole.subarray(0, at));
    if (used === at) used += reader.push(whole.subarray(at));
    assert.is(used, CHUNKED.length);
    assert.ok(reader.isOver);
  }
  for (let at = 0; at < CHUNKED.length; at++) {
    const reader = new BodyReader({ kind: "chunked" });
    reader.push(bytesOf(CHUNKED.slice(0, at)));
    assert.not.ok(reader.isOver);
  }
});

test("chunks that are not exactly chunks are refused", () => {
  const bad = [
    "5\nhello",
    "5 \r\n",
    " 5\r\n",
    "0x5\r\n",
    "-5\r\n",
    "\r\n",
    "5\r\nhello!\r\n",
    "5\r\nhello\n",
    "fffffffffffff\r\n",
    "5;\x01\r\n",
    "0\r\nbad trailer\r\n",
    "0\r\n folded: x\r\n",
    `0\r\n${"a: b\r\n".repeat(65)}`,
    `1;${"x".repeat(5000)}`,
  ];
  for (const text of bad) {
    assert.throws(() => new BodyReader({ kind: "chunked" }).push(bytesOf(text)), undefined, text);
  }
});

test("a counted body takes its bytes and no more", () => {
  const reader = new BodyReader({ kind: "length", bytes: 5 });
  assert.is(reader.push(bytesOf("hel")), 3);
  assert.is(reader.push(bytesOf("loGET")), 2);
  assert.ok(reader.isOver);
  assert.ok(new BodyReader({ kind: "length", bytes: 0 }).isOver);
  assert.is(new BodyReader({ kind: "close" }).push(bytesOf("any")), 3);
});

test("fields about one connection stay behind, those that frame the message do not", () => {
  const head = request(
    "POST / HTTP/1.1\r\nHost: h\r\nConnection: X-Secret, Content-Length, host\r\nX-Secret: 1\r\n" +
      "Content-Length: 3\r\nProxy-Authorization: Basic x\r\nKeep-Alive: 5\r\nTE: trailers\r\n" +
      "Upgrade: h2c\r\nAccept: */*\r\n\r\n",
  );
  assert.equal(
    endToEnd(head).map(({ name }) => name),
    ["Host", "Content-Length", "Accept"],
  );
});

test("persistence by version and Connection", () => {
  const of = (version: string, fields: string): boolean =>
    isPersistent(request(`GET / HTTP/${version}\r\n${fields}\r\n`));
  assert.is(of("1.1", ""), true);
  assert.is(of("1.1", "Connection: Close\r\n"), false);
  assert.is(of("1.1", "Proxy-Connection: close\r\n"), false);
  assert.is(of("1.0", ""), false);
  assert.is(of("1.0", "Proxy-Connection: keep-alive\r\n"), true);
});

test("authorities and URLs", () => {
  assert.equal(parseAuthority("example.com:443", 80), { host: "example.com", port: 443 });
  assert.equal(parseAuthority("example.com", 80), { host: "example.com", port: 80 });
  assert.equal(parseAuthority("[2001:db8::1]:8", 80), { host: "2001:db8::1", port: 8 });
  assert.equal(parseAuthority(":80", 80), { host: "", port: 80 });
  const bad = ["u@h:1", "h:65536", "h:x", "a:b:c", "[::1", "[nope]:1", "h h:1", "h/x", "h?x"];
  for (const text of [...bad, "x".repeat(256)])
    assert.is(parseAuthority(text, 80), undefined, text);
  assert.equal(parseHttpUrl("http://h:81?q", "GET"), {
    host: "h",
    port: 81,
    authority: "h:81",
    path: "/?q",
  });
  assert.is(parseHttpUrl("HTTP://h", "OPTIONS")?.path, "*");
  for (const text of [
    "https://h/",
    "http://u:p@h/",
    "http:///x",
    "ftp://h/",
    "/x",
    "http://h/#f",
  ]) {
    assert.is(parseHttpUrl(text, "GET"), undefined, text);
  }
});

test("Basic credentials there and back", () => {
  for (const given of [
    { username: "user", password: "pass" },
    { username: "u", password: "a:b" },
    { username: "\u00fc", password: "" },
  ]) {
    assert.equal(parseBasic(encodeBasic(given)), given);
  }
  for (const text of [undefined, "", "Basic", "Basic !", "Bearer abc", "Basic dXNlcg=="]) {
    assert.is(parseBasic(text), undefined);
  }
});

test("no field can hide a line", () => {
  for (const value of ["a\r\nb: c", "a\nb", "a\0", "\u20ac"]) {
    assert.throws(() => encodeHead("GET / HTTP/1.1", [{ name: "A", value }]));
    assert.throws(() => encodeHead(`GET ${value} HTTP/1.1`, []));
  }
  assert.throws(() => encodeHead("GET / HTTP/1.1", [{ name: "A b", value: "" }]));
});

test("any bytes in any pieces: an answer or an error of ours, within the bounds", () => {
  const random = new Random(7);
  const alphabet = bytesOf("GET / HTTP/1.1\r\n\r\n: ;0123abcdef\t\x00\xff");
  for (let round = 0; round < 3000; round++) {
    const reader = random.chance(0.5) ? new RequestReader() : new ResponseReader();
    const body = new BodyReader({ kind: "chunked" });
    const start = random.chance(0.7) ? bytesOf("GET / HTTP/1.1\r\n") : Buffer.alloc(0);
    const noise = Buffer.from(Array.from({ length: 60 }, () => random.pick([...alphabet])));
    for (const target of [reader, body]) {
      const all = target === body ? noise : Buffer.concat([start, noise]);
      try {
        for (let offset = 0; offset < all.length;) {
          const piece = all.subarray(offset, offset + random.between(1, 9));
          const used = target.push(piece);
          assert.ok(used <= piece.length);
          if (used < piece.length) break;
          offset += used;
        }
      } catch (error) {
        assert.instance(error, HttpFormatError);
      }
    }
  }
});

test.run();
