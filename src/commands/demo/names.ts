/**
 * Just enough DNS (RFC 1035 §4) for the demo's server: one question, answers of type A and AAAA
 * from a table, NXDOMAIN for other names.
 */
const HEADER_BYTES = 12;
const TYPE_A = 1;
const TYPE_AAAA = 28;
const TTL_S = 60;

type Names = Readonly<Record<string, readonly string[]>>;

interface Question {
  readonly name: string;
  readonly type: number;
  /** First byte after the question. */
  readonly end: number;
}

function readQuestion(query: Buffer): Question | undefined {
  if (query.length < HEADER_BYTES + 5 || query.readUInt16BE(4) !== 1) return undefined;
  const labels: string[] = [];
  let at = HEADER_BYTES;
  for (;;) {
    const length = query[at];
    if (length === undefined || length > 63 || at + length + 1 > query.length) return undefined;
    at++;
    if (length === 0) break;
    labels.push(query.toString("latin1", at, at + length).toLowerCase());
    at += length;
  }
  if (at + 4 > query.length) return undefined;
  return { name: labels.join("."), type: query.readUInt16BE(at), end: at + 4 };
}

/** The 4 or 16 bytes of an address in text. */
export function addressBytes(text: string): Buffer {
  if (!text.includes(":")) return Buffer.from(text.split(".").map(Number));
  const [head = "", tail = ""] = text.split("::");
  const words = (part: string): number[] =>
    part === "" ? [] : part.split(":").map((word) => Number.parseInt(word, 16));
  const left = words(head);
  const right = words(tail);
  const all = [...left, ...new Array<number>(8 - left.length - right.length).fill(0), ...right];
  const bytes = Buffer.alloc(16);
  all.forEach((word, index) => bytes.writeUInt16BE(word, 2 * index));
  return bytes;
}

/** The answer to a query, or undefined if it is no query that can be answered. */
export function answerDns(query: Buffer, names: Names): Buffer | undefined {
  const question = readQuestion(query);
  if (question === undefined || (query.readUInt16BE(2) & 0x8000) !== 0) return undefined;
  const found = names[question.name];
  const wanted = (found ?? []).filter((address) =>
    address.includes(":") ? question.type === TYPE_AAAA : question.type === TYPE_A,
  );
  const head = Buffer.from(query.subarray(0, question.end));
  // Response, authoritative, recursion as asked and available.
  head.writeUInt16BE(0x8480 | (query.readUInt16BE(2) & 0x0100) | (found === undefined ? 3 : 0), 2);
  head.writeUInt16BE(wanted.length, 6);
  head.writeUInt32BE(0, 8);
  const records = wanted.map((address) => {
    const data = addressBytes(address);
    const record = Buffer.alloc(12 + data.length);
    record.writeUInt16BE(0xc000 | HEADER_BYTES, 0);
    record.writeUInt16BE(question.type, 2);
    record.writeUInt16BE(1, 4);
    record.writeUInt32BE(TTL_S, 6);
    record.writeUInt16BE(data.length, 10);
    data.copy(record, 12);
    return record;
  });
  return Buffer.concat([head, ...records]);
}
