/** DNS messages (src/proto/dns.ts, dns-name.ts). */
import {
  MESSAGE_BYTES_MAX,
  RECORDS_MAX,
  type DnsMessage,
  type DnsRecord,
  TYPE,
  addressOf,
  clientSubnet,
  decodeHeader,
  decodeMessage,
  encodeMessage,
  negativeTtl,
  queryOf,
  targetOf,
} from "../../../src/proto/dns.ts";
import { labelsOf } from "../../../src/proto/dns-name.ts";
import type { Random } from "../../kit/random.ts";
import { type Target, check, checkEqual } from "../target.ts";

const NAMES = [
  "",
  "a",
  "www.example.com",
  "example.com",
  "x.y.z.example.com",
  "a\\.b.c",
  "\\000.d",
];
const TYPES = Object.values(TYPE);

function randomRecord(random: Random): DnsRecord {
  const type = random.pick(TYPES.filter((one) => one !== TYPE.OPT));
  const size = type === TYPE.A ? 4 : type === TYPE.AAAA ? 16 : random.below(20);
  const isName = type === TYPE.CNAME || type === TYPE.NS || type === TYPE.PTR;
  const data = isName ? Uint8Array.of(1, 97, 0) : random.bytes(size);
  return { name: random.pick(NAMES), type, class: 1, ttl: random.below(100_000), data };
}

function generate(random: Random): Uint8Array {
  const edns = {
    udpBytes: 1232,
    version: 0,
    dnssecOk: random.chance(0.5),
    options: [clientSubnet(random.bytes(random.pick([4, 16])), random.below(25))],
  };
  const question = { name: random.pick(NAMES), type: random.pick(TYPES), class: 1 };
  const query = queryOf(random.below(65_536), question, random.chance(0.5) ? { edns } : {});
  const records = (): DnsRecord[] =>
    Array.from({ length: random.below(4) }, () => randomRecord(random));
  return encodeMessage({
    ...query,
    qr: random.chance(0.5),
    tc: random.chance(0.2),
    rcode: random.below(6),
    answers: records(),
    authorities: records(),
    additionals: records(),
  });
}

/** Compression joins names that differ in case only (RFC 4343 §4.1). */
function meaningOf(message: DnsMessage): DnsMessage {
  const lower = <T extends { readonly name: string }>(all: readonly T[]): T[] =>
    all.map((one) => ({ ...one, name: one.name.toLowerCase() }));
  return {
    ...message,
    questions: lower(message.questions),
    answers: lower(message.answers),
    authorities: lower(message.authorities),
    additionals: lower(message.additionals),
  };
}

function shapeOf(message: DnsMessage): string {
  const { questions, answers, authorities, additionals, edns } = message;
  const kinds = [answers, authorities, additionals].map((records) => {
    return [...new Set(records.map(({ type }) => (TYPES.includes(type as never) ? type : 0)))];
  });
  return `${questions.length} ${JSON.stringify(kinds)} ${edns?.options.length ?? "-"}`;
}

export const dns: Target = {
  name: "dns",
  bytesMax: 4096,
  dictionary: [
    Uint8Array.of(0xc0, 0x0c),
    Uint8Array.of(0xc0, 0),
    Uint8Array.of(0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0),
    Uint8Array.of(0, 8, 0, 4, 0, 1, 0, 0),
    Uint8Array.of(3, 119, 119, 119, 0),
    Uint8Array.of(63),
    ...TYPES.map((type) => Uint8Array.of(type >> 8, type, 0, 1)),
  ],
  generate,
  run(input) {
    const header = decodeHeader(input);
    const message = decodeMessage(input);
    if (message === undefined) return header === undefined ? "no header" : "malformed";
    check(header !== undefined, "a message without a header");
    const { questions, answers, authorities, additionals } = message;
    const records = [...answers, ...authorities, ...additionals];
    check(records.length + questions.length <= RECORDS_MAX, "too many records");
    for (const { name } of [...questions, ...records]) {
      check(labelsOf(name) !== undefined, "a name that was read is none");
    }
    for (const record of records) {
      addressOf(record);
      targetOf(record);
    }
    negativeTtl(message);
    let again: Uint8Array;
    try {
      again = encodeMessage(message);
    } catch (error) {
      // Names that were compressed are longer now.
      if (error instanceof RangeError && /too long/.test(error.message)) return "too long";
      throw error;
    }
    check(again.length <= MESSAGE_BYTES_MAX, "a message is too long");
    const second = decodeMessage(again);
    check(second !== undefined, "what was said again is malformed");
    checkEqual(meaningOf(second), meaningOf(message), "reads otherwise when it is said again");
    return shapeOf(message);
  },
};
