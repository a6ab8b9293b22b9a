/** What the kernel answers and tells (src/sys/netlink-codec.ts), and names in TLS hellos. */
import * as codec from "../../../src/sys/netlink-codec.ts";
import { serverNameOf } from "../../../src/proto/tls-hello.ts";
import type { Random } from "../../kit/random.ts";
import { type Target, check, randomOf } from "../target.ts";

function message(type: number, seq: number, fixed: Uint8Array, attributes: Uint8Array[]): Buffer {
  const body = Buffer.concat([fixed, ...attributes]);
  const head = Buffer.alloc(16);
  head.writeUInt32LE(16 + body.length, 0);
  head.writeUInt16LE(type, 4);
  head.writeUInt32LE(seq, 8);
  return Buffer.concat([head, body]);
}

function attribute(type: number, value: Uint8Array): Uint8Array {
  const padded = Buffer.alloc((value.length + 7) & ~3);
  padded.writeUInt16LE(4 + value.length, 0);
  padded.writeUInt16LE(type, 2);
  padded.set(value, 4);
  return padded;
}

function generate(random: Random): Uint8Array {
  const seq = random.below(3);
  const parts = Array.from({ length: 1 + random.below(3) }, () => {
    const type = random.pick([2, 3, 16, 17, 20, 24]);
    const fixed = random.bytes(type === 24 ? 12 : type === 2 ? 20 : 16);
    const attributes = Array.from({ length: random.below(5) }, () => {
      const kind = random.pick([1, 3, 4, 5, 7, 13, 15, 45, 0x8004]);
      return attribute(kind, kind === 3 ? Buffer.from("tun0\0") : random.bytes(random.below(20)));
    });
    const built = message(type, seq, fixed, attributes);
    if (type === 2) built.writeUInt16LE(random.pick([0, 0x200, 0x300]), 6);
    return built;
  });
  return Uint8Array.from(Buffer.concat([Uint8Array.of(seq), ...parts]));
}

export const netlink: Target = {
  name: "netlink",
  bytesMax: 4096,
  dictionary: [
    Uint8Array.of(16, 0, 0, 0, 2, 0, 0, 0),
    Uint8Array.of(4, 0, 3, 0),
    Uint8Array.of(8, 0, 4, 0, 220, 5, 0, 0),
    Uint8Array.of(0, 0, 0, 0),
    Uint8Array.of(255, 255),
  ],
  generate,
  run(input) {
    const seq = input[0] ?? 0;
    // A view into something larger: nothing of what lies around may be read.
    const around = new Uint8Array(input.length + 63).fill(0xa5);
    around.set(input.subarray(1), 32);
    const bytes = around.subarray(32, 31 + input.length);
    const ack = codec.readAck(bytes, seq);
    const links = codec.readLinks(bytes);
    const events = codec.readLinkEvents(bytes);
    const route = codec.readRoute(bytes);
    check(links.length <= bytes.length / 16, "more links than messages");
    const again = input.slice(1);
    const same = [codec.readAck(again, seq), codec.readLinks(again), codec.readRoute(again)];
    const told = JSON.stringify([ack, links, route]);
    check(JSON.stringify(same) === told, "an answer depends on what lies around it");
    const kinds = events.map(({ kind }) => kind).join(" ");
    const parts = `${ack === undefined} ${ack?.text !== ""} ${links.length} ${kinds}`;
    return `${parts} ${Object.keys(route ?? {}).join(" ")}`;
  },
};

function record(random: Random, body: Uint8Array): Uint8Array {
  const parts: Uint8Array[] = [];
  for (let at = 0; at < body.length;) {
    const end = Math.min(body.length, at + 1 + random.below(body.length));
    parts.push(Uint8Array.of(22, 3, 1, (end - at) >> 8, end - at), body.subarray(at, end));
    at = end;
  }
  return Uint8Array.from(Buffer.concat(parts));
}

function hello(random: Random): Uint8Array {
  const name = random.pick(["a.example", "x", "a_b.c-d", "é.example", "n".repeat(200), ""]);
  const text = Buffer.from(name);
  const sni = Buffer.concat([u16(text.length + 3), Uint8Array.of(0), u16(text.length), text]);
  const extension = (type: number, body: Uint8Array): Buffer =>
    Buffer.concat([u16(type), u16(body.length), body]);
  const all = [extension(10, random.bytes(6)), extension(0, sni), extension(43, random.bytes(3))];
  const extensions = Buffer.concat(all.slice(random.below(2)));
  const fields = Buffer.concat([
    Uint8Array.of(3, 3),
    random.bytes(32),
    Uint8Array.of(4, 1, 2, 3, 4),
    Uint8Array.of(0, 2, 0x13, 1, 1, 0),
    u16(extensions.length),
    extensions,
  ]);
  return record(random, Buffer.concat([Uint8Array.of(1, 0), u16(fields.length), fields]));
}

function u16(value: number): Uint8Array {
  return Uint8Array.of(value >> 8, value);
}

export const tlsHello: Target = {
  name: "tls-hello",
  bytesMax: 20_000,
  dictionary: [Uint8Array.of(22, 3, 1, 0, 1), Uint8Array.of(0, 0, 0, 5), Uint8Array.of(22, 3, 3)],
  generate: hello,
  run(input) {
    const name = serverNameOf(input);
    // What fewer bytes told stays told.
    const random = randomOf(input);
    for (let round = 0; round < 6; round++) {
      const part = serverNameOf(input.subarray(0, random.below(input.length + 1)));
      check(part === undefined || part === name, "more bytes change the name");
    }
    return name === undefined ? "more" : name === "" ? "none" : `name ${name.length}`;
  },
};
