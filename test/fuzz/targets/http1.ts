/** HTTP/1 heads, bodies, and the texts in them (src/proto/http1.ts, http1-body.ts). */
import {
  BodyReader,
  type BodyFraming,
  requestBody,
  responseBody,
} from "../../../src/proto/http1-body.ts";
import {
  FIELDS_MAX,
  HEAD_BYTES_MAX,
  HttpFormatError,
  type RequestHead,
  RequestReader,
  type ResponseHead,
  ResponseReader,
  encodeBasic,
  encodeHead,
  endToEnd,
  fieldOf,
  isPersistent,
  parseAuthority,
  parseBasic,
  parseHttpUrl,
} from "../../../src/proto/http1.ts";
import type { Random } from "../../kit/random.ts";
import { type Log, type Target, check, checkEqual, sameInEverySplit } from "../target.ts";
import { bytesOf } from "./parts.ts";

const OWN = [HttpFormatError];

type Head = RequestHead | ResponseHead;

function framingOf(head: Head): BodyFraming {
  return "method" in head ? requestBody(head) : responseBody(head, "GET");
}

/** Messages one after the other, as on a connection that stays. */
function play(isRequest: boolean, pieces: readonly Uint8Array[], log: Log): void {
  const make = () => (isRequest ? new RequestReader() : new ResponseReader());
  let reader = make();
  let body: BodyReader | undefined;
  let held = 0;
  // Told at its end: a fault comes before or after a part, as the pieces have it.
  const parts: Uint8Array[] = [];
  const tellBody = (): void => {
    if (parts.length > 0) log.add("body", Buffer.concat(parts).toString("latin1"));
    parts.length = 0;
  };
  for (const piece of pieces) {
    for (let offset = 0; offset < piece.length;) {
      const rest = piece.subarray(offset);
      if (body !== undefined) {
        const used = body.push(rest);
        check(used <= rest.length && (used === rest.length || body.isOver), `body used ${used}`);
        parts.push(rest.subarray(0, used));
        offset += used;
        if (!body.isOver) continue;
        body = undefined;
        tellBody();
        continue;
      }
      const used = reader.push(rest);
      check(used >= 0 && used <= rest.length, `head used ${used}`);
      offset += used;
      held += used;
      check(held <= HEAD_BYTES_MAX, "a head is held beyond its bound");
      const { head } = reader;
      if (head === undefined) {
        check(offset === piece.length, "a head that is not done left bytes");
        continue;
      }
      body = tellHead(head, log);
      reader = make();
      held = 0;
    }
  }
  tellBody();
  log.add(body === undefined ? (held > 0 ? "in a head" : "whole") : "in a body");
}

function tellHead(head: Head, log: Log): BodyReader | undefined {
  check(head.fields.length <= FIELDS_MAX, "too many fields");
  log.add("head", head);
  const framing = framingOf(head);
  log.add(`framing ${framing.kind} ${isPersistent(head)}`, endToEnd(head));
  checkHeadAgain(head);
  const body = new BodyReader(framing);
  return body.isOver ? undefined : body;
}

/** A head that was read can be sent on, and reads the same there. */
function checkHeadAgain(head: Head): void {
  const start =
    "method" in head
      ? `${head.method} ${head.target} HTTP/1.${head.minor}`
      : `HTTP/1.${head.minor} ${head.status} ${head.reason}`;
  const again = "method" in head ? new RequestReader() : new ResponseReader();
  const bytes = encodeHead(start, head.fields);
  if (bytes.length > HEAD_BYTES_MAX) return;
  again.push(bytes);
  checkEqual(again.head, head, "a head reads otherwise when it is sent on");
  if ("method" in head) checkTexts(head);
}

function checkTexts(head: RequestHead): void {
  for (const text of [head.target, fieldOf(head, "host") ?? ""]) {
    const where = parseAuthority(text, 80);
    check(where === undefined || where.host.length <= 255, "a long host");
    check(where === undefined || (where.port >= 0 && where.port <= 65_535), "a port");
    const url = parseHttpUrl(text, head.method);
    check(url === undefined || url.path.startsWith("/") || url.path === "*", "a path");
  }
  const user = parseBasic(fieldOf(head, "proxy-authorization"));
  if (user !== undefined) checkEqual(parseBasic(encodeBasic(user)), user, "credentials");
}

const FIELDS = [
  "Content-Length: 5",
  "Content-Length: 0",
  "Transfer-Encoding: chunked",
  "Connection: close",
  "Connection: keep-alive, upgrade, x-y",
  "Proxy-Connection: keep-alive",
  "Host: a.example:80",
  "Host: [2001:db8::1]:443",
  "Proxy-Authorization: Basic dTpw",
  "X-Y: \t z  ",
  "Upgrade: websocket",
  "X:",
];
const BODIES = [
  "",
  "hello",
  "5\r\nhello\r\n0\r\n\r\n",
  "3;a=b\r\nabc\r\n0\r\nT: v\r\n\r\n",
  "0\r\n\r\n",
];

function generate(random: Random): Uint8Array {
  const isRequest = random.chance(0.6);
  const messages = Array.from({ length: random.pick([1, 1, 2]) }, () => {
    const method = random.pick(["GET", "CONNECT", "POST", "OPTIONS"]);
    const target = random.pick(["/", "a.example:443", "http://a.example/x?y", "*", "[::1]:80"]);
    const status = random.pick(["200 OK", "407 Proxy", "204", "101 Switching Protocols", "304 "]);
    const version = random.pick(["HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/2.0"]);
    const start = isRequest ? `${method} ${target} ${version}` : `${version} ${status}`;
    const fields = Array.from({ length: random.below(5) }, () => random.pick(FIELDS));
    return `${[start, ...fields].join("\r\n")}\r\n\r\n${random.pick(BODIES)}`;
  });
  return bytesOf((isRequest ? "\x01" : "\x00") + messages.join(""));
}

export const http1: Target = {
  name: "http1",
  bytesMax: 48 * 1024,
  dictionary: [...FIELDS.map((field) => `${field}\r\n`), ...BODIES, "\r\n", "\n", "\r", "\0", ": "],
  generate,
  run(input) {
    const isRequest = ((input[0] ?? 0) & 1) === 1;
    const log = sameInEverySplit(input.subarray(1), OWN, (pieces, told) => {
      play(isRequest, pieces, told);
    });
    return `${isRequest ? "request" : "response"} ${log.shape}`;
  },
};
